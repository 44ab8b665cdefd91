"""First in, first out: a program always runs in the same order, and no waiter is overtaken."""

from itertools import cycle

import pytest

import treadle
from treadle import queue
from treadle._core import clock
from treadle.event import AsyncResult, Event
from treadle.lock import Condition, Semaphore
from treadle.pool import Pool

from . import support
from .programs.interleaving import record

MANY = 50


def test_same_interleaving():
    first = record()
    assert len(first) > 80
    for _ in range(20):
        assert record() == first


def test_same_interleaving_with_sockets():
    """Run in 20 processes: neither hash seeds nor addresses may change the order."""
    seen = {
        support.run("interleaving", PYTHONHASHSEED=str(seed), PYTHONMALLOC=malloc).out
        for seed, malloc in zip(range(20), cycle(["malloc", "pymalloc", "debug"]))
    }
    assert len(seen) == 1
    assert seen.pop().count("(") > 90


class Virtual:
    """A clock that stands still while greenlets run, and jumps to the next deadline when idle."""

    def __init__(self):
        self.time = 10**12

    def now(self):
        return self.time

    def idle(self, deadline):
        if deadline is None:
            return False
        self.time = max(self.time, deadline)
        return True


@pytest.fixture
def virtual():
    """Install a virtual clock, with which deadlines are equal to the nanosecond."""
    source = Virtual()
    before = clock.replace(source)
    yield source
    clock.replace(before)


def sleeps(i, note):
    treadle.sleep(1)
    note(i)


def spawned_later(note):
    for i in range(MANY):
        treadle.spawn_later(1, note, i)


def timers(note):
    watchers = [treadle.get_hub().loop.timer(1) for _ in range(MANY)]
    for i, watcher in enumerate(watchers):
        watcher.start(note, i)
    return watchers


def timeouts(note):
    def wait(i):
        with treadle.Timeout(1, False):
            treadle.sleep(2)
        note(i)

    for i in range(MANY):
        treadle.spawn(wait, i)


def timed_waits(note):
    happened = Event()

    def wait(i):
        assert not happened.wait(1)
        note(i)

    for i in range(MANY):
        treadle.spawn(wait, i)


def all_sorts(note):
    """Set deadlines by different means in turn, all for the same moment."""
    keep = []
    happened = Event()

    def wait(i):
        happened.wait(1)
        note(i)

    def under_timeout(i):
        with treadle.Timeout(1, False):
            treadle.sleep(2)
        note(i)

    # A greenlet sets its deadline when it first runs, so the deadlines are set in this order.
    for i in range(0, MANY, 3):
        treadle.spawn(wait, i)
        treadle.spawn(under_timeout, i + 1)
        treadle.spawn(sleeps, i + 2, note)
    return keep


@pytest.mark.parametrize("case", [spawned_later, timers, timeouts, timed_waits, all_sorts])
def test_equal_deadlines(virtual, case):
    seen = []
    began = virtual.time
    keep = case(seen.append)
    treadle.sleep(1.5)
    count = len(seen)
    assert count >= MANY
    assert seen == list(range(count))
    assert virtual.time - began == 1_500_000_000
    del keep


def test_deadlines_in_order_of_time(virtual):
    """Timers that are set in any order, some cancelled, fire in the order of their times."""
    seen = []
    delays = [(7 * i) % 31 for i in range(200)]
    greenlets = [treadle.spawn_later(d, seen.append, d) for d in delays]
    for greenlet in greenlets[::3]:
        greenlet.kill()
    treadle.sleep(40)
    assert seen == sorted(d for i, d in enumerate(delays) if i % 3)


def event():
    happened = Event()
    return happened.wait, happened.set


def result():
    settled = AsyncResult()
    return settled.get, lambda: settled.set(1)


def semaphore():
    permits = Semaphore(0)
    return permits.acquire, lambda: [permits.release() for _ in range(MANY)]


def condition():
    changed = Condition()

    def wait():
        with changed:
            changed.wait()

    def notify():
        with changed:
            for _ in range(MANY // 2):
                changed.notify()
            changed.notify_all()

    return wait, notify


def getters():
    items = queue.Queue()
    return items.get, lambda: [items.put(i) for i in range(MANY)]


def putters():
    items = queue.Queue(1)
    items.put(None)
    return lambda: items.put(None), lambda: [items.get() for _ in range(MANY)]


def channel():
    items = queue.Channel()
    return items.get, lambda: [items.put(i) for i in range(MANY)]


def joiners():
    gate = Event()
    other = treadle.spawn(gate.wait)
    return other.join, gate.set


def pool():
    places = Pool(1)
    gate = Event()
    places.spawn(gate.wait)
    return lambda: places.spawn(int), gate.set


@pytest.mark.parametrize(
    "case", [event, result, semaphore, condition, getters, putters, channel, joiners, pool]
)
def test_woken_in_the_order_they_came(case):
    wait, wake = case()
    seen = []

    def waiter(i):
        wait()
        seen.append(i)

    greenlets = [treadle.spawn(waiter, i) for i in range(MANY)]
    treadle.sleep(0)
    wake()
    treadle.joinall(greenlets, raise_error=True)
    assert seen == list(range(MANY))


@pytest.mark.parametrize(
    "case", [event, result, semaphore, condition, getters, putters, channel, joiners, pool]
)
def test_those_who_left_change_no_order(case):
    wait, wake = case()
    seen = []

    def waiter(i):
        wait()
        seen.append(i)

    greenlets = [treadle.spawn(waiter, i) for i in range(MANY)]
    treadle.sleep(0)
    for greenlet in greenlets[1::2]:
        greenlet.kill()
    waker = treadle.spawn(wake)
    treadle.joinall(greenlets, raise_error=True)
    waker.kill()
    assert seen == list(range(0, MANY, 2))


def test_no_overtaking():
    """A greenlet that asks for a permit queues behind those that already wait for one."""
    permits = Semaphore(0)
    seen = []

    def waiter(name):
        permits.acquire()
        seen.append(name)

    first = treadle.spawn(waiter, "first")
    treadle.sleep(0)
    permits.release()
    second = treadle.spawn(waiter, "second")
    permits.release()
    treadle.joinall([first, second])
    assert seen == ["first", "second"]


def start_in(kind, note):
    loop = treadle.get_hub().loop
    for i in range(MANY):
        if kind == "spawn":
            treadle.spawn(note, i)
        elif kind == "spawn_raw":
            treadle.spawn_raw(note, i)
        elif kind == "run_callback":
            loop.run_callback(note, i)
        else:
            # All three share one queue.
            (treadle.spawn, treadle.spawn_raw, loop.run_callback)[i % 3](note, i)


@pytest.mark.parametrize("kind", ["spawn", "spawn_raw", "run_callback", "mixed"])
def test_started_in_order(kind):
    seen = []
    start_in(kind, seen.append)
    treadle.sleep(0)
    assert seen == list(range(MANY))


def test_starters_stand_in_line():
    """A greenlet that calls sleep(0) queues behind those that were ready before."""
    seen = []
    treadle.spawn(seen.append, 1)
    treadle.spawn(seen.append, 2)
    treadle.sleep(0)
    seen.append(3)
    treadle.spawn(seen.append, 4)
    treadle.sleep(0)
    assert seen == [1, 2, 3, 4]


@pytest.mark.parametrize("what", ["greenlet", "event", "result"])
def test_links_in_order(what):
    seen = []
    if what == "greenlet":
        source = treadle.spawn(int)
    else:
        source = Event() if what == "event" else AsyncResult()
    for i in range(MANY):
        source.rawlink(lambda _, i=i: seen.append(i))
    if what != "greenlet":
        source.set()
    treadle.sleep(0)
    treadle.sleep(0)
    assert seen == list(range(MANY))


def test_unlinked_in_between():
    seen = []
    links = [lambda _, i=i: seen.append(i) for i in range(MANY)]
    source = treadle.spawn(int)
    for link in links:
        source.rawlink(link)
    for link in links[::2]:
        source.unlink(link)
    treadle.sleep(0)
    treadle.sleep(0)
    assert seen == list(range(1, MANY, 2))


def test_killed_in_order():
    seen = []

    def work(i):
        try:
            treadle.sleep(60)
        finally:
            seen.append(i)

    greenlets = [treadle.spawn(work, i) for i in range(MANY)]
    treadle.sleep(0)
    treadle.killall(greenlets)
    assert seen == list(range(MANY))
