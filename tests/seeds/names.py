"""Mended: getName() is the attribute name."""

from gevent import monkey

monkey.patch_all()
import threading

import gevent


def show():
    print(threading.current_thread().name)


g1 = gevent.spawn(show)
g2 = gevent.spawn(show)
gevent.joinall([g1, g2])
