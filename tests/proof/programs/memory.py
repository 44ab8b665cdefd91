"""memory.py CASE COUNT: what stays behind after doing something COUNT times.

A first tenth fills caches and free lists and is not counted. Prints the growth of the resident
memory (KiB), the objects that the collector knows, the allocated blocks and the descriptors.
"""

import contextlib
import gc
import json
import os
import resource
import struct
import sys
import threading

import treadle
from treadle import local, queue, socket
from treadle.event import AsyncResult, Event
from treadle.lock import Condition, Semaphore
from treadle.pool import Pool
from treadle.server import StreamServer
from treadle.timeout import Timeout

BATCH = 1000
HOUR = 3600
PAGE_KIB = resource.getpagesize() // 1024


def measure():
    for _ in range(3):
        treadle.sleep(0)
        gc.collect()
    with open("/proc/self/statm") as statm:
        resident = int(statm.read().split()[1]) * PAGE_KIB
    return {
        "resident_kib": resident,
        "objects": len(gc.get_objects()),
        "blocks": sys.getallocatedblocks(),
        "descriptors": len(os.listdir("/proc/self/fd")),
    }


class Expected(Exception):
    """An exception that the hub does not report."""


def nothing():
    pass


def fail():
    raise Expected


def batches(one_batch):
    """Return a case that repeats `one_batch` until its count is reached."""

    def case(count):
        for _ in range(count // BATCH):
            one_batch()

    case.__name__ = one_batch.__name__
    return case


@batches
def ended():
    treadle.joinall([treadle.spawn(nothing) for _ in range(BATCH)])


@batches
def slept():
    treadle.joinall([treadle.spawn(treadle.sleep, 0) for _ in range(BATCH)])


@batches
def forgotten():
    for _ in range(BATCH):
        treadle.spawn(nothing)
    treadle.sleep(0)


@batches
def raised():
    treadle.joinall([treadle.spawn(fail) for _ in range(BATCH)])


@batches
def killed():
    greenlets = [treadle.spawn(treadle.sleep, HOUR) for _ in range(BATCH)]
    treadle.sleep(0)
    treadle.killall(greenlets)


@batches
def killed_before_start():
    treadle.killall([treadle.spawn(nothing) for _ in range(BATCH)])
    treadle.sleep(0)


@batches
def killed_in_waits():
    event, semaphore, items = Event(), Semaphore(0), queue.Queue()
    changed = Condition()

    def in_condition():
        with changed:
            changed.wait()

    waits = [event.wait, semaphore.acquire, items.get, in_condition]
    greenlets = [treadle.spawn(waits[i % len(waits)]) for i in range(BATCH)]
    treadle.sleep(0)
    treadle.killall(greenlets)


@batches
def raw():
    for _ in range(BATCH):
        treadle.spawn_raw(nothing)
    treadle.sleep(0)


@batches
def later():
    treadle.joinall([treadle.spawn_later(0, nothing) for _ in range(BATCH)])


@batches
def linked():
    greenlets = [treadle.spawn(nothing) for _ in range(BATCH)]
    for greenlet in greenlets:
        greenlet.link(lambda g: g.value)
    treadle.joinall(greenlets)
    treadle.sleep(0)


@batches
def pooled():
    pool = Pool(10)
    pool.map(int, range(BATCH))
    list(pool.imap_unordered(int, range(BATCH)))


@batches
def in_cycles():
    """Create greenlets that refer to themselves, so that only the collector can free them."""
    greenlets = [treadle.Greenlet(nothing) for _ in range(BATCH)]
    for greenlet in greenlets:
        greenlet.me = greenlet
        greenlet.start()
    treadle.joinall(greenlets)
    del greenlets, greenlet
    gc.collect()  # otherwise the peak, and what remains of it, depends on when the collector runs


@batches
def cancelled_timeouts():
    for _ in range(BATCH):
        with Timeout(HOUR):
            pass


@batches
def outstanding_timeouts():
    timers = [Timeout.start_new(HOUR) for _ in range(BATCH)]
    for timer in timers:
        timer.close()


@batches
def expired_timeouts():
    for _ in range(BATCH):
        with Timeout(0, False):
            treadle.sleep(HOUR)


@batches
def waits_timed_out():
    event, semaphore, result = Event(), Semaphore(0), AsyncResult()
    items = queue.Queue()
    for _ in range(BATCH // 4):
        event.wait(0)
        semaphore.acquire(timeout=0)
        result.wait(0)
        with contextlib.suppress(queue.Empty):
            items.get(timeout=0)
    assert event.linkcount() == semaphore.linkcount() == result.linkcount() == 0


@batches
def waits_woken():
    def work():
        for _ in range(BATCH):
            there.put(None)
            back.get(timeout=HOUR)

    there, back = queue.Queue(), queue.Queue()
    other = treadle.spawn(work)
    for _ in range(BATCH):
        there.get(timeout=HOUR)
        back.put(None)
    other.join()


@batches
def callbacks():
    loop = treadle.get_hub().loop
    for _ in range(BATCH):
        loop.run_callback(nothing)
    treadle.sleep(0)


@batches
def watchers():
    loop = treadle.get_hub().loop
    for _ in range(BATCH):
        with loop.timer(HOUR) as timer:
            timer.start(nothing)


@batches
def greenlet_locals():
    def work(data):
        data.value = bytearray(100)

    def share():
        data = local.local()
        treadle.joinall([treadle.spawn(work, data) for _ in range(BATCH)])

    # Not in the main greenlet, which would keep some weak references to locals of before.
    treadle.spawn(share).join()


def connections(count):
    """Connect to a loopback server, a hundred at a time; each client sends and gets an answer."""

    def answer(connection, address):
        connection.sendall(connection.recv(100).upper())
        assert connection.recv(1) == b""  # the client has shut down its side
        connection.close()

    def ask():
        for _ in range(count // 100):
            with socket.create_connection(server.address) as s:
                s.sendall(b"hello")
                assert s.recv(100) == b"HELLO"
                s.shutdown(socket.SHUT_WR)
                assert s.recv(1) == b""
                # Both sides are done; no port may stay behind in TIME_WAIT.
                s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    server = StreamServer(("127.0.0.1", 0), answer, backlog=128)
    server.start()
    treadle.joinall([treadle.spawn(ask) for _ in range(100)], raise_error=True)
    server.stop()


@batches
def socketpairs():
    for _ in range(BATCH):
        left, right = socket.socketpair()
        with left, right:
            reader = treadle.spawn(left.recv, 1)
            treadle.sleep(0)
            right.send(b"!")
            assert reader.get() == b"!"


@batches
def dropped_sockets():
    """Drop sockets without closing them while they are registered with the poller."""
    for _ in range(BATCH):
        left, _right = socket.socketpair()
        reader = treadle.spawn(left.recv, 1)
        treadle.sleep(0)
        reader.kill()


@batches
def datagrams():
    left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with left, right:
        for _ in range(BATCH):
            reader = treadle.spawn(left.recv, 1)
            treadle.sleep(0)
            right.send(b"!")
            assert reader.get() == b"!"


@batches
def threadpool():
    pool = treadle.get_hub().threadpool
    for _ in range(BATCH):
        pool.apply(nothing)


def hubs(count):
    """Run native threads that have a hub, and end."""

    def run():
        treadle.joinall([treadle.spawn(treadle.sleep, 0.0001) for _ in range(3)])

    for _ in range(count):
        thread = threading.Thread(target=run)
        thread.start()
        thread.join()


def main(case, count):
    treadle.get_hub().NOT_ERROR += (Expected,)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 4096)), hard))
    function = globals()[case]
    function(max(count // 10, BATCH if count > BATCH else count // 10))
    before = measure()
    function(count)
    after = measure()
    print(json.dumps({key: after[key] - before[key] for key in after}))


main(sys.argv[1], int(sys.argv[2]))
