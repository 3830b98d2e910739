# SPDX-License-Identifier: Apache-2.0
"""A training step on the small convolutional network as the script cnn_baseline makes it, in PyTorch.

Each block runs once without and once with a graph, and has an optimiser of its own; ep nudges all states by SGD on the
batch mean of the energy, 20 times, through all weights. Rules by creditlib's names: state_predictor is the script's state bridge,
value_net its credit bridge, of which Trainer.share says how far the warm-up by DFA is over. Shapes: B batch, C classes, h_0..h_3
the outputs of the four blocks.
"""

import copy
import math

import torch
import torch.nn.functional as F
from torch import nn

from learned_credit import CreditNet, blended
from scripts_way import output_error, rms_normalized

SIZES = [32 * 32 * 32, 64 * 16 * 16, 128 * 8 * 8, 256]  # numbers in h_0..h_3
RULES = ["bp", "dfa", "ep", "state_predictor", "value_net"]


class SmallCNN(nn.Module):
    def __init__(self, classes):
        super().__init__()

        def stage(inputs, outputs, *pool):
            return nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True), *pool)

        self.blocks = nn.ModuleList([stage(3, 32), stage(32, 64, nn.MaxPool2d(2)), stage(64, 128, nn.MaxPool2d(2)),
                                     nn.Sequential(nn.Linear(SIZES[2], 256), nn.ReLU(inplace=True))])
        self.out_head = nn.Linear(256, classes)

    def block(self, l, h):
        return self.blocks[l](h.flatten(1) if l == 3 else h)

    def forward(self, x):
        return self.with_hidden(x)[0]

    def with_hidden(self, x):
        hidden = []
        for l in range(4):
            hidden.append(self.block(l, hidden[-1] if hidden else x))
        return self.out_head(hidden[-1]), hidden


class Trainer:
    """Model, optimisers, feedback and nets of a rule, drawn from PyTorch's global generator: seed it first.

    share is how much of value_net's credit is its own, the rest being DFA's: 0 in the warm-up, 1 after it.
    """

    def __init__(self, rule, classes, fused=False):
        self.share = 1.0
        self.rule, self.model = rule, SmallCNN(classes)
        adamw = lambda module: torch.optim.AdamW(module.parameters(), lr=1e-3, weight_decay=0.01, fused=fused)
        if rule == "bp":
            self.whole = adamw(self.model)
            return
        self.block_optimizers, self.head_optimizer = [adamw(block) for block in self.model.blocks], adamw(self.model.out_head)
        self.feedback = [torch.randn(size, classes) / math.sqrt(classes) for size in SIZES]
        if rule == "state_predictor":
            self.nets = [CreditNet(size, classes, SIZES[-1], 2) for size in SIZES]
        elif rule == "value_net":
            self.nets = [CreditNet(size, classes, 1, 3) for size in SIZES]
            self.slow = copy.deepcopy(self.nets)
        if rule in ("state_predictor", "value_net"):
            self.net_optimizers = [torch.optim.Adam(net.parameters(), lr=3e-4) for net in self.nets]

    def step(self, x, y):
        if self.rule == "bp":
            self.whole.zero_grad()
            F.cross_entropy(self.model(x), y).backward()
            self.whole.step()
        elif self.rule == "ep":
            self._ep_step(x, y)
        else:
            self._local_step(x, y)

    def _local_step(self, x, y):
        with torch.no_grad():
            logits, hidden = self.model.with_hidden(x)
        error, flat = output_error(logits, y), [h.flatten(1) for h in hidden]
        if self.rule == "state_predictor":
            credits = self._state_predictor(flat, error, y)
        else:
            credits = [error @ b.T for b in self.feedback]
        if self.rule == "value_net":
            learned = self._value_net(flat, error, F.cross_entropy(logits, y, reduction="none"))
            if self.share == 1:
                credits = learned
            elif self.share > 0:
                credits = [blended(a, b, self.share) for a, b in zip(credits, learned)]
        self.head_optimizer.zero_grad()
        F.cross_entropy(self.model.out_head(hidden[-1]), y).backward()
        self.head_optimizer.step()
        for l, (h, credit) in enumerate(zip([x, *hidden], credits)):
            loss = (self.model.block(l, h).flatten(1) * rms_normalized(credit)).sum(-1).mean()
            self.block_optimizers[l].zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(self.model.blocks[l].parameters(), 1.0)
            self.block_optimizers[l].step()

    def _learn(self, l, loss, clip):
        self.net_optimizers[l].zero_grad()
        loss.backward()
        if clip:
            nn.utils.clip_grad_norm_(self.nets[l].parameters(), 1.0)
        self.net_optimizers[l].step()

    def _state_predictor(self, flat, error, y):
        scale = flat[-1].norm(dim=-1, keepdim=True).clamp(min=1)
        for l, h in enumerate(flat):
            self._learn(l, (((self.nets[l](h, l / 4, error) - flat[-1]) / scale) ** 2).sum(-1).mean(), clip=False)
        credits = []
        for l, h in enumerate(flat):
            h = h.detach().requires_grad_()
            loss = F.cross_entropy(self.model.out_head(self.nets[l](h, l / 4, error)), y, reduction="sum")
            credits.append(torch.autograd.grad(loss, h)[0])
        return credits

    def _value_net(self, flat, error, losses, samples=4, sigma=0.01, temperature=0.1, ema=0.99):
        for l, h in enumerate(flat):
            target = losses
            if l < 3:
                with torch.no_grad():
                    noisy = [flat[l + 1] + sigma * torch.randn_like(flat[l + 1]) for _ in range(samples)]
                    terms = [-self.slow[l + 1](n, (l + 1) / 4, error).squeeze(1) / temperature for n in noisy]
                    target = -temperature * (torch.logsumexp(torch.stack(terms, -1), -1) - math.log(samples))
            self._learn(l, ((self.nets[l](h, l / 4, error).squeeze(1) - target) ** 2).mean(), clip=True)
            with torch.no_grad():
                for slow, new in zip(self.slow[l].parameters(), self.nets[l].parameters()):
                    slow.mul_(ema).add_(new, alpha=1 - ema)
        credits = []
        for l, h in enumerate(flat):
            h = h.detach().requires_grad_()
            credits.append(torch.autograd.grad(self.nets[l](h, l / 4, error).sum(), h)[0])
        return credits

    def _ep_step(self, x, y, beta=0.5, steps=20, rate=0.05):
        model = self.model
        with torch.no_grad():
            free = model.with_hidden(x)[1]
        nudged = [h.clone().requires_grad_() for h in free]
        descent = torch.optim.SGD(nudged, lr=rate)
        for _ in range(steps):
            energy = sum(0.5 * ((nudged[l] - model.block(l, h)) ** 2).flatten(1).sum(-1) for l, h in enumerate([x, *nudged[:3]]))
            nudge = F.cross_entropy(model.out_head(nudged[3]), y, reduction="none")
            descent.zero_grad()
            (energy + beta * nudge).mean().backward()
            descent.step()
        nudged = [h.detach() for h in nudged]
        optimizers = [*self.block_optimizers, self.head_optimizer]
        for optimizer in optimizers:
            optimizer.zero_grad()
        for l in range(4):
            def pull(states):
                f = model.block(l, [x, *states][l])
                return -((states[l] - f).detach() * f).sum()

            ((pull(nudged) - pull(free)) / beta).backward()
        F.cross_entropy(model.out_head(nudged[3]), y).backward()
        nn.utils.clip_grad_norm_(list(model.parameters()), 1.0)
        for optimizer in optimizers:
            optimizer.step()
