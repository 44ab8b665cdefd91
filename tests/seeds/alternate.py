"""Mended: indentation and case; a shorter pause, fewer rounds as in the printed result."""

import gevent


def f(n):
    for i in range(n):
        print(gevent.getcurrent() is not None, i)
        gevent.sleep(0.1)


g1 = gevent.spawn(f, 3)
g2 = gevent.spawn(f, 3)
g3 = gevent.spawn(f, 3)
g1.join()
g2.join()
g3.join()
