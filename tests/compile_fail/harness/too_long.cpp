// SPDX-License-Identifier: Apache-2.0
// expect: a first sentence
// expect: a second sentence
// expect-lines: 2
static_assert(sizeof(int) == 0, "a first sentence");
static_assert(sizeof(int) == 0, "a second sentence");
int main() {}
