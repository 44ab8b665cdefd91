"""The random programs find a fault: models with one rule broken differ from the model."""

from collections.abc import Callable
from typing import Any

import pytest

from . import model, programs, test_model
from .model import Cancelled, Members, Scope, Task, World
from .programs import Block, distinct

#: Within so many programs.
PROGRAMS = 10_000


def swallow_any(scope: Scope, exc: BaseException | None) -> BaseException | None:
    scope.caught = isinstance(exc, Cancelled)
    return None if scope.caught else exc


def innermost(scope: Scope | None) -> Scope | None:
    while scope is not None and not scope.cancelled:
        scope = None if scope.shield else scope.parent
    return scope


def outermost_of_all(scope: Scope | None) -> Scope | None:
    found = None
    while scope is not None:
        found, scope = scope if scope.cancelled else found, scope.parent
    return found


def first_edge(task: Task) -> Any:
    return task.edges[0] if task.edges else None


def edge_that_any_shield_holds(task: Task) -> Any:
    return None if any(scope.shield for scope in task.stack) else first_edge(task)


def last_edge(task: Task) -> Any:
    for each in reversed(task.edges):
        if not any(scope.shield for scope in task.stack[each.origin :]):
            return each
    return None


def scopes_first(task: Task) -> BaseException | None:
    scope = model.outermost(task.inner)
    if scope is not None:
        return Cancelled(scope)
    edge = task.edge()
    if edge is None:
        return None
    task.edges.remove(edge)
    task.delivered.append(edge.exc)
    return edge.exc


def once(task: Task) -> BaseException | None:
    scope = model.outermost(task.inner)
    if task.edge() is None and scope is not None:
        if task in told.setdefault(id(scope), [scope]):
            return None
        told[id(scope)].append(task)
    return DUE(task)


def only_the_last_is_known(task: Task) -> BaseException | None:
    task.delivered.clear()
    return DUE(task)


def takes_one(members: Members, exc: BaseException | None) -> bool:
    return bool(members.failures) or FAILED(members, exc)


def takes_exits(members: Members, exc: BaseException | None) -> bool:
    if exc is not None and not isinstance(exc, Cancelled):
        members.failures.append(exc)
    return exc is not None


def takes_twice(members: Members, exc: BaseException | None) -> bool:
    left = model.without_exits(exc)
    if left is not None:
        members.failures.append(left)
    return left is not None


def looks_at_no_groups(exc: BaseException | None) -> BaseException | None:
    return None if isinstance(exc, model.GreenletExit) else exc


def no_grace(world: World) -> None:
    pass


def grace_of_the_innermost_alone(world: World) -> None:
    shields = {task: [s for s in task.stack if s.shield][-1:] for task in world.tasks.values()}
    others = [s for s in world.open.values() if [s] != shields.get(s.task) and not s.pressed]
    for scope in others:
        scope.pressed = True
    PRESS(world)
    for scope in others:
        scope.pressed = False


def cancel_only_the_waiting(world: World, scope: Scope, reason: Any, source: Any) -> None:
    if not scope.cancelled:
        scope.reason, scope.source = reason, source
        scope.cancelled = True
        world.poke_all()
        scope.cancelled = False


def ever_later(world: World, scope: Scope, time: int | None) -> None:
    if scope.deadline == float("inf"):
        SET_DEADLINE(world, scope, time)


told: dict[int, list[Any]] = {}
DUE, FAILED = Task.due, Members.failed
PRESS, SET_DEADLINE = World.press_shields, World.set_deadline

FAULTS: list[tuple[Any, str, Callable[..., Any]]] = [
    (Scope, "pass_on", swallow_any),
    (model, "outermost", innermost),
    (model, "outermost", outermost_of_all),
    (Task, "edge", first_edge),
    (Task, "edge", edge_that_any_shield_holds),
    (Task, "edge", last_edge),
    (Task, "due", scopes_first),
    (Task, "due", once),
    (Task, "due", only_the_last_is_known),
    (Members, "failed", takes_one),
    (Members, "failed", takes_exits),
    (Members, "failed", takes_twice),
    (model, "without_exits", looks_at_no_groups),
    (World, "press_shields", no_grace),
    (World, "press_shields", grace_of_the_innermost_alone),
    (World, "cancel", cancel_only_the_waiting),
    (World, "set_deadline", ever_later),
]


@pytest.mark.parametrize(("where", "name", "fault"), FAULTS, ids=[f[2].__name__ for f in FAULTS])
def test_a_broken_rule_is_found(
    where: Any, name: str, fault: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def tells(program: Block) -> bool:
        right = World(program).seen
        told.clear()
        with monkeypatch.context() as patch:
            patch.setattr(where, name, fault)
            return World(program).seen != right

    number = next((seed for seed in range(PROGRAMS) if tells(distinct(seed))), None)
    assert number is not None
    print(f"found by program {number}")


def test_a_failure_is_reported_as_a_small_program(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(World, "press_shields", no_grace)
    with pytest.raises(pytest.fail.Exception) as caught:
        test_model.search(distinct)
    text = str(caught.value)
    assert "from treadle import *\n" in text
    program = eval(text.partition("PROGRAM = ")[2], vars(programs))
    assert test_model.failure_of(program) is not None
    assert len(programs.text(program).splitlines()) < 12
    monkeypatch.undo()
    assert test_model.failure_of(program) is None
