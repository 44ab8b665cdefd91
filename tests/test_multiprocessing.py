"""multiprocessing after patch_all(), with each start method."""

from __future__ import annotations

import multiprocessing
import multiprocessing.synchronize
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import treadle
from treadle.monkey._multiprocessing import SemLock

PROGRAM = """
from treadle import monkey
monkey.patch_all()
import multiprocessing, os, sys, time
from concurrent.futures import ProcessPoolExecutor
import treadle

def square(x):
    return x * x

def echo(connection):
    while (message := connection.recv()) is not None:
        connection.send(message)

def put(queue, lock):
    with lock:
        time.sleep(0.02)
        queue.put(os.getpid())

def main(method):
    ctx = multiprocessing.get_context(method)
    ticks = []
    def tick():
        while True:
            time.sleep(0.005)
            ticks.append(1)
    treadle.spawn(tick)

    ours, theirs = ctx.Pipe()
    child = ctx.Process(target=echo, args=(theirs,))
    child.start()
    ours.send("x" * 300_000)
    assert len(ours.recv()) == 300_000
    ours.send(None)
    child.join()
    assert child.exitcode == 0

    queue, lock = ctx.Queue(), ctx.Lock()
    children = [ctx.Process(target=put, args=(queue, lock)) for _ in range(3)]
    for child in children:
        child.start()
    got = sorted(queue.get() for _ in children)
    for child in children:
        child.join()
    assert got == sorted(child.pid for child in children)

    with ctx.Pool(2) as pool:
        assert pool.map(square, range(5)) == [0, 1, 4, 9, 16]
    with ctx.Manager() as manager:
        shared = manager.dict()
        shared[1] = 2
        assert dict(shared) == {1: 2}
    with ProcessPoolExecutor(2, mp_context=ctx) as executor:
        assert list(executor.map(square, range(5))) == [0, 1, 4, 9, 16]
    assert len(ticks) > 10
    print("ok")

if __name__ == "__main__":
    main(sys.argv[1])
"""


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_pipes_queues_pools_and_managers(tmp_path: Path, method: str) -> None:
    script = tmp_path / "program.py"
    script.write_text(PROGRAM)
    ended = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", script, method],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (ended.stdout, ended.stderr, ended.returncode) == ("ok\n", "", 0)


def semaphore(kind: int, value: int) -> SemLock:
    name = multiprocessing.synchronize.SemLock._make_name()
    return SemLock(kind, value, value or 1, name, True)


def test_a_semaphore_serves_all_who_wait() -> None:
    lock = semaphore(1, 1)
    assert lock.acquire()
    assert not lock.acquire(block=False)
    assert not lock.acquire(timeout=0.01)
    waiting = [treadle.spawn(lock.acquire, timeout=timeout) for timeout in (5, None, 5, None)]
    for count in range(1, 5):
        lock.release()
        treadle.wait(waiting, timeout=30, count=count)
    assert all(waiter.get(timeout=30) for waiter in waiting)
    lock.release()
    with pytest.raises(ValueError, match="too many times"):
        lock.release()
    assert lock.acquire(timeout=30)
    assert lock._is_zero()


def test_who_waited_too_long_takes_nothing_later() -> None:
    lock = semaphore(1, 1)
    assert lock.acquire()
    threads = len(sys._current_frames())
    late = [treadle.spawn(lock.acquire, timeout=0.01) for _ in range(5)]
    assert not any(waiter.get(timeout=30) for waiter in late)
    with treadle.Timeout(30):
        while len(sys._current_frames()) > threads:
            treadle.sleep(0.001)


@pytest.mark.parametrize("timeout", [None, 60])
def test_what_was_taken_for_the_killed_is_given_back(timeout: float | None) -> None:
    lock = semaphore(1, 1)
    assert lock.acquire()
    killed = treadle.spawn(lock.acquire, timeout=timeout)
    treadle.sleep(0.02)
    killed.kill()
    lock.release()
    assert lock.acquire(timeout=30)
    assert lock._is_zero()


def test_a_recursive_one_belongs_to_a_greenlet() -> None:
    lock = semaphore(0, 1)
    with lock, lock:
        assert (lock._count(), lock._is_mine()) == (2, True)
        other = treadle.spawn(lambda: (lock._is_mine(), lock.acquire(timeout=0.01)))
        assert other.get() == (False, False)
        with pytest.raises(AssertionError, match="not owned"):
            treadle.spawn(lock.release).get()
    assert treadle.spawn(lock.acquire, timeout=5).get()


def test_a_pool_of_threads_that_is_ended_at_once() -> None:
    script = """
from treadle import monkey; monkey.patch_all()
import multiprocessing.pool, time
pool = multiprocessing.pool.ThreadPool(3)
pool.map_async(time.sleep, [60] * 1000, chunksize=1)
pool.terminate()  # no pipe is full: no task begins meanwhile, none has to be waited for
pool.join()
"""
    subprocess.run([sys.executable, "-c", script], timeout=30, check=True)


@pytest.mark.skipif(sys.platform == "win32", reason="no SemLock of ours there")
def test_a_wait_after_one_for_which_no_thread_could_be_started(fresh) -> None:
    source = """
from treadle import monkey
monkey.patch_all()
import multiprocessing, threading, treadle
from treadle.monkey import _multiprocessing as source

def refuse(*args): raise RuntimeError("can't start new thread")
start, source._start_native_thread = source._start_native_thread, refuse
semaphore = multiprocessing.Semaphore(0)
try: semaphore.acquire()
except RuntimeError as error: print(error)
source._start_native_thread = start
waiter = treadle.spawn(semaphore.acquire)
treadle.sleep(0.01)
semaphore.release()
print(waiter.get(timeout=30))
"""
    assert fresh(source) == "can't start new thread\nTrue\n"


def test_a_pickled_socket_blocks_in_the_process_that_gets_it(fresh: Callable[..., str]) -> None:
    fresh("""
from treadle import monkey
monkey.patch_all()
import os, pickle, socket
from multiprocessing.reduction import ForkingPickler
left, right = socket.socketpair()
pickled = bytes(ForkingPickler.dumps(left))
assert os.get_blocking(left.fileno()) and not os.get_blocking(right.fileno())
copy = pickle.loads(pickled)
copy.sendall(b"x")
assert right.recv(1) == b"x"
for end in left, right, copy:
    end.close()
""")


def test_a_forked_child_waits_for_a_semaphore_that_its_parent_waits_for() -> None:
    shared = semaphore(1, 3)
    for _ in range(3):
        shared.acquire()
    waiting = treadle.spawn(shared.acquire)
    treadle.sleep(0.01)
    pid = treadle.fork()
    if pid == 0:
        signal.alarm(10)
        os._exit(not (treadle.spawn(shared.acquire).get() and shared.acquire(timeout=30)))
    treadle.sleep(0.05)
    for _ in range(3):
        shared.release()
    assert waiting.get(timeout=30)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
