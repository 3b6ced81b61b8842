"""Ratios → a table and a plot.

Owns: how uncertain a median is said to be, and how both look. Pure. Must not: know a server or a workload.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass
from html import escape
from itertools import accumulate
from math import comb

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Row:
    """One work against one peer: the ratio of each round, above 1 where the subject is better."""

    title: str
    peer: str
    rate: list[float]
    cost: list[float]
    sizes: str


def interval(values: list[float]) -> tuple[float, float]:
    """Where the true median is with a probability of CONFIDENCE at least, whatever the distribution; of fewer than six
    values the smallest and the largest.

    It is between the k-th smallest and the k-th largest of n values, unless fewer than k of them fell on one side of
    it: 2 * P(Binomial(n, 1/2) < k).
    """
    ordered, n = sorted(values), len(values)
    misses = accumulate(2 * comb(n, below) / 2**n for below in range((n + 1) // 2))
    k = max(1, sum(miss <= 1 - CONFIDENCE for miss in misses))
    return ordered[k - 1], ordered[-k]


def ratio(values: list[float], digits: int = 2) -> str:
    low, high = interval(values)
    return f"**{statistics.median(values):.{digits}f}** ({low:.{digits}f}–{high:.{digits}f})"


def legend(subject: str, rows: list[Row]) -> str:
    rounds = min((len(row.cost) for row in rows), default=0)
    inside = f"{CONFIDENCE:.0%} interval" if rounds >= 6 else "smallest–largest"
    return f"median of the per-round ratios ({inside}); above 1, {subject} is better; at least {rounds} rounds each"


def markdown(subject: str, rows: list[Row], versions: dict[str, str]) -> str:
    """Two tables, CPU time per request and requests/s, a line for each work and a column for each peer."""
    lines = [
        f"{subject} against each peer: {legend(subject, rows)}",
        "",
        ", ".join(f"{name} {version}" for name, version in versions.items()),
    ]
    lines += ["", *matrix("CPU time per request", rows, lambda row: ratio(row.cost))]
    lines += ["", *matrix("requests/s", rows, lambda row: ratio(row.rate))]
    sizes = [f"{row.title} {row.sizes} ({row.peer})" for row in rows if len(set(row.sizes.split(" : "))) > 1]
    lines += ["", "Bytes per answer: " + ("; ".join(sizes) or "the same with all") + "."]
    return "\n".join(lines)


def matrix(what: str, rows: list[Row], cell: Callable[[Row], str]) -> list[str]:
    peers = list(dict.fromkeys(row.peer for row in rows))
    cells = {(row.title, row.peer): cell(row) for row in rows}
    lines = [f"| {what} | {' | '.join(peers)} |", "|---" * (len(peers) + 1) + "|"]
    for title in dict.fromkeys(row.title for row in rows):
        lines.append(f"| {title} | {' | '.join(cells.get((title, peer), '–') for peer in peers)} |")
    return lines


COLOURS = ["#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd", "#8c564b", "#e377c2", "#7f7f7f"]
LEFT, WIDTH, BAR, SPACE = 300, 560, 12, 14


def plot(subject: str, rows: list[Row], versions: dict[str, str]) -> str:
    """An SVG: for each work a bar for each server, as long as what it serves with the CPU time in which the first peer
    serves one request. The whisker is the interval.
    """
    reference = rows[0].peer
    servers = [subject, *dict.fromkeys(row.peer for row in rows)]
    palette = dict(zip(servers, COLOURS, strict=False))
    groups: list[tuple[str, list[tuple[str, float, tuple[float, float]]]]] = []
    for title in dict.fromkeys(row.title for row in rows):
        costs = {row.peer: row.cost for row in rows if row.title == title}
        if reference not in costs:
            continue
        own = costs[reference]
        bars = [(subject, statistics.median(own), interval(own)), (reference, 1.0, (1.0, 1.0))]
        for peer, cost in costs.items():
            if peer != reference:
                relative = [a / b for a, b in zip(own, cost, strict=True)]
                bars.append((peer, statistics.median(relative), interval(relative)))
        groups.append((title, bars))
    longest = max(bar[2][1] for _, bars in groups for bar in bars)
    scale = WIDTH / longest
    out, y = [], 70
    for title, bars in groups:
        middle = y + len(bars) * BAR / 2 + 4
        out.append(f'<text x="{LEFT - 10}" y="{middle:.0f}" text-anchor="end">{escape(title)}</text>')
        for name, value, (low, high) in bars:
            colour = palette[name]
            centre = y + BAR / 2 - 1
            out.append(f'<rect x="{LEFT}" y="{y}" width="{value * scale:.1f}" height="{BAR - 2}" fill="{colour}"/>')
            out.append(
                f'<line x1="{LEFT + low * scale:.1f}" x2="{LEFT + high * scale:.1f}" y1="{centre}" y2="{centre}" '
                'stroke="black"/>'
            )
            out.append(f'<text x="{LEFT + high * scale + 5:.1f}" y="{y + BAR - 3}" font-size="10">{value:.2f}</text>')
            y += BAR
        y += SPACE
    one = LEFT + scale
    out.append(f'<line x1="{one:.1f}" x2="{one:.1f}" y1="60" y2="{y}" stroke="grey" stroke-dasharray="3 3"/>')
    x = 10
    for name in servers:
        label = f"{name} {versions.get(name, '').split()[0] if versions.get(name) else ''}".strip()
        out.append(f'<rect x="{x}" y="34" width="10" height="10" fill="{palette[name]}"/>')
        out.append(f'<text x="{x + 14}" y="43">{escape(label)}</text>')
        x += 30 + 7 * len(label)
    width = max(LEFT + WIDTH + 60, x)
    heading = f"Requests served with the same CPU time, {reference} = 1 (median; line: interval)"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{y + 10}" font-family="sans-serif" '
        f'font-size="12"><rect width="100%" height="100%" fill="white"/>'
        f'<text x="10" y="20" font-size="14">{escape(heading)}</text>' + "".join(out) + "</svg>\n"
    )
