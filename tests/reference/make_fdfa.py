# SPDX-License-Identifier: Apache-2.0
"""Writes fdfa.safetensors: 24 steps of forward direct feedback alignment, run the authors' way (see README.md).

    python make_fdfa.py [FILE]
"""

import torch
import torch.autograd.forward_ad as forward_mode

import fixture

WIDTHS, CLASSES = [6, 7, 5], 4
STEPS, BATCH = 24, 8
LR, FEEDBACK_LR = 1e-2, 5e-2


class Outputs:
    """What a pass leaves at the logits for the hooks below them: the loss's gradient, and the directional derivative."""


class OutputHook(torch.autograd.Function):
    @staticmethod
    def forward(ctx, logits, outputs):
        ctx.outputs = outputs
        return logits.clone()

    @staticmethod
    def jvp(ctx, tangent, _):
        ctx.outputs.derivative = tangent.clone()
        return tangent

    @staticmethod
    def backward(ctx, gradient):
        ctx.outputs.gradient = gradient
        return gradient, None


class FeedbackHook(torch.autograd.Function):
    """The identity, whose tangent gets a perturbation and whose gradient is the projected error."""

    @staticmethod
    def forward(ctx, hidden, feedback, perturbation, outputs):
        ctx.save_for_backward(feedback)
        ctx.perturbation, ctx.outputs = perturbation, outputs
        return hidden.clone()

    @staticmethod
    def jvp(ctx, tangent, *_):
        return tangent + ctx.perturbation

    @staticmethod
    def backward(ctx, _):
        (feedback,) = ctx.saved_tensors
        estimates = ctx.outputs.derivative.unsqueeze(2) * ctx.perturbation.unsqueeze(1)  # (B, C, d)
        return ctx.outputs.gradient.mm(feedback), feedback - estimates.mean(0), None, None


class Network(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.blocks = torch.nn.ModuleList(
            torch.nn.Sequential(torch.nn.Linear(i, o), torch.nn.BatchNorm1d(o), torch.nn.ReLU())
            for i, o in zip(WIDTHS, WIDTHS[1:]))
        self.readout = torch.nn.Sequential(torch.nn.Linear(WIDTHS[-1], CLASSES))
        self.feedback = [torch.zeros(CLASSES, width, requires_grad=True) for width in WIDTHS[1:]]

    def forward(self, x, perturbations):
        outputs = Outputs()
        for block, feedback, perturbation in zip(self.blocks, self.feedback, perturbations):
            x = FeedbackHook.apply(block(x), feedback, perturbation, outputs)
        return OutputHook.apply(self.readout(x), outputs)


def main():
    fixture.begin(20241)
    network = Network()
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            parameter.copy_((1.0 if name.endswith("1.weight") else 0.0) + 0.6 * torch.randn_like(parameter))
    x, y = torch.randn(STEPS, BATCH, WIDTHS[0]), torch.randint(CLASSES, (STEPS, BATCH))
    u = [torch.randn(STEPS, BATCH, width) for width in WIDTHS[1:]]
    tensors = {f"init.{name}": value.clone() for name, value in network.named_parameters()}
    tensors |= {"x": x, "y": y} | {f"u.{l + 1}": drawn for l, drawn in enumerate(u)}

    optimizers = [torch.optim.Adam(network.parameters(), lr=LR), torch.optim.Adam(network.feedback, lr=FEEDBACK_LR)]
    losses = []
    for step in range(STEPS):
        for optimizer in optimizers:
            optimizer.zero_grad()
        with forward_mode.dual_level():
            batch = forward_mode.make_dual(x[step], torch.zeros_like(x[step]))
            logits = forward_mode.unpack_dual(network(batch, [drawn[step] for drawn in u])).primal
        loss = torch.nn.functional.cross_entropy(logits, y[step])
        loss.backward()
        for optimizer in optimizers:
            optimizer.step()
        losses.append(loss.detach())

    tensors |= {f"final.{name}": value.detach() for name, value in network.named_parameters()}
    tensors |= {f"final.{name}": value for name, value in network.named_buffers() if value.is_floating_point()}
    for l, feedback in enumerate(network.feedback):
        tensors[f"final.feedback.{l + 1}"] = feedback.detach().t().contiguous()
    tensors["loss"] = torch.stack(losses)
    print(f"loss {losses[0]:.3f} to {losses[-1]:.3f}; |B| {[round(b.norm().item(), 3) for b in network.feedback]}")

    settings = {"widths": WIDTHS, "classes": CLASSES, "steps": STEPS, "batch": BATCH, "lr": LR, "feedback_lr": FEEDBACK_LR}
    fixture.write("fdfa", tensors, settings)


if __name__ == "__main__":
    main()
