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


class Optimizers:
    """AdamW with a cosine rate a part (embed, each block, readout), or, with whole=True, one over all parameters."""

    def __init__(self, model, epochs, lr=1e-3, weight_decay=0.01, whole=False, **adamw):
        def make(parameters):
            return torch.optim.AdamW(parameters, lr=lr, weight_decay=weight_decay, **adamw)

        if whole:
            self.whole = make(model.parameters())
            everything = [self.whole]
        else:
            self.blocks = [make(block.parameters()) for block in model.blocks]
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


def bp_step(model, optimizers, x, y, clip_norm=None):
    logits = model(x)
    loss = F.cross_entropy(logits, y)
    optimizers.whole.zero_grad()
    loss.backward()
    norms = []
    if clip_norm is not None:
        norms = [nn.utils.clip_grad_norm_(block.parameters(), clip_norm) for block in model.blocks]
    optimizers.whole.step()
    return Step(loss.detach(), logits.detach(), norms)


def _finished_forward(model, x, y):
    with torch.no_grad():
        logits, hidden = model.with_hidden(x)
        return logits, hidden, F.cross_entropy(logits, y)


def _step_readout(model, optimizers, h, y):
    optimizers.readout.zero_grad()
    F.cross_entropy(model.readout(h), y).backward()
    optimizers.readout.step()


def _step_block(model, optimizers, l, h, credit, clip_norm, penalty):
    block = model.blocks[l]
    f = block(h)
    loss = (f * credit).sum(-1).mean()
    if penalty:
        loss = loss + penalty * (f**2).sum(-1).mean()
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
    """Block l gets e B_l^T, the embed block 0's credit."""
    logits, hidden, loss = _finished_forward(model, x, y)
    error = output_error(logits, y)
    _step_readout(model, optimizers, hidden[-1], y)
    norms = []
    for l in range(len(model.blocks)):
        credit = rms_normalized(error @ feedback[l].T)
        norms += _step_block(model, optimizers, l, hidden[l], credit, clip_norm, penalty)
    _step_embed(model, optimizers, x, rms_normalized(error @ feedback[0].T))
    return Step(loss, logits, norms)


def fa_step(model, optimizers, feedback, x, y, clip_norm=None, penalty=0.0, per_sample=True):
    """Credit starts as the gradient at h_L and passes down through B_{L-1}..B_0; what leaves B_0 drives the embed.

    per_sample=True takes the gradient of the summed cross-entropy, False of its batch mean, as the scripts do: the
    absolute epsilon of the RMS makes the two differ.
    """
    logits, hidden, loss = _finished_forward(model, x, y)
    top = hidden[-1].requires_grad_(True)
    _step_readout(model, optimizers, top, y)
    credit = top.grad * y.numel() if per_sample else top.grad
    norms = []
    for l in reversed(range(len(model.blocks))):
        norms = _step_block(model, optimizers, l, hidden[l], rms_normalized(credit), clip_norm, penalty) + norms
        credit = credit @ feedback[l]
    _step_embed(model, optimizers, x, rms_normalized(credit))
    return Step(loss, logits, norms)
