# shellcheck shell=bash disable=SC2034,SC2154
# SPDX-License-Identifier: Apache-2.0
# What building needs, found or installed: system packages, LibTorch, Python packages. ./run reads this file, and gives it `root`, say, fail,
# quietly, have and absolute. setup_all [python] does all of it, and sets libtorch_arguments, what CMake is told.

environment="$root/.venv"

debian_packages=(g++ cmake ninja-build ccache python3 python3-venv git catch2 libfmt-dev nlohmann-json3-dev libcli11-dev
                 libtomlplusplus-dev libbenchmark-dev zlib1g-dev libpng-dev libjpeg-dev pkg-config)
# The oldest LibTorch that creditlib supports, so that what compiles here compiles for its users; docs/install.md says more.
torch="torch==2.11.0"
# All that the CPU half of that wheel needs at run time.
torch_companions=("nvidia-cuda-runtime==13.0.96" "nvidia-cuda-cupti==13.0.85")
# For the tests of exchange with Python.
python_packages=("numpy==2.2.6; python_version < '3.11'" "numpy==2.4.6; python_version >= '3.11'" "safetensors==0.8.0")

# For ./run report and ./run sweep.
report_packages=("matplotlib==3.10.9" "tomli==2.2.1; python_version < '3.11'")
# For ./run docs.
docs_packages=("mkdocs==1.6.1" "mkdocs-material==9.7.7" "tree-sitter==0.26.1" "tree-sitter-cpp==0.23.4")

# ---- System packages ----

installed() { [[ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" == installed ]]; }
header_found() { printf '#include <%s>\n' "$1" | "${CXX:-c++}" -std=c++20 -x c++ -E - >/dev/null 2>&1; }

# The preset ci compiles with clang 19 if it can be had: half of g++ 12's time. g++ then compiles the outside projects of the tests.
quick_compiler=clang++-19
quick_compiler_package=clang-19

# A tool counts as there when its command is, wherever it comes from. A source archive does without git, which only says a clone's commit.
package_is_there() {
  case "$1" in
    git) [[ ! -e "$root/.git" ]] || have git || installed git ;;
    g++ | cmake | ccache | python3 | pkg-config) have "$1" || installed "$1" ;;
    ninja-build) have ninja || installed ninja-build ;;
    python3-venv) (cd / && python3 -c 'import venv, ensurepip') 2>/dev/null ;;
    *) installed "$1" ;;
  esac
}

setup_system() {
  case "${CREDITLIB_SYSTEM:-}" in
    as_is) return 0 ;;
    "") ;;
    *) fail "CREDITLIB_SYSTEM is $CREDITLIB_SYSTEM, expected as_is or nothing." ;;
  esac
  if have dpkg-query && have apt-get; then setup_debian; else check_other_system; fi
}

wants_quick_compiler() { [[ "$preset" == ci && -z "${CXX:-}" ]] && ! have "$quick_compiler"; }
offered() {
  local said
  said="$(LC_ALL=C apt-cache policy "$1" 2>/dev/null)" || return 1
  [[ "$said" == *"Candidate: "[0-9]* ]]
}

setup_debian() {
  local package missing=() as_root=()
  for package in "${debian_packages[@]}"; do
    package_is_there "$package" || missing+=("$package")
  done
  if ((EUID != 0)); then as_root=(sudo); fi
  if ((${#missing[@]})); then
    say "these Debian packages are missing and will be installed: ${missing[*]}"
    if ((EUID != 0)); then
      have sudo || fail "Neither root nor sudo here; as root: apt-get install ${missing[*]}"
      if [[ -t 0 ]]; then sudo -v; else as_root=(sudo -n); fi
    fi
    quietly "apt-get update" "${as_root[@]}" apt-get update
    apt_install "${missing[@]}"
  fi
  if wants_quick_compiler && offered "$quick_compiler_package" && { ((EUID == 0)) || sudo -n true 2>/dev/null; }; then
    say "$quick_compiler_package will be installed: the tests compile in half of g++'s time with it (CXX=g++ does without)"
    apt_install "$quick_compiler_package"
  fi
}
apt_install() {
  quietly "apt-get install" "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$@"
}

check_other_system() {
  local missing=()
  if ! have "${CXX:-c++}"; then
    missing+=("a C++20 compiler (g++ 12 or clang 19, or newer) as c++, or named by CXX")
  else
    header_found catch2/catch_all.hpp || header_found catch2/catch.hpp || missing+=("Catch2 (2.13 or 3)")
    header_found fmt/format.h || missing+=("fmt, headers")
    header_found nlohmann/json.hpp || missing+=("nlohmann-json")
    header_found CLI/CLI.hpp || missing+=("CLI11")
    header_found toml++/toml.h || missing+=("toml++ (tomlplusplus)")
    header_found benchmark/benchmark.h || missing+=("Google Benchmark")
    header_found zlib.h || missing+=("zlib, headers")
    header_found png.h || missing+=("libpng, headers")
    header_found jpeglib.h || missing+=("libjpeg-turbo, headers")
  fi
  have cmake || missing+=("CMake 3.23 or newer")
  have ninja || missing+=("Ninja")
  package_is_there git || missing+=("git")
  have python3 || missing+=("Python 3.10 or newer, with venv and pip")
  ((${#missing[@]})) || return 0
  printf 'This is not Debian or Ubuntu, so please install these with its own package manager, then run again:\n' >&2
  printf '  * %s\n' "${missing[@]}" >&2
  exit 1
}

# ---- LibTorch and Python ----

# The folders of CMAKE_PREFIX_PATH, absolute, with colons between them.
absolute_prefix_path() {
  local prefix all="" given="${CMAKE_PREFIX_PATH:-}"
  local -a prefixes
  IFS=: read -ra prefixes <<<"${given//;/:}"
  for prefix in ${prefixes[@]+"${prefixes[@]}"}; do
    [[ -z "$prefix" ]] || all+="${all:+:}$(absolute "$prefix")"
  done
  printf '%s\n' "$all"
}

# prefix_path_has_libtorch FOLDER:...: is there a LibTorch in one of them? CMAKE_PREFIX_PATH may well be set for other packages.
prefix_path_has_libtorch() {
  local prefix below
  local -a prefixes
  IFS=: read -ra prefixes <<<"$1"
  for prefix in ${prefixes[@]+"${prefixes[@]}"}; do
    for below in "" /torch /libtorch; do
      [[ -e "${prefix%/share/cmake}$below/include/torch/csrc/api/include/torch/torch.h" ]] && return 0
    done
  done
  return 1
}

# Prints the folder of the active Python's torch if it is new enough and has C++ headers; does not import it, which takes seconds.
libtorch_of_active_python() {
  local python
  for python in "${VIRTUAL_ENV:-/nowhere}/bin/python" "${CONDA_PREFIX:-/nowhere}/bin/python" python3; do
    have "$python" || continue
    (cd / && "$python" - 2>/dev/null) <<'END' && return 0
import importlib.util, os, re, sys
spec = importlib.util.find_spec("torch")
if not spec or not spec.origin:
    sys.exit(1)
folder = os.path.dirname(spec.origin)
version = re.search(r"__version__ = '(\d+)\.(\d+)", open(os.path.join(folder, "version.py")).read())
if not version or tuple(map(int, version.groups())) < (2, 11):
    sys.exit(1)
for place in (folder, sys.prefix):
    if os.path.exists(os.path.join(place, "include/torch/csrc/api/include/torch/torch.h")):
        print(place)
        sys.exit(0)
sys.exit(1)
END
  done
  return 1
}

# Finds or installs LibTorch. Sets libtorch_arguments, what CMake is told.
libtorch_arguments=()
setup_libtorch() {
  local folder prefix_path
  prefix_path="$(absolute_prefix_path)"
  if [[ -n "${CREDITLIB_LIBTORCH:-}" ]]; then
    libtorch_arguments=("-DCREDITLIB_LIBTORCH=$(absolute "$CREDITLIB_LIBTORCH")")
  elif [[ -n "${Torch_DIR:-}" ]]; then
    libtorch_arguments=(-UCREDITLIB_LIBTORCH "-DTorch_DIR=$(absolute "$Torch_DIR")")
  elif [[ -n "$prefix_path" ]] && prefix_path_has_libtorch "$prefix_path"; then
    libtorch_arguments=(-UCREDITLIB_LIBTORCH "-DCMAKE_PREFIX_PATH=${prefix_path//:/;}")
  elif folder="$(libtorch_of_active_python)" && [[ "$folder" != "$environment"/* ]]; then
    libtorch_arguments=("-DCREDITLIB_LIBTORCH=$folder")
  else
    setup_environment torch
    folder="$(echo "$environment"/lib/python3*/site-packages/torch)"
    [[ -d "$folder" ]] || fail "No torch in $environment; remove that folder and run again."
    libtorch_arguments=("-DCREDITLIB_LIBTORCH=$folder")
  fi
}

# setup_environment torch|python|report|docs: .venv with torch, or with what the tests, reports or the documentation site need. A file written at the
# end of each says that it is all there; an environment whose making was interrupted is made anew.
setup_environment() {
  local what="$1" wanted installed_file="$environment/.creditlib-$1" unfinished="$environment/.creditlib-unfinished"
  case "$what" in
    torch) wanted="$torch ${torch_companions[*]}"
           if [[ "${CREDITLIB_TORCH:-}" == full ]]; then wanted="$torch full"; fi ;;
    python) wanted="${python_packages[*]}" ;;
    report) wanted="${report_packages[*]}" ;;
    docs) wanted="${docs_packages[*]}" ;;
  esac
  if [[ ! -e "$unfinished" && -e "$installed_file" ]]; then
    [[ "$(<"$installed_file")" == "$wanted" ]] && return 0
    [[ "$(<"$installed_file")" == "$torch full" && -z "${CREDITLIB_TORCH:-}" ]] && return 0
  fi

  if [[ -e "$unfinished" ]]; then
    say ".venv: its making was interrupted, so it is made anew"
    rm -rf "$environment"
  fi
  if [[ ! -d "$environment" ]]; then
    mkdir "$environment"
    touch "$unfinished"
    quietly "python3 -m venv .venv" python3 -m venv "$environment"
  elif compgen -G "$environment/.creditlib-*" >/dev/null; then
    touch "$unfinished" # only in an environment that this script made: nobody else's is ever removed
  fi
  local pip=("$environment/bin/python" -m pip install --no-input --disable-pip-version-check --progress-bar off)
  case "$what" in
    torch)
      if [[ "${CREDITLIB_TORCH:-}" == full ]]; then
        say "installing $torch and all it needs into .venv (4.7 GB)"
        quietly "pip install torch" "${pip[@]}" "$torch"
      else
        say "installing $torch for C++ on the CPU into .venv (1.3 GB)"
        quietly "pip install torch" "${pip[@]}" --no-deps "$torch" "${torch_companions[@]}"
      fi ;;
    python)
      quietly "pip install numpy safetensors" "${pip[@]}" "${python_packages[@]}" ;;
    report)
      say "installing matplotlib into .venv (80 MB), for reports"
      quietly "pip install matplotlib" "${pip[@]}" "${report_packages[@]}" ;;
    docs)
      say "installing MkDocs and its theme into .venv (130 MB), for the documentation site"
      quietly "pip install mkdocs-material" "${pip[@]}" "${docs_packages[@]}" ;;
  esac
  printf '%s\n' "$wanted" >"$installed_file"
  rm -f "$unfinished"
}

# ---- All of it ----

setup_all() {
  setup_system
  setup_libtorch
  if [[ "${1:-}" == python ]]; then setup_environment python; fi
}

# What ./run report, ./run sweep and ./run docs need: a Python of their own.
setup_report() { setup_tool report; }
setup_docs() { setup_tool docs; }
setup_tool() {
  package_is_there python3-venv || setup_system
  setup_environment "$1"
}
