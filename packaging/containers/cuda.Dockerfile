# SPDX-License-Identifier: Apache-2.0
# creditlib for CUDA, on Ubuntu 24.04: as cpu.Dockerfile, with the CUDA toolkit (for CUDA graphs) and with all of torch. The toolkit's major version
# must be that of LibTorch: torch 2.11 is built with CUDA 13.
#
#   docker build -t creditlib-cuda -f packaging/containers/cuda.Dockerfile .     # in the root of a clone
#   docker run --rm -it --gpus all -v "$PWD":/project -w /project creditlib-cuda       # needs the NVIDIA container toolkit
FROM nvidia/cuda:13.0.1-devel-ubuntu24.04

COPY . /opt/creditlib

# For every ./run in the container too: LibTorch's CUDA half is linked, or CMake says why it cannot be.
ENV CREDITLIB_TORCH=full CREDITLIB_CUDA=ON

# Ubuntu's packages, torch with all that CUDA needs in /opt/creditlib/.venv, and what the tests need of Python.
RUN PIP_NO_CACHE_DIR=1 /opt/creditlib/run setup && rm -rf /var/lib/apt/lists/*

# find_package(creditlib) and pkg-config find it in /usr/local, with that LibTorch.
RUN cmake -S /opt/creditlib -B /tmp/package -G Ninja -DCREDITLIB_CUDA=ON -DCREDITLIB_BUILD_TESTS=OFF -DCREDITLIB_BUILD_EXAMPLES=OFF \
      -DCREDITLIB_BUILD_BENCH=OFF \
 && cmake --install /tmp/package --prefix /usr/local \
 && rm -rf /tmp/package
