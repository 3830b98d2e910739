# SPDX-License-Identifier: Apache-2.0
"""Writes local_signals.safetensors: 24 steps of rules with local heads, each layer with an optimizer of its own that steps
in the forward pass (see README.md).

    python make_local_signals.py [FILE]
"""

import torch
import torch.nn.functional as F
from torch import nn

import fixture

CLASSES, SAMPLES, BATCH, EPOCHS = 4, 36, 6, 4
LR, BETA, POOLED = 5e-3, 0.99, 48
CASES = {
    "mlp_pred": {"network": "mlp", "beta": 0.0},
    "mlp_sim": {"network": "mlp", "beta": 1.0},
    "mlp_predsim": {"network": "mlp", "beta": BETA},
    "cnn_predsim": {"network": "cnn", "beta": BETA},
    "cnn_greedy": {"network": "cnn"},
    "relu_mono": {"network": "relu"},
    "groups_channels": {"network": "groups"},
}
SHAPES = {"mlp": [(8,), (7,), (6,)], "relu": [(8,), (7,), (6,)], "cnn": [(5, 8, 8), (6, 4, 4)], "groups": [(8, 8, 8), (12, 4, 4)]}


def make_network(network):
    """Blocks and readout. Modules of a block stand in the order of creditlib's Sequential."""
    widths = [12, 8, 7, 6]
    if network == "mlp":
        blocks = [nn.Sequential(nn.Linear(a, b), nn.BatchNorm1d(b), nn.LeakyReLU(0.01)) for a, b in zip(widths, widths[1:])]
        return blocks, nn.Sequential(nn.Linear(6, CLASSES))
    if network == "relu":
        return [nn.Sequential(nn.Linear(a, b), nn.ReLU()) for a, b in zip(widths, widths[1:])], nn.Sequential(nn.Linear(6, CLASSES))
    if network == "groups":  # every second layer has a group of channels per class
        blocks = [nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.BatchNorm2d(8, eps=1e-4)),
                  nn.Sequential(nn.Conv2d(8, 12, 3, padding=1, groups=CLASSES), nn.ReLU(), nn.MaxPool2d(2),
                                nn.BatchNorm2d(12, eps=1e-4))]
        return blocks, nn.Sequential(nn.Flatten(), nn.Linear(12 * 4 * 4, CLASSES))
    blocks = [nn.Sequential(nn.Conv2d(1, 5, 3, padding=1), nn.BatchNorm2d(5), nn.ReLU()),
              nn.Sequential(nn.Conv2d(5, 6, 3, padding=1, stride=2), nn.BatchNorm2d(6), nn.ReLU())]
    return blocks, nn.Sequential(nn.Flatten(), nn.Linear(6 * 4 * 4, CLASSES))


def pooling(channels, side):
    """The kernel of an average pooling that leaves at most POOLED numbers: height and width are halved in turn."""
    high, wide = side, side
    while channels * high * wide > POOLED:
        high //= 2
        if channels * high * wide > POOLED:
            wide //= 2
    return side // high, side // wide


def similarity(x):
    if x.dim() == 4:
        x = x.flatten(2).std(2) if x.size(1) > 3 else x.flatten(1)
    x = x - x.mean(1, keepdim=True)
    x = x / (1e-8 + x.square().sum(1).sqrt()).unsqueeze(1)
    return (x @ x.t()).clamp(-1, 1)


class SignalHead(nn.Module):
    """Prediction and similarity losses on one hidden state."""

    def __init__(self, shape, beta):
        super().__init__()
        self.beta, features = beta, shape[0]
        self.kernel = pooling(*shape[:2]) if len(shape) == 3 else None
        if beta > 0:
            self.projection = (nn.Linear(features, features, bias=False) if self.kernel is None else
                               nn.Conv2d(features, features, 3, padding=1, bias=False))
        if beta < 1:
            cells = 1 if self.kernel is None else shape[1] * shape[2] // (self.kernel[0] * self.kernel[1])
            self.predictor = nn.Linear(features * cells, CLASSES)
            with torch.no_grad():
                self.predictor.weight.zero_()

    def forward(self, h, y):
        loss = 0
        if self.beta < 1:
            pooled = h if self.kernel is None else F.avg_pool2d(h, self.kernel)
            loss = (1 - self.beta) * F.cross_entropy(self.predictor(pooled.flatten(1)), y)
        if self.beta > 0:
            wanted = similarity(F.one_hot(y, CLASSES).to(h.dtype))
            loss = loss + self.beta * F.mse_loss(similarity(self.projection(h)), wanted)
        return loss


class AuxiliaryHead(nn.Module):
    """Two convolutions with BatchNorm, the mean over 2 x 2 cells, a linear layer."""

    def __init__(self, shape):
        super().__init__()
        features = shape[0]
        for i in range(2):
            setattr(self, f"layer{i}", nn.Conv2d(features, features, 3, padding=1, bias=False))
            self.register_parameter(f"scale{i}", nn.Parameter(torch.ones(features)))
            self.register_parameter(f"shift{i}", nn.Parameter(torch.zeros(features)))
        self.scores = nn.Linear(features * 4, CLASSES)

    def forward(self, h, y):
        for i in range(2):
            h = getattr(self, f"layer{i}")(h)
            h = F.batch_norm(h, None, None, getattr(self, f"scale{i}"), getattr(self, f"shift{i}"), training=True).relu()
        return F.cross_entropy(self.scores(F.adaptive_avg_pool2d(h, 2).flatten(1)), y)


class Projection(nn.Module):
    """A matrix without bias from a hidden state to a goodness per class."""

    def __init__(self, shape):
        super().__init__()
        self.weight = nn.Parameter((2 / shape[0]) ** 0.5 * torch.randn(CLASSES, shape[0]))

    def forward(self, h, y):
        return F.cross_entropy(h @ self.weight.t(), y)


class ChannelGoodness(nn.Module):
    """The mean square of each class's group of channels, as logits. It has no parameters."""

    def forward(self, h, y):
        groups = h.split(h.size(1) // CLASSES, dim=1)
        return F.cross_entropy(torch.stack([group.square().mean((1, 2, 3)) for group in groups], 1), y)


def make_heads(name, case):
    """The head on each block's output; a last one without a head is trained with the readout."""
    shapes = SHAPES[case["network"]]
    if name == "cnn_greedy":
        return [AuxiliaryHead(shape) for shape in shapes[:-1]]
    if name == "relu_mono":
        return [Projection(shape) for shape in shapes]
    if name == "groups_channels":
        return [ChannelGoodness() for _ in shapes]
    return [SignalHead(shape, case["beta"]) for shape in shapes]


def run(name, case, x, y):
    """All tensors of a case, before and after, and the readout's loss of every step."""
    torch.manual_seed(20240)
    blocks, readout = make_network(case["network"])
    heads = make_heads(name, case)
    if "beta" in case:
        with torch.no_grad():
            readout[-1].weight.zero_()
    layers = blocks + [readout] if len(heads) == len(blocks) else blocks[:-1] + [nn.Sequential(blocks[-1], readout)]
    own = [[*layer.parameters(), *(heads[l].parameters() if l < len(heads) else [])] for l, layer in enumerate(layers)]
    optimizers = [torch.optim.Adam(parameters, lr=LR) for parameters in own]

    def tensors():
        named = {f"readout.{k}": p for k, p in enumerate(readout.parameters())}
        for l, block in enumerate(blocks):
            named |= {f"block.{l}.{k}": p for k, p in enumerate(block.parameters())}
        for l, head in enumerate(heads):
            named |= {f"head.{l}.{name}": p for name, p in head.named_parameters()}
        return {name: p.detach().clone() for name, p in named.items()}

    start, losses = tensors(), []
    for _ in range(EPOCHS):
        for first in range(0, SAMPLES, BATCH):
            h, target = x[first : first + BATCH], y[first : first + BATCH]
            for l, (layer, optimizer) in enumerate(zip(layers, optimizers)):
                h = layer(h)
                last = l + 1 == len(layers)
                loss = F.cross_entropy(h, target) if last else heads[l](h, target)
                if last:
                    losses.append(loss.detach())
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                h = h.detach()
    return start, tensors(), torch.stack(losses)


def main():
    fixture.begin(20241)
    y = torch.randint(CLASSES, (SAMPLES,))
    inputs = {"mlp": torch.randn(SAMPLES, 12) + y.unsqueeze(1) / 2, "cnn": torch.randn(SAMPLES, 1, 8, 8) + y.view(-1, 1, 1, 1) / 2}
    tensors = {"y": y} | {f"x.{network}": x for network, x in inputs.items()}
    for name, case in CASES.items():
        x = inputs["mlp" if len(SHAPES[case["network"]][0]) == 1 else "cnn"]
        start, end, losses = run(name, case, x, y)
        tensors |= {f"{name}.init.{key}": value for key, value in start.items()}
        tensors |= {f"{name}.final.{key}": value for key, value in end.items()}
        tensors[f"{name}.loss"] = losses
        print(f"{name}: loss {losses[0]:.3f} to {losses[-1]:.3f}")
    settings = {"batch": BATCH, "epochs": EPOCHS, "lr": LR, "pooled": POOLED, "cases": CASES}
    fixture.write("local_signals", tensors, settings)


if __name__ == "__main__":
    main()
