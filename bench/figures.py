# SPDX-License-Identifier: Apache-2.0
"""The figures that a step is to reach (one thread, float32, ratios of medians in one run), and whether it does."""


class Figures:
    """Rows: what, asked (at most), reached (None: not measured), note."""

    def __init__(self):
        self.rows = []

    def add(self, what, asked, reached, note=""):
        quartiles = None
        if isinstance(reached, dict):
            reached, quartiles = reached["ratio"], reached["quartiles"]
        self.rows.append({"what": what, "asked": asked, "reached": reached, "quartiles": quartiles, "note": note,
                          "holds": None if reached is None else reached <= asked})

    def table(self):
        """Head and rows of text."""
        words = {True: "yes", False: "no", None: "not measured"}
        cells = []
        for row in self.rows:
            reached = "" if row["reached"] is None else f"{row['reached']:.3f}"
            if row["quartiles"]:
                reached += f" ({row['quartiles'][0]:.3f}..{row['quartiles'][1]:.3f})"
            cells.append([row["what"], f"{row['asked']:.3g}", reached, words[row["holds"]], row["note"]])
        return ["what", "at most", "reached (quartiles)", "holds", ""], cells


def ratio(outcome, name, *others):
    return outcome.ratio(name, *others) if all(n in outcome for n in (name, *others)) else None


def fastest(outcome, names):
    """The one with the least median; None where none was measured."""
    return min((name for name in names if name in outcome), key=outcome.median, default=None)


SIZES = {(256, 4): 0.48, (512, 2): 0.54}  # which the figures are asked of, and the most of PyTorch's BP that a DFA step may take


def resmlp_figures(figures, outcome, model, size, matmuls):
    our = lambda rule, matmul, path="closed_form", precision="float32": f"creditlib/{model}/{rule}/{path}/{precision}/{matmul}"
    pytorch = lambda rule, way, matmul: f"pytorch/{model}/{rule}/{way}/{matmul}"
    floor = lambda rule, matmul: f"floor/{model}/{rule}/{matmul}"

    def chosen_against_scripts(what, rule, asked, precision="float32"):
        name = fastest(outcome, [our(rule, m, precision=precision) for m in matmuls])
        value = None if name is None else ratio(outcome, name, pytorch(rule, "scripts", "mkl"))
        figures.add(f"{model}: {what}", asked, value, "" if name is None else f"chosen: {name.rsplit('/', 1)[1]}")

    def on_each(what, asked, name, *others, path="closed_form"):
        for m in matmuls:
            most = asked[m] if isinstance(asked, dict) else asked
            figures.add(f"{model}: {what}", most, ratio(outcome, our(name, m, path), *(other(m) for other in others)), m)

    chosen_against_scripts("DFA step / the scripts' DFA step on MKL", "dfa", 0.17)
    chosen_against_scripts("DFA step with bf16 products / the scripts' DFA step on MKL", "dfa", 0.125, "bf16")
    on_each("DFA step / PyTorch BP with fused AdamW", SIZES[size], "dfa", lambda m: pytorch("bp", "fused", m))
    on_each("DFA step / the strongest PyTorch DFA", 0.50, "dfa", lambda m: pytorch("dfa", "fused", m))
    chosen_against_scripts("FA step / the scripts' FA step on MKL", "fa", 0.26)
    on_each("FA step / the scripts' FA step", 0.47, "fa", lambda m: pytorch("fa", "scripts", m))
    on_each("BP step / PyTorch BP with fused AdamW", {"onednn": 0.85, "mkl": 0.95}, "bp", lambda m: pytorch("bp", "fused", m))
    on_each("Vec online step / the scripts'", 0.30, "vec", lambda m: pytorch("vec", "scripts", m))
    for rule, name in {"bp": "BP", "dfa": "DFA", "dfa_dense": "dense DFA", "fa": "FA", "oracle": "oracle"}.items():
        on_each(f"{name} step / (its own products + AdamW)", 1.20, rule, lambda m: floor(rule, m), lambda m: floor("adamw", m))
    on_each("DFA step by autograd / PyTorch BP with fused AdamW", 1.0, "dfa", lambda m: pytorch("bp", "fused", m), path="generic")


def cnn_figures(figures, outcome, matmuls):
    our = lambda rule, m: f"creditlib/cnn/{rule}/generic/float32/{m}"
    scripts = lambda rule, m: f"pytorch/cnn/{rule}/scripts/{m}"
    for m in matmuls:
        figures.add("SmallCNN: DFA step / the script's", 0.75, ratio(outcome, our("dfa", m), scripts("dfa", m)), m)
        figures.add("SmallCNN: DFA step / creditlib's BP step", 0.90, ratio(outcome, our("dfa", m), our("bp", m)), m)
        figures.add("SmallCNN: EP step / the script's", 0.65, ratio(outcome, our("ep", m), scripts("ep", m)), m)


def batch_figures(figures, ms, loader_ms):
    note = "torchvision was not measured: against the 11 ms that the prototype's author measured with it"
    value = None if ms is None else ms / (loader_ms or 11.0)
    figures.add("augmented batch of 128 / torchvision in a DataLoader, one worker", 0.02, value, "" if loader_ms else note)


def memory_figures(figures, shallow, deep):
    value = None if shallow is None or deep is None else deep["activations"] / shallow["activations"]
    figures.add("DFA in constant memory: activations at L=32 / at L=4", 1.05, value, "d=256, batch 128")
    figures.add("./run train of DFA, 100 epochs of CIFAR-10 / the script's way with data in memory", 0.25, None,
                "docs/performance/pytorch.md says how it is measured")
