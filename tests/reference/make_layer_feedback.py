# SPDX-License-Identifier: Apache-2.0
"""Writes layer_feedback.safetensors: feedback at every layer the way that layer classes have it (see README.md).

    python make_layer_feedback.py [FILE]

Each linear layer and convolution is an autograd function whose backward pass multiplies by a tensor of its own instead of the weight.
"""

import math

import torch
from torch.nn.grad import conv2d_input, conv2d_weight

import fixture

STEPS, BATCH, CLASSES, LR, DECAY = 24, 6, 3, 0.1, 0.02
SHAPES = {"embed.0": (4, 2, 3, 3), "blocks.0.0": (5, 4, 3, 3), "blocks.1.1": (7, 45), "readout.0": (CLASSES, 7)}  # weights, by layer
RULES = ["fa", "usf", "frsf", "kp", "wm", "ldfa", "ldfa_weights"]
SEED = 42  # of the trainer that draws wm's numbers
RATE, NOISE, SAMPLES = 0.5, 0.5, 16  # of wm
RANK, FACTOR_LR = 2, 0.02  # of ldfa


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


def uniform(shape, bound, generator):
    """As a trainer draws: in float32."""
    return torch.empty(shape, dtype=torch.float32).uniform_(-bound, bound, generator=generator).double()


class Mirror:
    """What stands in the place of each weight under a weight mirror."""

    def __init__(self, weights):
        self.generator = torch.Generator().manual_seed(SEED)
        self.feedback = {}
        for name, w in weights.items():
            bound = math.sqrt(6 / (w.numel() / w.shape[0] + w.numel() / w.shape[1]))
            self.feedback[name] = uniform(w.shape, bound, self.generator)

    def after_step(self, weights, _):
        """Each layer by itself answers to noise; the products of answers and noise turn its feedback, whose norm stays."""
        for name, w in weights.items():
            before = self.feedback[name].flatten(1)
            noise = uniform((SAMPLES, before.shape[1]), NOISE, self.generator)
            answers = noise @ w.flatten(1).t()
            after = before + RATE * answers.t() @ noise
            self.feedback[name] = (after * before.norm() / after.norm()).view(w.shape)


class LowRank:
    """P Q in the place of each weight, from its singular values. They follow the weight's gradient or the weight."""

    def __init__(self, weights, follows_weights):
        self.follows_weights, self.factors = follows_weights, {}
        for name, w in weights.items():
            left, values, right = torch.linalg.svd(w.detach().flatten(1), full_matrices=False)
            roots = values[:RANK].sqrt()
            self.factors[name] = [(left[:, :RANK] * roots).requires_grad_(), (roots.unsqueeze(1) * right[:RANK]).requires_grad_()]
        self.optimizer = torch.optim.Adam([side for factors in self.factors.values() for side in factors], lr=FACTOR_LR)
        self.shapes = {name: w.shape for name, w in weights.items()}

    @property
    def feedback(self):
        return {name: (P @ Q).detach().view(self.shapes[name]) for name, (P, Q) in self.factors.items()}

    def after_step(self, weights, gradients):
        for name, (P, Q) in self.factors.items():
            D = P @ Q - weights[name].flatten(1) if self.follows_weights else gradients[name].flatten(1)
            P.grad, Q.grad = (D @ Q.t()).detach(), (P.t() @ D).detach()
        self.optimizer.step()


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
    learner = None
    if rule == "wm":
        learner = Mirror(weights)
    elif rule.startswith("ldfa"):
        learner = LowRank(weights, follows_weights=rule == "ldfa_weights")
    decay = DECAY if rule == "kp" else 0
    for step in range(STEPS):
        rows = slice(step * BATCH, (step + 1) * BATCH)
        if learner:
            feedback = learner.feedback
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
            if learner:
                learner.after_step(weights, dict(zip(names, gradients)))
    final = {f"{rule}.final.{name}.weight": w.detach() for name, w in weights.items()}
    final |= {f"{rule}.final.{name}.bias": b.detach() for name, b in biases.items()}
    if rule == "kp" or learner:
        last = learner.feedback if learner else feedback
        final |= {f"{rule}.feedback.{name}": value for name, value in last.items()}
    return final | {f"{rule}.loss": torch.stack(losses)}


def main():
    fixture.begin(11)
    generator = torch.Generator().manual_seed(11)

    def draw(shape, deviation=0.3):
        return deviation * torch.randn(shape, generator=generator, dtype=torch.float64)

    initial, drawn = {name: draw(shape) for name, shape in SHAPES.items()}, {name: draw(shape) for name, shape in SHAPES.items()}
    x, y = draw((STEPS * BATCH, 2, 7, 7), 1), torch.randint(CLASSES, (STEPS * BATCH,), generator=generator)
    tensors = {"x": x, "y": y} | {f"init.{name}.weight": w for name, w in initial.items()} | {f"feedback.{name}": b for name, b in drawn.items()}
    for rule in RULES:
        tensors |= trained(rule, initial, drawn, x, y)
        print(f"{rule}: loss {tensors[f'{rule}.loss'][0]:.3f} to {tensors[f'{rule}.loss'][-1]:.3f}")
    settings = {"steps": STEPS, "batch": BATCH, "lr": LR, "decay": DECAY, "seed": SEED, "rate": RATE, "noise": NOISE,
                "samples": SAMPLES, "rank": RANK, "factor_lr": FACTOR_LR}
    fixture.write("layer_feedback", tensors, settings)


if __name__ == "__main__":
    main()
