"""The random programs find a fault: models with one rule broken differ from the model."""

from collections.abc import Callable
from typing import Any

import pytest

from . import model, programs, test_model
from .model import Cancelled, Members, Scope, Task, World
from .programs import Block, distinct

#: Within so many programs.
PROGRAMS = 3000


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


def takes_one(members: Members, exc: BaseException | None) -> None:
    if exc is not None and not isinstance(exc, model.GreenletExit) and not members.failures:
        members.failures.append(exc)


def takes_exits(members: Members, exc: BaseException | None) -> None:
    if exc is not None and not isinstance(exc, Cancelled):
        members.failures.append(exc)


def no_grace(world: World) -> None:
    pass


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
DUE, SET_DEADLINE = Task.due, World.set_deadline

FAULTS: list[tuple[Any, str, Callable[..., Any]]] = [
    (Scope, "pass_on", swallow_any),
    (model, "outermost", innermost),
    (model, "outermost", outermost_of_all),
    (Task, "edge", first_edge),
    (Task, "edge", edge_that_any_shield_holds),
    (Task, "edge", last_edge),
    (Task, "due", scopes_first),
    (Task, "due", once),
    (Members, "failed", takes_one),
    (Members, "failed", takes_exits),
    (World, "press_shields", no_grace),
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
