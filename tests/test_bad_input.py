"""Wrong arguments and impossible requests raise a clear exception, and nothing is lost."""

from __future__ import annotations

import _thread
import contextlib
import gc
import math
import os
import socket as native_socket
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

import greenlet
import pytest

import treadle
import treadle.os
from treadle import queue, socket, thread
from treadle._core.watchers import Loop
from treadle.event import AsyncResult, Event
from treadle.exceptions import BlockingSwitchOutError
from treadle.http.frames import TEXT, FrameReader, frame
from treadle.http.h1 import RequestReader
from treadle.http.limits import Limits
from treadle.hub import get_hub
from treadle.lock import BoundedSemaphore, Condition, RLock, Semaphore
from treadle.pool import Group, Pool
from treadle.server import StreamServer
from treadle.threadpool import ThreadPool


def a_closed_pipe() -> int:
    for fd in (ends := os.pipe()):
        os.close(fd)
    return ends[0]


def closed_socket() -> Any:
    sock = socket.socket()
    sock.close()
    return sock


class Liar(queue.LifoQueue[int]):
    def _qsize(self) -> int:
        return 1


NAN = math.nan

# (call, exception, part of its text)
TABLE: dict[str, tuple[Callable[[], object], type[BaseException], str]] = {
    # wrong types
    "sleep a str": (lambda: treadle.sleep("x"), TypeError, "not str"),
    "sleep None": (lambda: treadle.sleep(None), TypeError, "sleep"),
    "spawn 5": (lambda: treadle.spawn(5), TypeError, "5: it is not callable"),
    "spawn_raw 5": (lambda: treadle.spawn_raw(5), TypeError, "5: it is not callable"),
    "spawn_later a str": (lambda: treadle.spawn_later("x", int), TypeError, "not str"),
    "joinall 5": (lambda: treadle.joinall([5]), TypeError, "5: it has no rawlink"),
    "wait 5": (lambda: treadle.wait([5]), TypeError, "5: it has no rawlink"),
    "kill 5": (lambda: treadle.kill(5), TypeError, "not 5"),
    "Timeout a str": (lambda: treadle.Timeout("x").start(), TypeError, "not str"),
    "Event.wait a str": (lambda: Event().wait("x"), TypeError, "not str"),
    "rawlink 5": (lambda: Event().rawlink(5), TypeError, "not 5"),
    "Greenlet.rawlink 5": (lambda: treadle.Greenlet(int).rawlink(5), TypeError, "not 5"),
    "read a request from None": (lambda: RequestReader(Limits()).feed(None), TypeError, "None"),
    "read frames from None": (lambda: FrameReader().feed(None), TypeError, "None"),
    "a frame of None": (lambda: frame(TEXT, None), TypeError, "None"),
    "verify a Loop before __init__()": (lambda: Loop.__new__(Loop).verify(), TypeError, "None"),
    "set_exception 5": (lambda: AsyncResult().set_exception(5), TypeError, "not 5"),
    "set_exception 5, ()": (lambda: AsyncResult().set_exception(5, ()), TypeError, "not 5"),
    "set_exception 5, (1,)": (lambda: AsyncResult().set_exception(5, (1,)), IndexError, "range"),
    "_acquire_restore ()": (lambda: RLock()._acquire_restore(()), IndexError, "range"),
    "peek at less than there is": (lambda: Liar().peek(), IndexError, "range"),
    "Semaphore a str": (lambda: Semaphore("x"), TypeError, "str"),
    "acquire a str": (lambda: Semaphore(0).acquire(timeout="x"), TypeError, "str"),
    "Queue a str": (lambda: queue.Queue("x"), TypeError, "str"),
    "Pool a str": (lambda: Pool("x"), TypeError, "str"),
    "Pool.map 5": (lambda: Pool(2).map(5, [1]), TypeError, "5: it is not callable"),
    "run_callback 5": (lambda: get_hub().loop.run_callback(5), TypeError, "5"),
    "loop.timer a str": (lambda: get_hub().loop.timer("x"), TypeError, "not str"),
    "send a str": (lambda: socket.socketpair()[0].send("x"), TypeError, "not 'str'"),
    "connect 5": (lambda: socket.socket().connect(5), TypeError, "not int"),
    # out of range
    "sleep NaN": (lambda: treadle.sleep(NAN), ValueError, "NaN"),
    "Timeout NaN": (lambda: treadle.Timeout(NAN).start(), ValueError, "NaN"),
    "settimeout -1": (lambda: socket.socket().settimeout(-1), ValueError, "out of range"),
    "settimeout NaN": (lambda: socket.socket().settimeout(NAN), ValueError, "NaN"),
    "recv -1": (lambda: socket.socket().recv(-1), ValueError, "negative"),
    "Queue.get -1": (lambda: queue.Queue().get(timeout=-1), ValueError, "non-negative"),
    "Channel of 5": (lambda: queue.Channel(5), ValueError, "not 5"),
    "Semaphore -1": (lambda: Semaphore(-1), ValueError, ">= 0"),
    "Pool -1": (lambda: Pool(-1), ValueError, "-1"),
    "ThreadPool -1": (lambda: ThreadPool(-1), ValueError, "-1"),
    "loop.io of 99": (lambda: get_hub().loop.io(0, 99), ValueError, "not 99"),
    "loop.signal 999": (lambda: get_hub().loop.signal(999), ValueError, "999"),
    "port 99999": (lambda: StreamServer(("127.0.0.1", 99999), int).start(), OverflowError, "port"),
    # in the wrong state
    "RLock.release": (lambda: RLock().release(), RuntimeError, "un-acquired"),
    "Condition.wait": (lambda: Condition().wait(), RuntimeError, "un-acquired"),
    "Condition.notify": (lambda: Condition().notify(), RuntimeError, "un-acquired"),
    "released too often": (lambda: BoundedSemaphore(1).release(), ValueError, "too many times"),
    "task_done": (lambda: queue.JoinableQueue().task_done(), ValueError, "too many times"),
    "join itself": (
        lambda: get_joined(lambda: treadle.getcurrent().join()),
        RuntimeError,
        "own end",
    ),
    # descriptors that are closed, invalid or foreign
    "wait_read -1": (lambda: socket.wait_read(-1), ValueError, "-1"),
    "wait_read 9999": (lambda: socket.wait_read(9999), OSError, "Bad file descriptor"),
    "wait_read closed": (lambda: socket.wait_read(a_closed_pipe()), OSError, "Bad file descriptor"),
    "recv closed": (lambda: closed_socket().recv(1), OSError, "Bad file descriptor"),
    "send closed": (lambda: closed_socket().send(b"x"), OSError, "Bad file descriptor"),
    "accept closed": (lambda: closed_socket().accept(), OSError, "Bad file descriptor"),
    "socket of 9999": (lambda: socket.socket(fileno=9999), OSError, "Bad file descriptor"),
}


def get_joined(function: Callable[[], object]) -> object:
    get_hub().handle_error, kept = lambda *args: None, get_hub().handle_error
    try:
        return treadle.spawn(function).get()
    finally:
        get_hub().handle_error = kept


@pytest.mark.parametrize("name", TABLE)
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_clear_exception_and_the_hub_goes_on(name: str) -> None:
    call, exception, text = TABLE[name]
    with pytest.raises(exception) as caught:
        call()
    assert text in str(caught.value)
    del caught  # frees the frames, with their sockets that were never closed
    gc.collect()
    assert treadle.spawn(treadle.sleep, 0.001).join(1) is None
    assert treadle.spawn(lambda: 7).get(timeout=30) == 7


BLOCKING: dict[str, Callable[[], object]] = {
    "sleep": lambda: treadle.sleep(1),
    "sleep(0)": lambda: treadle.sleep(0),
    "Event": lambda: Event().wait(),
    "AsyncResult": lambda: AsyncResult().get(),
    "Semaphore": lambda: Semaphore(0).acquire(),
    "Queue": lambda: queue.Queue().get(),
    "Channel": lambda: queue.Channel().put(1),
    "join": lambda: treadle.spawn(int).join(),
    "wait_read": lambda: socket.wait_read(0),
}


@pytest.mark.parametrize("name", BLOCKING)
def test_the_hub_never_waits(name: str) -> None:
    seen = AsyncResult()

    def callback() -> None:
        try:
            BLOCKING[name]()
        except BaseException as exc:
            seen.set(exc)

    get_hub().loop.run_callback(callback)
    error = seen.get(timeout=30)
    assert isinstance(error, BlockingSwitchOutError)
    assert "spawn a greenlet" in str(error)
    treadle.sleep(0.001)


def in_a_thread(function: Callable[[], object]) -> object:
    """Return what *function* returns or raises in a native thread, while this thread's hub runs."""
    seen: list[object] = []

    def run() -> None:
        try:
            seen.append(function())
        except BaseException as exc:
            seen.append(exc)

    thread = threading.Thread(target=run)
    thread.start()
    while thread.is_alive():
        treadle.sleep(0.001)
    return seen[0]


def test_nobody_switches_across_threads() -> None:
    sleeper = treadle.spawn(treadle.sleep, 30)
    treadle.sleep(0)
    for switch in (sleeper.switch, lambda: sleeper.throw(ValueError), get_hub().switch):
        error = in_a_thread(switch)
        assert isinstance(error, greenlet.error)
        assert "different thread" in str(error)
    assert not sleeper.dead
    assert in_a_thread(sleeper.kill) is None  # a native thread may kill a greenlet
    assert sleeper.dead


def test_a_callback_that_raises_is_reported_and_the_others_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reported: list[Any] = []
    monkeypatch.setattr(get_hub(), "handle_error", lambda *args: reported.append(args[1]))
    ran: list[str] = []
    event = Event()
    event.rawlink(lambda _: 1 / 0)
    event.rawlink(lambda _: ran.append("link"))
    event.set()
    get_hub().loop.run_callback(lambda: 1 / 0)
    get_hub().loop.run_callback(ran.append, "callback")
    timer = get_hub().loop.timer(0)
    timer.start(lambda: 1 / 0)
    done = treadle.spawn(int)
    done.link(lambda _: 1 / 0)
    treadle.sleep(0.01)
    assert reported == [ZeroDivisionError] * 4
    assert sorted(ran) == ["callback", "link"]


def test_primitives_outlive_their_hub() -> None:
    """Primitives that were made and used in a thread that has ended work in the next thread."""
    made: dict[str, Any] = {}

    def run() -> None:
        made.update(
            event=Event(), semaphore=Semaphore(0), queue=queue.Queue(), result=AsyncResult()
        )
        for primitive in (made["event"].wait, made["semaphore"].acquire, made["queue"].get):
            treadle.spawn(primitive)
        made["greenlet"] = treadle.spawn(made["result"].get)
        treadle.sleep(0)

    in_a_thread(run)
    made["event"].set()
    made["semaphore"].release()
    made["queue"].put("item")
    made["result"].set(7)
    assert made["event"].wait(1)
    assert made["semaphore"].acquire(timeout=30)
    assert made["queue"].get(timeout=30) == "item"
    assert made["result"].get(timeout=30) == 7
    with pytest.raises(RuntimeError, match="never run again"):
        made["greenlet"].kill()


def test_a_member_must_be_a_greenlet() -> None:
    with pytest.raises(TypeError, match="not 5"):
        Group().add(5)
    pool = Pool(1)
    with pytest.raises(TypeError, match="not 5"):
        pool.add(5)
    assert pool.free_count() == 1


def outcome(call: Callable[[], Any]) -> Any:
    try:
        return call()
    except Exception as exc:
        return type(exc)


def datagram_socket(module: Any) -> Any:
    sock = module.socket(module.AF_INET, module.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))
    return sock


NUMBERS = [-1, None, "x", b"x", 1.5, NAN, 1 << 80, -(1 << 80), [], object()]
SOCKET_CALLS: list[tuple[Any, ...]] = [
    *((name, size) for name in ("recv", "recvfrom", "recvmsg") for size in NUMBERS),
    *((name, 1, flags) for name in ("recv", "recvfrom") for flags in NUMBERS if flags != -1),
    ("recv", 0),
    ("recv", 0, 1.5),
    ("recvmsg", 1, -1),
    ("recvmsg", 1, 0, "x"),
    *(
        (name, buffer)
        for name in ("recv_into", "recvfrom_into", "recvmsg_into")
        for buffer in (b"x", "x", None, 5, memoryview(b"x"))
    ),
    ("recv_into", bytearray()),
    *(
        (name, bytearray(4), size)
        for name in ("recv_into", "recvfrom_into")
        for size in (-1, 5, "")
    ),
    ("recvmsg_into", [b"x"]),
    ("recvmsg_into", [bytearray(1)], -1),
    *(("send", b"x", flags) for flags in (None, "x", 1.5, NAN, 1 << 80)),
    *(("sendall", b"x", flags) for flags in (None, "x", 1.5, NAN, 1 << 80)),
    ("sendto", b"x", "x"),
    ("sendto", b"x", 1.5, ("127.0.0.1", 1)),
    ("sendmsg", b"x"),
    *(("setblocking", flag) for flag in (None, "x", 1.5, [])),
    ("settimeout", "x"),
    ("accept",),
]


@pytest.mark.parametrize("call", SOCKET_CALLS, ids=repr)
def test_sockets_refuse_at_once_what_the_standard_ones_refuse(call: tuple[Any, ...]) -> None:
    name, *args = call
    with datagram_socket(native_socket) as native, datagram_socket(socket) as ours:
        native.setblocking(False)  # a call that would wait is no error of its arguments
        expected = outcome(lambda: getattr(native, name)(*args))
        assert expected is not BlockingIOError
        ours.settimeout(0.2)
        assert outcome(lambda: getattr(ours, name)(*args)) == expected


TIMEOUTS = [-2, -1, 0, "x", NAN, 1 << 80, -(1 << 80), math.inf, [], 1e10]


@pytest.mark.parametrize("blocking", [True, False, 1, None, "x", 1.5, 1 << 80, []], ids=repr)
@pytest.mark.parametrize("timeout", TIMEOUTS, ids=repr)
@pytest.mark.parametrize("make", ["Lock", "RLock"])
def test_locks_refuse_what_the_standard_ones_refuse(make: str, blocking: Any, timeout: Any) -> None:
    native = {"Lock": _thread.allocate_lock, "RLock": _thread.RLock}[make]()
    ours = {"Lock": thread.LockType, "RLock": thread.RLock}[make]()
    expected = outcome(lambda: native.acquire(blocking, timeout))
    assert outcome(lambda: ours.acquire(blocking, timeout)) is expected


INTEGERS = (None, "x", 1.5, NAN, 1 << 80, -(1 << 80), [])
OS_CALLS: list[tuple[Any, ...]] = [
    *(("read", "empty", number) for number in (*INTEGERS, -1, 0)),
    *(("readv", "empty", buffers) for buffers in (None, 5, [], "x", [b"x"], [5], [bytearray()])),
    *(("preadv", "empty", buffers, -1) for buffers in (None, 5, [], [b"x"])),
    *(("write", "full", data) for data in (*INTEGERS, b"", memoryview(bytearray(8))[::2])),
    *(("writev", "full", buffers) for buffers in (None, 5, [], "x", [5], [b"x", 5], [b""])),
    *(("splice", "empty", "full", number) for number in (*INTEGERS, -1, 0)),
    *(("splice", "empty", fd, 1) for fd in (*INTEGERS, -1)),
    *(("splice", fd, "full", 1) for fd in (*INTEGERS, -1)),
    *(("sendfile", "full", "file", 0, number) for number in (*INTEGERS, -1)),
    *(("sendfile", "full", "file", number, 1) for number in (*INTEGERS[1:], -1)),
    *(("sendfile", "full", fd, 0, 1) for fd in (*INTEGERS, -1)),
    *(("copy_file_range", "file", "file", number) for number in (*INTEGERS, -1, 0)),
    *(("waitpid", number, 0) for number in (*INTEGERS, bytearray())),
    *(("waitpid", -1, options) for options in INTEGERS),
    *(("waitid", os.P_ALL, 0, options) for options in INTEGERS),
]


@pytest.mark.skipif(sys.platform != "linux", reason="others have not all of the functions")
@pytest.mark.parametrize("call", OS_CALLS, ids=repr)
def test_os_refuses_at_once_what_the_standard_module_refuses(call: tuple[Any, ...]) -> None:
    with contextlib.ExitStack() as stack:
        empty, filled = os.pipe(), os.pipe()
        file = os.open(__file__, os.O_RDONLY)
        for fd in (*empty, *filled, file):
            stack.callback(os.close, fd)
        os.set_blocking(filled[1], False)
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(filled[1], bytes(4096))
        os.set_blocking(filled[1], True)
        descriptors = {"empty": empty[0], "full": filled[1], "file": file}
        name, *given = call
        arguments = [descriptors.get(each, each) if type(each) is str else each for each in given]
        expected = outcome(lambda: getattr(os, name)(*arguments))
        with treadle.Timeout(0.3):
            assert outcome(lambda: getattr(treadle.os, name)(*arguments)) == expected


UNINITIALISED = """
import os, signal, sys, treadle, treadle._core, treadle.http
from importlib import import_module
from inspect import getattr_static
from pkgutil import iter_modules

ARGUMENTS = [(), (None,), (None, None), ([],), ("x",), (0,), (b"x",), (int,)]

def attempts(cls, name):
    is_method = callable(getattr_static(cls, name, None))
    for args in ARGUMENTS:
        try:
            if is_method:
                getattr(cls.__new__(cls), name)(*args)
            elif len(args) == 1:
                setattr(cls.__new__(cls), name, args[0])
            else:
                getattr(cls.__new__(cls), name)
        except BaseException:
            pass

def crashes(*what):
    pid = os.fork()
    if pid == 0:
        for fd in (1, 2):
            os.dup2(os.open(os.devnull, os.O_WRONLY), fd)
        signal.setitimer(signal.ITIMER_REAL, 0.1)  # it ends what waits
        attempts(*what)
        os._exit(0)
    return os.waitpid(pid, 0)[1] not in (0, signal.SIGALRM)  # sanitizers exit

treadle.get_hub()
package = {"_core": treadle._core, "http": treadle.http}[sys.argv[1]]
for info in iter_modules(package.__path__, package.__name__ + "."):
    module = import_module(info.name)
    if not module.__file__.endswith(".so"):
        continue
    for cls in list(vars(module).values()):
        if isinstance(cls, type) and cls.__module__ == info.name:
            if not issubclass(cls, staticmethod):  # its own __call__() crashes
                print(*[(cls, name) for name in [*vars(cls)] if crashes(cls, name)], end="")
os._exit(sys.stdout.flush() or 0)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
@pytest.mark.parametrize("package", ["_core", "http"])
def test_objects_that_were_not_initialised_do_not_crash(package: str) -> None:
    """As those of a subclass that forgets to call ``super().__init__()``."""
    command = [sys.executable, "-c", UNINITIALISED, package]
    assert subprocess.run(command, capture_output=True, check=True, timeout=100).stdout == b""
