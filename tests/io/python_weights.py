#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Weights from Python for tests/io/load_weights.cpp.

    python python_weights.py FOLDER

Writes twin.safetensors, the state_dict of Twin (tied weights once), run.safetensors, an input and what Twin makes of it,
twin.safetensors.index.json with two shards of the same weights, and packed.safetensors, of dtypes that are rare.
Needs safetensors and torch; without them it exits with 77.
"""

import json
import sys
from pathlib import Path

try:
    import torch
    from safetensors.torch import load_file, save_file, save_model
    from torch import nn
except ImportError as error:
    print(error)
    sys.exit(77)


class Twin(nn.Module):
    """The network of that name in load_weights.cpp."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.bn = nn.BatchNorm2d(4)
        self.body = nn.Sequential(nn.Linear(64, 16), nn.GELU(), nn.LayerNorm(16))
        self.embed = nn.Embedding(10, 16)
        self.head = nn.Linear(16, 10)
        self.head.weight = self.embed.weight

    def forward(self, x):
        h = torch.relu(self.bn(self.conv(x)))
        return self.head(self.body(h.flatten(1)))


def main(folder):
    torch.manual_seed(7)
    twin, x = Twin(), torch.randn(5, 3, 6, 6)
    twin(x)  # moves the running statistics
    twin.eval()
    with torch.no_grad():
        save_file({"x": x, "y": twin(x)}, folder / "run.safetensors")
    save_model(twin, str(folder / "twin.safetensors"))

    weights = load_file(folder / "twin.safetensors")
    shards = {f"twin-{i + 1:05}-of-00002.safetensors": list(weights)[i::2] for i in range(2)}
    for file, names in shards.items():
        save_file({name: weights[name] for name in names}, folder / file)
    index = {"metadata": {}, "weight_map": {name: file for file, names in shards.items() for name in names}}
    (folder / "twin.safetensors.index.json").write_text(json.dumps(index))

    count = torch.arange(6, dtype=torch.uint8).reshape(2, 3)
    save_file({name: count.clone().view(getattr(torch, name)) for name in
               "float8_e8m0fnu float8_e4m3fnuz float8_e5m2fnuz float4_e2m1fn_x2".split()}, folder / "packed.safetensors")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
