"""Schedules drawn by Hypothesis, which shrinks them itself."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import copy_context
from typing import Any, TypeVar

from treadle._core.chooser import ASK, Chooser
from treadle.hub import get_hub
from treadle.testing._run import MOST_STEPS, World, in_main_greenlet, worlds

T = TypeVar("T")


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
        context = copy_context()  # Hypothesis keeps there which test it runs
        failed: list[BaseException] = []

        def ask(n: int) -> int:
            # The hub asks, where no exception may go out: one ends the run instead.
            if failed:
                return 0
            try:
                return context.run(self._draw, n)
            except BaseException as exc:
                failed.append(exc)
                get_hub().interrupt_main(exc)
                return 0

        def once() -> T:
            with worlds(World("virtual", strict, 0, leaks, False, limit)) as one:
                outcome = one(fn, Chooser(ASK, ask=ask, most=limit))
            if outcome.exception is not None:
                raise outcome.exception
            return outcome.value  # type: ignore[return-value]

        return in_main_greenlet(once)

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
