"""Trains bp, fa and dfa on CIFAR-10 in PyTorch, the reference scripts' way, for comparison with the C++ programs.

    python train_cifar.py --data-dir FOLDER --methods bp fa dfa --epochs 10 --output cifar_reference.json

FOLDER holds cifar-10-batches-bin (or is it). ResidualMLP, width 256, 4 blocks; AdamW 1e-3, weight decay .01, cosine
rate by epoch, batch 128, no clipping. fa's credit is the gradient of the batch mean, as in the scripts.
"""

import argparse
import json
import os
import sys
import time
from pathlib import Path

import torch

import scripts_way

RECORD = 1 + 3 * 32 * 32
MEAN = torch.tensor([0.4914, 0.4822, 0.4465]).view(1, 3, 1, 1)
STD = torch.tensor([0.2470, 0.2435, 0.2616]).view(1, 3, 1, 1)
BATCH, WIDTH, BLOCKS, CLASSES, LR, WEIGHT_DECAY = 128, 256, 4, 10, 1e-3, 0.01


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
        padded = torch.nn.functional.pad(images, (4, 4, 4, 4))
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


def train(method, seed, epochs, training, test):
    torch.manual_seed(seed)
    model = scripts_way.ResidualMLP(3072, WIDTH, CLASSES, BLOCKS)
    optimizers = scripts_way.Optimizers(model, epochs, LR, WEIGHT_DECAY, whole=method == "bp")
    if method == "bp":
        step = lambda x, y: scripts_way.bp_step(model, optimizers, x, y)
    elif method == "dfa":
        feedback = scripts_way.draw_dfa_feedback(WIDTH, CLASSES, BLOCKS)
        step = lambda x, y: scripts_way.dfa_step(model, optimizers, feedback, x, y)
    else:
        feedback = scripts_way.draw_fa_feedback(WIDTH, BLOCKS)
        step = lambda x, y: scripts_way.fa_step(model, optimizers, feedback, x, y, per_sample=False)

    log = {"train_loss": [], "train_acc": [], "test_acc": [], "seconds": []}
    for epoch in range(1, epochs + 1):
        start = time.perf_counter()
        loss = hits = count = 0
        for x, y in training.epoch():
            result = step(x, y)
            loss += result.loss.item() * y.numel()
            hits += (result.logits.argmax(-1) == y).sum().item()
            count += y.numel()
        optimizers.end_epoch()
        log["train_loss"].append(loss / count)
        log["train_acc"].append(hits / count)
        log["seconds"].append(round(time.perf_counter() - start, 2))
        log["test_acc"].append(accuracy(model, *test))
        print(f"{method} epoch {epoch}/{epochs}: test accuracy {log['test_acc'][-1]:.4f}, training loss "
              f"{log['train_loss'][-1]:.4f}, {log['seconds'][-1]:.1f} s", flush=True)
    with torch.no_grad():
        _, hidden = model.with_hidden(test[0][:128])
    log["final_hidden_norms"] = [h.norm(dim=-1).median().item() for h in hidden]  # h_0..h_L, first 128 test images
    return log


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--methods", nargs="+", choices=["bp", "fa", "dfa"], default=["bp", "fa", "dfa"])
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--output", type=Path, default=Path("cifar_reference.json"))
    args = parser.parse_args()
    torch.set_num_threads(args.threads)

    folder = args.data_dir / "cifar-10-batches-bin"
    folder = folder if folder.is_dir() else args.data_dir
    training = TrainingSet(*read_images(folder, [f"data_batch_{i}.bin" for i in range(1, 6)]))
    test_images, test_labels = read_images(folder, ["test_batch.bin"])
    test = normalized(test_images), test_labels

    results = {"settings": {"arch": "resmlp", "width": WIDTH, "blocks": BLOCKS, "batch": BATCH, "lr": LR,
                            "weight_decay": WEIGHT_DECAY, "epochs": args.epochs, "seed": args.seed,
                            "threads": args.threads, "torch": torch.__version__}}
    for method in args.methods:
        results[method] = train(method, args.seed, args.epochs, training, test)
        partial = args.output.with_name(args.output.name + ".partial")
        partial.write_text(json.dumps(results, indent=2) + "\n")
        os.replace(partial, args.output)


if __name__ == "__main__":
    main()
