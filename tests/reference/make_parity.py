# SPDX-License-Identifier: Apache-2.0
"""Writes parity.safetensors: 20 steps of bp, fa and dfa, run the reference scripts' way (see README.md).

    python make_parity.py [FILE]
"""

import torch

import fixture
import scripts_way

INPUT, WIDTH, CLASSES, BLOCKS = 12, 8, 5, 3
EPOCHS, BATCHES = 4, [7, 7, 7, 7, 4]  # sizes of an epoch's batches; every epoch has samples of its own
LR, WEIGHT_DECAY = 1e-2, 0.01
CASES = {
    "bp": {"rule": "bp"},
    "bp_clip": {"rule": "bp", "clip_norm": 0.9},
    "fa": {"rule": "fa"},
    "fa_clip": {"rule": "fa", "clip_norm": 5.0},
    "dfa": {"rule": "dfa"},
    "dfa_clip": {"rule": "dfa", "clip_norm": 5.0},
    "dfa_penalty": {"rule": "dfa", "clip_norm": 5.0, "penalty": 1e-2},
}


def draw_start():
    """Weights, LayerNorms included, far enough from the usual start that every gradient matters."""
    model = scripts_way.ResidualMLP(INPUT, WIDTH, CLASSES, BLOCKS)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            offset = 1.0 if name.endswith("ln.weight") else 0.0
            parameter.copy_(offset + 0.5 * torch.randn_like(parameter))
    return {name: value.clone() for name, value in model.state_dict().items()}


def run(case, dtype, start, feedback, x, y):
    """Final parameters, loss of every step, and each step's block gradient norms before clipping."""
    model = scripts_way.ResidualMLP(INPUT, WIDTH, CLASSES, BLOCKS).to(dtype)
    model.load_state_dict({name: value.to(dtype) for name, value in start.items()})
    rule = case["rule"]
    optimizers = scripts_way.Optimizers(model, EPOCHS, LR, WEIGHT_DECAY, whole=rule == "bp")
    options = {name: value for name, value in case.items() if name != "rule"}
    x = x.to(dtype)
    losses, norms, first = [], [], 0
    for _ in range(EPOCHS):
        for size in BATCHES:
            batch = x[first : first + size], y[first : first + size]
            first += size
            if rule == "bp":
                step = scripts_way.bp_step(model, optimizers, *batch, **options)
            elif rule == "fa":
                step = scripts_way.fa_step(model, optimizers, [b.to(dtype) for b in feedback["fa"]], *batch, **options)
            else:  # slot 0 is the embed's, a copy of slot 1, which the scripts call B_0
                own = [b.to(dtype) for b in feedback["dfa"][1:]]
                step = scripts_way.dfa_step(model, optimizers, own, *batch, **options)
            losses.append(step.loss)
            norms.append(step.block_norms)
        optimizers.end_epoch()
    return model.state_dict(), torch.stack(losses), norms


def main():
    fixture.begin(20240)
    start = draw_start()
    samples = EPOCHS * sum(BATCHES)
    x, y = torch.randn(samples, INPUT), torch.randint(CLASSES, (samples,))
    dfa = scripts_way.draw_dfa_feedback(WIDTH, CLASSES, BLOCKS)
    feedback = {"dfa": [dfa[0].clone(), *dfa], "fa": scripts_way.draw_fa_feedback(WIDTH, BLOCKS)}

    tensors = {f"init.{name}": value for name, value in start.items()} | {"x": x, "y": y}
    for rule, matrices in feedback.items():
        tensors |= {f"{rule}.feedback.{l}": matrix for l, matrix in enumerate(matrices)}
    for name, case in CASES.items():
        for dtype in ("float64", "float32"):
            final, losses, norms = run(case, getattr(torch, dtype), start, feedback, x, y)
            tensors |= {f"{name}.{dtype}.final.{parameter}": value for parameter, value in final.items()}
            tensors[f"{name}.{dtype}.loss"] = losses
            norms = [norm.item() for step in norms for norm in step]
            if norms:
                share = sum(norm > case["clip_norm"] for norm in norms) / len(norms)
                print(f"{name} {dtype}: {share:.0%} of {len(norms)} block steps clipped at {case['clip_norm']}, "
                      f"norms {min(norms):.2f} to {max(norms):.2f}")

    settings = {"input": INPUT, "width": WIDTH, "classes": CLASSES, "blocks": BLOCKS, "epochs": EPOCHS,
                "batches": BATCHES, "lr": LR, "weight_decay": WEIGHT_DECAY, "rms_epsilon": scripts_way.RMS_EPSILON,
                "cases": CASES}
    fixture.write("parity", tensors, settings)


if __name__ == "__main__":
    main()
