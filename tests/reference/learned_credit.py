# SPDX-License-Identifier: Apache-2.0
"""Learned credit on a ResidualMLP: nets that read a hidden state, its place in depth and the output error.

They learn before they give credit, as in the scripts; creditlib's give credit first. On the ResidualMLP, which no
script trains them on in this form, nets and credit points are those of creditlib's train_methods: an estimate for each
of h_0..h_L, that of h_{l+1} drives block l, that of h_0 the embed. at_input=True drives block l with the estimate at
its input h_l instead, as schedule_timing does. Shapes: B batch, C classes, d width, L blocks.
"""

import copy
import functools
import math

import torch
import torch.nn.functional as F
from torch import nn

from scripts_way import CreditSource, rms_normalized

HIDDEN, TIME = 256, 32  # width of the nets' hidden layers, numbers in the embedding of t


@functools.lru_cache(maxsize=None)
def time_embedding(t, dtype):
    """Sines, then cosines, of t at 16 frequencies."""
    half = TIME // 2
    angles = t * torch.exp(-math.log(10000) / half * torch.arange(half, dtype=dtype))
    return torch.cat([angles.sin(), angles.cos()])


class CreditNet(nn.Module):
    """[LayerNorm(h), time_embedding(t), e] through hidden layers with GELU."""

    def __init__(self, width, classes, outputs, layers):
        super().__init__()
        self.ln = nn.LayerNorm(width)
        sizes = [width + TIME + classes, *[HIDDEN] * layers]
        hidden = [part for a, b in zip(sizes, sizes[1:]) for part in (nn.Linear(a, b), nn.GELU())]
        self.net = nn.Sequential(*hidden, nn.Linear(HIDDEN, outputs))

    def forward(self, h, t, e):
        return self.net(torch.cat([self.ln(h), time_embedding(t, h.dtype).expand(h.shape[0], TIME), e], -1))


class LearnedCredit(CreditSource):
    """Nets under one Adam without schedule; each net's gradient norm is clipped to clip_norm, if given."""

    def __init__(self, nets, lr, clip_norm, fused, at_input):
        self.nets, self.clip_norm, self.at_input = nn.ModuleList(nets), clip_norm, at_input
        self.optimizer = torch.optim.Adam(self.nets.parameters(), lr=lr, fused=fused)

    def learn(self, trace):
        self.optimizer.zero_grad()
        self.loss(trace).backward()
        if self.clip_norm is not None:
            for net in self.nets:
                nn.utils.clip_grad_norm_(net.parameters(), self.clip_norm)
        self.optimizer.step()

    def credits(self, trace):
        estimates = self.estimates(trace)
        return [estimates[0], *estimates[:-1]] if self.at_input else estimates


class StatePredictor(LearnedCredit):
    """The state bridge: net l predicts h_L from h_l; credit is the gradient of the loss of that prediction."""

    def __init__(self, width, classes, blocks, fused, at_input=False):
        super().__init__([CreditNet(width, classes, width, 2) for _ in range(blocks + 1)], 3e-4, None, fused, at_input)

    def _predicted(self, l, h, e):
        return self.nets[l](h, l / len(self.nets), e)

    def loss(self, trace):
        """Sum over l of mean_b ||(p_l - h_L) / max(1, ||h_L||)||^2."""
        wanted = trace.hidden[-1]
        scale = wanted.norm(dim=-1, keepdim=True).clamp(min=1)
        predicted = [self._predicted(l, h, trace.error) for l, h in enumerate(trace.hidden)]
        return sum((((p - wanted) / scale) ** 2).sum(-1).mean() for p in predicted)

    def estimates(self, trace):
        states = [h.detach().requires_grad_() for h in trace.hidden]
        logits = [trace.model.readout(self._predicted(l, h, trace.error)) for l, h in enumerate(states)]
        return torch.autograd.grad(sum(F.cross_entropy(z, trace.y, reduction="sum") for z in logits), states)


class ValueNet(LearnedCredit):
    """The credit bridge: V_l predicts the sample's loss; credit is dV_l/dh_l.

    V_L learns the loss, V_l the soft minimum of V_{l+1}'s slow copy over noisy copies of h_{l+1}.
    """

    SAMPLES, SIGMA, LAMBDA, EMA = 4, 0.01, 0.1, 0.99

    def __init__(self, width, classes, blocks, fused, at_input=False):
        super().__init__([CreditNet(width, classes, 1, 3) for _ in range(blocks + 1)], 3e-4, 1.0, fused, at_input)
        self.slow = copy.deepcopy(self.nets).requires_grad_(False)

    def _values(self, nets, l, h, e):
        return nets[l](h, l / len(nets), e).squeeze(1)

    @torch.no_grad()
    def _soft_minimum(self, l, trace):
        """-lambda log mean_k exp(-V(h_l + sigma n_k) / lambda), (B)."""
        h, k = trace.hidden[l], self.SAMPLES
        noisy = (h + self.SIGMA * torch.randn(k, *h.shape)).flatten(0, 1)
        values = self._values(self.slow, l, noisy, trace.error.repeat(k, 1)).view(k, -1)
        return -self.LAMBDA * (torch.logsumexp(-values / self.LAMBDA, 0) - math.log(k))

    def loss(self, trace):
        targets = [self._soft_minimum(l, trace) for l in range(1, len(trace.hidden))]
        targets.append(F.cross_entropy(trace.logits, trace.y, reduction="none"))
        values = [self._values(self.nets, l, h, trace.error) for l, h in enumerate(trace.hidden)]
        return sum(((v - target) ** 2).mean() for v, target in zip(values, targets))

    def learn(self, trace):
        super().learn(trace)
        with torch.no_grad():
            for slow, new in zip(self.slow.parameters(), self.nets.parameters()):
                slow.lerp_(new, 1 - self.EMA)

    def estimates(self, trace):
        states = [h.detach().requires_grad_() for h in trace.hidden]
        values = [self._values(self.nets, l, h, trace.error) for l, h in enumerate(states)]
        return torch.autograd.grad(sum(v.sum() for v in values), states)


class Vec(LearnedCredit):
    """One net gives the gradient at every h_l; it learns the true one at h_L, and slopes at one l < L a step."""

    DIRECTIONS, EPSILON = 4, 1e-3
    reads_gradient = True

    def __init__(self, width, classes, blocks, fused, at_input=False):
        super().__init__([CreditNet(width, classes, width, 3)], 1e-3, 1.0, fused, at_input)

    def _estimate(self, l, trace):
        return self.nets[0](trace.hidden[l], l / (len(trace.hidden) - 1), trace.error)

    @torch.no_grad()
    def _slope(self, l, v, trace):
        """Of each sample's loss along v at h_l, (B)."""
        def loss(h):
            return F.cross_entropy(trace.model.from_hidden(h, l), trace.y, reduction="none")

        h = trace.hidden[l]
        return (loss(h + self.EPSILON * v) - loss(h - self.EPSILON * v)) / (2 * self.EPSILON)

    def loss(self, trace):
        last = len(trace.hidden) - 1
        terminal = ((self._estimate(last, trace) - trace.mean_gradient * trace.y.numel()) ** 2).sum(-1).mean()
        l = torch.randint(last, ()).item()
        a, projected = self._estimate(l, trace), 0
        for _ in range(self.DIRECTIONS):
            v = F.normalize(torch.randn_like(a), dim=-1)
            projected = projected + (((a * v).sum(-1) - self._slope(l, v, trace)) ** 2).mean()
        return terminal + projected / self.DIRECTIONS

    @torch.no_grad()
    def estimates(self, trace):
        return [self._estimate(l, trace) for l in range(len(trace.hidden))]


def warmup_share(epoch, epochs):
    """Of the second source in the given epoch, from 1: 0 for a fifth of the epochs, then growing to 1 over as many."""
    warmup = max(1, epochs // 5)
    return min(1, max(0, (epoch - warmup) / warmup))


def blended(first, second, share):
    """Credits of a layer, (B, d) each: a share of `second` in place of as much of `first`, both of unit RMS."""
    return (1 - share) * rms_normalized(first) + share * rms_normalized(second)


class Blend(CreditSource):
    """A share of `second` in place of as much of `first`, each of unit RMS; both learn throughout."""

    def __init__(self, first, second, share):
        self.first, self.second, self.share = first, second, share
        self.reads_gradient = first.reads_gradient or second.reads_gradient

    def learn(self, trace):
        self.first.learn(trace)
        self.second.learn(trace)

    def credits(self, trace):
        if self.share == 0:
            return self.first.credits(trace)
        if self.share == 1:
            return self.second.credits(trace)
        pairs = zip(self.first.credits(trace), self.second.credits(trace))
        return [blended(a, b, self.share) for a, b in pairs]

    def end_epoch(self):
        self.first.end_epoch()
        self.second.end_epoch()


class WarmedUp(Blend):
    """`first` for a fifth of the epochs, then a blend with `second` that grows over as many."""

    def __init__(self, first, second, epochs):
        super().__init__(first, second, share=0)
        self.epochs = epochs
        self.begin_epoch(1)

    def begin_epoch(self, epoch):
        self.epoch, self.share = epoch, warmup_share(epoch, self.epochs)

    def end_epoch(self):
        super().end_epoch()
        self.begin_epoch(self.epoch + 1)
