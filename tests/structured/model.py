"""What treadle's scopes and groups mean: a simulation of programs, in plain Python.

Greenlets are generators that yield a `Wait` where they may be suspended. Nothing here is treadle's.
Where more than one thing can happen next, `World` takes them in their *order*: 0 is first in, first
out; others differ from that at random, some seldom and some often. What of a program then differs
between two orders is nobody's promise.
"""

from __future__ import annotations

import heapq
import math
import random
from collections.abc import Callable, Generator
from functools import partial
from typing import Any

from . import programs
from .programs import Block, flat, shape


class GreenletExit(BaseException):
    pass


class Cancelled(GreenletExit):
    def __init__(self, scope: Scope) -> None:
        self.scope, self.reason, self.source = scope, scope.reason, scope.source


class Timeout(BaseException):
    def __init__(self, id: int = -1) -> None:
        self.id = id


class Edge:
    """An exception that is raised once, unless shields entered after *origin* stand before it."""

    def __init__(self, exc: BaseException, origin: int = 0) -> None:
        self.exc, self.origin = exc, origin


class Scope:
    def __init__(self, id: int, shield: bool = False, grace: int | None = None) -> None:
        self.id, self.shield, self.grace = id, shield, grace
        self.parent: Scope | None = None
        self.task: Task | None = None
        self.pressed = self.cancelled = self.caught = self.expired = False
        self.reason: str | None = None
        self.source: Task | None = None
        self.deadline = math.inf

    def pass_on(self, exc: BaseException | None) -> BaseException | None:
        """What is left of an exception that leaves the scope."""

        def own(each: BaseException) -> bool:
            return isinstance(each, Cancelled) and each.scope is self

        self.caught = any(map(own, flat(exc)))
        if isinstance(exc, BaseExceptionGroup) and self.caught:
            return exc.split(own)[1]
        return None if self.caught else exc


class Wait:
    def __init__(
        self,
        until: Callable[[], object] = lambda: False,
        time: int | None = None,
        held: bool = False,
    ) -> None:
        #: *held*: nothing is raised in it.
        self.until, self.time, self.held = until, time, held
        self.expired = False


Steps = Generator[Wait, None, Any]
FRESH, READY, RUNNING, PARKED, ENDED = range(5)


def without_exits(exc: BaseException | None) -> BaseException | None:
    if not any(isinstance(each, GreenletExit) for each in flat(exc)):
        return exc
    return exc.split(GreenletExit)[1] if isinstance(exc, BaseExceptionGroup) else None


class Members:
    """A task group."""

    def __init__(self, scope: Scope, limit: int | None, adopter: Members | None) -> None:
        self.scope, self.limit, self.adopter, self.open = scope, limit, adopter, True
        self.children: list[Task] = []
        self.failures: list[BaseException] = []
        #: Of a race: who has won, and what the others failed with.
        self.races = False
        self.winner: Task | None = None
        self.lost: list[BaseException] = []

    def failed(self, exc: BaseException | None) -> bool:
        """Take an exception; return whether that is a failure, and not only some GreenletExit."""
        left = without_exits(exc)
        if left is not None and not any(exc is each or left is each for each in self.failures):
            self.failures.append(left)
        return left is not None


class Task:
    """A greenlet."""

    def __init__(self, id: int, steps: Steps, group: Members | None) -> None:
        self.id, self.steps, self.group = id, steps, group
        self.state = FRESH
        self.base = group.scope if group else None
        self.adopter = group.adopter if group else None
        self.stack: list[Scope] = []
        self.edges: list[Edge] = []
        self.delivered: list[BaseException] = []
        self.wait = Wait()
        self.raises: BaseException | None = None
        self.value: Any = None
        self.exception: BaseException | None = None
        #: Whether start() waits for it, and whether it has called started().
        self.awaited = self.started = False
        #: Whether others get to know it only once it runs, and whether it ever ran.
        self.hidden = self.begun = False
        #: How many wait in its get(), and whether its failure is left to them.
        self.getters = 0
        self.is_left = False

    @property
    def ended(self) -> bool:
        return self.state == ENDED

    @property
    def inner(self) -> Scope | None:
        return self.stack[-1] if self.stack else self.base

    def edge(self) -> Edge | None:
        """The exception that came first, of those that no shield holds back."""
        for each in self.edges:
            if not any(scope.shield for scope in self.stack[each.origin :]):
                return each
        return None

    def was_given(self, exc: BaseException) -> bool:
        """Whether the exception has come from outside."""
        return any(exc is each for each in self.delivered)

    def due(self) -> BaseException | None:
        """What a wait raises now."""
        edge = self.edge()
        if edge is not None:
            self.edges.remove(edge)
            self.delivered.append(edge.exc)
            return edge.exc
        scope = outermost(self.inner)
        return Cancelled(scope) if scope else None


def outermost(scope: Scope | None) -> Scope | None:
    """The outermost cancelled scope from *scope* on that no shield stands before."""
    found = None
    while scope is not None:
        if scope.cancelled:
            found = scope
        scope = None if scope.shield else scope.parent
    return found


class World:
    """One run of a program. `seen` has what became of each statement, and when."""

    def __init__(self, program: Block, order: int = 0) -> None:
        self.random = random.Random(order)
        self.rate = (order + 3) % 4 / 4 + 0.25 if order else 0.0
        self.now = self.serial = 0
        self.timers: list[tuple[int, int, Callable[[], None]]] = []
        self.ready: list[Callable[[], None]] = []
        self.tasks: dict[int, Task] = {}
        self.open: dict[int, Scope] = {}
        self.groups: dict[int, Members] = {}
        self.locks: list[list[Task]] = [[], []]
        self.seen: dict[Any, Any] = {"reports": []}
        self.current = self.spawn(0, program, None)
        self.run()
        self.seen["reports"].sort(key=repr)

    # -- the loop

    def run(self) -> None:
        turn = 0  # how many of those that are ready come before the timers
        while self.ready or self.timers:
            if turn <= 0 or self.departs():
                if not self.ready:
                    self.now = self.timers[0][0]
                self.fire()
                turn = len(self.ready)
            if self.ready:
                turn -= 1
                self.ready.pop(self.pick(len(self.ready)))()
                self.settle()

    def fire(self) -> None:
        due: list[Callable[[], None]] = []
        while due or (self.timers and self.timers[0][0] <= self.now):
            while self.timers and self.timers[0][0] <= self.now:
                due.append(heapq.heappop(self.timers)[2])
            due.pop(self.pick(len(due)))()
            self.settle()

    def settle(self) -> None:
        self.press_shields()
        self.wake_done(bool(self.ready))

    def wake_done(self, may_be_later: bool = True) -> None:
        """Wake those whose wait is over; some may hear of that only after others have run."""
        for task in self.tasks.values():
            if task.state == PARKED and task.wait.until():
                later = may_be_later and self.departs() and self.random.random() < 0.5
                if not later:
                    self.wake(task, None)

    def pick(self, number: int) -> int:
        return self.random.randrange(number) if number > 1 and self.departs() else 0

    def departs(self) -> bool:
        """Whether to depart from first in, first out."""
        return self.rate > 0 and self.random.random() < self.rate

    def at(self, time: float, call: Callable[[], None]) -> None:
        self.serial += 1
        heapq.heappush(self.timers, (time, self.serial, call))  # type: ignore[misc]

    def wake(self, task: Task, raises: BaseException | None) -> None:
        task.state, task.raises = READY, raises
        self.ready.append(lambda: self.step(task))

    def step(self, task: Task) -> None:
        if task.state in (FRESH, READY):
            self.current = task
            task.state, task.begun = RUNNING, True
            raises, task.raises = task.raises, None
            scope = outermost(task.inner)
            if isinstance(raises, Cancelled) and scope is not None:
                raises = Cancelled(scope)  # one further out was cancelled since
            while True:
                try:
                    task.wait = task.steps.throw(raises) if raises else next(task.steps)
                except StopIteration as stop:
                    return self.end(task, stop.value, None)
                except BaseException as exc:
                    return self.end(task, None, exc)
                raises = None if task.wait.held else task.due()
                if raises is None:
                    break
            wait, task.state = task.wait, PARKED
            if wait.until():
                self.wake(task, None)
            elif wait.time is not None:

                def expire() -> None:
                    if task.wait is wait and task.state == PARKED:
                        wait.expired = True
                        self.wake(task, None)

                self.at(self.now + wait.time, expire)

    # -- what is raised

    def poke(self, task: Task) -> None:
        """Something may be due in the task."""
        if task.state == PARKED and not task.wait.held:
            raises = task.due()
            if raises is not None:
                self.wake(task, raises)
        elif task.state == READY and not task.wait.held:
            # It is about to go on: a kill or Timeout replaces what it was woken with.
            replaceable = task.raises is None or isinstance(task.raises, Cancelled)
            if replaceable and task.edge():
                task.raises = task.due()

    def poke_all(self) -> None:
        self.wake_done()
        for task in list(self.tasks.values()):
            if task.state == PARKED:
                self.poke(task)

    def post(self, task: Task, edge: Edge) -> None:
        if task.state == FRESH:
            self.end(task, None, edge.exc)
        elif task.state != ENDED:
            task.edges.append(edge)
            self.wake_done()
            self.poke(task)

    def cancel(self, scope: Scope, reason: str | None, source: Task | None) -> None:
        if not scope.cancelled:
            scope.cancelled, scope.reason, scope.source = True, reason, source
            self.poke_all()

    def set_deadline(self, scope: Scope, time: int | None) -> None:
        def expire() -> None:
            if scope.deadline == deadline and scope.id in self.open and not scope.cancelled:
                scope.expired = True
                self.cancel(scope, None, None)

        scope.deadline = deadline = math.inf if time is None else self.now + time
        if time == 0:
            expire()
        elif time is not None:
            self.at(deadline, expire)

    def press_shields(self) -> None:
        """Let the time of grace of each shield begin that stands before something.

        Whether another shield holds that back too does not matter.
        """
        for scope in self.open.values():
            if scope.grace is None or scope.pressed or not scope.shield:
                continue
            assert scope.task is not None
            at, outer = scope.task.stack.index(scope), scope.parent
            while outer is not None and not outer.cancelled:
                outer = outer.parent
            if outer is not None or any(each.origin <= at for each in scope.task.edges):
                scope.pressed = True
                self.at(self.now + scope.grace, partial(self.lower, scope))

    def lower(self, scope: Scope) -> None:
        if scope.id in self.open:
            self.turn(scope, False)

    def turn(self, scope: Scope, shield: bool) -> None:
        scope.shield = shield
        self.wake_done()
        for task in list(self.tasks.values()):
            self.poke(task)

    # -- greenlets

    def spawn(self, id: int, body: Block, group: Members | None) -> Task:
        task = self.tasks[id] = Task(id, self.main(id, body), group)
        if group is not None:
            group.children.append(task)
        self.ready.append(lambda: self.step(task))
        return task

    def main(self, id: int, body: Block) -> Steps:
        yield from self.block(body)
        return id

    def end(self, task: Task, value: Any, exc: BaseException | None) -> None:
        task.state, task.exception = ENDED, exc
        if task.begun or not task.hidden:
            self.seen["end", task.id] = self.now if task.begun else None, self.shape(exc)
        if isinstance(exc, GreenletExit) or (task.group and exc and not without_exits(exc)):
            value, task.exception = exc, None
        task.value = value
        group, exc = task.group, task.exception
        if group is not None:
            if group.races and group.winner is None and isinstance(exc, Exception):
                group.lost.append(exc)
                task.exception = None
            elif group.races and exc is None and not isinstance(value, BaseException):
                group.winner = group.winner or task
                task.value = None  # race() keeps it
                self.cancel(group.scope, None, task)
            elif exc is not None and not task.awaited and group.failed(exc):
                self.cancel(group.scope, None, task)
            # Only now: who waits for its place must not get that before the cancellation.
            group.children.remove(task)
        elif exc is not None and task.getters and isinstance(exc, Exception):
            task.is_left = True
        elif exc is not None and task.id:
            self.report(task)

    def report(self, task: Task) -> None:
        task.is_left = False
        self.seen["reports"].append(self.shape(task.exception))

    def shape(self, exc: Any) -> Any:
        def name(each: Any) -> int | None:
            return each.id if hasattr(each, "id") and each.id >= 0 else None

        return shape(exc, name)

    # -- statements

    def block(self, body: Block) -> Steps:
        for node in body:
            try:
                value = yield from getattr(self, f"do_{type(node).__name__.lower()}")(node)
            except BaseException as exc:
                self.seen[node.id] = self.now, self.shape(exc)
                raise
            self.seen[node.id] = self.now, value

    def do_sleep(self, node: programs.Sleep) -> Steps:
        yield Wait(time=node.time) if node.time else Wait(lambda: True)

    def do_fail(self, node: programs.Fail) -> Steps:
        raise FAILURES[node.what](node.id)
        yield

    def do_scope(self, node: programs.Scope) -> Steps:
        shield = node.kind in ("shield", "shielded")
        scope = Scope(node.id, shield, node.time if node.kind == "shield" else None)
        if node.early:
            self.cancel(scope, f"by {node.id}", self.current)
        self.enter(scope, None if node.kind == "shield" else node.time)
        exc = yield from self.outcome(node.body)
        exc = scope.pass_on(exc)
        self.leave(scope)
        if node.kind == "fail_after" and scope.caught and scope.expired and exc is None:
            exc = TimeoutError()
        if exc is not None:
            raise exc

    def outcome(self, body: Block) -> Steps:
        try:
            yield from self.block(body)
        except BaseException as exc:
            return exc
        return None

    def enter(self, scope: Scope, time: int | None) -> None:
        scope.task, scope.parent = self.current, self.current.inner
        self.current.stack.append(scope)
        self.open[scope.id] = scope
        if time is not None:
            self.set_deadline(scope, time)

    def leave(self, scope: Scope) -> None:
        assert self.current.stack.pop() is scope
        del self.open[scope.id]
        if scope.id >= 0:  # the program has it
            self.seen["scope", scope.id] = scope.cancelled, scope.caught

    def do_limit(self, node: programs.Limit) -> Steps:
        task = self.current
        timeout = Timeout(node.id)
        own = node.what in ("itself", "nothing")
        raises = timeout if own else programs.TimedOut(*[node.id] * (node.what == "instance"))
        edge = Edge(raises, len(task.stack))
        running = True

        def expire() -> None:
            if running:
                self.post(task, edge)

        self.at(self.now + node.time, expire)
        exc = yield from self.outcome(node.body)
        running = False
        if edge in task.edges:
            task.edges.remove(edge)
        if exc is not None and not (exc is timeout and node.what == "nothing"):
            raise exc

    def do_locked(self, node: programs.Locked) -> Steps:
        queue, task = self.locks[node.lock], self.current
        queue.append(task)  # the first of them has the lock
        try:
            if queue[0] is not task:
                yield Wait(lambda: queue[0] is task)
            yield from self.block(node.body)
        finally:
            queue.remove(task)

    def do_group(self, node: programs.Group) -> Steps:
        group = Members(Scope(node.id), node.limit, self.current.adopter)
        if node.adopt:
            group.adopter = group
        return self.grouped(group, self.block(node.body))

    def grouped(self, group: Members, steps: Steps) -> Steps:
        owner, scope, outer = self.current, group.scope, self.current.adopter
        self.enter(scope, None)
        self.groups[scope.id], owner.adopter = group, group.adopter
        exc = result = None
        try:
            result = yield from steps
        except BaseException as error:
            exc = error
            group.failed(exc)
            self.cancel(scope, None, owner)
        held = False
        while group.children:
            held = exc is not None
            try:
                yield Wait(lambda: not group.children, held=held)
            except BaseException as error:
                exc = error
                group.failed(exc)
                self.cancel(scope, None, owner)
        owner.adopter, group.open = outer, False
        failures = group.failures
        left = scope.pass_on(exc)
        self.leave(scope)
        bare = [each for each in failures if isinstance(each, KeyboardInterrupt | SystemExit)]
        if bare:
            raise bare[0]
        if len(failures) == 1 and owner.was_given(failures[0]):
            raise failures[0]
        if failures:
            if isinstance(exc, GreenletExit) and owner.was_given(exc):
                self.post(owner, Edge(exc))  # a kill, which the failures must not hide
            raise BaseExceptionGroup("", failures)
        if left is None and held:
            left = owner.due()  # the wait for the children held it back
        if left is not None:
            raise left
        return result

    def do_spawn(self, node: programs.Spawn) -> Steps:
        group = self.groups[node.group] if node.group else self.current.adopter
        if group is None:
            self.spawn(node.id, node.body, None)
            return
        if not group.open:
            raise RuntimeError
        task = yield from self.child(node, group)
        if node.how == "start":
            task.awaited = task.hidden = True
            try:
                yield Wait(lambda: task.started or task.ended)
            except BaseException:
                if not task.started:
                    task.awaited = False
                    if task.exception is not None:  # in the same moment
                        group.failed(task.exception)
                        self.cancel(group.scope, None, task)
                    self.post(task, Edge(GreenletExit()))
                    while not task.ended:
                        yield Wait(lambda: task.ended, held=True)
                raise
            task.awaited = False
            if task.started:
                return task.id
            raise task.exception or RuntimeError()

    def child(self, node: programs.Spawn, group: Members) -> Steps:
        limit = group.limit
        while limit is not None and len(group.children) >= limit:
            yield Wait(lambda: len(group.children) < limit)
        return self.spawn(node.id, node.body, group)

    def do_gather(self, node: programs.Gather) -> Steps:
        group = Members(Scope(-node.id), node.limit, self.current.adopter)
        group.races = node.how == "race"
        tasks: list[Task] = []

        def steps() -> Steps:
            for function in node.functions:
                tasks.append((yield from self.child(function, group)))
                tasks[-1].hidden = True

        yield from self.grouped(group, steps())
        if not group.races:
            return [self.told(task) for task in tasks]
        if group.winner is None:
            raise BaseExceptionGroup("", group.lost) if group.lost else RuntimeError()
        return [group.winner.id]

    def told(self, task: Task) -> Any:
        return self.shape(task.value) if isinstance(task.value, BaseException) else task.value

    def do_started(self, node: programs.Started) -> Steps:
        task = self.current
        if task.awaited:
            task.awaited, task.started = False, True
            self.wake_done()
        return
        yield

    def find(self, target: int) -> Task | None:
        """The greenlet, if it was started, and start() has not kept it to itself."""
        task = self.tasks.get(target)
        return None if task is not None and task.hidden and not task.begun else task

    def do_get(self, node: programs.Get) -> Steps:
        task = self.find(node.target)
        if task is None:
            return None
        if not task.ended:
            task.getters += 1
            wait = Wait(lambda: task.ended, time=node.time)
            try:
                yield wait
            except BaseException:
                if task.is_left:
                    self.report(task)
                raise
            finally:
                task.getters -= 1
            if wait.expired:
                raise Timeout
        task.is_left = False
        if task.exception is not None:
            raise task.exception
        return self.told(task)

    def do_kill(self, node: programs.Kill) -> Steps:
        task = self.find(node.target)
        if task is not None and not task.ended:
            self.post(task, Edge(KILLS[node.what](node.id)))
            if node.block and not task.ended:
                yield Wait(lambda: task.ended)

    def do_cancel(self, node: programs.Cancel) -> Steps:
        if node.target in self.open:
            self.cancel(self.open[node.target], f"by {node.id}", self.current)
        return
        yield

    def do_move(self, node: programs.Move) -> Steps:
        if node.target in self.open:
            self.set_deadline(self.open[node.target], node.time)
        return
        yield

    def do_turn(self, node: programs.Turn) -> Steps:
        if node.target in self.open:
            self.turn(self.open[node.target], node.shield)
        return
        yield

    def do_try(self, node: programs.Try) -> Steps:
        try:
            yield from self.block(node.body)
        except CATCHES[node.catch]:
            yield from self.block(node.handler)
            if node.again:
                raise

    def do_wrap(self, node: programs.Wrap) -> Steps:
        exc = yield from self.outcome(node.body)
        if exc is not None:
            raise BaseExceptionGroup("", [exc])

    def do_finally(self, node: programs.Finally) -> Steps:
        try:
            yield from self.block(node.body)
        finally:
            yield from self.block(node.cleanup)


FAILURES: dict[str, Callable[[int], BaseException]] = {
    "error": programs.Failure,
    "interrupt": KeyboardInterrupt,
    "exit": SystemExit,
}
KILLS: dict[str, Callable[[int], BaseException]] = {
    "error": programs.Killing,
    "exit": GreenletExit,
}
CATCHES: dict[str, type[BaseException]] = {
    "Exception": Exception,
    "Timeout": Timeout,
    "Cancelled": Cancelled,
    "GreenletExit": GreenletExit,
    "BaseException": BaseException,
}
