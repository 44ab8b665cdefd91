"""Random programs of task groups, scopes, shields, Timeouts and kills: what they are made of.

A program is a block, a tuple of statements. Each statement has a number and runs at most once. The
number of a `Spawn` is that of its greenlet too; the block itself runs in greenlet 0. Times are
microseconds. `repr()` of a program is its text in Python.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

Block = tuple[Any, ...]


class Sleep(NamedTuple):
    """sleep(), or checkpoint() if *time* is 0."""

    id: int
    time: int


class Fail(NamedTuple):
    """Raise: "error", or a KeyboardInterrupt or SystemExit."""

    id: int
    what: str


class Scope(NamedTuple):
    """A CancelScope or what makes one. *early*: it is cancelled before it is entered."""

    id: int
    kind: str  # timeout, deadline, move_on_after, fail_after, shield, shielded
    time: int | None
    body: Block
    early: bool = False


class Limit(NamedTuple):
    """A Timeout that raises: "itself", "nothing", an "instance" or a "class" of its own."""

    id: int
    time: int
    what: str
    body: Block


class Group(NamedTuple):
    id: int
    limit: int | None
    adopt: bool
    body: Block


class Spawn(NamedTuple):
    """group.spawn() or group.start(); with *group* 0 treadle.spawn()."""

    id: int
    group: int
    how: str  # spawn, start
    body: Block


class Started(NamedTuple):
    id: int


class Get(NamedTuple):
    """get() of greenlet *target*, if there is one already."""

    id: int
    target: int


class Kill(NamedTuple):
    """kill() of greenlet *target*, if there is one: by a GreenletExit, or an "error"."""

    id: int
    target: int
    what: str
    block: bool


class Cancel(NamedTuple):
    """cancel() of the scope or group *target*, if it is open."""

    id: int
    target: int


class Move(NamedTuple):
    """Set the deadline of the scope or group *target* to so much from now, or to never."""

    id: int
    target: int
    time: int | None


class Turn(NamedTuple):
    """Set the shield of the scope *target*."""

    id: int
    target: int
    shield: bool


class Try(NamedTuple):
    """Catch a kind of exceptions, run the handler, and raise the exception *again* or not."""

    id: int
    catch: str  # Exception, Timeout, Cancelled, GreenletExit, BaseException
    body: Block
    handler: Block
    again: bool


class Finally(NamedTuple):
    id: int
    body: Block
    cleanup: Block


class Wrap(NamedTuple):
    """Raise in a group of exceptions what the block raises."""

    id: int
    body: Block


class Locked(NamedTuple):
    """A block under one of two locks; in it nobody waits for a greenlet or a lock."""

    id: int
    lock: int
    body: Block


class Gather(NamedTuple):
    """gather() or race() of functions; each is a `Spawn`."""

    id: int
    how: str  # gather, race
    limit: int | None
    functions: Block


COMPOUND = ("body", "handler", "cleanup", "functions")


# -- what the exceptions are


class Failure(Exception):
    """What `Fail` raises."""


class Killing(Exception):
    """What `Kill` raises."""


class TimedOut(Exception):
    """What `Limit` raises."""


def flat(exc: BaseException | None) -> list[BaseException]:
    """What an exception consists of."""
    if exc is None:
        return []
    if isinstance(exc, BaseExceptionGroup):
        return [leaf for each in exc.exceptions for leaf in flat(each)]
    return [exc]


def shape(exc: Any, names: Callable[[Any], Any]) -> Any:
    """What can be compared of an exception; *names* tells the number of a scope or greenlet."""
    if exc is None:
        return None
    kind = type(exc).__name__
    if isinstance(exc, BaseExceptionGroup):
        return (kind, *[shape(each, names) for each in exc.exceptions])
    if kind == "Cancelled":
        reason = exc.reason if str(exc.reason).startswith("by ") else None
        source = "?" if isinstance(exc.source, BaseException) else names(exc.source)
        return (kind, names(exc.scope), reason, source)
    if kind in ("Failure", "Killing", "TimedOut", "KeyboardInterrupt", "SystemExit"):
        return (kind, *exc.args)
    return (kind, names(exc)) if kind == "Timeout" else kind


# -- random programs


class Place(NamedTuple):
    """Where a statement of a random program stands."""

    depth: int
    greenlet: int
    #: The groups around it: number, whether it is limited, and the greenlet that opened it.
    groups: tuple[tuple[int, bool, int], ...]
    #: Whether it is under a lock.
    locked: bool = False


class Maker:
    """Makes one program."""

    def __init__(self, seed: int, times: Callable[[random.Random], int] | None = None) -> None:
        self.random = random.Random(seed)
        self._times = times or (lambda source: source.randint(1, 100_000))
        self.left = self.random.randint(4, 18)
        self.last = 0
        self.scopes: list[int] = []
        self.graced: set[int] = set()
        self.groups: list[int] = []
        self.greenlets = [0]

    def program(self) -> Block:
        place = Place(0, 0, ())
        body: Block = ()
        while self.left > 0:
            body += self.statement(place)
        return self.aim(body, 0)

    def number(self) -> int:
        self.last += 1
        self.left -= 1
        return self.last

    def time(self) -> int:
        return self._times(self.random)

    def chance(self, share: float) -> bool:
        return self.random.random() < share

    def block(self, place: Place, most: int = 3) -> Block:
        inner = place._replace(depth=place.depth + 1)
        body = self.statement(inner)
        for _ in range(self.random.randint(0, most - 1)):
            if self.left > 0:
                body += self.statement(inner)
        return body

    def statement(self, place: Place) -> Block:
        """One statement, with a sleep before most that act upon others."""
        simple = place.depth > 6 or self.left <= 0 or self.chance(0.45)
        weights = dict(SIMPLE if simple else NESTED)
        if place.locked:
            weights = {kind: weights[kind] for kind in weights if kind not in WAIT_FOR_OTHERS}
        kind = self.random.choices(list(weights), list(weights.values()))[0]
        made = getattr(self, f"_{kind}")(place)
        if kind in ACTS and self.chance(0.8):
            return (Sleep(self.number(), self.time()), made)
        return (made,)

    def _sleep(self, place: Place) -> Sleep:
        return Sleep(self.number(), 0 if self.chance(0.05) else self.time())

    def _fail(self, place: Place) -> Fail:
        what = self.random.choices(["error", "interrupt", "exit"], [20, 1, 1])[0]
        return Fail(self.number(), what)

    def _get(self, place: Place) -> Get:
        return Get(self.number(), -1)

    def _kill(self, place: Place) -> Kill:
        what = "error" if self.chance(0.3) else "exit"
        return Kill(self.number(), -1, what, not place.locked and self.chance(0.4))

    def _cancel(self, place: Place) -> Cancel:
        return Cancel(self.number(), -1)

    def _move(self, place: Place) -> Move:
        return Move(self.number(), -1, None if self.chance(0.3) else self.time())

    def _turn(self, place: Place) -> Turn:
        return Turn(self.number(), -1, self.chance(0.5))

    def _scope(self, place: Place) -> Scope:
        number = self.number()
        self.scopes.append(number)
        kinds = ["timeout", "deadline", "move_on_after", "fail_after", "shield", "shielded"]
        kind = self.random.choices(kinds, [3, 1, 3, 3, 6, 2])[0]
        time: int | None = self.time()
        if kind in ("timeout", "shielded", "shield") and self.chance(0.5):
            time = None
        if kind == "shield" and time is not None:
            self.graced.add(number)
        early = kind in ("timeout", "move_on_after") and self.chance(0.1)
        return Scope(number, kind, time, self.block(place), early)

    def _limit(self, place: Place) -> Limit:
        what = self.random.choice(["itself", "nothing", "instance", "class"])
        return Limit(self.number(), self.time(), what, self.block(place))

    def _locked(self, place: Place) -> Locked:
        lock = self.random.randrange(2)
        return Locked(self.number(), lock, self.block(place._replace(locked=True), 2))

    def _group(self, place: Place) -> Group:
        number = self.number()
        self.groups.append(number)
        limit = self.random.randint(1, 2) if self.chance(0.15) else None
        adopt = limit is None and self.chance(0.15)
        groups = (*place.groups, (number, limit is not None, place.greenlet))
        inner = place._replace(groups=groups)
        body: Block = ()
        for _ in range(self.random.randint(1, 3)):
            body += (self.child(inner, number),)
            if self.chance(0.5):
                body += self.statement(inner._replace(depth=place.depth + 1))
        return Group(number, limit, adopt, body)

    def child(self, place: Place, group: int) -> Spawn:
        number = self.number()
        self.greenlets.append(number)
        # To wait for a place or for started() in a child might be to wait for oneself.
        inner = place._replace(greenlet=number, depth=place.depth + 1)
        how = "start" if group and self.chance(0.15) else "spawn"
        body = self.block(inner, 4)
        if how == "start" and self.chance(0.8):
            at = self.random.randint(0, len(body))
            body = (*body[:at], Started(self.number()), *body[at:])
        return Spawn(number, group, how, body)

    def _spawn(self, place: Place) -> Spawn:
        open_ = [n for n, limited, owner in place.groups if not limited or owner == place.greenlet]
        free = not open_ or self.chance(0.2)
        return self.child(place, 0 if free else self.random.choice(open_))

    def _try(self, place: Place) -> Try:
        number = self.number()
        kinds = ["Exception", "Timeout", "Cancelled", "GreenletExit", "BaseException"]
        catch = self.random.choices(kinds, [4, 1, 3, 2, 4])[0]
        body = self.block(place)
        handler = self.block(place, 1) if self.chance(0.6) else ()
        return Try(number, catch, body, handler, self.chance(0.4))

    def _finally(self, place: Place) -> Finally:
        number = self.number()
        body = self.block(place)
        cleanup = self.block(place, 2)
        if self.chance(0.4):
            shield = self.number()
            self.scopes.append(shield)
            time = self.time() if self.chance(0.3) else None
            if time is not None:
                self.graced.add(shield)
            cleanup = (Scope(shield, "shield", time, cleanup),)
        elif self.chance(0.3):
            cleanup = (Limit(self.number(), self.time(), "nothing", cleanup),)
        return Finally(number, body, cleanup)

    def _wrap(self, place: Place) -> Wrap:
        return Wrap(self.number(), self.block(place))

    def _gather(self, place: Place) -> Gather:
        number = self.number()
        how = self.random.choice(["gather", "race"])
        limit = 1 if how == "gather" and self.chance(0.3) else None
        functions = tuple(self.child(place, 0) for _ in range(self.random.randint(1, 3)))
        return Gather(number, how, limit, functions)

    def aim(self, body: Block, greenlet: int) -> Block:
        """Choose the targets, now that all are known.

        A greenlet waits only for those with greater numbers, so that no two wait for each other.
        """
        done = []
        for node in body:
            inner = node.id if isinstance(node, Spawn) else greenlet
            for name in COMPOUND:
                if hasattr(node, name):
                    node = node._replace(**{name: self.aim(getattr(node, name), inner)})
            if hasattr(node, "target"):
                targets = self.targets(node, greenlet)
                if not targets:
                    node = Sleep(node.id, self.time())
                else:
                    node = node._replace(target=self.random.choice(targets))
            done.append(node)
        return tuple(done)

    def targets(self, node: Any, greenlet: int) -> list[int]:
        if isinstance(node, Turn):
            return [each for each in self.scopes if each not in self.graced]
        if isinstance(node, Cancel | Move):
            return self.scopes + self.groups
        if isinstance(node, Kill) and not node.block:
            return self.greenlets
        return [each for each in self.greenlets if each > greenlet]


SIMPLE = {"sleep": 45, "fail": 12, "get": 8, "kill": 10, "cancel": 10, "move": 4, "turn": 2}
NESTED = {
    "scope": 22,
    "limit": 8,
    "group": 20,
    "spawn": 16,
    "try": 12,
    "finally": 10,
    "gather": 5,
    "locked": 5,
    "wrap": 3,
}
WAIT_FOR_OTHERS = ("get", "group", "spawn", "gather", "locked")
ACTS = ("fail", "get", "kill", "cancel", "move", "turn")


def distinct(seed: int) -> Block:
    """A program in which hardly two things happen at the same time."""
    return Maker(seed).program()


def coinciding(seed: int) -> Block:
    """A program in which many things happen at the same time."""
    return Maker(seed, lambda source: source.randint(0, 3) * 1000).program()


# -- smaller programs


def smaller(body: Block) -> Iterator[Block]:
    """The programs that a program becomes without one of its statements, or without its frame."""
    for at, node in enumerate(body):
        before, after = body[:at], body[at + 1 :]
        yield before + after
        for name in COMPOUND:
            inner = getattr(node, name, ())
            if inner and not isinstance(node, Spawn):
                yield before + inner + after
        for name in COMPOUND:
            for less in smaller(getattr(node, name, ())):
                if less or name != "functions":
                    yield (*before, node._replace(**{name: less}), *after)


def reductions(current: Callable[[], Block]) -> Iterator[Block]:
    """Smaller programs than the current one, which may become one of those."""
    tried = set()
    program = None
    while program != current():
        program = current()
        for less in smaller(program):
            if less not in tried:
                tried.add(less)
                yield less
                if current() != program:
                    break


def text(body: Block, indent: str = "") -> str:
    """The program in Python: one line for each statement."""
    if not body:
        return "()"
    lines = []
    for node in body:
        fields = []
        for name, value in node._asdict().items():
            if name in COMPOUND:
                fields.append(f"{name}={text(value, indent + '    ')}")
            elif name not in node._field_defaults:
                fields.append(f"{name}={value!r}" if "=" in "".join(fields) else repr(value))
            elif value != node._field_defaults[name]:
                fields.append(f"{name}={value!r}")
        lines.append(f"{indent}    {type(node).__name__}({', '.join(fields)}),")
    return "(\n" + "\n".join(lines) + f"\n{indent})"
