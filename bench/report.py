# SPDX-License-Identifier: Apache-2.0
"""Writes the tables and the figure of docs/performance.md and its pages from the JSON files in docs/results.

    python3 bench/report.py            brings every page up to date
    python3 bench/report.py --check    writes nothing; exit code 1 if a page or the figure is not up to date

A page has a table between two comments, and the first says which:

    <!-- report: contest compare_pytorch resmlp_d256_L4 -->
    ...
    <!-- end of report -->

The functions marked @table are the tables that there are. Run this program after a new measurement has replaced a JSON
file (compare_pytorch.py, credit_cost.py). It needs nothing but Python.
Exit codes: 0; 1 for a page that is not up to date, or for a table that cannot be made.
"""

import argparse
import json
import re
import sys
from functools import lru_cache
from pathlib import Path
from statistics import median
from xml.sax.saxutils import escape

from contest import markdown
from tables import auto_threads_table, contest_table, cost_table, product_table, sweep_table, thread_table

DOCS = Path(__file__).resolve().parent.parent / "docs"
RESULTS = DOCS / "results"
FIGURE = DOCS / "performance" / "steps.svg"
BLOCK = re.compile(r"(<!-- report: ([^\n]*?) -->\n)(.*?)(<!-- end of report -->)", re.DOTALL)

# The rows of the summary: network, rules, and the run that measured them.
SUMMARY = [("resmlp_d256_L4", ["bp", "dfa", "fa", "vec"], "compare_pytorch_intel"),
           ("resmlp_d256_L4", ["oracle", "state_predictor", "value_net"], "compare_pytorch_rules_intel"),
           ("cnn", ["bp", "dfa"], "compare_pytorch_cnn"),
           ("resnet", ["bp", "dfa"], "compare_pytorch_images_intel"),
           ("vit", ["bp", "dfa"], "compare_pytorch_images_intel")]
RUNS = ["compare_pytorch_intel", "compare_pytorch_rules_intel", "compare_pytorch_images_intel", "compare_pytorch",
        "compare_pytorch_cnn"]
LETTERS = dict(zip(RUNS, "abcde"))
STYLE = ".back{fill:#fff}text{fill:#1f2328}.small{fill:#59636e;font-size:12px}.bar{fill:#1f6fb4}.line{stroke:#59636e}"
DARK = ".back{fill:#0d1117}text{fill:#f0f6fc}.small{fill:#9198a1}.bar{fill:#4493f8}.line{stroke:#9198a1}"
SIZES = {"resmlp_d256_L4": "d=256, L=4", "resmlp_d512_L2": "d=512, L=2"}
TABLES = {}


def table(make):
    """A function whose table a page can have, by its name; further words in the comment are its arguments."""
    TABLES[make.__name__] = make
    return make


@lru_cache(maxsize=None)
def read(path):
    return json.loads((RESULTS / path).read_text())


def run(name):
    return read(f"performance/{name}.json")


def fastest(contestants, start, inside=""):
    """Name and ms of the fastest contestant whose name starts so; (None, None) if there is none."""
    ms = {name: entry["median_ms"] for name, entry in contestants.items() if name.startswith(start) and inside in name}
    name = min(ms, key=ms.get, default=None)
    return name, ms.get(name)


def processor(name):
    return run(name)["machine"]["cpu"].replace("(R)", "").replace(" Processor", "")


def comparison():
    """Of every row of the summary: run, network, rule, ours and PyTorch's ms, PyTorch's way, and ms of PyTorch's bp."""
    for network, rules, name in SUMMARY:
        contestants = run(name)["contests"][network]["contestants"]
        bp = fastest(contestants, f"pytorch/{network}/bp/")[1]
        for rule in rules:
            ours = fastest(contestants, f"creditlib/{network}/{rule}/", "/float32/")[1]
            way, theirs = fastest(contestants, f"pytorch/{network}/{rule}/")
            yield LETTERS[name], network, rule, ours, theirs, way.split("/")[3], bp


@table
def summary():
    """ms per step of creditlib and of PyTorch's fastest way, rule by rule."""
    head = ["network", "rule", "creditlib, ms per step", "PyTorch, ms per step", "its way", "ratio", "to PyTorch's bp",
            "run"]
    rows = [[network, rule, f"{ours:.1f}", f"{theirs:.1f}", way, f"{ours / theirs:.2f}", f"{ours / bp:.2f}", letter]
            for letter, network, rule, ours, theirs, way, bp in comparison()]
    return markdown(head, rows)


@table
def runs():
    """Processor, commit and settings of each comparison with PyTorch; the links are relative to docs."""
    rows = []
    for name in RUNS:
        machine, settings = run(name)["machine"], run(name)["settings"]
        images = any(network in run(name)["contests"] for network in ("cnn", "resnet", "vit"))
        rounds = settings.get("image_rounds", settings.get("cnn_rounds")) if images else settings["rounds"]
        torch = machine["torch"].partition("+")[0]
        link = f"[{LETTERS[name]}](results/performance/{name}.json)"
        counted = f"{rounds} of {settings['steps']} steps, {settings['turn_seconds']} s at most"
        libraries = ", ".join(settings["matmul"])
        rows.append([link, processor(name), machine["commit"], torch, machine["threads"], libraries, counted])
    return markdown(["run", "processor", "commit", "PyTorch", "threads", "products", "counted rounds"], rows)


@table
def contest(name, network):
    """All contestants of a run on one network."""
    return contest_table(network, run(name)["contests"][network]["contestants"])


@table
def threads(network, kind):
    """Steps on one thread and on several."""
    return thread_table(run("threads")["tables"][f"{network}/{kind}"])


@table
def amdahl():
    """What more cores would do at most: Amdahl's law through the times on one thread and on all."""
    predicted = run("threads")["amdahl"]
    numbers = list(next(iter(predicted.values()))["ms"])
    rows = [[name.replace("/", ", ", 1), f"{entry['serial_part']:.2f}", *(f"{entry['ms'][n]:.2f}" for n in numbers)]
            for name, entry in predicted.items()]
    return markdown(["", "serial part", *(f"ms on {n} cores" for n in numbers)], rows)


@table
def auto_threads():
    """--threads auto against one thread and all."""
    return auto_threads_table(run("auto_threads")["rows"])


@table
def whole_run():
    """Training as people run it: a method's whole loop, ours and the scripts'."""
    rows = []
    for method, entry in run("whole_run")["methods"].items():
        low, high = entry["quartiles"]
        rows.append([method, f"{median(entry['creditlib_ms']):.2f}", f"{median(entry['scripts_ms']):.2f}",
                     f"{entry['ratio']:.2f} ({low:.2f}..{high:.2f})", " ".join(str(n) for n in entry["threads"])])
    head = ["method", "./run train, ms per step", "the scripts' loop, ms", "ratio", "threads that auto chose"]
    return markdown(head, rows)


@table
def ways(name, *products):
    """creditlib's step by each rule, and PyTorch's two ways with the same library for products."""
    rows = []
    for network, entry in run(name)["contests"].items():
        contestants = entry["contestants"]
        rules = sorted({n.split("/")[2] for n in contestants if n.startswith("pytorch/")})
        for matmul in products or ["mkl"]:
            for rule in rules:
                ours = fastest(contestants, f"creditlib/{network}/{rule}/", f"/float32/{matmul}")[1]
                cells = []
                for way in ("scripts", "fused"):
                    theirs = contestants.get(f"pytorch/{network}/{rule}/{way}/{matmul}")
                    cells += [f"{theirs['median_ms']:.1f}", f"{ours / theirs['median_ms']:.2f}"] if theirs else ["", ""]
                rows.append([network, rule, *([matmul] if len(products) > 1 else []), f"{ours:.1f}", *cells])
    which = ["products"] if len(products) > 1 else []
    return markdown(["network", "rule", *which, "creditlib, ms", "the scripts' way", "ratio", "`fused`", "ratio"], rows)


def split(what):
    """Network and the rest of what a figure of figures.py is of; no network for those that name none."""
    network, colon, rest = what.partition(": ")
    return (network, rest) if colon and network in SIZES else (None, what)


def reached(figure):
    """A cell: what was reached with its quartiles, bold if that is the target or less."""
    if figure is None or figure["reached"] is None:
        return ""
    text = f"{figure['reached']:.3f}"
    if figure["quartiles"]:
        text += f" ({figure['quartiles'][0]:.3f}..{figure['quartiles'][1]:.3f})"
    if figure["note"].startswith("chosen: "):
        text += f" {figure['note'].removeprefix('chosen: ')}"
    return f"**{text}**" if figure["holds"] else text


@table
def targets(name):
    """The targets of the residual MLPs and what a run reached."""
    found = {}
    for figure in run(name)["figures"]:
        network, what = split(figure["what"])
        if network:
            products = "faster" if figure["note"].startswith("chosen: ") else figure["note"]
            found.setdefault((what, products), {})[network] = figure
    rows = []
    for (what, products), by in found.items():
        asked = list(dict.fromkeys(f"{figure['asked']:.3g}" for figure in by.values()))
        rows.append([what, products, ", ".join(asked), *(reached(by.get(network)) for network in SIZES)])
    return markdown(["what", "products", "target", *SIZES.values()], rows)


@table
def other_targets():
    """The targets of everything else."""
    rows = []
    for name in ("compare_pytorch", "compare_pytorch_intel", "compare_pytorch_cnn"):
        for figure in run(name)["figures"]:
            if split(figure["what"])[0] is None and figure["reached"] is not None:
                asked = f"{figure['asked']:.3g}"
                rows.append([figure["what"], processor(name), asked, reached(figure), figure["note"]])
    return markdown(["what", "processor", "target", "reached", ""], rows)


@table
def ratios():
    """What the runs on both processors reached on the residual MLPs."""
    columns = [("compare_pytorch", "mkl"), ("compare_pytorch", "onednn"), ("compare_pytorch_intel", "mkl")]
    cells = {}
    for index, (name, products) in enumerate(columns):
        for figure in run(name)["figures"]:
            network, what = split(figure["what"])
            if network and figure["note"] == products:
                cells.setdefault(what, {})[network, index] = f"{figure['reached']:.3f}"
    places = [(network, index) for network in SIZES for index in range(len(columns))]
    head = [f"{processor(name).split()[-1]} {products}, {size[:5]}"
            for size in SIZES.values() for name, products in columns]
    return markdown(["ratio", *head], [[what, *(by.get(place, "") for place in places)] for what, by in cells.items()])


@table
def batches():
    """ms for an augmented batch of 128 images, in turns with PyTorch's."""
    names = ("compare_pytorch", "compare_pytorch_intel")
    rows = [[what, *(f"{run(name)['batch_ms'][what]:.3f}" for name in names)] for what in run(names[0])["batch_ms"]]
    return markdown(["an augmented batch of 128, ms", *(processor(name) for name in names)], rows)


@table
def constant_memory():
    """MB that a DFA step in constant memory holds at its peak."""
    depths = run("compare_pytorch")["constant_memory_bytes"]
    rows = [[depth, f"{entry['peak'] / 1e6:.1f}", f"{entry['activations'] / 1e6:.3f}"]
            for depth, entry in depths.items()]
    return markdown(["depth", "peak during a step, MB", "of that activations, credit and temporaries, MB"], rows)


@table
def cost(network):
    """What each rule costs on one network."""
    return f"**{network}**, " + cost_table(run("credit_cost")["networks"][network])


@table
def products():
    """Gflop per step."""
    return product_table(run("products")["networks"])


@table
def scaling(name):
    """A sweep of the residual MLP."""
    return sweep_table(name, run("scaling")["sweeps"][name], run("scaling")["base"])


@table
def bfloat16_steps():
    """ms of DFA's step with products of float32 and of bfloat16."""
    rows = []
    for name in ("compare_pytorch", "compare_pytorch_intel"):
        for network, entry in run(name)["contests"].items():
            full, half = (fastest(entry["contestants"], f"creditlib/{network}/dfa/closed_form/{precision}/")[1]
                          for precision in ("float32", "bf16"))
            rows.append([processor(name), network, f"{full:.2f}", f"{half:.2f}", f"{half / full:.2f}"])
    return markdown(["processor", "network", "float32, ms per step", "bf16, ms per step", "ratio"], rows)


@table
def bfloat16():
    """Test accuracy with products of float32 and of bfloat16."""
    def accuracy(precision, method):
        return read(f"bfloat16/{precision}/results_cifar10.json")["42"][method]["log"]["test_acc"]

    short = lambda number: f"{number:.4f}".lstrip("0")
    rows = []
    for method in ("bp", "dfa"):
        full, half = accuracy("float32", method), accuracy("bf16", method)
        rows.append([method, short(full[-1]), short(half[-1]), short(max(abs(a - b) for a, b in zip(full, half)))])
    return markdown(["method", "float32", "bf16", "largest difference after any epoch"], rows)


def figure():
    """Bars: creditlib's ms over PyTorch's, row by row of the summary. It has a background of its own, light or dark."""
    rows = list(comparison())
    left, unit, top, row = 240, 420, 58, 26
    width, height = left + unit + 180, top + row * len(rows) + 20

    def text(x, y, words, kind="", anchor="start"):
        return f'<text x="{x}" y="{y}" class="{kind}" text-anchor="{anchor}">{escape(words)}</text>'

    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" '
             'font-size="13" role="img" aria-labelledby="title">',
             '<title id="title">Time per step: creditlib divided by the fastest in PyTorch with the same rule</title>',
             f"<style>{STYLE}@media(prefers-color-scheme:dark){{{DARK}}}</style>",
             f'<rect class="back" width="{width}" height="{height}" rx="6"/>',
             text(16, 26, "creditlib's time per step / the fastest in PyTorch with the same rule; shorter is faster"),
             text(left + unit, top - 8, "PyTorch", "small", "middle")]
    for index, (_, network, rule, ours, theirs, _, _) in enumerate(rows):
        y = top + row * index
        parts += [text(left - 10, y + 16, f"{network}, {rule}", "", "end"),
                  f'<rect class="bar" x="{left}" y="{y + 4}" width="{unit * ours / theirs:.1f}" height="{row - 8}"/>',
                  text(left + unit + 12, y + 16, f"{ours / theirs:.2f}  ({ours:.1f} / {theirs:.1f} ms)", "small")]
    bottom, one = top + row * len(rows), left + unit
    parts += [f'<line class="line" x1="{left}" y1="{top}" x2="{left}" y2="{bottom}"/>',
              f'<line class="line" x1="{one}" y1="{top}" x2="{one}" y2="{bottom}" stroke-dasharray="4 3"/>']
    return "\n".join([*parts, "</svg>"]) + "\n"


def filled(page, text):
    """The page's text with every table made anew."""
    def made(match):
        name, *arguments = match[2].split()
        if name not in TABLES:
            sys.exit(f"{page}: there is no table {name}; there are {', '.join(TABLES)}")
        try:
            return f"{match[1]}\n{TABLES[name](*arguments)}\n\n{match[4]}"
        except (KeyError, TypeError, FileNotFoundError) as error:
            sys.exit(f"{page}: the table {match[2]} cannot be made: {type(error).__name__}: {error}")

    if text.count("<!-- report: ") != len(BLOCK.findall(text)):
        sys.exit(f"{page}: a table has no <!-- end of report -->")
    return BLOCK.sub(made, text)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit code 1 if a page is not up to date")
    check = parser.parse_args().check

    wanted = {FIGURE: figure()}
    for page in sorted(DOCS.rglob("*.md")):
        text = page.read_text()
        if "<!-- report: " in text:
            wanted[page] = filled(page.relative_to(DOCS.parent), text)
    stale = [path for path, text in wanted.items() if not path.is_file() or path.read_text() != text]
    for path in stale:
        if not check:
            path.write_text(wanted[path])
        state = "not up to date; python3 bench/report.py writes it" if check else "written"
        print(f"{path.relative_to(DOCS.parent)}: {state}")
    sys.exit(1 if check and stale else 0)


if __name__ == "__main__":
    main()
