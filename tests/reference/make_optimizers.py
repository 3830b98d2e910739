# SPDX-License-Identifier: Apache-2.0
"""Writes optimizers.safetensors: AdamW and SGD of torch.optim on recorded gradients (see README.md).

    python make_optimizers.py [FILE]
"""

import torch

import fixture

STEPS, EPOCHS = 10, 6
SHAPES = {"matrix": (3, 4), "vector": (5,)}
OPTIMIZERS = {
    "adamw": (torch.optim.AdamW, {"lr": 1e-2, "weight_decay": 0.01}),
    "sgd": (torch.optim.SGD, {"lr": 1e-1, "momentum": 0.9, "weight_decay": 0.01}),
}


def run(kind, options, dtype, initial, gradients):
    """Values after each step, (STEPS, ...) a tensor, and the rate used in each step."""
    values = {name: torch.nn.Parameter(value.to(dtype, copy=True)) for name, value in initial.items()}
    optimizer = kind(values.values(), **options)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=EPOCHS)
    after = {name: [] for name in values}
    rates = []
    for step in range(STEPS):
        rates.append(scheduler.get_last_lr()[0])
        for name, value in values.items():
            value.grad = gradients[name][step].to(dtype)
        optimizer.step()
        scheduler.step()
        for name, value in values.items():
            after[name].append(value.detach().clone())
    return {name: torch.stack(steps) for name, steps in after.items()}, torch.tensor(rates, dtype=torch.float64)


def main():
    fixture.begin(7)
    generator = torch.Generator().manual_seed(7)
    initial, gradients = {}, {}
    for name, shape in SHAPES.items():
        initial[name] = torch.randn(shape, generator=generator, dtype=torch.float64)
        gradients[name] = torch.randn((STEPS, *shape), generator=generator, dtype=torch.float64)
    gradients["vector"][:, 0] = 0.0  # only weight decay moves this one
    gradients["vector"][:, 1] *= 1e-8  # about AdamW's epsilon: shows where it is added

    tensors = {f"initial.{name}": value for name, value in initial.items()}
    tensors |= {f"gradient.{name}": value for name, value in gradients.items()}
    for optimizer, (kind, options) in OPTIMIZERS.items():
        for dtype in ("float64", "float32"):
            after, rates = run(kind, options, getattr(torch, dtype), initial, gradients)
            tensors |= {f"{optimizer}.{dtype}.after.{name}": value for name, value in after.items()}
        tensors[f"{optimizer}.rate"] = rates
        tensors[f"{optimizer}.cosine"] = rates[: EPOCHS + 1].clone()

    settings = {"epochs": EPOCHS, "steps": STEPS}
    settings |= {optimizer: options for optimizer, (_, options) in OPTIMIZERS.items()}
    fixture.write("optimizers", tensors, settings)


if __name__ == "__main__":
    main()
