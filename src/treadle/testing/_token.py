"""Schedules as short texts: the seed, whether operations are interrupted, and the departures."""

from __future__ import annotations

import re
from typing import NamedTuple

_FORM = re.compile(r"t1:(-?\d+):(ops|parks):((?:\d+\.\d+(?:,\d+\.\d+)*)?)")


class Token(NamedTuple):
    """A schedule: at choice *n* option *k* is taken, and first in, first out everywhere else."""

    seed: int
    preempt: bool
    departures: dict[int, int]

    def __str__(self) -> str:
        steps = ",".join(f"{number}.{option}" for number, option in sorted(self.departures.items()))
        return f"t1:{self.seed}:{'ops' if self.preempt else 'parks'}:{steps}"

    @classmethod
    def parse(cls, text: str) -> Token:
        """Read what ``str()`` wrote. Raises ValueError for anything else."""
        match = _FORM.fullmatch(text.strip())
        if match is None:
            raise ValueError(f"{text!r} is no token of a schedule, like 't1:0:parks:3.1,7.2'")
        seed, where, steps = match.groups()
        pairs = [step.split(".") for step in steps.split(",") if step]
        departures = {int(number): int(option) for number, option in pairs}
        return cls(int(seed), where == "ops", departures)
