// SPDX-License-Identifier: Apache-2.0
// expect: the sentence that is looked for
int main() {}
