"""handover.py PRIMITIVE HOLDER WAITER COUNT: one side hands over to the other, COUNT times.

HOLDER and WAITER are each one of

    greenlet   a greenlet of the main thread's hub
    native     a native thread without a hub, which must not get one
    hub        a greenlet of another thread's hub, beside a greenlet that must keep ticking

The sides go in lockstep wherever the primitive allows it, so each hand-over finds a waiter.
A side that fails ends the program with its traceback; a hang is ended from outside.
"""

import json
import os
import sys
import threading
import time
import traceback
from collections import deque

import treadle
from treadle import queue
from treadle.event import AsyncResult, Event
from treadle.hub import get_hub_if_exists
from treadle.lock import BoundedSemaphore, Condition, RLock, Semaphore
from treadle.thread import allocate_lock
from treadle.threadpool import ThreadPool


class Given(Exception):
    """An exception that is handed over as a result."""


class Semaphores:
    """Two semaphores without a permit: each side releases the one on which the other waits."""

    make = staticmethod(lambda: Semaphore(0))

    def __init__(self, count):
        self.count = count
        self.there, self.back = self.make(), self.make()
        self.moves = 0

    def hold(self):
        for i in range(self.count):
            assert self.moves == 2 * i
            self.moves += 1
            self.there.release()
            assert self.back.acquire()

    def wait(self):
        for i in range(self.count):
            assert self.there.acquire()
            assert self.moves == 2 * i + 1
            self.moves += 1
            self.back.release()

    def check(self):
        assert self.moves == 2 * self.count
        assert not self.there.acquire(blocking=False)
        assert not self.back.acquire(blocking=False)


class BoundedSemaphores(Semaphores):
    @staticmethod
    def make():
        semaphore = BoundedSemaphore(1)
        semaphore.acquire()
        return semaphore


class Locks(Semaphores):
    @staticmethod
    def make():
        lock = allocate_lock()
        lock.acquire()
        return lock


class TimedSemaphores(Semaphores):
    """Semaphores whose acquire() has a timeout that does not expire."""

    def hold(self):
        for _ in range(self.count):
            self.moves += 1
            self.there.release()
            assert self.back.acquire(timeout=60)

    def wait(self):
        for _ in range(self.count):
            assert self.there.acquire(timeout=60)
            self.moves += 1
            self.back.release()


class RLocks:
    """An RLock for which both sides compete until it has changed hands COUNT times."""

    def __init__(self, count):
        self.count = count
        self.lock = RLock()
        self.inside = 0
        self.owner = None
        self.changes = 0

    def side(self, name):
        has_hub = get_hub_if_exists() is not None

        def pause():
            # Lets other threads take the interpreter's lock, and then switches to other greenlets.
            time.sleep(0)
            if has_hub:
                treadle.sleep(0)

        while self.changes < self.count:
            with self.lock, self.lock:
                assert self.inside == 0
                self.inside = 1
                if self.owner != name:
                    self.owner = name
                    self.changes += 1
                pause()
                assert self.inside == 1
                self.inside = 0
            pause()

    def hold(self):
        self.side("holder")

    def wait(self):
        self.side("waiter")

    def check(self):
        assert self.changes >= self.count
        assert self.lock.acquire(blocking=False)
        self.lock.release()


class Conditions:
    """The side to move changes under a Condition's lock; the other side waits for its turn."""

    def __init__(self, count):
        self.count = count
        self.condition = Condition()
        self.turn = "holder"
        self.moves = 0

    def side(self, name, other):
        for _ in range(self.count):
            with self.condition:
                while self.turn != name:
                    self.condition.wait()
                self.moves += 1
                self.turn = other
                self.condition.notify()

    def hold(self):
        self.side("holder", "waiter")

    def wait(self):
        self.side("waiter", "holder")

    def check(self):
        assert self.moves == 2 * self.count
        assert self.condition.acquire(blocking=False)


class Events:
    def __init__(self, count):
        self.count = count
        self.there, self.back = Event(), Event()
        self.moves = 0

    def hold(self):
        for i in range(self.count):
            assert self.moves == 2 * i
            self.moves += 1
            self.there.set()
            assert self.back.wait()
            self.back.clear()

    def wait(self):
        for _ in range(self.count):
            assert self.there.wait()
            self.there.clear()
            self.moves += 1
            self.back.set()

    def check(self):
        assert self.moves == 2 * self.count
        assert self.there.linkcount() == self.back.linkcount() == 0


class AsyncResults:
    """Each hand-over sends a result in both directions; every fifth is an exception."""

    def __init__(self, count):
        self.count = count
        self.there = [AsyncResult() for _ in range(count)]
        self.back = [AsyncResult() for _ in range(count)]

    def hold(self):
        for i, (there, back) in enumerate(zip(self.there, self.back, strict=True)):
            if i % 5:
                there.set(i)
            else:
                there.set_exception(Given(i))
            assert back.get() == -i

    def wait(self):
        for i, (there, back) in enumerate(zip(self.there, self.back, strict=True)):
            try:
                value = there.get()
                assert i % 5
            except Given as given:
                assert not i % 5
                value = given.args[0]
            assert value == i
            back.set(-i)

    def check(self):
        assert all(r.ready() and not r.linkcount() for r in self.there + self.back)


class Queues:
    """A queue for one item, so that putter and getter wait for each other."""

    make = staticmethod(lambda: queue.Queue(1))

    def __init__(self, count):
        self.count = count
        self.queue = self.make()
        self.got = []

    def hold(self):
        for i in range(self.count):
            self.queue.put(i)

    def wait(self):
        for _ in range(self.count):
            self.got.append(self.queue.get())

    def check(self):
        assert self.got == list(range(self.count))
        assert self.queue.qsize() == 0


class LifoQueues(Queues):
    make = staticmethod(lambda: queue.LifoQueue(1))


class PriorityQueues(Queues):
    make = staticmethod(lambda: queue.PriorityQueue(1))


class Channels(Queues):
    make = staticmethod(queue.Channel)


class JoinableQueues(Queues):
    """The putter waits until its item is done before it puts the next one."""

    make = staticmethod(lambda: queue.JoinableQueue(1))

    def hold(self):
        for i in range(self.count):
            self.queue.put(i)
            self.queue.join()
            assert len(self.got) == i + 1

    def wait(self):
        for _ in range(self.count):
            self.got.append(self.queue.get())
            self.queue.task_done()

    def check(self):
        super().check()
        assert self.queue.unfinished_tasks == 0


class SimpleQueues(Queues):
    """An unbounded queue: a second one returns each item, so that both sides wait."""

    def __init__(self, count):
        self.make = queue.SimpleQueue
        self.back = queue.SimpleQueue()
        super().__init__(count)

    def hold(self):
        for i in range(self.count):
            self.queue.put(i)
            assert self.back.get() == i

    def wait(self):
        for _ in range(self.count):
            self.got.append(self.queue.get())
            self.back.put(self.got[-1])


class Joins:
    """The waiter calls join() or get() on the holder's greenlets while they end.

    There is no holder without a hub: spawning creates one.
    """

    def __init__(self, count):
        self.count = count
        self.spawned = deque()
        self.there, self.back = Semaphore(0), Semaphore(0)
        self.values = []

    def task(self, i):
        if i % 5 == 0:
            raise Given(i)
        if i % 2:
            treadle.sleep(0)
        return i

    def hold(self):
        treadle.get_hub().NOT_ERROR += (Given,)
        for i in range(self.count):
            self.spawned.append(treadle.spawn(self.task, i))
            self.there.release()
            self.back.acquire()

    def wait(self):
        for i in range(self.count):
            self.there.acquire()
            greenlet = self.spawned.popleft()
            if i % 3 == 0:
                greenlet.join()
                assert greenlet.ready()
                self.values.append(greenlet.value if i % 5 else greenlet.exception.args[0])
            else:
                try:
                    self.values.append(greenlet.get())
                except Given as given:
                    self.values.append(given.args[0])
            self.back.release()

    def check(self):
        assert self.values == list(range(self.count))


class ThreadPools:
    """The holder gives a task to a thread pool; the waiter waits for its result."""

    def __init__(self, count):
        self.count = count
        self.pool = ThreadPool(1)
        self.results = deque()
        self.there, self.back = Semaphore(0), Semaphore(0)
        self.values = []

    def hold(self):
        for i in range(self.count):
            self.results.append(self.pool.spawn(int, i))
            self.there.release()
            self.back.acquire()

    def wait(self):
        for _ in range(self.count):
            self.there.acquire()
            self.values.append(self.results.popleft().get())
            self.back.release()

    def check(self):
        assert self.values == list(range(self.count))
        self.pool.kill()


PRIMITIVES = {
    "semaphore": Semaphores,
    "semaphore_timeout": TimedSemaphores,
    "bounded_semaphore": BoundedSemaphores,
    "lock": Locks,
    "rlock": RLocks,
    "condition": Conditions,
    "event": Events,
    "async_result": AsyncResults,
    "queue": Queues,
    "lifo_queue": LifoQueues,
    "priority_queue": PriorityQueues,
    "joinable_queue": JoinableQueues,
    "simple_queue": SimpleQueues,
    "channel": Channels,
    "join": Joins,
    "threadpool": ThreadPools,
}


def guarded(function):
    """Wrap *function*: an exception ends the program, so that the other side does not hang."""

    def call():
        try:
            function()
        except BaseException:
            traceback.print_exc()
            sys.stderr.flush()
            os._exit(1)

    return call


@guarded
def no_hub():
    assert get_hub_if_exists() is None, "waiting made a hub in a thread that had none"


def native(function):
    def run():
        function()
        no_hub()

    return threading.Thread(target=run)


def with_hub(function):
    def run():
        treadle.get_hub()
        ticks = 0

        def tick():
            nonlocal ticks
            while not side.dead:
                ticks += 1
                treadle.sleep(0.001)

        started = time.monotonic()
        side = treadle.spawn(function)
        treadle.joinall([side, treadle.spawn(tick)])
        # A twentieth of what an idle hub would do, because the machine may be busy.
        assert ticks >= (time.monotonic() - started) / 0.001 / 20, f"{ticks} ticks"

    return threading.Thread(target=guarded(run))


def main(primitive, holder, waiter, count):
    shared = PRIMITIVES[primitive](count)
    threads, greenlets = [], []
    started = time.monotonic()
    for kind, side in ((holder, shared.hold), (waiter, shared.wait)):
        if kind == "greenlet":
            greenlets.append(treadle.spawn(guarded(side)))
        else:
            threads.append({"native": native, "hub": with_hub}[kind](guarded(side)))
    for thread in threads:
        thread.start()
    treadle.joinall(greenlets)
    for thread in threads:
        thread.join()
    elapsed = time.monotonic() - started
    guarded(shared.check)()
    print(json.dumps({"microseconds": 1e6 * elapsed / count}))


main(*sys.argv[1:4], int(sys.argv[4]))
