"""Thread pools: results, limits, sizes, forks and ends; the executor."""

import gc
import os
import random
import sys
import threading
import time
import traceback
import weakref
from concurrent import futures

import pytest

import treadle
from treadle._core import crew
from treadle.threadpool import ThreadPool, ThreadPoolExecutor, ThreadResult
from treadle.util import GreenletTree, format_run_info


@pytest.fixture
def pool():
    pool = ThreadPool(3)
    yield pool
    pool.kill()
    assert pool.size == 0


@pytest.fixture
def errors():
    """The errors that the hub is asked to report."""
    hub = treadle.get_hub()
    seen = []
    hub.handle_error = lambda context, type, value, tb: seen.append((context, value))
    yield seen
    del hub.handle_error


def fail(text="wrong"):
    raise KeyError(text)


# ---------------------------------------------------------------- calls


def test_calls_run_in_other_threads_beside_greenlets(pool):
    ran = []
    ticker = treadle.spawn(lambda: [(ran.append(1), treadle.sleep(0.001)) for _ in range(5)])
    result = pool.spawn(lambda: (time.sleep(0.02), threading.get_ident())[1])
    assert isinstance(result, ThreadResult)
    assert result.get() != threading.get_ident()
    assert result.successful()
    assert len(ran) >= 3
    ticker.join()


def test_no_thread_before_the_first_call(pool):
    assert (pool.size, len(pool), pool.task_count) == (0, 0, 0)
    assert pool.apply(int) == 0
    assert pool.size == 1
    for _ in range(20):
        pool.apply(int)
        treadle.sleep(0.001)
    assert pool.size == 1


def test_error_is_raised_and_reported(pool, errors):
    with pytest.raises(KeyError) as caught:
        pool.apply(fail)
    assert [frame.name for frame in traceback.extract_tb(caught.tb)][-1] == "fail"
    with treadle.Timeout(30):
        while not errors:
            treadle.sleep(0.001)
    ((context, value),) = errors
    assert context == (pool, fail)
    assert value is caught.value
    result = pool.spawn(sys.exit, 3)
    with pytest.raises(SystemExit):
        result.get()
    assert not result.successful()
    treadle.sleep(0.001)


def test_error_leaves_no_cycle(pool, errors):
    class Argument:
        pass

    argument = Argument()
    gone = weakref.ref(argument)
    pool.spawn(lambda it: fail(), argument).wait()
    treadle.sleep(0.001)
    errors.clear()
    gc.disable()
    try:
        del argument
        pool.apply(int)  # then the worker has dropped its reference to the call before
        assert gone() is None
    finally:
        gc.enable()


def test_map_family(pool):
    def slow(x):
        time.sleep(0.001 * (x % 3))
        return x

    assert pool.map(slow, range(10)) == list(range(10))
    assert list(pool.imap(slow, range(10))) == list(range(10))
    assert sorted(pool.imap_unordered(slow, range(10), maxsize=2)) == list(range(10))
    assert pool.apply_async(slow, (1,)).get() == 1
    assert pool.map_async(slow, [1, 2]).get() == [1, 2]
    seen = []
    assert pool.apply_cb(slow, (4,), callback=seen.append) == 4
    assert seen == [4]


def test_apply_from_a_worker_calls_directly():
    pool = ThreadPool(1)
    assert pool.apply(lambda: pool.apply(threading.get_ident) == threading.get_ident())
    pool.kill()


def test_results_can_be_waited_for_and_linked(pool):
    results = [pool.spawn(time.sleep, 0.001) for _ in range(3)]
    assert len(treadle.wait(results)) == 3
    linked = []
    result = pool.spawn(int)
    result.rawlink(linked.append)
    result.get()
    treadle.sleep(0.001)
    assert linked == [result]


def test_used_from_another_thread(pool):
    def elsewhere():
        return pool.spawn(int, "7").get()

    with ThreadPoolExecutor(1) as executor:
        assert executor.submit(elsewhere).result() == 7


def test_thread_hooks(pool):
    seen = []
    threading.setprofile(lambda frame, event, arg: seen.append(event))
    try:
        pool.apply(fail.__class__, (compile("1", "x", "eval"), {}))
        pool.apply(lambda: None)
    finally:
        threading.setprofile(None)
    assert "call" in seen
    assert pool.apply(sys.getprofile) is None


def test_hooks_that_a_call_sets_go_with_it():
    pool = ThreadPool(1)
    pool.apply(lambda: (sys.settrace(lambda *args: None), sys.setprofile(print)))
    assert pool.apply(lambda: (sys.gettrace(), sys.getprofile())) == (None, None)
    pool.kill()


def test_worker_class_of_a_pool():
    told = []

    class Worker(ThreadPool._WorkerGreenlet):
        def _before_run_task(self, func, args, kwargs, result):
            if args == (13,):
                raise KeyError("not with me")
            told.append(("before", func, args, kwargs))

        def _after_run_task(self, func, args, kwargs, result):
            told.append(("after", result.ready()))

    class Pool(ThreadPool):
        _WorkerGreenlet = Worker

    pool = Pool(1)
    assert pool.apply(int, ("7",), {"base": 8}) == 7
    assert told == [("before", int, ("7",), {"base": 8}), ("after", False)]
    for _ in range(4):  # no place in the pool is lost
        with pytest.raises(KeyError, match="not with me"):
            pool.apply(int, (13,))
    assert pool.apply(int, (14,)) == 14
    assert isinstance(pool.apply(treadle.getcurrent), Worker)
    pool.kill()


def test_worker_is_named_in_reports(pool):
    worker = pool.apply(treadle.getcurrent)
    assert f"thread_ident={pool.apply(threading.get_ident):#x}" in repr(worker)
    assert repr(worker) in "\n".join(format_run_info())
    assert worker.parent not in [tree.greenlet for tree in GreenletTree.forest()]


def test_worker_is_the_main_greenlet_of_its_threads_hub(pool, errors):
    def stop_main():
        treadle.get_hub().handle_system_error(SystemExit, SystemExit(5))
        treadle.sleep(5)

    def wait_for_child():
        assert treadle.get_hub().main is treadle.getcurrent() is treadle.get_hub().parent
        treadle.spawn(stop_main)
        treadle.sleep(5)

    with pytest.raises(SystemExit):
        pool.apply(wait_for_child)
    assert pool.apply(int, ("8",)) == 8


def test_hub_of_a_worker_ends_with_it():
    pool = ThreadPool(1)
    hub = pool.apply(treadle.get_hub)
    pool.kill()
    assert hub.closed


# ---------------------------------------------------------------- limits and sizes


def test_spawn_waits_at_the_limit():
    pool = ThreadPool(2)
    gate = threading.Event()
    running = [pool.spawn(gate.wait) for _ in range(3)]  # the third call waits for a thread
    fourth = treadle.spawn(pool.spawn, int)
    treadle.sleep(0.005)
    assert not fourth.ready()
    assert (pool.size, len(pool)) == (2, 3)
    fourth.kill()
    waiting = treadle.spawn(pool.spawn, int)
    treadle.sleep(0.001)
    pool.maxsize = 4
    assert waiting.get().get() == 0
    pool.maxsize = 1
    gate.set()
    treadle.wait(running)
    pool.join()
    assert pool.apply(int) == 0
    time.sleep(0.01)
    assert pool.size <= 1
    pool.kill()


def test_no_place_is_lost(errors):
    rng = random.Random(3)
    pool = ThreadPool(2)

    def submit():
        with treadle.Timeout(rng.random() * 0.001, False):
            pool.apply(time.sleep if rng.random() < 0.8 else fail, (rng.random() * 0.001,))

    submitters = [treadle.spawn(submit) for _ in range(300)]
    for _ in range(100):
        rng.choice(submitters).kill(block=False)
        treadle.sleep(rng.random() * 0.001)
    treadle.joinall(submitters)
    pool.join()
    gate = threading.Event()
    results = [treadle.spawn(pool.spawn, gate.wait).get() for _ in range(3)]
    extra = treadle.spawn(pool.spawn, int)
    treadle.sleep(0.002)
    assert not extra.ready()
    gate.set()
    treadle.wait(results)
    assert extra.get().get() == 0
    pool.kill()


def test_size():
    pool = ThreadPool(3)
    pool.size = 3
    assert pool.size == 3
    pool.size = 1
    assert pool.size == 1
    for bad in (-1, 4):
        with pytest.raises(ValueError, match="size"):
            pool.size = bad
    pool.kill()
    assert pool.size == 0
    assert pool.apply(int) == 0
    pool.kill()


def test_call_that_waited_runs_when_there_may_be_a_thread():
    pool = ThreadPool(0)
    result = pool.spawn(int, "3")
    treadle.sleep(0.002)
    assert (len(pool), pool.size, result.ready()) == (1, 0, False)
    pool.maxsize = 1
    assert result.get(timeout=30) == 3
    pool.kill()


def test_no_call_is_lost_to_orders_to_leave():
    pool = ThreadPool(4)
    gate = threading.Event()
    busy = [pool.spawn(gate.wait) for _ in range(4)]
    for _ in range(3):
        pool.maxsize = 1
        pool.maxsize = 4
    gate.set()
    assert [result.get(timeout=30) for result in busy] == [True] * 4
    treadle.sleep(0.01)
    assert pool.spawn(int, "4").get(timeout=30) == 4


def test_a_pool_that_is_killed_twice_goes_on():
    pool = ThreadPool(4)
    gate = threading.Event()
    busy = [pool.spawn(gate.wait) for _ in range(4)]
    killers = [treadle.spawn(pool.kill) for _ in range(2)]
    treadle.sleep(0.002)
    later = pool.spawn(int, "5")
    gate.set()
    treadle.joinall(killers)
    assert [result.get(timeout=30) for result in busy] == [True] * 4
    assert later.get(timeout=30) == 5
    assert pool.map(abs, range(10)) == list(range(10))
    assert len(pool._crew.workers) <= 4
    pool.kill()
    assert (pool.size, len(pool)) == (0, 0)


def test_a_call_cannot_wait_for_the_end_of_its_own_thread(errors):
    pool = ThreadPool(1)
    with pytest.raises(RuntimeError, match="own end"):
        pool.apply(pool.kill)
    assert pool.apply(int, ("3",)) == 3
    pool.kill()
    executor = ThreadPoolExecutor(1)
    with pytest.raises(RuntimeError, match="own end"):
        executor.submit(executor.shutdown).result(timeout=30)


@pytest.mark.parametrize(("value", "error"), [(-1, ValueError), (1.5, TypeError), ("2", TypeError)])
def test_bad_maxsize(value, error):
    with pytest.raises(error):
        ThreadPool(value)


def test_kill_and_join_wait_for_work(pool):
    done = []
    for i in range(3):
        pool.spawn(lambda i=i: (time.sleep(0.005), done.append(i)))
    pool.join()
    assert sorted(done) == [0, 1, 2]
    pool.spawn(lambda: (time.sleep(0.005), done.append(3)))
    pool.kill()
    assert 3 in done


def test_idle_threads_end():
    pool = ThreadPool(2, idle_task_timeout=0.01)
    pool.map(time.sleep, [0.002, 0.002])
    assert pool.size == 2
    end = time.monotonic() + 5
    while pool.size and time.monotonic() < end:
        treadle.sleep(0.005)
    assert pool.size == 0
    assert pool.apply(int) == 0
    pool.kill()


def test_threads_of_a_forgotten_pool_end():
    pool = ThreadPool(2)
    pool.apply(int)
    crew = pool._crew
    del pool
    gc.collect()
    end = time.monotonic() + 5
    while crew.workers and time.monotonic() < end:
        treadle.sleep(0.005)
    assert not crew.workers


# ---------------------------------------------------------------- the hub


def call_in_pool(ended):
    pool = ThreadPool(1)
    pool.spawn(lambda: (time.sleep(0.02), ended.append(pool)))
    pool.spawn(lambda: (time.sleep(0.02), ended.append(pool)))


def call_in_executor(ended):
    executor = ThreadPoolExecutor(1)
    executor.submit(lambda: (time.sleep(0.02), ended.append(executor)))
    executor.submit(int).cancel()
    executor.submit(lambda: (time.sleep(0.02), ended.append(executor)))


def call_in_greenlets(ended):
    for _ in range(2):
        treadle.spawn(crew.waits.apply, lambda: (time.sleep(0.02), ended.append(1)))
    treadle.sleep(0)


@pytest.mark.parametrize("call", [call_in_pool, call_in_executor, call_in_greenlets])
@pytest.mark.parametrize("wait", [treadle.wait, lambda: treadle.get_hub().join()])
def test_the_hub_is_not_idle_before_its_calls_have_ended(call, wait):
    ended = []
    call(ended)
    assert treadle.wait(timeout=0.001) is False
    wait()
    assert len(ended) == 2


def test_the_hub_is_idle_when_a_call_was_given_up():
    gate = threading.Event()
    greenlet = treadle.spawn(crew.waits.apply, gate.wait)
    treadle.sleep(0)
    greenlet.kill()
    assert treadle.wait(timeout=30) is True
    gate.set()


# ---------------------------------------------------------------- the process


def test_idle_workers_do_not_hide_a_deadlock(fresh):
    assert (
        fresh(
            "import treadle\n"
            "from treadle.threadpool import ThreadPool\n"
            "from treadle.event import Event\n"
            "pool = ThreadPool(2)\n"
            "pool.apply(int)\n"
            "try:\n"
            "    Event().wait()\n"
            "except treadle.hub.LoopExit:\n"
            "    print('told')\n"
        )
        == "told\n"
    )


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_child_after_fork(fresh):
    source = """
import os, threading, time, treadle
from treadle.threadpool import ThreadPool
pool = ThreadPool(2)
pool.apply(int)
gate = threading.Event()
busy = [pool.spawn(gate.wait) for _ in range(2)]
pid = os.fork()
if pid == 0:
    assert (pool.size, len(pool)) == (0, 0)
    assert pool.map(abs, [-1, -2, -3]) == [1, 2, 3]
    os._exit(7)
gate.set()
assert [result.get() for result in busy] == [True, True]
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""
    assert fresh("import warnings; warnings.simplefilter('ignore')\n" + source) == "7\n"


def test_calls_at_the_end_of_the_interpreter(fresh):
    source = """
import atexit, treadle
from treadle.threadpool import ThreadPool
pool = ThreadPool(1)

class Late:
    def __del__(self):
        print(pool.apply(int, ("5",)))

keep = Late()
keep.self = keep
atexit.register(lambda: print(pool.apply(int, ("4",))))
"""
    assert fresh(source) == "4\n5\n"


def test_threads_are_native_even_if_the_thread_module_was_patched_before(fresh):
    source = """
import _thread, threading, treadle
_thread.start_new_thread = None
from treadle.threadpool import ThreadPool, ThreadPoolExecutor
pool = ThreadPool(2)
main = threading.get_native_id()
assert pool.apply(threading.get_native_id) != main
with ThreadPoolExecutor(2) as executor:
    assert executor.submit(threading.get_native_id).result() != main
print("native")
"""
    assert fresh(source) == "native\n"


# ---------------------------------------------------------------- the executor


def test_executor():
    with ThreadPoolExecutor(2) as executor:
        assert isinstance(executor, futures.ThreadPoolExecutor)
        ticks = []
        ticker = treadle.spawn(lambda: [(ticks.append(1), treadle.sleep(0.001)) for _ in range(5)])
        future = executor.submit(lambda: (time.sleep(0.02), 3)[1])
        assert future.result() == 3
        assert len(ticks) >= 3
        ticker.join()
        assert list(executor.map(abs, [-1, 2])) == [1, 2]
        failed = executor.submit(fail)
        assert isinstance(failed.exception(), KeyError)
        with pytest.raises(KeyError):
            failed.result()
        slow = executor.submit(time.sleep, 0.02)
        with pytest.raises(futures.TimeoutError):
            slow.result(timeout=0.001)
        assert futures.wait([slow]).done == {slow}
        assert list(futures.as_completed([future])) == [future]
        assert treadle.wait([future, slow]) == [future, slow]
    with pytest.raises(RuntimeError, match="after shutdown"):
        executor.submit(int)


def test_executor_submit_does_not_wait_and_cancels():
    executor = ThreadPoolExecutor(1)
    gate = threading.Event()
    first = executor.submit(gate.wait)
    while not first.running():
        treadle.sleep(0.001)
    rest = [executor.submit(int) for _ in range(5)]
    assert rest[0].cancel()
    assert rest[0].cancelled()
    called = []
    rest[1].add_done_callback(called.append)
    executor.shutdown(wait=False, cancel_futures=True)
    assert all(future.cancelled() for future in rest)
    assert called == [rest[1]]
    gate.set()
    assert first.result() is True
    executor.shutdown()


def test_executor_initializer():
    names = []
    with ThreadPoolExecutor(2, initializer=names.append, initargs=("begun",)) as executor:
        executor.submit(int).result()
        executor.submit(int).result()
    assert names == ["begun"]
    with (
        ThreadPoolExecutor(1, initializer=fail) as executor,
        pytest.raises(futures.thread.BrokenThreadPool),
    ):
        executor.submit(int).result()
    with pytest.raises(TypeError):
        ThreadPoolExecutor(1, initializer=3)


def test_executor_whose_initializer_failed_is_broken(caplog):
    calls = []

    def begin():
        calls.append(1)
        gate.wait()
        raise KeyError("no")

    gate = threading.Event()
    executor = ThreadPoolExecutor(1, initializer=begin)
    submitted = [executor.submit(int) for _ in range(3)]
    assert submitted[1].cancel()
    gate.set()
    for future in (submitted[0], submitted[2]):
        assert isinstance(future.exception(timeout=30), futures.thread.BrokenThreadPool)
    assert submitted[1].cancelled()
    with pytest.raises(futures.thread.BrokenThreadPool, match="initializer failed"):
        executor.submit(int)
    assert calls == [1]
    assert "Exception in initializer" in caplog.text
    executor.shutdown()


def test_executor_is_shut_down_while_its_threads_take_calls():
    for _ in range(100):
        executor = ThreadPoolExecutor(4)
        submitted = [executor.submit(int) for _ in range(100)]
        with treadle.Timeout(30):
            executor.shutdown(cancel_futures=True)
        assert all(future.done() for future in submitted)


def test_threads_of_a_forgotten_executor_end():
    executor = ThreadPoolExecutor(2)
    executor.submit(int).result()
    members = executor._crew
    del executor
    gc.collect()
    end = time.monotonic() + 5
    while members.workers and time.monotonic() < end:
        treadle.sleep(0.005)
    assert not members.workers


@pytest.mark.parametrize("patch", ["", "from treadle import monkey; monkey.patch_all()\n"])
def test_the_programs_end_waits_for_executors(fresh, patch):
    source = """
import atexit, sys, time
from treadle import threadpool
native_sleep = time.sleep if not PATCHED else monkey.get_original("time", "sleep")
executor = threadpool.ThreadPoolExecutor(1)
def work(number):
    native_sleep(0.02)
    sys.stdout.write(f"{number}\\n")  # at once, as other threads write too
def late():
    try: executor.submit(print)
    except RuntimeError as error: print(error)
for number in range(3): executor.submit(work, number)
executor.submit(late)
threadpool.ThreadPoolExecutor(1).submit(work, 3).result()  # this one is forgotten
atexit.register(print, "the end")
"""
    expected = "cannot schedule new futures after interpreter shutdown"
    assert sorted(fresh(patch + source.replace("PATCHED", str(bool(patch)))).splitlines()) == (
        ["0", "1", "2", "3", expected, "the end"]
    )


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_executor_in_a_forked_child(fresh):
    source = """
import os, sys, threading
from treadle.threadpool import ThreadPoolExecutor
executor = ThreadPoolExecutor(1)
gate = threading.Event()
busy = executor.submit(gate.wait)
pid = os.fork()
if pid == 0:
    assert executor.submit(int, "7").result() == 7
    sys.exit(7)
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
gate.set()
"""
    assert fresh("import warnings; warnings.simplefilter('ignore')\n" + source) == "7\n"


def test_killing_a_pool_that_is_still_given_work() -> None:
    for size in (2, 3, 10):
        pool = ThreadPool(size)
        result = pool.map_async(time.sleep, [0.02] * (size * 2))
        treadle.sleep(0.02)
        pool.kill()
        result.join()
        assert result.successful()
        pool.kill()
        assert pool.size == 0


def test_a_patched_thread_outlives_the_worker_that_runs_it(fresh) -> None:
    program = """
from treadle import monkey; monkey.patch_all()
import threading, time
from treadle.threadpool import ThreadPool
ran = []
def more():
    time.sleep(0.1)
    ran.append(threading.current_thread().name)
def task():
    def run():
        time.sleep(0.1)
        other = threading.Thread(target=more, name="more")
        other.start()
        ran.append(other)
    thread = threading.Thread(target=run)
    thread.start()
    return thread
pool = ThreadPool(1)
thread = pool.apply(task)
pool.kill()
thread.join(10)
ran[0].join(10)
print(thread.is_alive(), ran[0].is_alive(), ran[1:])
"""
    assert fresh(program) == "False False ['more']\n"
