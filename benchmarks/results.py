"""The results of a run: samples by row and contestant, medians, and whether targets are met."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median

from .rows import Figure, Target

TREADLE = "treadle"


@dataclass
class Entry:
    """The samples of a contestant in a row, or a note that says why there are none."""

    samples: list[dict[str, float]] = field(default_factory=list)
    note: str = ""
    failed: bool = False

    def median(self, key: str) -> float | None:
        return median(sample[key] for sample in self.samples) if self.samples else None


@dataclass
class Results:
    """The entries of a run, as `entries[row][contestant]`, and facts about the run."""

    date: str
    machine: dict[str, str]
    settings: dict[str, object]
    versions: dict[str, str] = field(default_factory=dict)
    entries: dict[str, dict[str, Entry]] = field(default_factory=dict)

    def median(self, row: str, contestant: str, figure: Figure) -> float | None:
        entry = self.entries[row].get(contestant)
        return entry.median(figure.key) if entry else None

    def ratio(self, row: str, peer: str, figure: Figure) -> float | None:
        """Return treadle's figure divided by the peer's; None unless both have one."""
        own, theirs = self.median(row, TREADLE, figure), self.median(row, peer, figure)
        return own / theirs if own is not None and theirs else None

    def goal(self, row: str, figure: Figure) -> float | None:
        """Return the figure that treadle must not exceed; None if a target's peer has no figure."""
        limits = [self._limit(row, figure, target) for target in figure.targets]
        return None if None in limits else min(limit for limit in limits if limit is not None)

    def met(self, row: str, figure: Figure) -> bool | None:
        """Return whether treadle reaches its goal; None if a figure is missing."""
        own, goal = self.median(row, TREADLE, figure), self.goal(row, figure)
        return None if own is None or goal is None else own <= goal

    def failures(self) -> list[str]:
        return [
            f"{row}: {contestant}: {entry.note}"
            for row, entries in self.entries.items()
            for contestant, entry in entries.items()
            if entry.failed
        ]

    def save(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self), indent=1) + "\n")

    def _limit(self, row: str, figure: Figure, target: Target) -> float | None:
        if target.peer is None:
            return target.limit
        theirs = self.median(row, target.peer, figure)
        return None if theirs is None else theirs * target.ratio
