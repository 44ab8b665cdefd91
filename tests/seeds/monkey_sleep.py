"""Mended: indentation and line breaks."""

import time

from gevent import monkey, spawn

monkey.patch_all()


def taskA():
    for i in range(3):
        print("A" + str(i))
        time.sleep(1)


def taskB():
    for i in range(3):
        print("B" + str(i))
        time.sleep(1)


def taskC():
    for i in range(3):
        print("C" + str(i))
        time.sleep(1)


if __name__ == "__main__":
    t1 = time.time()
    gA = spawn(run=taskA)
    gB = spawn(run=taskB)
    gC = spawn(run=taskC)
    gA.join()
    gB.join()
    gC.join()
    t2 = time.time()
    print("time consume", t2 - t1)
