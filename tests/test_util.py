"""Inspecting a running program: greenlet trees, reports, and missing switches."""

import copy
import io
import os
import pickle
import sys
import time
from _thread import get_ident
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

import treadle
from treadle import util
from treadle.local import local
from treadle.observe.deadlock import describe_deadlock


def test_wrapped_errors_are_returned() -> None:
    wrapped = util.wrap_errors(ZeroDivisionError, divmod)
    assert isinstance(wrapped(1, 0), ZeroDivisionError)
    assert wrapped(7, 2) == (3, 1)
    assert repr(wrapped) == repr(divmod)
    with pytest.raises(TypeError):
        wrapped("a")


@pytest.mark.parametrize(
    "copied", [copy.copy, copy.deepcopy, lambda config: pickle.loads(pickle.dumps(config))]
)
def test_a_copy_of_the_settings(copied: Callable[[Any], Any]) -> None:
    before = treadle.config.max_blocking_time
    other = copied(treadle.config)
    assert other.max_blocking_time == before
    other.max_blocking_time = 17
    assert (other.max_blocking_time, treadle.config.max_blocking_time) == (17, before)


class TestTree:
    def test_children_stand_under_their_spawner(self) -> None:
        def parent() -> Any:
            child = treadle.spawn(treadle.sleep, 0.01)
            child.name = "the child"
            child.spawn_tree_locals["shared"] = 42
            mine = local()
            mine.secret = "kept"
            treadle.sleep(0)
            return util.GreenletTree.current_tree().format()

        spawner = treadle.spawn(parent)
        spawner.name = "the spawner"
        lines = spawner.get().splitlines()
        names = [line for line in lines if "+---" in line]
        spawner_at = next(i for i, line in enumerate(names) if "the spawner" in line)
        assert "the child" in names[spawner_at + 1]
        assert names[spawner_at + 1].index("+---") > names[spawner_at].index("+---")
        assert any("'shared': 42" in line for line in lines)
        assert any("'secret': 'kept'" in line for line in lines)

    def test_the_short_form_has_names_alone(self) -> None:
        text = str(util.GreenletTree.current_tree())
        assert "Hub" in text
        assert "Parent" not in text

    def test_what_became_of_those_that_ended(self) -> None:
        done = treadle.spawn(lambda: 17)
        failed = treadle.Greenlet(divmod, 1, 0)
        failed.start()
        treadle.get_hub().handle_error, before = lambda *_: None, treadle.get_hub().handle_error
        try:
            treadle.joinall([done, failed])
        finally:
            treadle.get_hub().handle_error = before
        text = str(util.GreenletTree.current_tree())
        assert "finished with value 17" in text
        assert "finished with exception ZeroDivisionError" in text


def test_run_info_tells_threads_and_greenlets() -> None:
    stream = io.StringIO()
    waiting = treadle.spawn(treadle.sleep, 10)
    treadle.sleep(0)
    util.print_run_info(file=stream, limit=3)
    waiting.kill()
    text = stream.getvalue()
    assert "* Threads" in text
    assert "(CURRENT" in text
    assert "test_run_info_tells" in text
    assert "sleep(10)" in text
    assert "...stack elided..." in "\n".join(util.format_run_info(thread_stacks=False))


def test_run_info_while_threading_is_being_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "threading", ModuleType("threading"))
    assert f"Thread {get_ident():#x}" in "".join(util.format_run_info())


def test_greenlets_are_found_while_another_thread_makes_a_tuple() -> None:
    """Without the care that it takes, tuple() failed there about a hundred times a second."""
    before = sys.getswitchinterval()
    made, ended = [], False

    def make() -> None:
        while not ended:
            made.append(len(tuple(each for each in range(200))))

    sys.setswitchinterval(1e-5)
    try:
        maker = treadle.get_hub().threadpool.spawn(make)
        deadline = time.monotonic() + 0.4
        while time.monotonic() < deadline:
            util.GreenletTree.forest()
    finally:
        ended = True
        sys.setswitchinterval(before)
    maker.get(timeout=10)
    assert set(made) == {200}


class TestAssertSwitches:
    def test_who_lets_nobody_run(self) -> None:
        with pytest.raises(AssertionError, match="To any greenlet in"), util.assert_switches():
            pass

    def test_a_wait_is_enough_though_nobody_else_is_there(self) -> None:
        with util.assert_switches():
            treadle.sleep(0.001)
        with util.assert_switches(max_blocking_time=5):
            pass

    def test_too_long_without_a_switch(self) -> None:
        with (
            pytest.raises(AssertionError, match=r"max allowed 0\.0010 seconds"),
            util.assert_switches(0.001),
        ):
            time.sleep(0.01)
        with pytest.raises(AssertionError, match="To the hub"), util.assert_switches(0.001, True):
            time.sleep(0.01)

    def test_its_own_error_wins(self) -> None:
        with pytest.raises(KeyError), util.assert_switches():
            raise KeyError


class TestMonitor:
    def test_who_blocks_is_reported(self) -> None:
        events: list[Any] = []
        hub = treadle.get_hub()
        stream = io.StringIO()
        monitor = hub.start_periodic_monitoring_thread()
        assert hub.start_periodic_monitoring_thread() is monitor
        treadle.events.subscribers.append(events.append)
        hub.exception_stream = stream
        try:
            treadle.sleep(0.001)
            deadline = time.monotonic() + 5
            while not events and time.monotonic() < deadline:
                time.sleep(0.05)
        finally:
            treadle.events.subscribers.remove(events.append)
            del hub.exception_stream
            monitor.kill()
            hub.periodic_monitoring_thread = None
        assert events[0].greenlet is hub.main
        assert events[0].hub is hub
        assert "appears to be blocked" in stream.getvalue()
        assert "test_who_blocks_is_reported" in stream.getvalue()

    @pytest.mark.parametrize("child", [False, True])
    def test_a_program_that_never_waits_is_monitored(
        self, fresh: Callable[..., str], child: bool
    ) -> None:
        if child and not hasattr(os, "fork"):
            pytest.skip("no fork here")
        source = """
import os, sys, time
os.environ["TREADLE_MONITOR_THREAD"] = "1"
import treadle, treadle.events
treadle.config.max_blocking_time = 0.02
treadle.config.print_blocking_reports = False
blocked = []
treadle.events.subscribers.append(
    lambda event: blocked.append(event) if hasattr(event, "blocking_time") else None
)
hub = treadle.get_hub()
process = os.fork() if CHILD else 0
if process:
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]))
end = time.monotonic() + 5
while not blocked and time.monotonic() < end: pass
print(blocked[0].greenlet is hub.main, flush=True)
"""
        assert fresh(source.replace("CHILD", str(child))) == "True\n"

    def test_hubs_of_treadles_own_threads_get_no_monitor(self, fresh: Callable[..., str]) -> None:
        source = """
import os, time
os.environ["TREADLE_MONITOR_THREAD"] = "1"
import treadle
treadle.config.print_blocking_reports = False
def wait():
    treadle.sleep(0.02)
    return treadle.get_hub().periodic_monitoring_thread
pool = treadle.get_hub().threadpool
print([pool.apply(wait) for _ in range(2)], treadle.get_hub().periodic_monitoring_thread is None)
hubs = []
treadle.get_hub().periodic_monitoring_thread.add_monitoring_function(
    lambda _: hubs.append(treadle.get_hub()), 0.001
)
end = time.monotonic() + 5
while len(hubs) < 3 and time.monotonic() < end: treadle.sleep(0.02)
print(hubs[0].periodic_monitoring_thread)
"""
        assert fresh(source) == "[None, None] False\nNone\n"

    def test_no_longest_time_to_block(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(treadle.config, "max_blocking_time", None)
        hub = treadle.get_hub()
        looks: list[Any] = []
        monitor = hub.start_periodic_monitoring_thread()
        try:
            monitor.add_monitoring_function(monitor.monitor_memory_usage, None)
            assert monitor.calculate_sleep_time() == monitor.idle_sleep_time
            monitor.add_monitoring_function(looks.append, 0.01)
            for _ in range(100):
                treadle.sleep(0.05)
                if looks:
                    break
        finally:
            monitor.kill()
            hub.periodic_monitoring_thread = None
        assert looks

    def test_waiting_is_not_blocking(self) -> None:
        hub = treadle.get_hub()
        looks: list[Any] = []
        monitor = hub.start_periodic_monitoring_thread()
        try:
            monitor.add_monitoring_function(
                lambda hub: looks.append(monitor.monitor_blocking(hub)), 0.01
            )
            for _ in range(100):  # the system decides when the monitor's thread runs
                treadle.sleep(0.1)
                if looks:
                    break
            with pytest.raises(ValueError, match="positive"):
                monitor.add_monitoring_function(print, 0)
            with pytest.raises(ValueError, match="callable"):
                monitor.add_monitoring_function(None, 1)
        finally:
            monitor.kill()
            hub.periodic_monitoring_thread = None
        assert looks
        assert not any(looks)


def test_a_long_chain_of_greenlets_is_shown() -> None:
    shown: list[str] = []

    def nest(depth: int) -> None:
        if depth:
            treadle.spawn(nest, depth - 1).join()
        else:
            shown.extend(treadle.util.format_run_info(greenlet_stacks=False))

    treadle.spawn(nest, 1500).join()
    assert sum("nest(" in line for line in shown) >= 1500


def test_a_repr_that_raises_does_not_end_a_report() -> None:
    class Shy(treadle.Greenlet):
        def __repr__(self) -> str:
            raise ZeroDivisionError

    shy = Shy.spawn(treadle.event.Event().wait)
    treadle.sleep(0)
    assert "whose repr() raises ZeroDivisionError" in "".join(treadle.util.format_run_info())
    assert "whose repr() raises ZeroDivisionError" in describe_deadlock(treadle.get_hub())
    shy.kill()


def test_a_greenlet_in_compiled_code_has_no_stack_of_another() -> None:
    sleeper = treadle.spawn(treadle.sleep, 5)
    treadle.sleep(0)
    text = "\n".join(treadle.util.format_run_info())
    below = text.split(repr(sleeper))[-1]
    assert "(in compiled code only)" in below
    assert "test_a_greenlet_in_compiled_code_has_no_stack_of_another" not in below
    sleeper.kill()
