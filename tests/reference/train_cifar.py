# SPDX-License-Identifier: Apache-2.0
"""Trains a ResidualMLP on CIFAR-10 in PyTorch, the reference scripts' way, for comparison with the C++ programs.

    python train_cifar.py --data-dir FOLDER --methods bp fa dfa --epochs 10 --output cifar_reference.json
    python train_cifar.py --self-check

FOLDER holds cifar-10-batches-bin (or is it). AdamW 1e-3, weight decay .01, cosine rate by epoch, batch 128. The file
is written after every epoch; run again with the same settings, it keeps what is finished and trains the rest.
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

from methods import METHODS, Options, Trainer, self_check

RECORD = 1 + 3 * 32 * 32
MEAN = torch.tensor([0.4914, 0.4822, 0.4465]).view(1, 3, 1, 1)
STD = torch.tensor([0.2470, 0.2435, 0.2616]).view(1, 3, 1, 1)
BATCH = 128


def read_images(folder, names):
    """Images (N, 3, 32, 32) uint8 and labels (N) int64."""
    parts = []
    for name in names:
        path = folder / name
        if not path.is_file():
            sys.exit(f"{path} is missing: --data-dir wants the folder of CIFAR-10's binary version")
        if path.stat().st_size != 10000 * RECORD:
            sys.exit(f"{path} is {path.stat().st_size} bytes, expected {10000 * RECORD}: unpack it again")
        parts.append(torch.frombuffer(bytearray(path.read_bytes()), dtype=torch.uint8).view(-1, RECORD))
    records = torch.cat(parts)
    return records[:, 1:].reshape(-1, 3, 32, 32), records[:, 0].long()


def normalized(images):
    return ((images.float() / 255 - MEAN) / STD).flatten(1)


class TrainingSet:
    """All of it in memory, zero-padded by 4; a batch is one gather of 32x32 windows."""

    def __init__(self, images, labels):
        padded = F.pad(images, (4, 4, 4, 4))
        self.windows = padded.unfold(2, 32, 1).unfold(3, 32, 1)  # (N, 3, 9, 9, 32, 32), a view
        self.labels = labels

    def epoch(self):
        for index in torch.randperm(self.labels.numel()).split(BATCH):
            n = index.numel()
            crop = self.windows[index, :, torch.randint(9, (n,)), torch.randint(9, (n,))]
            flip = (torch.rand(n) < 0.5).view(-1, 1, 1, 1)
            yield normalized(torch.where(flip, crop.flip(-1), crop)), self.labels[index]


@torch.no_grad()
def accuracy(model, x, y):
    hits = sum((model(xs).argmax(-1) == ys).sum() for xs, ys in zip(x.split(1000), y.split(1000)))
    return hits.item() / y.numel()


def median_norms(model, x, y):
    """Of h_0..h_L and of the mean loss's gradients there: medians over the samples; null where not finite."""
    logits, hidden = model.with_hidden(x)
    gradients = torch.autograd.grad(F.cross_entropy(logits, y), hidden)
    medians = lambda states: [h.detach().norm(dim=-1).median().item() for h in states]
    return [[m if math.isfinite(m) else None for m in medians(states)] for states in (hidden, gradients)]


def read_cifar(data_dir, limit_train):
    """A TrainingSet of the first images (0: of all), and the test set: (N, 3072) normalised, labels."""
    folder = data_dir / "cifar-10-batches-bin"
    folder = folder if folder.is_dir() else data_dir
    images, labels = read_images(folder, [f"data_batch_{i}.bin" for i in range(1, 6)])
    first = limit_train or labels.numel()
    test_images, test_labels = read_images(folder, ["test_batch.bin"])
    return TrainingSet(images[:first], labels[:first]), (normalized(test_images), test_labels)


def write_json(path, value):
    """Whole or not at all."""
    partial = path.with_name(path.name + ".partial")
    partial.write_text(json.dumps(value, indent=2, allow_nan=False) + "\n")
    os.replace(partial, path)


class Results:
    """The JSON file: "settings", and under each seed an entry a method."""

    def __init__(self, path, settings):
        self.path, self.all = path, {"settings": settings}
        if not path.absolute().parent.is_dir():
            sys.exit(f"--output {path}: its folder does not exist")
        if not path.exists():
            return
        try:
            old = json.loads(path.read_text())
        except ValueError as error:
            sys.exit(f"--output {path} is not a results file ({error}): move it away or name another")
        theirs = old.get("settings", {}) if isinstance(old, dict) else {}
        differ = [f"{name} {theirs.get(name)} there, {settings.get(name)} here"
                  for name in sorted({*settings, *theirs}) if theirs.get(name) != settings.get(name)]
        if differ:
            sys.exit(f"--output {path} has results of other settings ({'; '.join(differ)}): name another file")
        self.all = old

    def finished(self, seed, method):
        return self.all.get(str(seed), {}).get(method, {}).get("finished", False)

    def put(self, seed, method, entry):
        self.all.setdefault(str(seed), {})[method] = entry
        write_json(self.path, self.all)


def train(method, seed, options, training, test, put):
    """Calls put(entry) after every epoch."""
    torch.manual_seed(seed)
    trainer = Trainer(method, options)
    names = "train_loss", "train_acc", "test_acc", "seconds", "hidden_norms", "gradient_norms"
    log = {name: [] for name in names}
    for epoch in range(1, options.epochs + 1):
        start = time.perf_counter()
        loss = hits = count = 0
        for x, y in training.epoch():
            result = trainer.step(x, y)
            loss += result.loss.item() * y.numel()
            hits += (result.logits.argmax(-1) == y).sum().item()
            count += y.numel()
            if not math.isfinite(loss):
                sys.exit(f"seed {seed} {method}: the loss is not finite in epoch {epoch}")
        trainer.end_epoch()
        log["train_loss"].append(loss / count)
        log["train_acc"].append(hits / count)
        log["seconds"].append(round(time.perf_counter() - start, 2))
        log["test_acc"].append(accuracy(trainer.model, *test))
        norms, gradient_norms = median_norms(trainer.model, test[0][:128], test[1][:128])
        log["hidden_norms"].append(norms)
        log["gradient_norms"].append(gradient_norms)
        put({"log": log, "final_hidden_norms": norms, "finished": epoch == options.epochs})
        print(f"seed {seed} {method} epoch {epoch}/{options.epochs}: test accuracy {log['test_acc'][-1]:.4f}, "
              f"training loss {log['train_loss'][-1]:.4f}, {log['seconds'][-1]:.1f} s", flush=True)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=["bp", "fa", "dfa"])
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--seeds", "--seed", nargs="+", type=int, default=[42])
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--blocks", type=int, default=4)
    parser.add_argument("--clip", type=float, default=0, help="clip each block's gradient norm to this (0: not at all)")
    parser.add_argument("--penalty", type=float, default=0, help="add this times the batch mean of ||f_l||^2")
    parser.add_argument("--at-input", action="store_true", help="learned rules drive block l with their estimate at h_l")
    parser.add_argument("--limit-train", type=int, default=0, help="train on the first N images only (0: all)")
    parser.add_argument("--one-pass", action="store_true", help="each forward once and one fused optimiser: faster")
    parser.add_argument("--matmul", choices=["highest", "medium"], default="highest", help="float32 matmul precision")
    parser.add_argument("--threads", type=int, default=1, help="0: as many as PyTorch takes by itself")
    parser.add_argument("--output", type=Path, default=Path("cifar_reference.json"))
    parser.add_argument("--self-check", action="store_true", help="only check that --one-pass changes no number")
    args = parser.parse_args()
    if args.data_dir is None and not args.self_check:
        parser.error("--data-dir is needed")
    for name in ("epochs", "width", "blocks"):
        if getattr(args, name) < 1:
            parser.error(f"--{name} must be at least 1, not {getattr(args, name)}")
    for name in ("clip", "penalty", "limit_train", "threads"):
        if not 0 <= getattr(args, name) < math.inf:
            parser.error(f"--{name.replace('_', '-')} must be a number of at least 0, not {getattr(args, name)}")
    return args


def main():
    args = arguments()
    if args.threads:
        torch.set_num_threads(args.threads)
    if args.self_check:
        sys.exit(0 if self_check() else "the two ways differ by more than 1e-10")
    torch.set_float32_matmul_precision(args.matmul)
    options = Options(3 * 32 * 32, args.width, 10, args.blocks, args.epochs, clip_norm=args.clip or None,
                      penalty=args.penalty, at_input=args.at_input, one_pass=args.one_pass)
    results = Results(args.output, {
        "arch": "resmlp", "width": args.width, "blocks": args.blocks, "batch": BATCH, "lr": options.lr,
        "weight_decay": options.weight_decay, "epochs": args.epochs, "clip": args.clip, "penalty": args.penalty,
        "at_input": args.at_input, "limit_train": args.limit_train, "one_pass": args.one_pass,
        "matmul": args.matmul, "threads": args.threads, "torch": str(torch.__version__)})

    training, test = read_cifar(args.data_dir, args.limit_train)
    for seed in args.seeds:
        for method in args.methods:
            if results.finished(seed, method):
                print(f"seed {seed} {method}: finished in {args.output}", flush=True)
                continue
            train(method, seed, options, training, test, lambda entry: results.put(seed, method, entry))


if __name__ == "__main__":
    main()
