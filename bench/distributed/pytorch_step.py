# SPDX-License-Identifier: Apache-2.0
"""What step.cpp times, by PyTorch's DistributedDataParallel over Gloo: eager back-propagation with the fused AdamW."""

import argparse
import json
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent / "tests" / "reference"))

import torch
import torch.distributed as dist
import torch.nn.functional as F

import scripts_way

INPUTS, CLASSES = 3072, 10


def bytes_sent(interface):
    return int(Path(f"/sys/class/net/{interface}/statistics/tx_bytes").read_text())


def main():
    parser = argparse.ArgumentParser()
    for name, value in (("width", 256), ("blocks", 4), ("batch", 256), ("threads", 1), ("warm-up", 5), ("steps", 50)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--interface", default="lo")
    args = parser.parse_args()

    torch.set_num_threads(args.threads)
    torch.manual_seed(1)
    dist.init_process_group("gloo")
    rank, size = dist.get_rank(), dist.get_world_size()
    model = torch.nn.parallel.DistributedDataParallel(scripts_way.ResidualMLP(INPUTS, args.width, CLASSES, args.blocks))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.01, fused=True)
    pool = [(torch.randn(args.batch, INPUTS).chunk(size)[rank], torch.randint(CLASSES, (args.batch,)).chunk(size)[rank]) for _ in range(8)]
    times, sent = [], 0
    for step in range(-args.warm_up, args.steps):
        if step == 0:
            sent = bytes_sent(args.interface)
        x, y = pool[(step + args.warm_up) % len(pool)]
        start = time.perf_counter()
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()
        if step >= 0:
            times.append(1e3 * (time.perf_counter() - start))
    sent = bytes_sent(args.interface) - sent
    if rank == 0:
        print(json.dumps({"ms": times, "bytes_per_step": sent // args.steps}), flush=True)
    dist.destroy_process_group()


main()
