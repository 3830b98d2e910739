# SPDX-License-Identifier: Apache-2.0
"""Writes layer_feedback.safetensors: feedback at every layer the way that layer classes have it (see README.md).

    python make_layer_feedback.py [FILE]

Each linear layer and convolution is an autograd function whose backward pass multiplies by a tensor of its own instead of the weight.
"""

import json
import math
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch.nn.grad import conv2d_input, conv2d_weight

STEPS, BATCH, CLASSES, LR, DECAY = 24, 6, 3, 0.1, 0.02
SHAPES = {"embed.0": (4, 2, 3, 3), "blocks.0.0": (5, 4, 3, 3), "blocks.1.1": (7, 45), "readout.0": (CLASSES, 7)}  # weights, by layer
RULES = ["fa", "usf", "frsf", "kp"]


class Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight, bias, backward_weight):
        ctx.save_for_backward(x, backward_weight)
        return x @ weight.t() + bias

    @staticmethod
    def backward(ctx, g):
        x, backward_weight = ctx.saved_tensors
        return g @ backward_weight, g.t() @ x, g.sum(0), None


class Conv(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight, bias, backward_weight):
        ctx.save_for_backward(x, weight, backward_weight)
        return torch.conv2d(x, weight, bias)

    @staticmethod
    def backward(ctx, g):
        x, weight, backward_weight = ctx.saved_tensors
        return conv2d_input(x.shape, backward_weight, g), conv2d_weight(x, weight.shape, g), g.sum((0, 2, 3)), None


def logits_of(x, weights, biases, feedback):
    for name in SHAPES:
        if weights[name].dim() == 2:
            x = Linear.apply(x.flatten(1), weights[name], biases[name], feedback[name])
        else:
            x = Conv.apply(x, weights[name], biases[name], feedback[name])
        if name != "readout.0":
            x = torch.tanh(x)
    return x


def feedback_of(rule, weights, drawn):
    """What stands in the place of each weight in one step."""
    if rule == "usf":
        fans = {name: (w.numel() / w.shape[0], w.numel() / w.shape[1]) for name, w in weights.items()}
        return {name: math.sqrt(2 / sum(fans[name])) * torch.sign(w.detach()) for name, w in weights.items()}
    if rule == "frsf":
        return {name: drawn[name].abs() * torch.sign(w.detach()) for name, w in weights.items()}
    return drawn


def trained(rule, initial, drawn, x, y):
    weights = {name: initial[name].clone().requires_grad_() for name in SHAPES}
    biases = {name: torch.zeros(SHAPES[name][0], dtype=torch.float64).requires_grad_() for name in SHAPES}
    feedback, losses = {name: value.clone() for name, value in drawn.items()}, []
    decay = DECAY if rule == "kp" else 0
    for step in range(STEPS):
        rows = slice(step * BATCH, (step + 1) * BATCH)
        logits = logits_of(x[rows], weights, biases, feedback_of(rule, weights, feedback))
        loss = torch.nn.functional.cross_entropy(logits, y[rows])
        losses.append(loss.detach())
        names = list(SHAPES)
        gradients = torch.autograd.grad(loss, [weights[n] for n in names] + [biases[n] for n in names])
        with torch.no_grad():
            for name, in_weight, in_bias in zip(names, gradients, gradients[len(names):]):
                weights[name].mul_(1 - LR * decay).sub_(LR * in_weight)
                biases[name].mul_(1 - LR * decay).sub_(LR * in_bias)
                if rule == "kp":  # both get the same increment, and both decay
                    feedback[name] = (1 - LR * decay) * feedback[name] - LR * in_weight
    final = {f"{rule}.final.{name}.weight": w.detach() for name, w in weights.items()}
    final |= {f"{rule}.final.{name}.bias": b.detach() for name, b in biases.items()}
    if rule == "kp":
        final |= {f"kp.feedback.{name}": value for name, value in feedback.items()}
    return final | {f"{rule}.loss": torch.stack(losses)}


def main():
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(11)

    def draw(shape, deviation=0.3):
        return deviation * torch.randn(shape, generator=generator, dtype=torch.float64)

    initial, drawn = {name: draw(shape) for name, shape in SHAPES.items()}, {name: draw(shape) for name, shape in SHAPES.items()}
    x, y = draw((STEPS * BATCH, 2, 7, 7), 1), torch.randint(CLASSES, (STEPS * BATCH,), generator=generator)
    tensors = {"x": x, "y": y} | {f"init.{name}.weight": w for name, w in initial.items()} | {f"feedback.{name}": b for name, b in drawn.items()}
    for rule in RULES:
        tensors |= trained(rule, initial, drawn, x, y)
    settings = {"steps": STEPS, "batch": BATCH, "lr": LR, "decay": DECAY, "torch": torch.__version__.split("+")[0]}
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_name("layer_feedback.safetensors")
    # One metadata entry: the file's bytes would otherwise depend on the order of a hash map.
    save_file({name: value.contiguous() for name, value in tensors.items()}, path, metadata={"settings": json.dumps(settings, sort_keys=True)})
    print(f"{path}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
