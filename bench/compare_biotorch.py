# SPDX-License-Identifier: Apache-2.0
"""Feedback at every layer beside BioTorch's layers: the same numbers, and what a step costs.

    pip install --no-deps biotorch && ./run build bench_steps
    python bench/compare_biotorch.py --network lenet --batch 64 --json docs/results/performance/biotorch_lenet.json

First the network of tests/reference/make_layer_feedback.py is trained with BioTorch's layers on that file's weights and feedback: the largest
distance from the file's results, which creditlib's tests reproduce. Then steps on LeNet or on SmallCNN (images of 3x32x32) take turns, in float32,
with SGD in PyTorch and AdamW here. The last table has creditlib's rules beside its own back-propagation. Exit codes: 0; 1 if something differs or
was not measured; 2 for wrong flags; 77 without BioTorch.
"""

import argparse
import sys
from pathlib import Path

from contest import Called, Served, contest, machine, markdown, program_in, write_json

ROOT = Path(__file__).resolve().parent.parent
MODES = {"bp": "backpropagation", "layer_fa": "fa", "usf": "usf", "frsf": "frsf", "brsf": "brsf", "dfa": "dfa"}  # creditlib's names, BioTorch's


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--programs", type=Path, default=ROOT / "build/release/bench", help="the folder of steps")
    parser.add_argument("--network", choices=("lenet", "cnn"), default="lenet")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=8, help="counted rounds")
    parser.add_argument("--only-numbers", action="store_true", help="do not measure")
    parser.add_argument("--json", type=Path, help="also write times and ratios here")
    args = parser.parse_args()
    if min(args.batch, args.threads, args.rounds) < 1:
        parser.error("--batch, --threads and --rounds must be at least 1")
    if args.json and not args.json.absolute().parent.is_dir():
        parser.error(f"--json {args.json}: its folder does not exist")
    if not args.only_numbers:
        args.steps = program_in(args.programs, "steps", parser)
    return args


def distance_from_file(rule):
    """The largest relative distance of a weight after 24 steps with BioTorch's layers."""
    import torch
    from biotorch.module.biomodule import BioModule
    from safetensors.torch import load_file

    file = load_file(ROOT / "tests/reference/layer_feedback.safetensors")
    net = torch.nn.Sequential(torch.nn.Conv2d(2, 4, 3), torch.nn.Tanh(), torch.nn.Conv2d(4, 5, 3), torch.nn.Tanh(), torch.nn.Flatten(),
                              torch.nn.Linear(45, 7), torch.nn.Tanh(), torch.nn.Linear(7, 3))
    model = BioModule(net, mode=rule).double()
    layers = dict(zip(["embed.0", "blocks.0.0", "blocks.1.1", "readout.0"], [layer for layer in model.module if hasattr(layer, "weight")]))
    with torch.no_grad():
        for name, layer in layers.items():
            layer.weight.copy_(file[f"init.{name}.weight"])
            layer.bias.zero_()
            if rule in ("fa", "frsf"):
                layer.weight_backward.copy_(file[f"feedback.{name}"] if rule == "fa" else file[f"feedback.{name}"].abs())
    trained = [parameter for layer in layers.values() for parameter in (layer.weight, layer.bias)]
    optimizer = torch.optim.SGD(trained, lr=.1)
    for step in range(24):
        rows = slice(6 * step, 6 * step + 6)
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(file["x"][rows]), file["y"][rows]).backward()
        optimizer.step()
    return max(float((layer.weight.detach() - file[f"{rule}.final.{name}.weight"]).norm() / file[f"{rule}.final.{name}.weight"].norm())
               for name, layer in layers.items())


def biotorch_step(mode, network):
    import torch
    from biotorch.module.biomodule import BioModule

    sys.path.insert(0, str(ROOT / "tests/reference"))
    from train_field import NETWORKS

    model = NETWORKS[network](3, 32, 1)
    if mode != "backpropagation":
        model = BioModule(model, mode=mode, output_dim=10 if mode == "dfa" else None)
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=1e-3)
    loss_of = torch.nn.CrossEntropyLoss()

    def step(x, y):
        optimizer.zero_grad()
        logits = model(x, targets=y, loss_function=loss_of) if mode == "dfa" else model(x)
        loss_of(logits, y).backward()
        optimizer.step()

    return step


def main():
    args = arguments()
    try:
        import torch
        from biotorch.module.biomodule import BioModule  # noqa: F401
    except ImportError as error:
        print(f"No BioTorch to compare with: {error}. pip install --no-deps biotorch installs it.", file=sys.stderr)
        sys.exit(77)
    torch.set_num_threads(args.threads)
    far = {rule: distance_from_file(rule) for rule in ("fa", "usf", "frsf")}
    for rule, distance in far.items():
        print(f"{rule}: weights after 24 steps are {distance:.1e} from the reference that creditlib's tests reproduce", flush=True)
    failed = any(distance > 1e-10 for distance in far.values())
    if args.only_numbers:
        sys.exit(1 if failed else 0)
    contestants = {}
    batches = [(torch.randn(args.batch, 3, 32, 32), torch.randint(10, (args.batch,))) for _ in range(4)]
    for ours, theirs in MODES.items():
        contestants[f"creditlib/{ours}"] = Served(args.steps, args.threads, rule=ours, model=args.network, batch=args.batch, path="generic",
                                                    matmul="mkl")
        contestants[f"biotorch/{ours}"] = Called(lambda theirs=theirs: biotorch_step(theirs, args.network), batches)
    outcome = contest(contestants, args.rounds, 3 if args.network == "cnn" else 30, turn_seconds=1)
    rows, result = [], {}
    for rule in MODES:
        names = f"creditlib/{rule}", f"biotorch/{rule}"
        if not all(name in outcome for name in names):
            continue
        ratio = outcome.ratio(*names)
        result[rule] = {"creditlib": outcome.summary(names[0]), "biotorch": outcome.summary(names[1]), "ratio": ratio}
        rows.append([rule, f"{outcome.median(names[0]):.1f}", f"{outcome.median(names[1]):.1f}",
                     f"{ratio['ratio']:.2f} ({ratio['quartiles'][0]:.2f}..{ratio['quartiles'][1]:.2f})"])
    print("\n" + markdown(["rule", "creditlib, ms per step", "BioTorch, ms", "ratio"], rows))
    rows = []
    for rule in list(result)[1:] if "bp" in result else []:
        ratio = result[rule]["ratio_to_bp"] = outcome.ratio(f"creditlib/{rule}", "creditlib/bp")
        rows.append([rule, f"{ratio['ratio']:.2f} ({ratio['quartiles'][0]:.2f}..{ratio['quartiles'][1]:.2f})"])
    print("\n" + markdown(["creditlib's rule", "ratio to its bp"], rows))
    for name, why in sorted(outcome.failures.items()):
        failed = True
        print(f"not measured: {name}: {why}")
    if args.json:
        settings = {"network": args.network, "batch": args.batch, "machine": machine(args.threads) | {"torch": torch.__version__}}
        write_json(args.json, settings | {"rules": result, "distance": far})
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
