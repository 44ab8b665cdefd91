"""Draws the results as a plot. Only the plots need matplotlib."""

from __future__ import annotations

from pathlib import Path

import matplotlib
from matplotlib import pyplot
from matplotlib.axes import Axes

from .contestants import NAMES
from .results import TREADLE, Results
from .rows import ROWS, Figure

BASE = "gevent"
MARKS = {
    "treadle": ("D", "#c1272d"),
    "gevent": ("s", "#2a7f3f"),
    "asyncio": ("o", "#3b6fb6"),
    "asyncio protocol": ("v", "#3b6fb6"),
    "uvloop": ("o", "#8a5aa8"),
    "uvloop protocol": ("v", "#8a5aa8"),
    "threads": ("X", "#8c8c8c"),
    "C epoll": ("*", "#222222"),
}

Line = tuple[str, Figure]


def draw(results: Results, path: Path) -> None:
    """Write a PNG: each row's figures relative to gevent's on a log scale, and treadle's goal."""
    matplotlib.use("Agg")
    lines = [(row.name, f) for row in ROWS if row.name in results.entries for f in row.figures]
    lines = [line for line in lines if results.median(line[0], BASE, line[1])]
    figure, axes = pyplot.subplots(figsize=(9, 2 + 0.45 * len(lines)), layout="constrained")
    _points(axes, results, lines)
    _goals(axes, results, lines)
    axes.set_xscale("log")
    axes.set_yticks(range(len(lines)), [line[1].title for line in lines])
    axes.invert_yaxis()
    axes.grid(axis="both", which="major", linewidth=0.4)
    axes.set_xlabel(f"relative to {BASE}: less is better")
    axes.set_title(f"{results.date[:10]}, {results.machine['cpu']}", fontsize="medium")
    figure.legend(fontsize="small", ncols=5, loc="outside lower center")
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def _points(axes: Axes, results: Results, lines: list[Line]) -> None:
    names = [name for name in NAMES if name in results.versions]
    for name in names:
        values = [
            _relative(results, line, results.median(line[0], name, line[1])) for line in lines
        ]
        points = [(value, y) for y, value in enumerate(values) if value is not None]
        axes.plot(
            [value for value, _ in points],
            [y for _, y in points],
            linestyle="",
            marker=MARKS[name][0],
            color=MARKS[name][1],
            markersize=9 if name == TREADLE else 7,
            label=name,
        )


def _goals(axes: Axes, results: Results, lines: list[Line]) -> None:
    for y, line in enumerate(lines):
        goal = _relative(results, line, results.goal(*line))
        if goal is not None:
            label = "treadle's goal" if y == 0 else None
            axes.plot([goal, goal], [y - 0.35, y + 0.35], color=MARKS[TREADLE][1], label=label)


def _relative(results: Results, line: Line, value: float | None) -> float | None:
    base = results.median(line[0], BASE, line[1])
    return value / base if value is not None and base else None
