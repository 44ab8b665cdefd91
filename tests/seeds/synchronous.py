"""Unchanged but for the time, which is printed."""

from gevent import joinall, monkey, spawn

monkey.patch_all()

import time


def task(pid):
    """
    Some non-deterministic task
    """
    time.sleep(0.5)
    print("Task %s done" % pid)


def synchronous():
    for i in range(10):
        task(i)


def asynchronous():
    g_l = [spawn(task, i) for i in range(10)]
    joinall(g_l)


if __name__ == "__main__":
    print("Synchronous:")
    synchronous()

    start = time.time()
    print("Asynchronous:")
    asynchronous()
    print(time.time() - start)
