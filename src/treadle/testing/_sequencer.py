"""Blocks of code in a given order, whichever greenlet runs them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from treadle.event import Event


class Sequencer:
    """Orders blocks in different greenlets: ``with sequencer(0): ...``, ``with sequencer(1): ...``.

    The block with number *n* begins once that with *n - 1* has ended; 0 begins at once. Each number
    is used once. trio's class of this name is the model.
    """

    __module__ = __package__

    def __init__(self) -> None:
        self._ended: dict[int, Event] = {}
        self._begun: set[int] = set()

    def _event(self, position: int) -> Event:
        return self._ended.setdefault(position, Event())

    @contextmanager
    def __call__(self, position: int) -> Iterator[None]:
        """Wait for the block before, run this one, let the next begin.

        Raises ValueError for a negative or used number. A block that raises lets the next begin
        all the same.
        """
        if position < 0 or position in self._begun:
            raise ValueError(f"the number {position!r} is negative, or was used before")
        self._begun.add(position)
        if position > 0:
            self._event(position - 1).wait()
        try:
            yield
        finally:
            self._event(position).set()
