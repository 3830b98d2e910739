#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Python's safetensors package as the other side of tests/io/safetensors.cpp.

    python python_safetensors.py write FILE     writes the tensors of tensors() (python.safetensors was made so)
    python python_safetensors.py check FILE     exits with 1, saying why, unless FILE holds them; by numpy, and torch if there

Needs safetensors and numpy; without them it exits with 77. bfloat16 and float8 are written and checked where torch is there.
"""

import sys

try:
    import numpy
    import safetensors
    import safetensors.numpy
except ImportError as error:
    print(error)
    sys.exit(77)
try:
    import torch
    import safetensors.torch
except ImportError:
    torch = None

METADATA = {"made by": "Python", "µ": "naïve \"quoted\"\n"}
NUMPY_DTYPES = "float64 float32 float16 int64 int32 int16 int8 uint64 uint32 uint16 uint8 bool complex64".split()
TORCH_DTYPES = "bfloat16 float8_e5m2 float8_e4m3fn".split()


def tensors():
    """0, 1, .. 5 as (2, 3) in every dtype, under its name; an empty tensor and one without dimensions."""
    made = {name: numpy.arange(6).reshape(2, 3).astype(name) for name in NUMPY_DTYPES}
    made["empty"] = numpy.zeros((0, 3), "float32")
    made["scalar"] = numpy.array(1.5)
    return made


def torch_tensors():
    made = {name: torch.from_numpy(array) for name, array in tensors().items()}
    for name in TORCH_DTYPES:
        made[name] = torch.arange(6).reshape(2, 3).to(getattr(torch, name))
    return made


def write(path):
    if torch:
        safetensors.torch.save_file(torch_tensors(), path, METADATA)
    else:
        safetensors.numpy.save_file(tensors(), path, METADATA)


def check(path):
    with safetensors.safe_open(path, "numpy") as file:
        assert file.metadata() == METADATA, file.metadata()
        assert set(file.keys()) == set(tensors()) | set(TORCH_DTYPES), file.keys()
        for name, expected in tensors().items():
            found = file.get_tensor(name)
            assert found.dtype == expected.dtype and found.shape == expected.shape, (name, found.dtype, found.shape)
            assert (found == expected).all(), (name, found)
    if torch:
        found = safetensors.torch.load_file(path)
        for name, expected in torch_tensors().items():
            assert found[name].dtype == expected.dtype and found[name].shape == expected.shape, (name, found[name])
            assert (found[name].to(torch.complex64) == expected.to(torch.complex64)).all(), (name, found[name])


if __name__ == "__main__":
    {"write": write, "check": check}[sys.argv[1]](sys.argv[2])
