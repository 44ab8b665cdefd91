"""Waiting for several objects at once: gevent's ``iwait`` and ``wait``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Any

from treadle._core.collector import Collector, deadline_after
from treadle._core.hub import get_current_hub


class WaitIterator:
    """Yields objects as they become ready; as a context manager it forgets the rest at its end."""

    def __init__(self, objects: Iterable[Any], timeout: float | None, count: int | None) -> None:
        self._objects = list(objects)
        for obj in self._objects:
            if not hasattr(obj, "rawlink"):
                raise TypeError(f"cannot wait for {obj!r}: it has no rawlink()")
        self._timeout = timeout
        total = len(self._objects)
        self._left = total if count is None else min(count, total)
        self._collector: Collector | None = None
        self._yielded = 0
        self._deadline: int | None = None

    def _begin(self) -> Collector:
        if self._collector is None:
            self._collector = collector = Collector()
            self._deadline = deadline_after(self._timeout)
            for obj in self._objects:
                obj.rawlink(collector)
        return self._collector

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        if self._left <= 0:
            self._end()
            raise StopIteration
        try:
            came = self._begin().wait_for(self._yielded + 1, self._deadline)
        except BaseException:
            self._end()
            raise
        if not came:
            self._left = 0
            return self.__next__()
        self._left -= 1
        self._yielded += 1
        return self._begin().ready[self._yielded - 1]

    def all(self) -> list[Any]:
        """Wait for all that is still to come, with one wake-up, and return them."""
        try:
            if self._left > 0:
                self._begin().wait_for(self._yielded + self._left, self._deadline)
            ready = [] if self._collector is None else self._collector.ready
            return ready[self._yielded : self._yielded + self._left]
        finally:
            self._end()

    def _end(self) -> None:
        objects, self._objects, self._left = self._objects, [], 0
        if self._collector is not None:
            for obj in objects:
                obj.unlink(self._collector)

    def __enter__(self) -> WaitIterator:
        return self

    def __exit__(
        self,
        typ: type[BaseException] | None,
        value: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self._end()


def iwait(
    objects: Iterable[Any] | None, timeout: float | None = None, count: int | None = None
) -> WaitIterator | list[bool]:
    """Yield *objects* as they become ready, until all (or *count*) are or time is up.

    *objects* are greenlets, events, semaphores, results, child processes: whatever has
    ``rawlink(callback)`` and ``unlink(callback)``. *timeout* is in seconds from the first
    ``next()``. Use it in a ``with`` statement if you may stop before its end. With *objects* None
    it waits as :func:`wait` does.
    """
    if objects is None:
        return [get_current_hub().wait_until_idle(timeout)]
    return WaitIterator(objects, timeout, count)


def wait(
    objects: Iterable[Any] | None = None, timeout: float | None = None, count: int | None = None
) -> Any:
    """Wait until *objects* (or *count* of them) are ready, at most *timeout* seconds.

    Returns those that are, in the order in which they became ready. With *objects* None waits
    until nothing is left to run or to wait for in this thread; true if that came in time.
    """
    if objects is None:
        return get_current_hub().wait_until_idle(timeout)
    return WaitIterator(objects, timeout, count).all()
