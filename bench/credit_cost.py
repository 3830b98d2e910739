# SPDX-License-Identifier: Apache-2.0
"""What credit costs: every rule on every network, beside the forward pass and beside back-propagation; how that scales; what it multiplies.

    ./run build bench_steps bench_floor
    python bench/credit_cost.py                      all parts; results in docs/results/performance
    python bench/credit_cost.py --parts table --models cnn --rounds 3 --output results/cost
    python bench/credit_cost.py --device cuda        the same on a GPU; results in docs/results/performance_cuda

products  products.json: what the matrix products, convolutions and attentions of a step multiply and add, counted, not timed
table     credit_cost.json: ms per step, ms of the forward pass, bytes, for each rule and network
scaling   scaling.json and one SVG per sweep: bp, dfa and fa over blocks, width, classes, batch and threads of the residual MLP, each with
          its floor, the bare matrix products and AdamW
Contestants take turns (contest.py); the tables are printed as Markdown, with images per second.
bench/report.py writes them into docs/performance. Exit codes: 0; 1 where something was not measured; 2 for wrong flags.
"""

import argparse
import sys
from pathlib import Path

from contest import Failed, Forward, Served, contest, machine, program_in, write_json
from curves import svg
from tables import SWEPT_OVER, cost_table, floor_ms, product_table, sweep_table

ROOT = Path(__file__).resolve().parent.parent
NETWORKS = {"resmlp_d256_L4": {"model": "resmlp", "width": 256, "blocks": 4}, "resmlp_d512_L2": {"model": "resmlp", "width": 512, "blocks": 2},
            "cnn": {"model": "cnn"}, "resnet": {"model": "resnet"}, "vit": {"model": "vit"}}
PARTS = ["table", "scaling", "products"]
RULES = ["bp", "dfa", "dfa_dense", "fa", "oracle", "vec", "value_net", "state_predictor", "ep"]
BASE = {"width": 256, "blocks": 4, "classes": 10, "batch": 128, "threads": 1}
SWEEPS = {"blocks": [2, 4, 8, 16, 32], "width": [128, 256, 512, 1024], "classes": [10, 32, 100, 316, 1000],
          "batch": [32, 64, 128, 256, 512, 1024], "threads": [1, 2]}
# What is swept: name, rule, path, colour of its curve.
SWEPT = [("bp", "bp", "closed_form", 0), ("dfa", "dfa", "closed_form", 1), ("dfa, dense credit", "dfa_dense", "closed_form", 3),
         ("fa", "fa", "closed_form", 2), ("bp by autograd", "bp", "generic", 0), ("dfa by autograd", "dfa", "generic", 1),
         ("dfa, constant memory", "dfa", "constant_memory", 4)]
FLOORS = [("bp", 0), ("dfa", 1), ("fa", 2)]


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--programs", type=Path, default=ROOT / "build/release/bench", help="the folder of steps and floor")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--models", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--rules", nargs="+", choices=RULES, default=RULES)
    parser.add_argument("--sweeps", nargs="+", choices=SWEEPS, default=list(SWEEPS))
    parser.add_argument("--matmul", choices=["mkl", "onednn"], default="mkl")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu", help="cuda: times are between events on its stream")
    parser.add_argument("--threads", type=int, default=1, help="of the table and the products")
    parser.add_argument("--batch", type=int, default=128, help="of the table and the products, but for resnet and vit")
    parser.add_argument("--image-batch", type=int, default=32, help="of the table and the products, for resnet and vit")
    parser.add_argument("--rounds", type=int, default=10, help="counted rounds")
    parser.add_argument("--steps", type=int, default=10, help="steps per turn")
    parser.add_argument("--turn-seconds", type=float, default=0.5, help="fewer steps where a turn would take longer")
    parser.add_argument("--output", type=Path, help="the folder of the results (default: docs/results/performance, or performance_cuda, for all networks, rules and sweeps)")
    args = parser.parse_args()
    for name in ("threads", "batch", "image_batch", "rounds", "steps"):
        if getattr(args, name) < 1:
            parser.error(f"--{name.replace('_', '-')} must be at least 1, not {getattr(args, name)}")
    whole = True
    for name, everything in (("parts", PARTS), ("models", NETWORKS), ("rules", RULES), ("sweeps", SWEEPS)):
        chosen = list(dict.fromkeys(getattr(args, name)))
        setattr(args, name, chosen)
        whole = whole and (name == "parts" or set(chosen) == set(everything))
    if args.output is None:
        args.output = ROOT / "docs/results" / ("performance" if args.device == "cpu" else f"performance_{args.device}")
        if not whole:
            parser.error(f"a choice of networks, rules or sweeps needs an --output of its own: {args.output} is for all of them")
    args.failed = []
    args.program = {name: program_in(args.programs, name, parser) for name in ("steps", "floor")}
    args.output.mkdir(parents=True, exist_ok=True)
    return args


TIMED = ("device", "matmul", "rounds", "steps", "turn_seconds")


def write(args, name, entry, measured, threads, settings):
    """Leaves what is there where nothing was measured."""
    path = args.output / name
    if not measured:
        return print(f"\nnothing for {path}", file=sys.stderr)
    write_json(path, {"machine": machine(threads, args.device), "settings": {key: getattr(args, key) for key in settings}} | entry)
    print(f"\n{path}")


def not_measured(args, name, why):
    args.failed.append(name)
    print(f"not measured: {name}: {why}", file=sys.stderr)


def batch_of(network, args):
    return args.image_batch if network in ("resnet", "vit") else args.batch


def served_steps(network, args):
    """The steps of each rule and path, by rule/path; who takes them all closes them."""
    flags = NETWORKS[network]
    for path in ("closed_form", "generic") if flags["model"] == "resmlp" else ("generic",):
        for rule in args.rules:
            if rule != "dfa_dense" or path != "generic":  # there all credit is dense
                yield f"{rule}/{path}", Served(args.program["steps"], args.threads, rule=rule, path=path, matmul=args.matmul, device=args.device,
                                               batch=batch_of(network, args), **flags)


def network_products(network, args):
    """Of each rule and path: flop per step."""
    counted = {}
    for name, served in served_steps(network, args):
        try:
            counted[name] = served.flop()
        except Failed as failure:
            not_measured(args, f"{network}/{name}", failure)
        served.close()
    return {"batch": batch_of(network, args), "flop": counted}


def network_table(network, args):
    """Of each rule and path: ms per step and of the forward pass, bytes; and the failures."""
    contestants, memory = {}, {}
    for name, served in served_steps(network, args):
        contestants[name] = served
        try:
            memory[name] = served.memory()
        except Failed:
            pass  # it will fail in its first turn too, which is told
    if not contestants:
        return {"batch": batch_of(network, args), "steps": {}}
    forward = next((name for name in contestants if name.startswith("bp/")), next(iter(contestants)))
    outcome = contest(contestants | {"forward": Forward(contestants[forward])}, args.rounds, args.steps, turn_seconds=args.turn_seconds)
    entry = {name: outcome.summary(name) | memory.get(name, {}) for name in outcome.rounds}
    for name in entry:
        bp = f"bp/{name.partition('/')[2]}"
        if name != "forward" and bp in outcome:
            entry[name]["to_bp"] = outcome.ratio(name, bp)
    for name, why in outcome.failures.items():
        not_measured(args, f"{network}/{name}", why)
    return {"batch": batch_of(network, args), "steps": entry}


def point(settings, args):
    """One point of a sweep: ms and bytes of every curve, ms of the floors."""
    shape = {name: value for name, value in settings.items() if name != "threads"}
    served = lambda program, **flags: Served(args.program[program], settings["threads"], matmul=args.matmul, device=args.device, **shape, **flags)
    contestants = {name: served("steps", rule=rule, path=path) for name, rule, path, _ in SWEPT}
    memory = {}
    for name, contestant in contestants.items():
        try:
            memory[name] = contestant.memory()
        except Failed:
            pass
    if args.device == "cpu":  # on a device bare products take the time of their launches
        contestants |= {f"floor {rule}": served("floor", rule=rule) for rule in [*(rule for rule, _ in FLOORS), "adamw"]}
    outcome = contest(contestants, args.rounds, args.steps, turn_seconds=args.turn_seconds)
    for name, why in outcome.failures.items():
        not_measured(args, name, why)
    return {name: outcome.summary(name) | memory.get(name, {}) for name in outcome.rounds}


def sweep(name, args):
    label, points = SWEPT_OVER[name], {}
    for value in SWEEPS[name]:
        print(f"{label} {value}", file=sys.stderr, flush=True)
        points[value] = point(BASE | {name: value}, args)

    def curve(get):
        return [(value, get(entry)) for value, entry in points.items() if get(entry) is not None]

    ms = lambda key: lambda entry: entry.get(key, {}).get("median_ms")

    styles = {"closed_form": "solid", "generic": "dashed", "constant_memory": "dotted"}
    curves = [(key, colour, styles[path], curve(ms(key))) for key, _, path, colour in SWEPT]
    curves += [(f"floor of {rule}", colour, "dotted", curve(lambda entry: floor_ms(entry, rule))) for rule, colour in FLOORS]
    about = ", ".join(f"{key} {value}" for key, value in BASE.items() if key != name)
    picture(args, f"scaling_{name}.svg", f"A training step ({about})", label, "ms", curves)
    megabytes = lambda key: lambda entry: entry[key]["activations"] / 1e6 if "activations" in entry.get(key, {}) else None
    picture(args, f"memory_{name}.svg", f"Memory for a step ({about})", label, "MB of activations, credit, temporaries",
            [(key, colour, styles[path], curve(megabytes(key))) for key, _, path, colour in SWEPT])
    print("\n" + sweep_table(name, points, BASE))
    return points


def picture(args, name, title, x_label, y_label, curves):
    curves = [curve for curve in curves if curve[3] and all(y > 0 for _, y in curve[3])]
    if curves:
        (args.output / name).write_text(svg(title, x_label, y_label, curves))


def main():
    args = arguments()
    if "table" in args.parts:
        networks = {}
        for network in args.models:
            networks[network] = network_table(network, args)
            print(f"\n{network}, {cost_table(networks[network])}")
        write(args, "credit_cost.json", {"networks": networks}, any(n["steps"] for n in networks.values()), args.threads, TIMED)
    if "products" in args.parts:
        networks = {network: network_products(network, args) for network in args.models}
        print("\nGflop per step (ratio to bp on the same path)\n\n" + product_table(networks))
        write(args, "products.json", {"networks": networks}, any(n["flop"] for n in networks.values()), args.threads, ("device", "matmul"))
    if "scaling" in args.parts:
        sweeps = {name: sweep(name, args) for name in args.sweeps}
        write(args, "scaling.json", {"base": BASE, "sweeps": sweeps}, any(p for s in sweeps.values() for p in s.values()), BASE["threads"], TIMED)
    sys.exit(1 if args.failed else 0)


if __name__ == "__main__":
    main()
