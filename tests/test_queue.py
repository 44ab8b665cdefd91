"""Queues: order, limits, waiting, cancellation, threads, use in place of the standard ones."""

import gc
import os
import random
import signal
import sys
import threading
import types
import weakref
from _thread import start_new_thread
from contextlib import suppress
from typing import Any

import pytest

import treadle
from treadle.event import Event
from treadle.exceptions import BlockingSwitchOutError
from treadle.queue import (
    Channel,
    Empty,
    Full,
    JoinableQueue,
    LifoQueue,
    PriorityQueue,
    Queue,
    ShutDown,
    SimpleQueue,
)

pytestmark = pytest.mark.treadle

STORES = [SimpleQueue, Queue, LifoQueue, PriorityQueue]
ALL = [*STORES, Channel]


def settle():
    """Yield a few times, so that every greenlet that is ready runs."""
    for _ in range(5):
        treadle.sleep(0)


# ---------------------------------------------------------------- order and contents


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (SimpleQueue, [3, 1, 2]),
        (Queue, [3, 1, 2]),
        (LifoQueue, [2, 1, 3]),
        (PriorityQueue, [1, 2, 3]),
    ],
)
def test_order(kind, expected):
    q = kind()
    for item in (3, 1, 2):
        q.put(item)
    assert q.peek() == expected[0]
    assert [q.get() for _ in range(3)] == expected
    assert list(kind(None, [3, 1, 2]).copy().queue) == list(kind(None, [3, 1, 2]).queue)


def test_sizes():
    q = Queue(2)
    assert (q.qsize(), len(q), q.empty(), q.full(), q.maxsize, bool(q)) == (
        0,
        0,
        True,
        False,
        2,
        True,
    )
    q.put("a")
    q.put_nowait("b")
    assert (q.qsize(), len(q), q.empty(), q.full()) == (2, 2, False, True)
    assert Queue().maxsize is None
    assert Queue(-1).maxsize is None


def test_zero_means_no_limit_with_a_warning():
    with pytest.warns(DeprecationWarning, match="Channel") as caught:
        q = Queue(0)
    assert caught[0].filename == __file__
    assert q.maxsize is None


def test_iteration_ends_at_StopIteration():
    assert list(SimpleQueue(None, [1, 2, StopIteration, 3])) == [1, 2]


def test_text():
    q = Queue(1, [5])
    assert repr(q) == f"<Queue at {id(q):#x} maxsize=1 queue=deque([5]) tasks=1>"
    assert str(Channel()) == "<Channel>"
    waiting = treadle.spawn(q.put, 6)
    settle()
    assert "putters[1]" in repr(q)
    assert len(q.putters) == 1
    q.get()
    waiting.join()
    assert len(q.putters) == 0


def test_exceptions_are_the_standard_ones():
    import queue

    assert (Empty, Full) == (queue.Empty, queue.Full)
    assert ShutDown is getattr(queue, "ShutDown", ShutDown)
    assert JoinableQueue is Queue


# ---------------------------------------------------------------- non-blocking calls


@pytest.mark.parametrize("kind", ALL)
def test_nowait(kind):
    q = kind(1)
    with pytest.raises(Empty):
        q.get_nowait()
    if kind is not Channel:
        q.put_nowait(1)
        with pytest.raises(Empty):
            kind(1).peek_nowait()
    with pytest.raises(Full):
        q.put_nowait(2)


@pytest.mark.parametrize("kind", STORES)
def test_negative_timeout(kind):
    q = kind(1)
    with pytest.raises(ValueError, match="non-negative"):
        q.get(timeout=-1)
    with pytest.raises(ValueError, match="non-negative"):
        q.put(1, timeout=-1)
    q.put(1, block=False, timeout=-1)
    with pytest.raises(ValueError, match="non-negative"):
        q.get(timeout=-1)  # like the standard library's queue, even if it holds an item
    assert q.get(block=False, timeout=-1) == 1
    kind().put(1, timeout=-1)  # an unbounded queue never blocks in put()


@pytest.mark.parametrize("kind", ALL)
def test_hub_may_not_wait(kind):
    q = kind()
    failures = []

    def call():
        try:
            q.get()
        except BlockingSwitchOutError as exc:
            failures.append(exc)

    g = treadle.spawn(lambda: None)
    g.rawlink(lambda _: call())
    settle()
    assert len(failures) == 1
    assert repr(q) in str(failures[0])


# ---------------------------------------------------------------- waiting


@pytest.mark.parametrize("kind", ALL)
def test_getters_are_served_in_order(kind):
    q = kind()
    got = []
    for name in "abc":
        treadle.spawn(lambda name=name: got.append((name, q.get())))
    settle()
    for item in (1, 2, 3):
        q.put(item)
    settle()
    assert got == [("a", 1), ("b", 2), ("c", 3)] or (
        kind is LifoQueue and [name for name, _ in got] == ["a", "b", "c"]
    )


@pytest.mark.parametrize("kind", [SimpleQueue, Queue, Channel])
def test_putters_are_served_in_order(kind):
    q = kind(1)
    for item in range(4):
        treadle.spawn(q.put, item)
    settle()
    assert [q.get() for _ in range(4)] == [0, 1, 2, 3]
    settle()
    assert not q.putters


def test_no_barging():
    q = Queue()
    waiting = treadle.spawn(q.get)
    settle()
    q.put("theirs")
    assert q.empty()
    with pytest.raises(Empty):
        q.get_nowait()
    assert waiting.get() == "theirs"


@pytest.mark.parametrize("kind", ALL)
def test_get_timeout(kind):
    q = kind()
    with pytest.raises(Empty):
        q.get(timeout=0.001)
    with pytest.raises(Empty):
        q.get(timeout=0)
    assert len(q.getters) == 0


@pytest.mark.parametrize("kind", ALL)
def test_put_timeout(kind):
    q = kind(1)
    if kind is not Channel:
        q.put(1)
    with pytest.raises(Full):
        q.put(2, timeout=0.001)
    assert len(q.putters) == 0
    if kind is not Channel:
        assert q.get() == 1
    assert q.empty()


def test_waiting_for_ever_is_reported(fresh):
    text = fresh(
        """
        import treadle
        from treadle.queue import Channel, LifoQueue, PriorityQueue, Queue, SimpleQueue

        for q in (SimpleQueue(), Queue(), LifoQueue(), PriorityQueue(), Channel()):
            try:
                q.get()
            except treadle.hub.LoopExit as exc:
                print(f"{id(q):#x}" in str(exc), len(q.getters))
        """.replace("\n        ", "\n")
    )
    assert text == "True 0\n" * 5


def test_peek_waits_and_takes_nothing():
    q = Queue()
    peeker = treadle.spawn(q.peek)
    getter = treadle.spawn(q.get)
    settle()
    q.put(1)
    assert peeker.get() == 1
    assert getter.get() == 1
    with pytest.raises(Empty):
        q.peek(timeout=0.001)


def test_limit_may_grow_while_putters_wait():
    q = Queue(1, [1])
    putters = [treadle.spawn(q.put, item) for item in (2, 3)]
    settle()
    q.maxsize = None
    for putter in putters:
        putter.join()
    assert list(q.queue) == [1, 2, 3]


# ---------------------------------------------------------------- cancellation


@pytest.mark.parametrize("kind", ALL)
def test_killed_getter_loses_nothing(kind):
    q = kind()
    first, second = treadle.spawn(q.get), treadle.spawn(q.get)
    settle()
    q.put_nowait("item")  # handed to the first getter, which never runs
    first.kill()
    assert second.get() == "item"
    assert first.value is not None  # a GreenletExit
    assert q.qsize() == 0


@pytest.mark.parametrize("kind", STORES)
def test_killed_getter_gives_its_item_back(kind):
    q = kind()
    getter = treadle.spawn(q.get)
    settle()
    q.put("item")
    getter.kill()
    assert q.qsize() == 1
    assert q.get_nowait() == "item"


@pytest.mark.parametrize("kind", [*STORES, Channel])
def test_killed_putter_withdraws_its_item(kind):
    q = kind(1)
    if kind is not Channel:
        q.put(1)
    putter = treadle.spawn(q.put, 2)
    settle()
    putter.kill()
    assert len(q.putters) == 0
    if kind is not Channel:
        assert q.get() == 1
    assert q.empty()
    with pytest.raises(Empty):
        q.get_nowait()


@pytest.mark.parametrize("kind", [SimpleQueue, Channel])
def test_put_that_happened_returns_before_a_kill(kind):
    q = kind(1)
    if kind is not Channel:
        q.put(1)
    events = []

    def put():
        q.put(2)
        events.append("put")
        treadle.sleep(10)
        events.append("not reached")

    putter = treadle.spawn(put)
    settle()
    q.get()  # admits the putter's item, but the putter does not run yet
    putter.kill()
    assert events == ["put"]
    assert putter.dead


def test_timeout_that_comes_with_the_place_can_be_cancelled():
    q = Queue(1, [1])
    events = []

    def put():
        with treadle.Timeout(0.1):
            q.put(2)
            events.append("put")
        treadle.sleep(0.02)
        events.append("slept")

    putter = treadle.spawn(put)
    settle()
    get_at_expiry(q)
    putter.get()
    assert events == ["put", "slept"]


def get_at_expiry(q):
    """Take an item in the same turn in which the timeout of 0.1 s of another wait expires."""
    taker = treadle.spawn_later(0.05, lambda: (busy(0.1), q.get()))
    taker.get()


def busy(seconds):
    from time import perf_counter

    end = perf_counter() + seconds
    while perf_counter() < end:
        pass


def test_channel_put_nowait_passes_to_the_next_getter():
    q = Channel()
    first, second = treadle.spawn(q.get), treadle.spawn(q.get)
    settle()
    q.put_nowait(1)
    q.put_nowait(2)
    with pytest.raises(Full):
        q.put_nowait(3)
    first.kill()
    assert second.get() == 1
    assert q.get() == 2


def test_channel_getter_whose_putter_gave_up_waits_on():
    q = Channel()
    getter = treadle.spawn(q.get, timeout=5)
    settle()
    putter = treadle.spawn(q.put, 1)
    killer = treadle.spawn(lambda: putter.kill(block=False))  # runs between putter and getter
    killer.join()
    settle()
    assert putter.dead
    assert not getter.ready()
    q.put(2)
    assert getter.get() == 2


@pytest.mark.parametrize("kind", ALL)
def test_random_kills_and_timeouts(kind):
    rng = random.Random(1)
    q = kind(2) if kind is not Channel else kind()
    put, got = [], []

    def produce(item):
        try:
            with treadle.Timeout(rng.random() * 0.002, False):
                q.put(item)
                put.append(item)
                treadle.sleep(0)
        except Full:
            pass

    def consume():
        try:
            with treadle.Timeout(rng.random() * 0.002, False):
                got.append(q.get(timeout=rng.random() * 0.002))
                treadle.sleep(0)
        except Empty:
            pass

    alive = []
    for item in range(1000):
        alive += [treadle.spawn(produce, item), treadle.spawn(consume)]
        if rng.random() < 0.3:
            alive.pop(rng.randrange(len(alive))).kill(block=rng.random() < 0.5)
        if rng.random() < 0.2:
            treadle.sleep(rng.random() * 0.001)
    for g in alive:
        g.join()
    settle()
    while True:
        try:
            got.append(q.get_nowait())
        except Empty:
            break
    assert sorted(got) == sorted(put)
    assert not q.getters
    assert not q.putters
    if kind is not Channel:
        q.put_nowait(1)
        q.put_nowait(2)
        assert q.full()


# ---------------------------------------------------------------- tasks and shutdown


def test_join():
    q = Queue()
    assert q.join() is True
    q.put(1)
    q.put(2)
    assert q.unfinished_tasks == 2
    assert q.join(timeout=0.001) is False
    waiting = [treadle.spawn(q.join) for _ in range(2)]
    for _ in range(2):
        q.get()
        settle()
        assert not waiting[0].ready()
        q.task_done()
    assert [g.get() for g in waiting] == [True, True]
    with pytest.raises(ValueError, match="too many times"):
        q.task_done()


def test_unfinished_tasks_given():
    assert Queue(None, [1, 2]).unfinished_tasks == 2
    assert Queue(None, [1, 2], 5).copy().unfinished_tasks == 5


@pytest.mark.parametrize("kind", [Queue, LifoQueue, PriorityQueue])
def test_shutdown(kind):
    q = kind(None, [1])
    q.shutdown()
    for call in (lambda: q.put(2), lambda: q.put_nowait(2)):
        with pytest.raises(ShutDown):
            call()
    assert q.get() == 1
    for call in (q.get, q.get_nowait, q.peek):
        with pytest.raises(ShutDown):
            call()
    q.task_done()
    assert q.join() is True


def test_shutdown_wakes_everybody():
    q, full = Queue(), Queue(1, [1])
    getter, putter, joiner = (
        treadle.spawn(q.get),
        treadle.spawn(full.put, 2),
        treadle.spawn(full.join),
    )
    settle()
    q.shutdown()
    full.shutdown(immediate=True)
    joiner.get()
    for g in (getter, putter):
        g.join()
        assert isinstance(g.exception, ShutDown)
    assert full.qsize() == 0


def test_immediate_shutdown_takes_back_a_promise():
    q = Queue()
    getter = treadle.spawn(q.get)
    settle()
    q.put(1)
    q.shutdown(immediate=True)
    getter.join()
    assert isinstance(getter.exception, ShutDown)


# ---------------------------------------------------------------- the standard library's API


@pytest.mark.parametrize("kind", ALL)
def test_subscript_and_weak_reference(kind):
    assert isinstance(kind[int], types.GenericAlias)
    q = kind()
    assert weakref.ref(q)() is q
    assert kind.__module__ == "treadle.queue"


@pytest.mark.parametrize("kind", STORES)
def test_hooks(kind):
    class Counting(kind):
        puts = gets = 0

        def _init(self, maxsize):
            super()._init(maxsize)
            self.made_with = maxsize

        def _put(self, item):
            self.puts += 1
            super()._put(item)

        def _get(self):
            self.gets += 1
            return super()._get()

    q = Counting(3)
    q.put("x")
    assert q.get() == "x"
    assert (q.made_with, q.puts, q.gets) == (3, 1, 1)


def test_hooks_with_a_container_of_their_own():
    class SetQueue(Queue):
        def _init(self, maxsize):
            self.queue = set()

        def _put(self, item):
            self.queue.add(item)

        def _get(self):
            return self.queue.pop()

    q = SetQueue(1)
    q.put(1)
    putter = treadle.spawn(q.put, 2)
    settle()
    assert q.get() == 1
    putter.get()
    assert q.get() == 2
    assert q.unfinished_tasks == 2


def test_failing_comparison_leaves_the_queue_usable():
    q = PriorityQueue(2, [1])
    with pytest.raises(TypeError):
        q.put("text")
    q = PriorityQueue(1)
    q.put(1)
    q.maxsize = 1
    waiting = treadle.spawn(q.put, 2)
    settle()
    assert q.get() == 1
    waiting.get()
    assert q.get() == 2


def test_failing_hook_raises_in_the_waiting_putter():
    class Picky(Queue):
        def _put(self, item):
            if item == "bad":
                raise ValueError("bad item")
            super()._put(item)

    q = Picky(1, ["a"])
    bad, good = treadle.spawn(q.put, "bad"), treadle.spawn(q.put, "good")
    settle()
    assert q.get() == "a"
    good.get()
    bad.join()
    assert isinstance(bad.exception, ValueError)
    assert q.get() == "good"


def test_put_in_signal_handler_and_finalizer():
    q = SimpleQueue()

    class Item:
        def __del__(self):
            q.put("finalized")

    def handler(*_):
        q.put("signal")

    previous = signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
    try:
        for i in range(20_000):
            q.put(i)
            Item()
            q.get()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
    items = [q.get_nowait() for _ in range(q.qsize())]
    assert items.count("finalized") <= 20_000
    assert q.empty()


def test_queue_in_a_cycle_is_collected():
    class Node:
        pass

    node = Node()
    node.queue = Queue(None, [node])
    gone = weakref.ref(node)
    del node
    gc.collect()
    assert gone() is None


def test_item_is_released():
    class Item:
        pass

    q = Queue(1)

    def use():
        q.get()

    users = [treadle.spawn(use) for _ in range(2)]
    settle()
    item = Item()
    gone = weakref.ref(item)
    q.put(item)
    settle()
    del item
    assert gone() is None
    for user in users:
        user.kill()


# ---------------------------------------------------------------- threads

THREAD_ITEMS = 10_000


def in_thread(function, *args):
    """Run *function* in a native thread without a hub; return a queue that gets the outcome."""
    done = SimpleQueue()

    def run():
        try:
            done.put(("value", function(*args)))
        except BaseException as exc:
            done.put(("error", exc))

    start_new_thread(run, ())
    return done


def with_hub(function, *args):
    """Run *function* in a greenlet, which gives the thread a hub, and return its value."""
    return treadle.spawn(function, *args).get()


@pytest.mark.parametrize("kind", [SimpleQueue, PriorityQueue, Channel])
@pytest.mark.parametrize("producer", ["greenlet", "thread", "thread with hub"])
@pytest.mark.parametrize("consumer", ["greenlet", "thread", "thread with hub"])
def test_hand_over_between_threads(kind, producer, consumer):
    q = kind() if kind is Channel else kind(3)
    count = THREAD_ITEMS // 10 if kind is Channel else THREAD_ITEMS

    def produce():
        for item in range(count):
            q.put(item)

    def consume():
        return [q.get() for _ in range(count)]

    def begin(where, function):
        if where == "greenlet":
            g = treadle.spawn(function)
            return g.get
        done = in_thread(*((function,) if where == "thread" else (with_hub, function)))
        return lambda: outcome(done)

    produced, consumed = begin(producer, produce), begin(consumer, consume)
    produced()
    items = consumed()
    assert sorted(items) == list(range(count))
    if kind is not PriorityQueue:
        assert items == list(range(count))


def outcome(done):
    word, value = done.get()
    if word == "error":
        raise value
    return value


def test_native_thread_times_out():
    q = Queue(1)

    def run():
        with pytest.raises(Empty):
            q.get(timeout=0.01)
        q.put(1)
        with pytest.raises(Full):
            q.put(2, timeout=0.01)
        return len(q.getters), len(q.putters)

    assert outcome(in_thread(run)) == (0, 0)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no fork")
def test_child_after_fork_does_not_wake_parents_getters():
    import os

    q = Queue()
    treadle.spawn(q.get)
    settle()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            q.put("child's")
            status = 0 if q.get_nowait() == "child's" else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert len(q.getters) == 1
    q.put(None)
    settle()


@pytest.mark.parametrize("kind", [Queue, PriorityQueue])
def test_who_waits_is_served_in_order_beside_calls_that_fail(kind: Any) -> None:
    queue, done = kind(1), []
    queue.put(0)

    def put(n: int) -> None:
        queue.put(n)
        done.append(n)

    def get(n: int) -> None:
        queue.get()
        done.append(n)

    for call in (put, get):
        done.clear()
        for n in (1, 2, 3):
            treadle.spawn(call, n)
            treadle.sleep(0)
        with pytest.raises((Full, Empty)):
            queue.put_nowait(9) if call is put else queue.get_nowait()
        treadle.sleep(0)
        for n in range(3 if call is get else 4):
            queue.get() if call is put and n < 3 else call is get and queue.put(n)
            treadle.sleep(0)
        assert done == [1, 2, 3]
        while call is put and not queue.empty():
            queue.get()


class Acting:
    """An item whose next comparison acts first."""

    def __init__(self, number: int, act: Any = None) -> None:
        self.number = number
        self.act = act

    def __lt__(self, other: Any) -> bool:
        act, self.act = self.act, None
        if act is not None:
            act()
        return self.number < other.number


def test_a_priority_queue_may_be_used_by_its_items_comparison() -> None:
    queue: Any = PriorityQueue()
    for number in (1, 2, 3, 4):
        queue.put(Acting(number))

    def put_back_later() -> None:
        item = queue.get_nowait()
        item.number += 10
        queue.put(item)

    queue.queue[1].act = put_back_later
    assert [queue.get_nowait().number for _ in range(4)] == [2, 3, 4, 11]
    queue.put(Acting(5))
    queue.put(Acting(6, lambda: queue.put(Acting(1))))
    assert [queue.get().number for _ in range(3)] == [1, 5, 6]


def test_calls_that_do_not_block_do_not_wait_for_a_comparison() -> None:
    queue: Any = PriorityQueue(3)
    go_on = Event()
    queue.put(Acting(2))
    slow = treadle.spawn(queue.put, Acting(3, go_on.wait))
    settle()
    got: list[Any] = []

    def in_hub() -> None:
        queue.put_nowait(Acting(1))
        with suppress(Full):  # the third place is the slow putter's
            queue.put_nowait(Acting(4))
            got.append("no Full")
        got.append(queue.get_nowait().number)
        got.append(queue.get_nowait().number)
        with suppress(Empty):
            got.append(queue.get_nowait())
        queue.put_nowait(Acting(5))

    treadle.get_hub().loop.run_callback(in_hub)
    settle()
    assert got == [1, 2]
    go_on.set()
    slow.get()
    assert [queue.get_nowait().number for _ in range(2)] == [3, 5]
    assert queue.unfinished_tasks == 4


@pytest.mark.parametrize("killed", [True, False])
def test_a_comparison_that_ends_by_an_exception_gives_back_its_place_and_item(killed: bool) -> None:
    queue: Any = PriorityQueue(2)
    go_on = Event()

    def act() -> None:
        go_on.wait()
        raise treadle.GreenletExit

    queue.put(Acting(1))
    putting = treadle.spawn(queue.put, Acting(2, act))
    settle()
    waiting = treadle.spawn(queue.put, Acting(3))
    settle()
    assert not waiting.ready()
    putting.kill() if killed else go_on.set()
    putting.join()
    waiting.get()
    go_on.clear()
    queue.maxsize = None
    queue.put(Acting(4))
    queue.queue[-1].act = act
    getting, second = treadle.spawn(queue.get), treadle.spawn(queue.get)
    settle()
    getting.kill() if killed else go_on.set()
    getting.join()
    assert second.get().number == 1
    assert [queue.get_nowait().number for _ in range(2)] == [3, 4]


@pytest.mark.parametrize("kind", [Queue, PriorityQueue])
def test_no_call_takes_what_another_waits_for(kind: Any) -> None:
    queue = kind(1)
    queue.put(1)
    putter = treadle.spawn(queue.put, 2)
    settle()
    queue.get()
    with pytest.raises(Full):
        queue.put_nowait(3)
    putter.get()
    queue.get()
    getter = treadle.spawn(queue.get)
    settle()
    queue.put(4)
    with pytest.raises(Empty):
        queue.get_nowait()
    assert getter.get() == 4


def test_shutdown_reaches_a_getter_that_compares() -> None:
    queue: Any = PriorityQueue()
    go_on = Event()
    for number in (1, 2, 3):
        queue.put(Acting(number))
    queue.queue[-1].act = go_on.wait
    getter = treadle.spawn(queue.get)
    treadle.spawn_later(0.01, queue.shutdown, immediate=True)
    treadle.spawn_later(0.02, go_on.set)
    with pytest.raises(ShutDown):
        getter.get()


@pytest.mark.parametrize("waits", [False, True])
def test_a_hook_that_an_ended_thread_was_in_holds_up_nobody(waits: bool) -> None:
    parked = threading.Event()
    go_on = threading.Event()

    class Slow(Queue[int]):
        def _put(self, item: Any) -> None:
            if item == 1:
                treadle.sleep(60)
            super()._put(item)

    def run() -> None:
        treadle.spawn(queue.put, 1)
        treadle.sleep(0)
        parked.set()
        go_on.wait()

    queue = Slow()
    thread = threading.Thread(target=run)
    thread.start()
    parked.wait()
    if waits:
        putter = treadle.spawn(queue.put, 2)
        settle()
    go_on.set()
    thread.join()
    if not waits:
        putter = treadle.spawn(queue.put, 2)
    putter.get(timeout=5)
    assert queue.get_nowait() == 2


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
def test_a_child_may_use_a_queue_whose_items_a_thread_compares() -> None:
    queue: Any = PriorityQueue()
    go_on = threading.Event()
    begun = threading.Event()

    def wait() -> None:
        begun.set()
        go_on.wait()

    queue.put(Acting(2))
    thread = threading.Thread(target=queue.put, args=[Acting(3, wait)])
    thread.start()
    begun.wait()
    pid = os.fork()
    if pid == 0:
        queue.put(Acting(1))
        os._exit(queue.get_nowait().number + queue.get_nowait().number)
    go_on.set()
    thread.join()
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 3


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
def test_a_child_may_use_a_queue_whose_hook_the_parent_runs() -> None:
    class Slow(Queue[int]):
        def _put(self, item: Any) -> None:
            treadle.sleep(0.01)
            super()._put(item)

    queue = Slow()
    putter = treadle.spawn(queue.put, 1)
    settle()
    pid = os.fork()
    if pid == 0:
        queue.put(2, timeout=5)
        os._exit(queue.get_nowait())
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 2
    putter.get()
    assert queue.get_nowait() == 1
