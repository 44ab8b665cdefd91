"""The loop's callbacks and watchers: gevent's low-level API."""

import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import treadle
from treadle.core import READ, WRITE
from treadle.hub import get_hub


@pytest.fixture
def loop() -> Iterator[Any]:
    """The hub's loop; every test must leave its counts as they were."""
    hub = get_hub()
    before = (hub.refs, hub.unref_timers, hub.timer_count(), hub.loop.activecnt)
    yield hub.loop
    hub.loop.verify()
    treadle.sleep(0)
    assert (hub.refs, hub.unref_timers, hub.timer_count(), hub.loop.activecnt) == before


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ends = socket.socketpair()
    yield ends
    for end in ends:
        end.close()


@pytest.fixture
def errors(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, BaseException]]:
    """The errors that the hub is asked to report."""
    caught: list[tuple[Any, BaseException]] = []
    monkeypatch.setattr(
        get_hub(), "handle_error", lambda context, typ, value, tb: caught.append((context, value))
    )
    return caught


class TestCallbacks:
    def test_run_in_order_in_the_hub(self, loop: Any) -> None:
        ran: list[Any] = []
        loop.run_callback(lambda: ran.append(treadle.getcurrent()))
        loop.run_callback(ran.append, 2)
        treadle.sleep(0)
        assert ran == [get_hub(), 2]

    def test_is_true_until_it_ran_or_was_stopped(self, loop: Any) -> None:
        ran: list[int] = []
        first, second = loop.run_callback(ran.append, 1), loop.run_callback(ran.append, 2)
        assert first.pending
        second.stop()
        assert not second
        treadle.sleep(0)
        assert not first
        assert ran == [1]

    def test_from_another_thread(self, loop: Any) -> None:
        done = treadle.hub.Waiter()
        thread = threading.Thread(target=loop.run_callback_threadsafe, args=(done.switch, 5))
        thread.start()
        assert done.get() == 5
        thread.join()

    def test_switching_into_a_greenlet_and_back(self, loop: Any) -> None:
        current = treadle.getcurrent()
        loop.run_callback(current.switch, "value")
        assert get_hub().switch() == "value"

    def test_an_error_is_reported_and_the_hub_goes_on(self, loop: Any, errors: list[Any]) -> None:
        def fail() -> None:
            raise KeyError("x")

        loop.run_callback(fail)
        treadle.sleep(0)
        assert [(context, type(exc)) for context, exc in errors] == [(fail, KeyError)]


class TestIo:
    def test_tells_as_long_as_there_is_something(
        self, loop: Any, pair: tuple[socket.socket, socket.socket]
    ) -> None:
        reader, writer = pair
        got: list[bytes] = []
        with loop.io(reader.fileno(), READ) as watcher:
            watcher.start(lambda: got.append(reader.recv(1)))
            writer.send(b"abc")
            treadle.sleep(0.01)
            assert got == [b"a", b"b", b"c"]
            writer.send(b"d")
            treadle.sleep(0.01)
        assert got == [b"a", b"b", b"c", b"d"]

    def test_pass_events_and_both_directions(
        self, loop: Any, pair: tuple[socket.socket, socket.socket]
    ) -> None:
        reader, writer = pair
        writer.send(b"x")
        events: list[int] = []
        with loop.io(reader.fileno(), READ | WRITE) as watcher:

            def callback(bits: int, extra: str) -> None:
                events.append(bits)
                assert extra == "extra"
                watcher.stop()

            watcher.start(callback, "extra", pass_events=True)
            treadle.sleep(0.01)
        assert events == [READ | WRITE]

    def test_several_watchers_of_one_descriptor(
        self, loop: Any, pair: tuple[socket.socket, socket.socket]
    ) -> None:
        reader, writer = pair
        told: list[str] = []
        read = loop.io(reader.fileno(), READ)
        write = loop.io(reader.fileno(), WRITE)
        read.start(lambda: (told.append("read"), read.stop()))
        write.start(lambda: (told.append("write"), write.stop()))
        treadle.sleep(0.01)
        assert told == ["write"]
        writer.send(b"x")
        treadle.sleep(0.01)
        assert told == ["write", "read"]

    def test_stop_takes_back_a_call_on_its_way(
        self, loop: Any, pair: tuple[socket.socket, socket.socket]
    ) -> None:
        told: list[int] = []
        first = loop.io(pair[0].fileno(), WRITE)
        second = loop.io(pair[0].fileno(), WRITE)

        def callback(number: int) -> None:
            told.append(number)
            first.stop()
            second.stop()

        first.start(callback, 1)
        second.start(callback, 2)
        treadle.sleep(0.01)
        assert told == [1]

    def test_a_failing_callback_stops_it(
        self, loop: Any, pair: tuple[socket.socket, socket.socket], errors: list[Any]
    ) -> None:
        watcher = loop.io(pair[0].fileno(), WRITE)
        watcher.start(lambda: 1 / 0)
        treadle.sleep(0.01)
        assert not watcher.active
        assert [(context, type(exc)) for context, exc in errors] == [(watcher, ZeroDivisionError)]

    def test_a_descriptor_closed_by_its_callback_is_reported(
        self, loop: Any, pair: tuple[socket.socket, socket.socket], errors: list[Any]
    ) -> None:
        watcher = loop.io(pair[0].fileno(), WRITE)
        watcher.start(pair[0].close)
        treadle.sleep(0.01)
        assert not watcher.active
        assert [(context, type(exc)) for context, exc in errors] == [(watcher, OSError)]

    def test_a_reused_number_is_watched_anew(self, loop: Any) -> None:
        reader, writer = os.pipe()
        stale = loop.io(reader, READ)
        stale.start(lambda: None)
        os.close(reader)
        os.close(writer)
        other, other_writer = os.pipe()
        assert other == reader
        with loop.io(other, READ) as fresh:
            os.write(other_writer, b"x")
            get_hub().wait(fresh)
        stale.close()
        os.close(other)
        os.close(other_writer)

    def test_a_file_is_always_ready(self, loop: Any, tmp_path: Path) -> None:
        with open(tmp_path / "file", "wb") as file, loop.io(file.fileno(), WRITE) as watcher:
            get_hub().wait(watcher)

    def test_closing_fd_tells_its_watchers(
        self, loop: Any, pair: tuple[socket.socket, socket.socket]
    ) -> None:
        fd = pair[0].fileno()
        assert not loop.closing_fd(fd)
        watcher = loop.io(fd, READ)
        watcher.start(watcher.stop)
        assert loop.closing_fd(fd)
        treadle.sleep(0)
        assert not watcher.active

    @pytest.mark.parametrize(
        ("fd", "events", "error"),
        [(-1, READ, ValueError), (0, 4, ValueError), ("0", READ, TypeError), (9999, READ, OSError)],
    )
    def test_what_cannot_be_watched(
        self, loop: Any, fd: Any, events: int, error: type[Exception]
    ) -> None:
        with pytest.raises(error):
            loop.io(fd, events)

    def test_descriptor_and_events_may_change_while_stopped(
        self, loop: Any, pair: tuple[socket.socket, socket.socket]
    ) -> None:
        watcher = loop.io(pair[0].fileno(), READ)
        watcher.fd, watcher.events = pair[1].fileno(), WRITE
        watcher.start(lambda: None)
        with pytest.raises(AttributeError):
            watcher.events = READ
        with pytest.raises(AttributeError):
            watcher.priority = 1
        watcher.close()


class TestTimer:
    def test_once(self, loop: Any) -> None:
        told: list[int] = []
        timer = loop.timer(0.001)
        timer.start(told.append, 1)
        assert timer.active
        assert timer.args == (1,)
        treadle.sleep(0.01)
        assert told == [1]
        assert (timer.active, timer.pending, timer.callback, timer.args) == (
            False,
            False,
            None,
            None,
        )

    def test_repeats_until_stopped(self, loop: Any) -> None:
        told: list[int] = []
        stopped = treadle.event.Event()

        def tell() -> None:
            told.append(1)
            if len(told) == 3:
                timer.stop()
                stopped.set()

        with loop.timer(0.001, repeat=0.001) as timer:
            timer.start(tell)
            assert stopped.wait(10)
            treadle.sleep(0.005)
        assert told == [1, 1, 1]

    def test_again_waits_for_the_repetition(self, loop: Any) -> None:
        with loop.timer(0, repeat=0.03) as timer:
            begun = time.monotonic()
            told = treadle.hub.Waiter()
            timer.again(told.switch, None)
            told.get()
            assert time.monotonic() - begun >= 0.03

    def test_equal_times_fire_in_order(self, loop: Any) -> None:
        told: list[int] = []
        timers = [loop.timer(0) for _ in range(5)]
        for number, timer in enumerate(timers):
            timer.start(told.append, number)
        treadle.sleep(0.001)
        assert told == [0, 1, 2, 3, 4]

    def test_an_unreferenced_one_does_not_keep_the_loop_going(self, loop: Any) -> None:
        with loop.timer(60, ref=False) as timer:
            timer.start(lambda: None)
            assert get_hub().join(5)
            timer.ref = True
            assert not get_hub().join(0.001)

    def test_lives_while_active(self, loop: Any) -> None:
        told: list[int] = []
        loop.timer(0.001).start(told.append, 1)
        treadle.sleep(0.01)
        assert told == [1]

    @pytest.mark.parametrize("callback", [None, 5])
    def test_needs_something_callable(self, loop: Any, callback: Any) -> None:
        timer = loop.timer(1)
        with pytest.raises(TypeError):
            timer.start(callback)
        assert not timer.active

    def test_arguments_are_checked(self, loop: Any) -> None:
        with pytest.raises(ValueError, match="repeat"):
            loop.timer(1, -1)
        with loop.timer(1) as timer:
            timer.start(lambda: None)
            with pytest.raises(TypeError):
                timer.args = [1]
            with pytest.raises(TypeError):
                timer.callback = False

    def test_feed_calls_without_waiting(self, loop: Any) -> None:
        told: list[int] = []
        timer = loop.timer(60)
        timer.feed(0, told.append, 1)
        assert timer.pending
        treadle.sleep(0)
        assert told == [1]


class TestTurns:
    def test_prepare_and_check_surround_the_wait(self, loop: Any) -> None:
        told: list[str] = []
        with loop.prepare() as prepare, loop.check() as check:
            check.start(told.append, "check")
            prepare.start(told.append, "prepare")
            treadle.sleep(0.001)
        assert told[:2] == ["prepare", "check"]

    def test_idle_runs_when_nothing_else_does(self, loop: Any) -> None:
        order: list[str] = []
        worker = treadle.spawn(lambda: [(order.append("busy"), treadle.sleep(0)) for _ in range(3)])
        treadle.idle()
        order.append("idle")
        worker.join()
        assert order == ["busy", "busy", "busy", "idle"]

    def test_async_from_another_thread(self, loop: Any) -> None:
        with loop.async_() as watcher:
            threads = [threading.Thread(target=watcher.send) for _ in range(3)]
            for thread in threads:
                treadle.spawn_later(0.001, thread.start)
            get_hub().wait(watcher)
            treadle.sleep(0.005)
            for thread in threads:
                thread.join()
        assert not watcher.active


class TestSignal:
    def test_calls_and_restores_the_handler(self, loop: Any) -> None:
        before = signal.getsignal(signal.SIGUSR1)
        with loop.signal(signal.SIGUSR1) as watcher:
            treadle.spawn_later(0.001, os.kill, os.getpid(), signal.SIGUSR1)
            get_hub().wait(watcher)
        assert signal.getsignal(signal.SIGUSR1) is before

    def test_signal_handler_runs_in_a_greenlet(self, loop: Any) -> None:
        done = treadle.hub.Waiter()

        def handler(value: int) -> None:
            treadle.sleep(0)
            done.switch(value)

        handle = treadle.signal_handler(signal.SIGUSR1, handler, 7)
        os.kill(os.getpid(), signal.SIGUSR1)
        assert done.get() == 7
        handle.cancel()

    def test_what_a_handler_raises_reaches_the_main_greenlet(self, loop: Any) -> None:
        def handler() -> None:
            raise KeyError("from the handler")

        handle = treadle.signal_handler(signal.SIGUSR1, handler)
        os.kill(os.getpid(), signal.SIGUSR1)
        with pytest.raises(KeyError, match="from the handler"):
            treadle.sleep(1)
        handle.cancel()

    @pytest.mark.parametrize("number", [0, -1, 1000])
    def test_unknown_numbers(self, loop: Any, number: int) -> None:
        with pytest.raises(ValueError, match="signal number"):
            loop.signal(number)


def child_that(function: Callable[[], int]) -> int:
    """Fork a child that exits with the value of *function*; return its process id."""
    pid = os.fork()
    if pid == 0:
        status = 99
        try:
            status = function()
        finally:
            os._exit(status)
    return pid


class TestChild:
    @pytest.fixture(params=["pidfd", "SIGCHLD"])
    def how(self, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
        if request.param == "SIGCHLD":
            monkeypatch.delattr(os, "pidfd_open")
        return request.param

    def test_its_status(self, loop: Any, how: str) -> None:
        pid = child_that(lambda: 7)
        with loop.child(pid) as watcher:
            get_hub().wait(watcher)
            assert (watcher.pid, watcher.rpid) == (pid, pid)
            assert os.waitstatus_to_exitcode(watcher.rstatus) == 7
        with pytest.raises(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)

    def test_two_watchers_of_one_child(self, loop: Any, how: str) -> None:
        pid = child_that(lambda: 3)
        statuses: list[int] = []
        watchers = [loop.child(pid) for _ in range(2)]
        for watcher in watchers:
            watcher.start(lambda watcher=watcher: statuses.append(watcher.rstatus >> 8))
        while len(statuses) < 2:
            treadle.sleep(0.001)
        assert statuses == [3, 3]
        assert not any(watcher.active for watcher in watchers)

    def test_the_programs_own_handler_goes_on(self, loop: Any, how: str) -> None:
        seen: list[int] = []
        before = signal.signal(signal.SIGCHLD, lambda number, frame: seen.append(number))
        try:
            with loop.child(child_that(lambda: 0)) as watcher:
                get_hub().wait(watcher)
            treadle.sleep(0.001)
            assert seen == [signal.SIGCHLD]
        finally:
            signal.signal(signal.SIGCHLD, before)

    def test_a_forked_child_does_not_call_its_parents_watchers(self, loop: Any) -> None:
        called: list[int] = []

        def wait_for_own() -> int:
            with get_hub().loop.child(child_that(lambda: 0), trace=1) as watcher:
                get_hub().wait(watcher)
            treadle.sleep(0.01)
            return len(called)

        with loop.child(0) as anyone:
            anyone.start(lambda: called.append(anyone.rpid))
            pid = child_that(wait_for_own)
            while not called:
                treadle.sleep(0.001)
            assert (called, os.waitstatus_to_exitcode(anyone.rstatus)) == ([pid], 0)

    def test_stops_are_told_with_trace(self, loop: Any) -> None:
        pid = child_that(lambda: time.sleep(30) or 0)
        with loop.child(pid, trace=1) as watcher:
            treadle.spawn(os.kill, pid, signal.SIGSTOP)
            get_hub().wait(watcher)
            assert os.WIFSTOPPED(watcher.rstatus)
            treadle.spawn(os.kill, pid, signal.SIGKILL)
            get_hub().wait(watcher)
            assert os.WTERMSIG(watcher.rstatus) == signal.SIGKILL

    def test_only_on_the_main_threads_loop(self, loop: Any) -> None:
        raised: list[BaseException] = []

        def in_thread() -> None:
            try:
                get_hub().loop.child(1)
            except TypeError as exc:
                raised.append(exc)
            finally:
                get_hub().destroy()

        thread = threading.Thread(target=in_thread)
        thread.start()
        thread.join()
        assert len(raised) == 1


class TestFork:
    def test_only_signals_and_forks_are_inherited(
        self, loop: Any, pair: tuple[socket.socket, socket.socket]
    ) -> None:
        told: list[str] = []
        io, timer = loop.io(pair[0].fileno(), WRITE), loop.timer(0)
        forked, by_signal = loop.fork(ref=False), loop.signal(signal.SIGUSR1, ref=False)
        io.start(told.append, "io")
        timer.start(told.append, "timer")
        forked.start(told.append, "fork")
        by_signal.start(told.append, "signal")

        def in_child() -> int:
            os.kill(os.getpid(), signal.SIGUSR1)
            treadle.sleep(0.01)
            active = [watcher.active for watcher in (io, timer, forked, by_signal)]
            hub = get_hub()
            good = active == [False, False, True, True] and hub.refs == hub.unref_timers == 0
            return 0 if good and told == ["fork", "signal"] else 1

        pid = child_that(in_child)
        for watcher in (io, timer, forked, by_signal):
            watcher.close()
        with loop.child(pid) as watcher:
            get_hub().wait(watcher)
            assert watcher.rstatus == 0
        assert told == []

    def test_watching_works_in_the_child(
        self, loop: Any, pair: tuple[socket.socket, socket.socket]
    ) -> None:
        def in_child() -> int:
            with loop.io(pair[0].fileno(), READ) as watcher:
                pair[1].send(b"x")
                get_hub().wait(watcher)
            return 0

        with loop.io(pair[0].fileno(), WRITE) as before:
            get_hub().wait(before)
        with loop.child(child_that(in_child)) as watcher:
            get_hub().wait(watcher)
            assert watcher.rstatus == 0


class TestStat:
    def test_writing_and_removing(self, loop: Any, tmp_path: Path) -> None:
        path = tmp_path / "file"
        path.touch()
        with loop.stat(str(path), interval=-1) as watcher:
            assert (watcher.path, watcher.interval) == (str(path), -1)
            treadle.spawn_later(0.01, path.write_bytes, b"x")
            get_hub().wait(watcher)
            assert (watcher.prev.st_size, watcher.attr.st_size) == (0, 1)
            treadle.spawn_later(0.01, path.unlink)
            get_hub().wait(watcher)
            assert (watcher.prev.st_size, watcher.attr) == (1, None)


class TestLoop:
    def test_it_says_what_it_is(self, loop: Any) -> None:
        assert loop.default
        assert loop.backend in treadle.core.supported_backends()
        assert (loop.MINPRI, loop.MAXPRI) == (-2, 2)
        begun, turns = loop.now(), loop.iteration
        treadle.sleep(0.001)
        loop.update_now()
        assert loop.now() - begun >= 0.001
        assert loop.iteration > turns
        assert os.fstat(loop.fileno())

    @pytest.mark.parametrize("once", [False, True])
    @pytest.mark.parametrize("end", ["stop", "ref"])
    def test_one_that_belongs_to_no_hub_ends_when_a_prepare_watcher_stops_the_last(
        self, pair: tuple[socket.socket, socket.socket], end: str, once: bool
    ) -> None:
        own = treadle.core.loop(default=False)
        watcher = own.io(pair[0].fileno(), READ)
        watcher.start(print)
        with own.prepare() as prepare:
            if end == "stop":
                prepare.start(lambda: (watcher.stop(), prepare.stop()))
            else:
                prepare.start(lambda: (setattr(watcher, "ref", False), prepare.stop()))
            own.run(once=once)
        watcher.close()
        own.destroy()

    def test_one_that_belongs_to_no_hub(
        self, pair: tuple[socket.socket, socket.socket], errors: list[Any]
    ) -> None:
        own = treadle.core.loop(default=False)
        assert not own.default
        own.run()
        ran: list[Any] = []
        own.run_callback(ran.append, "callback")
        own.timer(0.002).start(ran.append, "timer")
        own.timer(60, ref=False).start(ran.append, "never")
        watcher = own.io(pair[0].fileno(), WRITE)
        watcher.start(lambda: (ran.append("io"), watcher.close()))
        failing = own.timer(0)
        failing.start(lambda: 1 / 0)
        own.run()
        assert ran == ["callback", "io", "timer"]
        assert [context for context, _ in errors] == [failing]
        own.timer(0.001).start(ran.append, "late")
        own.run(nowait=True)
        assert ran[3:] == []
        own.run(once=True)
        own.run(once=True)
        assert ran[3:] == ["late"]
        own.destroy()
        with pytest.raises(ValueError, match="destroyed"):
            own.run()

    def test_the_hub_runs_its_own(self, loop: Any) -> None:
        ran: list[str] = []
        with loop.timer(0.001) as timer:
            timer.start(ran.append, "timer")
            loop.run_callback(ran.append, "callback")
            loop.run(once=True)
            assert ran == ["callback"]
            loop.run()
        assert ran == ["callback", "timer"]
        refused: list[BaseException] = []

        def elsewhere() -> None:
            try:
                loop.run()
            except RuntimeError as exc:
                refused.append(exc)

        thread = threading.Thread(target=elsewhere)
        thread.start()
        thread.join()
        assert refused
        with pytest.raises(TypeError, match="default=False"):
            treadle.core.loop()

    def test_a_destroyed_one_refuses(self) -> None:
        raised: list[BaseException] = []

        def in_thread() -> None:
            hub = get_hub()
            loop = hub.loop
            timer = loop.timer(1)
            timer.start(lambda: None)
            hub.destroy()
            for call in (lambda: loop.run_callback(print), lambda: timer.start(print)):
                try:
                    call()
                except ValueError as exc:
                    raised.append(exc)
            assert (hub.loop, timer.active, get_hub() is hub) == (None, False, False)
            get_hub().destroy()
            raised.append(StopIteration())

        thread = threading.Thread(target=in_thread)
        thread.start()
        thread.join()
        assert [type(exc) for exc in raised] == [ValueError, ValueError, StopIteration]


def test_a_timer_that_repeats_at_once_lets_others_run() -> None:
    calls = 0

    def count() -> None:
        nonlocal calls
        calls += 1

    timer = treadle.get_hub().loop.timer(1e-10, 1e-10)
    timer.start(count)
    try:
        treadle.sleep(0.02)
        assert calls > 0
    finally:
        timer.close()
