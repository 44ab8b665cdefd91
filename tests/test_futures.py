"""The executor of greenlets, compared with the standard library's executor of threads."""

import decimal
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent import futures
from contextvars import ContextVar
from typing import Any

import pytest

import treadle
from treadle.event import Event
from treadle.futures import GreenletPoolExecutor

pytestmark = pytest.mark.treadle

MakeExecutor = Callable[..., futures.Executor]
EXECUTORS = [futures.ThreadPoolExecutor, GreenletPoolExecutor]


@pytest.fixture(params=EXECUTORS)
def make_executor(request: pytest.FixtureRequest) -> MakeExecutor:
    executor: MakeExecutor = request.param
    return executor


class Stop(BaseException):
    pass


def fail(error: BaseException) -> None:
    raise error


def blocking() -> tuple[Callable[[], str], Callable[[], None]]:
    """Return a call that blocks until the second function runs; it suits both kinds of executor."""
    event = Event()

    def wait() -> str:
        event.wait()
        return "waited"

    return wait, event.set


class TestAsTheStandardOne:
    """Behaviour that both kinds of executor share."""

    def test_value_and_arguments(self, make_executor: MakeExecutor) -> None:
        with make_executor(2) as executor:
            future = executor.submit(dict, a=1, fn=2)
            assert future.result() == {"a": 1, "fn": 2}
            assert (future.done(), future.running(), future.cancelled()) == (True, False, False)
            assert future.exception() is None

    @pytest.mark.parametrize(
        "error",
        [ValueError("no"), Stop(), SystemExit(3), KeyboardInterrupt(), treadle.GreenletExit()],
    )
    def test_errors_go_to_the_future(
        self,
        make_executor: MakeExecutor,
        error: BaseException,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        with make_executor(1) as executor:
            future = executor.submit(fail, error)
            assert future.exception() is error
            with pytest.raises(type(error)):
                future.result()
            assert executor.submit(len, "go on").result() == 5
        assert capsys.readouterr().err == ""

    def test_map(self, make_executor: MakeExecutor) -> None:
        with make_executor(2) as executor:
            assert list(executor.map(pow, [2, 3, 4], [3, 2, 1])) == [8, 9, 4]
            failing = executor.map(fail, [ValueError("first"), ValueError("second")])
            with pytest.raises(ValueError, match="first"):
                next(failing)

    def test_map_in_time(self, make_executor: MakeExecutor) -> None:
        wait, go = blocking()
        with make_executor(2) as executor:
            results = executor.map(lambda function: function(), [lambda: 1, wait], timeout=0.05)
            assert next(results) == 1
            with pytest.raises(TimeoutError):
                next(results)
            go()

    def test_result_in_time(self, make_executor: MakeExecutor) -> None:
        wait, go = blocking()
        with make_executor(1) as executor:
            future = executor.submit(wait)
            with pytest.raises(TimeoutError):
                future.result(timeout=0.01)
            with pytest.raises(TimeoutError):
                future.exception(timeout=0.01)
            go()
            assert future.result(timeout=10) == "waited"

    def test_cancel(self, make_executor: MakeExecutor) -> None:
        wait, go = blocking()
        with make_executor(1) as executor:
            first, second = executor.submit(wait), executor.submit(fail, ValueError("it ran"))
            while not first.running():
                treadle.sleep(0.001)
            assert not first.cancel()
            assert second.cancel()
            go()
            with pytest.raises(futures.CancelledError):
                second.result()
            assert executor.submit(len, "123").result() == 3

    def test_callbacks(self, make_executor: MakeExecutor) -> None:
        seen: list[Any] = []
        with make_executor(1) as executor:
            future = executor.submit(len, "12")
            future.add_done_callback(lambda done: seen.append(done.result()))
            future.result()
        future.add_done_callback(seen.append)
        assert seen == [2, future]

    def test_shutdown_waits(self, make_executor: MakeExecutor) -> None:
        executor = make_executor(1)
        started = [executor.submit(treadle.sleep, 0.01) for _ in range(3)]
        executor.shutdown()
        assert all(future.done() and not future.cancelled() for future in started)
        executor.shutdown()
        with pytest.raises(RuntimeError, match="shutdown"):
            executor.submit(len, "")

    def test_shutdown_does_not_wait_if_so_told(self, make_executor: MakeExecutor) -> None:
        wait, go = blocking()
        executor = make_executor(1)
        running, waiting = executor.submit(wait), executor.submit(wait)
        executor.shutdown(wait=False)
        assert not running.done()
        go()
        assert (running.result(), waiting.result()) == ("waited", "waited")

    def test_shutdown_cancels_if_so_told(self, make_executor: MakeExecutor) -> None:
        wait, go = blocking()
        executor = make_executor(1)
        running, waiting = executor.submit(wait), executor.submit(wait)
        while not running.running():
            treadle.sleep(0.001)
        executor.shutdown(wait=False, cancel_futures=True)
        assert waiting.cancelled()
        go()
        executor.shutdown()
        assert running.result() == "waited"

    def test_no_workers(self, make_executor: MakeExecutor) -> None:
        with pytest.raises(ValueError, match="max_workers"):
            make_executor(0)


def test_waiting_for_many_lets_greenlets_run() -> None:
    beats: list[int] = []
    beater = treadle.spawn(lambda: [(beats.append(1), treadle.sleep(0.005)) for _ in range(1000)])
    with GreenletPoolExecutor() as executor, futures.ThreadPoolExecutor(1) as threads:
        slow, quick = executor.submit(treadle.sleep, 0.1), executor.submit(treadle.sleep, 0.02)
        native = threads.submit(treadle.sleep, 0.05)
        done, rest = futures.wait([slow, quick], return_when=futures.FIRST_COMPLETED)
        assert (done, rest) == ({quick}, {slow})
        assert list(futures.as_completed([slow, quick, native])) == [quick, native, slow]
        assert futures.wait([slow], timeout=0).not_done == set()
        failing = executor.submit(fail, ValueError())
        more = executor.submit(treadle.sleep, 10)
        done, _ = futures.wait([more, failing], return_when=futures.FIRST_EXCEPTION)
        assert done == {failing}
        done, rest = futures.wait([more], timeout=0.01)
        assert rest == {more}
        with pytest.raises(TimeoutError):
            list(futures.as_completed([more], timeout=0.01))
        assert len(beats) > 5
        beater.kill()
        (greenlet,) = executor._running
        greenlet.kill()
        assert isinstance(more.exception(), treadle.GreenletExit)


def test_fifty_waits_take_as_long_as_one_and_no_more_than_allowed_run() -> None:
    running = most = 0

    def wait() -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        treadle.sleep(0.02)
        running -= 1

    for limit, expected in ((None, 50), (7, 7)):
        running = most = 0
        with GreenletPoolExecutor(limit) as executor:
            for _ in range(50):
                executor.submit(wait)
        assert most == expected


def test_killed_before_it_began() -> None:
    for error in (treadle.GreenletExit(), Stop()):
        executor = GreenletPoolExecutor()
        future = executor.submit(fail, ValueError("it ran"))
        (greenlet,) = executor._running
        greenlet.kill(error)
        assert future.exception() is error
        executor.shutdown()


def test_a_call_has_its_submitters_context_and_its_own() -> None:
    variable = ContextVar("variable", default="none")

    def change() -> str:
        before = variable.get()
        variable.set("changed")
        return before

    with GreenletPoolExecutor(1) as executor:
        assert executor.submit(change).result() == "none"
        variable.set("submitter's")
        assert executor.submit(change).result() == "submitter's"
    assert variable.get() == "submitter's"


def test_a_call_has_its_own_settings_of_decimal() -> None:
    def change() -> int:
        decimal.getcontext().prec += 1
        return decimal.getcontext().prec

    with decimal.localcontext() as settings, GreenletPoolExecutor(1) as executor:
        settings.prec = 7
        assert [executor.submit(change).result() for _ in range(2)] == [8, 8]
        assert settings.prec == 7


def test_calls_submitted_by_calls_and_by_other_threads_run_in_its_own_thread() -> None:
    here = threading.get_ident()
    with GreenletPoolExecutor(1) as executor:
        inner = executor.submit(executor.submit, threading.get_ident)
        assert inner.result().result() == here
        submitted: list[Any] = []

        def elsewhere() -> None:
            future = executor.submit(threading.get_ident)
            submitted.append(future.result())

        thread = threading.Thread(target=elsewhere)
        thread.start()
        while thread.is_alive():
            treadle.sleep(0.001)
        assert submitted == [here]


def test_a_call_cannot_wait_for_itself() -> None:
    executor = GreenletPoolExecutor()
    future = executor.submit(executor.shutdown)
    with pytest.raises(RuntimeError, match="cannot wait for itself"):
        future.result()
    executor.shutdown()


def test_treadle_waits_for_futures() -> None:
    with GreenletPoolExecutor() as executor:
        many = [executor.submit(treadle.sleep, 0.001 * number) for number in range(5)]
        assert set(treadle.wait(many)) == set(many)


def test_a_forked_child_begins_anew() -> None:
    with GreenletPoolExecutor(1) as executor:
        executor.submit(treadle.sleep, 0.05)
        child = os.fork()
        if not child:
            os._exit(executor.submit(sum, [1, 2]).result(timeout=30))
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 3


@pytest.mark.parametrize("patch", ["", "from treadle import monkey; monkey.patch_all()"])
def test_a_program(patch: str) -> None:
    program = f"""
{patch}
import time, concurrent.futures as futures, treadle
from treadle.futures import GreenletPoolExecutor
sleep = time.sleep if {bool(patch)} else treadle.sleep
began = time.monotonic()
with GreenletPoolExecutor() as executor:
    def work(number):
        sleep(0.2)
        return number
    many = [executor.submit(work, number) for number in range(50)]
    assert sum(future.result() for future in futures.as_completed(many)) == sum(range(50))
    assert list(executor.map(work, range(3))) == [0, 1, 2]
seconds = time.monotonic() - began
assert seconds < 5, seconds  # 10 s if one call waits for the other
"""
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert (ended.returncode, ended.stderr) == (0, "")


def test_executor_of_a_thread_that_has_ended() -> None:
    made: list[GreenletPoolExecutor] = []

    def make() -> None:
        made.append(GreenletPoolExecutor())
        made[0].submit(treadle.sleep, 60)

    thread = threading.Thread(target=make)
    thread.start()
    thread.join()
    with pytest.raises(RuntimeError, match="its hub is closed"):
        made[0].submit(int)
    made[0].shutdown()
