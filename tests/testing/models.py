"""Sequential models of treadle's primitives, and the engine that compares programs with them.

A program is a few scripts of operations; each script runs in a greenlet, on one shared primitive.
A run records when each operation began, when it ended and how. `explained` then looks for an order
of atomic steps, each inside the span of its operation, that a sequential model allows and that
leaves the primitive as it was found. It is asked twice: when nothing goes on by itself, where no
operation that still waits may be able to go on in the model, and after all that wait were killed.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import count, cycle, product
from typing import Any, ClassVar, NamedTuple

import treadle
from treadle.event import AsyncResult, Event
from treadle.lock import BoundedSemaphore, Condition, RLock, Semaphore
from treadle.pool import Group, Pool, PoolFull
from treadle.queue import (
    Channel,
    Empty,
    Full,
    LifoQueue,
    PriorityQueue,
    Queue,
    ShutDown,
    SimpleQueue,
)
from treadle.testing import ScheduleFailure, explore

#: Virtual seconds after which all that still waits is taken to wait for ever.
QUIESCENCE = 100
#: Whether a Timeout that is raised outside of its block fails a run.
STRAY_TIMEOUTS_FAIL = True


class Interrupt(Exception):
    """What a kill raises in a script that goes on afterwards."""


class Interrupted:
    """The result of an operation that a kill or a Timeout ended."""


class Waiting:
    """The result of an operation that did not end by itself."""


class Op(NamedTuple):
    """An operation: a method of the primitive, or one of sleep, kill, interrupt.

    With *within*, a Timeout of so many seconds is around it.
    """

    name: str
    args: tuple[Any, ...] = ()
    within: float | None = None


class Entry(NamedTuple):
    """An operation that a script ran: at which steps of the whole run it began and ended."""

    who: int
    op: Op
    start: int
    end: int
    result: Any


Program = tuple[tuple[Op, ...], ...]
State = Any
#: What may become of a state in one moment: nothing if the step is impossible in it.
Step = Callable[[State], Sequence[State]]
Chain = tuple[Step, ...]


def step(possible: Callable[[State], Any], change: Callable[[State], State] = lambda s: s) -> Step:
    """A step that is possible in some states, and what it makes of them."""
    return lambda state: [change(state)] if possible(state) else []


def always(state: State) -> bool:
    return True


# -- the engine


class Run:
    """One program on one primitive: call it to run it and compare it with the model."""

    def __init__(self, model: Model, program: Program) -> None:
        self.model, self.program = model, program
        #: How often an operation of the first script was disturbed.
        self.hits = 0
        self.by: BaseException | None = None

    def __call__(self) -> None:
        self._begin()
        for worker in self.workers:
            worker.start()
        treadle.sleep(QUIESCENCE)
        self._end()

    def disturbed(self, by: BaseException) -> None:
        """The same, but with the first script in the greenlet of the caller, who may get *by*."""
        self._begin()
        self.by = by
        for worker in self.workers[1:]:
            worker.start()
        # The first script has to end by itself.
        self._work(0, [op._replace(within=op.within or 5) for op in self.program[0]])
        self.hits += any(entry.result is Interrupted for entry in self.entries if not entry.who)
        helper = treadle.spawn(treadle.sleep, QUIESCENCE)
        while not helper.dead:
            with suppress(type(by)):
                helper.join()
        self.workers[0].kill()
        helper = treadle.spawn(self._end)
        while not helper.dead:
            with suppress(type(by)):
                helper.join()

    def _begin(self) -> None:
        self.subject = self.model.make()
        self.entries: list[Entry] = []
        self.begun: dict[int, Entry] = {}
        self.clock = count()
        self.timeouts: list[treadle.Timeout] = []
        self.workers = [
            treadle.Greenlet(self._work, who, script) for who, script in enumerate(self.program)
        ]

    def _end(self) -> None:
        waiting = [self.begun[who] for who, each in enumerate(self.workers) if not each.dead]
        self.model.check(self.subject, [*self.entries, *waiting])
        treadle.killall(self.workers, block=True, timeout=QUIESCENCE)
        for who, worker in enumerate(self.workers):
            error = worker.exception
            if error is not None and (who in self.begun or not isinstance(error, Interrupt)):
                raise error
        self.model.check(self.subject, self.entries)
        assert self.model.waiters(self.subject) == 0

    def _work(self, who: int, script: Sequence[Op]) -> None:
        try:
            for op in script:
                self._do(who, op)
        except treadle.GreenletExit:
            pass
        finally:
            for op in self.model.last(self.subject):
                self._do(who, op)

    def _do(self, who: int, op: Op) -> None:
        start = next(self.clock)
        self.begun[who] = Entry(who, op, start, start, Waiting)
        timeout = treadle.Timeout(op.within)
        self.timeouts.append(timeout)
        result: Any = Interrupted
        try:
            with timeout:
                result = self._call(op)
        except Interrupt:
            pass
        except treadle.Timeout as exc:
            if exc not in [*self.timeouts, self.by]:
                result = type(exc)
            elif exc not in (timeout, self.by) and STRAY_TIMEOUTS_FAIL:
                raise AssertionError(f"{exc!r} is raised outside of its block") from exc
        except Exception as exc:
            result = type(exc)
        finally:
            self.entries.append(Entry(who, op, start, next(self.clock), result))

    def _call(self, op: Op) -> Any:
        match op.name:
            case "sleep":
                return treadle.sleep(*op.args)
            case "kill":
                target, block = op.args
                return self.workers[target].kill(block=block)
            case "interrupt":
                target, block = op.args
                return self.workers[target].kill(Interrupt, block=block)
        return self.model.call(self.subject, op)


CONTROL = ("sleep", "kill", "interrupt")


def explained(model: Model, entries: Iterable[Entry], found: Hashable) -> bool:
    """Whether the model can do what *entries* say and be as *found* then."""
    spans = [entry for entry in entries if entry.op.name not in CONTROL]
    ways: list[list[tuple[Chain, list[Step]]]] = [
        model.waits(entry)
        if entry.result is Waiting
        else [(chain, []) for chain in model.chains(entry)]
        for entry in spans
    ]
    before = [
        [i for i, one in enumerate(spans) if one.end < other.start and one.result is not Waiting]
        for other in spans
    ]

    def explains(chosen: Sequence[tuple[Chain, list[Step]]]) -> bool:
        possible = [one for _, steps in chosen for one in steps]

        def final(state: State) -> bool:
            return model.view(state) == found and not any(one(state) for one in possible)

        return _ordered([chain for chain, _ in chosen], before, model.initial, final)

    return any(map(explains, product(*ways)))


def _ordered(
    chains: Sequence[Chain],
    before: list[list[int]],
    initial: State,
    final: Callable[[State], bool],
) -> bool:
    """Whether the steps of *chains* can be put into one order (Wing and Gong's search)."""
    seen: set[Any] = set()
    todo = [(tuple(0 for _ in chains), initial)]
    while todo:
        place = todo.pop()
        if place in seen:
            continue
        seen.add(place)
        done, state = place
        ended = [done[i] == len(chain) for i, chain in enumerate(chains)]
        if all(ended) and final(state):
            return True
        for i in reversed(range(len(chains))):
            if not ended[i] and all(ended[j] for j in before[i]):
                after = (*done[:i], done[i] + 1, *done[i + 1 :])
                todo += [(after, new) for new in chains[i][done[i]](state)]
    return False


# -- the models

#: How each program is explored.
WAYS: list[dict[str, Any]] = [
    {"strategy": "dfs", "bound": 1, "schedules": 40},
    {"strategy": "random", "schedules": 15},
    {"strategy": "random", "schedules": 15, "preempt": "ops"},
]


class Model:
    """A primitive, its operations, and what they may do."""

    initial: State
    ops: ClassVar[list[Op]]
    #: How programs are explored.
    ways: ClassVar[list[dict[str, Any]]] = WAYS
    #: How many schedules did not fail.
    tried = 0

    def make(self) -> Any:
        raise NotImplementedError

    def call(self, subject: Any, op: Op) -> Any:
        return getattr(subject, op.name)(*op.args)

    def last(self, subject: Any) -> Iterable[Op]:
        """What a script does at its end."""
        return ()

    def found(self, subject: Any) -> Hashable:
        """What can be seen of the primitive."""
        raise NotImplementedError

    def waiters(self, subject: Any) -> int:
        """How many greenlets wait for the primitive."""
        return 0

    def view(self, state: State) -> Hashable:
        """What would be seen in *state*."""
        return state  # type: ignore[no-any-return]

    def chains(self, entry: Entry) -> list[Chain]:
        """The ways in which an operation can have had its result: each a chain of steps."""
        raise NotImplementedError

    def waits(self, entry: Entry) -> list[tuple[Chain, list[Step]]]:
        """The same of an operation that waits.

        Each chain comes with the steps of which none may be possible then.
        """
        raise NotImplementedError

    def check(self, subject: Any, entries: list[Entry]) -> None:
        found = self.found(subject)
        assert explained(self, entries, found), _told(entries, found)


def _told(entries: Iterable[Entry], found: object) -> str:
    lines = [f"no order explains these operations and {found!r} at the end:"]
    lines += [
        f"  {e.start:3}-{e.end:3} {e.who}: {e.op.name}{e.op.args} within {e.op.within}: {e.result}"
        for e in sorted(entries, key=lambda e: e.start)
    ]
    return "\n".join(lines)


class Permits(Model):
    """Semaphore. The state is the counter."""

    initial = 1
    ops: ClassVar = [
        Op("acquire"),
        Op("acquire", (False,)),
        Op("acquire", (True, 1)),
        Op("acquire", (True, 0)),
        Op("acquire", (), 1),
        Op("release"),
        Op("release"),
        Op("wait"),
        Op("wait", (1,)),
        Op("wait", (), 1),
    ]
    take = staticmethod(step(lambda n: n > 0, lambda n: n - 1))
    give = staticmethod(step(always, lambda n: n + 1))
    there = staticmethod(step(lambda n: n > 0))
    none = staticmethod(step(lambda n: n <= 0))

    def make(self) -> Any:
        return Semaphore(self.initial)

    def found(self, subject: Any) -> Hashable:
        return subject.counter  # type: ignore[no-any-return]

    def waiters(self, subject: Any) -> int:
        return subject.linkcount()  # type: ignore[no-any-return]

    def chains(self, entry: Entry) -> list[Chain]:
        match entry.op.name, entry.result:
            case "acquire", result if result is Interrupted:
                return [(), (self.take, self.give)]  # it had a permit and passed it on
            case "acquire", True:
                return [(self.take,)]
            case "acquire", False:
                return [(self.none,)]
            case "release", int():
                return [(self.give,)]
            case "wait", result if result is Interrupted:
                return [()]
            case "wait", int() as left:
                # What is left may be taken again before the waiter runs.
                timed = bool(entry.op.args)
                return [(self.there,)] if left > 0 or not timed else [(self.none,), (self.there,)]
        return []

    def waits(self, entry: Entry) -> list[tuple[Chain, list[Step]]]:
        return [((), [self.there])]


class BoundedPermits(Permits):
    give = staticmethod(step(lambda n: n < 1, lambda n: n + 1))

    def make(self) -> Any:
        return BoundedSemaphore(self.initial)

    def chains(self, entry: Entry) -> list[Chain]:
        if entry.result is ValueError:
            return [(self.there,)]
        chains = super().chains(entry)
        if entry.op.name == "acquire" and entry.result is Interrupted:
            # It had a permit, which another released once more: what it passes on is none.
            chains.append((self.take, self.there))
        return chains


class Owned(Model):
    """RLock. The state is the owner and how often it has the lock."""

    initial = (None, 0)
    ops: ClassVar = [
        Op("acquire"),
        Op("acquire"),
        Op("acquire", (False,)),
        Op("acquire", (True, 1)),
        Op("acquire", (True, 0)),
        Op("acquire", (), 1),
        Op("release"),
        Op("release"),
        Op("_recursion_count"),
    ]

    def make(self) -> Any:
        return RLock()

    def last(self, subject: Any) -> Iterable[Op]:
        while subject._is_owned():
            yield Op("release")

    def found(self, subject: Any) -> Hashable:
        return subject.locked()  # type: ignore[no-any-return]

    def view(self, state: State) -> Hashable:
        return state[1] > 0

    @staticmethod
    def taken(who: int) -> Step:
        return step(lambda s: s[0] in (None, who), lambda s: (who, s[1] + 1))

    @staticmethod
    def released(who: int) -> Step:
        return step(lambda s: s[0] == who, lambda s: (who, s[1] - 1) if s[1] > 1 else Owned.initial)

    def chains(self, entry: Entry) -> list[Chain]:
        who = entry.who
        match entry.op.name, entry.result:
            case "acquire", result if result is Interrupted:
                return [(), (self.taken(who), self.released(who))]
            case "acquire", True:
                return [(self.taken(who),)]
            case "acquire", False:
                return [(step(lambda s: s[0] not in (None, who)),)]
            case "release", None:
                return [(self.released(who),)]
            case "release", result if result is RuntimeError:
                return [(step(lambda s: s[0] != who),)]
            case "_recursion_count", depth:
                return [(step(lambda s: depth == (s[1] if s[0] == who else 0)),)]
        return []

    def waits(self, entry: Entry) -> list[tuple[Chain, list[Step]]]:
        return [((), [self.taken(entry.who)])]


class Monitor(NamedTuple):
    owner: int | None = None
    waiting: tuple[int, ...] = ()
    notified: frozenset[int] = frozenset()


class Conditions(Model):
    """Condition. A wait() leaves the lock, is notified or gives up, and takes the lock again."""

    initial = Monitor()
    ops: ClassVar = [
        Op("acquire"),
        Op("acquire"),
        Op("acquire", (), 1),
        Op("release"),
        Op("wait"),
        Op("wait"),
        Op("wait", (1,)),
        Op("wait", (0,)),
        Op("wait", (), 1),
        Op("notify"),
        Op("notify"),
        Op("notify_all"),
    ]

    def make(self) -> Any:
        return Condition()

    def call(self, subject: Any, op: Op) -> Any:
        # One level of the lock is enough here.
        if op.name == "acquire" and subject._is_owned():
            return "has it"
        return super().call(subject, op)

    def last(self, subject: Any) -> Iterable[Op]:
        if subject._is_owned():
            yield Op("release")

    def found(self, subject: Any) -> Hashable:
        return subject._lock.locked(), int(repr(subject).rpartition(" ")[2][:-2])

    def view(self, state: State) -> Hashable:
        return state.owner is not None, len(state.waiting)

    @staticmethod
    def wake(n: int) -> Callable[[State], State]:
        def change(state: Monitor) -> Monitor:
            woken, left = state.waiting[:n], state.waiting[n:]
            return state._replace(waiting=left, notified=state.notified.union(woken))

        return change

    def chains(self, entry: Entry) -> list[Chain]:
        who = entry.who
        owns = step(lambda s: s.owner == who)
        taken = step(lambda s: s.owner is None, lambda s: s._replace(owner=who))
        released = step(lambda s: s.owner == who, lambda s: s._replace(owner=None))
        begun = step(
            lambda s: s.owner == who, lambda s: s._replace(owner=None, waiting=(*s.waiting, who))
        )
        gone = step(
            lambda s: who in s.waiting,
            lambda s: s._replace(waiting=tuple(w for w in s.waiting if w != who)),
        )
        back = step(
            lambda s: who in s.notified and s.owner is None,
            lambda s: s._replace(owner=who, notified=s.notified - {who}),
        )
        match entry.op.name, entry.result:
            case _, result if result is RuntimeError:
                return [(step(lambda s: s.owner != who),)]
            case "acquire", "has it":
                return [(owns,)]
            case "acquire", True:
                return [(taken,)]
            case "acquire", result if result is Interrupted:
                return [(), (taken, released)]
            case "release", None:
                return [(released,)]
            case "wait", True:
                return [(begun, back)]
            case "wait", False:
                return [(begun, gone, taken)]
            case "wait", result if result is Interrupted:
                passes = step(always, self.wake(1))
                return [(begun, gone, taken), (begun, back, passes)]
            case "notify", None:
                return [(step(lambda s: s.owner == who, self.wake(1)),)]
            case "notify_all", None:
                return [(step(lambda s: s.owner == who, self.wake(99)),)]
        return []

    def waits(self, entry: Entry) -> list[tuple[Chain, list[Step]]]:
        if entry.op.name == "acquire":
            return [((), [step(lambda s: s.owner is None)])]
        [(begun, back)] = self.chains(entry._replace(result=True))
        [(_, gone, taken)] = self.chains(entry._replace(result=False))
        return [((begun,), [back]), ((begun, gone), [taken])]


class Flag(NamedTuple):
    up: bool = False
    waiting: frozenset[int] = frozenset()
    woken: frozenset[int] = frozenset()


class Events(Model):
    """Event. A set() wakes all that wait then, even if a clear() follows at once."""

    initial = Flag()
    ops: ClassVar = [
        Op("wait"),
        Op("wait", (1,)),
        Op("wait", (0,)),
        Op("wait", (), 1),
        Op("set"),
        Op("set"),
        Op("clear"),
        Op("clear"),
        Op("is_set"),
    ]

    def make(self) -> Any:
        return Event()

    def found(self, subject: Any) -> Hashable:
        return subject.is_set()  # type: ignore[no-any-return]

    def view(self, state: State) -> Hashable:
        return state.up  # type: ignore[no-any-return]

    def waiters(self, subject: Any) -> int:
        return subject.linkcount()  # type: ignore[no-any-return]

    def chains(self, entry: Entry) -> list[Chain]:
        who = entry.who
        down = step(lambda s: not s.up)
        come = step(
            always,
            lambda s: (
                s._replace(woken=s.woken | {who}) if s.up else s._replace(waiting=s.waiting | {who})
            ),
        )
        gone = step(lambda s: who in s.waiting, lambda s: s._replace(waiting=s.waiting - {who}))
        wake = step(lambda s: who in s.woken, lambda s: s._replace(woken=s.woken - {who}))
        match entry.op.name, entry.result:
            case "wait", True:
                return [(come, wake)]
            case "wait", False:
                return [(down, come, gone)]
            case "wait", result if result is Interrupted:
                return [(), (come, gone), (come, wake)]
            case "set", None:
                return [
                    (step(always, lambda s: Flag(True, frozenset(), s.woken | s.waiting)),),
                ]
            case "clear", None:
                return [(step(always, lambda s: s._replace(up=False)),)]
            case "is_set", bool() as up:
                return [(step(lambda s: s.up == up),)]
        return []

    def waits(self, entry: Entry) -> list[tuple[Chain, list[Step]]]:
        (come, wake), *_ = self.chains(entry._replace(result=True))
        return [((come,), [wake])]


class Results(Model):
    """AsyncResult. The state is how often it was set, what `get` does, and None before."""

    initial = None
    ops: ClassVar = [
        Op("get"),
        Op("get"),
        Op("get", (True, 1)),
        Op("get", (False,)),
        Op("get", (), 1),
        Op("wait"),
        Op("wait", (1,)),
        Op("set", (7,)),
        Op("set", (8,)),
        Op("set_exception", (KeyError(),)),
        Op("ready"),
    ]

    def make(self) -> Any:
        return AsyncResult()

    def found(self, subject: Any) -> Hashable:
        if subject.exception is not None:
            return type(subject.exception)
        return subject.value  # type: ignore[no-any-return]

    def waiters(self, subject: Any) -> int:
        return subject.linkcount()  # type: ignore[no-any-return]

    def chains(self, entry: Entry) -> list[Chain]:
        match entry.op.name, entry.result:
            case (("get" | "wait"), result) if result is Interrupted:
                return [()]
            case "get", result if result is treadle.Timeout:
                return [(step(lambda s: s is None),)]
            case "get", result:
                return [(step(lambda s: s == result),)]
            case "wait", None:
                timed = bool(entry.op.args)
                return [(step(lambda s: s is KeyError or (s is None and timed)),)]
            case "wait", result:
                return [(step(lambda s: s == result),)]
            case "set", None:
                return [(step(always, lambda s: entry.op.args[0]),)]
            case "set_exception", None:
                return [(step(always, lambda s: KeyError),)]
            case "ready", bool() as ready:
                return [(step(lambda s: ready == (s is not None)),)]
        return []

    def waits(self, entry: Entry) -> list[tuple[Chain, list[Step]]]:
        return [((), [step(lambda s: s is not None)])]


class Items(NamedTuple):
    items: tuple[Any, ...] = ()
    promised: int = 0
    unfinished: int = 0
    shut: bool = False


class Queues(Model):
    """Queue. An item that is promised to a getter stays in the queue until that getter runs."""

    initial = Items()
    limit = 1
    kind: ClassVar[Any] = Queue
    ops: ClassVar = [
        Op("put"),
        Op("put"),
        Op("put", (False,)),
        Op("put", (True, 1)),
        Op("put", (True, 0)),
        Op("put", (), 1),
        Op("get"),
        Op("get"),
        Op("get", (False,)),
        Op("get", (True, 1)),
        Op("get", (True, 0)),
        Op("get", (), 1),
        Op("peek"),
        Op("peek", (False,)),
        Op("peek", (True, 1)),
        Op("qsize"),
        Op("full"),
    ]
    more: ClassVar = [
        Op("task_done"),
        Op("join"),
        Op("join", (1,)),
        Op("join", (), 1),
        Op("shutdown"),
        Op("shutdown", (True,)),
    ]

    def make(self) -> Any:
        return self.kind(self.limit)

    @staticmethod
    def head(items: tuple[Any, ...]) -> Any:
        return items[0]

    def found(self, subject: Any) -> Hashable:
        left = tuple(sorted(subject.queue))
        return left, subject.qsize()

    def view(self, state: State) -> Hashable:
        return tuple(sorted(state.items)), len(state.items)

    def waiters(self, subject: Any) -> int:
        return len(subject.getters) + len(subject.putters)

    def chains(self, entry: Entry) -> list[Chain]:
        promise = step(
            lambda s: len(s.items) > s.promised, lambda s: s._replace(promised=s.promised + 1)
        )
        forgo = step(lambda s: s.promised > 0, lambda s: s._replace(promised=s.promised - 1))
        shut = step(lambda s: s.shut)
        none = step(lambda s: len(s.items) <= s.promised)

        def without(state: Items, item: Any) -> Items:
            items = list(state.items)
            items.remove(item)
            return state._replace(items=tuple(items), promised=state.promised - 1)

        match entry.op.name, entry.result:
            case "put", None:
                item = entry.op.args[0]
                return [
                    (
                        step(
                            lambda s: not s.shut and len(s.items) < self.limit,
                            lambda s: s._replace(
                                items=(*s.items, item), unfinished=s.unfinished + 1
                            ),
                        ),
                    )
                ]
            case "put", result if result is Full:
                return [(step(lambda s: len(s.items) >= self.limit),)]
            case "put", result if result is ShutDown:
                return [(shut,)]
            case (("put" | "peek" | "join"), result) if result is Interrupted:
                return [()]
            case "get", result if result is Interrupted:
                return [(), (promise, forgo)]
            case "get", result if result is Empty:
                return [(none,)]
            case "get", result if result is ShutDown:
                drained = step(
                    lambda s: s.shut and not s.items, lambda s: s._replace(promised=s.promised - 1)
                )
                return [
                    (step(lambda s: s.shut and len(s.items) <= s.promised),),
                    (promise, drained),
                ]
            case "get", item:
                take = step(
                    lambda s: s.items and self.head(s.items) == item, lambda s: without(s, item)
                )
                return [(promise, take)]
            case "peek", result if result is Empty:
                return [(step(lambda s: not s.items),)]
            case "peek", result if result is ShutDown:
                return [(step(lambda s: s.shut and not s.items),)]
            case "peek", item:
                return [(step(lambda s: s.items and self.head(s.items) == item),)]
            case "qsize", int() as size:
                return [(step(lambda s: size == len(s.items) - s.promised),)]
            case "full", bool() as full:
                return [(step(lambda s: full == (len(s.items) >= self.limit)),)]
            case "task_done", None:
                return [
                    (
                        step(
                            lambda s: s.unfinished > 0,
                            lambda s: s._replace(unfinished=s.unfinished - 1),
                        ),
                    )
                ]
            case "task_done", result if result is ValueError:
                return [(step(lambda s: s.unfinished == 0),)]
            case "join", True:
                return [(step(lambda s: s.unfinished == 0),)]
            case "join", False:
                return [(step(lambda s: s.unfinished > 0),)]
            case "shutdown", None:
                if not entry.op.args:
                    return [(step(always, lambda s: s._replace(shut=True)),)]
                return [
                    (
                        step(
                            always,
                            lambda s: Items(
                                (), s.promised, max(s.unfinished - len(s.items), 0), True
                            ),
                        ),
                    )
                ]
        return []

    def waits(self, entry: Entry) -> list[tuple[Chain, list[Step]]]:
        match entry.op.name:
            case "put":
                return [((), [step(lambda s: s.shut or len(s.items) < self.limit)])]
            case "join":
                return [((), [step(lambda s: s.unfinished == 0)])]
        return [((), [step(lambda s: s.shut or s.items)])]


class SimpleQueues(Queues):
    kind = SimpleQueue
    limit = 2


class Stacks(Queues):
    kind = LifoQueue
    limit = 2
    ops: ClassVar = Queues.ops + Queues.more

    @staticmethod
    def head(items: tuple[Any, ...]) -> Any:
        return items[-1]


class JoinableQueues(Queues):
    ops: ClassVar = Queues.ops + Queues.more


class Heaps(Queues):
    kind = PriorityQueue
    limit = 2
    ops: ClassVar = Queues.ops + Queues.more
    head = staticmethod(min)


class Meeting(NamedTuple):
    offers: tuple[Any, ...] = ()
    getters: int = 0


class Channels(Model):
    """Channel. A put() offers its item until a getter takes it."""

    initial = Meeting()
    ops: ClassVar = [op for op in Queues.ops if op.name in ("put", "get")]

    def make(self) -> Any:
        return Channel()

    def found(self, subject: Any) -> Hashable:
        return None

    def view(self, state: State) -> Hashable:
        return None

    def waiters(self, subject: Any) -> int:
        return len(subject.getters) + len(subject.putters)

    def chains(self, entry: Entry) -> list[Chain]:
        item = entry.op.args[0] if entry.op.name == "put" else entry.result
        offer = step(always, lambda s: s._replace(offers=(*s.offers, item)))
        taken = step(lambda s: item not in s.offers)
        gone = step(
            lambda s: item in s.offers,
            lambda s: s._replace(offers=tuple(o for o in s.offers if o != item)),
        )
        come = step(always, lambda s: s._replace(getters=s.getters + 1))
        leave = step(always, lambda s: s._replace(getters=s.getters - 1))
        take = step(
            lambda s: item in s.offers,
            lambda s: Meeting(tuple(o for o in s.offers if o != item), s.getters - 1),
        )
        waits = not any(arg is False for arg in entry.op.args)
        match entry.op.name, entry.result:
            case "put", None:
                if waits:
                    return [(offer, taken)]
                return [
                    (
                        step(
                            lambda s: s.getters > len(s.offers),
                            lambda s: s._replace(offers=(*s.offers, item)),
                        ),
                    )
                ]
            case "put", result if result is Full:
                if waits:
                    return [(offer, gone)]
                return [(step(lambda s: s.getters <= len(s.offers)),)]
            case "put", result if result is Interrupted:
                return [(), (offer, gone)]
            case "get", result if result is Interrupted:
                return [(), (come, leave)]
            case "get", result if result is Empty:
                if waits:
                    return [(step(lambda s: len(s.offers) <= s.getters), come, leave)]
                return [(step(lambda s: len(s.offers) <= s.getters),)]
            case "get", _:
                return [(come, take)]
        return []

    def waits(self, entry: Entry) -> list[tuple[Chain, list[Step]]]:
        if entry.op.name == "put":
            offer, taken = self.chains(entry._replace(result=None))[0]
            return [((offer,), [taken, step(lambda s: s.getters > 0)])]
        come = self.chains(entry)[0][0]
        return [((come,), [step(lambda s: s.offers)])]


class Shared:
    """A group, and from when to when each greenlet was a member for certain."""

    def __init__(self, group: Group) -> None:
        self.group = group
        self.group.greenlet_class = Member
        self.size = getattr(group, "size", None)
        self.clock, self.numbers = count(), count()
        self.alive: dict[int, list[int]] = {}

    def member(self, seconds: float) -> float:
        me = len(self.alive)
        self.alive[me] = [next(self.clock), STILL]
        try:
            running = sum(1 for _, end in self.alive.values() if end == STILL)
            assert self.size is None or running <= self.size, "more members than places"
            treadle.sleep(seconds)
            return seconds
        finally:
            self.alive[me][1] = next(self.clock)

    def join(self, *args: float) -> bool:
        began = next(self.clock)
        emptied = self.group.join(*args)
        now = next(self.clock)
        assert emptied or args, "join() without a timeout returns False"
        was_empty = not any(a < began and now < b for a, b in self.alive.values())
        assert not emptied or was_empty, "join() returns, but the group never was empty"
        return emptied

    def kill(self) -> None:
        members = set(self.group)
        self.group.kill()
        assert all(each.dead for each in members), "kill() left a member alive"


#: The end of a member that has not ended.
STILL = 1 << 60


class Member(treadle.Greenlet[Any]):
    """Has the same place in a set in each run: Group.kill() goes through a set."""

    def __init__(self, run: Any, seconds: float) -> None:
        super().__init__(run, seconds)
        self.number = next(run.__self__.numbers)

    def __hash__(self) -> int:
        return self.number


class Pools(Model):
    """Pool, and Group if there is no size. The checks are on what is known of each member."""

    size: ClassVar[int | None] = 2
    ops: ClassVar = [
        Op("spawn", (0,)),
        Op("spawn", (1,)),
        Op("spawn", (2,)),
        Op("spawn", (1,), 1),
        Op("start", (1, False)),
        Op("start", (1, True, 1)),
        Op("start", (1, True, 0)),
        Op("join"),
        Op("join", (1,)),
        Op("join", (0,)),
        Op("join", (), 1),
        Op("end"),
        Op("end", (), 1),
        Op("map"),
        Op("map", (), 1),
        Op("imap"),
        Op("imap_unordered", (), 1),
        Op("broken"),
        Op("wait_available", (1,)),
    ]

    def make(self) -> Any:
        return Shared(Group() if self.size is None else Pool(self.size))

    def call(self, subject: Shared, op: Op) -> Any:
        group, member = subject.group, subject.member

        def failing() -> Iterator[int]:
            yield 0
            raise KeyError

        match op.name:
            case "spawn":
                group.spawn(member, *op.args)
            case "start":
                group.start(Member(member, op.args[0]), *(op.args[1:] if self.size else ()))
            case "join":
                subject.join(*op.args)
            case "end":
                subject.kill()
            case "map":
                assert _match(group.map(member, [1, 0, 1]), [1, 0, 1])
            case "imap":
                assert _match(list(group.imap(member, [1, 0, 1])), [1, 0, 1])
            case "imap_unordered":
                assert len(list(group.imap_unordered(member, [1, 0, 1]))) == 3
            case "broken":
                results = group.imap(member, failing())
                results.rawlink(lambda each: each.exception)  # so that it is no stray failure
                assert _match([next(results)], [0])
                next(results)
            case "wait_available":
                group.wait_available(*op.args)

    def check(self, subject: Shared, entries: list[Entry]) -> None:
        group = subject.group
        assert len(group) == len(group.dying) == 0, group
        assert all(end < STILL for _, end in subject.alive.values())
        if isinstance(group, Pool):
            assert group.free_count() == group.size == group._semaphore.counter
            assert not group.full()
        assert group.join(0)
        for entry in entries:
            expected = {"broken": KeyError, "start": PoolFull}.get(entry.op.name)
            assert entry.result in (None, Interrupted, expected), _told(entries, group)


def _match(values: list[Any], expected: list[Any]) -> bool:
    """Whether they are equal, where the value of a member that was killed is its GreenletExit."""
    pairs = zip(values, expected, strict=True)
    return all(a == b or isinstance(a, treadle.GreenletExit) for a, b in pairs)


class Groups(Pools):
    size = None


# -- programs


def pairs(model: Model) -> Iterable[Program]:
    """Each operation against each other one, and then a kill or interrupt of the first."""
    kills = cycle(("kill", "interrupt"))
    for first, second in product(dict.fromkeys(model.ops), repeat=2):
        labels = count(1)
        one, other = (_labelled(op, labels) for op in (first, second))
        yield (one,), (Op("sleep", (0,)), other, Op(next(kills), (0, False)))


def programs(model: Model, seed: int, number: int, kills: bool = True) -> Iterable[Program]:
    """Random programs of two or three scripts with one to four operations each."""
    source = random.Random(seed)
    for _ in range(number):
        labels = count(1)
        scripts = source.choice((2, 3, 3))
        others = scripts if kills else 0
        yield tuple(
            tuple(_draw(model, source, me, others, labels) for _ in range(source.randint(1, 4)))
            for me in range(scripts)
        )


def _draw(model: Model, source: random.Random, me: int, scripts: int, labels: Iterator[int]) -> Op:
    kind = source.random()
    if kind < 0.08:
        return Op("sleep", (source.choice((0, 1, 1)),))
    if kind < 0.25 and scripts:
        other = source.choice([i for i in range(scripts) if i != me])
        name = source.choice(("kill", "interrupt"))
        return Op(name, (other, source.random() < 0.3), source.choice((None, 1)))
    return _labelled(source.choice(model.ops), labels)


def _labelled(op: Op, labels: Iterator[int]) -> Op:
    """The operation, with an item of its own if it is a put()."""
    if op.name != "put":
        return op
    label = next(labels)
    return op._replace(args=(label * 7 % 5 * 100 + label, *op.args))


def smaller(program: Program) -> Iterable[Program]:
    """The programs with one operation less."""
    for who, script in enumerate(program):
        for at in range(len(script)):
            yield (*program[:who], (*script[:at], *script[at + 1 :]), *program[who + 1 :])


def shrunk(model: Model, program: Program, failure: ScheduleFailure) -> str:
    """A smallest program that fails, its schedule, and what is wrong then."""
    candidates = list(smaller(program))
    while candidates:
        candidate = candidates.pop(0)
        again = failure_of(model, candidate)
        if again is not None:
            program, failure, candidates = candidate, again, list(smaller(candidate))
    return f"{type(model).__name__}: {program}\n{failure.token}\n{failure}"


def failure_of(model: Model, program: Program, scale: float = 1) -> ScheduleFailure | None:
    """The first failure of *program*; *scale* multiplies how many schedules are tried."""
    for way in model.ways:
        number = max(int(way["schedules"] * scale), 1)
        try:
            report = explore(Run(model, program), **{**way, "schedules": number})
        except ScheduleFailure as failure:
            return failure
        model.tried += report.schedules
    return None
