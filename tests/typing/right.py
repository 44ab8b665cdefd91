"""Code that a type checker must accept, with the types that it must infer."""

import subprocess as stdlib_subprocess
from collections.abc import Iterator
from concurrent.futures import Future
from typing import assert_type
from wsgiref.types import StartResponse, WSGIEnvironment

import treadle
from treadle import monkey, os, select, selectors, signal, socket, ssl, subprocess, time
from treadle.backdoor import BackdoorServer
from treadle.event import AsyncResult, Event
from treadle.fileobject import FileObject
from treadle.futures import GreenletPoolExecutor
from treadle.greenlet import Greenlet
from treadle.hub import Hub, Waiter
from treadle.local import local
from treadle.lock import BoundedSemaphore, Condition, RLock, Semaphore
from treadle.pool import Group, Pool
from treadle.pywsgi import WSGIServer
from treadle.queue import Channel, Empty, Full, JoinableQueue, PriorityQueue, Queue, SimpleQueue
from treadle.server import DatagramServer, StreamServer
from treadle.socket import AF_INET, SOCK_STREAM, gaierror, timeout
from treadle.subprocess import DEVNULL, PIPE, CalledProcessError, TimeoutExpired, check_output, run
from treadle.threadpool import ThreadPool, ThreadPoolExecutor, ThreadResult
from treadle.timeout import Timeout, with_timeout


def repeat(text: str, times: int = 2, *, end: str = "") -> str:
    return text * times + end


def many(first: int, second: str, third: float) -> bytes:
    return b""


def nothing() -> None: ...


# A greenlet has the type of its function's value.
g = treadle.spawn(repeat, "a", times=3)
assert_type(g, Greenlet[str])
assert_type(g.get(), str)
assert_type(g.value, str | None)
assert_type(g.exception, BaseException | None)
assert_type(treadle.spawn_later(0.5, repeat, "a", end="!").get(), str)
assert_type(treadle.spawn_later(1, nothing), Greenlet[None])
assert_type(Greenlet(repeat, "a").get(), str)
assert_type(Greenlet.spawn(repeat, "a"), Greenlet[str])
assert_type(Greenlet.spawn_later(1, repeat, "a"), Greenlet[str])
treadle.spawn_raw(repeat, "a")
g.link(lambda source: assert_type(source, Greenlet[str]))
g.rawlink(lambda source: assert_type(source.get(), str))
with treadle.spawn(repeat, "a") as entered:
    assert_type(entered.get(), str)


class Job(treadle.Greenlet[int]):
    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number

    def _run(self) -> int:
        return self.number


assert_type(Job(3).get(), int)
assert_type(Job.spawn(3), Job)

# Functions that wait for several objects return them with their types.
numbers = [treadle.spawn(len, "abc")]
assert_type(treadle.joinall(numbers, timeout=1), list[Greenlet[int]])
assert_type(treadle.wait(numbers, count=1), list[Greenlet[int]])
assert_type(treadle.wait(), bool)
for ready in treadle.iwait(numbers):
    assert_type(ready, Greenlet[int])
treadle.wait([Event(), Semaphore(), AsyncResult[int]()])
treadle.wait([numbers[0], Event()])
treadle.joinall([numbers[0], AsyncResult[int]()])
for either in treadle.iwait([numbers[0], Semaphore()]):
    either.unlink(print)
treadle.killall(numbers, block=False)
treadle.kill(numbers[0])

# Groups and pools.
pool = Pool(3)
assert_type(pool.spawn(repeat, "a").get(), str)
assert_type(pool.map(repeat, ["a", "b"]), list[str])
assert_type(pool.map_async(repeat, ["a"]).get(), list[str])
assert_type(pool.apply(repeat, ("a",)), str)
assert_type(pool.apply(repeat, ("a", 3)), str)
assert_type(pool.apply(repeat, ["a"], {"times": 3}), str)
assert_type(pool.apply(repeat, ("a",), {"times": 3}), str)
assert_type(pool.apply(nothing), None)
assert_type(pool.apply_async(repeat, ("a",), callback=print).get(), str)
assert_type(pool.apply_cb(repeat, ("a",), callback=print), str)
assert_type(pool.apply_async(repeat, ("a",), None, print).get(), str)
assert_type(pool.apply(repeat, ["a"]), str)
assert_type(pool.apply(repeat, iter("a")), str)
for piece in pool.imap(many, [1], ["a"], [1.5]):
    assert_type(piece, bytes)
for piece in pool.imap_unordered(many, [1], ["a"], [1.5], maxsize=2):
    assert_type(piece, bytes)
pieces: Iterator[str] = pool.imap(repeat, ["a"])
assert_type(Group().spawn(repeat, "a"), Greenlet[str])

# Thread pools and executors.
threads = ThreadPool(2)
assert_type(threads.spawn(repeat, "a"), ThreadResult[str])
assert_type(threads.spawn(repeat, "a").get(), str)
assert_type(threads.apply(repeat, ("a",)), str)
assert_type(threads.map(repeat, ["a"]), list[str])
hub = treadle.get_hub()
assert_type(hub, Hub)
hub.threadpool.maxsize = 30
assert_type(hub.threadpool.apply(many, (1, "a", 2.0)), bytes)
assert_type(hub.threadpool.spawn(repeat, "a").get(), str)
hub.loop.run_callback(print, 1)
with GreenletPoolExecutor(2) as executor:
    assert_type(executor.submit(repeat, "a").result(), str)
with ThreadPoolExecutor(2) as thread_executor:
    future: Future[str] = thread_executor.submit(repeat, "a")

# Results, queues, locks.
result = AsyncResult[int]()
result.set(3)
assert_type(result.get(), int)
AsyncResult[None]().set()
assert_type(Event().wait(1), bool)
queue: Queue[int] = Queue(3)
queue.put(1)
assert_type(queue.get(timeout=1), int)
for item in queue:
    assert_type(item, int)
assert_type(PriorityQueue[tuple[int, str]]().get(), tuple[int, str])
assert_type(JoinableQueue[int]().get(), int)
assert_type(SimpleQueue[int]().get(), int)
assert_type(Channel[int]().get(), int)
with Semaphore(2), BoundedSemaphore(1), RLock(), Condition():
    pass
assert_type(Semaphore().acquire(timeout=1), bool)
Waiter().switch(3)
errors: tuple[type[Exception], ...] = (Empty, Full, gaierror, timeout)


class Mine(local):
    x: int = 0


assert_type(Mine().x, int)

# Timeouts.
with treadle.Timeout(1) as limit:
    assert_type(limit, Timeout)
with treadle.Timeout(1, False), treadle.Timeout(None), treadle.Timeout(1, ValueError("late")):
    pass
assert_type(with_timeout(1, repeat, "a", 2, end="!"), str)
assert_type(treadle.with_timeout(1, repeat, "a", timeout_value=None), str | None)

# Servers.


def serve(client: socket.socket, address: tuple[str, int]) -> None: ...


def receive(data: bytes, address: tuple[str, int]) -> None: ...


def application(environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
    return []


with StreamServer(("127.0.0.1", 0), serve, spawn=Pool(10)) as server:
    assert_type(server.server_port, int | None)
StreamServer("unix:/path", serve, spawn=100)
StreamServer(8000, serve, spawn=treadle.spawn_raw)
DatagramServer(("127.0.0.1", 0), receive)
WSGIServer(("127.0.0.1", 0), application, log=None).serve_forever()
BackdoorServer(("127.0.0.1", 0), locals={"a": 1})

# Modules that replace those of the standard library.
connection = socket.socket(AF_INET, SOCK_STREAM)
connection.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
assert_type(connection.recv(1), bytes)
assert_type(socket.create_connection(("localhost", 80)), socket.socket)
context = ssl.create_default_context()
context.minimum_version = ssl.TLSVersion.TLSv1_2
assert_type(os.read(0, 1), bytes)
assert_type(os.getpid(), int)
assert_type(os.fork(), int)
number: int = signal.SIGTERM
readable, _, _ = select.select([connection], [], [], 1)
selectors.DefaultSelector().register(connection, selectors.EVENT_READ)
assert_type(time.monotonic(), float)
time.sleep(0.1)
done = run(["true"], capture_output=True, text=True, stdin=DEVNULL)
assert_type(done, stdlib_subprocess.CompletedProcess[str])
subprocess.Popen(["true"], stdout=PIPE)
check_output(["true"])
failures: tuple[type[Exception], ...] = (CalledProcessError, TimeoutExpired)
with FileObject(0, "rb") as file:
    file.read()
monkey.patch_all(thread=False)

# Settings.
treadle.config.max_blocking_time = 0.5
treadle.config.monitor_thread = True
treadle.config.max_memory_usage = "100 MB"
treadle.config.resolver = ["ares", "dnspython"]
treadle.signal_handler(signal.SIGHUP, repeat, "a", end="!").cancel()

# Modules are attributes.
treadle.pool.Pool(2)
treadle.event.Event()
treadle.queue.Queue[int]()
