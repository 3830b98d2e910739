# SPDX-License-Identifier: Apache-2.0
"""Trains the networks of docs/experiments/rules_of_the_field.md in PyTorch: from train_methods' first weights, on its batches.

    python train_field.py --dataset mnist --data-dir DIR --network lenet --rules bp --seeds 42 123 456 --epochs 5 --batch-size 64 --output FILE

A seed draws the network and the order of the samples as it does in train_methods without crops and flips: by back-propagation (bp) every step is the
same up to rounding. AdamW without weight decay, cosine rate by epoch. The other rules are BioTorch's (pip install --no-deps biotorch), which draws
feedback of its own, for lenet and mlp. The file is written after every epoch; a second run with the same settings keeps what is finished.
Exit codes: 0; 1 if data are missing, or a file of other settings is in the way; 2 for wrong flags; 77 without BioTorch.
"""

import argparse
import json
import math
import os
import sys
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

RULES = {"bp": None, "layer_fa": "fa", "dfa": "dfa", "usf": "usf", "brsf": "brsf", "frsf": "frsf"}  # train_methods' names, BioTorch's


def mlp(channels, side, blocks):
    layers, features = [nn.Flatten()], channels * side * side
    for _ in range(blocks):
        layers += [nn.Linear(features, 1024), nn.Tanh()]
        features = 1024
    return nn.Sequential(*layers, nn.Linear(features, 10))


def lenet(channels, side, _):
    return nn.Sequential(nn.Conv2d(channels, 6, 5, padding=(32 - side) // 2), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 16, 5), nn.ReLU(),
                         nn.MaxPool2d(2), nn.Conv2d(16, 120, 5), nn.ReLU(), nn.Flatten(), nn.Linear(120, 84), nn.Linear(84, 10))


def cnn(channels, side, _):
    layers = []
    for at, (before, after) in enumerate([(channels, 32), (32, 64), (64, 128)]):
        layers += [nn.Conv2d(before, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU()] + ([nn.MaxPool2d(2)] if at else [])
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(128 * (side // 4) ** 2, 256), nn.ReLU(), nn.Linear(256, 10))


NETWORKS = {"mlp": mlp, "lenet": lenet, "cnn": cnn}


def read(path, header, expected):
    if not path.is_file():
        sys.exit(f"{path} is missing: --data-dir is the folder that train_methods takes")
    if path.stat().st_size != expected:
        sys.exit(f"{path} is {path.stat().st_size} bytes, expected {expected}: unpack it again")
    return torch.frombuffer(bytearray(path.read_bytes()[header:]), dtype=torch.uint8)


def mnist(folder):
    split = lambda name, n: (read(folder / f"MNIST/raw/{name}-images-idx3-ubyte", 16, 16 + 784 * n).view(n, 1, 28, 28),
                             read(folder / f"MNIST/raw/{name}-labels-idx1-ubyte", 8, 8 + n).long())
    return split("train", 60000), split("t10k", 10000), (.1307,), (.3081,)


def cifar10(folder):
    def split(names):
        records = torch.cat([read(folder / f"cifar-10-batches-bin/{name}.bin", 0, 10000 * 3073).view(-1, 3073) for name in names])
        return records[:, 1:].reshape(-1, 3, 32, 32), records[:, 0].long()

    return split([f"data_batch_{i}" for i in range(1, 6)]), split(["test_batch"]), (.4914, .4822, .4465), (.2470, .2435, .2616)


DATA = {"mnist": mnist, "cifar10": cifar10}


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--dataset", choices=DATA, default="mnist")
    parser.add_argument("--network", choices=NETWORKS, default="lenet")
    parser.add_argument("--num-blocks", type=int, default=1, help="hidden layers of mlp")
    parser.add_argument("--rules", nargs="+", choices=RULES, default=["bp"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[42])
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--output", type=Path, required=True)
    args = parser.parse_args()
    if min(args.num_blocks, args.epochs, args.batch_size, args.threads) < 1:
        parser.error("--num-blocks, --epochs, --batch-size and --threads must be at least 1")
    if args.network == "cnn" and args.rules != ["bp"]:
        parser.error("--network cnn takes --rules bp alone: BioTorch has no BatchNorm to convert")
    if not args.output.absolute().parent.is_dir():
        parser.error(f"--output {args.output}: its folder does not exist")
    return args


def made(args, rule, seed, channels, side):
    torch.manual_seed(seed)
    network = NETWORKS[args.network](channels, side, args.num_blocks)
    if RULES[rule] is None:
        return network
    try:
        from biotorch.module.biomodule import BioModule
    except ImportError as error:
        print(f"{rule} is BioTorch's: {error}. pip install --no-deps biotorch installs it.", file=sys.stderr)
        sys.exit(77)
    return BioModule(network, mode=RULES[rule], output_dim=10 if rule == "dfa" else None)


def train(args, rule, seed, data, record):
    (images, labels), (test_images, test_labels), mean, deviation = data
    constants = [torch.tensor(values, dtype=torch.float64).float().view(1, -1, 1, 1) for values in (mean, deviation)]
    normalized = lambda x: x.float().div_(255).sub_(constants[0]).div_(constants[1])
    network = made(args, rule, seed, *images.shape[1:3])
    optimizer = torch.optim.AdamW([p for p in network.parameters() if p.requires_grad], lr=args.lr, weight_decay=0)
    loss_of = nn.CrossEntropyLoss()
    orders = torch.Generator().manual_seed(seed)
    log = {"train_loss": [], "test_acc": [], "ms_per_step": []}
    for epoch in range(args.epochs):
        for group in optimizer.param_groups:
            group["lr"] = args.lr * (1 + math.cos(math.pi * epoch / args.epochs)) / 2
        network.train()
        total, steps, start = 0.0, 0, time.perf_counter()
        for index in torch.randperm(len(labels), generator=orders).split(args.batch_size):
            x, y = normalized(images[index]), labels[index]
            optimizer.zero_grad()
            logits = network(x, targets=y, loss_function=loss_of) if rule == "dfa" else network(x)
            loss = loss_of(logits, y)
            loss.backward()
            optimizer.step()
            total, steps = total + loss.item() * len(y), steps + 1
        log["ms_per_step"].append(1e3 * (time.perf_counter() - start) / steps)
        log["train_loss"].append(total / len(labels))
        network.eval()
        with torch.no_grad():
            right = sum((network(normalized(x)).argmax(1) == y).sum().item() for x, y in zip(test_images.split(1000), test_labels.split(1000)))
        log["test_acc"].append(right / len(test_labels))
        figures = f"train loss {log['train_loss'][-1]:.4f}, test accuracy {log['test_acc'][-1]:.4f}"
        print(f"{rule}, seed {seed}: epoch {epoch + 1}/{args.epochs}, {figures}", flush=True)
        record({"log": log, "finished": epoch + 1 == args.epochs})


def main():
    args = arguments()
    torch.set_num_threads(args.threads)
    settings = {key: getattr(args, key) for key in ("dataset", "network", "num_blocks", "epochs", "batch_size", "lr")}
    results = json.loads(args.output.read_text()) if args.output.exists() else {}
    if results.get("settings", settings) != settings:
        sys.exit(f"{args.output} holds results of other settings: use another --output")
    results |= {"settings": settings, "environment": {"torch": torch.__version__, "threads": args.threads}}
    data = DATA[args.dataset](args.data_dir)
    for seed in args.seeds:
        for rule in args.rules:
            of_seed = results.setdefault(str(seed), {})
            if of_seed.get(rule, {}).get("finished"):
                continue

            def record(entry):
                of_seed[rule] = entry
                part = args.output.with_name(args.output.name + ".part")
                part.write_text(json.dumps(results, indent=1) + "\n")
                os.replace(part, args.output)

            train(args, rule, seed, data, record)


if __name__ == "__main__":
    main()
