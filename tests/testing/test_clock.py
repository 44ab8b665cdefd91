"""The virtual clock beside what is not virtual: threads, descriptors, programs that spin."""

import asyncio
import queue
import sys
import threading
import time
from _thread import allocate_lock, start_new_thread
from collections.abc import Iterator
from types import ModuleType

import pytest

import treadle
from treadle import socket, testing
from treadle.testing import _clock
from treadle.testing.plugin import _limited

HOUR = 3600
native_sleep = time.sleep


def test_a_loop_that_spins_until_a_moment_ends() -> None:
    def spin() -> float:
        begun, end = time.monotonic(), time.monotonic() + 30
        while time.monotonic() < end:
            pass
        return time.monotonic() - begun

    assert 30 <= testing.run(spin) < 31


def test_reading_the_time_does_not_move_it() -> None:
    def read() -> float:
        begun = time.time()
        with treadle.Timeout(5):
            for _ in range(20_000):
                time.time()
                treadle.sleep(0)
        return time.time() - begun

    assert testing.run(read) == 0


def test_a_loop_that_yields_until_a_moment_ends() -> None:
    def spin() -> None:
        end = time.monotonic() + 30
        while time.monotonic() < end:
            treadle.sleep(0)

    testing.run(lambda: treadle.joinall([treadle.spawn(spin), treadle.spawn(spin)]))


def test_unpatched_waits_with_a_limit_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_clock, "STALL", 100_000_000)

    def wait() -> None:
        with pytest.raises(queue.Empty):
            queue.Queue[int]().get(timeout=0.2)
        asyncio.run(asyncio.sleep(0.2))

    begun = time.monotonic()
    testing.run(wait)
    assert time.monotonic() - begun < 30


@pytest.mark.parametrize("seconds", [1e10, float("inf"), float("nan")])
def test_a_jump_ends_within_the_time_there_is(seconds: float) -> None:
    with pytest.raises(ValueError, match=r"jump\("):
        testing.run(lambda: testing.clock.jump(seconds))


def test_the_clock_ends_rather_than_hangs() -> None:
    testing.run(lambda: treadle.sleep(1e10))
    with pytest.raises(OverflowError, match="virtual clock has come to an end"):
        testing.run(lambda: [treadle.sleep(1e10) for _ in range(3)])


def test_greenlets_of_a_native_thread_sleep_beside_those_of_the_run() -> None:
    slept: list[float] = []

    def sleep() -> None:
        begun = time.monotonic()
        treadle.sleep(0.02)
        slept.append(time.monotonic() - begun)

    def both() -> None:
        threads = [threading.Thread(target=sleep) for _ in range(3)]
        for thread in threads:
            thread.start()
        sleep()
        for thread in threads:
            thread.join()

    testing.run(both)
    assert len(slept) == 4
    assert min(slept) >= 0.02


def test_the_clock_waits_for_a_thread_that_has_only_just_been_started() -> None:
    def wait() -> bool:
        event = treadle.event.Event()
        threading.Thread(target=event.set).start()
        return event.wait(3600)

    assert [testing.run(wait) for _ in range(50)] == [True] * 50


def test_a_program_may_replace_how_errors_are_handled() -> None:
    seen: list[type[BaseException]] = []

    def replace() -> None:
        hub = treadle.get_hub()
        hub.handle_error = lambda context, kind, value, tb: seen.append(kind)
        try:
            treadle.spawn(lambda: 1 / 0).join()
        finally:
            del hub.handle_error

    testing.run(replace)
    assert seen == [ZeroDivisionError]


def test_time_passes_really_while_a_descriptor_is_waited_for() -> None:
    def wait() -> tuple[bytes, float]:
        reader, writer = socket.socketpair()
        with reader, writer:
            treadle.spawn_later(0.05, writer.sendall, b"x")
            begun = time.monotonic()
            return reader.recv(1), time.monotonic() - begun

    begun = time.perf_counter()
    data, waited = testing.run(wait)
    assert data == b"x"
    assert waited >= 0.05
    assert time.perf_counter() - begun >= 0.05


def test_what_is_ready_runs_before_a_jump() -> None:
    def jump() -> float:
        begun: list[float] = []
        treadle.spawn(lambda: begun.append(testing.clock.elapsed))
        testing.clock.jump(15)
        return begun[0]

    assert testing.run(jump) == 0


def test_values_of_foreign_modules_are_neither_hashed_nor_compared(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Untouchable:
        def __hash__(self) -> int:
            raise RuntimeError

        def __eq__(self, other: object) -> bool:
            raise RuntimeError

    module = ModuleType("foreign")
    vars(module).update(value=Untouchable(), view=memoryview(bytearray(1)), now=time.monotonic)
    monkeypatch.setitem(sys.modules, "foreign", module)
    native = time.monotonic
    assert testing.run(lambda: module.now is not native)
    assert module.now is time.monotonic is native


def test_a_module_imported_during_a_run_gets_the_real_functions_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    module = ModuleType("late")

    def load() -> None:
        vars(module)["now"] = time.monotonic
        monkeypatch.setitem(sys.modules, "late", module)

    native = time.monotonic
    testing.run(load)
    assert module.now is native


@pytest.mark.parametrize("seconds", [0.02, 0.2])
def test_an_unpatched_wait_that_is_made_again_is_counted_at_once(seconds: float) -> None:
    def get() -> None:
        with pytest.raises(queue.Empty):
            queue.Queue[int]().get(timeout=seconds)

    for wait in (get, lambda: asyncio.run(asyncio.sleep(seconds))):
        begun = time.perf_counter()
        elapsed = testing.run(lambda wait=wait: (wait(), testing.clock.elapsed)[1])
        assert time.perf_counter() - begun < 0.9
        assert seconds <= elapsed < 0.9


def test_unpatched_waits_end_though_the_thread_computes_between_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_clock, "STALL", 50_000_000)
    monkeypatch.setattr(_clock, "WAIT", 1 << 60)

    def wait() -> None:
        end = time.monotonic() + 0.01
        while time.monotonic() < end:
            native_sleep(0.004)
            sum(range(20_000))

    with _limited(10):
        testing.run(wait)


def test_the_reads_of_other_threads_do_not_move_the_clock(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_clock, "STALL", 1_000_000)

    def read() -> float:
        time.monotonic()
        done = allocate_lock()
        done.acquire()
        start_new_thread(lambda: (native_sleep(0.03), time.monotonic(), done.release()), ())
        done.acquire()
        return testing.clock.elapsed

    assert testing.run(read, leaks=False) == 0


def test_timers_of_before_keep_what_is_left_of_their_time() -> None:
    ticks: list[float] = []

    def tick() -> None:
        while True:
            treadle.sleep(1)
            ticks.append(time.monotonic())

    ticker = treadle.spawn(tick)
    for seconds in (100, 10):
        ticks.clear()
        testing.run(lambda seconds=seconds: treadle.sleep(seconds + 0.5))
        assert len(ticks) == pytest.approx(seconds, abs=1)
    treadle.sleep(0)
    ticks.clear()
    testing.explore(lambda: treadle.sleep(10), schedules=3)
    assert len(ticks) == pytest.approx(40, abs=4)  # one of them runs twice
    ticker.kill()
    late = treadle.spawn_later(HOUR + 0.05, list)
    testing.run(lambda: treadle.sleep(HOUR))
    begun = time.monotonic()
    late.join()
    assert time.monotonic() - begun < 10


@pytest.fixture
def server() -> Iterator[tuple[str, int]]:
    """Answers each connection with a byte, and then waits for the next."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                with listener.accept()[0] as connection:
                    treadle.sleep(0.01)
                    connection.sendall(b"x")

        job = treadle.spawn(serve)
        treadle.sleep(0)
        yield listener.getsockname()
        job.kill()


def test_a_server_that_waits_for_connections_does_not_hold_the_clock(
    server: tuple[str, int],
) -> None:
    def use() -> None:
        treadle.sleep(HOUR)
        with socket.create_connection(server) as connection:
            assert connection.recv(1) == b"x"
        treadle.sleep(HOUR)
        assert testing.clock.elapsed >= 2 * HOUR

    begun = time.monotonic()
    testing.run(use)
    testing.run(lambda: treadle.sleep(HOUR), strict=True)
    assert time.monotonic() - begun < 30

    def wait() -> None:
        with socket.create_connection(server) as connection:
            connection.recv(1)

    with pytest.raises(testing.StrictClockError):
        testing.run(wait, strict=True)


def test_modules_that_load_when_they_are_used_stay_as_they_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Lazy(ModuleType):
        def __getattribute__(self, name: str) -> object:
            raise RuntimeError(name)

    class Stub:
        @property
        def __dict__(self) -> dict[str, object]:  # type: ignore[override]
            raise RuntimeError

    monkeypatch.setitem(sys.modules, "lazy", Lazy("lazy"))
    monkeypatch.setitem(sys.modules, "stub", Stub())  # type: ignore[arg-type]
    testing.run(lambda: None)


def test_the_functions_are_replaced_in_little_time(monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(2000):
        module = ModuleType(f"module_{number}")
        vars(module).update({f"name_{n}": n for n in range(50)})
        monkeypatch.setitem(sys.modules, module.__name__, module)
    testing.run(lambda: None)
    begun = time.thread_time()
    testing.run(lambda: None)
    assert time.thread_time() - begun < 0.02
