# SPDX-License-Identifier: Apache-2.0
"""Bars: ms per step by part, and memory."""

from reporting.style import PALETTE, WIDTH, figure, wrapped

UNITS = {"cost": (1, "ms per step"), "memory": (1e6, "MB")}
TITLES = {"cost": "Time per training step", "memory": "Memory"}
HATCHES = ["", "//", "..", "xx"]


def draw(theme, groups, table):
    """Stacked bars of `cost` or `memory`, a panel for each network of a benchmark. None if no group has any."""
    with_bars = [(group, group.mean_of(table)) for group in groups]
    with_bars = [(group, parts) for group, parts in with_bars if parts]
    if not with_bars:
        return None
    unit, axis = UNITS[table]
    panels = {}
    for group, parts in with_bars:
        panels.setdefault(group.panel, []).append((wrapped(group.label, 30), parts))
    names = list(dict.fromkeys(part for _, parts in with_bars for part in parts))
    row = 0.3 + 0.13 * max(label.count("\n") for bars in panels.values() for label, _ in bars)
    sizes = [len(bars) for bars in panels.values()]
    between = 0.95  # inches: title, ticks and label of a panel
    height = 0.45 + sum(size * row + between for size in sizes)
    drawn, axes = figure(height, rows=len(panels), height_ratios=sizes)
    longest = max(len(line) for bars in panels.values() for label, _ in bars for line in label.split("\n"))
    for panel, (title, bars) in zip(axes[:, 0], panels.items()):
        most = max(sum(parts.values()) for _, parts in bars) / unit
        for y, (label, parts) in enumerate(bars):
            left = 0.0
            for index, name in enumerate(names):
                if name in parts:
                    width = parts[name] / unit
                    panel.barh(y, width, left=left, height=0.68, color=PALETTE[index], hatch=HATCHES[index % 4],
                               edgecolor=theme.paper, linewidth=0.6, label=name if y == 0 else None)
                    left += width
            panel.text(left + 0.01 * most, y, f"{left:.3g}" if left < 1000 else f"{left:,.0f}", va="center", fontsize=9)
        panel.set_yticks(range(len(bars)), [label for label, _ in bars])
        panel.set_ylim(len(bars) - 0.4, -0.6)
        panel.set_xlim(0, most * 1.13)
        panel.set_xlabel(axis)
        panel.grid(axis="y", visible=False)
        panel.set_title(f"{TITLES[table]}{f', {title}' if title else ''}")
    handles = [axes[0, 0].barh(0, 0, color=PALETTE[i], hatch=HATCHES[i % 4], edgecolor=theme.paper) for i in range(len(names))]
    drawn.legend(handles, names, loc="upper left", ncols=min(3, len(names)), frameon=False, fontsize=9.5, bbox_to_anchor=(0, 1))
    drawn.subplots_adjust(left=min(0.5, (longest * 0.079 + 0.2) / WIDTH), right=0.98, top=1 - 0.68 / height, bottom=0.5 / height,
                          hspace=between / (sum(sizes) / len(sizes) * row))
    return drawn
