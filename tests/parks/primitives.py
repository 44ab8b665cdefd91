"""Places: sleeping, joining, events, locks, queues, pools."""

import time
from collections.abc import Callable

import treadle
import treadle.time
from parks.place import Place, place
from treadle.event import AsyncResult, Event
from treadle.futures import GreenletPoolExecutor
from treadle.greenlet import killall
from treadle.hub import Waiter, get_hub, idle
from treadle.lock import BoundedSemaphore, Condition, RLock, Semaphore
from treadle.pool import Group, Pool
from treadle.queue import Channel, Empty, Full, PriorityQueue, Queue, SimpleQueue
from treadle.thread import allocate_lock

#: Seconds that code takes which waits again and again.
A_WHILE = 0.02


# -- letting others run


class Yield(Place):
    """A wait that ends by itself."""

    yields = True
    carries = keeps = False

    def hand(self, value: bytes) -> bool:
        return False


def for_a_while(call: Callable[[], object]) -> None:
    end = time.monotonic() + A_WHILE
    while time.monotonic() < end:
        call()


@place
class Sleep(Yield):
    covers = ("_core/sleep.pyx:sleep",)

    def park(self) -> None:
        treadle.sleep(self.lasts)


@place
class SleepWithoutRef(Yield):
    covers = ("_core/sleep.pyx:sleep", "_core/sleep.pyx:park_unref")

    def park(self) -> None:
        treadle.sleep(self.lasts, ref=False)


@place
class SleepOfTime(Yield):
    covers = ("_core/builtins.pyx:sleep",)

    def park(self) -> None:
        treadle.time.sleep(self.lasts)


@place
class SleepZero(Yield):
    covers = ("_core/sleep.pyx:sleep",)
    busy = True

    def park(self) -> None:
        for_a_while(lambda: treadle.sleep(0))


@place
class Idle(Yield):
    covers = ("hub.py:idle",)
    busy = helped = True

    def park(self) -> None:
        for_a_while(idle)


@place
class HubJoin(Yield):
    covers = (
        "hub.py:join",
        "_core/thread_hub.pyx:wait_until_idle",
        "_core/iwait.py:wait",
        "_core/iwait.py:iwait",
    )

    def park(self) -> None:
        treadle.wait(timeout=self.lasts)


@place
class SpinOnLock(Yield):
    covers = ("_core/locks.pyx:note_failure", "_core/locks.pyx:let_others_run")
    busy = True

    def park(self) -> None:
        lock = Semaphore(0)
        for_a_while(lambda: lock.acquire(blocking=False))


@place
class ManyTakes(Yield):
    covers = ("_core/locks.pyx:note_many_takes", "_core/locks.pyx:take")
    busy = True

    def park(self) -> None:
        lock = allocate_lock()

        def take() -> None:
            for _ in range(500):
                lock.acquire()
                lock.release()

        for_a_while(take)


# -- the hub


@place
class HubWait(Place):
    covers = ("hub.py:wait", "socket.py:wait")
    shared = threads = carries = keeps = False

    def __init__(self) -> None:
        super().__init__()
        self.watcher = get_hub().loop.async_()

    def park(self) -> None:
        get_hub().wait(self.watcher)

    def hand(self, value: bytes) -> None:
        self.watcher.send()

    def counts(self) -> object:
        return self.watcher.active, self.watcher.pending

    def end(self) -> None:
        self.watcher.close()


@place
class WaiterGet(Place):
    covers = ("_core/waiter.pyx:get",)
    shared = threads = False

    def __init__(self) -> None:
        super().__init__()
        self.waiter: Waiter[bytes] = Waiter()

    def park(self) -> object:
        value = self.waiter.get()
        self.waiter.clear()
        return value

    def hand(self, value: bytes) -> None:
        self.waiter.switch(value)

    def counts(self) -> object:
        return self.waiter.greenlet, self.waiter.ready()


# -- greenlets


class Ended(Place):
    """Waiting for the end of a greenlet."""

    for_all = True
    helped = True

    def __init__(self) -> None:
        super().__init__()
        self.result: AsyncResult[bytes] = AsyncResult()
        self.greenlet = treadle.spawn(self.run)
        treadle.sleep(0)

    def run(self) -> bytes:
        while True:
            try:
                return self.result.get()
            except treadle.GreenletExit:
                pass  # when a wait kills it

    def hand(self, value: bytes) -> object:
        if self.result.ready():
            return False
        return self.result.set(value)

    def end(self) -> None:
        if not self.result.ready():
            self.result.set(b"")
        self.greenlet.join()


@place
class GreenletGet(Ended):
    covers = ("_core/greenlet.pyx:get", "_core/greenlet.pyx:wait_for_end")

    def park(self) -> object:
        return self.greenlet.get()


@place
class GreenletJoin(Ended):
    covers = ("_core/greenlet.pyx:join",)
    carries = False

    def park(self) -> None:
        self.greenlet.join()


@place
class GreenletKill(Ended):
    covers = ("_core/greenlet.pyx:kill",)
    carries = False

    def park(self) -> None:
        self.greenlet.kill()


@place
class Killall(Ended):
    covers = ("greenlet.py:killall",)
    carries = False

    def park(self) -> None:
        killall([self.greenlet])


@place
class LeaveWith(Ended):
    covers = ("greenlet.py:__exit__",)
    carries = False
    shields = True

    def park(self) -> None:
        with self.greenlet:
            pass


class OfGroup(Ended):
    """Waiting for a child of a task group, which ends when an exception ends the wait."""

    shared = False
    threads = False
    shields = True


@place
class LeaveGroup(OfGroup):
    covers = ("_core/taskgroup.pyx:wait_for_children",)

    def park(self) -> object:
        with treadle.TaskGroup() as group:
            child = group.spawn(self.result.get)
        return child.value


@place
class StartInGroup(OfGroup):
    covers = ("_core/taskgroup.pyx:start",)

    def park(self) -> object:
        with treadle.TaskGroup() as group:
            return group.start(lambda: treadle.started(self.result.get()))


@place
class PlaceInGroup(OfGroup):
    covers = ("_core/taskgroup.pyx:new_child",)

    def park(self) -> object:
        with treadle.TaskGroup(1) as group:
            child = group.spawn(self.result.get)
            group.spawn(treadle.sleep)
        return child.value


@place
class Joinall(Ended):
    covers = ("_core/collector.pyx:wait_for", "_core/iwait.py:all")
    carries = False

    def park(self) -> None:
        treadle.joinall([self.greenlet])


@place
class Iwait(Ended):
    covers = ("_core/iwait.py:__next__",)

    def park(self) -> object:
        with treadle.iwait([self.greenlet]) as ready:
            return next(ready).value


# -- events


@place
class EventWait(Place):
    covers = ("_core/event.pyx:wait", "_core/linkable.pyx:wait_in")
    for_all = True
    carries = keeps = False

    def __init__(self) -> None:
        super().__init__()
        self.event = Event()

    def park(self) -> None:
        self.event.wait()

    def hand(self, value: bytes) -> None:
        self.event.set()
        self.event.clear()

    def counts(self) -> object:
        return self.event.is_set(), self.event.linkcount()


class Result(Place):
    for_all = True

    def __init__(self) -> None:
        super().__init__()
        self.result: AsyncResult[bytes] = AsyncResult()

    def hand(self, value: bytes) -> None:
        self.result.set(value)

    def counts(self) -> object:
        return self.result.linkcount()


@place
class AsyncResultGet(Result):
    covers = ("_core/event.pyx:get", "_core/event.pyx:result")

    def park(self) -> object:
        return self.result.get()


@place
class AsyncResultWait(Result):
    covers = ("_core/event.pyx:wait",)

    def park(self) -> object:
        return self.result.wait()


# -- locks


@place
class SemaphoreAcquire(Place):
    covers = ("_core/linkable.pyx:wait_in", "_core/locks.pyx:acquire", "_core/locks.pyx:take")
    carries = False

    def __init__(self) -> None:
        super().__init__()
        self.semaphore = Semaphore(0)

    def park(self) -> None:
        self.semaphore.acquire()

    def hand(self, value: bytes) -> None:
        self.semaphore.release()

    def counts(self) -> object:
        return self.semaphore.counter, self.semaphore.linkcount()


@place
class BoundedSemaphoreEnter(SemaphoreAcquire):
    covers = ("_core/locks.pyx:__enter__",)

    def __init__(self) -> None:
        super().__init__()
        self.semaphore = BoundedSemaphore(1000)
        for _ in range(1000):
            self.semaphore.acquire()

    def park(self) -> None:
        self.semaphore.__enter__()


@place
class SemaphoreWait(SemaphoreAcquire):
    covers = ("_core/locks.pyx:wait",)
    for_all = True
    keeps = False

    def park(self) -> None:
        self.semaphore.wait()

    def hand(self, value: bytes) -> None:
        self.semaphore.release()
        self.semaphore.acquire(blocking=False)


@place
class LockAcquire(Place):
    covers = ("_core/locks.pyx:acquire", "_core/locks.pyx:take_with_thread_arguments")
    carries = False

    def __init__(self) -> None:
        super().__init__()
        self.lock = allocate_lock()
        self.lock.acquire()

    def park(self) -> None:
        self.lock.acquire(timeout=1000)

    def hand(self, value: bytes) -> object:
        if not self.lock.locked():
            return False  # a lock has one permit only
        return self.lock.release()

    def counts(self) -> object:
        return self.lock.locked()


@place
class RlockAcquire(Place):
    """A greenlet holds the lock until all who wait shall have it, one after the other."""

    covers = ("_core/locks.pyx:take",)
    for_all = True
    carries = False
    helped = True

    def __init__(self) -> None:
        super().__init__()
        self.lock = RLock()
        self.holding = Event()
        self.holder = treadle.spawn(self.hold)
        treadle.sleep(0)

    def hold(self) -> None:
        with self.lock:
            self.holding.wait()

    def park(self) -> None:
        with self.lock:
            pass

    def hand(self, value: bytes) -> None:
        self.holding.set()

    def end(self) -> None:
        self.holding.set()
        self.holder.join()
        assert not self.lock.locked()


@place
class ConditionWait(Place):
    covers = ("_core/locks.pyx:wait", "_core/locks.pyx:wait_for")
    carries = keeps = False

    def __init__(self) -> None:
        super().__init__()
        self.condition = Condition()

    def park(self) -> None:
        with self.condition:
            self.condition.wait_for(iter((False, True)).__next__)

    def hand(self, value: bytes) -> object:
        with self.condition:
            if not len(self.waiters()):
                return False
            self.condition.notify()
        return True

    def waiters(self) -> str:
        return repr(self.condition).rsplit(", ", 1)[1].strip("0)>")

    def counts(self) -> object:
        return self.waiters(), self.condition._lock.locked()


class Reacquire(Place):
    """The wait for the condition is over; another greenlet has the lock."""

    reason = "acquiring"

    shared = threads = False
    carries = keeps = False
    shields = True
    helped = True

    def __init__(self) -> None:
        super().__init__()
        self.condition = self.make_condition()
        self.holding = Semaphore(0)

    def make_condition(self) -> Condition:
        return Condition()

    def hold(self) -> None:
        with self.condition:
            self.holding.acquire()

    def park(self) -> None:
        with self.condition:
            holder = treadle.spawn(self.hold)
            try:
                treadle.sleep(0)
            except BaseException:  # too early: it does not come to the wait
                holder.kill(block=False)
                raise
            try:
                self.condition.wait(0)
            finally:
                assert self.condition._is_owned()

    def hand(self, value: bytes) -> None:
        self.holding.release()

    def counts(self) -> object:
        return self.condition._is_owned(), self.holding.counter


@place
class ConditionReacquire(Reacquire):
    covers = ("_core/locks.pyx:retake", "_core/locks.pyx:reacquire")


@place
class ConditionReacquireLock(Reacquire):
    covers = ("_core/locks.pyx:retake",)

    def make_condition(self) -> Condition:
        return Condition(Semaphore(1))


class OwnLock(allocate_lock):
    """A lock that is no lock of the core, for a condition."""

    def acquire(self, *args: object, **kwargs: object) -> bool:
        return super().acquire(*args, **kwargs)


@place
class ConditionReacquireOther(Reacquire):
    covers = ("_core/locks.pyx:_acquire_restore",)

    def make_condition(self) -> Condition:
        return Condition(OwnLock())


# -- queues


class Items(Place):
    def __init__(self) -> None:
        super().__init__()
        self.queue = self.make_queue()

    def make_queue(self) -> Queue[bytes]:
        return Queue()

    def hand(self, value: bytes) -> object:
        return self.queue.put(value)

    def counts(self) -> object:
        return self.queue.qsize(), len(self.queue.getters), len(self.queue.putters)


@place
class QueueGet(Items):
    covers = ("_core/queues.pyx:await_item", "_core/queues.pyx:get", "_core/queues.pyx:__next__")

    def park(self) -> object:
        return self.queue.get()


@place
class SimpleQueueGet(QueueGet):
    covers = ("_core/queues.pyx:get",)

    def make_queue(self) -> SimpleQueue[bytes]:
        return SimpleQueue()


@place
class QueueGetWithMutex(QueueGet):
    covers = (
        "_core/queues.pyx:await_change",
        "_core/queues.pyx:get_or_peek",
        "_core/queues.pyx:try_get",
    )

    def make_queue(self) -> Queue[bytes]:
        return PriorityQueue()


@place
class QueuePeek(Items):
    covers = ("_core/queues.pyx:peek",)
    for_all = True

    def park(self) -> object:
        return self.queue.peek()

    def counts(self) -> object:
        return len(self.queue.getters), len(self.queue.putters)


class Places(Items):
    """A queue that is full."""

    carries = False

    def make_queue(self) -> Queue[bytes]:
        return Queue(100, [b"item"] * 100)

    def park(self) -> None:
        self.queue.put(b"item")

    def hand(self, value: bytes) -> None:
        self.queue.get_nowait()


@place
class QueuePut(Places):
    covers = ("_core/queues.pyx:await_place", "_core/queues.pyx:put")


@place
class QueuePutWithMutex(Places):
    covers = ("_core/queues.pyx:try_put", "_core/queues.pyx:await_change")

    def make_queue(self) -> Queue[bytes]:
        return PriorityQueue(100, [b"item"] * 100)


@place
class QueueJoin(Items):
    covers = ("_core/queues.pyx:join",)
    for_all = True
    carries = False

    def make_queue(self) -> Queue[bytes]:
        queue: Queue[bytes] = Queue()
        queue.put(b"first")
        return queue

    def park(self) -> None:
        self.queue.join()

    def hand(self, value: bytes) -> object:
        return None if self.queue.unfinished_tasks == 0 else self.queue.task_done()


@place
class ChannelGet(Items):
    covers = ("_core/queues.pyx:await_item",)
    keeps = False

    def make_queue(self) -> Channel[bytes]:
        return Channel()

    def park(self) -> object:
        return self.queue.get()

    def hand(self, value: bytes) -> object:
        try:
            self.queue.put_nowait(value)
        except Full:
            return False
        return True


@place
class ChannelPut(ChannelGet):
    covers = ("_core/queues.pyx:put",)
    carries = False

    def park(self) -> None:
        self.queue.put(b"item")

    def hand(self, value: bytes) -> object:
        try:
            self.queue.get_nowait()
        except Empty:
            return False
        return True


# -- pools


class FullPool(Place):
    """A pool of one place, which a greenlet has until somebody shall get it."""

    carries = False
    threads = False
    helped = True

    def __init__(self) -> None:
        super().__init__()
        self.leaving = Semaphore(0)
        self.pool = Pool(1)
        self.pool.spawn(self.leaving.acquire)
        treadle.sleep(0)

    def hand(self, value: bytes) -> None:
        self.leaving.release()

    def counts(self) -> object:
        return len(self.pool), self.pool.free_count()

    def end(self) -> None:
        self.pool.kill()


@place
class PoolSpawn(FullPool):
    covers = ("_core/groups.pyx:enter",)

    def park(self) -> None:
        self.pool.spawn(self.leaving.acquire)


@place
class PoolWaitAvailable(FullPool):
    covers = ("pool.py:wait_available",)
    for_all = True

    def park(self) -> None:
        self.pool.wait_available()

    def counts(self) -> object:
        return None


@place
class GroupJoin(Ended):
    covers = ("pool.py:join",)
    carries = False

    def __init__(self) -> None:
        super().__init__()
        self.group = Group([self.greenlet])

    def park(self) -> None:
        self.group.join()


@place
class GroupKill(GroupJoin):
    covers = ("pool.py:kill",)

    def park(self) -> None:
        self.group.kill()


@place
class GroupKillone(GroupJoin):
    covers = ("pool.py:killone",)
    shared = False

    def park(self) -> None:
        if not self.greenlet.dead:
            self.group.dying.discard(self.greenlet)
        self.group.killone(self.greenlet)


class Mapping(Place):
    threads = False
    helped = True

    def __init__(self) -> None:
        super().__init__()
        self.values: Queue[bytes] = Queue()
        self.results = self.map(Pool(1), lambda _: self.values.get(), range(1000))

    map: Callable[..., object]

    def park(self) -> object:
        return next(self.results)

    def hand(self, value: bytes) -> None:
        self.values.put(value)

    def end(self) -> None:
        self.results.kill()
        for _ in range(3):
            self.values.put(b"end")
            treadle.sleep(0)


@place
class Imap(Mapping):
    covers = ("pool.py:_next_ended", "pool.py:_run")
    shared = False

    @staticmethod
    def map(pool: Pool, *args: object) -> object:
        return pool.imap(*args)


@place
class ImapUnordered(Mapping):
    covers = ("pool.py:_next_ended", "pool.py:_run")

    @staticmethod
    def map(pool: Pool, *args: object) -> object:
        return pool.imap_unordered(*args, maxsize=1)


@place
class GreenletExecutorShutdown(Place):
    covers = ("futures.py:shutdown",)
    for_all = True
    carries = False
    helped = True

    def __init__(self) -> None:
        super().__init__()
        self.event = Event()
        self.executor = GreenletPoolExecutor()
        self.executor.submit(self.event.wait)
        treadle.sleep(0)

    def park(self) -> None:
        self.executor.shutdown()

    def hand(self, value: bytes) -> None:
        self.event.set()

    def end(self) -> None:
        self.event.set()
        self.executor.shutdown()
