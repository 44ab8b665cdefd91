"""Task groups: when the block ends, every greenlet has ended that was spawned in it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from treadle._core import taskgroup as core_taskgroup
from treadle._core.taskgroup import started
from treadle.greenlet import Greenlet

__all__ = ["TaskGroup", "gather", "race", "started"]

P = ParamSpec("P")
R = TypeVar("R")


class TaskGroup(core_taskgroup.TaskGroup):
    """A block of code, ``with TaskGroup() as group:``, whose greenlets end before it does.

    Its end waits for all children. The first exception, of the body or of a child, cancels the
    group: every wait in it raises :class:`~treadle.Cancelled`. When all have ended, their
    exceptions are raised together in one :class:`ExceptionGroup` (or :class:`BaseExceptionGroup`),
    in the order in which they came; nothing is printed. GreenletExit, and so a kill of a child and
    Cancelled, is no failure. KeyboardInterrupt and SystemExit are raised bare, and so is a Timeout
    or another exception that came to the greenlet of the block from outside, if nothing else has
    failed.

    At most *limit* greenlets run at once; :meth:`spawn` waits for a place. *name* appears in texts.
    With *adopt*, greenlets and patched threads that code inside the block starts by other means
    become children too. gevent's words keep their meaning inside a group.
    """

    if TYPE_CHECKING:

        def spawn(self, func: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Greenlet[R]:
            """Start ``func(*args, **kwargs)`` in a greenlet that is a child; return it."""


def gather(*functions: Callable[[], R], limit: int | None = None) -> list[R]:
    """Call all *functions* at the same time, each in a greenlet, and return their values in order.

    At most *limit* run at once. If one raises, the others are cancelled, and their exceptions are
    raised as by a :class:`TaskGroup`.
    """
    with TaskGroup(limit, name="gather") as group:
        greenlets = [group.spawn(function) for function in functions]
    return [greenlet.get() for greenlet in greenlets]


def race(*functions: Callable[[], R]) -> R:
    """Call all *functions* at the same time, and return the value of the first that returns.

    The others are cancelled and have ended then. If all raise, their exceptions are raised in one
    ExceptionGroup; an exception that one raises after another has returned is raised as well.
    Raises ValueError without functions.
    """
    if not functions:
        raise ValueError("race() needs a function to call")
    values: list[R] = []
    failures: list[Exception] = []

    def run(function: Callable[[], R]) -> None:
        try:
            values.append(function())
        except Exception as exc:
            if values:
                raise
            failures.append(exc)
        else:
            group.cancel("the race is won")

    with TaskGroup(name="race") as group:
        for function in functions:
            group.spawn(run, function)
    if values:
        return values[0]
    if not failures:
        raise RuntimeError("no function has returned: all greenlets of the race were killed")
    raise ExceptionGroup("all functions have failed", failures)


core_taskgroup.greenlet_class = Greenlet
