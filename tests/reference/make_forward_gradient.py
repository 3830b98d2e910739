# SPDX-License-Identifier: Apache-2.0
"""Writes forward_gradient.safetensors: 24 steps of the activity-perturbed forward gradient by forward mode (see README.md).

    python make_forward_gradient.py [FILE]
"""

import torch

import fixture

# A batch of a hidden state has fewer than 16 numbers: from 16 on, the last digits of torch.randn differ between processors.
INPUT, WIDTHS, CLASSES = 6, [5, 5, 4], 4
STEPS, BATCH, SEED = 24, 3, 7
CASES = {"one": {"directions": 1, "lr": 0.02}, "four": {"directions": 4, "lr": 0.02}}
MOMENTUM = 0.9
NAMES = ["embed", "0", "1", "out"]


def hidden_states(weights, x, added):
    """The hidden states, lowest first, each with what is added to it before the next layer reads it; and the logits."""
    states = []
    for name, perturbation in zip(NAMES, added):
        x = torch.tanh(torch.nn.functional.linear(x, weights[f"{name}.weight"], weights[f"{name}.bias"])) + perturbation
        states.append(x)
    return states, torch.nn.functional.linear(x, weights["out.weight"], weights["out.bias"])


def estimates(weights, x, y, drawn):
    """For each hidden state the mean over directions u of d u; d, a number per sample, by torch's forward mode."""
    frozen = {name: value.detach() for name, value in weights.items()}

    def losses(*added):
        _, logits = hidden_states(frozen, x, added)
        return torch.nn.functional.cross_entropy(logits, y, reduction="none")

    at = tuple(torch.zeros(len(x), width) for width in WIDTHS)
    slopes = [torch.func.jvp(losses, at, u)[1] for u in drawn]
    return [torch.stack([d.unsqueeze(1) * u[l] for d, u in zip(slopes, drawn)]).mean(0) for l in range(len(WIDTHS))]


def run(settings, start, x, y):
    """Final weights, each step's loss, and the estimates of the last step, lowest state first."""
    weights = {name: value.clone().requires_grad_() for name, value in start.items()}
    optimizer = torch.optim.SGD(weights.values(), lr=settings["lr"], momentum=MOMENTUM)
    generator = torch.Generator().manual_seed(SEED)
    seen, losses = [], []
    for step in range(STEPS):
        rows = slice(step * BATCH, (step + 1) * BATCH)
        # Direction by direction, and in it state by state.
        drawn = [tuple(torch.randn(BATCH, width, generator=generator, dtype=torch.float32).to(x.dtype) for width in WIDTHS)
                 for _ in range(settings["directions"])]
        seen = estimates(weights, x[rows], y[rows], drawn)
        states, logits = hidden_states(weights, x[rows], [0.0] * len(WIDTHS))
        for state, estimate in zip(states, seen):
            state.register_hook(lambda _, estimate=estimate: estimate / BATCH)  # in the gradient's place
        loss = torch.nn.functional.cross_entropy(logits, y[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
    return weights, torch.stack(losses), seen


def main():
    fixture.begin(20241)
    x, y = torch.randn(STEPS * BATCH, INPUT), torch.randint(CLASSES, (STEPS * BATCH,))
    start = fixture.drawn_layers(NAMES, [INPUT, *WIDTHS, CLASSES])

    tensors = {f"init.{name}": value for name, value in start.items()} | {"x": x, "y": y}
    for case, settings in CASES.items():
        weights, losses, seen = run(settings, start, x, y)
        moved = {name: round((weights[name] - value).abs().max().item(), 3) for name, value in start.items()}
        print(f"{case}: a weight moved by at most {moved}; loss {losses[0]:.3f} to {losses[-1]:.3f}")
        tensors |= {f"{case}.final.{name}": value.detach() for name, value in weights.items()}
        tensors |= {f"{case}.credit.{l}": estimate for l, estimate in enumerate(seen)} | {f"{case}.loss": losses}

    settings = {"input": INPUT, "widths": WIDTHS, "classes": CLASSES, "steps": STEPS, "batch": BATCH, "seed": SEED,
                "momentum": MOMENTUM, "cases": CASES}
    fixture.write("forward_gradient", tensors, settings)


if __name__ == "__main__":
    main()
