# SPDX-License-Identifier: Apache-2.0
"""Training methods by name, in either of two ways that give the same numbers, and the check that they do.

scripts   as the reference scripts: each block's forward runs twice, each part has an optimiser of its own
one pass  each forward runs once, one backward, one fused AdamW over all parameters
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

import scripts_way
from learned_credit import Blend, StatePredictor, ValueNet, Vec, WarmedUp

METHODS = ["bp", "fa", "dfa", "oracle", "frozen", "frozen_bp", "state_predictor", "value_net", "vec", "blend"]


class Options(NamedTuple):
    inputs: int
    width: int
    classes: int
    blocks: int
    epochs: int
    lr: float = 1e-3
    weight_decay: float = 0.01
    clip_norm: float = None  # of each block's gradients; never the embed's or the readout's
    penalty: float = 0.0  # times the batch mean of ||f_l||^2, added to each block's loss
    at_input: bool = False
    one_pass: bool = False


def one_pass_step(model, optimizers, source, x, y, clip_norm=None, penalty=0.0):
    """local_step's arithmetic; `optimizers` is whole."""
    embedded = model.embed(x)
    hidden, branches = [embedded.detach()], []
    for block in model.blocks:
        branches.append(block(hidden[-1]))
        hidden.append(hidden[-1] + branches[-1].detach())
    top = hidden[-1].detach().requires_grad_(source.reads_gradient)
    logits = model.readout(top)
    loss = F.cross_entropy(logits, y)
    gradient = torch.autograd.grad(loss, top, retain_graph=True)[0] if source.reads_gradient else None

    trace = scripts_way.Trace(model, hidden, logits.detach(), scripts_way.output_error(logits.detach(), y), y, gradient)
    source.learn(trace)
    credits = [scripts_way.rms_normalized(a) for a in source.credits(trace)]

    total = loss + (embedded * credits[0]).sum(-1).mean()
    for f, credit in zip(branches, credits[1:]):
        if not f.requires_grad:  # the blocks are fixed
            continue
        total = total + (f * credit).sum(-1).mean()
        if penalty:
            total = total + penalty * scripts_way.branch_penalty(f)
    optimizers.whole.zero_grad()
    total.backward(inputs=[p for p in model.parameters() if p.requires_grad])
    norms = []
    if clip_norm is not None:
        norms = [nn.utils.clip_grad_norm_(block.parameters(), clip_norm) for block in model.blocks]
    optimizers.whole.step()
    return scripts_way.Step(loss.detach(), logits.detach(), norms)


def make_source(method, o):
    """The credit source of a method; None for back-propagation."""
    if method in ("bp", "frozen_bp"):
        return None
    if method == "fa":
        return scripts_way.FA(scripts_way.draw_fa_feedback(o.width, o.blocks), per_sample=False)
    if method == "oracle":
        return scripts_way.Oracle()
    if method == "state_predictor":
        return StatePredictor(o.width, o.classes, o.blocks, o.one_pass, o.at_input)
    if method == "vec":
        return Vec(o.width, o.classes, o.blocks, o.one_pass, o.at_input)
    dfa = scripts_way.DFA(scripts_way.draw_dfa_feedback(o.width, o.classes, o.blocks))
    if method == "blend":  # half DFA, half the vector net, as the script schedule_timing has it
        return Blend(dfa, Vec(o.width, o.classes, o.blocks, o.one_pass, o.at_input), 0.5)
    if method == "value_net":
        return WarmedUp(dfa, ValueNet(o.width, o.classes, o.blocks, o.one_pass, o.at_input), o.epochs)
    return dfa


class Trainer:
    """A model and the method that trains it, both drawn from PyTorch's global generator: seed it first."""

    def __init__(self, method, o):
        self.options = o
        self.model = scripts_way.ResidualMLP(o.inputs, o.width, o.classes, o.blocks)
        if method in ("frozen", "frozen_bp"):
            self.model.blocks.requires_grad_(False)
        self.source = make_source(method, o)
        fused = {"fused": True} if o.one_pass else {}
        whole = o.one_pass or self.source is None
        self.optimizers = scripts_way.Optimizers(self.model, o.epochs, o.lr, o.weight_decay, whole=whole, **fused)

    def step(self, x, y):
        limits = self.options.clip_norm, self.options.penalty
        if self.source is None:
            return scripts_way.bp_step(self.model, self.optimizers, x, y, *limits)
        step = one_pass_step if self.options.one_pass else scripts_way.local_step
        return step(self.model, self.optimizers, self.source, x, y, *limits)

    def end_epoch(self):
        self.optimizers.end_epoch()
        if self.source is not None:
            self.source.end_epoch()


def largest_difference(method, options, steps=5):
    """Between all parameters, the credit nets' included, after training both ways on the same data."""
    ends = []
    for one_pass in (False, True):
        torch.manual_seed(7)
        trainer = Trainer(method, options._replace(one_pass=one_pass))
        start = [p.detach().clone() for p in trainer.model.parameters()]
        for _ in range(steps):  # an epoch a step, so that rates change and the warm-up is passed through
            trainer.step(torch.randn(16, options.inputs), torch.randint(options.classes, (16,)))
            trainer.end_epoch()
        for before, p in zip(start, trainer.model.parameters()):
            if torch.equal(before, p) == p.requires_grad:
                raise RuntimeError(f"{method}: a parameter that should train does not, or a fixed one does")
        learned = [s.nets for s in (trainer.source, getattr(trainer.source, "second", None)) if hasattr(s, "nets")]
        ends.append([p.detach() for part in (trainer.model, *learned) for p in part.parameters()])
    return torch.stack([(a - b).abs().max() for a, b in zip(*ends)]).max().item()  # NaN if any is


def self_check():
    """Whether both ways agree to 1e-10 in float64, for every method, plain and with clipping and a penalty."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    plain = Options(inputs=12, width=8, classes=5, blocks=3, epochs=10, lr=1e-2)
    cases = {"": plain, ", clipped and penalised": plain._replace(clip_norm=0.5, penalty=1e-2, at_input=True)}
    agree = True
    for method in METHODS:
        for name, options in cases.items():
            difference = largest_difference(method, options)
            agree = agree and difference <= 1e-10
            print(f"{method}{name}: largest difference {difference:.1e}")
    torch.set_default_dtype(before)
    return agree
