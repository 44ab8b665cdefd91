"""Mended: play_phone is called play; the order of imports as the text asks for."""

from gevent import monkey

monkey.patch_all()

import time

import gevent


def eat():
    print("eat food 1")
    time.sleep(2)
    print("eat food 2")


def play():
    print("play 1")
    time.sleep(1)
    print("play 2")


g1 = gevent.spawn(eat)
g2 = gevent.spawn(play)
gevent.joinall([g1, g2])
print("main")
