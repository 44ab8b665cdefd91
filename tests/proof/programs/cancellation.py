"""cancellation.py SCENARIO SEED STRIKES: random kills and timeouts, then a check of all counts.

Twenty greenlets work on one primitive. Meanwhile another greenlet kills them `STRIKES` times at
random: with or without waiting, with GreenletExit or another exception. Each victim is replaced.
Each worker also runs some of its own operations under a tiny Timeout. At the end the survivors
are told to stop and must be able to; every permit, item and count must be accounted for.
"""

import json
import random
import sys
from collections import Counter
from itertools import count

import treadle
from treadle import queue, socket
from treadle._core import clock
from treadle.event import AsyncResult, Event
from treadle.lock import BoundedSemaphore, Condition, RLock, Semaphore
from treadle.pool import Group, Pool
from treadle.thread import allocate_lock
from treadle.timeout import Timeout

WORKERS = 20
TINY = 0.0004  # seconds; about as long as a few turns of the hub
PATIENCE = 20  # seconds in which the survivors must stop by themselves


class Clock:
    """A clock that advances when it is read, so that a seed gives the same run everywhere."""

    time = 0  # nanoseconds

    def now(self):
        self.time += 10_000
        return self.time

    def idle(self, deadline):
        if deadline is None:
            return False
        self.time = max(self.time, deadline)
        return True


class Struck(Exception):
    """The exception, other than GreenletExit, that a kill raises in its victim."""


class Scenario:
    """Greenlets at work on an object that must stay consistent. Subclasses define the object."""

    def __init__(self, rng):
        self.rng = rng
        self.running = True
        self.expired = 0
        self.tick = 0

    def work(self):
        """Do one operation of a worker; a kill may hit it wherever it switches."""
        raise NotImplementedError

    def wind_up(self):
        """Let workers that wait end, once `running` is false."""

    def check(self):
        """Assert that nothing is missing or left over."""
        raise NotImplementedError

    def worker(self):
        while self.running:
            if self.rng.random() < 0.3:
                with Timeout(self.rng.random() * TINY) as timer:
                    try:
                        self.work()
                    except Timeout as expired:
                        assert expired is timer
                        self.expired += 1
            else:
                self.work()
            if self.rng.random() < 0.2:
                treadle.sleep(0)

    def patience(self):
        """Return a timeout argument: None, or a tiny one."""
        return self.rng.random() * TINY if self.rng.random() < 0.3 else None

    def linger(self):
        for _ in range(self.rng.randrange(3)):
            treadle.sleep(0)


class Permits(Scenario):
    """At most `permits` workers hold the semaphore; at the end every permit is back."""

    permits = 3

    def __init__(self, rng):
        super().__init__(rng)
        self.semaphore = self.make()
        self.inside = 0

    def make(self):
        return Semaphore(self.permits)

    def work(self):
        if self.semaphore.acquire(timeout=self.patience()):
            self.inside += 1
            assert self.inside <= self.permits
            try:
                self.linger()
            finally:
                self.inside -= 1
                self.semaphore.release()
        else:
            self.expired += 1

    def check(self):
        assert self.inside == 0
        assert self.semaphore.counter == self.permits, self.semaphore
        assert self.semaphore.linkcount() == 0, self.semaphore
        for _ in range(self.permits):
            assert self.semaphore.acquire(blocking=False)
        assert not self.semaphore.acquire(blocking=False)


class BoundedPermits(Permits):
    def make(self):
        return BoundedSemaphore(self.permits)


class WithBlock(Permits):
    """Permits that are acquired with the `with` statement: never more than `permits` are held."""

    def work(self):
        with self.semaphore:
            self.inside += 1
            assert self.inside <= self.permits
            try:
                self.linger()
            finally:
                self.inside -= 1


class Lock(Scenario):
    """A lock of treadle.thread: one worker holds it at a time, and it is free at the end."""

    def __init__(self, rng):
        super().__init__(rng)
        self.lock = allocate_lock()
        self.inside = 0

    def work(self):
        if not self.lock.acquire(timeout=-1 if (t := self.patience()) is None else t):
            self.expired += 1
            return
        try:
            assert self.inside == 0
            self.inside = 1
            self.linger()
        finally:
            self.inside = 0
            self.lock.release()

    def check(self):
        assert self.inside == 0
        assert not self.lock.locked()


class ReentrantLock(Scenario):
    """An RLock: one owner at a time, at any depth; no dead greenlet owns it at the end."""

    def __init__(self, rng):
        super().__init__(rng)
        self.lock = RLock()
        self.owner = None

    def work(self):
        if not self.lock.acquire(timeout=-1 if (t := self.patience()) is None else t):
            self.expired += 1
            return
        try:
            assert self.owner is None
            self.owner = treadle.getcurrent()
            try:
                with self.lock, self.lock:
                    self.linger()
                    assert self.owner is treadle.getcurrent()
                self.linger()
            finally:
                self.owner = None
        finally:
            self.lock.release()

    def check(self):
        assert self.owner is None
        assert self.lock.acquire(blocking=False), self.lock
        self.lock.release()


class Conditions(Scenario):
    """A Condition: however wait() ends, the waiter owns the lock again; the tokens add up."""

    def __init__(self, rng):
        super().__init__(rng)
        self.condition = Condition()
        self.inside = 0
        self.tokens = 0
        self.made = 0
        self.taken = 0

    def entered(self):
        assert self.inside == 0
        self.inside = 1

    def left(self):
        assert self.inside == 1
        self.inside = 0

    def work(self):
        with self.condition:
            self.entered()
            try:
                self.give() if self.rng.random() < 0.5 else self.take()
            finally:
                self.left()

    def give(self):
        self.tokens += 1
        self.made += 1
        self.linger()
        self.rng.choice((self.condition.notify, self.condition.notify_all))()

    def take(self):
        if not self.tokens and self.running:
            self.left()
            try:
                self.condition.wait(self.patience())
            finally:
                self.entered()
        if self.tokens:
            self.tokens -= 1
            self.taken += 1

    def wind_up(self):
        with self.condition:
            self.condition.notify_all()

    def check(self):
        assert self.inside == 0
        assert self.made == self.taken + self.tokens
        assert self.condition.acquire(blocking=False)
        self.condition.release()


class Queues(Scenario):
    """An item that put() accepted comes out of exactly one get(); a refused one never does."""

    make = staticmethod(lambda: queue.Queue(2))

    def __init__(self, rng):
        super().__init__(rng)
        self.queue = self.make()
        self.number = count()
        self.accepted = set()
        self.refused = set()
        self.got = Counter()

    def work(self):
        self.put() if self.rng.random() < 0.5 else self.get()

    def put(self):
        item = next(self.number)
        try:
            self.queue.put(item, timeout=self.patience())
        except queue.Full:
            self.expired += 1
            self.refused.add(item)
        except BaseException:
            self.refused.add(item)
            raise
        else:
            self.accepted.add(item)

    def get(self):
        try:
            item = self.queue.get(timeout=self.patience())
        except queue.Empty:
            self.expired += 1
        else:
            self.got[item] += 1
            self.took()

    def took(self):
        """Note that an item has been taken from the queue."""

    def drain(self):
        while True:
            try:
                self.got[self.queue.get_nowait()] += 1
            except queue.Empty:
                return
            self.took()

    def wind_up(self):
        # No worker is left to serve a worker that waits, so the main greenlet does: it takes the
        # items of waiting putters, and then puts items for waiting getters.
        while any(not g.dead for g in self.staff):
            self.drain()
            treadle.sleep(0)
            if self.queue.empty():
                try:
                    item = next(self.number)
                    self.queue.put_nowait(item)
                    self.accepted.add(item)
                except queue.Full:
                    self.refused.add(item)
            treadle.sleep(0)

    def check(self):
        self.drain()
        assert set(self.got.values()) <= {1}, "duplicated"
        assert not self.accepted - set(self.got), f"lost: {self.accepted - set(self.got)}"
        assert not self.refused & set(self.got), "came out although the put raised"
        assert self.queue.qsize() == 0


class LifoQueues(Queues):
    make = staticmethod(lambda: queue.LifoQueue(2))


class PriorityQueues(Queues):
    make = staticmethod(lambda: queue.PriorityQueue(2))


class UnboundedQueues(Queues):
    """put() never blocks on an unbounded queue, so there are more calls of get(), which do."""

    make = staticmethod(queue.SimpleQueue)

    def work(self):
        self.put() if self.rng.random() < 0.3 else self.get()


class JoinableQueues(Queues):
    """Queues whose count of unfinished tasks must also match the items that are not yet done."""

    make = staticmethod(lambda: queue.JoinableQueue(2))

    def took(self):
        self.queue.task_done()

    def check(self):
        super().check()
        assert self.queue.unfinished_tasks == 0
        assert self.queue.join(timeout=1)


class Channels(Queues):
    """A rendezvous: a kill may hit a putter whose item has just been taken.

    Its put() then raises although the item arrived, as any call may that has done its work.
    So the item of a put() that raised may come out, but no item is lost or duplicated.
    """

    make = staticmethod(queue.Channel)

    def check(self):
        self.drain()
        assert set(self.got.values()) <= {1}, "duplicated"
        assert not self.accepted - set(self.got), f"lost: {self.accepted - set(self.got)}"
        assert self.queue.qsize() == 0


class Datagrams:
    """A pair of sockets used as a queue, bounded by the system's socket buffer."""

    def __init__(self):
        self.left, self.right = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)

    def put(self, item, timeout=None):
        self.left.settimeout(timeout)
        try:
            self.left.send(item.to_bytes(8, "big"))
        except (TimeoutError, BlockingIOError):
            raise queue.Full from None

    def get(self, timeout=None, flags=0):
        self.right.settimeout(timeout)
        try:
            return int.from_bytes(self.right.recv(8, flags), "big")
        except (TimeoutError, BlockingIOError):
            raise queue.Empty from None

    def put_nowait(self, item):
        self.put(item, 0)

    def get_nowait(self):
        return self.get(0)

    def empty(self):
        try:
            self.get(0, socket.MSG_PEEK)
        except queue.Empty:
            return True
        return False

    def qsize(self):
        return int(not self.empty())


class Sockets(Queues):
    """A message is sent or send() raises, and it is received once, whichever worker is killed."""

    make = staticmethod(Datagrams)

    def check(self):
        super().check()
        assert len(self.got) > 1000, "hardly any message was sent"
        self.queue.left.close()
        self.queue.right.close()


class Events(Scenario):
    """set() wakes every greenlet that waits; killed waiters are not in the event's list."""

    def __init__(self, rng):
        super().__init__(rng)
        self.event = Event()
        self.waiting = set()

    def work(self):
        if self.rng.random() < 0.3:
            self.event.set()
            self.linger()
            if self.running:
                self.event.clear()
            return
        self.waiting.add(treadle.getcurrent())
        try:
            if not self.event.wait(self.patience()):
                self.expired += 1
        finally:
            self.waiting.discard(treadle.getcurrent())

    def wind_up(self):
        self.event.set()

    def check(self):
        assert not self.waiting
        assert self.event.is_set()
        assert self.event.linkcount() == 0, self.event


class Results(Scenario):
    """AsyncResults that one worker sets for many: each get() that is not killed sees the value."""

    def __init__(self, rng):
        super().__init__(rng)
        self.serial = count()
        self.results = []
        self.renew()

    def renew(self):
        self.result = AsyncResult()
        self.expected = next(self.serial)
        self.results.append(self.result)

    def work(self):
        if self.rng.random() < 0.2:
            result, value = self.result, self.expected
            self.renew()
            result.set(value)
            return
        result, value = self.result, self.expected
        try:
            assert result.get(timeout=self.patience()) == value
        except Timeout:
            self.expired += 1

    def wind_up(self):
        self.result.set(self.expected)

    def check(self):
        assert all(r.ready() and r.linkcount() == 0 for r in self.results)


class Pools(Scenario):
    """All places of a pool are free again when its last greenlet has ended."""

    size = 4

    def __init__(self, rng):
        super().__init__(rng)
        self.pool = Pool(self.size)
        self.inside = 0

    def task(self):
        self.inside += 1
        assert self.inside <= self.size
        try:
            self.linger()
        finally:
            self.inside -= 1
        return 1

    def work(self):
        kind = self.rng.randrange(5)
        if kind == 0:
            task = self.pool.spawn(self.task)
            task.join()
        elif kind == 1:
            assert self.pool.apply(self.task) == 1
        elif kind == 2:
            assert self.pool.map(lambda _: self.task(), range(3)) == [1, 1, 1]
        elif kind == 3:
            assert sum(self.pool.imap_unordered(lambda _: self.task(), range(3))) == 3
        else:
            self.pool.spawn(self.task).kill(block=self.rng.random() < 0.5)

    def check(self):
        assert self.pool.join(timeout=PATIENCE), self.pool
        assert self.inside == 0
        assert len(self.pool) == 0
        assert self.pool.free_count() == self.size


class Groups(Scenario):
    """A group holds its living greenlets, whichever of its users is killed."""

    def __init__(self, rng):
        super().__init__(rng)
        self.group = Group()
        self.inside = 0

    def task(self):
        self.inside += 1
        try:
            self.linger()
        finally:
            self.inside -= 1

    def work(self):
        kind = self.rng.randrange(4)
        if kind == 0:
            self.group.spawn(self.task).join()
        elif kind == 1:
            self.group.map(lambda _: self.task(), range(3))
        elif kind == 2:
            self.group.join(timeout=self.patience())
        else:
            self.group.killone(self.group.spawn(self.task), block=self.rng.random() < 0.5)

    def check(self):
        assert self.group.join(timeout=PATIENCE) is not False
        assert len(self.group) == 0
        assert self.inside == 0


class Joins(Scenario):
    """join() and get(): links of killed waiters are removed, values reach the other waiters."""

    def work(self):
        other = treadle.spawn(self.linger)
        kind = self.rng.randrange(3)
        if kind == 0:
            other.join(self.patience())
        elif kind == 1:
            patience = self.patience()
            try:
                assert other.get(timeout=patience) is None
            except Timeout:
                if patience is None:
                    raise
        else:
            treadle.joinall([other, treadle.spawn(self.linger)], timeout=self.patience())

    def check(self):
        pass


SCENARIOS = {
    "semaphore": Permits,
    "bounded_semaphore": BoundedPermits,
    "semaphore_with": WithBlock,
    "lock": Lock,
    "rlock": ReentrantLock,
    "condition": Conditions,
    "queue": Queues,
    "lifo_queue": LifoQueues,
    "priority_queue": PriorityQueues,
    "simple_queue": UnboundedQueues,
    "joinable_queue": JoinableQueues,
    "channel": Channels,
    "sockets": Sockets,
    "event": Events,
    "async_result": Results,
    "pool": Pools,
    "group": Groups,
    "join": Joins,
}


def strike(rng, victim):
    """Kill `victim` in one of the possible ways."""
    exception = rng.choice((treadle.GreenletExit, Struck, Struck("instance")))
    victim.kill(exception, block=rng.random() < 0.3, timeout=rng.choice((None, TINY)))


def main(name, seed, strikes):
    rng = random.Random(seed)
    clock.replace(Clock())
    scenario = SCENARIOS[name](rng)
    # A killed worker's exception is expected; no other exception is.
    treadle.get_hub().NOT_ERROR += (Struck,)
    staff = scenario.staff = [treadle.spawn(scenario.worker) for _ in range(WORKERS)]
    for _ in range(strikes):
        for _ in range(rng.randrange(4)):
            treadle.sleep(0)
        i = rng.randrange(WORKERS)
        strike(rng, staff[i])
        retired, staff[i] = staff[i], treadle.spawn(scenario.worker)
        if retired.dead and not retired.successful():
            assert isinstance(retired.exception, Struck), retired.exception
    scenario.running = False
    with Timeout(PATIENCE, AssertionError(f"{name}: survivors could not stop")):
        scenario.wind_up()
        treadle.joinall(staff, raise_error=True)
    for _ in range(3):
        treadle.sleep(0)
    scenario.check()
    print(json.dumps({"strikes": strikes, "expired": scenario.expired}))


main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
