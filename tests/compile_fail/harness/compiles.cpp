// expect: the sentence that is looked for
int main() {}
