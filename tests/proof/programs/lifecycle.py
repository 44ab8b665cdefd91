"""lifecycle.py CASE [ARGUMENT]: the life and end of a process with 1,000 parked greenlets.

Each case is a whole program; the tests check how it ends (exit code, output, empty stderr).
A case that expects a signal prints "ready" when the signal may come.
"""

import atexit
import gc
import os
import signal
import subprocess
import sys
import threading

from parked import park

import treadle
from treadle import socket
from treadle.event import AsyncResult, Event
from treadle.lock import Semaphore
from treadle.queue import Queue

COUNT = 1000


def say(text):
    """Write a line without print(), whose buffer is not safe in a signal handler."""
    os.write(1, f"{text}\n".encode())


def ready():
    """Print "ready" when the main greenlet waits."""
    treadle.spawn(say, "ready")


def use_treadle():
    """Use a little of everything and check that it works."""
    order = []
    timer = treadle.Timeout.start_new(60)
    result, items, permits = AsyncResult(), Queue(1), Semaphore(0)

    def work(i):
        treadle.sleep(0.001 * (3 - i))
        order.append(i)
        items.put(i)

    greenlets = [treadle.spawn(work, i) for i in range(3)]
    treadle.spawn(result.set, "value")
    treadle.spawn_later(0.001, permits.release)
    assert [items.get() for _ in range(3)] == order
    assert result.get() == "value"
    assert permits.acquire()
    treadle.joinall(greenlets, raise_error=True)
    left, right = socket.socketpair()
    with left, right:
        reader = treadle.spawn(left.recv, 10)
        treadle.sleep(0)
        right.sendall(b"hello")
        assert reader.get() == b"hello"
    timer.close()


# -- a full collection


def collect(kind="all"):
    greenlets = park(kind, COUNT)
    for _ in range(3):
        gc.collect()
        treadle.sleep(0)
    assert not any(g.dead for g in greenlets)
    treadle.killall(greenlets)
    assert all(g.dead for g in greenlets)
    del greenlets
    gc.collect()
    use_treadle()
    say("done")


def collect_forgotten(kind="all"):
    """Keep no reference to the greenlets nor (but for sleepers and sockets) what they wait on."""
    park(kind, COUNT)
    for _ in range(3):
        gc.collect()
        treadle.sleep(0)
    use_treadle()
    say("done")


def collect_in_hub():
    """Collect in a callback, where no switch to a greenlet is possible."""
    greenlets = park("all", COUNT)
    treadle.get_hub().loop.run_callback(gc.collect)
    treadle.sleep(0)
    treadle.sleep(0)
    assert not any(g.dead for g in greenlets)
    use_treadle()
    say("done")


# -- the end of the interpreter


def end(kind="all"):
    keep = park(kind, COUNT)
    say("end")
    assert keep


def end_without_references(kind="all"):
    park(kind, COUNT)
    say("end")


def end_with_finally():
    """End with greenlets that would wait again when they are unwound."""

    def stubborn():
        while True:
            try:
                treadle.sleep(3600)
            finally:
                treadle.sleep(0)

    global keep
    keep = [treadle.spawn(stubborn) for _ in range(COUNT)]
    treadle.sleep(0)
    say("end")


def end_in_cycles():
    """End with parked greenlets that only the interpreter's last collection finds."""

    class Node:
        pass

    for _ in range(COUNT):
        node = Node()
        node.event = Event()
        node.greenlet = treadle.spawn(lambda node=node: node.event.wait())
    treadle.sleep(0)
    say("end")


def exit_main():
    park("all", COUNT)
    sys.exit(3)


def exit_greenlet():
    park("all", COUNT)
    treadle.spawn(sys.exit, 4)
    Event().wait()
    say("never")


def exit_greenlet_text():
    park("all", COUNT)
    treadle.spawn(sys.exit, "so long")
    treadle.sleep(60)
    say("never")


def exit_callback():
    park("all", COUNT)
    treadle.get_hub().loop.run_callback(sys.exit, 4)
    treadle.sleep(60)
    say("never")


def exit_caught():
    """SystemExit from a greenlet is raised in the main greenlet, which can catch it."""
    greenlets = park("all", COUNT)
    treadle.spawn(sys.exit, 4)
    try:
        treadle.sleep(60)
    except SystemExit as exc:
        say(f"caught {exc.code}")
    assert not any(g.dead for g in greenlets)
    use_treadle()


def exit_now():
    park("all", COUNT)
    os._exit(7)


def raise_main():
    park("all", COUNT)
    raise ZeroDivisionError("in main")


def raise_greenlet():
    park("all", COUNT)

    def fail():
        raise ZeroDivisionError("in a greenlet")

    treadle.spawn(fail).join()
    use_treadle()
    say("end")


def at_exit():
    """An exit function may use greenlets while other greenlets are parked."""
    park("all", COUNT)

    @atexit.register
    def last():
        use_treadle()
        say("last")

    say("end")


def destroy_hub():
    park("all", COUNT)
    treadle.get_hub().destroy()
    use_treadle()
    say("end")


# -- signals

WAITS = {
    "sleep": lambda: treadle.sleep(60),
    "event": lambda: Event().wait(),
    "event_timeout": lambda: Event().wait(60),
    "queue": lambda: Queue().get(),
    "recv": lambda: (lambda pair: pair[0].recv(1))(socket.socketpair()),
    "join": lambda: treadle.spawn(treadle.sleep, 60).join(),
    "joinall": lambda: treadle.joinall([treadle.spawn(treadle.sleep, 60) for _ in range(3)]),
    "hub_join": lambda: treadle.get_hub().join(),
    "spin": lambda: all(treadle.sleep(0) is None for _ in iter(int, 1)),
}


def interrupt(wait="event"):
    """End like plain Python on SIGINT: with a traceback, killed by the signal."""
    park("all", COUNT)
    ready()
    WAITS[wait]()
    say("never")


def interrupt_caught(wait="event"):
    greenlets = park("all", COUNT)
    ready()
    try:
        WAITS[wait]()
    except KeyboardInterrupt:
        say("interrupted")
    assert not any(g.dead for g in greenlets)
    use_treadle()
    say("end")


def interrupt_greenlet():
    """A signal in another running greenlet ends that greenlet and reaches the main one too."""
    greenlets = park("all", COUNT)
    victim = treadle.spawn(signal.raise_signal, signal.SIGINT)
    try:
        treadle.sleep(60)
    except KeyboardInterrupt:
        say("interrupted")
    assert isinstance(victim.exception, KeyboardInterrupt)
    assert not any(g.dead for g in greenlets)
    use_treadle()
    say("end")


def terminate():
    park("all", COUNT)

    def stop(number, frame):
        raise SystemExit(5)

    signal.signal(signal.SIGTERM, stop)
    ready()
    Event().wait(60)
    say("never")


def terminate_by_watcher():
    park("all", COUNT)
    watcher = treadle.signal_handler(signal.SIGTERM, sys.exit, 6)
    ready()
    treadle.sleep(60)
    watcher.cancel()


def terminate_by_default():
    park("all", COUNT)
    ready()
    Event().wait(60)


def handle():
    """A handler that does not raise runs promptly, and the wait continues."""
    park("all", COUNT)
    happened = Event()

    def note(number, frame):
        say("handled")
        happened.set()

    signal.signal(signal.SIGTERM, note)
    ready()
    assert happened.wait(60)
    use_treadle()
    say("end")


# -- threads


def in_thread(function):
    thread = threading.Thread(target=function)
    thread.start()
    thread.join()


def thread_ends(kind="all"):
    in_thread(lambda: park(kind, COUNT))
    gc.collect()
    use_treadle()
    say("end")


def thread_ends_before_its_greenlets(kind="all"):
    """The main thread keeps the greenlets of an ended thread for a while, then drops them."""
    kept = []
    in_thread(lambda: kept.extend(park(kind, COUNT)))
    gc.collect()
    use_treadle()
    kept.clear()
    gc.collect()
    use_treadle()
    say("end")


def thread_ends_twice():
    """Both threads have parked greenlets; one thread ends, and then the interpreter."""
    keep = park("all", COUNT)
    in_thread(lambda: park("all", COUNT))
    use_treadle()
    say("end")
    assert keep


def thread_raises():
    """The exception that ends the thread does not concern its greenlets."""

    def run():
        park("all", COUNT)
        raise SystemExit

    in_thread(run)
    use_treadle()
    say("end")


def thread_still_waits():
    """A daemon thread waits in its own hub when the interpreter ends."""
    reached = threading.Event()

    def run():
        park("all", COUNT)
        treadle.spawn(reached.set)
        treadle.sleep(3600)

    threading.Thread(target=run, daemon=True).start()
    reached.wait()
    say("end")


def thread_works_on():
    """Python waits for a non-daemon thread; the thread's hub works until then."""

    def run():
        park("all", COUNT)
        threading.main_thread().join()
        use_treadle()
        say("thread")

    threading.Thread(target=run).start()
    say("end")


# -- fork


class Watched:
    """Parked greenlets and greenlets that are ready, which report if they run in a child."""

    def __init__(self):
        self.parent = os.getpid()
        self.strangers, self.report = os.pipe()
        os.set_blocking(self.strangers, False)
        self.greenlets = park("all", COUNT)
        self.turns = 0
        self.sleepers = [treadle.spawn(self.due) for _ in range(10)]
        self.spinners = [treadle.spawn(self.spin) for _ in range(10)]
        self.links = [treadle.spawn(treadle.sleep, 0.02) for _ in range(10)]
        for link in self.links:
            link.link(self.check)
        treadle.sleep(0)

    def check(self, _=None):
        if os.getpid() != self.parent:
            os.write(self.report, b"!")
        self.turns += 1

    def due(self):
        while True:
            treadle.sleep(0.01)
            self.check()

    def spin(self):
        while True:
            self.check()
            treadle.sleep(0)

    def assert_untouched(self):
        """Check, in the parent after the child's end, that no greenlet ran in the child."""
        try:
            ran = os.read(self.strangers, 100)
        except BlockingIOError:
            ran = b""
        assert not ran, "the parent's greenlets ran in the child"
        before = self.turns
        treadle.sleep(0.05)
        assert self.turns > before + 20
        assert not any(g.dead for g in self.greenlets + self.sleepers + self.spinners)
        treadle.killall(self.greenlets + self.sleepers + self.spinners)
        use_treadle()
        for fd in (self.strangers, self.report):
            os.close(fd)


def fork_and_wait(child, fork=os.fork):
    """Run `child` in a forked process; return its exit code."""
    pid = fork()
    if pid == 0:
        child()
        return None
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def child_uses_treadle():
    treadle.sleep(0.05)
    use_treadle()
    gc.collect()
    use_treadle()


def child_exits_now():
    child_uses_treadle()
    os._exit(0)


def fork():
    watched = Watched()
    assert fork_and_wait(child_exits_now) == 0
    watched.assert_untouched()
    say("end")


def fork_by_treadle():
    watched = Watched()
    assert fork_and_wait(child_exits_now, treadle.os.fork) == 0
    watched.assert_untouched()
    say("end")


def fork_in_greenlet():
    watched = Watched()
    assert treadle.spawn(fork_and_wait, child_exits_now).get() == 0
    watched.assert_untouched()
    say("end")


def fork_in_thread():
    """Fork in a thread without a hub: the child does not get the main thread's hub."""
    watched = Watched()
    codes = []
    in_thread(lambda: codes.append(fork_and_wait(child_exits_now)))
    assert codes == [0]
    watched.assert_untouched()
    say("end")


def fork_in_hub_thread():
    watched = Watched()
    codes = []

    def run():
        treadle.sleep(0)
        park("all", 100)
        codes.append(fork_and_wait(child_exits_now))
        use_treadle()

    in_thread(run)
    assert codes == [0]
    watched.assert_untouched()
    say("end")


def fork_twice():
    """Fork in a forked child."""
    watched = Watched()

    def child():
        child_uses_treadle()
        park("all", 100)
        os._exit(fork_and_wait(child_exits_now))

    assert fork_and_wait(child) == 0
    watched.assert_untouched()
    say("end")


def fork_child_returns():
    """The child runs to the end of the program, and its interpreter ends normally."""
    watched = Watched()
    code = fork_and_wait(child_uses_treadle)
    if code is None:
        return
    assert code == 0
    watched.assert_untouched()
    say("end")


def fork_child_exits():
    watched = Watched()

    def child():
        child_uses_treadle()
        sys.exit(9)

    assert fork_and_wait(child) == 9
    watched.assert_untouched()
    say("end")


def fork_child_parks():
    """The child ends with parked greenlets of its own."""
    watched = Watched()
    code = fork_and_wait(lambda: park("all", COUNT))
    if code is None:
        return
    assert code == 0
    watched.assert_untouched()
    say("end")


def fork_hook():
    """An at-fork hook that yields runs none of the parent's greenlets in the child."""
    watched = Watched()
    os.register_at_fork(after_in_child=lambda: treadle.sleep(0))
    assert fork_and_wait(child_exits_now) == 0
    watched.assert_untouched()
    say("end")


def fork_exec():
    """No greenlet of the parent runs between fork and exec, even if the hook there yields."""
    watched = Watched()
    for _ in range(5):
        subprocess.run(["/bin/true"], preexec_fn=lambda: treadle.sleep(0), check=True)
        subprocess.run(["/bin/true"], check=True)
    watched.assert_untouched()
    say("end")


def fork_at_once():
    """Fork ten children at once, from ten greenlets that yield first."""
    watched = Watched()

    def one(i):
        treadle.sleep(0.001 * (i % 3))
        return fork_and_wait(child_exits_now)

    assert [g.get() for g in [treadle.spawn(one, i) for i in range(10)]] == [0] * 10
    watched.assert_untouched()
    say("end")


# -- deadlock: nothing can wake the waiting greenlets


def loop_exit():
    """LoopExit ends the program: the traceback's last lines say what each greenlet waits for."""
    happened, permits, items = Event(), Semaphore(0), Queue()

    def named(name, wait):
        greenlet = treadle.Greenlet(wait)
        greenlet.name = name
        greenlet.start()
        return greenlet

    global keep
    keep = [
        named("alice", happened.wait),
        named("bob", permits.acquire),
        named("carol", items.get),
    ]
    AsyncResult().get()


def loop_exit_parked():
    """With 1,000 waiting greenlets the text of LoopExit stays short enough to read."""
    park("event", COUNT)
    try:
        Event().wait()
    except treadle.hub.LoopExit as exc:
        assert "Event" in str(exc)
        assert len(str(exc)) < 20_000
        say("caught")
    use_treadle()


globals()[sys.argv[1]](*sys.argv[2:])
