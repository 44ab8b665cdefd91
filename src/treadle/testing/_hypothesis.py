"""Schedules drawn by Hypothesis, which shrinks them itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from treadle._core.chooser import ASK, Chooser
from treadle._core.native import allocate_lock
from treadle.hub import get_hub
from treadle.testing._run import MOST_STEPS, World, check_number, name_of, worlds
from treadle.testing._threads import Helper

T = TypeVar("T")


class _Caller:
    """Draws where the test runs, because Hypothesis keeps its state by thread and greenlet."""

    def __init__(self, draw: Callable[[int], int]) -> None:
        self._draw = draw
        self._asked, self._answered = allocate_lock(), allocate_lock()
        self._asked.acquire()
        self._answered.acquire()
        self._options = self._option = 0
        self._failed: BaseException | None = None

    def ask(self, n: int) -> int:
        """In the hub of a run: the option that the caller draws."""
        if self._failed is None:
            self._options = n
            self._asked.release()
            self._answered.acquire()
            if self._failed is None:
                return self._option
            # No exception may go out here: it ends the run instead.
            get_hub().interrupt_main(self._failed)
        return 0

    def serve(self, once: Callable[[], T]) -> T:
        """Call *once* in a native thread, and answer what it asks meanwhile."""

        def call() -> T:
            try:
                return once()
            finally:
                self._options = 0
                self._asked.release()

        helper = Helper(call)
        while True:
            try:
                helper.wait(self._asked)
            except BaseException as exc:
                self._failed = exc
                self._answered.release()  # it may be about to ask
                helper.end(exc)
                raise
            if self._options == 0:
                break
            try:
                self._option = self._draw(self._options)
            except BaseException as exc:
                self._failed = exc
            self._answered.release()
        helper.join()
        return helper.result()


class Schedule:
    """A schedule whose choices are drawn when they come; see :func:`schedules`."""

    __module__ = __package__

    def __init__(self, draw: Callable[[int], int]) -> None:
        self._draw = draw

    def run(
        self,
        fn: Callable[[], T],
        *,
        leaks: bool = True,
        strict: bool = False,
        limit: int = MOST_STEPS,
    ) -> T:
        """Call *fn* under this schedule, as :func:`treadle.testing.run` does; return its value."""
        check_number("limit", limit, 1)
        caller = _Caller(self._draw)

        def once() -> T:
            with worlds(World("virtual", strict, 0, leaks, False, limit), name_of(fn)) as one:
                outcome = one(fn, Chooser(ASK, ask=caller.ask, most=limit))
            if outcome.exception is not None:
                raise outcome.exception
            return outcome.value  # type: ignore[return-value]

        return caller.serve(once)

    def __repr__(self) -> str:
        return "Schedule()"


def schedules() -> Any:
    """A Hypothesis strategy of :class:`Schedule`: ``@given(schedules())``.

    Raises ImportError without Hypothesis.
    """
    from hypothesis import strategies  # for its users only

    @strategies.composite
    def drawn(draw: Any) -> Schedule:
        data = draw(strategies.data())
        return Schedule(lambda n: int(data.draw(strategies.integers(0, n - 1))))

    return drawn()
