# SPDX-License-Identifier: Apache-2.0
"""The snapshot sweep in PyTorch, for comparison with ./run snapshot_time_sweep.

    python snapshot_sweep.py --data-dir FOLDER --epochs 20 --snapshot-epochs 1 4 20 --estimator-epochs 5 --output FILE

At snapshots of one back-propagation run (ResidualMLP d=256, L=4, as train_cifar.py trains it), the updates of DFA, the
vector net and the oracle: raw credit, per sample, given at each block's input; plain steps of the last block and the
readout. Where the program measures one batch and one held-out batch, this measures --draws pairs, and says mean and
sample standard deviation, so that the program's figures can be placed. One thread.
"""

import argparse
import copy
import json
import statistics
import sys
from pathlib import Path

import torch
import torch.nn.functional as F

import scripts_way
from learned_credit import Vec
from methods import Options, Trainer
from train_cifar import BATCH, accuracy, read_cifar, write_json

RULES = ["dfa", "vec", "oracle"]
ETAS = [1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2]
BLOCK_ETAS = [*ETAS, 3e-2, 0.1, 0.3, 1.0]
STEPS = 5


class AtInput:
    """Credits of one rule on a model: a_l for h_0..h_{L-1}, (B, d) each, of the samples' own losses."""

    def __init__(self, rule, model, feedback, vec):
        self.rule, self.model, self.feedback, self.vec = rule, model, feedback, vec

    def trace(self, x, y):
        with torch.no_grad():
            logits, hidden = self.model.with_hidden(x)
        top = hidden[-1].detach().requires_grad_()
        gradient = torch.autograd.grad(F.cross_entropy(self.model.readout(top), y), top)[0]
        return scripts_way.Trace(self.model, hidden, logits, scripts_way.output_error(logits, y), y, gradient)

    def true_gradients(self, x, y):
        logits, hidden = self.model.with_hidden(x)
        return torch.autograd.grad(F.cross_entropy(logits, y, reduction="sum"), hidden[:-1])

    def __call__(self, x, trace):
        if self.rule == "oracle":
            return self.true_gradients(x, trace.y)
        if self.rule == "vec":
            return self.vec.estimates(trace)[:-1]
        return [trace.error @ b.T for b in self.feedback]

    def update(self, x, y):
        """Gradients of the last block's <f, a> and of the readout's loss, by parameter."""
        trace = self.trace(x, y)
        credit = self(x, trace)[-1]
        block, readout = self.model.blocks[-1], [*self.model.out_ln.parameters(), *self.model.out_head.parameters()]
        local = (block(trace.hidden[-2]) * credit).sum(-1).mean()
        loss = F.cross_entropy(self.model.readout(trace.hidden[-1]), y)
        parameters = list(block.parameters())
        return dict(zip([*parameters, *readout], [*torch.autograd.grad(local, parameters), *torch.autograd.grad(loss, readout)]))


@torch.no_grad()
def mean_loss(model, batch):
    return F.cross_entropy(model(batch[0]), batch[1]).item()


@torch.no_grad()
def stepped(model, update, eta, only=None):
    for p, u in update.items():
        if only is None or any(p is q for q in only):
            p.sub_(u, alpha=eta)


def best_eta(model, credits, batch, etas, only=None):
    """Of the lowest loss on the batch that the step is from."""
    start, update, losses = copy.deepcopy(model.state_dict()), credits.update(*batch), []
    for eta in etas:
        stepped(model, update, eta, only)
        losses.append(mean_loss(model, batch))
        model.load_state_dict(start)
    return etas[min(range(len(etas)), key=lambda i: losses[i])]


def changes_of(model, credits, steps, same, held, eta, only=None):
    """Loss changes on `same` and `held` after a step on each batch of `steps`."""
    start, before = copy.deepcopy(model.state_dict()), (mean_loss(model, same), mean_loss(model, held))
    for batch in steps:
        stepped(model, credits.update(*batch), eta, only)
    found = [mean_loss(model, same) - before[0], mean_loss(model, held) - before[1]]
    model.load_state_dict(start)
    return found


def spread(values):
    return {"mean": statistics.mean(values), "std": statistics.stdev(values)}


def measured(model, credits, draws, test_batch):
    """All figures of one rule at one snapshot; draws: (same, held, rollout) each."""
    gammas = [F.cosine_similarity(a, g, dim=-1, eps=0).mean().item()
              for a, g in zip(credits(test_batch[0], credits.trace(*test_batch)), credits.true_gradients(*test_batch))]
    rows = []
    for same, held, rollout in draws:
        eta = best_eta(model, credits, same, ETAS)
        rows.append([change for steps in ([same], rollout) for change in changes_of(model, credits, steps, same, held, eta)])
    found = {"gamma": gammas}
    for name, values in zip(["dl_same_1", "dl_held_1", "dl_same_5", "dl_held_5"], zip(*rows)):
        found[name] = spread(values)
    block = list(model.blocks[-1].parameters())
    eta = best_eta(model, credits, draws[0][2][0], BLOCK_ETAS, block)
    alone = [changes_of(model, credits, [same], same, held, eta, block) for same, held, _ in draws[1:]]
    found["last_block"] = {"eta": eta, "dl_same": spread([a for a, _ in alone]), "dl_held": spread([b for _, b in alone])}
    return found


def learn(vec, credits, training, epochs):
    for epoch in range(epochs):
        for x, y in training.epoch():
            vec.learn(credits.trace(x, y))
        print(f"   vector net: epoch {epoch + 1}/{epochs}", flush=True)


def endless(training):
    while True:
        yield from (batch for batch in training.epoch() if batch[1].numel() == BATCH)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--snapshot-epochs", nargs="+", type=int, default=[1, 4, 20])
    parser.add_argument("--estimator-epochs", type=int, default=5)
    parser.add_argument("--draws", type=int, default=21, help="pairs of batches; the first is left out of the last block's trials")
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--limit-train", type=int, default=0, help="train on the first N images only (0: all)")
    parser.add_argument("--output", type=Path, required=True)
    args = parser.parse_args()
    if min(args.snapshot_epochs) < 1 or max(args.snapshot_epochs) > args.epochs or args.draws < 3:
        parser.error("--snapshot-epochs lie in 1..epochs, and --draws is at least 3")
    if args.limit_train != 0 and args.limit_train < BATCH:
        parser.error(f"--limit-train is {args.limit_train}, expected 0 or at least {BATCH}: a whole batch")
    if not args.output.absolute().parent.is_dir():
        sys.exit(f"--output {args.output}: its folder does not exist")
    torch.set_num_threads(1)

    training, test = read_cifar(args.data_dir, args.limit_train)
    torch.manual_seed(args.seed)
    options = Options(3 * 32 * 32, 256, 10, 4, args.epochs, one_pass=True)
    trainer = Trainer("bp", options)
    feedback = scripts_way.draw_dfa_feedback(options.width, options.classes, options.blocks)
    batches = endless(training)

    def draw():
        pick = torch.randint(test[1].numel(), (BATCH,))
        return next(batches), (test[0][pick], test[1][pick]), [next(batches) for _ in range(STEPS)]

    results = []
    for epoch in range(1, args.epochs + 1):
        for x, y in training.epoch():
            trainer.step(x, y)
        trainer.end_epoch()
        if epoch not in args.snapshot_epochs:
            continue
        model = copy.deepcopy(trainer.model)
        snapshot_accuracy = accuracy(model, *test)
        print(f"epoch {epoch}: test accuracy {snapshot_accuracy:.4f}", flush=True)
        vec = Vec(options.width, options.classes, options.blocks, fused=True, at_input=False)
        learn(vec, AtInput("vec", model, feedback, vec), training, args.estimator_epochs)
        draws = [draw() for _ in range(args.draws)]
        for rule in RULES:
            entry = {"snapshot_epoch": epoch, "method": rule, "snapshot_acc": snapshot_accuracy}
            entry.update(measured(model, AtInput(rule, model, feedback, vec), draws, draws[0][1]))
            results.append(entry)
            print(f"   {rule}: {json.dumps(entry)}", flush=True)
        settings = {name: value for name, value in vars(args).items() if name not in ("data_dir", "output")}
        write_json(args.output, {"settings": {**settings, "torch": str(torch.__version__)}, "results": results})


if __name__ == "__main__":
    main()
