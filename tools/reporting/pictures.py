# SPDX-License-Identifier: Apache-2.0
"""All pictures of a report, in both themes: each as SVG for the page and as PNG."""

import io
from dataclasses import dataclass

from reporting import audits, bars, blocks, curves
from reporting import settings as varied_settings
from reporting.runs import MEASURES
from reporting.style import MOST_BANDS, MOST_LINES, THEMES, pyplot, settings

BAND = "Lines are means over seeds; bands reach one sample standard deviation to either side."
RINGS = "Rings mark where the audit's check fires."


@dataclass
class Picture:
    name: str  # of its files
    section: str
    caption: str
    svg: dict  # theme -> text
    png: dict  # theme -> bytes


def plan(groups):
    """(name, section, caption, function of a theme) of every picture that there could be."""
    several = any(len(group.runs) > 1 for group in groups) and len(groups) <= MOST_BANDS
    yield ("over_setting", "Over a setting", f"The outcome over the setting that varies most; its values stand evenly. {BAND if several else ''}",
           lambda theme: varied_settings.draw(theme, groups))
    for measure, (title, _) in MEASURES.items():
        section = "Loss" if "loss" in measure or "bits" in measure else "Accuracy"
        section = {"test_rmse": "Error", "costate_cosine": "Alignment", "credit_angle": "Alignment", "dl_held": "Updates"}.get(measure, section)
        caption = f"{title[0].upper()}{title[1:]} over training. {BAND if several else ''}"
        yield measure, section, caption, lambda theme, m=measure: curves.draw(theme, groups, m)
    yield ("gamma_over_time", "Alignment", "Gamma is the mean cosine between a block's credit and the true gradient at its output: 1 is "
           "back-propagation's, 0 is none. Block 0 is the first.", lambda theme: blocks.heat_over_time(theme, groups))
    yield ("gamma", "Alignment", "Gamma at the end of training, mean over seeds: 1 is back-propagation's direction, 0 is none.",
           lambda theme: blocks.heat(theme, groups))
    yield ("costate_by_block", "Alignment", "Mean cosine with the true costate by block, at the end of training.",
           lambda theme: blocks.heat(theme, groups, "costate_cosine", "Cosine with the true costate, end of training"))
    for what, title in (("hidden_norms", "hidden states"), ("gradient_norms", "gradients")):
        yield (what, "Norms", f"Median norms of the {title} on a log axis, from the embed's output on. {RINGS} {BAND if several else ''}",
               lambda theme, w=what: blocks.norms(theme, groups, w))
        yield (f"{what}_over_time", "Norms", f"Median norms of the {title} at the last block over training.",
               lambda theme, w=what: blocks.norms_over_time(theme, groups, w))
    yield ("audit", "Audit", "The audit's checks after every epoch; dashed: the threshold at which a check fires.",
           lambda theme: audits.checks_over_epochs(theme, groups))
    yield ("cost", "Cost", "Milliseconds per training step, mean over seeds. Times compare only if they were taken on one machine.",
           lambda theme: bars.draw(theme, groups, "cost"))
    yield "memory", "Cost", "Megabytes at the peak: of a step in a benchmark, of the whole process in a sweep.", lambda theme: bars.draw(theme, groups, "memory")


def draw(groups, png=True):
    """(pictures, notes)."""
    pictures, notes = [], []
    if len(groups) > MOST_LINES:
        notes.append(f"There are {len(groups)} kinds of run; the pictures with lines show the first {MOST_LINES}, the table shows all.")
    for name, section, caption, make in plan(groups):
        svg, bitmap = {}, {}
        for theme in THEMES:
            with pyplot.rc_context(settings(theme)):
                try:
                    drawn = make(theme)
                    if drawn is None:
                        break
                    svg[theme.name] = as_svg(drawn)
                    if png:
                        bitmap[theme.name] = as_png(drawn)
                except (ArithmeticError, ValueError) as error:  # numbers that no axis can show
                    notes.append(f"The picture {name} cannot be drawn: {error}.")
                    svg = {}
                    break
                finally:
                    pyplot.close("all")
        if svg:
            pictures.append(Picture(name, section, caption.strip(), svg, bitmap))
    return pictures, notes


def as_svg(drawn):
    out = io.StringIO()
    drawn.savefig(out, format="svg", metadata={"Date": None, "Creator": None})
    return out.getvalue()


def as_png(drawn):
    out = io.BytesIO()
    drawn.savefig(out, format="png", dpi=200, metadata={"Software": None})
    return out.getvalue()
