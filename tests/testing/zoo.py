"""Programs with planted concurrency bugs, each with a mended version.

Each bug passes first in, first out, and fails in some other order. The programs are small, so that
all schedules of a mended version can be run.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from types import SimpleNamespace
from typing import Any, Literal, NamedTuple

from treadle import Greenlet, GreenletExit, joinall, sleep, spawn
from treadle.event import AsyncResult, Event
from treadle.lock import Condition, DummySemaphore, Semaphore
from treadle.queue import Empty, Queue

Program = Callable[[bool], None]


class Bug(NamedTuple):
    """A planted bug. Both functions build their own state and start the same way each time."""

    name: str
    #: Fails in some order.
    broken: Callable[[], None]
    #: Fails in none.
    mended: Callable[[], None]
    #: How many pairs of events must come in one order for it to fail.
    depth: int
    #: The fewest departures from first in, first out that make it fail.
    departures: int
    #: Whether a switch at a park will do, or one before an operation is needed.
    preempt: Literal["parks", "ops"]


ZOO: list[Bug] = []


def planted(
    depth: int, departures: int, preempt: Literal["parks", "ops"] = "parks"
) -> Callable[[Program], Program]:
    """Put a program into the zoo. Its argument says whether it is to be the mended version."""

    def add(program: Program) -> Program:
        broken, mended = partial(program, False), partial(program, True)
        ZOO.append(Bug(program.__name__, broken, mended, depth, departures, preempt))
        return program

    return add


def pause(times: int = 1) -> None:
    """Stand for a wait for the outside: whatever is ready may run before it returns."""
    for _ in range(times):
        sleep(0)


def together(*greenlets: Greenlet) -> None:
    """Wait for all of them; raise what one of them raised."""
    joinall(greenlets, raise_error=True)


def lock_if(real: bool) -> Any:
    return Semaphore() if real else DummySemaphore()


# -- read, wait, write


@planted(depth=2, departures=1)
def lost_update(mended: bool) -> None:
    """Two greenlets read a balance, wait, and write it: one deposit is lost."""
    state, lock = SimpleNamespace(balance=0), lock_if(mended)

    def deposit(delay: int) -> None:
        pause(delay)
        with lock:
            balance = state.balance
            pause()
            state.balance = balance + 1

    together(spawn(deposit, 0), spawn(deposit, 1))
    assert state.balance == 2


@planted(depth=2, departures=1)
def lost_update_in_one_line(mended: bool) -> None:
    """``total += fetch()`` reads the total before it waits for the other value."""
    state = SimpleNamespace(total=0)

    def fetch() -> int:
        pause()
        return 1

    def add(delay: int) -> None:
        pause(delay)
        if mended:
            value = fetch()
            state.total += value
        else:
            state.total += fetch()

    together(spawn(add, 0), spawn(add, 1), spawn(add, 2))
    assert state.total == 3


@planted(depth=2, departures=1)
def lost_update_between_locks(mended: bool) -> None:
    """A lock guards the read and the write, but not what is between them."""
    state, lock = SimpleNamespace(count=0), Semaphore()
    whole, half = (lock, DummySemaphore()) if mended else (DummySemaphore(), lock)

    def add(delay: int) -> None:
        pause(delay)
        with whole:
            with half:
                count = state.count
            pause()
            with half:
                state.count = count + 1

    together(spawn(add, 0), spawn(add, 1))
    assert state.count == 2


@planted(depth=2, departures=1)
def two_lost_updates(mended: bool) -> None:
    """It bears one lost update, but not two."""
    state, lock = SimpleNamespace(count=0), lock_if(mended)

    def add(delay: int) -> None:
        pause(delay)
        for _ in range(2):
            with lock:
                count = state.count
                pause()
                state.count = count + 1
            pause()

    together(spawn(add, 0), spawn(add, 1))
    assert state.count >= 3


@planted(depth=2, departures=1)
def lost_maximum(mended: bool) -> None:
    """A smaller value replaces the largest, which came after the comparison."""
    state, lock = SimpleNamespace(best=0), lock_if(mended)

    def offer(value: int) -> None:
        with lock:
            if value > state.best:
                pause()
                state.best = value

    together(*[spawn(offer, value) for value in (1, 2, 3)])
    assert state.best == 3


@planted(depth=2, departures=1)
def torn_write(mended: bool) -> None:
    """A reader comes between the writes of two related fields."""
    state, lock = SimpleNamespace(low=0, high=0), lock_if(mended)

    def read() -> None:
        with lock:
            assert state.low == state.high

    def write() -> None:
        with lock:
            state.low = 1
            pause()
            state.high = 1

    together(spawn(read), spawn(write))


@planted(depth=2, departures=1)
def torn_read(mended: bool) -> None:
    """A writer changes both fields between the reads of a reader."""
    state, lock = SimpleNamespace(low=0, high=0), lock_if(mended)

    def read() -> None:
        with lock:
            low = state.low
            pause()
            assert state.high == low

    def write() -> None:
        pause()
        with lock:
            state.low = state.high = 1

    together(spawn(read), spawn(write))


@planted(depth=2, departures=1)
def dirty_read(mended: bool) -> None:
    """A reader sees a value that is rolled back later."""
    state, lock, seen = SimpleNamespace(value="old"), lock_if(mended), []

    def write() -> None:
        with lock:
            state.value = "new"
            pause()
            state.value = "old"

    def read() -> None:
        pause()
        with lock:
            seen.append(state.value)

    together(spawn(write), spawn(read), spawn(read))
    assert seen == ["old", "old"]


@planted(depth=2, departures=1)
def wrapped_version(mended: bool) -> None:
    """Two updates bring a version of one bit back to where a reader saw it."""
    state = SimpleNamespace(version=0, low=0, high=0)

    def read() -> None:
        version, low = state.version, state.low
        pause()
        high = state.high
        assert state.version != version or low == high

    def write() -> None:
        for value in (1, 2):
            state.low = state.high = value
            state.version = value if mended else value % 2
            pause()

    together(spawn(read), spawn(write))


@planted(depth=3, departures=3)
def aba(mended: bool) -> None:
    """The top of a stack is the same again, but what is below it has been taken."""
    below = {"a": "b", "b": "c", "c": "d", "d": None}
    state = SimpleNamespace(top="a", version=0)

    def replace(top: str | None) -> None:
        state.top = top
        state.version += 1

    def pop_slowly() -> None:
        top, version = state.top, state.version
        after = below[top]
        pause()
        if state.top == top and (not mended or state.version == version):
            replace(after)

    def pop_two_push_one() -> None:
        pause()
        first = state.top
        replace(below[first])
        pause()
        second = state.top
        replace(below[second])
        pause()
        below[first] = state.top
        replace(first)
        assert state.top != second
        pause()
        assert state.top != second

    together(spawn(pop_slowly), spawn(pop_two_push_one))


@planted(depth=2, departures=1)
def shared_buffer(mended: bool) -> None:
    """A buffer is filled again while the message in it is being sent."""
    shared: list[str] = []
    sent: list[str] = []

    def send(message: str, delay: int) -> None:
        pause(delay)
        buffer = [] if mended else shared
        buffer[:] = [message]
        pause()
        sent.extend(buffer)

    together(spawn(send, "one", 0), spawn(send, "two", 1))
    assert sorted(sent) == ["one", "two"]


@planted(depth=4, departures=1)
def retries_exhausted(mended: bool) -> None:
    """An optimistic update gives up after two conflicts, one with each update of another."""
    state = SimpleNamespace(version=0)

    def update() -> None:
        for _ in range(3 if mended else 2):
            version = state.version
            pause()
            if state.version == version:
                return
        raise AssertionError("two conflicts")

    def disturb() -> None:
        for _ in range(2):
            state.version += 1
            pause(2)

    together(spawn(update), spawn(disturb))


@planted(depth=3, departures=2)
def write_after_lost_lease(mended: bool) -> None:
    """An old leader writes after the new one has, and before anyone has read that."""
    state, seen = SimpleNamespace(leader="old", value=None), []

    def old() -> None:
        leads = state.leader == "old"
        pause()
        if leads and (not mended or state.leader == "old"):
            state.value = "old"

    def new() -> None:
        pause()
        state.leader = "new"
        pause()
        state.value = "new"
        pause()
        seen.append(state.value)

    together(spawn(old), spawn(new))
    assert seen == ["new"]


# -- check, wait, act


@planted(depth=2, departures=1)
def pool_overshoot(mended: bool) -> None:
    """A pool of connections counts a new one only when it is connected."""
    state, free = SimpleNamespace(size=0, made=0), Queue()

    def get() -> object:
        if state.size >= 1 or not free.empty():
            return free.get()
        if mended:
            state.size += 1
        pause()
        state.made += 1
        if not mended:
            state.size += 1
        return object()

    def use(delay: int) -> None:
        pause(delay)
        free.put(get())

    together(spawn(use, 0), spawn(use, 1), spawn(use, 2))
    assert state.made == 1


@planted(depth=2, departures=1)
def cache_stampede(mended: bool) -> None:
    """Two greenlets miss a key of a cache, and both load it."""
    cache: dict[str, int] = {}
    state, lock = SimpleNamespace(loads=0), lock_if(mended)

    def look_up(delay: int) -> None:
        pause(delay)
        with lock:
            if "key" not in cache:
                state.loads += 1
                pause()
                cache["key"] = 1

    together(spawn(look_up, 0), spawn(look_up, 1), spawn(look_up, 1))
    assert state.loads == 1


@planted(depth=2, departures=2)
def stale_fill(mended: bool) -> None:
    """A cache is filled with what was read before an update dropped the key."""
    state = SimpleNamespace(stored="old", cached=None, version=0)

    def read() -> None:
        version, value = state.version, state.stored
        pause()
        if not mended or state.version == version:
            state.cached = value

    def write() -> None:
        pause()
        state.stored = "new"
        pause()
        state.cached = None
        state.version += 1

    together(spawn(read), spawn(write))
    assert state.cached in (None, state.stored)


@planted(depth=2, departures=1)
def file_exists(mended: bool) -> None:
    """Two greenlets find that a file is not there, and both create it."""
    files: dict[str, str] = {}
    creators: list[str] = []

    def create(who: str, delay: int) -> None:
        pause(delay)
        if mended:
            if files.setdefault("lock", who) == who:
                creators.append(who)
        elif "lock" not in files:
            pause()
            files["lock"] = who
            creators.append(who)

    together(spawn(create, "a", 0), spawn(create, "b", 1), spawn(create, "c", 2))
    assert len(creators) == 1


@planted(depth=2, departures=1, preempt="ops")
def get_if_not_empty(mended: bool) -> None:
    """Another greenlet takes the item after ``empty()`` said that there is one."""
    queue: Queue[int] = Queue(items=[1])

    def take() -> None:
        if mended:
            with suppress(Empty):
                queue.get_nowait()
        elif not queue.empty():
            queue.get_nowait()

    together(*[spawn(take) for _ in range(3)])


@planted(depth=2, departures=1)
def overshoot(mended: bool) -> None:
    """Producers check the room in a buffer, wait, and add one item too many."""
    buffer: list[int] = []
    places = Semaphore(2)

    def produce(number: int) -> None:
        pause(number)
        if mended:
            if places.acquire(blocking=False):
                pause()
                buffer.append(number)
        elif len(buffer) < 2:
            pause()
            buffer.append(number)

    together(*[spawn(produce, number) for number in range(3)])
    assert len(buffer) == 2


@planted(depth=3, departures=3)
def oversold(mended: bool) -> None:
    """Two may sell at once by intent; three sell more than a reserve of one covers."""
    state, lock = SimpleNamespace(stock=1), lock_if(mended)

    def buy(delay: int) -> None:
        pause(delay)
        with lock:
            if state.stock > 0:
                pause()
                state.stock -= 1

    together(*[spawn(buy, delay) for delay in range(3)])
    assert state.stock >= -1


@planted(depth=3, departures=1)
def flags_checked_before_set(mended: bool) -> None:
    """Each greenlet looks at the other's flag before it raises its own."""
    wants = [False, False]
    state = SimpleNamespace(inside=0)

    def enter(me: int, delay: int) -> None:
        pause(delay)
        if mended:
            wants[me] = True
            pause()
            allowed = not wants[1 - me]
        else:
            allowed = not wants[1 - me]
            pause()
            wants[me] = True
        if allowed:
            state.inside += 1
            assert state.inside == 1
            pause()
            state.inside -= 1
        wants[me] = False

    together(spawn(enter, 0, 0), spawn(enter, 1, 1))


@planted(depth=2, departures=1)
def double_checked(mended: bool) -> None:
    """The lock of a lazy value is taken, but the value is not looked at again."""
    state, lock = SimpleNamespace(value=None, made=0), Semaphore()

    def get(delay: int) -> None:
        pause(delay)
        if state.value is None:
            with lock:
                if not mended or state.value is None:
                    pause()
                    state.made += 1
                    state.value = 1

    together(spawn(get, 0), spawn(get, 1), spawn(get, 2))
    assert state.made == 1


@planted(depth=2, departures=1)
def flag_before_value(mended: bool) -> None:
    """The flag says that a value is there before it is."""
    state = SimpleNamespace(ready=False, value=None)

    def publish() -> None:
        if mended:
            pause()
            state.value, state.ready = 1, True
        else:
            state.ready = True
            pause()
            state.value = 1

    def read() -> None:
        pause()
        if state.ready:
            assert state.value == 1

    together(spawn(publish), spawn(read), spawn(read))


@planted(depth=2, departures=1)
def half_initialised(mended: bool) -> None:
    """An object is registered before its initialisation ends."""
    registry: dict[str, SimpleNamespace] = {}

    def connect() -> None:
        connection = SimpleNamespace()
        if not mended:
            registry["it"] = connection
        pause()
        connection.buffer = []
        registry["it"] = connection

    def use() -> None:
        pause()
        connection = registry.get("it")
        if connection is not None:
            connection.buffer.append(1)  # AttributeError

    together(spawn(connect), spawn(use))


@planted(depth=2, departures=1)
def double_close(mended: bool) -> None:
    """Two greenlets find a file open, flush it, and close it."""
    state = SimpleNamespace(closed=False, closes=0)

    def close(delay: int) -> None:
        pause(delay)
        if not state.closed:
            state.closed = mended
            pause()
            state.closed = True
            state.closes += 1

    together(spawn(close, 0), spawn(close, 1), spawn(close, 2))
    assert state.closes == 1


@planted(depth=2, departures=1)
def stale_index(mended: bool) -> None:
    """An index is computed, and another greenlet shortens the list before it is used."""
    items = [1, 2, 3]

    def pop_last(delay: int) -> None:
        pause(delay)
        last = len(items) - 1
        pause()
        items.pop(-1 if mended else last)  # IndexError

    together(spawn(pop_last, 0), spawn(pop_last, 1))
    assert items == [1]


@planted(depth=2, departures=1)
def list_changed(mended: bool) -> None:
    """An item is removed from a list that another greenlet goes through: one is skipped."""
    items, seen = ["a", "b"], []

    def visit() -> None:
        for item in list(items) if mended else items:
            seen.append(item)
            pause()

    def remove() -> None:
        pause()
        items.remove("a")

    together(spawn(visit), spawn(remove))
    assert seen == ["a", "b"] or seen == ["b"]


@planted(depth=2, departures=1)
def dict_changed(mended: bool) -> None:
    """A key is added to a dict that another greenlet goes through: RuntimeError."""
    members = {"a": 1, "b": 2}

    def broadcast() -> None:
        for _ in list(members) if mended else members:
            pause()

    def enter() -> None:
        pause(2)
        members["c"] = 3

    together(spawn(broadcast), spawn(enter))


@planted(depth=2, departures=1)
def late_spawn(mended: bool) -> None:
    """A shutdown joins the workers that there are, and one more is started then."""
    state = SimpleNamespace(stopping=False, closed=False)
    workers: list[Greenlet] = []

    def work() -> None:
        assert not state.closed

    def accept() -> None:
        allowed = not state.stopping
        pause()
        if allowed and not (mended and state.stopping):
            workers.append(spawn(work))

    def stop() -> None:
        pause()
        state.stopping = True
        joinall(workers)
        state.closed = True

    together(spawn(accept), spawn(stop))
    together(*workers)


# -- locks


@planted(depth=2, departures=1, preempt="ops")
def lock_order_of_two(mended: bool) -> None:
    """Two greenlets take two locks in opposite orders."""
    one, two = Semaphore(), Semaphore()

    def take(first: Semaphore, second: Semaphore) -> None:
        with first, second:
            pass

    together(spawn(take, one, two), spawn(take, *((one, two) if mended else (two, one))))


@planted(depth=2, departures=2, preempt="ops")
def lock_order_of_three(mended: bool) -> None:
    """Three greenlets take two of three locks each, and the orders make a circle."""
    a, b, c = Semaphore(), Semaphore(), Semaphore()

    def take(first: Semaphore, second: Semaphore) -> None:
        with first, second:
            pass

    two = [spawn(take, a, b), spawn(take, b, c)]
    if mended:
        together(*two)
    together(*two, spawn(take, c, a))


@planted(depth=2, departures=1)
def lock_order_of_accounts(mended: bool) -> None:
    """Two transfers lock their accounts in opposite orders, and wait in between."""
    locks = [Semaphore(), Semaphore()]

    def transfer(source: int, target: int, delay: int) -> None:
        pause(delay)
        first, second = sorted((source, target)) if mended else (source, target)
        with locks[first]:
            pause()
            with locks[second]:
                pass

    together(spawn(transfer, 0, 1, 0), spawn(transfer, 1, 0, 1))


@planted(depth=2, departures=1, preempt="ops")
def two_permits_one_by_one(mended: bool) -> None:
    """Each greenlet takes one of two permits and waits for the other."""
    permits = Semaphore(1 if mended else 2)

    def take_all() -> None:
        count = 1 if mended else 2
        for _ in range(count):
            permits.acquire()
        for _ in range(count):
            permits.release()

    together(spawn(take_all), spawn(take_all))


@planted(depth=2, departures=2)
def upgrade(mended: bool) -> None:
    """Two readers become writers, and each waits until the other has left."""
    state, change = SimpleNamespace(readers=0), Condition()

    def read_then_write(delay: int) -> None:
        pause(delay)
        with change:
            state.readers += 1
        pause()
        with change:
            if mended:  # leave first
                state.readers -= 1
                change.notify_all()
                change.wait_for(lambda: state.readers == 0)
            else:
                change.wait_for(lambda: state.readers == 1)
                state.readers -= 1
                change.notify_all()

    together(spawn(read_then_write, 0), spawn(read_then_write, 2))


@planted(depth=1, departures=1)
def put_under_lock(mended: bool) -> None:
    """A producer puts into a full queue with the lock that the consumer needs."""
    queue: Queue[int] = Queue(maxsize=1)
    lock = Semaphore()

    def produce() -> None:
        for item in range(2):
            with DummySemaphore() if mended else lock:
                queue.put(item)
            pause()

    def consume() -> None:
        for _ in range(2):
            with lock:
                pass
            queue.get()

    together(spawn(produce), spawn(consume))


@planted(depth=2, departures=2)
def release_without_acquire(mended: bool) -> None:
    """Who did not get the lock releases it all the same, and a third one comes in."""
    state, lock = SimpleNamespace(inside=0), Semaphore()

    def work(delay: int) -> None:
        pause(delay)
        got = lock.acquire(blocking=False)
        try:
            if got:
                state.inside += 1
                assert state.inside == 1
                pause()
                state.inside -= 1
        finally:
            if got or not mended:
                lock.release()

    together(spawn(work, 0), spawn(work, 1), spawn(work, 1))


@planted(depth=2, departures=2)
def starved_writer(mended: bool) -> None:
    """A writer tries three times to find no reader, and gives up."""
    state, free = SimpleNamespace(readers=0, written=False), Condition()

    def read() -> None:
        with free:
            state.readers += 1
        pause()
        with free:
            state.readers -= 1
            free.notify_all()

    def write() -> None:
        if mended:
            with free:
                free.wait_for(lambda: state.readers == 0)
            state.written = True
            return
        for _ in range(3):
            if state.readers == 0:
                state.written = True
                return
            pause()

    together(spawn(read), spawn(read), spawn(write))
    assert state.written


# -- events, conditions, queues


@planted(depth=2, departures=1)
def cleared_after_check(mended: bool) -> None:
    """An event that is set between the check and ``clear()`` is lost."""
    items, taken, event = [], [], Event()

    def consume() -> None:
        while len(taken) < 2:
            event.wait()
            if mended:
                event.clear()
            taken.extend(items)
            items.clear()
            pause()
            if not mended:
                event.clear()

    def produce() -> None:
        items.append(1)
        event.set()
        pause(2)
        items.append(2)
        event.set()

    together(spawn(consume), spawn(produce))


@planted(depth=2, departures=1)
def waiter_not_counted_yet(mended: bool) -> None:
    """A producer wakes nobody, because the consumer has not said yet that it waits."""
    items: list[int] = []
    event = Event()
    state = SimpleNamespace(waiters=0)

    def consume() -> None:
        if mended:
            state.waiters += 1
        if not items:
            pause()
            if not mended:
                state.waiters += 1
            event.wait()
        assert items

    def produce() -> None:
        pause()
        items.append(1)
        if state.waiters:
            event.set()

    together(spawn(consume), spawn(produce))


@planted(depth=2, departures=1)
def notified_before_wait(mended: bool) -> None:
    """A condition is notified between the check of its state and the wait."""
    state, condition = SimpleNamespace(ready=False), Condition()

    def wait() -> None:
        if mended:
            with condition:
                condition.wait_for(lambda: state.ready)
        elif not state.ready:
            pause()
            with condition:
                condition.wait()

    def notify() -> None:
        pause()
        with condition:
            state.ready = True
            condition.notify()

    together(spawn(wait), spawn(notify))


@planted(depth=1, departures=1)
def notify_instead_of_notify_all(mended: bool) -> None:
    """The one that is notified waits for something else."""
    items: list[str] = []
    condition = Condition()

    def take(kind: str) -> None:
        with condition:
            condition.wait_for(lambda: kind in items)
            items.remove(kind)

    def give() -> None:
        for kind in ("even", "odd"):
            with condition:
                items.append(kind)
                condition.notify(2 if mended else 1)
            pause()

    together(spawn(take, "even"), spawn(take, "odd"), spawn(give))


@planted(depth=1, departures=1)
def barrier_reused(mended: bool) -> None:
    """A quick greenlet comes back to a barrier before the slow one has left it."""
    events = [Event(), Event()]
    arrived = [0, 0]
    rounds = [0, 0]

    def wait(number: int) -> None:
        which = number if mended else 0
        arrived[which] += 1
        if arrived[which] == 2:
            events[which].set()
        events[which].wait()
        pause()
        arrived[which] -= 1
        if arrived[which] == 0:
            events[which].clear()

    def work(me: int) -> None:
        for number in range(2):
            rounds[me] = number
            wait(number)
            assert rounds[1 - me] >= number

    together(spawn(work, 0), spawn(work, 1))


@planted(depth=1, departures=1)
def sentinel_swallowed(mended: bool) -> None:
    """The first consumer to stop drops what is left, which is the other's sentinel."""
    queue: Queue[int | None] = Queue(items=[1, None, None])

    def consume() -> None:
        while queue.get() is not None:
            pass
        pause()
        while not mended and not queue.empty():
            queue.get()

    together(spawn(consume), spawn(consume))


@planted(depth=1, departures=1)
def task_done_early(mended: bool) -> None:
    """``task_done()`` comes before the work, so ``join()`` returns before it."""
    queue: Queue[int] = Queue(items=[1, 2])
    results: list[int] = []

    def work() -> None:
        item = queue.get()
        if not mended:
            queue.task_done()
        pause()
        results.append(item)
        if mended:
            queue.task_done()

    def wait() -> None:
        queue.join()
        pause()
        assert sorted(results) == [1, 2]

    together(spawn(work), spawn(work), spawn(wait))


@planted(depth=1, departures=1)
def task_done_skipped(mended: bool) -> None:
    """A task that was cancelled meanwhile is left without ``task_done()``."""
    queue: Queue[int] = Queue(items=[1])
    cancelled: set[int] = set()

    def work() -> None:
        item = queue.get()
        pause()
        if mended or item not in cancelled:
            queue.task_done()

    def cancel() -> None:
        pause()
        cancelled.add(1)

    together(spawn(work), spawn(cancel), spawn(queue.join))


@planted(depth=1, departures=1)
def reply_before_registration(mended: bool) -> None:
    """A request is sent before its reply has a place to go."""
    waiting: dict[int, AsyncResult] = {}
    requests: Queue[int] = Queue()

    def ask() -> None:
        result = AsyncResult()
        if mended:
            waiting[1] = result
        requests.put(1)
        pause()
        waiting[1] = result
        assert result.get() == "reply"

    def answer() -> None:
        number = requests.get()
        pause()
        if number in waiting:
            waiting.pop(number).set("reply")

    together(spawn(ask), spawn(answer))


@planted(depth=2, departures=1)
def snapshot_then_subscribe(mended: bool) -> None:
    """What is published between the snapshot and the subscription is never seen."""
    published: list[int] = []
    subscribers: list[list[int]] = []
    seen: list[int] = []

    def subscribe() -> None:
        if mended:
            subscribers.append(seen)
        seen.extend(published)
        pause()
        if not mended:
            subscribers.append(seen)

    def publish() -> None:
        pause()
        published.append(1)
        for subscriber in subscribers:
            subscriber.append(1)

    together(spawn(subscribe), spawn(publish))
    assert seen == [1]


@planted(depth=2, departures=2)
def sleepy_worker(mended: bool) -> None:
    """A worker finds no work, waits, and ends; work that came meanwhile is left."""
    items: list[int] = []
    done: list[int] = []
    state = SimpleNamespace(running=False)

    def work() -> None:
        while items:
            done.append(items.pop())
            pause()
        if not mended:
            pause()
        state.running = False

    def submit(delay: int) -> None:
        pause(delay)
        items.append(1)
        if not state.running:
            state.running = True
            work()

    together(spawn(submit, 0), spawn(submit, 3))
    assert len(done) == 2


@planted(depth=3, departures=2)
def result_set_twice(mended: bool) -> None:
    """Two greenlets find a result open, and each sets it: its value changes later."""
    result: AsyncResult[str] = AsyncResult()

    def answer(value: str, delay: int) -> None:
        pause(delay)
        if not result.ready():
            if not mended:
                pause()
            result.set(value)

    def ask() -> None:
        first = result.get()
        pause()
        assert result.get() == first

    together(spawn(answer, "one", 0), spawn(answer, "two", 1), spawn(ask))


# -- cancellation, exceptions, the end


@planted(depth=2, departures=1)
def permit_lost_to_kill(mended: bool) -> None:
    """A kill comes between ``acquire()`` and the block that releases."""
    permits = Semaphore()

    def work() -> None:
        permits.acquire()
        try:
            pause()
        finally:
            if mended:
                permits.release()
        if not mended:
            permits.release()

    def stop() -> None:
        pause()
        worker.kill()

    worker = spawn(work)
    together(worker, spawn(stop))
    assert permits.counter == 1


@planted(depth=1, departures=1)
def permit_of_a_greenlet_that_never_starts(mended: bool) -> None:
    """A greenlet that is killed before it starts releases nothing."""
    permits = Semaphore()
    permits.acquire()

    def work() -> None:
        try:
            pause()
        finally:
            if not mended:
                permits.release()

    worker = spawn(work)
    if mended:
        worker.rawlink(lambda _: permits.release())
    together(spawn(pause), worker, spawn(worker.kill))
    assert permits.acquire(timeout=1)


@planted(depth=2, departures=1)
def permit_lost_to_exception(mended: bool) -> None:
    """A lookup fails while the settings are reloaded, and the permit is not released."""
    permits, settings = Semaphore(), {"size": 1}

    def use() -> None:
        permits.acquire()
        try:
            pause()
            assert settings["size"] == 1
        except KeyError:
            if not mended:
                return
        permits.release()

    def reload() -> None:
        pause()
        settings.clear()
        pause()
        settings["size"] = 1

    together(spawn(use), spawn(reload))
    permits.acquire()


@planted(depth=2, departures=1)
def pair_half_written(mended: bool) -> None:
    """A kill comes between the writes of two related fields."""
    state = SimpleNamespace(name="", size=0)

    def write() -> None:
        if not mended:
            state.name = "x"
        pause()
        state.name, state.size = "x", 1

    def stop() -> None:
        pause()
        writer.kill()

    writer = spawn(write)
    together(writer, spawn(stop))
    assert len(state.name) == state.size


@planted(depth=2, departures=1)
def returned_twice(mended: bool) -> None:
    """A kill after a connection was given back gives it back again."""
    pool: Queue[int] = Queue(items=[1])

    def use() -> None:
        connection = pool.get()
        held = True
        try:
            pause()
            pool.put(connection)
            held = not mended
            pause()
        except GreenletExit:
            if held:
                pool.put(connection)
            raise

    def stop() -> None:
        pause(2)
        user.kill()

    user = spawn(use)
    together(user, spawn(stop))
    assert pool.qsize() == 1


@planted(depth=1, departures=1)
def closed_before_the_last_write(mended: bool) -> None:
    """A shutdown closes the log before it waits for who writes there."""
    state = SimpleNamespace(open=True)

    def work() -> None:
        pause()
        assert state.open

    def stop() -> None:
        pause()
        if mended:
            joinall(workers)
        state.open = False

    workers = [spawn(work), spawn(work)]
    together(*workers, spawn(stop))


@planted(depth=1, departures=1)
def exception_that_nobody_takes(mended: bool) -> None:
    """The exception of a worker is looked at only if the worker still runs."""

    def work() -> None:
        pause(2)
        raise LookupError("not found")

    def watch() -> None:
        pause()
        if mended or not worker.ready():
            with suppress(LookupError):
                worker.get()

    worker = spawn(work)
    joinall([worker, spawn(watch)])


@planted(depth=1, departures=1)
def reply_at_the_deadline(mended: bool) -> None:
    """A reply comes when the wait for it has just ended: it is neither used nor refused."""
    state = SimpleNamespace(refused=False, used=False)
    reply = Event()

    def ask() -> None:
        if reply.wait(1) or (mended and reply.is_set()):
            state.used = True
        else:
            state.refused = True

    def answer() -> None:
        sleep(1)
        if not state.refused:
            reply.set()

    together(spawn(ask), spawn(answer))
    assert state.used == reply.is_set()


@planted(depth=1, departures=1)
def equal_deadlines(mended: bool) -> None:
    """Three stages rely on the order in which equal timers were set."""
    stages: list[int] = []
    ended = [Event() for _ in range(3)]

    def stage(number: int) -> None:
        sleep(1)
        if mended and number > 0:
            ended[number - 1].wait()
        stages.append(number)
        ended[number].set()

    together(*[spawn(stage, number) for number in range(3)])
    assert stages == [0, 1, 2]
