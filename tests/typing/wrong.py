"""Each line marked ERROR is a mistake that a type checker must report."""

import treadle
from treadle.event import AsyncResult
from treadle.futures import GreenletPoolExecutor
from treadle.greenlet import Greenlet
from treadle.lock import Semaphore
from treadle.pool import Group, Pool
from treadle.pywsgi import WSGIServer
from treadle.queue import Channel, Queue
from treadle.server import DatagramServer, StreamServer
from treadle.threadpool import ThreadPool, ThreadPoolExecutor


def add(a: int, b: int = 2) -> int:
    return a + b


treadle.spawn(add, "x")  # ERROR
treadle.spawn(add)  # ERROR
treadle.spawn(add, 1, c=3)  # ERROR
treadle.spawn(add(1))  # ERROR
treadle.spawn_later(add, 1)  # ERROR
treadle.spawn_later(1, add, "x")  # ERROR
treadle.spawn_raw(add, "x")  # ERROR
Greenlet.spawn(add, "x")  # ERROR
Greenlet.spawn_later(1, add, "x")  # ERROR
Greenlet(add, "x")  # ERROR
text: str = treadle.spawn(add, 1).get()  # ERROR
treadle.spawn(add, 1).rawlink(3)  # ERROR
treadle.spawn(add, 1).link(3)  # ERROR
treadle.joinall(treadle.spawn(add, 1))  # ERROR
treadle.joinall([3])  # ERROR
treadle.wait([3])  # ERROR
treadle.iwait([3])  # ERROR
treadle.killall([3])  # ERROR
treadle.kill(3)  # ERROR
treadle.with_timeout(1, add, "x")  # ERROR
treadle.with_timeout("1", add, 1)  # ERROR
treadle.sleep("1")  # ERROR
treadle.Timeout("1")  # ERROR
treadle.signal_handler(15, add, "x")  # ERROR
treadle.config.max_blockingtime = 3  # ERROR
treadle.config.monitor_thread = "yes"  # ERROR
treadle.spwan(add, 1)  # ERROR

Pool("2")  # ERROR
Pool(2).spawn(add, "x")  # ERROR
Group().spawn(add, "x")  # ERROR
Pool(2).map(add, ["x"])  # ERROR
Pool(2).map_async(add, ["x"])  # ERROR
Pool(2).map_cb(add, ["x"])  # ERROR
Pool(2).imap(add, ["x"])  # ERROR
Pool(2).imap(add, [1], ["x"])  # ERROR
Pool(2).imap_unordered(add, ["x"])  # ERROR
Pool(2).apply(add, ("x",))  # ERROR
Pool(2).apply(add)  # ERROR
Pool(2).apply(add, (1, 2, 3))  # ERROR
Pool(2).apply_async(add, ("x",))  # ERROR
Pool(2).apply_cb(add, ("x",))  # ERROR

ThreadPool(2).spawn(add, "x")  # ERROR
ThreadPool(2).apply(add, ("x",))  # ERROR
ThreadPool(2).map(add, ["x"])  # ERROR
treadle.get_hub().threadpool.apply(add, ("x",))  # ERROR
treadle.get_hub().threadpool.spawn(add, "x")  # ERROR
print(treadle.get_hub().no_such_name)  # ERROR
GreenletPoolExecutor(2).submit(add, "x")  # ERROR
ThreadPoolExecutor(2).submit(add, "x")  # ERROR

Queue[int]().put("x")  # ERROR
Channel[int]().put("x")  # ERROR
AsyncResult[int]().set("x")  # ERROR
AsyncResult[int]().set()  # ERROR
Semaphore("x")  # ERROR

StreamServer(("127.0.0.1", 0), lambda client: None)  # ERROR
StreamServer(("127.0.0.1", 0), 3)  # ERROR
StreamServer(1.5, lambda client, address: None)  # ERROR
StreamServer(80, lambda client, address: None, spawn="yes")  # ERROR
DatagramServer(("127.0.0.1", 0), lambda data: None)  # ERROR
WSGIServer(("127.0.0.1", 0), lambda: None)  # ERROR
