# SPDX-License-Identifier: Apache-2.0
"""Training as the reference scripts train: each block's forward runs twice, each part has an optimiser of its own.

The C++ library runs one forward, one backward and one optimiser a step; this module is what its numbers are compared
with. Shapes: B batch, C classes, d width, L blocks; h_0..h_L hidden states of shape (B, d).
"""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

RMS_EPSILON = 1e-6  # absolute, added to the RMS


class Block(nn.Module):
    """f = w2(GELU(w1(LayerNorm(h)))); the caller adds the skip."""

    def __init__(self, width):
        super().__init__()
        self.ln = nn.LayerNorm(width)
        self.w1 = nn.Linear(width, width)
        self.w2 = nn.Linear(width, width)
        nn.init.normal_(self.w2.weight, std=0.01)
        nn.init.zeros_(self.w2.bias)

    def forward(self, h):
        return self.w2(F.gelu(self.w1(self.ln(h))))


class ResidualMLP(nn.Module):
    def __init__(self, inputs, width, classes, blocks):
        super().__init__()
        self.embed = nn.Linear(inputs, width)
        self.blocks = nn.ModuleList(Block(width) for _ in range(blocks))
        self.out_ln = nn.LayerNorm(width)
        self.out_head = nn.Linear(width, classes)

    def readout(self, h):
        return self.out_head(self.out_ln(h))

    def forward(self, x):
        return self.with_hidden(x)[0]

    def with_hidden(self, x):
        hidden = [self.embed(x)]
        for block in self.blocks:
            hidden.append(hidden[-1] + block(hidden[-1]))
        return self.readout(hidden[-1]), hidden

    def from_hidden(self, h, l):
        """Logits from h in the place of h_l."""
        for block in self.blocks[l:]:
            h = h + block(h)
        return self.readout(h)


class Optimizers:
    """AdamW with a cosine rate a part (embed, each block, readout), or, with whole=True, one over all parameters.

    Parameters that take no gradient are left out, and so is the optimiser of a block that has no others.
    """

    def __init__(self, model, epochs, lr=1e-3, weight_decay=0.01, whole=False, **adamw):
        def make(parameters):
            return torch.optim.AdamW(parameters, lr=lr, weight_decay=weight_decay, **adamw)

        if whole:
            self.whole = make([p for p in model.parameters() if p.requires_grad])
            everything = [self.whole]
        else:
            trained = [block for block in model.blocks if any(p.requires_grad for p in block.parameters())]
            self.blocks = [make(block.parameters()) for block in trained]
            self.embed = make(model.embed.parameters())
            self.readout = make([*model.out_head.parameters(), *model.out_ln.parameters()])
            everything = [*self.blocks, self.embed, self.readout]
        self.schedulers = [torch.optim.lr_scheduler.CosineAnnealingLR(o, T_max=epochs) for o in everything]

    def end_epoch(self):
        for scheduler in self.schedulers:
            scheduler.step()


class Step(NamedTuple):
    loss: torch.Tensor  # mean cross-entropy before the step
    logits: torch.Tensor  # (B, C), before the step
    block_norms: list  # gradient norm of each block before clipping, in block order; empty where nothing is clipped


class Trace(NamedTuple):
    """What credit is made from: a batch's forward pass, before any step and without a graph."""

    model: ResidualMLP
    hidden: list  # h_0..h_L
    logits: torch.Tensor  # (B, C)
    error: torch.Tensor  # (B, C), see output_error
    y: torch.Tensor  # (B)
    mean_gradient: torch.Tensor  # of the batch's mean loss at h_L, (B, d); None unless the source reads_gradient


class CreditSource:
    reads_gradient = False

    def learn(self, trace):
        """Once a step, before credits()."""

    def credits(self, trace):
        """a_0..a_L, each (B, d), not normalised: a_0 drives the embed, a_{l+1} block l."""
        raise NotImplementedError

    def end_epoch(self):
        pass


class DFA(CreditSource):
    """Block l gets e B_l^T, the embed block 0's credit."""

    def __init__(self, feedback):
        self.feedback = feedback

    def credits(self, trace):
        credits = [trace.error @ b.T for b in self.feedback]
        return [credits[0], *credits]


class FA(CreditSource):
    """Credit starts as the gradient at h_L and passes down through B_{L-1}..B_0; what leaves B_0 drives the embed.

    per_sample=True takes the gradient of the summed cross-entropy, False of its batch mean, as the scripts do: the
    absolute epsilon of the RMS makes the two differ.
    """

    reads_gradient = True

    def __init__(self, feedback, per_sample):
        self.feedback, self.per_sample = feedback, per_sample

    def credits(self, trace):
        credits = [trace.mean_gradient * trace.y.numel() if self.per_sample else trace.mean_gradient]
        for b in reversed(self.feedback):
            credits.insert(0, credits[0] @ b)
        return credits


class Oracle(CreditSource):
    """The true gradient of each sample's loss at every hidden state."""

    def credits(self, trace):
        states = [trace.hidden[0].detach().requires_grad_()]
        for block in trace.model.blocks:
            states.append(states[-1] + block(states[-1]))
        return torch.autograd.grad(F.cross_entropy(trace.model.readout(states[-1]), trace.y, reduction="sum"), states)


def draw_dfa_feedback(width, classes, blocks):
    """The scripts' B_0..B_{L-1}, each (d, C); the embed uses B_0 once more."""
    return [torch.randn(width, classes) / math.sqrt(classes) for _ in range(blocks)]


def draw_fa_feedback(width, blocks):
    """B_0..B_{L-1}, each (d, d): a_l = a_{l+1} B_l."""
    return [torch.randn(width, width) / math.sqrt(width) for _ in range(blocks)]


def output_error(logits, y):
    """e = softmax(logits) - onehot(y), per sample."""
    error = logits.softmax(-1)
    error[torch.arange(y.numel()), y] -= 1
    return error


def rms_normalized(credit):
    return credit / ((credit**2).mean(-1, keepdim=True).sqrt() + RMS_EPSILON)


def branch_penalty(f):
    """The batch mean of ||f||^2."""
    return (f**2).sum(-1).mean()


def bp_step(model, optimizers, x, y, clip_norm=None, penalty=0.0):
    h, branches = model.embed(x), []
    for block in model.blocks:
        branches.append(block(h))
        h = h + branches[-1]
    logits = model.readout(h)
    loss = F.cross_entropy(logits, y)
    total = loss + penalty * sum(branch_penalty(f) for f in branches) if penalty else loss
    optimizers.whole.zero_grad()
    total.backward()
    norms = []
    if clip_norm is not None:
        norms = [nn.utils.clip_grad_norm_(block.parameters(), clip_norm) for block in model.blocks]
    optimizers.whole.step()
    return Step(loss.detach(), logits.detach(), norms)


def local_step(model, optimizers, source, x, y, clip_norm=None, penalty=0.0):
    """Each part descends a loss of its own: the readout the cross-entropy, the others <output, credit>."""
    with torch.no_grad():
        logits, hidden = model.with_hidden(x)
        loss = F.cross_entropy(logits, y)
    top = hidden[-1].detach().requires_grad_(source.reads_gradient)
    optimizers.readout.zero_grad()
    F.cross_entropy(model.readout(top), y).backward()
    trace = Trace(model, hidden, logits, output_error(logits, y), y, top.grad)
    source.learn(trace)
    credits = [rms_normalized(a) for a in source.credits(trace)]
    optimizers.readout.step()
    norms = []
    for l in range(len(optimizers.blocks)):  # none where the blocks are fixed
        norms += _step_block(model, optimizers, l, hidden[l], credits[l + 1], clip_norm, penalty)
    _step_embed(model, optimizers, x, credits[0])
    return Step(loss, logits, norms)


def _step_block(model, optimizers, l, h, credit, clip_norm, penalty):
    block = model.blocks[l]
    f = block(h)
    loss = (f * credit).sum(-1).mean()
    if penalty:
        loss = loss + penalty * branch_penalty(f)
    optimizers.blocks[l].zero_grad()
    loss.backward()
    norms = [] if clip_norm is None else [nn.utils.clip_grad_norm_(block.parameters(), clip_norm)]
    optimizers.blocks[l].step()
    return norms


def _step_embed(model, optimizers, x, credit):
    loss = (model.embed(x) * credit).sum(-1).mean()
    optimizers.embed.zero_grad()
    loss.backward()
    optimizers.embed.step()


def dfa_step(model, optimizers, feedback, x, y, clip_norm=None, penalty=0.0):
    return local_step(model, optimizers, DFA(feedback), x, y, clip_norm, penalty)


def fa_step(model, optimizers, feedback, x, y, clip_norm=None, penalty=0.0, per_sample=True):
    return local_step(model, optimizers, FA(feedback, per_sample), x, y, clip_norm, penalty)
