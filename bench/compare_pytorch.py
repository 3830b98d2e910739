# SPDX-License-Identifier: Apache-2.0
"""Times creditlib's training steps against PyTorch's and against the bare matrix products, and says which figures are reached.

    ./run build bench_steps bench_floor bench_batches
    python bench/compare_pytorch.py --json docs/results/performance/compare_pytorch.json

First the numbers are verified (verify.py); where they differ it ends with exit code 1. Then the contestants take turns, a few
steps each, in an order drawn anew every round (contest.py):

    creditlib/<network>/<rule>/<path>/<precision>/<matmul>    bench/steps, a process each, stopped between its turns
    pytorch/<network>/<rule>/<way>/<matmul>                   in this process (pytorch_steps.py, scripts_cnn.py, scripts_images.py)
    floor/<network>/<rule or adamw>/<matmul>                  bench/floor: a step's products alone, AdamW alone

A ratio is one of medians over all steps, its quartiles are those of the rounds' own ratios.
Exit codes: 0; 1 where verification or something of creditlib's fails; 2 for wrong flags; 77 where there is no torch, or no product of
float32 matrices, to compare with.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

from contest import Called, Failed, Served, contest, machine, markdown, program_in, write_json
from figures import SIZES, Figures, batch_figures, cnn_figures, memory_figures, resmlp_figures
from tables import contest_table

RULES = ["bp", "dfa", "fa", "oracle", "vec", "value_net", "state_predictor"]
IMAGE_NETWORKS = {"cnn": "SmallCNN", "resnet": "SmallResNet", "vit": "ViTMini"}
CONTESTS = ["resmlp", *IMAGE_NETWORKS, "batches", "memory"]
ROOT = Path(__file__).resolve().parent.parent


def size(text):
    width, _, blocks = text.partition("x")
    if not (width.isdigit() and blocks.isdigit() and int(width) and int(blocks)):
        raise argparse.ArgumentTypeError(f"{text} is no size, expected WIDTHxBLOCKS such as 256x4")
    return int(width), int(blocks)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--programs", type=Path, default=ROOT / "build/release/bench", help="the folder of steps, floor and batches")
    parser.add_argument("--contests", nargs="+", choices=CONTESTS, default=CONTESTS)
    parser.add_argument("--sizes", nargs="+", type=size, default=[(256, 4), (512, 2)], metavar="WIDTHxBLOCKS", help="of the residual MLPs")
    parser.add_argument("--rules", nargs="+", choices=RULES, default=RULES, help="on the residual MLPs")
    parser.add_argument("--matmul", nargs="+", choices=["mkl", "onednn"], default=["mkl", "onednn"], help="what multiplies float32 matrices")
    parser.add_argument("--rounds", type=int, default=20, help="counted rounds")
    parser.add_argument("--steps", type=int, default=10, help="steps per turn")
    parser.add_argument("--image-rounds", type=int, default=8, help="counted rounds of cnn, resnet and vit")
    parser.add_argument("--turn-seconds", type=float, default=1.0, help="fewer steps where a turn would take longer")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batch", type=int, default=128, help="but for resnet and vit")
    parser.add_argument("--image-batch", type=int, default=32, help="for resnet and vit")
    parser.add_argument("--classes", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--no-compile", dest="compile", action="store_false", help="leave torch.compile out")
    parser.add_argument("--verify-only", action="store_true", help="end after the verification of the contests' networks")
    parser.add_argument("--json", type=Path, help="also write settings, times, ratios and figures here")
    args = parser.parse_args()
    for name in ("rounds", "steps", "image_rounds", "threads", "batch", "image_batch", "classes"):
        if getattr(args, name) < 1:
            parser.error(f"--{name.replace('_', '-')} must be at least 1, not {getattr(args, name)}")
    for name in ("contests", "sizes", "rules", "matmul"):
        setattr(args, name, list(dict.fromkeys(getattr(args, name))))
    also = {"resmlp": "floor", "batches": "batches"}
    needed = ["steps"] + [also[contest] for contest in args.contests if contest in also and not args.verify_only]
    args.program = {name: program_in(args.programs, name, parser) for name in needed}
    if args.json and not args.json.absolute().parent.is_dir():
        parser.error(f"--json {args.json}: its folder does not exist")
    return args


def our_resmlp_contestants(model, width, blocks, args):
    shape = {"model": "resmlp", "width": width, "blocks": blocks, "batch": args.batch, "classes": args.classes}
    steps = [(rule, "closed_form", "float32") for rule in args.rules]
    steps += [(rule, "generic", "float32") for rule in ("bp", "dfa") if rule in args.rules]
    steps += [("dfa_dense", "closed_form", "float32"), ("dfa", "closed_form", "bf16")] if "dfa" in args.rules else []
    products = [rule for rule in ("bp", "dfa", "fa", "oracle") if rule in args.rules] + (["dfa_dense"] if "dfa" in args.rules else [])
    contestants = {}
    for matmul in args.matmul:
        for rule, path, precision in steps:
            contestants[f"creditlib/{model}/{rule}/{path}/{precision}/{matmul}"] = Served(
                args.program["steps"], args.threads, rule=rule, path=path, precision=precision, matmul=matmul, **shape)
        for rule in [*products, "adamw"]:
            contestants[f"floor/{model}/{rule}/{matmul}"] = Served(args.program["floor"], args.threads, rule=rule, matmul=matmul, **shape)
    return contestants


def resmlp_contest(width, blocks, args):
    from pytorch_steps import resmlp_contestants

    model = f"resmlp_d{width}_L{blocks}"
    contestants = resmlp_contestants(model, width, blocks, args) | our_resmlp_contestants(model, width, blocks, args)
    return model, contest(contestants, args.rounds, args.steps, args.seed, args.turn_seconds)


def image_contest(network, args):
    from pytorch_steps import image_contestants, rules_on

    batch = args.batch if network == "cnn" else args.image_batch
    contestants = image_contestants(network, batch, args)
    for matmul in args.matmul:
        for rule in rules_on(network):
            contestants[f"creditlib/{network}/{rule}/generic/float32/{matmul}"] = Served(
                args.program["steps"], args.threads, rule=rule, model=network, matmul=matmul, batch=batch, classes=args.classes)
    return contest(contestants, args.image_rounds, args.steps, args.seed, args.turn_seconds)


def batch_times(args):
    """ms per augmented batch of 128: creditlib's; one gather of windows in PyTorch; torchvision in a DataLoader (None: not installed)."""
    command = [str(args.program["batches"]), "--benchmark_filter=augmented", "--benchmark_format=json", "--benchmark_min_time=1"]
    ran = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    found = [b["real_time"] for b in json.loads(ran.stdout)["benchmarks"]] if ran.returncode == 0 else []

    import torch
    from train_cifar import TrainingSet  # of tests/reference, which pytorch_steps has put on the path

    images, labels = torch.randint(256, (20_000, 3, 32, 32), dtype=torch.uint8), torch.randint(10, (20_000,))

    def whole_tensors():
        training = TrainingSet(images, labels)
        batches = training.epoch()
        return lambda *_: next(batches)

    def loader():
        from torchvision import transforms
        from torchvision.transforms.functional import to_pil_image

        change = transforms.Compose([transforms.RandomCrop(32, padding=4), transforms.RandomHorizontalFlip(), transforms.ToTensor(),
                                     transforms.Normalize((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616))])
        pictures = [(to_pil_image(image), label) for image, label in zip(images[:12_800], labels.tolist())]
        data = [(lambda picture=picture: change(picture), label) for picture, label in pictures]

        class Pictures(torch.utils.data.Dataset):
            def __len__(self):
                return len(data)

            def __getitem__(self, i):
                return data[i][0](), data[i][1]

        batches = iter(torch.utils.data.DataLoader(Pictures(), 128, shuffle=True, num_workers=1))
        return lambda *_: next(batches)

    if not found:
        print(f"  {' '.join(command)}: {ran.stderr.strip()}")
    times = {"creditlib": statistics.median(found) if found else None}
    for name, make in (("whole tensors in PyTorch", whole_tensors), ("torchvision in a DataLoader", loader)):
        try:
            times[name] = statistics.median(Called(make, [(None, None)]).turn(60)[10:])
        except Failed as failure:
            times[name] = None
            print(f"  {name}: {failure}")
    return times


def constant_memory(args):
    """Bytes at L=4 and L=32."""
    found = []
    for blocks in (4, 32):
        served = Served(args.program["steps"], args.threads, rule="dfa", path="constant_memory", width=256, blocks=blocks)
        try:
            found.append(served.memory())
        except Failed as failure:
            print(f"  {failure}")
            found.append(None)
        served.close()
    return found


def report(title, network, outcome):
    """Prints a contest, and returns it for the JSON file."""
    entry = {name: outcome.summary(name) for name in sorted(outcome.rounds, key=outcome.median)}
    for name in entry:
        same = f"pytorch/{network}/bp/fused/{name.rsplit('/', 1)[1]}"
        entry[name]["to_base"] = outcome.ratio(name, same) if same in outcome else None
    print(f"\n{title}\n\n" + contest_table(network, entry))
    for name, why in sorted(outcome.failures.items()):
        print(f"not measured: {name}: {why}")
    medians = {name: [round(statistics.median(turn), 4) for turn in turns] for name, turns in outcome.rounds.items()}
    return {"contestants": entry, "failures": outcome.failures, "round_medians_ms": medians}


def main():
    args = arguments()
    os.environ.pop("OMP_WAIT_POLICY", None)  # before torch loads: threads wait as they do by default, on both sides
    os.environ["OMP_NUM_THREADS"] = str(args.threads)
    try:
        import safetensors.torch
        import torch
    except (ImportError, OSError, ValueError) as error:  # the last two: a wheel of torch without the libraries it needs
        print(f"No PyTorch to compare with: {error}. CREDITLIB_TORCH=full ./run setup installs it.", file=sys.stderr)
        sys.exit(77)
    import pytorch_steps
    from verify import verify

    torch.set_num_threads(args.threads)
    if "onednn" in args.matmul and not pytorch_steps.onednn_is_float32():
        print("oneDNN rounds float32 matrices to bfloat16 on this processor: left out.")
        args.matmul.remove("onednn")
        if not args.matmul:
            sys.exit(77)
    result = {"machine": machine(args.threads) | {"torch": torch.__version__},
              "settings": {name: getattr(args, name) for name in ("sizes", "rules", "matmul", "rounds", "steps", "image_rounds", "turn_seconds", "batch",
                                                                  "image_batch", "classes", "seed")}}
    about = result["machine"]
    print(f"{about['cpu']}, {about['cores']} cores; PyTorch {about['torch']}; threads {args.threads}; batch {args.batch}; commit {about['commit']}\n")

    print("creditlib's steps against PyTorch's:")
    try:
        result["verification"] = verify(args.program["steps"], args)
    except RuntimeError as error:
        sys.exit(str(error))  # with exit code 1
    holds = all(entry["holds"] for entry in result["verification"].values())
    if args.json and (args.verify_only or not holds):
        write_json(args.json, result)
    if not holds:
        print("They differ, so no times are compared.", file=sys.stderr)
        sys.exit(1)
    if args.verify_only:
        return

    figures, contests, failed = Figures(), {}, []
    if "resmlp" in args.contests:
        for width, blocks in args.sizes:
            model, outcome = resmlp_contest(width, blocks, args)
            contests[model] = report(f"ResidualMLP 3072 -> {width} x {blocks} blocks -> {args.classes}", model, outcome)
            if (width, blocks) in SIZES:
                resmlp_figures(figures, outcome, model, (width, blocks), args.matmul)
    for network in [n for n in IMAGE_NETWORKS if n in args.contests]:
        outcome = image_contest(network, args)
        contests[network] = report(IMAGE_NETWORKS[network], network, outcome)
        if network == "cnn":
            cnn_figures(figures, outcome, args.matmul)
    if "batches" in args.contests:
        result["batch_ms"] = times = batch_times(args)
        print("\nan augmented batch of 128, ms: " + ", ".join(f"{name} {ms:.3f}" for name, ms in times.items() if ms is not None))
        failed += ["batches"] if times["creditlib"] is None else []
        batch_figures(figures, times["creditlib"], times["torchvision in a DataLoader"])
    if "memory" in args.contests:
        shallow, deep = constant_memory(args)
        failed += ["memory"] if None in (shallow, deep) else []
        result["constant_memory_bytes"] = {"L=4": shallow, "L=32": deep}
        memory_figures(figures, shallow, deep)
    if figures.rows:
        print("\nFigures to reach\n\n" + markdown(*figures.table()))
    failed += [name for c in contests.values() for name in c["failures"] if name.startswith(("creditlib/", "floor/"))]

    if args.json:
        result |= {"contests": contests, "figures": figures.rows}
        write_json(args.json, result)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
