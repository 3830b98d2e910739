# SPDX-License-Identifier: Apache-2.0
"""Trains the scripts' convolutional network in PyTorch, for comparison with ./run cnn_baseline.

    python bench/train_scripts_cnn.py --data-dir FOLDER --rules bp dfa --epochs 5 --limit-train 5000 --output FILE

Batches of 128 with crops and flips, AdamW 1e-3 with a cosine rate by epoch, as cnn_baseline has them; value_net (there
credit_bridge, --term_grad_weight 0) after DFA for a fifth of the epochs and a blend over as many; one thread. FOLDER holds
cifar-10-batches-bin (or is it). Prints test accuracy by epoch and writes it as JSON; run again with the same settings, it keeps what is
finished and trains the rest.
"""

import argparse
import math
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "reference"))

import scripts_cnn
from learned_credit import warmup_share
from train_cifar import Results, accuracy, read_cifar


def train(rule, seed, epochs, training, test, put):
    """Calls put(entry) after every epoch."""
    torch.manual_seed(seed)
    trainer = scripts_cnn.Trainer(rule, 10)
    optimizers = [trainer.whole] if rule == "bp" else [*trainer.block_optimizers, trainer.head_optimizer]
    accuracies = []
    for epoch in range(epochs):
        trainer.share = warmup_share(epoch + 1, epochs)
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = 1e-3 * (1 + math.cos(math.pi * epoch / epochs)) / 2
        for x, y in training.epoch():
            trainer.step(x.view(-1, 3, 32, 32), y)
        trainer.model.eval()
        accuracies.append(accuracy(trainer.model, *test))
        trainer.model.train()
        put({"test_acc": accuracies, "finished": epoch + 1 == epochs})
        print(f"seed {seed} {rule} epoch {epoch + 1}/{epochs}: test accuracy {accuracies[-1]:.4f}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--rules", nargs="+", choices=scripts_cnn.RULES, default=["bp", "dfa"])
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--seeds", nargs="+", type=int, default=[42])
    parser.add_argument("--limit-train", type=int, default=0, help="train on the first N images only (0: all)")
    parser.add_argument("--output", type=Path, required=True)
    args = parser.parse_args()
    if args.epochs < 1 or args.limit_train < 0:
        parser.error("--epochs must be at least 1 and --limit-train at least 0")
    torch.set_num_threads(1)
    results = Results(args.output, {"epochs": args.epochs, "limit_train": args.limit_train, "torch": str(torch.__version__)})

    training, (images, labels) = read_cifar(args.data_dir, args.limit_train)
    test = images.view(-1, 3, 32, 32), labels
    for seed in args.seeds:
        for rule in args.rules:
            if results.finished(seed, rule):
                print(f"seed {seed} {rule}: finished in {args.output}", flush=True)
                continue
            train(rule, seed, args.epochs, training, test, lambda entry: results.put(seed, rule, entry))


if __name__ == "__main__":
    main()
