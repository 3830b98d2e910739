// SPDX-License-Identifier: Apache-2.0
// expect: the sentence that is looked for
static_assert(sizeof(int) == 0, "another sentence");
int main() {}
