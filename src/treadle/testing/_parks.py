"""An exception, or a call, at each place where a function waits."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from treadle._core.chooser import Chooser
from treadle.greenlet import getcurrent
from treadle.testing._run import (
    MOST_STEPS,
    Allowed,
    One,
    Outcome,
    World,
    check_number,
    is_allowed,
    name_of,
    worlds,
)
from treadle.testing._threads import in_main_greenlet

T = TypeVar("T")


def at_every_park(
    fn: Callable[[], T],
    *,
    raises: BaseException | type[BaseException] | None = None,
    call: Callable[[], object] | None = None,
    check: Callable[[], object] | None = None,
    leaks: bool = True,
    limit: int = MOST_STEPS,
) -> int:
    """Call *fn* once to count its waits, then once for each, disturbed there; return the count.

    *raises* is raised out of that wait, as a kill or a timeout would be; *call* is called in the
    hub at that moment. *fn* may let *raises* out. *check* is called after each run, to look at
    invariants. Only waits of the greenlet that runs *fn* count, not those of others it starts. A
    wait that must not be ended, because its work is done, returns first: then the next one raises.

    Raises ValueError unless one of *raises* and *call* is given. What else *fn*, *check* or a
    greenlet raises, a deadlock and a leak are raised with a note that says at which wait.
    """
    if (raises is None) == (call is None):
        raise ValueError("give one of raises and call")
    kind = raises if isinstance(raises, type) else type(raises)
    if raises is not None and not issubclass(kind, BaseException):
        raise ValueError(f"raises must be an exception or a class of them, not {raises!r}")
    check_number("limit", limit, 1)
    # In a partial object, because a class may be called, and would look like one to be raised.
    disturbance = raises if call is None else partial(call)
    world = World(leaks=leaks, limit=limit)

    def every() -> int:
        with worlds(world, name_of(fn)) as one:
            outcome = _attempt(one, fn, None, limit, ())
            _judge(outcome, (), check, "undisturbed")
            count = outcome.chooser.parks
            allowed: Allowed = () if raises is None else raises
            for number in range(count):
                outcome = _attempt(one, fn, {number: disturbance}, limit, allowed)
                _judge(outcome, allowed, check, f"disturbed at wait {number} of {count}")
        return count

    return in_main_greenlet(every)


def _attempt(
    one: One, fn: Callable[[], T], at: dict[int, Any] | None, limit: int, allowed: Allowed
) -> Outcome[T]:
    chooser = Chooser(most=limit)
    chooser.watched = getcurrent()  # the run puts its own greenlet there
    chooser.at_park = at
    return one(fn, chooser, allowed)


def _judge(
    outcome: Outcome[Any],
    allowed: Allowed,
    check: Callable[[], object] | None,
    when: str,
) -> None:
    exception = outcome.exception
    if exception is not None and is_allowed(exception, allowed):
        exception = None
    try:
        if exception is not None:
            raise exception
        if check is not None:
            check()
    except BaseException as exc:
        exc.add_note(f"treadle.testing.at_every_park: {when}")
        raise
