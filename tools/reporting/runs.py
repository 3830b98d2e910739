# SPDX-License-Identifier: Apache-2.0
"""A run: one method with one seed, whichever program made it; and groups, the same run with several seeds."""

import math
from dataclasses import dataclass, field
from statistics import fmean, stdev

# The measures that programs record over epochs or steps: title, and whether more is better.
MEASURES = {
    "test_acc": ("test accuracy", True),
    "train_acc": ("training accuracy", True),
    "test_rmse": ("test RMSE", False),
    "validation_bits_per_character": ("validation bits per character", False),
    "train_bits_per_character": ("training bits per character", False),
    "train_loss": ("training loss", False),
    "costate_cosine": ("cosine with the true costate", True),
    "credit_angle": ("angle between credit and gradient, degrees", False),
    "snapshot_acc": ("accuracy of the snapshot", True),
    "dl_held": ("change of the held-out loss by the last block's update", False),
}
# Which of them says how good a run is, the first that it has.
OUTCOMES = ["test_acc", "test_rmse", "validation_bits_per_character", "costate_cosine", "dl_held"]


@dataclass
class Run:
    file: str  # as the page names it
    program: str
    method: str
    seed: int | None
    settings: dict = field(default_factory=dict)
    panel: str = ""  # what it is compared within, such as a network of a benchmark
    x: str = "epoch"  # what curves and histories are over
    curves: dict = field(default_factory=dict)  # measure -> [(x, value or nan)]
    states: dict = field(default_factory=dict)  # gamma, rho, hidden_norms, gradient_norms at the end -> [value or nan]
    history: dict = field(default_factory=dict)  # the same -> [(x, [value or nan])]
    cost: dict = field(default_factory=dict)  # part of a step -> ms
    memory: dict = field(default_factory=dict)  # what -> bytes
    epochs: tuple | None = None  # done, planned
    finished: bool = True
    words: list = field(default_factory=list)  # what the program itself concludes
    audit: dict | None = None

    def __post_init__(self):
        """Raises ValueError for what is of another kind than it has to be."""
        for key, kind, expected in (("method", str, "text"), ("seed", (int, type(None)), "a whole number"), ("settings", dict, "an object")):
            if not isinstance(getattr(self, key), kind):
                raise ValueError(f"{key} is {getattr(self, key)!r}, expected {expected}")
        if self.epochs and not all(isinstance(count, int) for count in self.epochs):
            raise ValueError(f"epochs is {self.epochs[1]!r}, expected a whole number")

    @property
    def name(self):
        return self.method if self.seed is None else f"{self.method}, seed {self.seed}"

    def outcome(self):
        """(measure, last value); None if the run has no outcome."""
        for measure in OUTCOMES:
            if self.curves.get(measure):
                return measure, self.curves[measure][-1][1]
        return None


@dataclass
class Group:
    label: str
    runs: list
    panel: str = ""

    def seeds(self):
        return [run.seed for run in self.runs]

    def curve(self, measure):
        """[(x, mean, deviation or None)] over the seeds that have a finite value at x; nan where none has."""
        at = {}
        for run in self.runs:
            for x, value in run.curves.get(measure, []):
                at.setdefault(x, []).append(value)
        return [(x, *mean_and_deviation(values)) for x, values in sorted(at.items())]

    def states_of(self, what):
        """Means over seeds by state, [(mean, deviation or None)]: of the runs that have as many states as the first."""
        lists = [run.states[what] for run in self.runs if run.states.get(what)]
        lists = [values for values in lists if len(values) == len(lists[0])]
        return [mean_and_deviation(values) for values in zip(*lists)]

    def history_of(self, what):
        """[(x, [mean by state])] over seeds."""
        at = {}
        for run in self.runs:
            for x, values in run.history.get(what, []):
                at.setdefault(x, []).append(values)
        widths = {len(values) for lists in at.values() for values in lists}
        if len(widths) != 1:
            return []
        return [(x, [mean_and_deviation(column)[0] for column in zip(*lists)]) for x, lists in sorted(at.items())]

    def mean_of(self, table):
        """{part: mean over seeds} of `cost` or `memory`."""
        parts = {}
        for run in self.runs:
            for part, value in getattr(run, table).items():
                parts.setdefault(part, []).append(value)
        return {part: fmean(values) for part, values in parts.items()}


def mean_and_deviation(values):
    """Of the finite values; the sample's standard deviation, None for fewer than two."""
    finite = [value for value in values if math.isfinite(value)]
    if not finite:
        return math.nan, None
    return fmean(finite), stdev(finite) if len(finite) > 1 else None


def said(mean, deviation, form):
    """"0.94 ± 0.03": the deviation to the same decimal as the mean, which `form` is for."""
    if mean != mean:
        return "not finite"
    text = f"{mean:#{form}}".rstrip(".")  # 0.30, not 0.3
    if deviation is None:
        return text
    decimals = len(text.partition(".")[2])
    return f"{text} ± " + (f"{deviation:.2g}" if "e" in text else f"{deviation:.{decimals}f}")


# Settings that say nothing of what was trained.
UNSAID = {"method", "methods", "seed", "seeds", "schedules", "output_dir", "gpu", "data_dir", "quiet", "threads"}
# Settings that every run is told apart by, whatever its method.
ALWAYS = ["dataset", "arch", "table", "text"]


def shown(value):
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, dict):
        return str(value.get("file", "..."))
    return str(value)


def groups_of(runs):
    """The runs by program, method and the settings in which they differ; seeds of one group are told apart by nothing."""
    programs_of, everywhere = {}, {}
    for run in runs:
        programs_of.setdefault(run.method, set()).add(run.program)
        for key in ALWAYS:
            if run.settings.get(key):
                everywhere.setdefault(key, set()).add(shown(run.settings[key]))
    differing = {}
    for run in runs:
        of_method = differing.setdefault((run.program, run.method), {})
        for key, value in run.settings.items():
            if key not in UNSAID:
                of_method.setdefault(key, set()).add(shown(value))
    groups = {}
    for run in runs:
        said = [f"{key} {shown(run.settings[key])}" for key, values in differing[run.program, run.method].items()
                if key in run.settings and (len(values) > 1 or key in ALWAYS and len(everywhere.get(key, [])) > 1)]
        program = f" ({run.program})" if len(programs_of[run.method]) > 1 else ""
        groups.setdefault((run.panel, ", ".join([run.method + program, *said])), []).append(run)
    return [Group(label, members, panel) for panel, label, members in apart(groups)]


def apart(groups):
    """Runs of one group that have the same seed are in different files: the file is then part of the label."""
    for (panel, label), members in groups.items():
        seeds = [run.seed for run in members]
        if len(set(seeds)) == len(seeds):
            yield panel, label, members
            continue
        by_file = {}
        for run in members:
            by_file.setdefault(run.file, []).append(run)
        for file, of_file in by_file.items():
            yield panel, f"{label}, {file}", of_file
