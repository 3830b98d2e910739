# SPDX-License-Identifier: Apache-2.0
"""Tables of what the benchmarks measured, in Markdown, from the entries of their JSON files."""

from contest import markdown

# What a sweep of credit_cost.py changes, in words.
SWEPT_OVER = {"blocks": "L blocks", "width": "width d", "classes": "classes C", "batch": "batch B",
              "threads": "threads"}


def contest_table(network, contestants):
    """The contestants of compare_pytorch.py on one network, fastest first; names without the network."""
    base = f"pytorch/{network}/bp/fused"
    rows = []
    for name in sorted(contestants, key=lambda name: contestants[name]["median_ms"]):
        entry = contestants[name]
        low, high = entry["quartiles_ms"]
        ratio = f"{entry['to_base']['ratio']:.3f}" if entry["to_base"] else ""
        rows.append([without(network, name), f"{entry['median_ms']:.3f}", f"{low:.3f}..{high:.3f}", ratio])
    return markdown(["contestant", "ms per step", "quartiles", f"to {without(network, base)}, same products"], rows)


def without(network, name):
    return name.replace(f"/{network}/", "/")


def cost_table(network):
    """Every rule and path on one network of credit_cost.json."""
    steps = network["steps"]
    forward = steps.get("forward", {}).get("median_ms")
    rows = []
    for name, entry in steps.items():
        if name == "forward":
            continue
        ms, bp = entry["median_ms"], steps.get(f"bp/{name.partition('/')[2]}", {})
        over = "" if forward is None else f"{ms - forward:.2f}"
        to_bp = f"{entry['to_bp']['ratio']:.2f}" if "to_bp" in entry else ""
        megabytes = f"{entry['activations'] / 1e6:.1f}" if "activations" in entry else ""
        both = "activations" in entry and "activations" in bp
        of_bp = f"{entry['activations'] / bp['activations']:.2f}" if both else ""
        images = f"{1e3 * network['batch'] / ms:.0f}"
        rows.append([*name.split("/"), f"{ms:.2f}", images, over, to_bp, megabytes, of_bp])
    head = ["rule", "path", "ms per step", "images per second", "over the forward pass", "to bp", "MB for the step",
            "to bp"]
    about = f"batch {network['batch']}"
    about += "" if forward is None else f"; the forward pass takes {forward:.2f} ms"
    return f"{about}:\n\n" + markdown(head, rows)


def product_table(networks):
    """Gflop per step of every rule and path on the networks of products.json."""
    rows = []
    for name in dict.fromkeys(name for network in networks.values() for name in network["flop"]):
        cells = []
        for network in networks.values():
            flop, bp = (network["flop"].get(key) for key in (name, f"bp/{name.partition('/')[2]}"))
            to_bp = "" if flop is None or bp is None else f" ({flop / bp:.2f})"
            cells.append("" if flop is None else f"{flop / 1e9:.3f}{to_bp}")
        rows.append([*name.split("/"), *cells])
    heads = [f"{name}, batch {network['batch']}" for name, network in networks.items()]
    return markdown(["rule", "path", *heads], rows)


def floor_ms(entry, rule):
    """ms of a rule's bare products and of AdamW, at one point of a sweep; None if either was not measured."""
    parts = [entry.get(f"floor {part}", {}).get("median_ms") for part in (rule, "adamw")]
    return None if None in parts else sum(parts)


def sweep_table(name, points, base):
    """ms per step of every curve of a sweep of scaling.json."""
    named = list(dict.fromkeys(key for entry in points.values() for key in entry))
    curves = {key: [entry.get(key, {}).get("median_ms") for entry in points.values()]
              for key in named if not key.startswith("floor ")}
    for key in named:
        if key.startswith("floor ") and key != "floor adamw":
            rule = key.removeprefix("floor ")
            curves[f"floor of {rule}"] = [floor_ms(entry, rule) for entry in points.values()]
    rows = [[key, *("" if ms is None else f"{ms:.2f}" for ms in curve)] for key, curve in curves.items()]
    about = ", ".join(f"{key} {value}" for key, value in base.items() if key != name)
    return f"ms per step over {SWEPT_OVER[name]} ({about}):\n\n" + markdown(["", *points], rows)


def thread_table(rows):
    """One network's contestants on each number of threads, of threads.py."""

    def ratio(entry):
        return f"{entry['ratio']:.2f} ({entry['quartiles'][0]:.2f}..{entry['quartiles'][1]:.2f})" if entry else ""

    head = ["", "threads", "ms per step", "to one thread", "efficiency", "to PyTorch's bp", "to products and AdamW"]
    return markdown(head, [[row["who"], str(row["threads"]), f"{row['median_ms']:.2f}", ratio(row["to_one_thread"]),
                            f"{row['efficiency']:.2f}", ratio(row.get("to_pytorch_bp")), ratio(row.get("to_floor"))]
                           for row in rows])


def auto_threads_table(rows):
    """--threads auto against one thread and all, of auto_threads.py."""
    head = ["data", "network", "method", "one thread, ms", "all, ms", "auto, ms", "auto chose", "auto to the better", "all to one"]
    return markdown(head, [[row["data"], row["network"], row["method"], f"{row['one_ms']:.2f}", f"{row['all_ms']:.2f}", f"{row['auto_ms']:.2f}",
                            " ".join(str(n) for n in row["chosen"]), f"{row['auto_to_better']:.2f}",
                            f"{row['all_to_one']['ratio']:.2f} ({row['all_to_one']['quartiles'][0]:.2f}..{row['all_to_one']['quartiles'][1]:.2f})"]
                           for row in rows])
