"""First in, first out: the same program takes the same turns, and nobody is overtaken."""

from itertools import cycle

import pytest

import weft
from weft import queue
from weft._core import clock
from weft.event import AsyncResult, Event
from weft.lock import Condition, Semaphore
from weft.pool import Pool

from . import support
from .programs.interleaving import record

MANY = 50


def test_same_interleaving():
    first = record()
    assert len(first) > 80
    for _ in range(20):
        assert record() == first


def test_same_interleaving_with_sockets():
    """In 20 processes, so that no order of hashing or of addresses shows either."""
    seen = {
        support.run("interleaving", PYTHONHASHSEED=str(seed), PYTHONMALLOC=malloc).out
        for seed, malloc in zip(range(20), cycle(["malloc", "pymalloc", "debug"]))
    }
    assert len(seen) == 1
    assert seen.pop().count("(") > 90


class Virtual:
    """A clock that stands still while anything runs, and jumps to the next deadline."""

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
    """Deadlines that are equal to the nanosecond."""
    source = Virtual()
    before = clock.replace(source)
    yield source
    clock.replace(before)


def sleeps(i, note):
    weft.sleep(1)
    note(i)


def spawned_later(note):
    for i in range(MANY):
        weft.spawn_later(1, note, i)


def timers(note):
    watchers = [weft.get_hub().loop.timer(1) for _ in range(MANY)]
    for i, watcher in enumerate(watchers):
        watcher.start(note, i)
    return watchers


def timeouts(note):
    def wait(i):
        with weft.Timeout(1, False):
            weft.sleep(2)
        note(i)

    for i in range(MANY):
        weft.spawn(wait, i)


def timed_waits(note):
    happened = Event()

    def wait(i):
        assert not happened.wait(1)
        note(i)

    for i in range(MANY):
        weft.spawn(wait, i)


def all_sorts(note):
    """Set in turn by different means, for the same moment."""
    keep = []
    happened = Event()

    def wait(i):
        happened.wait(1)
        note(i)

    def under_timeout(i):
        with weft.Timeout(1, False):
            weft.sleep(2)
        note(i)

    # Each kind's deadline is set when its greenlet first runs, so they set it in this order.
    for i in range(0, MANY, 3):
        weft.spawn(wait, i)
        weft.spawn(under_timeout, i + 1)
        weft.spawn(sleeps, i + 2, note)
    return keep


@pytest.mark.parametrize("case", [spawned_later, timers, timeouts, timed_waits, all_sorts])
def test_equal_deadlines(virtual, case):
    seen = []
    began = virtual.time
    keep = case(seen.append)
    weft.sleep(1.5)
    count = len(seen)
    assert count >= MANY
    assert seen == list(range(count))
    assert virtual.time - began == 1_500_000_000
    del keep


def test_deadlines_in_order_of_time(virtual):
    """Set in any order, cancelled in between: they fire by time."""
    seen = []
    delays = [(7 * i) % 31 for i in range(200)]
    greenlets = [weft.spawn_later(d, seen.append, d) for d in delays]
    for greenlet in greenlets[::3]:
        greenlet.kill()
    weft.sleep(40)
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
    other = weft.spawn(gate.wait)
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

    greenlets = [weft.spawn(waiter, i) for i in range(MANY)]
    weft.sleep(0)
    wake()
    weft.joinall(greenlets, raise_error=True)
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

    greenlets = [weft.spawn(waiter, i) for i in range(MANY)]
    weft.sleep(0)
    for greenlet in greenlets[1::2]:
        greenlet.kill()
    waker = weft.spawn(wake)
    weft.joinall(greenlets, raise_error=True)
    waker.kill()
    assert seen == list(range(0, MANY, 2))


def test_no_overtaking():
    """Who asks for a permit while others wait for it stands behind them."""
    permits = Semaphore(0)
    seen = []

    def waiter(name):
        permits.acquire()
        seen.append(name)

    first = weft.spawn(waiter, "first")
    weft.sleep(0)
    permits.release()
    second = weft.spawn(waiter, "second")
    permits.release()
    weft.joinall([first, second])
    assert seen == ["first", "second"]


def start_in(kind, note):
    loop = weft.get_hub().loop
    for i in range(MANY):
        if kind == "spawn":
            weft.spawn(note, i)
        elif kind == "spawn_raw":
            weft.spawn_raw(note, i)
        elif kind == "run_callback":
            loop.run_callback(note, i)
        else:
            # All three stand in one line.
            (weft.spawn, weft.spawn_raw, loop.run_callback)[i % 3](note, i)


@pytest.mark.parametrize("kind", ["spawn", "spawn_raw", "run_callback", "mixed"])
def test_started_in_order(kind):
    seen = []
    start_in(kind, seen.append)
    weft.sleep(0)
    assert seen == list(range(MANY))


def test_starters_stand_in_line():
    """A greenlet that sleeps for no time stands behind those who were ready before."""
    seen = []
    weft.spawn(seen.append, 1)
    weft.spawn(seen.append, 2)
    weft.sleep(0)
    seen.append(3)
    weft.spawn(seen.append, 4)
    weft.sleep(0)
    assert seen == [1, 2, 3, 4]


@pytest.mark.parametrize("what", ["greenlet", "event", "result"])
def test_links_in_order(what):
    seen = []
    if what == "greenlet":
        source = weft.spawn(int)
    else:
        source = Event() if what == "event" else AsyncResult()
    for i in range(MANY):
        source.rawlink(lambda _, i=i: seen.append(i))
    if what != "greenlet":
        source.set()
    weft.sleep(0)
    weft.sleep(0)
    assert seen == list(range(MANY))


def test_unlinked_in_between():
    seen = []
    links = [lambda _, i=i: seen.append(i) for i in range(MANY)]
    source = weft.spawn(int)
    for link in links:
        source.rawlink(link)
    for link in links[::2]:
        source.unlink(link)
    weft.sleep(0)
    weft.sleep(0)
    assert seen == list(range(1, MANY, 2))


def test_killed_in_order():
    seen = []

    def work(i):
        try:
            weft.sleep(60)
        finally:
            seen.append(i)

    greenlets = [weft.spawn(work, i) for i in range(MANY)]
    weft.sleep(0)
    weft.killall(greenlets)
    assert seen == list(range(MANY))
