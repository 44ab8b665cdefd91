"""The pytest plugin: each inner run is a pytest of its own, as the plugin patches its process."""

import importlib.util
import re
from collections.abc import Callable
from xml.etree import ElementTree

import pytest

pytest_plugins = ["pytester"]

#: Starts a pytest in a fresh interpreter, in a directory that holds one file of tests.
Inner = Callable[..., pytest.RunResult]


@pytest.fixture
def inner(pytester: pytest.Pytester) -> Inner:
    """Return a function that runs pytest on a text, with arguments, and returns what came out."""

    def run(source: str, *arguments: str) -> pytest.RunResult:
        pytester.makeini(
            "[pytest]\nasyncio_default_fixture_loop_scope = function\n"
            if importlib.util.find_spec("pytest_asyncio")
            else "[pytest]\n"
        )
        pytester.makepyfile(test_inner=source)
        options = ["-p", "no:cacheprovider", "--junitxml=report.xml", *arguments]
        return pytester.runpytest_subprocess(*options, timeout=60)

    return run


@pytest.fixture
def outcomes(pytester: pytest.Pytester) -> Callable[[], dict[str, str]]:
    """Return a function that says for each test of the last inner run how it ended."""

    def read() -> dict[str, str]:
        report = ElementTree.parse(pytester.path / "report.xml")
        return {
            case.attrib["name"]: next((child.tag for child in case), "passed")
            for case in report.iter("testcase")
        }

    return read


PASSING = """
import asyncio
import queue
import threading
import time
import unittest

import pytest

from treadle import monkey
from treadle.greenlet import Greenlet, getcurrent
from treadle.hub import get_hub

SLEEP_AT_IMPORT = time.sleep  # only a patch before collection makes this one cooperative


@pytest.fixture
def plain():
    return "plain"


@pytest.fixture
def around():
    events = ["up"]
    time.sleep(0.01)
    yield events
    time.sleep(0.01)
    assert events == ["up", "test"]


def test_takes_a_virtual_hour():
    began = time.monotonic(), time.perf_counter(), time.time()
    SLEEP_AT_IMPORT(3600)
    ended = time.monotonic(), time.perf_counter(), time.time()
    assert all(3600 <= b - a < 3601 for a, b in zip(began, ended))


def test_runs_in_a_greenlet_of_a_patched_process():
    assert monkey.is_module_patched("time")
    assert isinstance(getcurrent(), Greenlet) and getcurrent() is not get_hub().main


def test_threads_are_greenlets():
    done = queue.Queue()
    thread = threading.Thread(target=lambda: (SLEEP_AT_IMPORT(60), done.put(1)))
    thread.start()
    with pytest.raises(queue.Empty):
        done.get(timeout=59)
    assert done.get(timeout=30) == 1
    thread.join()


def test_skips():
    pytest.skip("not today")


@pytest.mark.xfail(strict=True)
def test_is_expected_to_fail():
    time.sleep(1)
    raise ValueError


@pytest.mark.parametrize("seconds", [60, 3600])
def test_takes_parameters(seconds):
    time.sleep(seconds)


def test_uses_fixtures(plain, around, tmp_path):
    around.append("test")
    assert plain == "plain" and tmp_path.is_dir()


class TestCase(unittest.TestCase):
    def setUp(self):
        time.sleep(0.01)
        self.value = 1

    def test_of_unittest(self):
        time.sleep(3600)
        self.assertEqual(self.value, 1)

    @unittest.skip("not today")
    def test_of_unittest_skips(self):
        pass


def test_runs_asyncio():
    assert asyncio.run(asyncio.sleep(0.01, "slept")) == "slept"
"""


def test_kinds_of_tests_that_pass(inner: Inner, outcomes: Callable[[], dict[str, str]]) -> None:
    result = inner(PASSING, "--treadle")
    assert outcomes() == {
        "test_takes_a_virtual_hour": "passed",
        "test_runs_in_a_greenlet_of_a_patched_process": "passed",
        "test_threads_are_greenlets": "passed",
        "test_skips": "skipped",
        "test_is_expected_to_fail": "skipped",
        "test_takes_parameters[60]": "passed",
        "test_takes_parameters[3600]": "passed",
        "test_uses_fixtures": "passed",
        "test_of_unittest": "passed",
        "test_of_unittest_skips": "skipped",
        "test_runs_asyncio": "passed",
    }
    result.assert_outcomes(passed=8, skipped=2, xfailed=1)
    assert result.duration < 30


FAILING = """
import os
import threading
import time

import pytest

import treadle
from treadle.event import Event

kept = []


def test_leaves_a_greenlet():
    treadle.spawn(time.sleep, 10**9)  # here it starts


def test_leaves_a_descriptor(tmp_path):
    kept.append(open(tmp_path / "left-open", "w"))


def test_ignores_an_exception():
    def fail():
        raise ValueError("nobody looks")

    treadle.spawn(fail)
    time.sleep(1)


def test_takes_an_exception():
    def fail():
        raise ValueError("somebody looks")

    with pytest.raises(ValueError):
        treadle.spawn(fail).get()


def test_deadlocks():
    first, second = threading.Lock(), threading.Lock()

    def other():
        with second:
            time.sleep(1)
            first.acquire()  # waits for the test

    thread = treadle.spawn(other)
    with first:
        time.sleep(1)
        second.acquire()  # waits for the other


@pytest.mark.treadle(timeout=0.3, clock="real")
def test_hangs():
    treadle.spawn(time.sleep, 1000)  # sleeps as well
    time.sleep(2000)  # sleeps here


def test_fails():
    assert time.monotonic() < 0


def test_is_not_harmed_by_those_before():
    time.sleep(3600)
"""


def test_what_fails_a_test(inner: Inner, outcomes: Callable[[], dict[str, str]]) -> None:
    result = inner(FAILING, "--treadle")
    assert {name: end for name, end in outcomes().items() if end == "passed"} == {
        "test_takes_an_exception": "passed",
        "test_is_not_harmed_by_those_before": "passed",
    }
    result.assert_outcomes(passed=2, failed=6)
    text = result.stdout.str()
    parts = dict(re.findall(r"^_+ (test_\w+) _+\n(.*?)(?=^_{5,} |^====)", text, re.M | re.S))
    assert "LeakError" in parts["test_leaves_a_greenlet"]
    assert "treadle.spawn(time.sleep, 10**9)" in parts["test_leaves_a_greenlet"]
    assert re.search(r"started at \S+test_inner\.py:14 in", parts["test_leaves_a_greenlet"])
    assert re.search(r"descriptor \d+ is open: \S+/left-open", parts["test_leaves_a_descriptor"])
    assert "ValueError: nobody looks" in parts["test_ignores_an_exception"]
    assert "AssertionError" in parts["test_fails"] or "assert " in parts["test_fails"]
    for line in [
        "first.acquire()  # waits for the test",
        "second.acquire()  # waits for the other",
    ]:
        assert re.search(rf"waits at .*{re.escape(line)}", parts["test_deadlocks"])
    assert "LoopExit" in parts["test_deadlocks"]
    assert "HangError: the test has not ended within 0.3 s" in parts["test_hangs"]
    assert re.search(r"waits at .*time.sleep\(2000\)  # sleeps here", parts["test_hangs"])
    assert "sleep(1000)> sleeping" in parts["test_hangs"]


MARKED = """
import time

import pytest

import treadle
from treadle import monkey
from treadle.greenlet import Greenlet, getcurrent


@pytest.mark.treadle
def test_marked():
    began = time.monotonic()
    treadle.sleep(3600)
    assert time.monotonic() - began >= 3600
    assert isinstance(getcurrent(), Greenlet)


def test_not_marked():
    assert not monkey.is_module_patched("time")
    assert not isinstance(getcurrent(), Greenlet)


@pytest.mark.treadle(leaks=False)
def test_may_leave_something():
    treadle.spawn(treadle.sleep, 10**9)


@pytest.mark.treadle(clock="real", timeout=None)
def test_on_the_real_clock():
    began = time.monotonic()
    treadle.sleep(0.05)
    assert 0.05 <= time.monotonic() - began < 5


@pytest.mark.treadle(seed=7)
def test_seeded():
    import random
    number = random.random()
    assert number == random.Random(7).random()


@pytest.mark.treadle(strict=True)
def test_strict():
    import treadle.socket
    a, b = treadle.socket.socketpair()
    with a, b:
        a.settimeout(0.01)
        a.recv(1)
"""


def test_the_marker_alone(inner: Inner, outcomes: Callable[[], dict[str, str]]) -> None:
    result = inner(MARKED)
    ends = outcomes()
    assert ends.pop("test_strict") == "failure"
    assert set(ends.values()) == {"passed"}
    result.assert_outcomes(passed=5, failed=1)
    result.stdout.fnmatch_lines(["*StrictClockError: a strict virtual clock waits for something*"])


RACE = """
import pytest
import treadle

RUNS = []


@pytest.mark.treadle(schedules=500, strategy="{strategy}", preempt="{preempt}")
def test_order():
    RUNS.append(1)
    order = []

    def note(name):
        treadle.sleep(1)
        order.append(name)

    treadle.joinall([treadle.spawn(note, name) for name in "abc"])
    assert order[0] == "a"


def test_runs(capsys):
    print("runs:", len(RUNS))
    with capsys.disabled():
        print("runs:", len(RUNS))
"""


@pytest.mark.parametrize(
    ("strategy", "preempt"), [("random", "parks"), ("pct", "ops"), ("dfs", "parks")]
)
def test_a_schedule_that_fails_is_replayed(inner: Inner, strategy: str, preempt: str) -> None:
    source = RACE.format(strategy=strategy, preempt=preempt)
    failed = inner(source)
    failed.assert_outcomes(passed=1, failed=1)
    text = failed.stdout.str()
    hint = re.search(r"With pytest: --treadle-replay (t1:0:\w+:\S*)", text)
    assert hint is not None, text
    assert f"replay(fn, '{hint[1]}')" in text
    again = inner(source, "--treadle-replay", hint[1])
    again.assert_outcomes(passed=1, failed=1)
    again.stdout.fnmatch_lines(["*runs: 1", "E *AssertionError: assert '[bc]' == 'a'"])
    assert "ScheduleFailure" not in again.stdout.str()


def test_schedules_without_a_failure(inner: Inner) -> None:
    source = """
import pytest
import treadle

RUNS = []


@pytest.mark.treadle(schedules=20)
def test_explores():
    RUNS.append(1)
    treadle.joinall([treadle.spawn(treadle.sleep, 0) for _ in range(5)])


def test_has_explored():
    assert len(RUNS) >= 20
"""
    inner(source).assert_outcomes(passed=2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("True", "does not take True; its arguments are clock, timeout,"),
        ("colour='red'", "does not take colour; its arguments are clock, timeout,"),
        ("clock='sundial'", "clock must be 'virtual' or 'real', not 'sundial'"),
        ("schedules=3, strategy='luck'", "strategy must be 'random' or 'pct' or 'dfs', not 'luck'"),
        ("schedules=3, preempt=True", "preempt must be 'parks' or 'ops', not True"),
        ("schedules='3'", "schedules must be a number above 0, or None, not '3'"),
        ("timeout=0", "timeout must be a number above 0, or None, not 0"),
        ("timeout='long'", "timeout must be a number above 0, or None, not 'long'"),
        ("seed='x'", "seed must be a whole number, or None, not 'x'"),
        ("bound=1.5", "bound must be a whole number, or None, not 1.5"),
    ],
)
def test_wrong_arguments_of_the_marker(
    inner: Inner, pytester: pytest.Pytester, arguments: str, message: str
) -> None:
    source = f"import pytest\n@pytest.mark.treadle({arguments})\ndef test_it(): print('ran')\n"
    pytester.makepyfile(test_inner=source)
    # In this process: nothing is run, so nothing is patched.
    result = pytester.runpytest_inprocess("-p", "no:cacheprovider", "-p", "no:asyncio")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert message in result.stderr.str()
    assert "test_inner.py::test_it" in result.stderr.str()


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--treadle-replay=nonsense", "'nonsense' is no token of a schedule"),
        ("--treadle-clock=sundial", "invalid choice: 'sundial'"),
        ("--treadle-timeout=long", "invalid float value: 'long'"),
    ],
)
def test_wrong_options(pytester: pytest.Pytester, option: str, message: str) -> None:
    pytester.makepyfile("def test_it(): pass")
    result = pytester.runpytest_inprocess("-p", "no:cacheprovider", "-p", "no:asyncio", option)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert message in result.stderr.str()


def test_the_options_for_clock_and_timeout(inner: Inner) -> None:
    source = """
import time
import pytest


def test_real():
    began = time.perf_counter()
    time.sleep(0.2)
    assert time.perf_counter() - began < 100


def test_too_long():
    time.sleep(50)


@pytest.mark.treadle(timeout=20, clock="virtual")
def test_the_marker_wins():
    time.sleep(50)
"""
    options = ["--treadle", "--treadle-clock=real", "--treadle-timeout=1", "--durations=0"]
    result = inner(source, *options, "--durations-min=0.2")
    result.assert_outcomes(passed=2, failed=1)
    result.stdout.fnmatch_lines(["*HangError: the test has not ended within 1.0 s*"])
    result.stdout.re_match_lines([r"(0\.[2-9]|[1-9]).*s call +test_inner.py::test_real"])


@pytest.mark.parametrize(
    ("statement", "code", "text"),
    [
        ("pytest.exit('enough', returncode=9)", 9, "*Exit: enough*"),
        ("raise KeyboardInterrupt", 2, "*KeyboardInterrupt*"),
        ("os.kill(os.getpid(), signal.SIGINT); time.sleep(60)", 2, "*KeyboardInterrupt*"),
    ],
)
def test_what_ends_pytest_passes_through(
    inner: Inner, statement: str, code: int, text: str
) -> None:
    source = (
        f"import os, signal, time, pytest\ndef test_it():\n    {statement}\ndef test_b(): pass\n"
    )
    result = inner(source, "--treadle")
    assert result.ret == code
    result.stdout.fnmatch_lines([text])
    result.assert_outcomes()  # the second test does not run


def test_pytest_timeout_keeps_to_the_real_clock(inner: Inner) -> None:
    source = """
import time
import pytest
import treadle


def test_a_virtual_hour():
    time.sleep(3600)


def test_really_hangs():
    while True:
        pass
"""
    result = inner(source, "--treadle", "--timeout=2", "--timeout-method=thread")
    result.stdout.re_match_lines([r"test_inner\.py \..*Timeout", r"Timeout|.*\+ Timeout \+.*"])
    assert "in test_really_hangs" in result.stdout.str()
    assert result.duration < 30


BUSY = """
import _thread
import pytest
import treadle
import treadle.testing


@pytest.mark.treadle(timeout=0.2)
def test_spins():
    while True:
        pass  # here


@pytest.mark.treadle(timeout=0.2)
def test_waits_natively():
    lock = _thread.allocate_lock()
    lock.acquire()
    lock.acquire()  # never


@pytest.mark.treadle(timeout=0.2)
def test_spins_in_a_run_in_a_run():
    def spin():
        while True:
            pass

    treadle.testing.run(spin)


@pytest.mark.treadle
def test_after():
    treadle.sleep(3600)
"""


def test_a_test_that_never_switches_ends_in_time(inner: Inner) -> None:
    result = inner(BUSY)
    result.assert_outcomes(passed=1, failed=3)
    assert result.duration < 30
    text = result.stdout.str()
    assert "the test has not ended within 0.2 s, and runs on without a switch" in text
    assert "lock.acquire()  # never" in text


SKIPPING = """
import unittest
import pytest

pytestmark = pytest.mark.treadle(schedules=5)


def test_skips():
    pytest.skip("not here")


def test_skips_as_unittest():
    raise unittest.SkipTest("not here")


def test_is_expected_to_fail():
    pytest.xfail("not yet")


def test_fails():
    pytest.fail("at once")
"""


def test_a_test_that_explores_schedules_may_skip(inner: Inner) -> None:
    result = inner(SKIPPING)
    result.assert_outcomes(skipped=2, xfailed=1, failed=1)


def test_pytest_asyncio_in_the_same_file(inner: Inner) -> None:
    pytest.importorskip("pytest_asyncio")
    source = """
import asyncio
import time
import pytest
import pytest_asyncio


@pytest_asyncio.fixture
async def resource():
    await asyncio.sleep(0.01)
    yield 42
    await asyncio.sleep(0.01)


@pytest.mark.asyncio
async def test_asyncio(resource):
    await asyncio.sleep(0.01)
    assert resource == 42
    assert asyncio.get_running_loop() is not None


def test_beside_it():
    time.sleep(3600)


@pytest.mark.asyncio
async def test_asyncio_fails():
    await asyncio.sleep(0.01)
    raise ValueError("in a coroutine")
"""
    for arguments in [[], ["--treadle"]]:
        selected = ["-k", "not beside"] if not arguments else []
        result = inner(source, *arguments, *selected)
        result.assert_outcomes(
            passed=2 if arguments else 1, failed=1, deselected=0 if arguments else 1
        )
        result.stdout.fnmatch_lines(["*ValueError: in a coroutine*"])


UNITTEST = """
import contextvars
import subprocess
import threading
import time
import unittest

import pytest
import treadle

RUNS = []
values = threading.local()
place = contextvars.ContextVar("place", default="nowhere")


class Tests(unittest.TestCase):
    def tearDown(self):
        self.assertNotIn("broken", self.id())

    @pytest.mark.treadle(schedules=500)
    def test_race(self):
        RUNS.append(1)
        order = []
        treadle.joinall([treadle.spawn(order.append, n) for n in range(2)])
        self.assertEqual(order, [0, 1])

    def test_stopped_early(self):
        self.assertLess(len(RUNS), 100)

    def test_broken(self):
        self.fail("the test too")

    def test_deadlocks(self):
        lock = threading.Lock()
        lock.acquire()
        lock.acquire()

    @pytest.mark.treadle(schedules=5)
    def test_skips(self):
        self.skipTest("not here")

    @unittest.expectedFailure
    def test_is_expected_to_fail(self):
        self.fail()


@pytest.fixture
def here():
    values.name = "here"
    token = place.set("here")
    yield
    assert values.test == 1
    place.reset(token)


def test_sees_what_fixtures_set(here):
    assert values.name == "here"
    assert place.get() == "here"
    assert threading.current_thread() is threading.main_thread()
    values.test = 1


def test_runs_a_program():
    assert subprocess.run(["cat"], input=b"x", capture_output=True).stdout == b"x"
"""


def test_unittest_fixtures_and_programs(
    inner: Inner, outcomes: Callable[[], dict[str, str]]
) -> None:
    result = inner(UNITTEST, "--treadle")
    result.assert_outcomes(passed=3, failed=3, skipped=1, xfailed=1)
    ends = outcomes()
    assert {name for name, end in ends.items() if end == "failure"} == {
        "test_race",
        "test_broken",
        "test_deadlocks",
    }
    text = result.stdout.str()
    assert re.search(r"ScheduleFailure: schedule \d+ fails by AssertionError: Lists differ", text)
    assert "LoopExit: This operation would block forever" in text
    assert "test_broken and what tidies up after it failed (2 sub-exceptions)" in text


def test_the_deadline_of_hypothesis_is_real_time(inner: Inner) -> None:
    pytest.importorskip("hypothesis")
    source = """
import time
from hypothesis import given, settings, strategies as st


@settings(max_examples=5, database=None)
@given(st.integers())
def test_a_virtual_hour(n):
    time.sleep(3600)
"""
    inner(source, "--treadle").assert_outcomes(passed=1)
