"""Greenlets parked in each kind of wait, for the other programs in this folder."""

import resource
import time
from select import POLLIN

import treadle
from treadle import queue, select, socket
from treadle.event import AsyncResult, Event
from treadle.lock import BoundedSemaphore, Condition, RLock, Semaphore
from treadle.pool import Pool
from treadle.timeout import Timeout

HOUR = 3600


def sleeping():
    return lambda: treadle.sleep(HOUR)


def under_timeout():
    def wait():
        with Timeout(HOUR):
            treadle.sleep(2 * HOUR)

    return wait


def event():
    return Event().wait


def event_with_timeout():
    happened = Event()
    return lambda: happened.wait(HOUR)


def result():
    return AsyncResult().get


def semaphore():
    taken = Semaphore(0)
    return taken.acquire


def bounded_semaphore():
    taken = BoundedSemaphore(1)
    taken.acquire()
    return taken.acquire


def rlock():
    taken = RLock()
    taken.acquire()
    return taken.acquire


def condition():
    changed = Condition()

    def wait():
        with changed:
            changed.wait()

    return wait


def queue_get():
    return queue.Queue().get


def queue_put():
    full = queue.Queue(1)
    full.put(None)
    return lambda: full.put(None)


def joinable_queue():
    unfinished = queue.JoinableQueue()
    unfinished.put(None)
    return unfinished.join


def simple_queue():
    return queue.SimpleQueue().get


def channel():
    return queue.Channel().get


def channel_put():
    empty = queue.Channel()
    return lambda: empty.put(None)


def pool():
    full = Pool(1)
    full.spawn(treadle.sleep, HOUR)
    return lambda: full.spawn(treadle.sleep, 0)


def join():
    other = treadle.spawn(treadle.sleep, HOUR)
    return other.join


def recv():
    pair = socket.socketpair()
    return lambda pair=pair: pair[0].recv(1)


def recv_with_timeout():
    pair = socket.socketpair()
    pair[0].settimeout(HOUR)
    return lambda pair=pair: pair[0].recv(1)


def send():
    pair = socket.socketpair()
    return lambda pair=pair: pair[0].sendall(bytes(1 << 24))


def accept():
    listener = socket.socket()
    # A client of another program, which looks for a server that has ended, may come to 127.0.0.1.
    listener.bind(("127.66.66.66", 0))
    listener.listen(1)
    return listener.accept


def wait_read():
    pair = socket.socketpair()
    return lambda pair=pair: socket.wait_read(pair[0].fileno())


def poll():
    pair = socket.socketpair()
    poller = select.poll()
    poller.register(pair[0], POLLIN)
    return lambda pair=pair: poller.poll()


def threadpool():
    """Wait behind a task of half a second in the hub's thread pool."""
    pool = treadle.get_hub().threadpool
    if not pool.size:
        pool.maxsize = 1
        pool.spawn(time.sleep, 0.5)
    return lambda: pool.apply(int)


KINDS = {
    f.__name__: f
    for f in (
        sleeping,
        under_timeout,
        event,
        event_with_timeout,
        result,
        semaphore,
        bounded_semaphore,
        rlock,
        condition,
        queue_get,
        queue_put,
        joinable_queue,
        simple_queue,
        channel,
        channel_put,
        pool,
        join,
        recv,
        recv_with_timeout,
        send,
        accept,
        wait_read,
        poll,
    )
}


def park(kind, count):
    """Spawn `count` greenlets, each waiting on an object of its own, and run them until they wait.

    `kind` is "threadpool", a name of `KINDS`, or "all", which uses each of `KINDS` in turn. The
    thread pool is not in `KINDS` because it starts threads, and most cases need a process
    without threads.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 8192)), hard))
    kinds = [*KINDS.values()] if kind == "all" else [{**KINDS, "threadpool": threadpool}[kind]]
    greenlets = [treadle.spawn(kinds[i % len(kinds)]()) for i in range(count)]
    for _ in range(3):
        treadle.sleep(0)
    for greenlet in greenlets:
        assert not greenlet.dead, (greenlet, greenlet.value, greenlet.exception)
    return greenlets
