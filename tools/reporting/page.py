# SPDX-License-Identifier: Apache-2.0
"""The page: one HTML file with everything in it."""

import base64
from html import escape

from reporting import audits
from reporting.runs import MEASURES, mean_and_deviation, said

STYLE = """
:root{color-scheme:light dark;--paper:#fff;--ink:#1f2328;--soft:#59636e;--line:#d9dee3;--bad:#a63600;--good:#00694c;--box:#f6f8fa}
@media(prefers-color-scheme:dark){:root{--paper:#0d1117;--ink:#f0f6fc;--soft:#a5adb7;--line:#30363d;--bad:#ff9a57;--good:#4fd1a5;--box:#161b22}}
body{margin:0 auto;max-width:820px;padding:1.5rem 1rem 4rem;background:var(--paper);color:var(--ink);font:16px/1.5 system-ui,sans-serif}
h1{font-size:1.6rem;line-height:1.25;margin:.5rem 0}h2{font-size:1.2rem;margin:2.2rem 0 .6rem;border-bottom:1px solid var(--line)}
p{margin:.5rem 0}.soft,figcaption{color:var(--soft);font-size:.9rem}figure{margin:1rem 0 1.6rem}
.wide{overflow-x:auto}.wide img{display:block;width:100%;min-width:600px;height:auto}
table{border-collapse:collapse;font-size:.9rem;font-variant-numeric:tabular-nums}
th,td{padding:.3rem .7rem .3rem 0;text-align:right;border-bottom:1px solid var(--line);white-space:nowrap}
th:first-child,td:first-child{text-align:left;white-space:normal;min-width:9rem}th{vertical-align:bottom;font-weight:600;white-space:normal}
.summary{position:relative;left:50%;transform:translateX(-50%);width:max-content;max-width:calc(100vw - 2.5rem);overflow-x:auto}
.summary table{min-width:min(820px,calc(100vw - 2.5rem))}
.bad{color:var(--bad);font-weight:600}.good{color:var(--good);font-weight:600}
ul{padding-left:1.2rem;margin:.4rem 0}.notes{background:var(--box);padding:.6rem 1rem;border-radius:6px;overflow-wrap:anywhere}
@media(max-width:631px){figcaption::before,.summary+.soft::before{content:"Wider than this screen: scroll it sideways. "}}
nav a{color:inherit;margin-right:.9rem}
""".strip()


def with_deviation(values, form):
    return said(*mean_and_deviation(values), form)


def summary(groups):
    """Head and rows of text: outcome, Gamma, ms per step and how far the runs are."""
    outcomes = list(dict.fromkeys(run.outcome()[0] for group in groups for run in group.runs if run.outcome()))
    gammas = any(group.states_of("gamma") for group in groups)
    times = any(group.mean_of("cost") for group in groups)
    head = ["", "seeds", *(MEASURES[o][0] for o in outcomes), *(["Gamma, mean of blocks"] if gammas else []),
            *(["ms per step"] if times else []), "state"]
    rows = []
    for group in groups:
        cells = [f"{group.panel}, {group.label}" if group.panel else group.label,
                 " ".join(str(seed) for seed in group.seeds() if seed is not None)]
        for outcome in outcomes:
            values = [run.outcome()[1] for run in group.runs if run.outcome() and run.outcome()[0] == outcome]
            cells.append(with_deviation(values, ".3g" if outcome == "dl_held" else ".4f" if outcome.endswith("acc") else ".4g") if values else "")
        if gammas:
            means = [mean_and_deviation(run.states["gamma"])[0] for run in group.runs if run.states.get("gamma")]
            cells.append(with_deviation(means, ".3f") if means else "")
        if times:
            sums = [sum(ms for part, ms in run.cost.items() if part != "diagnostics") for run in group.runs if run.cost]
            cells.append(with_deviation(sums, ".3g") if sums else "")
        done = [run.epochs for run in group.runs if run.epochs]
        finished = all(run.finished for run in group.runs)
        cells.append("finished" if finished else "after " + ", ".join(f"{a} of {b}" for a, b in done) if done else "not finished")
        rows.append(cells)
    return head, rows


def table(head, rows):
    out = ["<div class=summary><table>", "<tr>" + "".join(f"<th>{escape(cell)}</th>" for cell in head) + "</tr>"]
    out += ["<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows]
    return "\n".join([*out, "</table></div>"])


def embedded(svg):
    return "data:image/svg+xml;base64," + base64.b64encode(svg.encode()).decode()


def figure(picture):
    return (f'<figure id="{picture.name}"><div class=wide><picture>'
            f'<source media="(prefers-color-scheme: dark)" srcset="{embedded(picture.svg["dark"])}">'
            f'<img src="{embedded(picture.svg["light"])}" alt="{escape(picture.caption)}"></picture></div>'
            f"<figcaption>{escape(picture.caption)}</figcaption></figure>")


def items(words):
    return "<ul>" + "".join(f"<li>{escape(word)}</li>" for word in words) + "</ul>"


def verdict(label, passed, sentences):
    said = {True: '<span class=good>PASS</span>', False: '<span class=bad>FAIL</span>'}.get(passed if isinstance(passed, bool) else None, "no verdict")
    return f"<p><b>{escape(label)}</b>: {said}</p>{items(sentences)}"


def page(title, groups, pictures, notes, files):
    verdicts = audits.verdicts(groups)
    words = list(dict.fromkeys(word for group in groups for run in group.runs for word in run.words))
    by_section = {}
    for picture in pictures:
        by_section.setdefault(picture.section, []).append(figure(picture))
    if verdicts:
        by_section["Audit"] = [verdict(*entry) for entry in verdicts] + by_section.get("Audit", [])
        by_section = {"Audit": by_section.pop("Audit"), **by_section}
    parts = [f"<h1>{escape(title)}</h1>",
             f"<p class=soft>{len(files)} file{'s' * (len(files) != 1)}, {sum(len(g.runs) for g in groups)} runs</p>"]
    if notes:
        parts.append(f"<div class=notes><b>Missing or odd</b>{items(notes)}</div>")
    parts += ["<h2>Summary</h2>", table(*summary(groups)),
              "<p class=soft>Mean ± sample standard deviation over seeds, at the end of each run.</p>"]
    if words:
        parts += ["<p>The program's own conclusions:</p>", items(words)]
    for section, content in by_section.items():
        parts += [f"<h2>{escape(section)}</h2>", *content]
    parts += ["<h2>Files</h2>", items(files)]
    return (f'<!doctype html>\n<html lang=en><head><meta charset=utf-8><meta name=viewport content="width=device-width,initial-scale=1">'
            f"<title>{escape(title)}</title>\n<style>\n{STYLE}\n</style></head>\n<body>\n" + "\n".join(parts) + "\n</body></html>\n")
