"""Runs programs on treadle, in virtual time, and notes what the model foretells.

It also checks what holds for every program, whichever of its events comes first: a group leaves no
child alive and loses no failure; a program leaves no greenlet, timer or wait behind.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import treadle
from treadle._core import clock
from treadle.hub import get_hub
from treadle.lock import BoundedSemaphore
from treadle.testing import wait_all_blocked

from . import programs
from .programs import Block, flat, shape


class Broken(Exception):
    """What must hold for every program does not."""


class Execution:
    """One run of a program: `seen` has what became of each statement, and when."""

    def __init__(self, program: Block) -> None:
        self.start = clock.monotonic()
        self.names: dict[int, int] = {}
        self.kept: list[Any] = []  # so that no other object has the id of one in `names`
        self.greenlets: dict[int, treadle.Greenlet[Any]] = {}
        self.open: dict[int, Any] = {}
        self.groups: dict[int, treadle.TaskGroup] = {}
        #: The children of each group, but those that start() waits for. Those are in `starting`.
        self.children: dict[int, list[int]] = {}
        self.starting: dict[int, int] = {}
        #: Which group adopts what a greenlet, or a child of a group, starts by itself; or 0.
        self.adopters = {0: 0}
        self.adopting: dict[int, int] = {}
        self.failures: dict[int, BaseException] = {}
        self.locks = [BoundedSemaphore(1), BoundedSemaphore(1)]
        self.seen: dict[Any, Any] = {"reports": []}
        self.broken: list[str] = []
        self.run(program)

    def run(self, program: Block) -> None:
        hub = get_hub()
        before = len(hub.fibers()), hub.timer_count(), hub.refs
        previous = hub.__dict__["handle_error"]
        hub.__dict__["handle_error"] = self.report
        try:
            root = self.greenlets[0] = treadle.spawn(self.main, 0, program)
            root.join()
            while any(not each.dead for each in self.greenlets.values()):
                treadle.joinall(list(self.greenlets.values()))
            wait_all_blocked()
        finally:
            hub.__dict__["handle_error"] = previous  # that of the run
        after = len(hub.fibers()), hub.timer_count(), hub.refs
        if before != after:
            self.broken.append(f"left behind: {before} greenlets, timers, waits became {after}")
        if any(lock.counter != 1 for lock in self.locks):
            self.broken.append(f"a lock is not free: {self.locks}")
        for number, greenlet in self.greenlets.items():
            if ("end", number) not in self.seen:
                value = greenlet.value if greenlet.successful() else greenlet.exception
                self.seen["end", number] = None, self.shape(value)
        self.seen["reports"].sort(key=repr)
        if self.broken:
            raise Broken("; ".join(self.broken))

    def report(self, context: object, type: Any, value: Any, tb: Any) -> None:
        if context is not self.greenlets[0] and context in self.greenlets.values():
            self.seen["reports"].append(self.shape(value))
        elif context is not self.greenlets[0]:
            self.broken.append(f"reported: {value!r} of {context!r}")

    @property
    def now(self) -> int:
        return round((clock.monotonic() - self.start) / 1000)

    def shape(self, exc: Any) -> Any:
        return shape(exc, lambda each: self.names.get(id(each)))

    @property
    def current(self) -> int:
        return self.names[id(treadle.getcurrent())]

    def name(self, thing: Any, number: int) -> Any:
        self.names[id(thing)] = number
        self.kept.append(thing)
        return thing

    # -- greenlets

    def main(self, number: int, body: Block) -> int:
        self.greenlets[number] = self.name(treadle.getcurrent(), number)
        exc = None
        try:
            self.block(body)
        except BaseException as error:
            exc = error
            raise
        finally:
            self.seen["end", number] = self.now, self.shape(exc)
            if exc is not None and not isinstance(exc, treadle.GreenletExit):
                self.failures[number] = exc
            exc = None
        return number

    # -- statements

    def block(self, body: Block) -> None:
        for node in body:
            try:
                value = STATEMENTS[type(node)](self, node)
            except BaseException as exc:
                self.seen[node.id] = self.now, self.shape(exc)
                raise
            self.seen[node.id] = self.now, value

    def sleep(self, node: programs.Sleep) -> None:
        if node.time:
            treadle.sleep(seconds(node.time))
        else:
            treadle.checkpoint()

    def fail(self, node: programs.Fail) -> None:
        raise FAILURES[node.what](node.id)

    def scope(self, node: programs.Scope) -> None:
        scope = self.name(SCOPES[node.kind]([] if node.time is None else [node.time]), node.id)
        if node.early:
            scope.cancel(f"by {node.id}")
        self.open[node.id] = scope
        try:
            with scope:
                self.block(node.body)
        finally:
            del self.open[node.id]
            self.seen["scope", node.id] = scope.cancelled, scope.caught

    def limit(self, node: programs.Limit) -> None:
        exception: Any = None
        if node.what == "nothing":
            exception = False
        elif node.what == "instance":
            exception = programs.TimedOut(node.id)
        elif node.what == "class":
            exception = programs.TimedOut
        with self.name(treadle.Timeout(seconds(node.time), exception), node.id):
            self.block(node.body)

    def locked(self, node: programs.Locked) -> None:
        with self.locks[node.lock]:
            self.block(node.body)

    def group(self, node: programs.Group) -> None:
        # Without arguments where none are needed: programs mostly do so.
        kwargs: dict[str, Any] = {"adopt": True} if node.adopt else {}
        if node.limit is not None:
            kwargs["limit"] = node.limit
        group = self.groups[node.id] = treadle.TaskGroup(**kwargs)
        self.children[node.id] = []
        current, outer = self.current, self.adopters[self.current]
        self.adopting[node.id] = self.adopters[current] = node.id if node.adopt else outer
        left = inner = None
        try:
            with group:
                self.open[node.id] = self.name(group.cancel_scope, node.id)
                try:
                    self.block(node.body)
                except BaseException as exc:
                    inner = exc
                    raise
        except BaseException as exc:
            left = exc
            raise
        finally:
            scope = self.open.pop(node.id)
            self.adopters[current] = outer
            self.seen["scope", node.id] = scope.cancelled, scope.caught
            self.check_left(node.id, group, inner, left)
            left = inner = None

    def check_left(self, number: int, group: Any, inner: Any, left: BaseException | None) -> None:
        """Check that no child is alive, no failure is lost, and that each tells where it began."""
        alive = [each for each in self.children[number] if not self.greenlets[each].dead]
        if alive or len(group):
            self.broken.append(f"group {number} left {alive}, {len(group)}")
        raised = flat(left)
        if isinstance(left, KeyboardInterrupt | SystemExit):
            return
        failures = [self.failures.get(each) for each in self.children[number]]
        if inner is not None and not isinstance(inner, treadle.GreenletExit):
            failures.append(inner)
        for failure in failures:
            for each in flat(failure):
                exits = isinstance(each, treadle.GreenletExit)
                if not exits and all(each is not other for other in raised):
                    self.broken.append(f"group {number} lost {each!r}, it raised {left!r}")
        if isinstance(left, BaseExceptionGroup):
            ids = {id(self.failures.get(each)) for each in self.children[number]}
            for each in left.exceptions:
                if id(each) in ids and "spawned at" not in str(getattr(each, "__notes__", None)):
                    self.broken.append(f"group {number} has not noted where {each!r} began")

    def spawn(self, node: programs.Spawn) -> int | None:
        if node.group:
            group, self.adopters[node.id] = self.groups[node.group], self.adopting[node.group]
            if node.how == "start":
                self.starting[node.id] = node.group
                try:
                    value: int = group.start(self.main, node.id, node.body)
                except BaseException as exc:
                    # If this was interrupted, the greenlet has ended as a child of the group.
                    own = exc is self.failures.get(node.id)
                    if self.starting.pop(node.id, None) and node.id in self.greenlets and not own:
                        self.children[node.group].append(node.id)
                    raise
                return value
            greenlet, parent = group.spawn(self.main, node.id, node.body), node.group
        else:
            parent = self.adopters[node.id] = self.adopters[self.current]
            greenlet = treadle.spawn(self.main, node.id, node.body)
        self.greenlets[node.id] = self.name(greenlet, node.id)
        if parent:
            self.children[parent].append(node.id)
        return None

    def gather(self, node: programs.Gather) -> list[Any]:
        functions = []
        for each in node.functions:
            self.adopters[each.id] = self.adopters[self.current]
            functions.append(partial(self.main, each.id, each.body))
        if node.how == "race":
            values = [treadle.race(*functions)]
        elif node.limit is not None:
            values = treadle.gather(*functions, limit=node.limit)
        else:
            values = treadle.gather(*functions)
        return [self.shape(v) if isinstance(v, BaseException) else v for v in values]

    def started(self, node: programs.Started) -> None:
        current = self.current
        treadle.started(current)
        if current in self.starting:
            self.children[self.starting.pop(current)].append(current)

    def get(self, node: programs.Get) -> Any:
        if node.target not in self.greenlets:
            return None
        timeout = None if node.time is None else seconds(node.time)
        value = self.greenlets[node.target].get(timeout=timeout)
        return self.shape(value) if isinstance(value, BaseException) else value

    def kill(self, node: programs.Kill) -> None:
        if node.target in self.greenlets:
            exception = programs.Killing(node.id) if node.what == "error" else None
            self.greenlets[node.target].kill(exception, block=node.block)

    def cancel(self, node: programs.Cancel) -> None:
        if node.target in self.open:
            target = self.groups.get(node.target, self.open[node.target])
            target.cancel(f"by {node.id}")

    def move(self, node: programs.Move) -> None:
        if node.target in self.open:
            self.open[node.target].deadline = after(node.time)

    def turn(self, node: programs.Turn) -> None:
        if node.target in self.open:
            self.open[node.target].shield = node.shield

    def attempt(self, node: programs.Try) -> None:
        try:
            self.block(node.body)
        except CATCHES[node.catch]:
            self.block(node.handler)
            if node.again:
                raise

    def wrap(self, node: programs.Wrap) -> None:
        try:
            self.block(node.body)
        except BaseException as exc:
            raise BaseExceptionGroup("", [exc]) from exc

    def at_last(self, node: programs.Finally) -> None:
        try:
            self.block(node.body)
        finally:
            self.block(node.cleanup)


def seconds(time: int) -> float:
    """The seconds that treadle, which rounds up, takes for so many microseconds and no more."""
    return max(time * 1000 - 0.5, 0) / 1e9


def after(time: int | None) -> float:
    return math.inf if time is None else (clock.monotonic() + time * 1000) / 1e9


STATEMENTS: dict[type, Callable[..., Any]] = {
    programs.Sleep: Execution.sleep,
    programs.Fail: Execution.fail,
    programs.Scope: Execution.scope,
    programs.Limit: Execution.limit,
    programs.Group: Execution.group,
    programs.Spawn: Execution.spawn,
    programs.Gather: Execution.gather,
    programs.Locked: Execution.locked,
    programs.Started: Execution.started,
    programs.Get: Execution.get,
    programs.Kill: Execution.kill,
    programs.Cancel: Execution.cancel,
    programs.Move: Execution.move,
    programs.Turn: Execution.turn,
    programs.Try: Execution.attempt,
    programs.Finally: Execution.at_last,
    programs.Wrap: Execution.wrap,
}
SCOPES: dict[str, Callable[[Any], Any]] = {
    "timeout": lambda time: treadle.CancelScope(*map(seconds, time)),
    "deadline": lambda time: treadle.CancelScope(deadline=after(*time)),
    "move_on_after": lambda time: treadle.move_on_after(*map(seconds, time)),
    "fail_after": lambda time: treadle.fail_after(*map(seconds, time)),
    "shield": lambda time: treadle.shield(*map(seconds, time)),
    "shielded": lambda time: treadle.CancelScope(*map(seconds, time), shield=True),
}
FAILURES: dict[str, Callable[[int], BaseException]] = {
    "error": programs.Failure,
    "interrupt": KeyboardInterrupt,
    "exit": SystemExit,
}
CATCHES: dict[str, type[BaseException]] = {
    "Exception": Exception,
    "Timeout": treadle.Timeout,
    "Cancelled": treadle.Cancelled,
    "GreenletExit": treadle.GreenletExit,
    "BaseException": BaseException,
}
