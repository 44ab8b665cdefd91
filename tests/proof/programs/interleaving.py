"""interleaving.py: waits of all kinds, none on real time; prints which greenlet ran when."""

import treadle
from treadle import queue, socket
from treadle._core import clock
from treadle.event import AsyncResult, Event
from treadle.lock import Condition, Semaphore
from treadle.pool import Pool


def record(sockets=False):
    """Run the waits once; return a list of (name, step) in the order of events.

    How many turns pass before a sent byte is seen depends on their speed: a turn of a few
    microseconds does not poll the system each time. So `sockets` needs a clock that stands
    still. Which turns a greenlet loses to the fairness budget depends on what was read before,
    so `sockets` also needs a process that did nothing else.
    """
    seen = []

    def note(who, step=None):
        seen.append((who, step))

    items, narrow, channel = queue.Queue(), queue.Queue(2), queue.Channel()
    permits, happened, result, changed = Semaphore(2), Event(), AsyncResult(), Condition()
    left, right = socket.socketpair()

    def spinner(name, turns):
        for turn in range(turns):
            note(name, turn)
            treadle.sleep(0)

    def holder(name):
        with permits:
            note(name, "in")
            treadle.sleep(0)
        note(name, "out")

    def producer(name):
        for i in range(4):
            narrow.put((name, i))
            note(name, i)
        channel.put(name)
        note(name, "taken")

    def consumer(name):
        for _ in range(4):
            note(name, narrow.get())
        note(name, channel.get())

    def waiter(name):
        with changed:
            changed.wait()
        note(name, "notified")
        note(name, happened.wait())
        note(name, result.get())

    def setter():
        treadle.sleep(0)
        with changed:
            changed.notify(2)
            changed.notify_all()
        happened.set()
        result.set("value")
        note("setter")

    def talker():
        for i in range(3):
            left.sendall(b"%d" % i)
            note("talker", left.recv(10))

    def listener():
        for _ in range(3):
            heard = right.recv(10)
            note("listener", heard)
            right.sendall(heard)

    def victim():
        try:
            items.get()
        finally:
            note("victim", "killed")

    def task(i):
        for _ in range(i % 3):
            treadle.sleep(0)
        note("task", i)
        return i

    greenlets = []
    for i in range(3):
        greenlets.append(treadle.spawn(spinner, f"spinner {i}", 3 + i))
        greenlets.append(treadle.spawn(holder, f"holder {i}"))
        greenlets.append(treadle.spawn(producer, f"producer {i}"))
        greenlets.append(treadle.spawn(consumer, f"consumer {i}"))
        greenlets.append(treadle.spawn(waiter, f"waiter {i}"))
    greenlets += [treadle.spawn(f) for f in (setter, *((talker, listener) if sockets else ()))]
    for i, greenlet in enumerate(greenlets):
        greenlet.link(lambda _, i=i: note("link", i))
    doomed = treadle.spawn(victim)
    loop = treadle.get_hub().loop
    loop.run_callback(lambda: note("callback"))
    note("pool", Pool(2).map(task, range(6)))
    note("unordered", list(Pool(3).imap_unordered(task, range(6))))
    doomed.kill()
    treadle.joinall(greenlets, raise_error=True)
    treadle.sleep(0)
    left.close()
    right.close()
    return seen


class Still:
    """A clock that stands still."""

    def now(self):
        return 1

    def idle(self, deadline):
        return False


if __name__ == "__main__":
    clock.replace(Still())
    print(record(sockets=True))
