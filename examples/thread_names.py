"""Greenlets are threads to the threading module: each has a name. Run it by `treadle run`."""

import threading

import treadle


def show() -> None:
    print(threading.current_thread().name)


treadle.joinall([treadle.spawn(show), treadle.spawn(show)])
named = threading.Thread(target=show, name="worker")
named.start()
named.join()
show()
