# SPDX-License-Identifier: Apache-2.0
"""PyTorch's training steps as contestants, on the networks of the reference scripts.

scripts    as the reference scripts: each block's forward runs twice, each part has torch.optim.AdamW; bp: eager, one optimiser
fused      every forward once, one graph over detached hidden states, one backward, one fused AdamW
compiled   bp: forward, loss and backward through torch.compile, fused AdamW
biotorch   the package BioTorch on the same network, fused AdamW
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "reference"))

import torch
import torch.nn.functional as F

import methods
import scripts_cnn
import scripts_images
import scripts_way
from contest import Called

INPUT = 3072
POOL = 8  # batches that the steps go round


def use_matmul(name):
    """What multiplies float32 matrices: PyTorch's own choice, MKL, or oneDNN ("medium" allows bfloat16; without AMX oneDNN keeps float32)."""
    torch.set_float32_matmul_precision("medium" if name == "onednn" else "highest")


def onednn_is_float32():
    x = torch.randn(128, 1024, generator=torch.Generator().manual_seed(1))
    exact = x.double() @ x.double().T
    use_matmul("onednn")
    error = ((x @ x.T) - exact).norm() / exact.norm()
    use_matmul("mkl")
    return error.item() < 1e-5


def options_of(width, blocks, classes, fused):
    return methods.Options(inputs=INPUT, width=width, classes=classes, blocks=blocks, epochs=100, one_pass=fused)


def trainer_of(rule, options, seed=0):
    torch.manual_seed(seed)
    trainer = methods.Trainer(rule, options)
    if rule == "value_net":
        trainer.source.begin_epoch(options.epochs)  # past the warm-up by DFA
    return trainer


def compiled_bp(options):
    trainer = trainer_of("bp", options)
    loss_of = torch.compile(lambda x, y: F.cross_entropy(trainer.model(x), y))

    def step(x, y):
        trainer.optimizers.whole.zero_grad()
        loss_of(x, y).backward()
        trainer.optimizers.whole.step()

    return step


def biotorch_step(rule, options):
    from biotorch.module.biomodule import BioModule

    torch.manual_seed(0)
    network = scripts_way.ResidualMLP(options.inputs, options.width, options.classes, options.blocks)
    network = BioModule(network, mode=rule, output_dim=options.classes)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3, weight_decay=0.01, fused=True)

    def step(x, y):
        optimizer.zero_grad()
        logits = network(x, targets=y, loss_function=F.cross_entropy) if rule == "dfa" else network(x)
        F.cross_entropy(logits, y).backward()
        optimizer.step()

    return step


def resmlp_contestants(model, width, blocks, args):
    """By name: pytorch/model/rule/way/matmul."""
    torch.manual_seed(args.seed)
    batches = [(torch.randn(args.batch, INPUT), torch.randint(args.classes, (args.batch,))) for _ in range(POOL)]
    scripts, fused = (options_of(width, blocks, args.classes, f) for f in (False, True))
    makers = {}
    for rule in args.rules:
        for way, options in (("scripts", scripts), ("fused", fused)):
            makers[f"{rule}/{way}"] = lambda rule=rule, options=options: trainer_of(rule, options).step
    if "bp" in args.rules and args.compile:
        makers["bp/compiled"] = lambda: compiled_bp(fused)
    for rule in [r for r in ("dfa", "fa") if r in args.rules]:
        makers[f"{rule}/biotorch"] = lambda rule=rule: biotorch_step(rule, fused)
    return {f"pytorch/{model}/{name}/{matmul}": Called(make, batches, before=lambda matmul=matmul: use_matmul(matmul))
            for name, make in makers.items() for matmul in args.matmul}


def image_contestants(network, batch, args):
    """On cnn, resnet or vit."""
    torch.manual_seed(args.seed)
    batches = [(torch.randn(batch, 3, 32, 32), torch.randint(args.classes, (batch,))) for _ in range(POOL)]

    def maker(rule, fused):
        def make():
            torch.manual_seed(0)
            if network == "cnn":
                return scripts_cnn.Trainer(rule, args.classes, fused).step
            return scripts_images.Trainer(network, rule, args.classes, fused).step

        return make

    makers = {f"{rule}/scripts": maker(rule, False) for rule in rules_on(network)}
    makers["bp/fused"] = maker("bp", True)
    return {f"pytorch/{network}/{name}/{matmul}": Called(make, batches, before=lambda matmul=matmul: use_matmul(matmul))
            for name, make in makers.items() for matmul in args.matmul}


def rules_on(network):
    """The scripts' rules on cnn, resnet or vit."""
    return scripts_cnn.RULES if network == "cnn" else scripts_images.RULES
