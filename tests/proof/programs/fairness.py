"""fairness.py CASE BEAT SECONDS: a beat every 10 ms beside a greenlet that is always ready.

Prints how late the beats were: the most turns the neighbour had between the moment at which a beat
was due and the beat, and the lateness in milliseconds, sorted. The net lateness excludes the time
in which the thread was ready but the kernel ran another process, or in which a virtual machine's
host did not run it (/proc's run-queue delay and steal): that is not the scheduler's fault.
"""

import ctypes
import json
import os
import socket as native
import struct
import subprocess
import sys
import threading
import time
from collections import deque
from itertools import takewhile

import treadle
from treadle import socket
from treadle.queue import Queue

PERIOD_NS = 10_000_000
TFD_TIMER_ABSTIME = 1

FLOOD = """
import os, sys
block = bytes(65536)
try:
    while True:
        os.write(int(sys.argv[1]), block)
except (BrokenPipeError, ConnectionResetError):
    pass
"""
DATAGRAMS = """
import socket, sys
out = socket.socket(fileno=int(sys.argv[1]))
try:
    while True:
        out.send(bytes(64))
except (BrokenPipeError, ConnectionResetError, ConnectionRefusedError):
    pass
"""
DRAIN = """
import os, sys
while os.read(int(sys.argv[1]), 1 << 20):
    pass
"""
CALLER = """
import socket, sys, struct
address = ("127.0.0.1", int(sys.argv[1]))
try:
    while True:
        with socket.create_connection(address) as s:
            # Reset on close: a thousand connections a second leave no port behind.
            s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
except (ConnectionRefusedError, ConnectionResetError):
    pass
"""
children = []


def child(source, argument, *keep):
    """Start a process at the other end; it ends when our end of the socket closes."""
    command = [sys.executable, "-c", source, str(argument)]
    process = subprocess.Popen(command, pass_fds=[s.fileno() for s in keep])
    children.append(process)
    for s in keep:
        s.close()
    return process


def flooded(source=FLOOD, kind=native.SOCK_STREAM):
    """Return a cooperative socket to which another process writes without pause."""
    ours, theirs = native.socketpair(native.AF_UNIX, kind)
    child(source, theirs.fileno(), theirs)
    return socket.socket(ours.family, ours.type, fileno=ours.detach())


class RunQueue:
    """Reads for how many nanoseconds this thread was ready but waited for a processor.

    Includes the time in which the host did not run a virtual machine, if the host reports it.
    """

    def __init__(self):
        path = f"/proc/self/task/{threading.get_native_id()}/schedstat"
        self.own = os.open(path, os.O_RDONLY)
        self.machine = os.open("/proc/stat", os.O_RDONLY)
        self.tick = 1_000_000_000 // os.sysconf("SC_CLK_TCK")

    def __call__(self):
        steal = int(os.pread(self.machine, 200, 0).split()[8])
        return int(os.pread(self.own, 100, 0).split()[1]) + steal * self.tick


def sleeps():
    """Yield the time at which each `sleep(10 ms)` was to end, in nanoseconds, once it has."""
    while True:
        due = time.monotonic_ns() + PERIOD_NS
        treadle.sleep(PERIOD_NS / 1e9)
        yield due


def expirations():
    """Yield the time at which the kernel made a descriptor ready, once it has been read."""
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = libc.timerfd_create(time.CLOCK_MONOTONIC, os.O_NONBLOCK)
    while True:
        due = time.monotonic_ns() + PERIOD_NS
        once = struct.pack("4l", 0, 0, *divmod(due, 1_000_000_000))
        if libc.timerfd_settime(descriptor, TFD_TIMER_ABSTIME, once, None) < 0:
            raise OSError(ctypes.get_errno(), "timerfd_settime")
        socket.wait_read(descriptor)
        os.read(descriptor, 8)
        yield due


def read_little():
    source = flooded()
    while source.recv(64):
        yield


def read_much():
    source = flooded()
    while source.recv(65536):
        yield


def read_into():
    source, buffer = flooded(), bytearray(512)
    while source.recv_into(buffer):
        yield


def read_datagrams():
    source = flooded(DATAGRAMS, native.SOCK_DGRAM)
    while source.recv(64):
        yield


def write():
    sink = flooded(DRAIN)
    while sink.send(bytes(64)):
        yield


def write_all():
    sink = flooded(DRAIN)
    while True:
        sink.sendall(bytes(1 << 16))
        yield


def accept():
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(128)
    for _ in range(2):
        child(CALLER, listener.getsockname()[1])
    while True:
        listener.accept()[0].close()
        yield


def spin():
    while True:
        treadle.sleep(0)
        yield


def short_sleeps():
    while True:
        treadle.sleep(1e-9)
        yield


def queue():
    line = Queue(1)

    def put():
        while True:
            line.put(None)

    treadle.spawn(put)
    while True:
        line.get()
        yield


def spawn():
    counted = iter(int, 1)

    def again():
        next(counted)
        treadle.spawn(again)

    again()
    yield from spin()


def callback():
    loop = treadle.get_hub().loop

    def again():
        loop.run_callback(again)

    again()
    yield from spin()


def timer():
    watchers = [treadle.get_hub().loop.timer(0) for _ in range(10)]

    def again(watcher):
        watcher.stop()
        watcher.start(again, watcher)

    for watcher in watchers:
        watcher.start(again, watcher)
    yield from spin()


NEIGHBOURS = {
    f.__name__: f
    for f in (
        read_little,
        read_much,
        read_into,
        read_datagrams,
        write,
        write_all,
        accept,
        spin,
        short_sleeps,
        queue,
        spawn,
        callback,
        timer,
    )
}
BEATS = {"timer": sleeps, "descriptor": expirations}


def main(neighbour, beat, seconds):
    turns = 0
    times = deque(maxlen=100_000)  # of the neighbour's last turns

    def busy():
        nonlocal turns
        for _ in NEIGHBOURS[neighbour]():
            turns += 1
            times.append(time.monotonic_ns())

    other = treadle.spawn(busy)
    while turns < 100 and not other.dead:
        treadle.sleep(0.01)  # until the process at the other end has started
    delay = RunQueue()
    most, late = 0, []
    before, until, waited = turns, time.monotonic_ns() + int(seconds * 1e9), delay()
    for due in BEATS[beat]():
        now, lag = time.monotonic_ns(), delay()
        since = list(takewhile((due - PERIOD_NS).__lt__, reversed(times)))
        # The kernel may run other processes after sleeps() has read the clock and before the timer
        # is set, which it is when the neighbour has its next turn.
        end = since[-1] + PERIOD_NS if beat == "timer" and since else due
        most = max(most, sum(1 for at in since if at > end))
        late.append(max(0, now - due - (lag - waited)) / 1e6)
        if now > until:
            break
        waited = delay()
    done = turns - before
    for process in children:
        process.kill()
        process.wait()
    print(json.dumps({"turns": done, "turns_late": most, "late_ms": sorted(late)}))
    # The neighbour never ends; only the report is wanted, so exit without waiting for it.
    sys.stdout.flush()
    os._exit(0 if not other.dead else 1)


main(sys.argv[1], sys.argv[2], float(sys.argv[3]))
