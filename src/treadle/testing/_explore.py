"""Many schedules of one function: find one that fails, make it small, run it again."""

from __future__ import annotations

import sys
import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from textwrap import indent
from typing import Any, Literal, TypeVar

from treadle._core.chooser import FIFO, Chooser
from treadle.greenlet import getcurrent
from treadle.observe.text import safe_repr
from treadle.testing._clock import real_time
from treadle.testing._openings import is_own
from treadle.testing._run import (
    MOST_STEPS,
    HangError,
    NondeterminismError,
    One,
    Outcome,
    World,
    check_choice,
    check_number,
    check_seed,
    name_of,
    worlds,
)
from treadle.testing._strategies import DepthFirst, Priorities, Random, Strategy
from treadle.testing._threads import in_main_greenlet
from treadle.testing._token import Token

T = TypeVar("T")

STRATEGIES = ("random", "pct", "dfs")
PREEMPTIONS = ("parks", "ops")
#: One schedule of so many is run twice, and must do the same again.
CHECKED = 20
#: How many places of a stack are shown.
SHOWN = 3
#: How many runs shrinking may take, and how many steps in all of them.
SHRINK_RUNS = 4000
SHRINK_STEPS = 5_000_000
#: How many departures are shown.
SHOWN_DEPARTURES = 20
#: The longest token that is shown.
SHOWN_TOKEN = 1000


class ScheduleFailure(AssertionError):
    """A schedule under which the function failed, made as small as could be.

    ``str()`` shows the exception, the departures from first-in-first-out with the stacks of the
    two greenlets that each is about, and how to run it again.
    """

    __module__ = __package__

    def __init__(self, text: str, token: str, exception: BaseException, schedules: int) -> None:
        super().__init__(text)
        #: The schedule, for :func:`replay`.
        self.token = token
        #: What was raised under it.
        self.exception = exception
        #: How many schedules were tried until it was found.
        self.schedules = schedules

    def __reduce__(self) -> tuple[Any, ...]:
        arguments = str(self), self.token, self.exception, self.schedules
        return type(self), arguments, vars(self)


@dataclass(frozen=True)
class Report:
    """What :func:`explore` did, when nothing failed."""

    __module__ = __package__

    #: How many schedules were run.
    schedules: int
    #: Whether these were all there are, within the bound.
    exhausted: bool
    #: The most choices that one schedule had.
    choices: int
    #: How long it took, in seconds.
    seconds: float


def explore(
    fn: Callable[[], object],
    *,
    strategy: Literal["random", "pct", "dfs"] = "random",
    schedules: int | None = 1000,
    bound: int | None = 3,
    seconds: float | None = None,
    seed: int | None = None,
    preempt: Literal["parks", "ops"] = "parks",
    leaks: bool = True,
    strict: bool = False,
    limit: int = MOST_STEPS,
) -> Report:
    """Call *fn* under many schedules, on a virtual clock; raise for the first that fails.

    A schedule says which ready greenlet runs next at each switch, in which order equal deadlines
    fire, and, with *preempt* "ops", whether an operation on a lock, event or queue that need not
    wait switches all the same. *fn* must start from the same state each time.

    *strategy* "random" takes any option at each choice; "pct" runs by random priorities that change
    at up to *bound* - 1 places; "dfs" goes through all schedules with at most *bound* departures
    from first-in-first-out (None: all there are). It stops after *schedules* runs or *seconds*
    (None: no limit). *seed* decides the random ones (None: 0).

    A schedule fails if *fn* raises, if nothing can ever wake a waiting greenlet, if no code takes
    the exception of a greenlet that failed, if something leaks (see :func:`run`), or after *limit*
    steps. Raises :class:`ScheduleFailure` then; :class:`NondeterminismError` if the same schedule
    did different things.
    """
    check_choice("strategy", strategy, STRATEGIES)
    check_choice("preempt", preempt, PREEMPTIONS)
    check_number("limit", limit, 1)
    if schedules is not None:
        check_number("schedules", schedules, 1)
    if bound is not None:
        # A depth counts ordered events, so there is at least one.
        check_number("bound", bound, 1 if strategy == "pct" else 0)
    check_seed(seed)
    world = World("virtual", strict, seed or 0, leaks, preempt == "ops", limit)
    chosen: Strategy
    match strategy:
        case "random":
            chosen = Random(seed or 0)
        case "pct":
            chosen = Priorities(seed or 0, 3 if bound is None else bound)
        case "dfs":
            chosen = DepthFirst(bound)
    __tracebackhide__ = True
    return in_main_greenlet(partial(_explore, fn, chosen, world, schedules, seconds))


def replay(
    fn: Callable[[], T],
    token: str,
    *,
    leaks: bool = True,
    strict: bool = False,
    limit: int = MOST_STEPS,
) -> T:
    """Call *fn* by the schedule that :func:`explore` found; raise what was raised there.

    Give it the same *leaks*, *strict* and *limit*: the token does not have them. Returns *fn*'s
    value if it does not fail. Raises ValueError for a text that is no token.
    """
    check_number("limit", limit, 1)
    seed, preempt, departures = Token.parse(token)
    world = World("virtual", strict, seed, leaks, preempt, limit)

    def once() -> T:
        with worlds(world, name_of(fn)) as one:
            outcome = one(fn, Chooser(FIFO, departures, most=world.limit))
        if outcome.exception is not None:
            raise outcome.exception
        return outcome.value  # type: ignore[return-value]

    __tracebackhide__ = True
    return in_main_greenlet(once)


def _explore(
    fn: Callable[[], object],
    strategy: Strategy,
    world: World,
    schedules: int | None,
    seconds: float | None,
) -> Report:
    __tracebackhide__ = True
    began = real_time()
    tried = most = 0
    with worlds(world, name_of(fn)) as one:
        for chooser in strategy.choosers(world.limit):
            over = seconds is not None and real_time() - began >= seconds
            if over or (schedules is not None and tried >= schedules):
                break
            if tried % CHECKED == 1:
                chooser.log = []
            outcome = one(fn, chooser)
            tried += 1
            most = max(most, len(chooser.taken))
            if outcome.exception is not None:
                if isinstance(outcome.exception, (HangError, *_verdicts())):
                    raise outcome.exception  # nobody would stop a hang a second time
                raise _Shrinking(one, fn, world, outcome).failure(tried) from outcome.exception
            if chooser.log is not None:
                _check_again(one, fn, chooser, world)
    return Report(tried, strategy.exhausted, most, real_time() - began)


def _verdicts() -> list[type[BaseException]]:
    """What ends a test that has not failed."""
    found = [
        getattr(sys.modules.get(module), name, None)
        for module, name in (
            ("unittest.case", "SkipTest"),
            ("_pytest.outcomes", "Skipped"),
            ("_pytest.outcomes", "XFailed"),
            ("_pytest.outcomes", "Exit"),
        )
    ]
    return [each for each in found if each is not None]


def _fault(exception: BaseException | None) -> object:
    """What makes two failures the same: the class, and the line of the program that raised."""
    if exception is None:
        return None
    if isinstance(exception, BaseExceptionGroup):
        return type(exception), *map(_fault, exception.exceptions)
    where = None
    tb = exception.__traceback__
    while tb is not None:
        filename = tb.tb_frame.f_code.co_filename
        if not is_own(filename):
            where = filename, tb.tb_lineno
        tb = tb.tb_next
    return type(exception), where


def _check_again(one: One, fn: Callable[[], object], before: Chooser, world: World) -> None:
    again = Chooser(FIFO, _departures(before), most=world.limit)
    again.log = []
    outcome: Outcome[object] = one(fn, again)
    if again.log == before.log and outcome.exception is None:
        return
    first, second = before.log or [], again.log
    at = next(
        (i for i, (a, b) in enumerate(zip(first, second, strict=False)) if a != b),
        min(len(first), len(second)),
    )
    raise NondeterminismError(
        f"the same schedule was run twice, and differs at step {at}: "
        f"first {_line(first, at)!r}, then {_line(second, at)!r}"
    ) from outcome.exception


def _line(log: list[str], at: int) -> str:
    return log[at] if at < len(log) else "the end"


def _departures(chooser: Chooser) -> dict[int, int]:
    return {number: option for number, option in enumerate(chooser.taken) if option}


class _Shrinking:
    """Looks for the smallest schedule that fails as a given one does."""

    def __init__(
        self, one: One, fn: Callable[[], object], world: World, outcome: Outcome[object]
    ) -> None:
        self._one = one
        self._fn = fn
        self._world = world
        assert outcome.exception is not None
        self._fault = _fault(outcome.exception)
        self._runs = self._steps = 0
        self._best = outcome
        self._take(outcome)

    def _take(self, outcome: Outcome[object]) -> None:
        self._best = outcome
        self._departures = _departures(outcome.chooser)

    def _try(self, departures: dict[int, int]) -> bool:
        """Whether these departures fail as well; they are the best so far then."""
        return self._run(Chooser(FIFO, departures, most=self._world.limit))

    def _run(self, chooser: Chooser) -> bool:
        if self._spent():
            return False
        outcome: Outcome[object] = self._one(self._fn, chooser)
        self._runs += 1
        self._steps += chooser.steps
        if _fault(outcome.exception) != self._fault:
            return False
        if len(_departures(chooser)) > len(self._departures):
            return False
        self._take(outcome)
        return True

    def _spent(self) -> bool:
        return self._runs >= SHRINK_RUNS or self._steps >= SHRINK_STEPS

    def _remove_blocks(self) -> None:
        size = len(self._departures)
        while size > 0:
            at = 0
            while at < len(self._departures) and not self._spent():
                kept = sorted(self._departures.items())
                if not self._try(dict(kept[:at] + kept[at + size :])):
                    at += size
            size //= 2

    def _lower(self) -> None:
        for number, option in sorted(self._departures.items()):
            for lower in range(1, option):
                if self._spent() or self._try({**self._departures, number: lower}):
                    break

    def _try_fewer(self) -> None:
        """Go through all schedules with one departure, then two, and so on, as runs are left."""
        for bound in range(1, len(self._departures)):
            for chooser in DepthFirst(bound).choosers(self._world.limit):
                if self._spent() or self._run(chooser):
                    return

    def failure(self, tried: int) -> ScheduleFailure:
        if self._departures:
            self._remove_blocks()
            self._lower()
            self._try_fewer()
        token = str(Token(self._world.seed, self._world.preempt, self._departures))
        shown: list[str] = []
        chooser = Chooser(FIFO, self._departures, most=self._world.limit)
        chooser.on_choice = partial(self._show, shown)
        outcome: Outcome[object] = self._one(self._fn, chooser)
        exception = outcome.exception
        if exception is None or _fault(exception) != self._fault:
            if isinstance(exception, HangError):
                raise exception
            first = self._best.exception
            then = "passed" if exception is None else safe_repr(exception)
            raise NondeterminismError(
                f"schedule {tried} failed by {safe_repr(first)}, and when it was run again: {then}"
            ) from first
        where = "".join(shown) or "It fails first in, first out: no order is to blame.\n"
        named = repr(token) if len(token) <= SHOWN_TOKEN else "failure.token"
        raised = f"{type(exception).__name__}: {safe_repr(exception, str)}"
        text = (
            f"schedule {tried} fails by {raised}\n{where}"
            f"To run it again: treadle.testing.replay(fn, {named})"
        )
        return ScheduleFailure(text, token, exception, tried)

    def _show(self, shown: list[str], number: int, option: int, who: Any, other: Any) -> None:
        if len(shown) >= SHOWN_DEPARTURES:
            shown[SHOWN_DEPARTURES:] = ["It departs more often; the token has all of them.\n"]
            return
        text = f"At choice {number} it departs from first in, first out.\n"
        if who is None and other is None:
            text += "  Another timer or callback comes first.\n"
        elif who is None:
            text += f"  {safe_repr(other)} lets the others run first:\n{_stack(other)}"
        else:
            text += f"  {safe_repr(who)} runs:\n{_stack(who)}"
            if other is not None:
                text += f"  before {safe_repr(other)}, which was ready first:\n{_stack(other)}"
        shown.append(text)


def _stack(greenlet: Any) -> str:
    frame = sys._getframe() if greenlet is getcurrent() else greenlet.gr_frame
    places = [] if frame is None else traceback.extract_stack(frame)
    # Those of the tested program, not of what runs and stops it.
    places = [
        place
        for place in places
        if not is_own(place.filename) and place.filename != threading.__file__
    ]
    if not places:
        return "    (it begins)\n"
    return indent("".join(traceback.format_list(places[-SHOWN:])), "  ")
