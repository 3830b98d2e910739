# SPDX-License-Identifier: Apache-2.0
"""The table of a sweep: a row for each kind of run, over its seeds."""

import csv
import io

from reporting.readers import read
from reporting.runs import MEASURES, mean_and_deviation, said
from reporting.source import Unreadable
from sweeping.plan import shown
from sweeping.pool import record_of, results_in

SEEDS = {"seed", "seeds"}


def rows_of(cells, folder):
    """[(varied without seeds, method, runs, records)], and a row without runs for each cell that has none."""
    rows = {}
    for cell in cells:
        where, runs = folder(cell), []
        for file in results_in(where):
            try:
                runs += read(file, file.name)[0]
            except Unreadable:
                pass  # the report says what is wrong with it
        varied = {key: value for key, value in cell.varied.items() if key not in SEEDS}
        methods = {}
        for run in runs:
            methods.setdefault(run.method, []).append(run)
        for method, of_method in (methods or {"": []}).items():
            key = (tuple(f"{k}={shown_list(v)}" for k, v in varied.items()), method)
            _, _, all_runs, records = rows.setdefault(key, (varied, method, [], []))
            all_runs += of_method
            records.append(record_of(where))
    return list(rows.values())


def shown_list(value):
    return " ".join(map(shown, value)) if isinstance(value, list) else shown(value)


def state(records):
    reasons = [record.get("reason") or "not run yet" for record in records if not record.get("finished")]
    return "; ".join(dict.fromkeys(reasons)) or "finished"


def table(cells, folder):
    """(head, rows of numbers and text): the CSV; markdown() makes the same readable."""
    found = rows_of(cells, folder)
    keys = list(dict.fromkeys(key for varied, *_ in found for key in varied))
    outcomes = list(dict.fromkeys(run.outcome()[0] for _, _, runs, _ in found for run in runs if run.outcome()))
    head = [*keys, "method", "seeds"]
    for outcome in outcomes:
        head += [MEASURES[outcome][0], f"{MEASURES[outcome][0]}, deviation"]
    head += ["Gamma", "Gamma, deviation", "ms per step", "peak memory, MB", "seconds", "state"]
    rows = []
    for varied, method, runs, records in found:
        row = [shown_list(varied[key]) if key in varied else "" for key in keys]
        row += [method, " ".join(str(run.seed) for run in runs if run.seed is not None)]
        for outcome in outcomes:
            row += both([run.outcome()[1] for run in runs if run.outcome() and run.outcome()[0] == outcome])
        row += both([mean_and_deviation(run.states["gamma"])[0] for run in runs if run.states.get("gamma")])
        steps = [run.cost["training step"] for run in runs if "training step" in run.cost]
        peaks = [record["peak_memory_bytes"] for record in records if record.get("peak_memory_bytes")]
        seconds = [record["seconds"] for record in records if "seconds" in record]
        row += [mean_and_deviation(steps)[0] if steps else "", max(peaks) / 1e6 if peaks else "", sum(seconds) if seconds else "",
                state(records)]
        rows.append(row)
    empty = [i for i, name in enumerate(head) if all(row[i] == "" for row in rows) and name != "state"]
    keep = [i for i in range(len(head)) if i not in empty]
    return [head[i] for i in keep], [[row[i] for i in keep] for row in rows]


def both(values):
    if not values:
        return ["", ""]
    mean, deviation = mean_and_deviation(values)
    return ["" if mean != mean else mean, "" if deviation is None else deviation]


def as_csv(head, rows):
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(head)
    writer.writerows(rows)
    return out.getvalue()


def as_markdown(title, head, rows):
    """Means with their deviations in one cell."""
    columns = [i for i, name in enumerate(head) if not name.endswith(", deviation")]
    lines = [f"# {title}", "", "| " + " | ".join(head[i] for i in columns) + " |", "|" + "---|" * len(columns)]
    for row in rows:
        cells = []
        for i in columns:
            text = f"{row[i]:.4g}" if isinstance(row[i], float) else str(row[i])
            if i + 1 < len(head) and head[i + 1] == f"{head[i]}, deviation" and row[i] != "":
                text = said(row[i], None if row[i + 1] == "" else row[i + 1], ".4g")
            cells.append(text.replace("|", "\\|").replace("\n", " "))
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"
