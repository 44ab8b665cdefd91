"""The virtual clock beside what is not virtual: threads, descriptors, programs that spin."""

import asyncio
import queue
import sys
import threading
import time
from types import ModuleType

import pytest

import treadle
from treadle import socket, testing
from treadle.testing import _clock


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
