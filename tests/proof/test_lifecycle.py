"""1,000 parked greenlets in a process that collects, forks, loses a thread, or ends.

Every case runs twice as its own program, and its exit code and stderr must match exactly: once in
the interpreter's development mode, once with its debugging allocator alone, which finds others.
"""

import os
import re
import signal
import time
from pathlib import Path

import pytest

from . import support

# Ignored: sockets open at the end, which belong to the cases, and the warning of CPython 3.12 and
# later about a fork beside other threads.
QUIET = ("-W", "ignore::ResourceWarning", "-W", "ignore:This process (pid:DeprecationWarning")


def until_asleep(pid):
    """Wait until the process sleeps: a signal then finds every greenlet waiting.

    A process that spins instead is given 0.2 s of processor time, which a busy machine may take
    seconds to give.
    """
    end = None
    while True:
        state, *numbers = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        used = sum(map(int, numbers[10:12])) / os.sysconf("SC_CLK_TCK")  # in and out of the kernel
        end = end or used + 0.2
        if state in "SZ" or used >= end:
            return
        time.sleep(0.001)


@pytest.fixture(params=["dev", "malloc"])
def run(request):
    """Return a function that runs a case of lifecycle.py and sends *number* when it is ready."""

    def run(*case, number=None):
        if request.param == "dev":
            child = support.start("lifecycle", *case, flags=("-X", "dev", *QUIET))
        else:
            child = support.start("lifecycle", *case, flags=QUIET, PYTHONMALLOC="debug")
        if number is not None:
            assert child.stdout.readline() == "ready\n", child.communicate()[1]
            until_asleep(child.pid)
            child.send_signal(number)
        return support.finish(child, 60)

    return run


def assert_quiet(outcome, code, out):
    assert (outcome.code, outcome.out, outcome.err) == (code, out, "")


KINDS = [
    "sleeping",
    "under_timeout",
    "event",
    "event_with_timeout",
    "result",
    "semaphore",
    "bounded_semaphore",
    "rlock",
    "condition",
    "queue_get",
    "queue_put",
    "joinable_queue",
    "simple_queue",
    "channel",
    "channel_put",
    "pool",
    "join",
    "recv",
    "recv_with_timeout",
    "send",
    "accept",
    "wait_read",
    "poll",
    "threadpool",
]


@pytest.mark.parametrize("case", ["collect", "collect_forgotten", "collect_in_hub"])
def test_collection(run, case):
    assert_quiet(run(case), 0, "done\n")


@pytest.mark.parametrize("kind", KINDS)
def test_end_of_interpreter(run, kind):
    assert_quiet(run("end", kind), 0, "end\n")


@pytest.mark.parametrize(
    ("case", "code", "out"),
    [
        ("end", 0, "end\n"),
        ("end_without_references", 0, "end\n"),
        ("end_with_finally", 0, "end\n"),
        ("end_in_cycles", 0, "end\n"),
        ("exit_main", 3, ""),
        ("exit_greenlet", 4, ""),
        ("exit_callback", 4, ""),
        ("exit_caught", 0, "caught 4\n"),
        ("exit_now", 7, ""),
        ("at_exit", 0, "end\nlast\n"),
        ("destroy_hub", 0, "end\n"),
    ],
)
def test_end(run, case, code, out):
    assert_quiet(run(case), code, out)


def test_exit_with_text(run):
    seen = run("exit_greenlet_text")
    assert (seen.code, seen.out, seen.err) == (1, "", "so long\n")


def test_exception_in_main(run):
    seen = run("raise_main")
    assert (seen.code, seen.out) == (1, "")
    assert seen.err.count("Traceback") == 1
    assert seen.err.endswith("\nZeroDivisionError: in main\n")


def test_exception_in_greenlet(run):
    """An error is reported once, and the program continues."""
    seen = run("raise_greenlet")
    assert (seen.code, seen.out) == (0, "end\n")
    assert seen.err.count("Traceback") == 1
    report = (
        r"\nZeroDivisionError: in a greenlet\n<Greenlet .*fail.*> failed with ZeroDivisionError\n"
    )
    assert re.search(report, seen.err), seen.err


WAITS = ["sleep", "event", "event_timeout", "queue", "recv", "join", "joinall", "hub_join", "spin"]


@pytest.mark.parametrize("wait", WAITS)
def test_interrupt(run, wait):
    """As in plain Python: a traceback, and the parent sees a death by SIGINT (a shell: 130)."""
    seen = run("interrupt", wait, number=signal.SIGINT)
    assert (seen.code, seen.out) == (-signal.SIGINT, "")
    assert seen.err.count("Traceback") == 1
    assert seen.err.endswith("\nKeyboardInterrupt\n")


@pytest.mark.parametrize("wait", WAITS)
def test_interrupt_caught(run, wait):
    """KeyboardInterrupt is raised in the main greenlet and nowhere else."""
    seen = run("interrupt_caught", wait, number=signal.SIGINT)
    assert_quiet(seen, 0, "interrupted\nend\n")


def test_interrupt_in_greenlet(run):
    """KeyboardInterrupt ends the current greenlet, and reaches the main greenlet too."""
    seen = run("interrupt_greenlet")
    assert (seen.code, seen.out) == (0, "interrupted\nend\n")
    report = r"KeyboardInterrupt\n<Greenlet .*> failed with KeyboardInterrupt\n\s*"
    assert re.fullmatch(report, seen.err), seen.err  # no traceback: it runs no Python code


@pytest.mark.parametrize(
    ("case", "number", "code", "out"),
    [
        ("terminate", signal.SIGTERM, 5, ""),
        ("terminate_by_watcher", signal.SIGTERM, 6, ""),
        ("terminate_by_default", signal.SIGTERM, -signal.SIGTERM, ""),
        ("handle", signal.SIGTERM, 0, "handled\nend\n"),
    ],
)
def test_signal(run, case, number, code, out):
    assert_quiet(run(case, number=number), code, out)


@pytest.mark.parametrize(
    "case",
    [
        "thread_ends",
        "thread_ends_before_its_greenlets",
        "thread_ends_twice",
        "thread_raises",
        "thread_still_waits",
    ],
)
def test_thread(run, case):
    assert_quiet(run(case), 0, "end\n")


def test_thread_outlives_main(run):
    assert_quiet(run("thread_works_on"), 0, "end\nthread\n")


@pytest.mark.parametrize(
    "case",
    [
        "fork",
        "fork_by_treadle",
        "fork_in_greenlet",
        "fork_in_thread",
        "fork_in_hub_thread",
        "fork_twice",
        "fork_child_returns",
        "fork_child_exits",
        "fork_child_parks",
        "fork_hook",
        "fork_exec",
        "fork_at_once",
    ],
)
def test_fork(run, case):
    assert_quiet(run(case), 0, "end\n")


def test_deadlock_is_explained(run):
    seen = run("loop_exit")
    assert (seen.code, seen.out) == (1, "")
    assert seen.err.count("Traceback") == 1
    text = seen.err[seen.err.index("\ntreadle.exceptions.LoopExit: ") :]
    for who, what in (("alice", "Event"), ("bob", "Semaphore"), ("carol", "Queue")):
        assert re.search(rf"{who}.*{what}", text), text
    assert "AsyncResult" in text


def test_deadlock_of_many(run):
    assert_quiet(run("loop_exit_parked"), 0, "caught\n")
