# SPDX-License-Identifier: Apache-2.0
"""Curves on logarithmic axes, as SVG."""

import math
from xml.sax.saxutils import escape

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 720, 420, 64, 200, 40, 48
COLOURS = ["#1f6fb4", "#d1495b", "#2a9d5c", "#8e5ea2", "#c77d0a", "#5b5b5b"]
DASHES = {"solid": "", "dashed": "7 4", "dotted": "2 4"}


def ticks(low, high):
    """1, 2 and 5 times the powers of 10 within, or the powers alone where there are many."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    steps = (1, 2, 5) if len(powers) <= 3 else (1,)
    return [m * 10.0**p for p in powers for m in steps if low <= m * 10.0**p <= high]


def svg(title, x_label, y_label, curves):
    """curves: (name, colour index, solid|dashed|dotted, [(x, y)]), all numbers positive."""
    xs = sorted({x for *_, points in curves for x, _ in points})
    ys = [y for *_, points in curves for _, y in points]
    low, high = min(ys) / 1.15, max(ys) * 1.15
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM

    def across(x):
        return LEFT + (right - LEFT) * (math.log(x / xs[0]) / math.log(xs[-1] / xs[0]) if len(xs) > 1 else 0.5)

    def up(y):
        return bottom - (bottom - TOP) * math.log(y / low) / math.log(high / low)

    def text(x, y, words, anchor="middle", extra=""):
        return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{extra}>{escape(str(words))}</text>'

    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12">',
             f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>', text((LEFT + right) / 2, 22, title, extra=' font-size="14"')]
    for x in xs:
        parts += [f'<line x1="{across(x):.1f}" y1="{TOP}" x2="{across(x):.1f}" y2="{bottom}" stroke="#e4e4e4"/>', text(across(x), bottom + 16, x)]
    for y in ticks(low, high):
        parts += [f'<line x1="{LEFT}" y1="{up(y):.1f}" x2="{right}" y2="{up(y):.1f}" stroke="#e4e4e4"/>', text(LEFT - 6, up(y) + 4, f"{y:g}", "end")]
    parts += [f'<rect x="{LEFT}" y="{TOP}" width="{right - LEFT}" height="{bottom - TOP}" fill="none" stroke="#888"/>',
              text((LEFT + right) / 2, HEIGHT - 10, x_label), text(16, (TOP + bottom) / 2, y_label, extra=f' transform="rotate(-90 16 {(TOP + bottom) / 2})"')]
    for row, (name, colour, dash, points) in enumerate(curves):
        style = f'stroke="{COLOURS[colour % len(COLOURS)]}" stroke-width="1.8" stroke-dasharray="{DASHES[dash]}"'
        path = " ".join(f"{across(x):.1f},{up(y):.1f}" for x, y in points)
        y = TOP + 10 + 18 * row
        parts += [f'<polyline points="{path}" fill="none" {style}/>', f'<line x1="{right + 12}" y1="{y}" x2="{right + 40}" y2="{y}" {style}/>',
                  text(right + 46, y + 4, name, "start")]
    return "\n".join([*parts, "</svg>"]) + "\n"
