# SPDX-License-Identifier: Apache-2.0
# creditlib for the CPU, on Debian 12: compilers, the oldest supported LibTorch, the installed package, and the clone with ./run.
#
#   docker build -t creditlib -f packaging/containers/cpu.Dockerfile .     # in the root of a clone
#   docker run --rm -it -v "$PWD":/project -w /project creditlib                 # ./run and its programs: /opt/creditlib/run
FROM debian:bookworm

COPY . /opt/creditlib

# Debian's packages, LibTorch for the CPU in /opt/creditlib/.venv, and what the tests need of Python.
RUN PIP_NO_CACHE_DIR=1 /opt/creditlib/run setup && rm -rf /var/lib/apt/lists/*

# find_package(creditlib) and pkg-config find it in /usr/local, with that LibTorch.
RUN cmake -S /opt/creditlib -B /tmp/package -G Ninja -DCREDITLIB_BUILD_TESTS=OFF -DCREDITLIB_BUILD_EXAMPLES=OFF -DCREDITLIB_BUILD_BENCH=OFF \
 && cmake --install /tmp/package --prefix /usr/local \
 && rm -rf /tmp/package
