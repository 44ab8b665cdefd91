"""Draws each program's processor time and throughput on treadle, relative to gevent, as a plot."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib
from matplotlib import pyplot

from .contestants import GEVENT, NAMES, TREADLE


def draw(found: dict[str, Any], date: str, path: Path) -> None:
    """Write a PNG: two bars for each program that ran on both."""
    matplotlib.use("Agg")
    rows = [row for row, both in found.items() if not any("note" in both[who] for who in NAMES)]
    figure, axes = pyplot.subplots(figsize=(8, 1.5 + 0.5 * len(rows)), layout="constrained")
    cpu = [found[row][TREADLE]["cpu"] / found[row][GEVENT]["cpu"] for row in rows]
    rate = [found[row][GEVENT]["wall"] / found[row][TREADLE]["wall"] for row in rows]
    places = range(len(rows))
    axes.barh([y - 0.2 for y in places], cpu, height=0.4, label="CPU a unit: less is better")
    axes.barh([y + 0.2 for y in places], rate, height=0.4, label="units a second: more is better")
    axes.axvline(1, color="black", linewidth=0.6)
    axes.set_yticks(places, rows)
    axes.invert_yaxis()
    axes.set_xlabel("treadle relative to gevent")
    axes.set_title(date, fontsize="medium")
    figure.legend(fontsize="small", ncols=2, loc="outside lower center")
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
