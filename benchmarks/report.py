"""Renders results as Markdown tables that also read well in a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

from .contestants import NAMES
from .results import TREADLE, Results
from .rows import ROWS, Figure, Target

Line = tuple[str, Figure]


def render(results: Results) -> str:
    """Return the whole report: facts about the run, medians, ratios with targets, notes."""
    lines = list(_lines(results))
    contestants = [name for name in NAMES if name in results.versions]
    parts = [
        "# treadle beside its peers",
        _facts(results),
        "Medians (each of a fresh process; contestants interleaved):",
        _table(["", *contestants], [_medians(results, line, contestants) for line in lines]),
    ]
    if TREADLE in contestants:
        peers = [name for name in contestants if name != TREADLE]
        parts += [
            "treadle divided by each peer, and the target:",
            _table(
                ["", *peers, "target", "met"], [_ratios(results, line, peers) for line in lines]
            ),
        ]
    notes = list(_notes(results))
    return "\n\n".join(parts + (["\n".join(notes)] if notes else [])) + "\n"


def _lines(results: Results) -> Iterator[Line]:
    for row in ROWS:
        if row.name in results.entries:
            for figure in row.figures:
                yield row.name, figure


def _facts(results: Results) -> str:
    facts = {"date": results.date, **results.machine}
    facts["versions"] = ", ".join(f"{name} {text}" for name, text in results.versions.items())
    facts["settings"] = ", ".join(f"{name} {value}" for name, value in results.settings.items())
    return "\n".join(f"- {name}: {text}" for name, text in facts.items())


def _medians(results: Results, line: Line, contestants: list[str]) -> list[str]:
    row, figure = line
    medians = [results.median(row, name, figure) for name in contestants]
    return [figure.title, *(quantity(value, figure.unit) for value in medians)]


def _ratios(results: Results, line: Line, peers: list[str]) -> list[str]:
    row, figure = line
    ratios = [results.ratio(row, peer, figure) for peer in peers]
    met = {True: "yes", False: "no", None: "-"}[results.met(row, figure)]
    targets = ", ".join(_target(target, figure) for target in figure.targets)
    return [figure.title, *("-" if r is None else f"{r:.3g}" for r in ratios), targets, met]


def _target(target: Target, figure: Figure) -> str:
    if target.peer is None:
        return f"at most {quantity(target.limit, figure.unit)}"
    if target.ratio == 1:
        return f"below {target.peer}"
    ratio = Fraction(target.ratio).limit_denominator(20) if target.ratio < 1 else target.ratio
    return f"{ratio} of {target.peer}"


def _notes(results: Results) -> Iterator[str]:
    rows: dict[tuple[str, str], list[str]] = {}
    for row, entries in results.entries.items():
        for name, entry in entries.items():
            if entry.note:
                rows.setdefault((name, entry.note), []).append(row)
    for (name, note), affected in rows.items():
        yield f"- {name}: {note} ({', '.join(affected)})"


def quantity(value: float | None, unit: str) -> str:
    """Format a value: seconds as "1.4 us" or the like, bytes in KiB, None as "-"."""
    if value is None:
        return "-"
    if unit == "B":
        return f"{value / 1024:.2f} KiB"
    for scale, name in ((1.0, "s"), (1e-3, "ms"), (1e-6, "us")):
        if value >= scale:
            return f"{value / scale:.3g} {name}"
    return f"{value * 1e9:.3g} ns"


def _table(head: list[str], body: list[list[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(head, *body, strict=True)]
    rows = [head, ["-" * width for width in widths], *body]
    return "\n".join(
        "| " + " | ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)) + " |"
        for row in rows
    )
