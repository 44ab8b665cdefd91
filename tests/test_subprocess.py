"""Child processes: the standard library starts them, greenlets wait for and read from them."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import treadle
from treadle import os as treadle_os
from treadle import subprocess
from treadle._core import crew

PYTHON = sys.executable


class Ticks:
    """How often another greenlet has run so far.

    A child that runs ``sh -c awaited`` lasts until that is more than 10; if whoever waits for the
    child blocks the thread, it lasts for some seconds, and the number stays.
    """

    def __init__(self, path: Path) -> None:
        self.count = 0
        self.path = path
        self.awaited = (
            f"n=0; until [ -e {path} ] || [ $n = 300 ]; do sleep 0.02; n=$((n + 1)); done"
        )

    def __call__(self) -> int:
        return self.count

    def tick(self) -> None:
        while True:
            treadle.sleep(0.005)
            self.count += 1
            if self.count == 11:
                self.path.touch()


@pytest.fixture
def ticks(tmp_path: Path) -> Iterator[Ticks]:
    ticks = Ticks(tmp_path / "ticked")
    ticker = treadle.spawn(ticks.tick)
    yield ticks
    ticker.kill()


def test_a_hundred_waits_at_once(ticks: Ticks) -> None:
    begun = time.monotonic()
    codes = [
        treadle.spawn(subprocess.call, ["sh", "-c", f"sleep 0.3; exit {number % 7}"])
        for number in range(100)
    ]
    assert [code.get() for code in codes] == [number % 7 for number in range(100)]
    assert time.monotonic() - begun < 15  # one after the other takes 30 s
    assert ticks() > 10


def test_output_of_a_slow_child(ticks: Ticks) -> None:
    shell = f"echo one; sleep 0.1; echo two >&2; {ticks.awaited}; cat"
    with subprocess.Popen(
        ["sh", "-c", shell],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as child:
        assert child.communicate("three") == ("one\nthree", "two\n")
    assert child.returncode == 0
    assert ticks() > 10


def test_one_pipe_alone(ticks: Ticks) -> None:
    assert subprocess.check_output(["sh", "-c", f"{ticks.awaited}; echo done"]) == b"done\n"
    assert ticks() > 10


def test_lines_as_they_come(ticks: Ticks) -> None:
    shell = f"for i in 0 1 2; do echo $i; sleep 0.05; done; {ticks.awaited}; echo 3"
    with subprocess.Popen(["sh", "-c", shell], stdout=subprocess.PIPE, text=True) as child:
        assert [line.strip() for line in child.stdout] == ["0", "1", "2", "3"]
    assert ticks() > 10


def test_much_both_ways() -> None:
    data = os.urandom(1 << 20) * 4
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:

        def feed() -> None:
            child.stdin.write(data)
            child.stdin.close()

        feeder = treadle.spawn(feed)
        assert child.stdout.read() == data
        feeder.get()


@pytest.mark.parametrize("text", [False, True])
def test_the_end_of_with_while_somebody_reads(text: bool) -> None:
    with subprocess.Popen(["sleep", "60"], stdout=subprocess.PIPE, text=text) as child:
        reader = treadle.spawn(child.stdout.read)
        treadle.sleep(0.01)
        child.kill()
    assert child.stdout.closed
    assert child.returncode == -signal.SIGKILL
    with pytest.raises(OSError, match="closed in another greenlet"):
        reader.get()


def test_the_end_of_with_keeps_other_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    child = subprocess.Popen(["true"], stdout=subprocess.PIPE)
    monkeypatch.setattr(child.stdout.raw, "close", lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError), child:
        pass
    monkeypatch.undo()
    child.stdout.close()
    assert child.wait() == 0


def test_a_pipeline_of_children() -> None:
    """The second child reads from the pipe that the first Popen object holds."""
    first = subprocess.Popen(["sh", "-c", "sleep 0.1; seq 20000"], stdout=subprocess.PIPE)
    second = subprocess.Popen(["wc", "-l"], stdin=first.stdout, stdout=subprocess.PIPE)
    first.stdout.close()
    assert second.communicate()[0].strip() == b"20000"
    assert (first.wait(), second.returncode) == (0, 0)


def test_timeouts() -> None:
    child = subprocess.Popen(["sleep", "30"], stdout=subprocess.PIPE)
    for wait in (child.wait, child.communicate):
        with pytest.raises(subprocess.TimeoutExpired) as caught:
            wait(timeout=0.02)
        assert caught.value.timeout == 0.02
    with pytest.raises(subprocess.TimeoutExpired):
        subprocess.run(["sleep", "30"], timeout=0.02)
    child.kill()
    assert child.wait(timeout=30) == -signal.SIGKILL
    child.stdout.close()


def test_a_wait_that_is_killed_leaves_the_child_to_the_next() -> None:
    child = subprocess.Popen(["sh", "-c", "sleep 0.2; exit 5"])
    first = treadle.spawn(child.wait)
    treadle.sleep(0.01)
    first.kill()
    others = [treadle.spawn(child.wait) for _ in range(3)]
    assert [other.get() for other in others] == [5, 5, 5]


@pytest.mark.parametrize("pidfd", [True, False])
def test_waitpid(monkeypatch: pytest.MonkeyPatch, ticks: Ticks, pidfd: bool) -> None:
    if not pidfd:
        monkeypatch.setattr(treadle_os, "_native_pidfd_open", None)
    pid = os.spawnlp(os.P_NOWAIT, "sh", "sh", "-c", f"{ticks.awaited}; exit 3")
    assert treadle_os.waitpid(pid, os.WNOHANG) == (0, 0)
    assert treadle_os.waitpid(pid, 0) == (pid, 3 << 8)
    with pytest.raises(ChildProcessError):
        treadle_os.waitpid(pid, 0)
    assert ticks() > 10


def test_wait_for_any(ticks: Ticks) -> None:
    shells = (ticks.awaited, "sleep 0.1")
    pids = {os.spawnlp(os.P_NOWAIT, "sh", "sh", "-c", shell) for shell in shells}
    assert {treadle_os.wait()[0], treadle_os.wait3(0)[0]} == pids
    with pytest.raises(ChildProcessError):
        treadle_os.wait()
    assert ticks() > 10


def test_waits_that_are_given_up_share_a_thread() -> None:
    before = len(crew.waits.crew.workers)
    pid = os.spawnlp(os.P_NOWAIT, "sleep", "sleep", "0.2")
    for _ in range(10):
        with treadle.Timeout(0.002, False):
            treadle_os.wait()
    assert len(crew.waits.crew.workers) <= before + 1
    waiters = [treadle.spawn(treadle_os.wait) for _ in range(2)]
    treadle.joinall(waiters, timeout=30)
    assert {type(waiter.exception) for waiter in waiters} == {type(None), ChildProcessError}
    assert {waiter.value for waiter in waiters} == {(pid, 0), None}


def test_wait4_and_waitid() -> None:
    pid = os.spawnlp(os.P_NOWAIT, "sleep", "sleep", "0.05")
    found = treadle_os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    assert (found.si_pid, found.si_status) == (pid, 0)
    reaped, status, usage = treadle_os.wait4(pid, 0)
    assert (reaped, status) == (pid, 0)
    assert usage.ru_maxrss > 0


def test_stops_are_told() -> None:
    child = subprocess.Popen(["sleep", "30"])
    waiting = treadle.spawn(treadle_os.waitpid, child.pid, os.WUNTRACED)
    treadle.sleep(0.02)
    child.send_signal(signal.SIGSTOP)
    pid, status = waiting.get(timeout=30)
    assert pid == child.pid
    assert os.WIFSTOPPED(status)
    child.kill()
    assert child.wait() == -signal.SIGKILL


def test_system(ticks: Ticks) -> None:
    assert treadle_os.system(f"{ticks.awaited}; exit 4") == 4 << 8
    assert ticks() > 10


def test_the_programs_own_handler_is_called() -> None:
    seen: list[int] = []
    before = signal.signal(signal.SIGCHLD, lambda number, frame: seen.append(number))
    try:
        assert subprocess.call(["true"]) == 0
        treadle.sleep(0.01)
    finally:
        signal.signal(signal.SIGCHLD, before)
    assert seen == [signal.SIGCHLD]


def test_patched(fresh: Callable[..., str]) -> None:
    source = """
import subprocess, time
from subprocess import check_output
from treadle import monkey
monkey.patch_all()
import os, threading
begun = time.monotonic()
threads = [threading.Thread(target=job, args=("sleep 0.5",)) for job in [
    lambda c: subprocess.check_call(c, shell=True), os.system, lambda c: os.popen(c).close(),
    lambda c: check_output(c, shell=True),
    lambda c: os.waitpid(os.spawnlp(os.P_NOWAIT, "sh", "sh", "-c", c), 0),
] * 4]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(time.monotonic() - begun < 6)  # 10 s if one waits for the other
"""
    assert fresh(source) == "True\n"


def test_a_buffer_of_the_size_that_was_asked_for() -> None:
    for text in (False, True):
        child = subprocess.Popen(["true"], stdin=subprocess.PIPE, bufsize=1 << 20, text=text)
        assert child.stdin is not None
        child.stdin.write("x" * 200_000 if text else b"x" * 200_000)  # the child does not read it
        assert child.wait() == 0
        with pytest.raises(BrokenPipeError):
            child.stdin.close()


def test_children_are_waited_for_among_others() -> None:
    quick = subprocess.Popen(["true"])
    slow = subprocess.Popen(["sleep", "60"])
    try:
        assert treadle.wait([quick, slow], timeout=10, count=1) == [quick]
        assert quick.returncode == 0
    finally:
        slow.kill()
    assert treadle.wait([slow]) == [slow]
    assert slow.returncode == -9


def test_the_end_of_a_forked_child_calls_back() -> None:
    seen = []
    pid = treadle_os.fork_and_watch(lambda watcher: seen.append((watcher.rpid, watcher.rstatus)))
    if pid == 0:
        os._exit(3)
    assert treadle_os.waitpid(pid, 0) == (pid, 3 << 8)
    assert seen == [(pid, 3 << 8)]
    with pytest.raises(ChildProcessError):
        treadle_os.waitpid(pid, 0)


@pytest.mark.parametrize("text", [True, False])
def test_an_unbuffered_pipe_takes_all_that_is_written(text: bool) -> None:
    command = [sys.executable, "-c", "import sys; print(len(sys.stdin.buffer.read()))"]
    data: Any = "x" * 100_000 if text else b"x" * 100_000
    with subprocess.Popen(
        command, bufsize=0, text=text, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdin.write(data) == 100_000
        child.stdin.close()
        assert int(child.stdout.read()) == 100_000


def test_a_runtime_error_ends_the_wait_at_the_end_of_with() -> None:
    child = subprocess.Popen(["sleep", "20"])
    with pytest.raises(RuntimeError, match="mine"), treadle.Timeout(0.05, RuntimeError("mine")):
        child.__exit__(None, None, None)
    child.kill()
    child.wait()
