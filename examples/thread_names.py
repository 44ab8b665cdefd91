"""The threading module sees greenlets as threads with names. Run it with `treadle run`."""

import threading

import treadle


def show() -> None:
    print(threading.current_thread().name)


treadle.joinall([treadle.spawn(show), treadle.spawn(show)])
named = threading.Thread(target=show, name="worker")
named.start()
named.join()
show()
