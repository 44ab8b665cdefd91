"""Which schedules are tried, in which order."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Protocol

from treadle._core.chooser import FIFO, PRIORITIES, RANDOM, Chooser


class Strategy(Protocol):
    """Yields choosers; each is run, and says then what choices there were."""

    #: Whether all schedules have been tried, of those that the bound allows.
    exhausted: bool

    def choosers(self, most: int) -> Iterator[Chooser]:
        """A chooser for each schedule, for at most *most* steps."""


class Random:
    """At each choice any option, with equal probability. The first schedule is FIFO."""

    exhausted = False

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def choosers(self, most: int) -> Iterator[Chooser]:
        yield Chooser(FIFO, most=most)
        number = 0
        while True:
            yield Chooser(RANDOM, seed=_mix(self._seed, number), most=most)
            number += 1


class Priorities:
    """Probabilistic concurrency testing: random priorities, changed at *depth* - 1 random places.

    Of n choices among k greenlets it finds a fault that needs *depth* ordered events with a
    probability of at least 1 / (k * n ** (depth - 1)) in each schedule (Burckhardt and others,
    2010). The first schedule is FIFO.
    """

    exhausted = False

    def __init__(self, seed: int, depth: int) -> None:
        self._source = random.Random(seed)
        self._depth = depth

    def choosers(self, most: int) -> Iterator[Chooser]:
        first = Chooser(FIFO, most=most)
        yield first
        length = max(len(first.taken), 1)
        while True:
            depth = self._source.randint(1, self._depth)
            changes = [self._source.randrange(length) for _ in range(depth - 1)]
            chooser = Chooser(
                PRIORITIES, seed=self._source.getrandbits(64), changes=changes, most=most
            )
            yield chooser
            length = max(length, len(chooser.taken))


class DepthFirst:
    """All schedules with at most *bound* departures from FIFO (None: all), one after the other."""

    def __init__(self, bound: int | None) -> None:
        self._bound = bound
        self.exhausted = False

    def choosers(self, most: int) -> Iterator[Chooser]:
        prefix: list[int] | None = []
        while prefix is not None:
            chooser = Chooser(FIFO, dict(enumerate(prefix)), most=most)
            yield chooser
            prefix = self._next(chooser.options, chooser.taken)
        self.exhausted = True

    def _next(self, options: list[int], taken: list[int]) -> list[int] | None:
        """The next prefix in order: the last choice that has another option takes it."""
        departures = [0]
        for option in taken:
            departures.append(departures[-1] + (option > 0))
        for at in range(len(taken) - 1, -1, -1):
            allowed = self._bound is None or departures[at] < self._bound
            if taken[at] + 1 < options[at] and allowed:
                return [*taken[:at], taken[at] + 1]
        return None


def _mix(seed: int, number: int) -> int:
    return (seed * 0x9E3779B97F4A7C15 + number * 0xD1342543DE82EF95 + 1) & 0xFFFFFFFFFFFFFFFF
