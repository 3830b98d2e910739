"""Times a training step in PyTorch and in creditlib, in turns, and prints the ratios.

    python compare_pytorch.py --program PATH/bench_steps --threads 1 --width 256 --blocks 4 --batch 128

Contestants take turns, a few steps each, in an order drawn anew every round, so that a machine that slows down slows
all of them. The first round warms up and is not counted. PyTorch runs
  scripts   the reference scripts' way: two forwards, an optimiser a part (bp: torch.optim.AdamW as the scripts call it)
  fused     the same arithmetic at eager PyTorch's best: one forward, one backward, one fused AdamW
creditlib's side is bench_steps, one process a rule, idle between its turns:
  bench_steps --serve --rule dfa --width 256 --blocks 4 --batch 128 --threads 1
reads "N\\n", runs N steps, answers one line with the N times in ms; "q\\n" ends it. Input size 3072, 10 classes.
"""

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import time
from pathlib import Path

INPUT, CLASSES, LR, WEIGHT_DECAY = 3072, 10, 1e-3, 0.01
POOL = 8  # batches that the steps go round


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", type=Path, required=True, help="the bench_steps program")
    parser.add_argument("--rounds", type=int, default=20, help="counted rounds, after one to warm up")
    parser.add_argument("--steps", type=int, default=10, help="steps a turn")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--blocks", type=int, default=4)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="also write settings, times and ratios here")
    args = parser.parse_args()
    for name in ("rounds", "steps", "threads", "width", "blocks", "batch"):
        if getattr(args, name) < 1:
            parser.error(f"--{name} must be at least 1, not {getattr(args, name)}")
    if not (args.program.is_file() and os.access(args.program, os.X_OK)):
        parser.error(f"--program {args.program} is not a program: build bench_steps first and give its path")
    if args.json and not args.json.absolute().parent.is_dir():
        parser.error(f"--json {args.json}: its folder does not exist")
    return args


class Creditlib:
    """One bench_steps process."""

    def __init__(self, args, rule):
        self.command = [str(args.program.absolute()), "--serve", "--rule", rule, "--width", str(args.width), "--blocks",
                        str(args.blocks), "--batch", str(args.batch), "--threads", str(args.threads)]
        self.process = subprocess.Popen(self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def turn(self, steps):
        try:
            self.process.stdin.write(f"{steps}\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
            times = [float(word) for word in line.split()]
        except (BrokenPipeError, ValueError):
            times = []
        if len(times) != steps:
            sys.exit(f"{' '.join(self.command)}: asked for {steps} times, got no such line; "
                     f"exit code {self.process.poll()}")
        return times

    def close(self):
        if self.process.poll() is None:
            try:
                self.process.stdin.write("q\n")
                self.process.stdin.close()
                self.process.wait(timeout=10)
            except (BrokenPipeError, subprocess.TimeoutExpired):
                self.process.kill()
                self.process.wait()


class PyTorch:
    """Calls step(x, y) on a pool of random batches."""

    def __init__(self, batches, step):
        self.batches, self.step, self.done = batches, step, 0

    def turn(self, steps):
        times = []
        for _ in range(steps):
            x, y = self.batches[self.done % len(self.batches)]
            self.done += 1
            start = time.perf_counter()
            self.step(x, y)
            times.append(1e3 * (time.perf_counter() - start))
        return times

    def close(self):
        pass


def one_pass_step(model, optimizer, rule, feedback, x, y):
    """dfa_step's or fa_step's arithmetic with every forward run once, one backward and one optimiser step."""
    import torch
    import torch.nn.functional as F
    from scripts_way import output_error, rms_normalized

    first = model.embed(x)
    h, branches = first.detach(), []
    for block in model.blocks:
        branches.append(block(h))
        h = h + branches[-1].detach()
    h.requires_grad_(rule == "fa")
    logits = model.readout(h)
    loss = F.cross_entropy(logits, y)
    with torch.no_grad():
        if rule == "dfa":
            error = output_error(logits, y)
            credits = [error @ b.T for b in feedback]
            credits.insert(0, credits[0])
        else:
            credits = [torch.autograd.grad(loss, h, retain_graph=True)[0] * y.numel()]
            for b in reversed(feedback):
                credits.insert(0, credits[0] @ b)
        credits = [rms_normalized(credit) for credit in credits]
    total = loss
    for output, credit in zip([first, *branches], credits):
        total = total + (output * credit).sum(-1).mean()
    optimizer.zero_grad()
    if rule == "fa":
        total.backward(inputs=list(model.parameters()))  # h's own gradient is not needed again
    else:
        total.backward()
    optimizer.step()
    return loss.detach()


def pytorch_contestants(args):
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "reference"))
    import torch
    import scripts_way

    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    batches = [(torch.randn(args.batch, INPUT), torch.randint(CLASSES, (args.batch,))) for _ in range(POOL)]
    dfa = scripts_way.draw_dfa_feedback(args.width, CLASSES, args.blocks)
    fa = scripts_way.draw_fa_feedback(args.width, args.blocks)

    def contestant(step, *feedback, **optimizer):
        model = scripts_way.ResidualMLP(INPUT, args.width, CLASSES, args.blocks)
        optimizers = scripts_way.Optimizers(model, 100, LR, WEIGHT_DECAY, **optimizer)
        return PyTorch(batches, lambda x, y: step(model, optimizers, *feedback, x, y))

    def one_pass(rule, feedback):
        step = lambda model, optimizers, x, y: one_pass_step(model, optimizers.whole, rule, feedback, x, y)
        return contestant(step, whole=True, fused=True)

    return {
        "PyTorch bp scripts": contestant(scripts_way.bp_step, whole=True),
        "PyTorch bp fused": contestant(scripts_way.bp_step, whole=True, fused=True),
        "PyTorch dfa scripts": contestant(scripts_way.dfa_step, dfa),
        "PyTorch dfa fused": one_pass("dfa", dfa),
        "PyTorch fa scripts": contestant(scripts_way.fa_step, fa),
        "PyTorch fa fused": one_pass("fa", fa),
    }


def quartiles(values):
    """Lower quartile, median, upper quartile."""
    return tuple(statistics.quantiles(values, n=4, method="inclusive")) if len(values) > 1 else (values[0],) * 3


def ratio(rounds, name, other):
    """Ratio of the medians over all steps; the quartiles are those of each round's own ratio of medians."""
    whole = statistics.median(sum(rounds[name], [])) / statistics.median(sum(rounds[other], []))
    each = [statistics.median(a) / statistics.median(b) for a, b in zip(rounds[name], rounds[other])]
    return {"ratio": whole, "quartiles": [quartiles(each)[0], quartiles(each)[2]]}


def cpu_model():
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        import platform

        return platform.processor() or platform.machine()


def main():
    args = arguments()
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch loads: who waits must not spin in others' turns
    os.environ["OMP_NUM_THREADS"] = str(args.threads)
    contestants = pytorch_contestants(args)
    import torch

    machine = {"cpu": cpu_model(), "cores": os.cpu_count(), "torch": torch.__version__, "threads": args.threads}
    print(f"{machine['cpu']}, {machine['cores']} cores; PyTorch {machine['torch']}; threads {args.threads}")
    print(f"ResidualMLP {INPUT} -> {args.width} x {args.blocks} blocks -> {CLASSES}, batch {args.batch}; "
          f"{args.rounds} rounds of {args.steps} steps each\n", flush=True)

    order = random.Random(args.seed)
    rounds = {}
    try:
        for rule in ("bp", "dfa", "fa"):
            contestants[f"creditlib {rule}"] = Creditlib(args, rule)
        rounds = {name: [] for name in contestants}
        for index in range(args.rounds + 1):
            for name in order.sample(list(contestants), len(contestants)):
                times = contestants[name].turn(args.steps)
                if index > 0:
                    rounds[name].append(times)
    finally:
        for contestant in contestants.values():
            contestant.close()

    base = "PyTorch bp fused"
    table = {}
    print(f"{'contestant':<22}{'median ms':>10}{'quartiles':>18}{'ratio to ' + base:>28}")
    for name, times in rounds.items():
        low, median, high = quartiles(sum(times, []))
        to_base = ratio(rounds, name, base)
        table[name] = {"median_ms": median, "quartiles_ms": [low, high], "to_pytorch_bp_fused": to_base}
        print(f"{name:<22}{median:>10.3f}{f'{low:.3f}..{high:.3f}':>18}{to_base['ratio']:>28.3f}")

    print("\ncreditlib / PyTorch, below 1 is faster (quartiles over rounds)")
    ratios = {}
    for rule in ("bp", "dfa", "fa"):
        for way in ("scripts", "fused"):
            key = f"creditlib {rule} / PyTorch {rule} {way}"
            ratios[key] = ratio(rounds, f"creditlib {rule}", f"PyTorch {rule} {way}")
            low, high = ratios[key]["quartiles"]
            print(f"{key:<42}{ratios[key]['ratio']:>7.3f}  ({low:.3f}..{high:.3f})")

    if args.json:
        settings = {name: getattr(args, name) for name in ("rounds", "steps", "width", "blocks", "batch", "seed")}
        result = {"machine": machine, "settings": settings, "contestants": table, "ratios": ratios, "times_ms": rounds}
        args.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
