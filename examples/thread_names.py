"""Greenlets are threads to the threading module: each has a name. Run it by `weft run`."""

import threading

import weft


def show() -> None:
    print(threading.current_thread().name)


weft.joinall([weft.spawn(show), weft.spawn(show)])
named = threading.Thread(target=show, name="worker")
named.start()
named.join()
show()
