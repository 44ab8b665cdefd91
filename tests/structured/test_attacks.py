"""Hostile and impossible uses of scopes and groups: nothing crashes, hangs or is lost."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

import treadle
from treadle import CancelScope, Greenlet, TaskGroup, move_on_after, shield
from treadle._core.scopes import reach_from_hub, tell_of_shield
from treadle._core.taskgroup import report_failure

SOON = 0.001


def output_of(program: str) -> str:
    """Return what *program* prints, which runs in an interpreter of its own and must end well."""
    code = "from treadle import *\n" + textwrap.dedent(program)
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", code],
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


# ---------------------------------------------------------------- hubs that end


@pytest.mark.parametrize(
    "block",
    ["CancelScope()", "CancelScope(100)", "shield(1)", "TaskGroup()", "TaskGroup(adopt=True)"],
)
@pytest.mark.parametrize(
    "then", ["pass", "get_hub()", "sleep(0)", "each.cancel()", "each.shield = False"]
)
def test_a_block_may_destroy_the_hub_it_runs_in(block: str, then: str) -> None:
    program = f"""
        with {block} as each:
            get_hub().destroy()
            {then}
        with move_on_after(0) as scope:
            sleep(10)
        print(scope.caught)
    """
    if "Group" in block:
        program = program.replace("each.shield", "each.cancel_scope.shield")
    assert output_of(program) == "True\n"


def test_a_group_forgets_children_of_a_destroyed_hub() -> None:
    program = """
        with TaskGroup() as group:
            group.spawn(sleep, 100)
            get_hub().destroy()
        print(len(group))
    """
    assert output_of(program) == "0\n"


def test_a_raw_greenlet_may_destroy_the_hub_inside_a_scope() -> None:
    program = """
        import greenlet

        def run():
            with CancelScope(100):
                get_hub().destroy()
            print("left")
        greenlet.greenlet(run).switch()
    """
    assert output_of(program) == "left\n"


def test_scopes_of_an_ended_thread_may_still_be_used() -> None:
    scopes: list[CancelScope] = []

    def run() -> None:
        for each in CancelScope(100), shield(50), CancelScope(60):
            each.__enter__()
            scopes.append(each)
        scopes[0].cancel()

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    treadle.get_hub()
    outer, shielding, inner = scopes
    shielding.shield = False
    shielding.shield = True
    inner.deadline = 5
    inner.deadline = time.monotonic() + 5
    inner.cancel()
    assert inner.cancelled
    for each in shielding, outer, inner:
        with pytest.raises(RuntimeError, match="was entered in"):
            each.__exit__(None, None, None)


def test_another_thread_may_end_a_shield() -> None:
    shields: list[CancelScope] = []
    began = threading.Event()
    ended: list[BaseException] = []

    def run() -> None:
        with CancelScope() as outer, shield(100) as inner:
            shields.append(inner)
            outer.cancel()
            began.set()
            try:
                treadle.sleep(10)
            except treadle.Cancelled as exc:
                ended.append(exc)
                raise

    thread = threading.Thread(target=run)
    thread.start()
    began.wait()
    shields[0].shield = False
    thread.join(5)
    assert not thread.is_alive()
    assert len(ended) == 1


# ---------------------------------------------------------------- objects made in other ways


def test_init_of_an_entered_scope_raises() -> None:
    with shield() as scope:
        with pytest.raises(RuntimeError, match="entered before"):
            scope.__init__(shield=False)  # type: ignore[misc]
        treadle.sleep(0)
    with pytest.raises(RuntimeError, match="entered before"):
        scope.__init__()  # type: ignore[misc]


def test_init_of_an_entered_group_raises() -> None:
    with TaskGroup(1) as group:
        with pytest.raises(RuntimeError, match="entered before"):
            group.__init__(3, adopt=True)  # type: ignore[misc]
        group.spawn(treadle.sleep, 0)
    with TaskGroup(adopt=True) as adopting:  # the count of adopting groups is right
        treadle.spawn(treadle.sleep, 0)
        assert len(adopting) == 1


def test_scopes_and_groups_work_without_init() -> None:
    with CancelScope.__new__(CancelScope) as scope:
        scope.cancel()
        treadle.sleep(0)
    assert scope.caught
    with TaskGroup.__new__(TaskGroup) as group:
        child = group.spawn(treadle.sleep, 0)
    assert child.dead


@pytest.mark.parametrize("call", [reach_from_hub, tell_of_shield])
def test_callbacks_of_the_hub_take_scopes_that_were_not_entered(
    call: Callable[[Any], object],
) -> None:
    call(CancelScope())
    call(TaskGroup().cancel_scope)


def test_a_greenlet_that_has_not_failed_is_not_reported(capsys: pytest.CaptureFixture[str]) -> None:
    report_failure(Greenlet())
    assert capsys.readouterr().err == ""


# ---------------------------------------------------------------- classes of programs


class Unhashable(Greenlet[Any]):
    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = None  # type: ignore[assignment]


class AllEqual(Greenlet[Any]):
    def __eq__(self, other: object) -> bool:
        return True

    def __hash__(self) -> int:
        return 1


class Failing(Greenlet[Any]):
    def __eq__(self, other: object) -> bool:
        raise LookupError

    def __hash__(self) -> int:
        raise LookupError


@pytest.mark.parametrize("kind", [Unhashable, AllEqual, Failing])
def test_children_are_told_apart_by_identity(kind: type[Greenlet[Any]]) -> None:
    with pytest.raises(ExceptionGroup) as caught, TaskGroup(adopt=True) as group:
        first, second = kind.spawn(treadle.sleep, 0), kind.spawn(treadle.sleep, SOON)
        assert len(group) == 2
        assert [each is child for each, child in zip(group, (first, second), strict=True)]
        kind.spawn(divmod, 1, 0)
    assert [type(each) for each in caught.value.exceptions] == [ZeroDivisionError]
    assert first.dead
    assert second.dead


def test_a_greenlet_that_runs_is_not_adopted_when_it_is_started_again() -> None:
    class Own(Greenlet[Any]):
        def run(self) -> None:
            with pytest.raises(treadle.exceptions.InvalidSwitchError), CancelScope():
                self.start()
                treadle.sleep(0)
            done.append(True)

    done: list[bool] = []
    with TaskGroup(adopt=True) as group:
        own = Own()
        own.start()
        assert own in group
        treadle.sleep(SOON)
        group.cancel()
        done += [] if done else [False]
        for each in group:
            group(each)  # its own run() tells nobody of its end
    assert done == [True]


class Secretive(Exception):
    """An exception whose attributes fail."""

    def fail(self, *args: object) -> Any:
        raise LookupError

    __traceback__ = __context__ = property(fail, fail)  # type: ignore[assignment]
    add_note = __repr__ = __str__ = fail  # type: ignore[assignment]


def test_an_exception_whose_attributes_fail_ends_a_greenlet(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reported: list[object] = []
    monkeypatch.setattr(
        treadle.get_hub(), "handle_error", lambda *args: reported.append(args), raising=False
    )
    monkeypatch.setattr(sys, "unraisablehook", reported.append)
    running, fresh = treadle.spawn(treadle.sleep, 10), treadle.spawn(treadle.sleep, 10)
    treadle.sleep(0)
    running.kill(Secretive, timeout=1)
    fresh.kill(Secretive, timeout=1)
    assert running.dead
    assert fresh.dead


def test_an_exception_whose_attributes_fail_leaves_a_group() -> None:
    def run() -> None:
        raise Secretive

    with pytest.raises(ExceptionGroup) as caught, TaskGroup() as group:
        group.spawn(run)
    assert isinstance(caught.value.exceptions[0], Secretive)
    try:
        with TaskGroup():
            raise Secretive
    except ExceptionGroup as exc:
        assert isinstance(exc.exceptions[0], Secretive)  # noqa: PT017


class Indivisible(ExceptionGroup[Exception]):
    """A group that fails when it is divided."""

    def split(self, condition: object) -> Any:
        raise LookupError

    def derive(self, exceptions: object) -> Any:
        raise LookupError


def test_groups_of_exceptions_that_fail_to_divide_go_on_as_they_are() -> None:
    def run() -> None:
        raise failure

    failure = Indivisible("", [ValueError()])
    with pytest.raises(ExceptionGroup) as caught, TaskGroup() as group:
        child = group.spawn(run)
    assert caught.value.exceptions == (failure,)
    assert child.dead
    with pytest.raises(ExceptionGroup) as caught, CancelScope() as outer, TaskGroup():
        outer.cancel()
        raise failure
    assert caught.value.exceptions == (failure,)
    with pytest.raises(Indivisible), CancelScope() as scope:
        scope.cancel()
        raise failure
    assert not scope.caught
    with move_on_after(0) as after:  # no scope has stayed open
        treadle.sleep(10)
    assert after.caught


def test_very_deep_groups_of_exceptions_end_a_child() -> None:
    def run() -> None:
        deep: BaseException = treadle.GreenletExit()
        for _ in range(20_000):
            deep = BaseExceptionGroup("", [deep])
        raise deep

    with TaskGroup() as group:
        child = group.spawn(run)
    assert child.dead


def test_a_constructor_that_waits_loses_no_kill() -> None:
    class Waits(BaseException):
        def __init__(self) -> None:
            for _ in range(3):
                try:
                    treadle.sleep(10)
                except ValueError as exc:
                    got.append(exc.args[0])

    def run() -> None:
        with shield():
            treadle.sleep(0)
            treadle.sleep(0)
        for _ in range(2):
            try:
                treadle.sleep(10)
            except Waits:
                pass
            except ValueError as exc:
                got.append(exc.args[0])

    got: list[int] = []
    target = treadle.spawn(run)
    treadle.sleep(0)
    target.kill(Waits, block=False)
    for i in range(4):  # the constructor waits by now: one ends its wait, another is held
        treadle.sleep(SOON)
        target.kill(ValueError(i), block=False)
        if i == 0 or i == 1:
            target.kill(ValueError(-i - 1), block=False)
    target.join(1)
    target.kill()
    assert sorted(got) == sorted({*got})
    assert {0, -1, 1, -2} <= {*got}


# ---------------------------------------------------------------- great numbers


def test_cancelling_deep_groups_takes_time_in_proportion() -> None:
    def run(left: int) -> None:
        with TaskGroup() as group:
            if left:
                group.spawn(run, left - 1)
            else:
                deepest.set()
                treadle.sleep(100)

    def seconds(depth: int) -> float:
        deepest.clear()
        with CancelScope() as scope:
            child = treadle.TaskGroup()
            with child:
                child.spawn(run, depth)
                deepest.wait()
                begin = time.process_time()
                scope.cancel()
        return time.process_time() - begin

    deepest = treadle.event.Event()
    seconds(100)
    assert seconds(2000) < 8 * seconds(500) + 0.05


def test_dropping_deep_scopes_does_not_exhaust_the_stack() -> None:
    program = """
        def run():
            for kind in [CancelScope, TaskGroup] * 50_000:
                kind().__enter__()

        spawn_raw(run)
        sleep(0)
        spawn(run).join()
        run()
        get_hub().destroy()
        get_hub()
        print("ok")
    """
    assert output_of(program) == "ok\n"


# ---------------------------------------------------------------- spawning that fails


def test_a_callback_that_fails_leaves_no_child_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(child: object) -> None:
        raise LookupError

    def run() -> None:
        raise ZeroDivisionError

    with pytest.raises(ExceptionGroup) as caught, TaskGroup(1) as group:
        Greenlet.add_spawn_callback(fail)
        try:
            for spawn in group.spawn, group.start:
                with pytest.raises(LookupError):
                    spawn(run)
        finally:
            Greenlet.remove_spawn_callback(fail)
    assert [type(each) for each in caught.value.exceptions] == [ZeroDivisionError]


def test_waiting_is_over_when_a_scope_was_left_first() -> None:
    with pytest.raises(RuntimeError, match="left before"), TaskGroup() as group:
        group.cancel_scope.__exit__(None, None, None)
        child = group.spawn(treadle.sleep, 0)
    assert child.dead
    with move_on_after(0) as scope:
        treadle.sleep(10)
    assert scope.caught
