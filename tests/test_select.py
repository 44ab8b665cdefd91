"""treadle.select: the standard library's errors, single descriptors, and the thread count."""

import _thread
import errno
import os
import select as native
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest

import treadle
from treadle import select, selectors, socket, thread


class WithoutNumber:
    pass


@pytest.mark.parametrize("module", [native, select], ids=["stdlib", "treadle"])
@pytest.mark.parametrize(
    ("arguments", "kind"),
    [
        (([WithoutNumber()], [], [], 0), TypeError),
        (([], [], [], "1"), TypeError),
        (([], [], [], -1), ValueError),
    ],
)
def test_select_refuses(module: Any, arguments: Any, kind: type[Exception]) -> None:
    with pytest.raises(kind):
        module.select(*arguments)


@pytest.mark.skipif(sys.version_info >= (3, 15), reason="CPython 3.15 waits as long as that")
@pytest.mark.parametrize("module", [native, select], ids=["stdlib", "treadle"])
def test_poll_refuses_more_than_a_c_int(module: Any) -> None:
    with pytest.raises(OverflowError):
        module.poll().poll(1 << 31)


@pytest.mark.skipif(not hasattr(native, "epoll"), reason="the system has no epoll")
@pytest.mark.skipif(sys.version_info >= (3, 15), reason="CPython 3.15 waits as long as that")
@pytest.mark.parametrize("module", [native, select], ids=["stdlib", "treadle"])
@pytest.mark.parametrize("seconds", [1 << 33, 1 << 31, -(1 << 31), float("-inf"), -1e300])
def test_epoll_refuses_more_milliseconds_than_a_c_int(module: Any, seconds: float) -> None:
    with module.epoll() as epoll, treadle.Timeout(0.3), pytest.raises(OverflowError):
        epoll.poll(seconds)


@pytest.mark.parametrize("module", [native, select], ids=["stdlib", "treadle"])
def test_a_regular_file_never_has_urgent_data(module: Any) -> None:
    with open(__file__, "rb") as file:
        assert module.select([], [], [file], 0.001) == ([], [], [])


def test_poll_refuses_a_second_greenlet() -> None:
    poll = select.poll()
    with pytest.raises(TypeError, match="cannot create"):
        type(poll)()
    waiter = treadle.spawn(poll.poll, 10)
    treadle.sleep(0)
    with pytest.raises(RuntimeError):
        poll.poll(0)
    assert waiter.get() == []
    assert poll.poll(0) == []


def test_greenlets_count_as_threads_while_they_run() -> None:
    gate = thread.LockType()
    gate.acquire()
    before = thread._count()
    thread.start_new_thread(gate.acquire, ())
    treadle.sleep(0)
    during = thread._count()
    gate.release()
    treadle.sleep(0)
    assert (before, during - before, thread._count()) == (_thread._count(), 1, before)


class TestOneDescriptor:
    """The hub waits for a single descriptor directly, without an epoll descriptor in between."""

    @staticmethod
    def polled(source: Any, mask: int, milliseconds: int = 5000) -> list[int]:
        """Return the events of a poll of *source* alone."""
        poll = select.poll()
        poll.register(source, mask)
        return [event for _, event in poll.poll(milliseconds)]

    def test_all_who_wait_are_woken(self) -> None:
        left, right = socket.socketpair()
        with left, right:
            readers = [treadle.spawn(self.polled, left, native.POLLIN) for _ in range(2)]
            readers.append(treadle.spawn(select.select, [left], [], [], 5))
            received = treadle.spawn(left.recv, 1)
            treadle.sleep(0)
            right.send(b"ab")
            assert received.get() == b"a"
            assert [reader.get() for reader in readers] == [
                [native.POLLIN],
                [native.POLLIN],
                ([left], [], []),
            ]

    def test_its_other_end_is_closed(self) -> None:
        reader, writer = os.pipe()
        waiting = treadle.spawn(self.polled, reader, native.POLLIN)
        treadle.sleep(0)
        os.close(writer)
        assert waiting.get() == [native.POLLHUP]
        os.close(reader)

    def test_nobody_will_read_what_is_written(self) -> None:
        reader, writer = os.pipe()
        os.set_blocking(writer, False)
        while True:
            try:
                os.write(writer, bytes(65536))
            except BlockingIOError:
                break
        waiting = treadle.spawn(self.polled, writer, native.POLLOUT)
        treadle.sleep(0)
        os.close(reader)
        assert waiting.get()[0] & native.POLLERR
        os.close(writer)

    def test_it_is_closed_meanwhile(self) -> None:
        left, right = socket.socketpair()
        number = left.fileno()
        polling = treadle.spawn(self.polled, number, native.POLLIN)
        selecting = treadle.spawn(select.select, [number], [], [])
        treadle.sleep(0)
        left.close()
        assert polling.get() == [native.POLLNVAL]
        with pytest.raises(OSError, match=r"[Bb]ad file descriptor"):
            selecting.get()
        right.close()

    def test_time_is_up(self) -> None:
        left, right = socket.socketpair()
        with left, right:
            began = time.monotonic()
            assert self.polled(left, native.POLLIN, 20) == []
            assert select.select([], [left], [], 0.02)[1] == [left]
            assert select.select([left], [], [], 0.02) == ([], [], [])
            assert time.monotonic() - began >= 0.04

    def test_it_is_a_regular_file(self) -> None:
        with open(__file__) as file:
            assert self.polled(file, native.POLLIN) == [native.POLLIN]


@pytest.mark.parametrize("others", [0, 1], ids=["alone", "among others"])
@pytest.mark.parametrize("how", ["select", "poll"])
def test_what_a_watcher_took_was_ready(how: str, others: int) -> None:
    """A wait ends even if a watcher reads the data first, as zmq.green's watchers do."""
    pipes = [os.pipe() for _ in range(1 + others)]
    readers = [reader for reader, _ in pipes]
    first = readers[0]
    watcher = treadle.get_hub().loop.io(first, 1)
    watcher.start(lambda: os.read(first, 10))

    def wait() -> Any:
        if how == "select":
            return select.select(readers, [], [], 5)
        poll = select.poll()
        for reader in readers:
            poll.register(reader, native.POLLIN)
        return poll.poll(5000)

    waiting = treadle.spawn(wait)
    treadle.sleep(0.01)
    os.write(pipes[0][1], b"abc")
    assert waiting.get() == (([first], [], []) if how == "select" else [(first, native.POLLIN)])
    watcher.close()
    for fd in (fd for pipe in pipes for fd in pipe):
        os.close(fd)


def test_descriptors_are_unregistered_while_polled() -> None:
    reading, writing = os.pipe()
    try:
        watched = select.poll()
        for fd in (reading, writing):
            watched.register(fd, select.POLLIN)
        poller = treadle.spawn(watched.poll)
        treadle.sleep(0)
        for fd in (reading, writing):
            watched.unregister(fd)
        watched.register(writing, select.POLLOUT)
        os.write(writing, b"wake")
        assert poller.get(timeout=30) == [(writing, select.POLLOUT)]
    finally:
        os.close(reading)
        os.close(writing)


class Thrown(OSError):
    """What the tests throw into waits."""


def waits_of_select(reader: int, other: int) -> dict[str, Callable[[], Any]]:
    poll, both, epoll = select.poll(), select.poll(), select.epoll()
    poll.register(reader)
    both.register(reader)
    both.register(other)
    epoll.register(reader)
    selector = selectors.DefaultSelector()
    selector.register(reader, selectors.EVENT_READ)
    return {
        "select": lambda: select.select([reader], [], [], 5),
        "select of two": lambda: select.select([reader, other], [], [], 5),
        "select of urgent data": lambda: select.select([reader], [], [reader], 5),
        "poll": lambda: poll.poll(5000),
        "poll of two": lambda: both.poll(5000),
        "epoll": lambda: epoll.poll(5),
        "selector": lambda: selector.select(5),
    }


@pytest.mark.parametrize("number", [None, errno.EBADF, errno.EAGAIN, errno.EPERM])
def test_what_is_thrown_into_a_wait_is_raised_there(number: int | None) -> None:
    pipes = os.pipe(), os.pipe()
    for name, wait in waits_of_select(pipes[0][0], pipes[1][0]).items():
        error = Thrown() if number is None else Thrown(number, "mine")
        waiting = treadle.spawn(wait)
        treadle.sleep(0)
        waiting.kill(error)
        assert waiting.exception is error, name
    for cls in (selectors.SelectSelector, selectors.PollSelector, selectors.EpollSelector):
        with cls() as selector:
            selector.register(pipes[0][0], selectors.EVENT_READ)
            waiting = treadle.spawn(selector.select, 5)
            treadle.sleep(0)
            waiting.kill(InterruptedError(number or 0, "mine"))
            assert str(waiting.exception).endswith("mine"), cls
    for fd in (fd for pipe in pipes for fd in pipe):
        os.close(fd)


def test_poll_objects_take_keywords() -> None:
    left, right = socket.socketpair()
    with left, right:
        right.send(b"x")
        poll = select.poll()
        poll.register(fd=left, eventmask=native.POLLOUT)
        poll.modify(left, eventmask=native.POLLIN)
        assert poll.poll(timeout=1000) == [(left.fileno(), native.POLLIN)]
        poll.unregister(fd=left)
        assert poll.poll(timeout=0) == []


@pytest.mark.parametrize(
    "end", [lambda epoll: epoll.close(), lambda epoll: epoll.__exit__(None, None, None)]
)
def test_an_epoll_object_is_closed_meanwhile(end: Callable[[Any], object]) -> None:
    epoll = select.epoll()
    waiting = treadle.spawn(epoll.poll, 5)
    treadle.sleep(0)
    end(epoll)
    assert epoll.closed
    with pytest.raises(OSError, match="closed") as raised:
        waiting.get(timeout=1)
    assert raised.value.errno == errno.EBADF
    epoll.close()
    with pytest.raises(ValueError, match="closed"):
        epoll.poll(0)


def test_an_epoll_object_is_closed_by_another_thread() -> None:
    epoll = select.epoll()
    waiting = treadle.spawn(epoll.poll, 0.1)
    treadle.sleep(0)
    treadle.get_hub().threadpool.apply(epoll.close)
    with pytest.raises(OSError, match=r"[Bb]ad file descriptor"):
        waiting.get(timeout=30)


def test_selectors_keep_the_class_of_the_error() -> None:
    with selectors.DefaultSelector() as selector:
        with open(__file__) as file, pytest.raises(PermissionError):
            selector.register(file, selectors.EVENT_READ)
        with pytest.raises(ValueError, match="Invalid file descriptor"):
            selector.register(file.fileno() if not file.closed else 10_000, selectors.EVENT_READ)


def set_timeout(seconds: float) -> None:
    with socket.socket() as made:
        made.settimeout(seconds)


@pytest.mark.parametrize("seconds", [float("inf"), 1e30])
@pytest.mark.parametrize(
    "call",
    [
        lambda seconds: select.select([], [], [], seconds),
        lambda seconds: select.epoll().poll(seconds),
        lambda seconds: treadle.signal.sigtimedwait([signal.SIGUSR1], seconds),
        set_timeout,
        lambda seconds: treadle.queue.SimpleQueue().get(True, seconds),
        lambda seconds: treadle.time.sleep(seconds),
        lambda seconds: thread.allocate_lock().acquire(True, seconds),
    ],
)
def test_more_seconds_than_the_standard_library_takes(
    call: Callable[[float], object], seconds: float
) -> None:
    with pytest.raises(OverflowError):
        call(seconds)
