# SPDX-License-Identifier: Apache-2.0
"""What the scripts that write a fixture, make_*.py, begin and end with."""

import json
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file


def begin(seed):
    """One thread, one result per machine, float64 unless it is said, and LibTorch's generator seeded."""
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(seed)


def drawn_layers(names, sizes):
    """Weights and biases of linear layers between these sizes, far enough from 0 that every gradient matters."""
    layers = {}
    for name, fan_in, fan_out in zip(names, sizes, sizes[1:]):
        layers[f"{name}.weight"] = torch.randn(fan_out, fan_in) / fan_in**0.5
        layers[f"{name}.bias"] = 0.1 * torch.randn(fan_out)
    return layers


def write(name, tensors, settings):
    """Writes NAME.safetensors beside the scripts, or the FILE that the command line names."""
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_name(f"{name}.safetensors")
    settings = settings | {"torch": torch.__version__.split("+")[0]}
    # One metadata entry: the file's bytes would otherwise depend on the order of a hash map.
    save_file({key: value.contiguous() for key, value in tensors.items()}, path,
              metadata={"settings": json.dumps(settings, sort_keys=True)})
    print(f"{path}: {path.stat().st_size} bytes")
