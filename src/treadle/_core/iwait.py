"""Waiting for several objects at once: gevent's ``iwait`` and ``wait``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import Any, Generic, Protocol, TypeVar, overload

from treadle._core.collector import Collector, deadline_after
from treadle._core.hub import get_current_hub

__all__ = ["SupportsLink", "WaitIterator", "iwait", "wait"]


class SupportsLink(Protocol):
    """An object to wait for: a greenlet, event, semaphore, result or child process."""

    def rawlink(self, callback: Callable[[Any], object], /) -> object:
        """Call ``callback(self)`` in the hub once this object is ready."""

    def unlink(self, callback: Callable[[Any], object], /) -> object:
        """Remove *callback*: do not call it any more."""


T = TypeVar("T", bound=SupportsLink)


class WaitIterator(Generic[T]):
    """Yields objects as they become ready.

    As a context manager it unlinks the objects that are left when the block ends.
    """

    def __init__(self, objects: Iterable[T], timeout: float | None, count: int | None) -> None:
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

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
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
        ready: list[T] = self._begin().ready
        return ready[self._yielded - 1]

    def all(self) -> list[T]:
        """Wait for the objects that were not yielded yet, with one wake-up, and return them."""
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

    def __enter__(self) -> WaitIterator[T]:
        return self

    def __exit__(
        self,
        typ: type[BaseException] | None,
        value: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self._end()


@overload
def iwait(
    objects: Iterable[T], timeout: float | None = None, count: int | None = None
) -> WaitIterator[T]: ...
@overload  # for lists of several types, whose join mypy takes for object
def iwait(  # type: ignore[overload-cannot-match]
    objects: Iterable[SupportsLink], timeout: float | None = None, count: int | None = None
) -> WaitIterator[SupportsLink]: ...
@overload
def iwait(objects: None, timeout: float | None = None, count: int | None = None) -> list[bool]: ...
def iwait(
    objects: Iterable[T] | None, timeout: float | None = None, count: int | None = None
) -> WaitIterator[T] | list[bool]:
    """Yield *objects* as they become ready, until all (or *count*) are ready or time is up.

    *objects* are greenlets, events, semaphores, results, child processes, or other objects with
    ``rawlink(callback)`` and ``unlink(callback)``. Raises TypeError for anything else. *timeout*
    is in seconds from the first ``next()``. Use the iterator in a ``with`` statement if you may
    stop before its end. If *objects* is None, wait as ``wait(None, timeout)`` does and return a
    list of its result. The interface is gevent's.
    """
    if objects is None:
        return [get_current_hub().wait_until_idle(timeout)]
    return WaitIterator(objects, timeout, count)


@overload
def wait(
    objects: Iterable[T], timeout: float | None = None, count: int | None = None
) -> list[T]: ...
@overload  # for lists of several types, whose join mypy takes for object
def wait(  # type: ignore[overload-cannot-match]
    objects: Iterable[SupportsLink], timeout: float | None = None, count: int | None = None
) -> list[SupportsLink]: ...
@overload
def wait(objects: None = None, timeout: float | None = None, count: int | None = None) -> bool: ...
def wait(
    objects: Iterable[T] | None = None, timeout: float | None = None, count: int | None = None
) -> list[T] | bool:
    """Wait until all *objects* (or *count* of them) are ready, *timeout* seconds at most.

    Return the objects that are ready, in the order in which they became ready. If *objects* is
    None, wait until the current thread has nothing left to run or to wait for; return True if that
    happened in time, else False. The interface is gevent's.
    """
    if objects is None:
        return bool(get_current_hub().wait_until_idle(timeout))
    return WaitIterator(objects, timeout, count).all()
