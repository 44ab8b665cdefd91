"""Scopes and groups in the main greenlet and in whole processes: signals, threads, forks."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest

import treadle
from treadle import (
    Cancelled,
    CancelScope,
    GreenletExit,
    TaskGroup,
    Timeout,
    checkpoint,
    move_on_after,
    shield,
)
from treadle.hub import get_hub
from treadle.threadpool import ThreadPool

from .common import Other, fail, forever

SOON = 0.01


@contextmanager
def handler(function: Callable[[], object]) -> Iterator[Callable[[], object]]:
    """Call *function* in a handler of SIGALRM; yields what sets the alarm, to go off soon."""
    before = signal.signal(signal.SIGALRM, lambda number, frame: function())
    try:
        yield lambda: signal.setitimer(signal.ITIMER_REAL, SOON)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def interrupt() -> None:
    raise KeyboardInterrupt


# ---------------------------------------------------------------- signal handlers


class TestSignals:
    def test_an_interrupt_passes_a_shield(self) -> None:
        with handler(interrupt) as send, pytest.raises(KeyboardInterrupt), shield():
            send()
            treadle.sleep(5)

    def test_an_interrupt_passes_a_shield_that_holds_something(self) -> None:
        with handler(interrupt) as send, CancelScope() as scope:
            scope.cancel()
            with pytest.raises(KeyboardInterrupt), shield():
                send()
                treadle.sleep(5)
            with pytest.raises(Cancelled):
                checkpoint()

    def test_an_interrupt_is_raised_once(self) -> None:
        with handler(interrupt) as send, CancelScope() as scope:
            scope.cancel()
            with suppress(KeyboardInterrupt), shield():
                send()
                treadle.sleep(5)
            with shield():
                treadle.sleep(2 * SOON)
            checkpoint()
        assert scope.caught

    def test_an_interrupt_while_a_group_waits_for_its_children(self) -> None:
        steps = []

        def child() -> None:
            try:
                forever()
            finally:
                with shield():
                    treadle.sleep(SOON)
                steps.append("cleaned")

        with handler(interrupt) as send, pytest.raises(KeyboardInterrupt), TaskGroup() as group:
            group.spawn(child)
            send()
        assert steps == ["cleaned"]
        treadle.sleep(0)

    def test_an_interrupt_in_the_body(self) -> None:
        with handler(interrupt) as send, pytest.raises(KeyboardInterrupt), TaskGroup() as group:
            job = group.spawn(forever)
            send()
            forever()
        assert isinstance(job.value, Cancelled)

    def test_an_interrupt_while_a_child_cleans_up_does_not_lose_the_child(self) -> None:
        """The exit goes on waiting: after it, KeyboardInterrupt goes on."""
        steps = []

        def child() -> None:
            try:
                forever()
            finally:
                with shield():
                    treadle.sleep(5 * SOON)
                steps.append("cleaned")

        with handler(interrupt) as send, pytest.raises(KeyboardInterrupt):
            with TaskGroup() as group:
                group.spawn(child)
                checkpoint()
                group.cancel()
                send()
            treadle.sleep(1)
        assert steps == ["cleaned"]

    def test_a_child_that_raises_one_raises_it_in_the_owner_alone(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        def owner() -> None:
            with TaskGroup() as group:
                group.spawn(fail, KeyboardInterrupt)
                forever()

        def guarded() -> str:
            with pytest.raises(KeyboardInterrupt):
                owner()
            return "caught"

        assert treadle.spawn(guarded).get() == "caught"
        treadle.sleep(SOON)
        guarded()
        treadle.sleep(SOON)
        assert capsys.readouterr() == ("", "")

    def test_a_handler_cancels_a_scope(self) -> None:
        with CancelScope() as scope, handler(lambda: scope.cancel("signal")) as send:
            send()
            try:
                treadle.sleep(5)
            except Cancelled as exc:
                reason = exc.reason
                raise
        assert scope.caught
        assert reason == "signal"

    def test_a_handler_cancels_the_group_of_another_greenlet(self) -> None:
        groups: list[TaskGroup] = []

        def owner() -> str:
            with TaskGroup() as group:
                groups.append(group)
                group.spawn(forever)
            return "over"

        job = treadle.spawn(owner)
        treadle.sleep(0)
        with handler(groups[0].cancel) as send:
            send()
            assert job.get(timeout=5) == "over"

    def test_treadles_handlers_cancel_too(self) -> None:
        scope = CancelScope()
        before = treadle.signal.signal(signal.SIGUSR1, lambda *args: scope.cancel())
        try:
            with scope:
                treadle.spawn_later(SOON, os.kill, os.getpid(), signal.SIGUSR1)
                treadle.sleep(5)
        finally:
            treadle.signal.signal(signal.SIGUSR1, before)
        assert scope.caught

    def test_a_handler_that_waits_in_a_cancelled_scope_of_the_main_greenlet(self) -> None:
        """A handler is no part of the scope that it interrupts, or it is: it ends in any case."""
        seen: list[str] = []

        def handle() -> None:
            try:
                treadle.sleep(0)
                seen.append("waited")
            except Cancelled:
                seen.append("cancelled")

        with handler(handle) as send, CancelScope() as scope:
            scope.cancel()
            with shield():
                send()
                treadle.sleep(5 * SOON)
        assert seen in (["waited"], ["cancelled"])

    def test_other_exceptions_of_handlers_pass_shields(self) -> None:
        with handler(lambda: fail(Other)) as send, pytest.raises(Other), shield():
            send()
            treadle.sleep(5)

    def test_an_exception_of_a_handler_beside_a_group_goes_on_bare_or_in_a_group(self) -> None:
        with (
            handler(lambda: fail(Other)) as send,
            pytest.RaisesGroup(Other, allow_unwrapped=True),
            TaskGroup() as group,
        ):
            job = group.spawn(forever)
            send()
        assert job.ready()


# ---------------------------------------------------------------- threads


def in_thread(function: Callable[[], object], after: float = SOON) -> threading.Thread:
    """Call *function* soon in a native thread."""

    def run() -> None:
        time.sleep(after)
        function()

    thread = threading.Thread(target=run)
    thread.start()
    return thread


class TestThreads:
    def test_another_thread_cancels_a_scope(self) -> None:
        with CancelScope() as scope:
            thread = in_thread(lambda: scope.cancel("thread"))
            treadle.sleep(5)
        thread.join()
        assert scope.caught
        assert scope.reason == "thread"

    def test_another_thread_cancels_a_group(self) -> None:
        with TaskGroup() as group:
            jobs = [group.spawn(forever) for _ in range(3)]
            thread = in_thread(group.cancel)
            treadle.sleep(5)
        thread.join()
        assert all(isinstance(job.value, Cancelled) for job in jobs)

    def test_a_thread_cancels_while_the_scope_is_being_left(self) -> None:
        stop = False
        current: list[CancelScope] = [CancelScope()]

        def cancel() -> None:
            while not stop:
                current[0].cancel()

        thread = threading.Thread(target=cancel)
        thread.start()
        try:
            for _ in range(300):
                with CancelScope() as scope:
                    current[0] = scope
                    checkpoint()
                    with CancelScope():
                        checkpoint()
                checkpoint()
        finally:
            stop = True
            thread.join()
        checkpoint()

    def test_a_thread_moves_a_deadline(self) -> None:
        with move_on_after(30) as scope:

            def sooner() -> None:
                scope.deadline = time.monotonic() + SOON

            thread = in_thread(sooner)
            forever()
        thread.join()
        assert scope.caught

    def test_a_thread_takes_a_shield_down(self) -> None:
        with CancelScope() as outer, CancelScope(shield=True) as inner:
            outer.cancel()
            thread = in_thread(lambda: setattr(inner, "shield", False))
            treadle.sleep(5)
        thread.join()
        assert outer.caught

    def test_a_kill_from_another_thread_is_held_by_a_shield(self) -> None:
        steps: list[object] = []

        def job() -> None:
            with CancelScope() as scope:
                with shield():
                    treadle.sleep(5 * SOON)
                    steps.append("shielded")
                scope.cancel()
                for _ in range(2):
                    try:
                        checkpoint()
                    except Other as exc:
                        steps.append(exc)
                    except Cancelled:
                        steps.append("cancelled")

        running = treadle.spawn(job)
        exc = Other()
        thread = in_thread(lambda: running.kill(exc, block=False))
        running.get()
        thread.join()
        assert steps == ["shielded", exc, "cancelled"]

    def test_a_thread_kills_the_owner_and_children_of_a_group(self) -> None:
        def owner() -> None:
            with TaskGroup() as group:
                jobs.extend(group.spawn(forever) for _ in range(2))

        jobs: list[treadle.Greenlet[None]] = []
        running = treadle.spawn(owner)
        treadle.sleep(0)
        thread = in_thread(lambda: jobs[0].kill(block=False))
        jobs[0].join()
        thread.join()
        assert not running.ready()
        thread = in_thread(lambda: running.kill(block=False))
        running.join()
        thread.join()
        assert type(running.value) is GreenletExit
        assert isinstance(jobs[1].value, Cancelled)

    def test_cancelling_a_scope_of_a_thread_that_has_ended(self) -> None:
        scopes: list[CancelScope] = []

        def thread() -> None:
            with CancelScope() as over:
                scopes.append(over)
                checkpoint()
            scopes.append(CancelScope(60))
            scopes[-1].__enter__()
            treadle.sleep(0)

        in_thread(thread).join()
        for scope in scopes:
            scope.cancel()
            scope.deadline = time.monotonic() + 1
            scope.shield = True
            scope.shield = False
            assert scope.cancelled
            assert repr(scope)
        with pytest.raises(RuntimeError):
            scopes[-1].__exit__(None, None, None)

    def test_a_thread_may_not_spawn_into_a_group(self) -> None:
        failures: list[BaseException] = []

        def spawn() -> None:
            try:
                group.spawn(print)
            except BaseException as exc:
                failures.append(exc)

        with TaskGroup() as group:
            in_thread(spawn).join()
            pool = ThreadPool(1)
            pool.spawn(spawn).get()
            pool.kill()
        assert [type(exc) for exc in failures] == [RuntimeError] * 2

    def test_each_thread_has_its_own_scopes(self) -> None:
        results: list[object] = []

        def thread() -> None:
            with move_on_after(SOON) as scope, TaskGroup() as group:
                job = group.spawn(forever)
            results.append((scope.caught, job.ready()))

        threads = [threading.Thread(target=thread) for _ in range(3)]
        with CancelScope() as scope:
            scope.cancel()
            for each in threads:
                each.start()
            for each in threads:
                each.join()
        assert results == [(True, True)] * 3

    def test_a_wait_for_a_native_thread_is_cancelled(self) -> None:
        pool = ThreadPool(1)
        began = time.monotonic()
        with move_on_after(SOON) as scope:
            pool.apply(time.sleep, (0.2,))
        assert scope.caught
        assert time.monotonic() - began < 0.19
        pool.kill()


# ---------------------------------------------------------------- whole processes

BEGIN = """
import os, sys, threading, time
from contextlib import suppress
import treadle
from treadle import monkey
from treadle.hub import LoopExit
from treadle import (CancelScope, Cancelled, TaskGroup, checkpoint, fail_after, gather,
    move_on_after, race, shield, started, Timeout, GreenletExit)
from treadle.event import Event
def in_child(function):
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            code = function() or 0
        finally:
            sys.stdout.flush(); sys.stderr.flush()
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
"""
PATCHED = BEGIN + "monkey.patch_all()\n"

SCRIPTS = {
    "a fork in the body forgets the children": """
got = []
with TaskGroup() as group:
    job = group.spawn(lambda: (treadle.sleep(0.05), got.append(1)))
    treadle.sleep(0)
    pid = os.fork()
    if pid == 0:
        assert len(group) == 0 and list(group) == []
if pid == 0:
    os._exit(0 if got == [] else 1)
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
assert got == [1]
""",
    "the child of a fork may spawn into the group": """
with TaskGroup() as group:
    group.spawn(treadle.sleep, 0.05)
    treadle.sleep(0)
    pid = os.fork()
    if pid == 0:
        job = group.spawn(lambda: 5)
if pid == 0:
    os._exit(0 if job.get() == 5 else 1)
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
""",
    "a fork by a callback while a group waits for its children": """
pids = []
def fork():
    if not pids:
        pids.append(os.fork())
treadle.get_hub().loop.run_callback(lambda: treadle.get_hub().loop.run_callback(fork))
with CancelScope(60), TaskGroup() as group:
    group.spawn(treadle.sleep, 0.05)
if pids == [0]:
    os._exit(7)
assert os.waitstatus_to_exitcode(os.waitpid(pids[0], 0)[1]) == 7
""",
    "a fork by a callback while a group waits for a child to start": """
pids = []
def fork():
    if not pids:
        pids.append(os.fork())
treadle.get_hub().loop.run_callback(lambda: treadle.get_hub().loop.run_callback(fork))
def child():
    treadle.sleep(0.05)
    treadle.started(5)
with CancelScope(60), TaskGroup() as group:
    try:
        value = group.start(child)
    except RuntimeError as exc:
        value = "ended without" in str(exc)
if pids == [0]:
    os._exit(7 if value is True else 1)
assert value == 5
assert os.waitstatus_to_exitcode(os.waitpid(pids[0], 0)[1]) == 7
""",
    "a fork in a group with a limit has all its places": """
with TaskGroup(1) as group:
    group.spawn(treadle.sleep, 0.05)
    treadle.sleep(0)
    pid = os.fork()
    if pid == 0:
        job = group.spawn(lambda: 5)
if pid == 0:
    os._exit(0 if job.get() == 5 else 1)
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
""",
    "deadlines and cancels go on in the child of a fork": """
with move_on_after(0.05) as scope:
    with CancelScope() as inner:
        pid = os.fork()
        if pid == 0:
            inner.cancel()
            treadle.sleep(5)
            os._exit(1)
    assert inner.caught == (pid == 0)
    treadle.sleep(5)
assert scope.caught
if pid == 0:
    os._exit(0)
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
""",
    "a child of a group forks": """
def forks():
    def in_the_fork():
        with TaskGroup() as inner:
            job = inner.spawn(lambda: 3)
        return job.get() - 3
    assert in_child(in_the_fork) == 0
    return "parent"
with TaskGroup() as group:
    job = group.spawn(forks)
    group.spawn(treadle.sleep, 0.01)
assert job.get() == "parent"
""",
    "the exit of the group waits while a child forks, and forgets in the fork": """
def forks():
    pid = os.fork()
    if pid == 0:
        # The owner was left behind: nobody waits for this child but the process itself.
        checkpoint()
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
with TaskGroup() as group:
    group.spawn(forks)
""",
    "a keeping fork keeps the children": """
got = []
with TaskGroup() as group:
    group.spawn(lambda: (treadle.sleep(0.02), got.append(1)))
    treadle.sleep(0)
    pid = treadle.fork(keep=True)
if pid == 0:
    os._exit(0 if got == [1] else 1)
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
assert got == [1]
""",
    "sys.exit in a child ends the program with its status": """
def main():
    with TaskGroup() as group:
        group.spawn(sys.exit, 3)
        Event().wait()
try:
    main()
except SystemExit as exc:
    assert exc.code == 3
else:
    raise AssertionError
""",
    "the end of the program with open groups and scopes": """
def forgotten():
    with TaskGroup() as group, CancelScope(), shield():
        group.spawn(Event().wait)
        Event().wait()
treadle.spawn(forgotten)
treadle.sleep(0.01)
kept = TaskGroup(); kept.__enter__()
kept.spawn(treadle.sleep, 10)
treadle.sleep(0.01)
""",
    "a group that nothing can end": """
steps = []
def child():
    try:
        Event().wait()
    finally:
        steps.append("cleaned")
for body in (lambda: None, Event().wait):
    try:
        with TaskGroup() as group:
            job = group.spawn(child)
            body()
    except LoopExit:
        pass
    else:
        raise AssertionError
    assert steps == ["cleaned"] and isinstance(job.value, Cancelled)
    treadle.sleep(0)
    steps.clear()
""",
    "a deadlock passes shields": """
def alone():
    Event().wait()
def group():
    with TaskGroup() as group:
        group.spawn(Event().wait)
def nested():
    with TaskGroup() as outer, shield(), TaskGroup() as inner:
        outer.spawn(Event().wait)
        inner.spawn(Event().wait)
for block in alone, group, nested:
    try:
        with shield():
            block()
    except LoopExit:
        pass
    else:
        raise AssertionError
""",
    "a deadline is something that ends a wait for ever": """
with move_on_after(0.01) as scope, TaskGroup() as group:
    group.spawn(Event().wait)
assert scope.caught
with move_on_after(0.01) as scope:
    Event().wait()
assert scope.caught
with CancelScope() as outer:
    outer.cancel()
    with shield(grace=0.01):
        Event().wait()
assert outer.caught
""",
    "a child that waits for a place in its own full group": """
def child():
    group.spawn(print)
try:
    with TaskGroup(1) as group:
        group.spawn(child)
except LoopExit:
    pass
else:
    raise AssertionError
""",
    "a clean-up that nothing can end": """
def child():
    try:
        Event().wait()
    finally:
        with shield():
            Event().wait()
try:
    with TaskGroup() as group:
        group.spawn(child)
        checkpoint()
        group.cancel()
except LoopExit:
    pass
else:
    raise AssertionError
""",
    "a second interrupt ends a program whose clean-up never ends": """
import signal
def child():
    try:
        Event().wait()
    finally:
        with shield():
            treadle.sleep(3)
signal.signal(signal.SIGINT, signal.default_int_handler)
for seconds in (0.05, 0.1):
    threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGINT)).start()
began = time.monotonic()
try:
    with TaskGroup() as group:
        group.spawn(child)
except KeyboardInterrupt:
    pass
assert time.monotonic() - began < 2
""",
    "raw greenlets that end inside a scope are not kept": """
import gc, greenlet, weakref
def raw():
    refs.append(weakref.ref(greenlet.getcurrent()))
    CancelScope().__enter__()
refs = []
treadle.spawn_raw(raw)
treadle.sleep(0)
greenlet.greenlet(raw).switch()
gc.collect()
assert [ref() for ref in refs] == [None, None], refs
""",
    "the end of a thread with an open group": """
def thread():
    group = TaskGroup()
    group.__enter__()
    group.spawn(Event().wait)
    treadle.sleep(0)
native = threading.Thread(target=thread)
native.start(); native.join()
treadle.sleep(0.01)
""",
    "a failure of a group that nobody handles is printed once, as a group": """
import subprocess
program = '''
import treadle
def fail(): raise ValueError("the child")
with treadle.TaskGroup() as group:
    group.spawn(fail)
'''
done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
assert done.returncode == 1
assert done.stderr.count("ValueError: the child") == 1, done.stderr
assert "ExceptionGroup" in done.stderr
""",
    "a greenlet whose group failed prints the group once": """
import subprocess
program = '''
import treadle
def fail(): raise ValueError("the child")
def owner():
    with treadle.TaskGroup() as group:
        group.spawn(fail)
treadle.spawn(owner).join()
'''
done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
assert done.returncode == 0
assert done.stderr.count("ValueError: the child") == 1, done.stderr
""",
}

PATCHED_SCRIPTS = {
    "threads beneath an adopting group are its children": """
got = []
def work(seconds):
    time.sleep(seconds); got.append(seconds)
with TaskGroup(adopt=True) as group:
    threads = [threading.Thread(target=work, args=(each,)) for each in (0.02, 0.01)]
    for each in threads: each.start()
    assert len(group) == 2, list(group)
assert got == [0.01, 0.02]
assert not any(each.is_alive() for each in threads)
""",
    "threads that threads start are children too": """
got = []
def outer():
    time.sleep(0.01)
    threading.Thread(target=inner).start()
def inner():
    time.sleep(0.01); got.append(1)
with TaskGroup(adopt=True):
    threading.Thread(target=outer).start()
assert got == [1]
""",
    "a cancelled group ends its threads without a word": """
lock = threading.Lock(); lock.acquire()
with TaskGroup(adopt=True) as group:
    thread = threading.Thread(target=lock.acquire); thread.start()
    time.sleep(0)
    group.cancel()
assert not thread.is_alive()
""",
    "a thread's clean-up runs": """
steps = []
def work():
    try:
        time.sleep(60)
    finally:
        with shield():
            time.sleep(0.01)
        steps.append("cleaned")
with TaskGroup(adopt=True) as group:
    threading.Thread(target=work).start()
    time.sleep(0)
    group.cancel()
assert steps == ["cleaned"]
""",
    "an executor beneath an adopting group": """
from concurrent.futures import ThreadPoolExecutor
with TaskGroup(adopt=True):
    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(lambda each: (time.sleep(0.01), each)[1], range(4))) == [0, 1, 2, 3]
""",
    "an executor that is not shut down is ended by cancel": """
import logging
from concurrent.futures import ThreadPoolExecutor
logging.disable()  # the standard library logs whatever ends a worker
with TaskGroup(adopt=True) as group:
    pool = ThreadPoolExecutor(2)
    future = pool.submit(lambda: 5)
    assert future.result() == 5
    group.cancel()
""",
    "a timer thread": """
got = []
with TaskGroup(adopt=True):
    threading.Timer(0.01, got.append, [1]).start()
assert got == [1]
""",
    "without adopt threads are independent": """
got = []
def work():
    time.sleep(0.02); got.append(1)
with TaskGroup() as group:
    thread = threading.Thread(target=work); thread.start()
    assert len(group) == 0
assert got == []
thread.join()
assert got == [1]
""",
    "a thread that fails": """
def fail(): raise ValueError("of the thread")
hooked = []
threading.excepthook = lambda args: hooked.append(args.exc_type)
try:
    with TaskGroup(adopt=True):
        threading.Thread(target=fail).start()
        time.sleep(0.01)
except* ValueError as group:
    assert len(group.exceptions) == 1
    assert not hooked
else:
    # The hook of threads has handled it, as without the group.
    assert hooked == [ValueError]
""",
    "thread.join is cancelled, and locks of the standard library": """
lock = threading.Lock(); lock.acquire()
condition = threading.Condition()
thread = threading.Thread(target=lock.acquire, daemon=True); thread.start()
import queue
for wait in (thread.join, lock.acquire, threading.Event().wait, queue.Queue().get,
             threading.Barrier(2).wait, threading.Semaphore(0).acquire, lambda: time.sleep(60)):
    with move_on_after(0.001) as scope:
        wait()
    assert scope.caught, wait
with condition, move_on_after(0.001) as scope:
    condition.wait()
assert scope.caught
lock.release(); thread.join()
""",
    "sockets and children are cancelled": """
import socket, subprocess
left, right = socket.socketpair()
with move_on_after(0.01) as scope:
    left.recv(1)
assert scope.caught
right.sendall(b"x")
assert left.recv(1) == b"x"
child = subprocess.Popen(["sleep", "60"])
with move_on_after(0.01) as scope:
    child.wait()
assert scope.caught
child.kill()
assert child.wait() == -9
with move_on_after(0.01) as scope:
    subprocess.run(["sleep", "60"])
assert scope.caught
left.close(); right.close()
""",
    "select, selectors and file locks are cancelled": """
import select, selectors, socket
left, right = socket.socketpair()
with move_on_after(0.01) as scope:
    select.select([left], [], [])
assert scope.caught
with selectors.DefaultSelector() as selector, move_on_after(0.01) as scope:
    selector.register(left, selectors.EVENT_READ)
    selector.select()
assert scope.caught
poll = select.poll(); poll.register(left, select.POLLIN)
with move_on_after(0.01) as scope:
    poll.poll()
assert scope.caught
left.close(); right.close()
""",
    "asyncio's run in a scope": """
import asyncio
steps = []
async def main():
    try:
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        steps.append("cancelled")
        raise
    except BaseException as exc:
        steps.append(type(exc).__name__)
        raise
with move_on_after(0.05) as scope:
    asyncio.run(main())
assert scope.cancelled
""",
}


#: What does not hold yet.
LATER = {
    "asyncio's run in a scope": "asyncio's clean-up waits, and is cancelled too",
}


def scripts(names: Iterable[str]) -> list[Any]:
    """The names as parameters; those that do not hold yet are expected to fail."""
    return [
        pytest.param(name, marks=[pytest.mark.xfail(reason=LATER[name])] if name in LATER else [])
        for name in names
    ]


@pytest.mark.parametrize("name", scripts(SCRIPTS))
def test_process(name: str, fresh: Callable[..., str]) -> None:
    assert fresh(BEGIN + SCRIPTS[name]) == ""


@pytest.mark.parametrize("name", scripts(PATCHED_SCRIPTS))
def test_patched_process(name: str, fresh: Callable[..., str]) -> None:
    assert fresh(PATCHED + PATCHED_SCRIPTS[name]) == ""


def test_the_hub_has_no_scopes() -> None:
    """Callbacks run there, and nothing may wait."""
    failures: list[BaseException] = []

    def callback(enter: Callable[[], object]) -> None:
        try:
            enter()
        except RuntimeError as exc:
            failures.append(exc)

    for enter in (CancelScope().__enter__, shield().__enter__, TaskGroup().__enter__):
        get_hub().loop.run_callback(callback, enter)
        treadle.sleep(0)
    assert len(failures) == 3


def test_subclasses() -> None:
    class Scope(CancelScope):
        def __init__(self, name: str) -> None:
            super().__init__(SOON)
            self.name = name

    class Tasks(TaskGroup):
        def __init__(self, name: str) -> None:
            super().__init__(2, name=name)
            self.more = [name]

    with Scope("of the test") as scope, Tasks("of the test") as group:
        job = group.spawn(forever)
    assert scope.caught
    assert scope.name == group.name
    assert group.more == ["of the test"]
    assert isinstance(job.value, Cancelled)


def test_the_words_are_public() -> None:
    names = [
        *["TaskGroup", "CancelScope", "Cancelled", "move_on_after", "fail_after", "shield"],
        *["checkpoint", "gather", "race", "started"],
    ]
    for name in names:
        value: Any = getattr(treadle, name)
        assert name in treadle.__all__
        assert value.__doc__
    assert issubclass(treadle.Cancelled, GreenletExit)
    assert get_hub() is not None
    assert Timeout is treadle.Timeout
