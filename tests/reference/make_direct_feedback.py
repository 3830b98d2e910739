# SPDX-License-Identifier: Apache-2.0
"""Writes direct_feedback.safetensors: 24 steps of dfa, sdfa, drtp and dkp, the way of their authors' programs (see README.md).

    python make_direct_feedback.py [FILE]
"""

import torch

import fixture

INPUT, WIDTHS, CLASSES = 6, [7, 5], 4
STEPS, BATCH = 24, 6
# Projected errors are not divided by the batch size there, unlike the loss.
RULES = {"dfa": {"optimizer": "SGD", "lr": 0.02, "momentum": 0.9},
         "sdfa": {"optimizer": "SGD", "lr": 0.02, "momentum": 0.9},
         "drtp": {"optimizer": "SGD", "lr": 0.02, "momentum": 0.9},
         "dkp": {"optimizer": "Adam", "lr": 0.01, "feedback_lr": 0.02}}


class Output:
    """What hooks below the output are told: the logits, the one-hot targets, and the gradient of the mean loss."""

    targets = logits = gradient = None


class OutputHook(torch.autograd.Function):
    """Keeps the gradient at the logits: backward comes here first."""

    @staticmethod
    def forward(context, logits, output):
        context.output = output
        return logits.clone()

    @staticmethod
    def backward(context, gradient):
        context.output.gradient = gradient
        return gradient, None


class HiddenHook(torch.autograd.Function):
    """Puts direct feedback in the place of the gradient at a hidden layer's output."""

    @staticmethod
    def forward(context, hidden, feedback, rule, output, seen):
        context.save_for_backward(hidden, feedback)
        context.rule, context.output, context.seen = rule, output, seen
        return hidden.clone()

    @staticmethod
    def backward(context, _):
        hidden, feedback = context.saved_tensors
        rule, output = context.rule, context.output
        error = output.logits.softmax(1) - output.targets
        learned = None
        if rule == "dfa":
            estimate = error.mm(feedback)
        elif rule == "sdfa":
            estimate = error.sign().mm(feedback)
        elif rule == "drtp":
            estimate = output.targets.mm(feedback)
        else:
            estimate = output.gradient.mm(feedback)
            learned = output.gradient.t().mm(hidden)
        context.seen.append(estimate)
        return estimate, learned, None, None, None


def run(rule, settings, start, feedback, x, y):
    """Final weights, final feedback, and the gradients that the hooks put in at the last step, lowest layer first."""
    weights = {name: value.clone().requires_grad_() for name, value in start.items()}
    learns = rule == "dkp"
    matrices = [torch.zeros_like(b) if learns else b.clone() for b in feedback]
    if learns:
        optimizers = [torch.optim.Adam(weights.values(), lr=settings["lr"]),
                      torch.optim.Adam([b.requires_grad_() for b in matrices], lr=settings["feedback_lr"])]
    else:
        optimizers = [torch.optim.SGD(weights.values(), lr=settings["lr"], momentum=settings["momentum"])]
    seen = []
    for step in range(STEPS):
        rows = slice(step * BATCH, (step + 1) * BATCH)
        output, seen = Output(), []
        output.targets = torch.nn.functional.one_hot(y[rows], CLASSES).to(x.dtype)
        hidden = x[rows]
        for l, matrix in enumerate(matrices):
            hidden = torch.tanh(torch.nn.functional.linear(hidden, weights[f"{l}.weight"], weights[f"{l}.bias"]))
            hidden = HiddenHook.apply(hidden, matrix, rule, output, seen)
        logits = torch.nn.functional.linear(hidden, weights["out.weight"], weights["out.bias"])
        output.logits = logits.detach()
        loss = torch.nn.functional.cross_entropy(OutputHook.apply(logits, output), y[rows])
        for optimizer in optimizers:
            optimizer.zero_grad()
        loss.backward()
        for optimizer in optimizers:
            optimizer.step()
    return weights, matrices, seen[::-1]


def main():
    fixture.begin(20241)
    x, y = torch.randn(STEPS * BATCH, INPUT), torch.randint(CLASSES, (STEPS * BATCH,))
    start = fixture.drawn_layers([*(str(l) for l in range(len(WIDTHS))), "out"], [INPUT, *WIDTHS, CLASSES])
    feedback = [torch.nn.init.kaiming_uniform_(torch.empty(CLASSES, width)) for width in WIDTHS]

    tensors = {f"init.{name}": value for name, value in start.items()} | {"x": x, "y": y}
    tensors |= {f"feedback.{l}": matrix for l, matrix in enumerate(feedback)}
    for rule, settings in RULES.items():
        weights, matrices, credits = run(rule, settings, start, feedback, x, y)
        moved = max((weights[name] - value).abs().max().item() for name, value in start.items())
        print(f"{rule}: a weight moved by {moved:.2f}")
        tensors |= {f"{rule}.final.{name}": value.detach() for name, value in weights.items()}
        tensors |= {f"{rule}.credit.{l}": credit for l, credit in enumerate(credits)}
        if rule == "dkp":
            tensors |= {f"{rule}.feedback.{l}": matrix.detach() for l, matrix in enumerate(matrices)}

    settings = {"input": INPUT, "widths": WIDTHS, "classes": CLASSES, "steps": STEPS, "batch": BATCH, "rules": RULES}
    fixture.write("direct_feedback", tensors, settings)


if __name__ == "__main__":
    main()
