"""Greenlets: life, results, links, names and deaths, compared with gevent's and with threads."""

import contextvars
import dataclasses
import datetime
import decimal
import gc
import io
import os
import sys
import threading
import time
import traceback
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import treadle
from treadle.event import AsyncResult
from treadle.greenlet import Greenlet, GreenletExit
from treadle.hub import get_hub


class Expected(Exception):
    """The exception that these tests raise."""


@pytest.fixture
def stream(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    """The stream to which the hub prints errors."""
    hub = get_hub()
    hub.exception_stream = io.StringIO()
    yield hub.exception_stream
    del hub.exception_stream


def fail() -> None:
    raise Expected("failed")


def block() -> None:
    treadle.sleep(60)


class TestResult:
    def test_of_a_return(self) -> None:
        greenlet = treadle.spawn(lambda a, b: (a, b), 1, b=2)
        assert (greenlet.ready(), greenlet.successful(), greenlet.value) == (False, False, None)
        assert greenlet.get() == greenlet.value == (1, 2)
        assert greenlet.ready()
        assert greenlet.successful()
        assert (greenlet.exception, greenlet.exc_info) == (None, None)
        assert greenlet.dead
        assert not greenlet

    def test_an_error_belongs_to_the_greenlet_that_waits_for_it(self, stream: io.StringIO) -> None:
        with pytest.raises(Expected):
            treadle.spawn(fail).get()
        assert stream.getvalue() == ""
        joined = treadle.spawn(fail)
        joined.join()
        assert stream.getvalue().count("Expected: failed") == 1

    @pytest.mark.parametrize("gone", ["before", "in the same turn"])
    def test_an_error_is_reported_if_its_waiter_is_gone(
        self, stream: io.StringIO, gone: str
    ) -> None:
        failing = treadle.spawn_later(0.02, fail)
        getter = treadle.spawn(failing.get)
        treadle.sleep(0)
        if gone == "before":
            getter.kill()
        else:
            failing.rawlink(lambda _: None)
            treadle.spawn_later(0.02, getter.kill, block=False)
        treadle.joinall([failing, getter])
        assert isinstance(getter.value, treadle.GreenletExit) == (not getter.exception)
        assert stream.getvalue().count("Expected: failed") >= 1

    def test_raising_an_error_again_does_not_grow_its_traceback(self, stream: io.StringIO) -> None:
        greenlet = treadle.spawn(fail)
        greenlet.join()
        group = treadle.pool.Group()

        def length(call: Callable[[], object]) -> int:
            with pytest.raises(Expected) as caught:
                call()
            return len(traceback.extract_tb(caught.value.__traceback__))

        def join_group() -> None:
            group.add(treadle.spawn(fail))
            group.join(raise_error=True)

        for call in [greenlet.get, lambda: treadle.joinall([greenlet], raise_error=True)]:
            assert len({length(call) for _ in range(5)}) == 1
        assert len({length(join_group) for _ in range(3)}) == 1
        assert stream.getvalue()

    def test_a_killed_greenlet_keeps_no_frames(self) -> None:
        class Local:
            pass

        def wait() -> None:
            local = Local()
            kept.append(weakref.ref(local))
            treadle.sleep(60)

        kept: list[Any] = []
        greenlet = treadle.spawn(wait)
        treadle.sleep(0)
        greenlet.kill()
        assert isinstance(greenlet.value, treadle.GreenletExit)
        assert kept[0]() is None

    def test_of_an_error(self, stream: io.StringIO) -> None:
        greenlet = treadle.spawn(fail)
        greenlet.join()
        with pytest.raises(Expected):
            greenlet.get()
        assert not greenlet.successful()
        assert greenlet.value is None
        kind, value, tb = greenlet.exc_info
        assert (kind, value) == (Expected, greenlet.exception)
        assert traceback.extract_tb(tb)[-1].name == "fail"
        assert "Expected: failed" in stream.getvalue()
        assert repr(greenlet).endswith(": fail>")
        assert f"{greenlet!r} failed with Expected" in stream.getvalue()

    def test_get_does_not_wait_longer_than_it_may(self) -> None:
        greenlet = treadle.spawn(block)
        with pytest.raises(treadle.Timeout):
            greenlet.get(block=False)
        with pytest.raises(treadle.Timeout, match=r"0\.001 seconds"):
            greenlet.get(timeout=0.001)
        greenlet.kill()

    def test_what_it_ran_is_forgotten_at_its_end(self) -> None:
        class Argument:
            pass

        argument = Argument()
        gone = weakref.ref(argument)
        greenlet = treadle.spawn(lambda value: None, argument)
        del argument
        greenlet.join()
        gc.collect()
        assert gone() is None

    def test_joined_from_a_native_thread(self) -> None:
        greenlet = treadle.spawn(lambda: (treadle.sleep(0.005), 5)[1])
        got: list[int] = []
        thread = threading.Thread(target=lambda: got.append(greenlet.get()))
        thread.start()
        greenlet.join()
        thread.join()
        assert got == [5]


class TestStart:
    def test_nothing_runs_before_the_spawner_waits(self) -> None:
        ran: list[int] = []
        greenlet = treadle.spawn(ran.append, 1)
        assert (ran, bool(greenlet), greenlet.started, greenlet.dead) == ([], True, True, False)
        greenlet.join()
        assert ran == [1]

    def test_start_later_and_start(self) -> None:
        order: list[str] = []
        late = treadle.spawn_later(0.005, order.append, "late")
        later = Greenlet(order.append, "now")
        assert not later
        later.start()
        later.start()
        treadle.joinall([late, later])
        assert order == ["now", "late"]

    def test_what_cannot_run(self) -> None:
        for call in (treadle.spawn, treadle.spawn_raw, Greenlet):
            with pytest.raises(TypeError, match="not callable"):
                call(5)
        for arguments in ((1,), (1, 5)):
            with pytest.raises(TypeError):
                treadle.spawn_later(*arguments)

    def test_without_a_function_it_only_ends(self) -> None:
        greenlet = Greenlet()
        assert repr(greenlet).endswith(": _run>")
        greenlet.start()
        assert greenlet.get() is None

    def test_subclasses_run_their_own_method(self) -> None:
        class Worker(Greenlet):
            def __init__(self, start: int) -> None:
                super().__init__()
                self.begun = start

            def _run(self, *args: int) -> int:
                return self.begun + sum(args)

        assert Worker.spawn(3).get() == 3

    def test_the_spawners_context_is_copied(self) -> None:
        variable: contextvars.ContextVar[int] = contextvars.ContextVar("variable")
        variable.set(1)

        def change() -> int:
            seen = variable.get()
            variable.set(2)
            return seen

        assert treadle.spawn(change).get() == 1
        assert variable.get() == 1

    @pytest.mark.parametrize("spawn", [treadle.spawn, treadle.spawn_raw])
    def test_decimals_settings_are_copied(self, spawn: Any) -> None:
        seen = []

        def change() -> None:
            decimal.getcontext().prec += 1
            decimal.getcontext().traps[decimal.Inexact] = True
            seen.append(decimal.getcontext().prec)

        with decimal.localcontext() as settings:
            settings.prec = 7
            spawn(change)
            spawn(change)
            treadle.sleep(0)
            assert decimal.Decimal(1) / 3 == decimal.Decimal("0.3333333")
        assert seen == [8, 8]

    @pytest.mark.parametrize("spawn", [treadle.spawn, treadle.spawn_raw])
    @pytest.mark.parametrize("kind", ["trace", "profile"])
    def test_tracing_is_inherited_and_then_its_own(self, spawn: Any, kind: str) -> None:
        get, set_ = getattr(sys, f"get{kind}"), getattr(sys, f"set{kind}")
        seen = []

        def spawners(*args: object) -> Any:
            return spawners

        def its_own(*args: object) -> Any:
            return its_own

        def run() -> None:
            seen.append(get())
            set_(its_own)
            treadle.sleep(0)
            seen.append(get())
            # It ends with its function set.

        before = get()
        set_(spawners)
        try:
            spawn(run)
            treadle.get_hub().loop.run_callback(lambda: seen.append(get()))
            treadle.sleep(0)
            seen.append(get())
            treadle.sleep(0.001)
            seen.append(get())
        finally:
            set_(before)
        spawn(lambda: seen.append(get()))
        treadle.get_hub().loop.run_callback(lambda: seen.append(get()))
        treadle.sleep(0.001)
        assert seen == [spawners, spawners, spawners, its_own, spawners, before, before]

    def test_spawn_callbacks(self) -> None:
        seen: list[Greenlet] = []
        Greenlet.add_spawn_callback(seen.append)
        Greenlet.add_spawn_callback(seen.append)
        try:
            greenlets = [treadle.spawn(int), treadle.spawn_later(0, int)]
        finally:
            Greenlet.remove_spawn_callback(seen.append)
            Greenlet.remove_spawn_callback(seen.append)
        treadle.joinall([*greenlets, treadle.spawn(int)])
        assert seen == greenlets

    @pytest.mark.parametrize("spawn", [treadle.spawn, treadle.spawn_raw])
    def test_tree(self, spawn: Any) -> None:
        seen: list[Any] = []

        def make_children() -> None:
            seen.extend(Greenlet() for _ in range(2))

        outer, other = spawn(make_children), spawn(int)
        assert outer.spawning_greenlet() is treadle.getcurrent()
        treadle.sleep(0)
        first, second = seen
        assert first.spawning_greenlet() is outer
        assert first.spawn_tree_locals is second.spawn_tree_locals is outer.spawn_tree_locals
        assert other.spawn_tree_locals is not outer.spawn_tree_locals
        assert not hasattr(treadle.getcurrent(), "spawn_tree_locals")

    def test_spawning_stack_on_request(self, monkeypatch: pytest.MonkeyPatch) -> None:
        assert treadle.spawn(int).spawning_stack is None
        monkeypatch.setattr(treadle.config, "spawning_stack_limit", 2)
        stack = traceback.format_stack(treadle.spawn(int).spawning_stack)
        assert len(stack) == 2
        assert "test_spawning_stack_on_request" in stack[-1]

    def test_without_the_tree(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(treadle.config, "track_greenlet_tree", False)
        greenlet = treadle.spawn(int)
        assert (greenlet.spawning_greenlet, greenlet.spawn_tree_locals) == (None, None)


class TestKill:
    def test_a_running_one(self) -> None:
        greenlet = treadle.spawn(block)
        treadle.sleep(0)
        greenlet.kill()
        assert greenlet.dead
        assert greenlet.successful()
        assert isinstance(greenlet.value, GreenletExit)

    def test_one_that_has_not_begun_never_runs(self) -> None:
        ran: list[int] = []
        for greenlet in (
            treadle.spawn(ran.append, 1),
            treadle.spawn_later(0.001, ran.append, 1),
            Greenlet(ran.append, 1),
        ):
            greenlet.kill()
            assert greenlet.dead
            greenlet.start()
            assert isinstance(greenlet.get(), GreenletExit)
        treadle.sleep(0.005)
        assert ran == []

    def test_with_an_exception_of_ones_own(self, stream: io.StringIO) -> None:
        greenlet = treadle.spawn(block)
        treadle.sleep(0)
        greenlet.kill(Expected("killed"))
        assert isinstance(greenlet.exception, Expected)
        assert "Expected: killed" in stream.getvalue()

    @pytest.mark.parametrize("begun", [False, True])
    @pytest.mark.parametrize(
        "exception", [Expected, Expected("x"), (Expected, Expected("x"), None), 42]
    )
    def test_with_whatever_means_an_exception(
        self, begun: bool, exception: Any, stream: io.StringIO
    ) -> None:
        greenlet = treadle.spawn(block)
        if begun:
            treadle.sleep(0)
        greenlet.kill(exception)
        assert greenlet.dead
        assert not greenlet.successful()
        assert isinstance(greenlet.exception, BaseException if exception == 42 else Expected)

    def test_one_that_refuses_to_die(self) -> None:
        def stubborn() -> str:
            try:
                block()
            except GreenletExit:
                treadle.sleep(0.002)
            return "done"

        greenlet = treadle.spawn(stubborn)
        treadle.sleep(0)
        greenlet.kill(timeout=0.0005)
        assert not greenlet.dead
        greenlet.kill(block=False)
        greenlet.join()
        assert isinstance(greenlet.value, GreenletExit)

    def test_oneself(self) -> None:
        def suicide() -> None:
            treadle.getcurrent().kill()

        greenlet = treadle.spawn(suicide)
        assert isinstance(greenlet.get(), GreenletExit)

    def test_oneself_without_blocking_waits_for_the_next_wait(self) -> None:
        went_on: list[int] = []

        def run() -> None:
            treadle.getcurrent().kill(block=False)
            treadle.kill(treadle.getcurrent())
            went_on.append(1)
            treadle.sleep(0)
            went_on.append(2)

        greenlet = treadle.spawn(run)
        assert isinstance(greenlet.get(), GreenletExit)
        assert went_on == [1]

    def test_raw_greenlets(self) -> None:
        ended: list[type[BaseException]] = []

        def run() -> None:
            try:
                block()
            except BaseException as exc:
                ended.append(type(exc))
                raise

        raw = treadle.spawn_raw(run)
        treadle.sleep(0)
        treadle.kill(raw)
        treadle.sleep(0)
        assert ended == [GreenletExit]
        assert raw.dead
        treadle.kill(raw)

    def test_all(self) -> None:
        ran: list[int] = []
        running = [treadle.spawn(block) for _ in range(3)] + [treadle.spawn_raw(block)]
        treadle.sleep(0)
        waiting = treadle.spawn(ran.append, 1)
        treadle.killall(iter([*running, waiting]))
        assert all(greenlet.dead for greenlet in [*running, waiting])
        assert ran == []
        treadle.killall([])

    def test_all_in_time(self) -> None:
        def stubborn() -> None:
            try:
                block()
            except GreenletExit:
                block()

        greenlet = treadle.spawn(stubborn)
        treadle.sleep(0)
        with pytest.raises(treadle.Timeout):
            treadle.killall([greenlet], timeout=0.001)
        treadle.killall([greenlet], block=False)
        assert not greenlet.dead
        greenlet.join()
        assert greenlet.dead

    def test_all_with_oneself_among_them(self) -> None:
        others = [treadle.spawn(block) for _ in range(2)]

        def run() -> None:
            treadle.killall([treadle.getcurrent(), *others])

        greenlet = treadle.spawn(run)
        assert isinstance(greenlet.get(), GreenletExit)
        assert all(other.dead for other in others)


class TestLinks:
    def test_in_order_when_it_has_ended(self) -> None:
        greenlet = treadle.spawn(int)
        told: list[Any] = []
        greenlet.rawlink(lambda source: told.append((1, source)))
        greenlet.link(lambda source: told.append((2, source)))
        removed = told.append
        greenlet.rawlink(removed)
        greenlet.unlink(removed)
        assert greenlet.has_links() == 2
        greenlet.join()
        treadle.sleep(0)
        treadle.sleep(0)
        assert told == [(1, greenlet), (2, greenlet)]

    def test_when_it_has_ended_already(self) -> None:
        greenlet = treadle.spawn(int)
        greenlet.join()
        told = treadle.hub.Waiter()
        greenlet.rawlink(told.switch)
        assert told.get() is greenlet

    def test_by_the_way_it_ended(self, stream: io.StringIO) -> None:
        told: list[str] = []
        for function in (int, fail):
            greenlet = treadle.spawn(function)
            greenlet.link_value(lambda source: told.append("value"))
            greenlet.link_exception(lambda source: told.append("exception"))
            greenlet.join()
            treadle.sleep(0.001)
        assert told == ["value", "exception"]

    def test_a_link_may_block(self) -> None:
        done = treadle.hub.Waiter()
        greenlet = treadle.spawn(int)
        greenlet.link(lambda source: (treadle.sleep(0.001), done.switch(source)))
        assert done.get() is greenlet

    def test_unlink_takes_what_link_was_given(self) -> None:
        told: list[Any] = []
        callback = told.append
        greenlet = treadle.spawn(int)
        greenlet.link(callback)
        greenlet.unlink(callback)
        greenlet.link(callback)
        greenlet.unlink_all()
        greenlet.join()
        treadle.sleep(0.001)
        assert told == []

    def test_an_error_in_one_does_not_stop_the_next(self, stream: io.StringIO) -> None:
        told: list[Any] = []
        greenlet = treadle.spawn(int)
        greenlet.rawlink(lambda source: 1 / 0)
        greenlet.rawlink(told.append)
        greenlet.join()
        treadle.sleep(0)
        assert told == [greenlet]
        assert "ZeroDivisionError" in stream.getvalue()


class TestWaitingForSeveral:
    @staticmethod
    def runners(*seconds: float) -> list[Greenlet]:
        return [treadle.spawn(lambda s=s: (treadle.sleep(s), s)[1]) for s in seconds]

    def test_joinall_in_the_order_they_ended(self) -> None:
        late, early = greenlets = self.runners(0.004, 0.001)
        assert treadle.joinall(greenlets) == [early, late]
        assert treadle.joinall([]) == []

    def test_joinall_with_timeout_and_count(self) -> None:
        never, early, late = greenlets = self.runners(60, 0.001, 0.002)
        assert treadle.joinall(greenlets, count=1) == [early]
        assert treadle.joinall(greenlets, timeout=0.01) == [early, late]
        assert treadle.joinall(iter([never]), timeout=0) == []
        assert never.has_links() == 0
        never.kill()

    def test_joinall_raises_what_one_ended_by(self, stream: io.StringIO) -> None:
        endless = treadle.spawn(block)
        with pytest.raises(Expected):
            treadle.joinall([endless, treadle.spawn(fail)], raise_error=True)
        assert endless.has_links() == 0
        endless.kill()

    def test_iwait_yields_as_they_end(self) -> None:
        late, early = greenlets = self.runners(0.004, 0.001)
        seen = []
        for greenlet in treadle.iwait(greenlets):
            seen.append(greenlet)
            treadle.sleep(0.006)  # the other greenlet may end while the iterator is not waiting
        assert seen == [early, late]

    def test_iwait_left_early_forgets_the_rest(self) -> None:
        endless, early = self.runners(60, 0.001)
        with treadle.iwait([endless, early]) as waiting:
            assert next(waiting) is early
        assert endless.has_links() == 0
        assert list(waiting) == []
        endless.kill()

    def test_wait_for_everything(self) -> None:
        greenlets = self.runners(0.001, 0.002)
        assert treadle.wait(timeout=30) is True
        assert all(greenlet.ready() for greenlet in greenlets)
        endless = treadle.spawn(block)
        assert treadle.wait(timeout=0.001) is False
        assert treadle.iwait(None, timeout=0.001) == [False]
        endless.kill()

    def test_a_timeout_inside_leaves_no_link(self) -> None:
        endless = treadle.spawn(block)
        with treadle.Timeout(0.001, False):
            treadle.joinall([endless])
        assert endless.has_links() == 0
        endless.kill()


class TestNames:
    def test_small_numbers_are_reused(self) -> None:
        first, second = treadle.spawn(int), treadle.spawn(int)
        numbers = {first.minimal_ident, second.minimal_ident}
        assert len(numbers) == 2
        treadle.joinall([first, second])
        number = first.minimal_ident
        del first
        gc.collect()
        third = treadle.spawn(int)
        assert third.minimal_ident <= number
        assert third.name == f"Greenlet-{third.minimal_ident}"

    def test_repr_says_what_it_runs(self) -> None:
        def work(*args: Any, **kwargs: Any) -> None:
            """Do nothing."""

        greenlet = treadle.spawn(work, 1, "x" * 100, key="value")
        text = repr(greenlet)
        assert text.startswith(f"<Greenlet at {id(greenlet):#x}: work(1, 'xxx")
        assert text.endswith("key='value')>")
        assert len(text) < 130
        greenlet.name = "worker"
        assert repr(greenlet).startswith('<Greenlet "worker" at ')
        greenlet.join()
        assert "work(1" in repr(greenlet)

    def test_methods_of_its_own(self) -> None:
        class Worker(Greenlet):
            def _run(self) -> None:
                """Do nothing."""

        assert repr(Worker()).endswith(": _run>")


def test_as_a_context_manager() -> None:
    with treadle.spawn(treadle.sleep, 0.001) as greenlet:
        assert not greenlet.ready()
    assert greenlet.successful()


def test_kill_waits_by_join_of_the_class() -> None:
    class Noted(treadle.Greenlet):
        joined: list[float | None]

        def join(self, timeout: float | None = None) -> None:
            self.joined.append(timeout)
            super().join(timeout)

    task = Noted.spawn(treadle.sleep, 10)
    task.joined = []
    treadle.sleep(0)
    task.kill(timeout=5)
    assert task.dead
    assert task.joined == [5]


def test_a_context_left_by_an_error_kills() -> None:
    killed = treadle.spawn(block)
    treadle.sleep(0)

    def leave() -> None:
        with killed:
            raise Expected

    with pytest.raises(Expected):
        leave()
    assert killed.dead
    assert isinstance(killed.exception, Expected)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
def test_a_forked_child_does_not_start_the_parents_greenlets() -> None:
    ran: list[int] = []
    greenlets = [treadle.spawn(ran.append, 1), treadle.spawn_later(0.001, ran.append, 2)]
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            treadle.sleep(0.01)
            status = len(ran)
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    treadle.joinall(greenlets)
    assert ran == [1, 2]


def test_links_run_in_order_and_before_who_joined_later() -> None:
    order: list[int] = []
    greenlet = treadle.spawn(order.append, 0)
    for number in range(1, 5):
        greenlet.link(lambda _, number=number: order.append(number))
    greenlet.join()
    assert order == [0, 1, 2, 3, 4]


def test_a_link_may_unlink_the_next() -> None:
    seen: list[str] = []
    greenlet = treadle.spawn(int)

    def first(source: Any) -> None:
        seen.append("first")
        source.unlink(second)

    def second(_: Any) -> None:
        seen.append("second")

    greenlet.link(first)
    greenlet.link(second)
    greenlet.join()
    treadle.sleep(0)
    assert seen == ["first"]


class Demanding(Exception):
    def __init__(self, needed: object) -> None:
        super().__init__(needed)


def test_killing_an_unstarted_greenlet_with_a_class_that_cannot_be_raised(
    stream: io.StringIO,
) -> None:
    greenlet = treadle.spawn(int)
    greenlet.kill(Demanding)
    greenlet.join(1)
    assert greenlet.dead
    assert isinstance(greenlet.exception, TypeError)


def test_the_killer_runs_as_soon_as_its_victim_has_ended() -> None:
    ran: list[str] = []
    victim = treadle.spawn(treadle.sleep, 5)
    treadle.sleep(0)

    def kill() -> None:
        victim.kill()
        ran.append("killer")

    treadle.spawn(kill)
    treadle.sleep(0)
    treadle.sleep(0)  # the victim ends meanwhile
    ran.append("main")
    treadle.sleep(0.01)
    assert ran == ["killer", "main"]


def test_links_are_called_in_order_and_removed_one_by_one() -> None:
    class Unhashable:
        __hash__ = None  # type: ignore[assignment]

        def __init__(self, name: str) -> None:
            self.name = name

        def __eq__(self, other: object) -> bool:
            return isinstance(other, Unhashable) and other.name == self.name

        def __call__(self, source: object) -> None:
            called.append(self.name)

    def call(source: object) -> None:
        called.append("function")

    called: list[str] = []
    for source in (treadle.Greenlet(int), AsyncResult()):
        called.clear()
        for link in (call, Unhashable("a"), call, Unhashable("b"), Unhashable("a"), call):
            source.rawlink(link)
        source.unlink(Unhashable("a"))
        source.unlink(call)
        source.unlink(print)
        source.start() if isinstance(source, treadle.Greenlet) else source.set(1)
        treadle.sleep(0.01)
        assert called == ["function", "b", "a", "function"]


def test_the_removal_of_a_link_without_hash_leaves_the_others() -> None:
    class Unhashable:
        __hash__ = None  # type: ignore[assignment]

        def __call__(self, source: object) -> None:
            called.append("unhashable")

    called: list[str] = []
    result: AsyncResult[int] = AsyncResult()
    first = Unhashable()
    result.rawlink(first)
    result.rawlink(lambda _: called.append("function"))
    result.set(1)
    result.unlink(first)  # before the hub calls the links
    treadle.sleep(0.01)
    assert called == ["function"]


@pytest.mark.parametrize("kind", ["greenlet", "result"])
@pytest.mark.parametrize("what", ["fire", "unlink", "join and time out"])
def test_links_cost_time_in_proportion_to_their_number(kind: str, what: str) -> None:
    count = 20_000

    def cost(each: int) -> float:
        """Return the time that *count* links or waiters take, *each* of them at one source."""
        sources = [
            treadle.Greenlet(int) if kind == "greenlet" else AsyncResult()
            for _ in range(count // each)
        ]
        linked = [source for source in sources for _ in range(each)]
        links = [lambda _, i=i: seen.append(i) for i in range(count)]
        seen: list[int] = []
        waiters = []
        if what == "join and time out":
            waiters = [
                treadle.spawn(source.wait if kind == "result" else source.join) for source in linked
            ]
            treadle.sleep(0)
        else:
            for source, link in zip(linked, links, strict=True):
                source.rawlink(link)
        gc.collect()
        gc.disable()  # it would look at what other tests have left, and more often in one case
        began = time.process_time()
        if what == "unlink":
            for source, link in zip(reversed(linked), reversed(links), strict=True):
                source.unlink(link)
        elif waiters:
            treadle.killall(waiters[::-1])
        else:
            for source in sources:
                source.start() if isinstance(source, treadle.Greenlet) else source.set(1)
            while len(seen) < count:
                treadle.sleep(0)
        took = time.process_time() - began
        gc.enable()
        return took

    # Both have the same number, thus as much memory: only what one costs the others differs.
    rounds = [(cost(10), cost(count)) for _ in range(3)]
    apart, together = map(min, zip(*rounds, strict=True))
    assert together < 4 * apart  # 10 times as much and more if each looks at all


def test_a_stack_limit_is_no_size_of_memory() -> None:
    treadle.config.spawning_stack_limit = 2**60
    try:
        stack = treadle.spawn(int).spawning_stack
        assert stack is not None
        assert stack.f_code.co_name == "test_a_stack_limit_is_no_size_of_memory"
    finally:
        treadle.config.spawning_stack_limit = 0


@pytest.mark.parametrize(
    "call",
    [
        treadle.sleep,
        lambda seconds: treadle.Timeout(seconds).start(),
        lambda seconds: treadle.spawn(treadle.sleep, 0).join(seconds),
        lambda seconds: AsyncResult().get(timeout=seconds),
        lambda seconds: treadle.lock.Semaphore(0).acquire(timeout=seconds),
        lambda seconds: treadle.spawn_later(seconds, int),
        lambda seconds: treadle.get_hub().loop.timer(seconds).start(int),
        lambda seconds: treadle.queue.Queue().get(timeout=seconds),
    ],
)
@pytest.mark.parametrize("what", [datetime.timedelta(seconds=1), "1", []])
def test_only_numbers_are_seconds(call: Callable[[Any], object], what: object) -> None:
    with pytest.raises(TypeError):
        call(what)


def test_links_may_be_removed_while_they_are_called() -> None:
    called: list[str] = []
    greenlet = treadle.spawn(treadle.sleep, 5)
    treadle.sleep(0)
    greenlet.rawlink(lambda _: called.append("first"))
    greenlet.kill()  # the killer runs before the links
    greenlet.unlink_all()
    treadle.sleep(0.01)
    assert called == []

    def remove(_: object) -> None:
        called.append("remover")
        other.unlink_all()

    other = treadle.spawn(int)
    other.rawlink(remove)
    other.rawlink(lambda _: called.append("removed"))
    treadle.sleep(0.01)
    assert called == ["remover"]


def test_comparing_links_may_remove_all() -> None:
    class Odd:
        def __call__(self, source: object) -> None:
            pass

        def __hash__(self) -> int:
            return 1

        def __eq__(self, other: object) -> bool:
            greenlet.unlink_all()
            return False

    greenlet = treadle.Greenlet(int)
    for change in (greenlet.rawlink, greenlet.unlink, greenlet.rawlink, greenlet.rawlink):
        change(Odd())


def test_exceptions_that_refuse_attributes(stream: io.StringIO) -> None:
    @dataclasses.dataclass(frozen=True)
    class NotFound(Exception):
        name: str

    @dataclasses.dataclass(frozen=True)
    class Stop(GreenletExit):
        name: str

    def fail(exc: BaseException) -> None:
        raise exc

    failed = treadle.spawn(fail, NotFound("x"))
    failed.join()
    for call in (failed.get, lambda: treadle.joinall([failed], raise_error=True)):
        with pytest.raises(NotFound):
            call()
    stopped = treadle.spawn(fail, Stop("y"))
    assert stopped.get(timeout=30) == Stop("y")


def test_joiners_of_a_greenlet_whose_thread_has_ended() -> None:
    made: list[Greenlet[Any]] = []
    thread = threading.Thread(target=lambda: made.append(Greenlet(print)))
    thread.start()
    thread.join()
    made[0].rawlink(print)
    joiner = treadle.spawn(made[0].join, 60)
    treadle.sleep(0)
    made[0].kill()
    began = time.monotonic()
    joiner.join()
    assert time.monotonic() - began < 20


def test_an_error_is_reported_if_its_waiter_s_thread_has_ended(stream: io.StringIO) -> None:
    greenlet = treadle.spawn_later(0.1, fail)

    def leave_a_waiter() -> None:
        treadle.spawn(greenlet.get)
        treadle.sleep(0)

    thread = threading.Thread(target=leave_a_waiter)
    thread.start()
    thread.join()
    greenlet.join()
    assert "Expected: failed" in stream.getvalue()


def test_a_subclass_that_does_not_call_init_runs() -> None:
    class Silent(Greenlet):
        def __init__(self, number: int) -> None:
            self.number = number

        def _run(self) -> int:
            return self.number

    silent = Silent(3)
    silent.start()
    treadle.sleep(0.001)
    assert silent.get(timeout=1) == 3
