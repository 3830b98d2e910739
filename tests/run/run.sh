#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# run.sh SOURCE: tests SOURCE/run and SOURCE/tools/reproduce in a made-up clone, with stand-ins for CMake, CTest and the programs. Nothing is built.
set -euo pipefail

source="$(cd -P "$1" && pwd)"
scratch="$(cd -P "$(mktemp -d)" && pwd)"
trap 'rm -rf "$scratch"' EXIT
clone="$scratch/the clone" here="$scratch/here" log="$scratch/cmake.log" # what CMake and CTest are called with
build="$clone/build/release"
mkdir -p "$clone/examples" "$clone/bench" "$clone/.venv" "$build/examples" "$build/bench" "$build/tests" "$here" "$scratch/bin"

# ---- The clone ----

cp -R "$source/run" "$source/tools" "$clone/"
touch "$clone/examples/train_methods.cpp" "$clone/bench/steps.cpp"
# As ./run leaves it once it has installed what the tests need of Python.
eval "$(grep -E '^(python|report|docs)_packages=' "$clone/tools/setup.bash")"
# shellcheck disable=SC2154 # all are set by the line above
printf '%s\n' "${python_packages[*]}" >"$clone/.venv/.creditlib-python"
# shellcheck disable=SC2154
printf '%s\n' "${report_packages[*]}" >"$clone/.venv/.creditlib-report"
# shellcheck disable=SC2154
printf '%s\n' "${docs_packages[*]}" >"$clone/.venv/.creditlib-docs"

stand_in() { cat >"$1"; chmod +x "$1"; }
for program in "$build/examples/train_methods" "$build/bench/steps"; do
  stand_in "$program" <<'END'
#!/bin/sh
echo "$(basename "$0") in $PWD: $*"
END
done
mkdir "$clone/.venv/bin"
stand_in "$clone/.venv/bin/python" <<'END'
#!/bin/sh
case "$*" in
  *--program*) [ "$3" = bad.toml ] && exit 2; echo train_methods ;;
  *) echo "python in $PWD: $*" ;;
esac
END
stand_in "$scratch/bin/cmake" <<END
#!/bin/sh
echo "cmake in \$PWD: \$*" >>"$log"
case "\$*" in
  *"-t targets all"*) printf '%s: phony\n' tests/credit_tests examples/train_methods examples/all creditlib_precompiled examples/test ;;
  *slow_*) sleep 0.3; echo "built" >>"$log" ;;
  --preset*) mkdir -p "$clone/build/\$2"; touch "$clone/build/\$2/build.ninja" ;;
esac
END
stand_in "$scratch/bin/ctest" <<END
#!/bin/sh
case "\$*" in
  *--show-only=json*)
    case "\$*" in
      *"-R dfa "*) names='{"name": "credit/dfa"}' ;;
      *"-R all_but_one "*) names='{"name": "smoke/a"}, {"name": "smoke/b \\\\" c"}, {"name": "compile_fail"}' ;;
      *"-R smoke "*) names='{"name": "smoke/a"}' ;;
      *"-R folder "*) names='{"name": "smoke/b \\\\" c"}' ;;
      *"-R none "*) names= ;;
      *"-R compile_fail "*) names='{"name": "compile_fail"}' ;;
      *) names='{"name": "credit/dfa"}, {"name": "smoke/a"}, {"name": "smoke/b \\\\" c"}, {"name": "compile_fail"}' ;;
    esac
    echo "{\"tests\": [\$names]}" ;;
  *) echo "ctest: \$*" >>"$log" ;;
esac
END
printf 'subdirs("tests")\n' >"$build/CTestTestfile.cmake"
cat >"$build/tests/CTestTestfile.cmake" <<END
# generated
add_test([=[credit/dfa]=] "$build/tests/credit_tests" "[#dfa]")
set_tests_properties([=[credit/dfa]=] PROPERTIES  TIMEOUT "600")
add_test(smoke/a "/usr/bin/cmake" "-D" "PROGRAM=$build/examples/train_methods" "-P" "$clone/script.cmake" "--" "$build/none" "/usr/bin/env")
add_test("smoke/b \\" c" "/usr/bin/env" "PROGRAMS=$build/examples" "\\"quoted\\"" "$build")
add_test([=[compile_fail]=] "/usr/bin/cmake" "-D" "MODEL=$build/generated/precompiled.cpp")
END

unset CREDITLIB_PRESET CREDITLIB_CUDA CREDITLIB_TORCH CREDITLIB_COMPILE_JOBS CREDITLIB_PROGRAMS Torch_DIR CMAKE_PREFIX_PATH
export PATH="$scratch/bin:$PATH" CREDITLIB_SYSTEM=as_is CREDITLIB_LIBTORCH=/torch CDPATH="$scratch"

# ---- The checks ----

failures=0
# check WHAT EXPECTED GOT: `EXPECTED` is a pattern.
check() {
  # shellcheck disable=SC2053
  [[ "$3" == $2 ]] && return
  printf 'FAILED: %s\n  expected: %s\n  got:      %s\n' "$1" "$2" "$3"
  failures=$((failures + 1))
}
# said COMMAND...: what it says on both streams, and its exit code if that is not 0.
said() {
  local code=0
  : >"$log"
  "$@" 2>&1 || code=$?
  ((code == 0)) || echo "exit code $code"
}

cd "$here"
check "a program runs in the caller's folder" "*train_methods in $here: --data-dir data --output_dir out" \
  "$(said "../the clone/run" train --data-dir data --output_dir out)"
check "the project is configured in the clone" "*cmake in $clone: --preset release -DCREDITLIB_LIBTORCH=/torch *" "$(cat "$log")"
check "the default job, too, and its report" \
  "*train_methods in $here: --dataset digits * --output_dir results/digits*python in $here: $clone/tools/report *results/digits" "$(said "$clone/run")"
check "a report is drawn in the caller's folder" "python in $here: $clone/tools/report -o out a.json" "$(said "$clone/run" report -o out a.json)"
check "help has the programs and the benchmarks" "*train_methods*steps*this text*" "$(said "$clone/run" --help)"
check "and fits a terminal" "" "$(said "$source/run" --help | awk 'length($0) > 80')"
check "report's help needs nothing" "*usage: ./run report *" "$(said "$clone/run" report --help)"
check "a site may go anywhere" "python in $here: $clone/tools/docs -o site" "$(said "$clone/run" docs -o site)"
check "docs' help needs nothing" "*usage: ./run docs *" "$(said "$clone/run" docs --help)"
check "a sweep builds its program" "*python in $here: $clone/tools/sweep s.toml*" "$(said "$clone/run" sweep s.toml)"
check "namely" "*--build $build --target train_methods*" "$(cat "$log")"
check "a sweep that is refused builds nothing" "exit code 2" "$(said "$clone/run" sweep bad.toml; cat "$log")"
check "sweep's help needs nothing" "*usage: ./run sweep *" "$(said "$clone/run" sweep --help)"
check "and benchmarks" "*steps in $here: --output b.json" "$(said "$clone/run" bench steps --output b.json)"

mkdir -p "$scratch/links/below"
ln -s "../the clone/run" "$scratch/links/first"
ln -s "../first" "$scratch/links/below/creditlib"
check "through relative links, one to another" "*train_methods in $here: x" "$(said "$scratch/links/below/creditlib" train x)"
check "and through PATH" "*train_methods in $here: x" "$(PATH="$scratch/links/below:$PATH" said creditlib train x)"
ln -s "the clone" "$scratch/linked"
check "through a link to the clone" "*train_methods in $here: x" "$(said "$scratch/linked/run" train x)"

check "an unknown program is answered with those that there are" "There is no program trian. There are: train_methods;*exit code 2" \
  "$(said "$clone/run" trian)"
check "a relative LibTorch is the caller's" "*-DCREDITLIB_LIBTORCH=$here/torch *" \
  "$(CREDITLIB_LIBTORCH=torch said "$clone/run" build >/dev/null 2>&1; cat "$log")"
mkdir -p torch/include/torch/csrc/api/include/torch
touch torch/include/torch/csrc/api/include/torch/torch.h
check "and relative prefixes" "*-DCMAKE_PREFIX_PATH=/other;$here/torch *" \
  "$(unset CREDITLIB_LIBTORCH; CMAKE_PREFIX_PATH=/other:torch said "$clone/run" build >/dev/null 2>&1; cat "$log")"
: >"$log"
"$clone/run" build slow_a 2>/dev/null & "$clone/run" build slow_b 2>/dev/null
wait
check "two do not build at once" "*--target slow_[ab]*built*--target slow_[ab]*built*" "$(cat "$log")"
mkdir "$scratch/other" && cp -R "$source/run" "$source/tools" "$scratch/other/" && touch "$scratch/other/build"
check "a clone that cannot be written to is named" "$scratch/other/build cannot be written to, *exit code 1" "$(said "$scratch/other/run" report a.json)"
check "CREDITLIB_SYSTEM has one value" "CREDITLIB_SYSTEM is as-is, expected as_is or nothing.*exit code 1" \
  "$(CREDITLIB_SYSTEM=as-is said "$clone/run" build)"
said "$clone/run" build >/dev/null

# built_for CTEST_ARGUMENT...: the calls of cmake that build, and ctest's.
built_for() {
  said "$clone/run" test "$@" >/dev/null
  sed -n -e "s|^cmake in [^:]*: --build $build||p" -e 's|^ctest: --test-dir [^-]*||p' "$log" |
    grep -v -e '--target build.ninja' -e '-t targets' | tr '\n' ';'
}
check "without arguments all is built" ";--output-on-failure --no-tests=error -j *;" "$(built_for)"
check "a test's program is built" " --target tests/credit_tests;--output-on-failure * -R dfa;" "$(built_for -R dfa)"
check "also one that a script runs" " --target examples/train_methods;* -R smoke;" "$(built_for -R smoke)"
check "and a folder of programs" " --target examples/all;* -R folder;" "$(built_for -R folder)"
check "several" " --target creditlib_precompiled examples/all examples/train_methods;* -R all_but_one;" "$(built_for -R all_but_one)"
check "what tests of the compiler need" " --target creditlib_precompiled;* -R compile_fail;" "$(built_for -R compile_fail)"
check "nothing for no test" "--output-on-failure * -R none;" "$(built_for -R none)"
check "all for all" " --target all;* -V;" "$(built_for -V)"
check "nothing to list tests" "--output-on-failure * -N;" "$(built_for -N)"
check "sanitize builds another preset" "*cmake in $clone: --preset asan *--build $clone/build/asan*" \
  "$(said "$clone/run" sanitize >/dev/null 2>&1; cat "$log")"

digits="--dataset digits --limit-train 64"
# shellcheck disable=SC2086
check "reproduce takes the caller's paths, and decimal seeds and epochs" \
  "*train_methods in $here: --data-dir d --seeds 42 8 0 --epochs 9 --methods * --output_dir out $digits*" \
  "$(said "$clone/run" reproduce resmlp --data-dir d --output-dir=out --seeds 042 08 00 --epochs 09 $digits)"
check "its results are the clone's" "*--output_dir $clone/docs/results/toy*" "$(said "$clone/run" reproduce resmlp | sed 's/resmlp/toy/g')"
check "named as in the project if called there" "*--output_dir docs/results/resmlp*" "$(cd "$clone" && said ./run reproduce resmlp)"
check "it refuses hexadecimal seeds" "--seeds has 0x2a, expected whole numbers.*exit code 2" "$(said "$clone/run" reproduce resmlp --seeds 0x2a)"

((failures == 0)) || exit 1
