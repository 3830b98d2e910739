# SPDX-License-Identifier: Apache-2.0
"""creditlib's steps against PyTorch's: the same weights, feedback and batches, and then the gradients and where the parameters went.

Adam's first steps have the size of the rate whatever the gradient's, so a single element whose gradient is rounding noise may go
the other way: what is judged is the root mean square over all parameters, of the first batch's gradient and of the movement.
The nets of the rules that learn their credit stay as they are: the scripts let them learn before they give credit, creditlib after
it, and two of them from random draws. It is their credit that is compared.
"""

import subprocess
import tempfile
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

import pytorch_steps
import scripts_cnn
import scripts_images

GRADIENT, MOVEMENT = 1e-4, 1e-3  # the most that may differ, of the rms of what PyTorch has
STEPS = 5
LEARNED = ["state_predictor", "vec", "value_net"]


def relative(pairs):
    """rms of a - b over all pairs, in rms of b."""
    pairs = list(pairs)
    apart = sum(((a.double() - b.double()) ** 2).sum() for a, b in pairs)
    whole = sum((b.double() ** 2).sum() for _, b in pairs)
    return (apart / whole).sqrt().item()


def ours(program, flags, start, credit, x, y, folder):
    """What `steps --verify` writes."""
    given, result = Path(folder) / "given.safetensors", Path(folder) / "result.safetensors"
    tensors = {f"weights.{name}": value for name, value in start.items()} | {"x": x, "y": y}
    tensors |= {f"credit.{name}": value.detach().clone() for name, value in credit.items()}
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, given)
    command = [str(program), "--verify", str(given), "--output", str(result)]
    for name, value in flags.items():
        command += [f"--{name}", str(value)]
    ran = subprocess.run(command, capture_output=True, text=True)
    if ran.returncode != 0 or not result.is_file():
        raise RuntimeError(f"{' '.join(command)}: {ran.stderr.strip()}")
    return load_file(result)


def compared(program, flags, model, step, credit, x, y, movement=True):
    """Both relative differences, after as many steps as there are batches."""
    parameters = dict(model.named_parameters())
    start = {name: p.detach().clone() for name, p in parameters.items()}
    with tempfile.TemporaryDirectory() as folder:
        result = ours(program, flags, start, credit, x, y, folder)
    step(x[0], y[0])
    gradients = {name: p.grad.clone() for name, p in parameters.items()}
    for n in range(1, len(x)):
        step(x[n], y[n])
    entry = {"gradient": relative((result[f"gradient.{name}"], g) for name, g in gradients.items())}
    if movement:
        entry["movement"] = relative((result[f"weights.{name}"] - start[name], p.detach() - start[name]) for name, p in parameters.items())
    entry["holds"] = entry["gradient"] <= GRADIENT and entry.get("movement", 0) <= MOVEMENT
    return entry


def numbered(feedback, first=0):
    return {f"feedback.{l}": matrix for l, matrix in enumerate(feedback, first)}


def dfa_credit(feedback):
    """The scripts' B_l is creditlib's B_{l+1}, and the embed has B_0 once more."""
    return numbered([feedback[0], *feedback])


def learner(source):
    """What learns: of the value net's source, which warms up by DFA, the second part."""
    return getattr(source, "second", source)


def fix_nets(flags, optimizers):
    flags["nets"] = "fixed"
    for optimizer in optimizers:
        optimizer.param_groups[0]["lr"] = 0.0


def credit_tensors(rule, source):
    """What creditlib's rule needs to start as PyTorch's, by its names."""
    if rule.startswith("dfa"):
        return dfa_credit(source.feedback)
    if rule == "fa":
        return numbered(source.feedback)
    if rule in LEARNED:
        return {f"nets.{name}": p for name, p in learner(source).nets.named_parameters()}
    return {}


def verify_resmlp(program, rule, path, matmul, width, blocks, args):
    pytorch_steps.use_matmul(matmul)
    trainer = pytorch_steps.trainer_of("dfa" if rule.startswith("dfa") else rule,
                                       pytorch_steps.options_of(width, blocks, args.classes, fused=True))
    x = torch.randn(STEPS, args.batch, pytorch_steps.INPUT)
    y = torch.randint(args.classes, (STEPS, args.batch))
    flags = {"rule": rule, "path": path, "matmul": matmul, "width": width, "blocks": blocks, "classes": args.classes, "batch": args.batch,
             "threads": args.threads}
    if rule in LEARNED:
        fix_nets(flags, [learner(trainer.source).optimizer])
    return compared(program, flags, trainer.model, trainer.step, credit_tensors(rule, trainer.source), x, y)


def verify_images(program, network, rule, matmul, args):
    """On cnn, resnet or vit. Gradients alone: those of the CNN's biases are 0 but for rounding, which Adam scales up to full steps.

    Not fa: the scripts give the last block the gradient pooled over positions, creditlib the gradient at each.
    """
    pytorch_steps.use_matmul(matmul)
    torch.manual_seed(0)
    if network == "cnn":
        trainer = scripts_cnn.Trainer(rule, args.classes)
    else:
        trainer = scripts_images.Trainer(network, rule, args.classes)
    # In creditlib's memory layout: in another one rounding decides otherwise which pixel a max pooling takes, or on which side of 0 a ReLU is.
    layout = torch.contiguous_format if network == "vit" else torch.channels_last
    trainer.model.to(memory_format=layout)
    batch = args.image_batch
    x, y = torch.randn(1, batch, 3, 32, 32), torch.randint(args.classes, (1, batch))
    flags = {"rule": rule, "model": network, "matmul": matmul, "classes": args.classes, "batch": batch, "threads": args.threads}
    credit = {}
    if rule in LEARNED:
        credit = {f"nets.{name}": p for name, p in torch.nn.ModuleList(trainer.nets).named_parameters()}
        fix_nets(flags, trainer.net_optimizers)
    elif rule == "dfa":  # the CNN's h_0 is its input
        credit = numbered(trainer.feedback, first=1) if network == "cnn" else dfa_credit(trainer.feedback)
    step = lambda images, labels: trainer.step(images.to(memory_format=layout), labels)
    return compared(program, flags, trainer.model, step, credit, x, y, movement=False)


def verify(program, args):
    """By rule/network/path/matmul. Prints as it goes."""
    cases = [(rule, path) for rule in ("bp", "dfa", "fa", "oracle", *LEARNED) for path in ("closed_form", "generic")]
    cases += [("dfa_dense", "closed_form"), ("dfa", "constant_memory")]
    results = {}

    def put(name, entry):
        results[name] = entry
        movement = f", of the movement in {STEPS} steps {entry['movement']:.1e}" if "movement" in entry else ""
        print(f"  {name:<48} rms of the gradient's difference {entry['gradient']:.1e}{movement}{'' if entry['holds'] else '  DOES NOT HOLD'}",
              flush=True)

    images = {"cnn": ("bp", "dfa", "state_predictor", "value_net"), "resnet": ("bp", "dfa"), "vit": ("bp", "dfa")}
    for matmul in args.matmul:
        for width, blocks in args.sizes if "resmlp" in args.contests else ():
            for rule, path in cases:
                put(f"{rule}/resmlp_d{width}_L{blocks}/{path}/{matmul}", verify_resmlp(program, rule, path, matmul, width, blocks, args))
        for network in [n for n in images if n in args.contests]:
            for rule in images[network]:
                put(f"{rule}/{network}/generic/{matmul}", verify_images(program, network, rule, matmul, args))
    return results
