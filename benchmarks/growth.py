"""What an item costs in each container that programs fill: in ten, and in one ten times as full.

``python -m benchmarks.growth [ITEMS]`` prints for each the processor time per item with ITEMS in
each of ten containers that are filled at once, and with all in one, and the ratio. Both use about
as much memory, so about as much of it is in the processor's caches. Where the cost does not depend
on the number of items in the container, the ratio is about 1.
"""

import os
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import treadle
from treadle.event import AsyncResult, Event
from treadle.local import local
from treadle.lock import Condition, RLock, Semaphore
from treadle.pool import Group, Pool
from treadle.queue import Channel, PriorityQueue, Queue

#: How often each is measured; the least time counts.
ROUNDS = 3


def nothing(*args: object) -> None:
    """Do nothing."""


def beside(others: int) -> list[treadle.Greenlet[Any]]:
    """Return *others* greenlets that wait, without a timer, for what never happens."""
    never = Event()
    return [treadle.spawn(never.wait) for _ in range(others)]


def let_run() -> None:
    """Let everything that is ready run."""
    for _ in range(3):
        treadle.sleep(0)


def wait_all(wait: Callable[[], object], wake: Callable[[], object], count: int) -> None:
    """Have *count* greenlets wait, then wake them, by one call of *wake* or by one for each."""
    waiting = [treadle.spawn(wait) for _ in range(count)]
    let_run()
    wake()
    treadle.joinall(waiting, raise_error=True)


def links(count: int) -> None:
    """Link *count* callbacks to a greenlet, unlink every other, and have it end."""
    greenlet = treadle.Greenlet(nothing)
    callbacks = [partial(nothing, number) for number in range(count)]
    for callback in callbacks:
        greenlet.rawlink(callback)
    for callback in callbacks[::2]:
        greenlet.unlink(callback)
    greenlet.start()
    let_run()


def links_of_event(count: int) -> None:
    """Link *count* callbacks to an Event, unlink every other, and set it."""
    event = Event()
    callbacks = [partial(nothing, number) for number in range(count)]
    for callback in callbacks:
        event.rawlink(callback)
    for callback in callbacks[::2]:
        event.unlink(callback)
    event.set()
    let_run()


def joiners(count: int) -> None:
    """Have *count* greenlets join one."""
    greenlet = treadle.Greenlet(nothing)
    wait_all(greenlet.join, greenlet.start, count)


def waiters_of_event(count: int) -> None:
    """Have *count* greenlets wait for an Event."""
    event = Event()
    wait_all(event.wait, event.set, count)


def waiters_of_result(count: int) -> None:
    """Have *count* greenlets wait for an AsyncResult."""
    result: AsyncResult[None] = AsyncResult()
    wait_all(result.get, result.set, count)


def waiters_of_semaphore(count: int) -> None:
    """Have *count* greenlets wait for a Semaphore and pass it on."""
    semaphore = Semaphore(0)

    def take() -> None:
        semaphore.acquire()
        semaphore.release()

    wait_all(take, semaphore.release, count)


def waiters_of_lock(count: int) -> None:
    """Have *count* greenlets wait for an RLock."""
    lock = RLock()

    def take() -> None:
        with lock:
            pass

    lock.acquire()
    wait_all(take, lock.release, count)


def waiters_of_condition(count: int) -> None:
    """Have *count* greenlets wait for a Condition."""
    condition = Condition()

    def wait() -> None:
        with condition:
            condition.wait()

    def wake() -> None:
        with condition:
            condition.notify_all()

    wait_all(wait, wake, count)


def getters(count: int) -> None:
    """Have *count* greenlets wait for an item each."""
    queue: Queue[int] = Queue()
    wait_all(queue.get, lambda: [queue.put(number) for number in range(count)], count)


def putters(count: int) -> None:
    """Have *count* greenlets wait for a place each."""
    queue: Queue[int] = Queue(1, [0])
    wait_all(partial(queue.put, 1), lambda: [queue.get() for _ in range(count)], count)


def getters_of_channel(count: int) -> None:
    """Have *count* greenlets wait for an item of a Channel each."""
    channel: Channel[int] = Channel()
    wait_all(channel.get, lambda: [channel.put(number) for number in range(count)], count)


def items_in_order(count: int) -> None:
    """Put *count* items into a PriorityQueue, the greatest first, and get them."""
    queue: PriorityQueue[int] = PriorityQueue()
    for number in range(count, 0, -1):
        queue.put(number)
    for _ in range(count):
        queue.get()


def killed_waiters(count: int) -> None:
    """Have *count* greenlets wait for a Semaphore, and kill the last first."""
    semaphore = Semaphore(0)
    waiting = [treadle.spawn(semaphore.acquire) for _ in range(count)]
    let_run()
    for greenlet in reversed(waiting):
        greenlet.kill(block=False)
    treadle.joinall(waiting)


def killed_before_their_start(count: int) -> None:
    """Kill *count* greenlets that have not begun."""
    treadle.killall([treadle.spawn(nothing) for _ in range(count)])


def timers(count: int) -> None:
    """Start *count* timeouts, cancel every other, then the rest."""
    timeouts = [treadle.Timeout.start_new(1000 + number) for number in range(count)]
    for timeout in timeouts[::2] + timeouts[1::2]:
        timeout.cancel()


def sleepers(count: int, others: int = 0) -> None:
    """Have *count* greenlets sleep, and *others* wait, until they are killed."""
    sleeping = [treadle.spawn(treadle.sleep, 1000 + number) for number in range(count)]
    sleeping += beside(others)
    let_run()
    treadle.killall(sleeping)


def members_of_group(count: int) -> None:
    """Have *count* greenlets in a Group, and discard every other."""
    group = Group()
    members = [group.spawn(nothing) for _ in range(count)]
    for member in members[::2]:
        group.discard(member)
    group.join()


def children_of_task_group(count: int) -> None:
    """Have *count* children of a TaskGroup wait, and cancel it."""
    with treadle.TaskGroup() as group:
        for number in range(count):
            group.spawn(treadle.sleep, 1000 + number)
        let_run()
        group.cancel()


def members_of_pool(count: int) -> None:
    """Have *count* greenlets run in a Pool for ten."""
    pool = Pool(10)
    for _ in range(count):
        pool.spawn(nothing)
    pool.join()


def mapped(count: int) -> None:
    """Map *count* items in a Pool for ten."""
    for _ in Pool(10).imap_unordered(nothing, range(count)):
        pass


def waited_for_one_by_one(count: int) -> None:
    """Wait for *count* greenlets as they end."""
    for _ in treadle.iwait([treadle.spawn(nothing) for _ in range(count)]):
        pass


def watchers(count: int) -> None:
    """Start *count* watchers of timers, stop every other, then the rest."""
    loop = treadle.get_hub().loop
    started = [loop.timer(1000 + number) for number in range(count)]
    for watcher in started:
        watcher.start(nothing)
    for watcher in started[::2] + started[1::2]:
        watcher.stop()
        watcher.close()


def callbacks(count: int) -> None:
    """Have the hub call *count* callbacks."""
    loop = treadle.get_hub().loop
    for _ in range(count):
        loop.run_callback(nothing)
    let_run()


def locals_of_greenlets(count: int) -> None:
    """Have *count* greenlets use one local."""
    values = local()

    def use() -> None:
        values.value = 1
        treadle.sleep(0)

    treadle.joinall([treadle.spawn(use) for _ in range(count)])


def locals_of_one_greenlet(count: int) -> None:
    """Use *count* locals in a greenlet."""

    def use() -> None:
        for values in [local() for _ in range(count)]:
            values.value = 1

    treadle.spawn(use).join()


def left_by_a_fork(count: int, others: int = 0) -> None:
    """Fork beside *count* greenlets that sleep and *others* that wait, and have the child end."""
    sleeping = [treadle.spawn(treadle.sleep, 1000 + number) for number in range(count)]
    sleeping += beside(others)
    let_run()
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    treadle.killall(sleeping)


FILLED: list[Callable[[int], None]] = [
    links,
    links_of_event,
    joiners,
    waiters_of_event,
    waiters_of_result,
    waiters_of_semaphore,
    waiters_of_lock,
    waiters_of_condition,
    getters,
    putters,
    getters_of_channel,
    items_in_order,
    killed_waiters,
    killed_before_their_start,
    timers,
    members_of_group,
    members_of_pool,
    children_of_task_group,
    mapped,
    waited_for_one_by_one,
    watchers,
    callbacks,
    locals_of_greenlets,
    locals_of_one_greenlet,
]
#: What fills the hub, of which there is one.
FILLED_HUB: list[Callable[[int, int], None]] = [sleepers]
if hasattr(os, "fork"):
    FILLED_HUB.append(left_by_a_fork)


def seconds(fill: Callable[[], object]) -> float:
    """Return the processor time, with that of children, that *fill* takes."""
    before = os.times()
    began = time.process_time()
    fill()
    own = time.process_time() - began
    after = os.times()
    children = after.children_user - before.children_user
    return own + children + after.children_system - before.children_system


def ten_at_once(fill: Callable[[int], None], few: int) -> None:
    """Fill ten containers at once."""
    treadle.joinall([treadle.spawn(fill, few) for _ in range(10)], raise_error=True)


def growth(apart: Callable[[], object], together: Callable[[], object]) -> tuple[float, float]:
    """Return the least times of both, which take turns."""
    rounds = [(seconds(apart), seconds(together)) for _ in range(ROUNDS)]
    return min(first for first, _ in rounds), min(second for _, second in rounds)


def main() -> None:
    """Print the table."""
    few = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
    many = 10 * few
    compared: list[tuple[str, Callable[[], object], Callable[[], object]]] = [
        (fill.__name__, partial(ten_at_once, fill, few), partial(fill, many)) for fill in FILLED
    ]
    compared += [
        (fill.__name__, partial(fill, few, many - few), partial(fill, many, 0))
        for fill in FILLED_HUB
    ]
    print(f"{'':26} {f'10 of {few:,}':>12} {f'1 of {many:,}':>12} {'ratio':>6}")
    for name, apart, together in compared:
        small, large = growth(apart, together)
        costs = f"{small / many * 1e6:9.2f} us {large / many * 1e6:9.2f} us {large / small:6.1f}"
        print(f"{name.replace('_', ' '):26} {costs}", flush=True)


if __name__ == "__main__":
    main()
