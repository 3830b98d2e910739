# SPDX-License-Identifier: Apache-2.0
"""PyTorch's back-propagation beside bench/throughput: the same networks and batch sizes, eager, compiled and in a CUDA graph.

    ./run bench throughput --device cuda --json FILE          runs this too, where Python has torch

It takes the flags of throughput; --rules and --matmul do not concern it. AdamW is fused, and on CUDA capturable. Rows are added to FILE as they
come, with the rule "pytorch/bp" and the mode "eager", "compiled" or "graph". Exit codes: 0; 1 if a row failed; 2 for wrong flags; 77 without a torch.
"""

import argparse
import json
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "reference"))

try:
    import torch
except ImportError:
    print("pytorch_throughput: this Python has no torch, so PyTorch's own steps are not measured")
    sys.exit(77)
import torch.nn.functional as F

import scripts_cnn
import scripts_images
import scripts_way
from contest import write_json

MODELS = {
    "resmlp": ("resmlp_d256_L4", lambda classes: scripts_way.ResidualMLP(3072, 256, classes, 4)),
    "cnn": ("cnn", scripts_cnn.SmallCNN),
    "resnet": ("resnet", scripts_images.SmallResNet),
    "vit": ("vit", scripts_images.ViTMini),
}


def logits_of(network, x):
    if not hasattr(network, "pooled"):
        return network(x)
    h = network.embed(x)
    for block in network.blocks:
        h = block(h)
    return network.head(network.pooled(h))


def names(text):
    return [name for name in text.split(",") if name]


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--models", type=names)
    parser.add_argument("--batches", type=lambda text: [int(size) for size in names(text)])
    parser.add_argument("--classes", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=0.25)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--tf32", action="store_true")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--rules", help=argparse.SUPPRESS)
    parser.add_argument("--matmul", help=argparse.SUPPRESS)
    args = parser.parse_args()
    on_cpu = args.device == "cpu"
    args.models = args.models or (["resmlp"] if on_cpu else list(MODELS))
    args.batches = args.batches or ([128] if on_cpu else [128, 1024])
    for name in args.models:
        if name not in MODELS:
            parser.error(f"--models: there is no {name}, only {', '.join(MODELS)}")
    return args


def maker(model, mode, batch, args):
    """The step of a network in this mode, a function of nothing."""
    torch.manual_seed(1)
    device = torch.device(args.device)
    network = MODELS[model][1](args.classes).to(device).train()
    on_cuda = device.type == "cuda"
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3, weight_decay=0.01, fused=True, capturable=on_cuda)
    shape = (batch, 3072) if model == "resmlp" else (batch, 3, 32, 32)
    x, y = torch.randn(shape, device=device), torch.randint(args.classes, (batch,), device=device)
    loss_of = lambda: F.cross_entropy(logits_of(network, x), y)
    if mode == "compiled":
        compiled = torch.compile(lambda x, y: F.cross_entropy(logits_of(network, x), y))
        loss_of = lambda: compiled(x, y)

    def step():
        optimizer.zero_grad(set_to_none=mode != "graph")
        loss_of().backward()
        optimizer.step()

    if mode != "graph":
        return step
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return graph.replay


def seconds_of(steps, step, device):
    """Seconds per step of a group; on CUDA between two events."""
    if device.type != "cuda":
        start = time.perf_counter()
        for _ in range(steps):
            step()
        return (time.perf_counter() - start) / steps
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    begin.record()
    for _ in range(steps):
        step()
    end.record()
    end.synchronize()
    return begin.elapsed_time(end) / 1e3 / steps


def measured(step, args):
    device = torch.device(args.device)
    for _ in range(4):
        step()
    once = seconds_of(2, step, device)
    steps = min(max(int(args.seconds / 5 / once), 1), 2000)
    return sorted(seconds_of(steps, step, device) for _ in range(5))


def main():
    args = arguments()
    torch.set_num_threads(args.threads)
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = args.tf32
    document = json.loads(args.json.read_text()) if args.json and args.json.exists() else {"rows": []}
    failed = False
    modes = ["eager", "compiled", "graph"] if args.device.startswith("cuda") else ["eager", "compiled"]
    for model in args.models:
        for batch in args.batches:
            for mode in modes:
                key = {"rule": "pytorch/bp", "model": MODELS[model][0], "path": "autograd", "mode": mode, "batch": batch}
                if any(all(row.get(k) == v for k, v in key.items()) and "error" not in row for row in document["rows"]):
                    continue
                try:
                    times = measured(maker(model, mode, batch, args), args)
                    middle = statistics.median(times)
                    row = key | {"ms": 1e3 * middle, "ms_quartiles": [1e3 * times[1], 1e3 * times[3]], "images_per_second": batch / middle}
                    print(f"{'pytorch/bp':22} {MODELS[model][0]:14} {'autograd':16} {mode:8} {batch:6} {1e3 * middle:10.3f} ms {batch / middle:11.0f} images/s",
                          flush=True)
                except Exception as error:  # a mode that this machine lacks, such as a compiler for torch.compile
                    row = key | {"error": str(error).splitlines()[0] if str(error) else type(error).__name__}
                    print(f"{'pytorch/bp':22} {MODELS[model][0]:14} {'autograd':16} {mode:8} {batch:6} failed: {row['error']}", flush=True)
                    failed = True
                document["rows"].append(row)
                if args.json:
                    write_json(args.json, document)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
