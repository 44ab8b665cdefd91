"""Draws the requests per second of each server in each row as a plot."""

from __future__ import annotations

from pathlib import Path

import matplotlib
from matplotlib import pyplot


def draw(found: dict, date: str, path: Path) -> None:
    """Write a PNG with bars relative to treadle serve's."""
    matplotlib.use("Agg")
    rows = [row for row, servers in found.items() if "rate" in servers.get("treadle serve", {})]
    names = list(dict.fromkeys(name for servers in found.values() for name in servers))
    figure, axes = pyplot.subplots(figsize=(9, 1 + 0.9 * max(len(rows), 1)), layout="constrained")
    height = 0.8 / len(names)
    for at, name in enumerate(names):
        values = [
            found[row].get(name, {}).get("rate", 0.0) / found[row]["treadle serve"]["rate"]
            for row in rows
        ]
        places = [y + (at - len(names) / 2 + 0.5) * height for y in range(len(rows))]
        axes.barh(places, values, height=height, label=name)
    axes.axvline(1, color="black", linewidth=0.6)
    axes.set_yticks(range(len(rows)), rows)
    axes.invert_yaxis()
    axes.set_xlabel("requests a second, relative to treadle serve: more is better")
    axes.set_title(date, fontsize="medium")
    figure.legend(fontsize="small", ncols=3, loc="outside lower center")
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
