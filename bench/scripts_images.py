# SPDX-License-Identifier: Apache-2.0
"""A training step on the small residual network and the small transformer as the script train_methods makes it, in PyTorch.

As on the MLP each block runs once without and once with a graph and has an optimiser of its own. Credit is one value a channel, on
every position alike, and the local loss a mean over positions; so it is on the transformer too, where the script itself raises.
Parameters have creditlib's names. Shapes: B batch, C classes, d channels.
"""

import torch
import torch.nn.functional as F
from torch import nn

from scripts_way import draw_dfa_feedback, draw_fa_feedback, output_error, rms_normalized

RULES = ["bp", "dfa", "fa"]
BLOCKS = 4


def convolution(inputs, outputs):
    return nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)


class ResNetBlock(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.conv1, self.bn1 = convolution(channels, channels), nn.BatchNorm2d(channels)
        self.conv2, self.bn2 = convolution(channels, channels), nn.BatchNorm2d(channels)

    def forward(self, h):
        return F.relu(h + self.bn2(self.conv2(F.relu(self.bn1(self.conv1(h))))))


class SmallResNet(nn.Module):
    POSITIONS = (2, 3)  # dimensions of a hidden state (B, d, H, W) over which credit is the same

    def __init__(self, classes, channels=64):
        super().__init__()
        self.width = channels
        self.stem_conv, self.stem_bn = convolution(3, channels), nn.BatchNorm2d(channels)
        self.blocks = nn.ModuleList(ResNetBlock(channels) for _ in range(BLOCKS))
        self.out_head = nn.Linear(channels, classes)

    def embed(self, x):
        return F.relu(self.stem_bn(self.stem_conv(x)))

    def pooled(self, h):
        return h.mean((2, 3))

    def head(self, pooled):
        return self.out_head(pooled)

    def parts(self):
        """Parameters of the embed and of the readout."""
        return [*self.stem_conv.parameters(), *self.stem_bn.parameters()], list(self.out_head.parameters())


class ViTBlock(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.ln1, self.attn = nn.LayerNorm(width), nn.MultiheadAttention(width, heads, batch_first=True)
        self.ln2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, h):
        z = self.ln1(h)
        h = h + self.attn(z, z, z, need_weights=False)[0]
        return h + self.mlp(self.ln2(h))


class ViTMini(nn.Module):
    POSITIONS = (1,)  # of (B, tokens, d)

    def __init__(self, classes, width=128, heads=4, patch=4):
        super().__init__()
        self.width = width
        self.patch_embed = nn.Conv2d(3, width, patch, stride=patch)
        self.cls_token = nn.Parameter(0.02 * torch.randn(1, 1, width))
        self.pos_embed = nn.Parameter(0.02 * torch.randn(1, 1 + (32 // patch) ** 2, width))
        self.blocks = nn.ModuleList(ViTBlock(width, heads) for _ in range(BLOCKS))
        self.out_ln, self.out_head = nn.LayerNorm(width), nn.Linear(width, classes)

    def embed(self, x):
        patches = self.patch_embed(x).flatten(2).transpose(1, 2)
        return torch.cat([self.cls_token.expand(len(x), -1, -1), patches], 1) + self.pos_embed

    def pooled(self, h):
        return h[:, 0]

    def head(self, pooled):
        return self.out_head(self.out_ln(pooled))

    def parts(self):
        return ([*self.patch_embed.parameters(), self.cls_token, self.pos_embed],
                [*self.out_ln.parameters(), *self.out_head.parameters()])


NETWORKS = {"resnet": SmallResNet, "vit": ViTMini}


class Trainer:
    """Model, optimisers and feedback of a rule, drawn from PyTorch's global generator: seed it first."""

    def __init__(self, network, rule, classes, fused=False):
        self.rule, self.model = rule, NETWORKS[network](classes)
        adamw = lambda parameters: torch.optim.AdamW(parameters, lr=1e-3, weight_decay=0.01, fused=fused)
        if rule == "bp":
            self.whole = adamw(self.model.parameters())
            return
        self.embed_optimizer, self.head_optimizer = map(adamw, self.model.parts())
        self.block_optimizers = [adamw(block.parameters()) for block in self.model.blocks]
        if rule == "dfa":
            self.feedback = draw_dfa_feedback(self.model.width, classes, BLOCKS)
        else:
            self.feedback = draw_fa_feedback(self.model.width, BLOCKS)

    def _with_hidden(self, x):
        hidden = [self.model.embed(x)]
        for block in self.model.blocks:
            hidden.append(block(hidden[-1]))
        return self.model.head(self.model.pooled(hidden[-1])), hidden

    def step(self, x, y):
        if self.rule != "bp":
            return self._local_step(x, y)
        self.whole.zero_grad()
        F.cross_entropy(self._with_hidden(x)[0], y).backward()
        self.whole.step()

    def _local_step(self, x, y):
        model = self.model
        with torch.no_grad():
            logits, hidden = self._with_hidden(x)
        top = model.pooled(hidden[-1]).requires_grad_()
        self.head_optimizer.zero_grad()
        F.cross_entropy(model.head(top), y).backward()
        self.head_optimizer.step()
        if self.rule == "dfa":
            error = output_error(logits, y)
            credits = [error @ b.T for b in self.feedback]
            credits = [credits[0], *credits]
        else:
            credits = [top.grad]
            for b in reversed(self.feedback):
                credits.insert(0, credits[0] @ b)
        for block, optimizer, h, credit in zip(model.blocks, self.block_optimizers, hidden, credits[1:]):
            self._descend(optimizer, block(h) - h, credit)
        self._descend(self.embed_optimizer, model.embed(x), credits[0])

    def _descend(self, optimizer, output, credit):
        """One step down the mean over samples and positions of <output, credit>."""
        credit = rms_normalized(credit)
        for dim in self.model.POSITIONS:
            credit = credit.unsqueeze(dim)
        channels = 1 if output.dim() == 4 else 2
        optimizer.zero_grad()
        (output * credit).sum(channels).mean().backward()
        optimizer.step()
