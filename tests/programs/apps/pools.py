"""Interrupt a pool's user at each of its waits, and print, as JSON, what that did to the pool.

``python pools.py POOL URL``; POOL is a name of POOLS. The report has, for each KIND and HOW, the
number of waits, and the faults: which were found, and after the interruption of which waits.

KIND is how the user is interrupted: ``kill``, ``timeout``, or ``scope``: its scope is cancelled, so
that each further wait raises too. HOW is what else goes on. With ``free`` others use the pool
meanwhile. With ``held`` somebody also holds the pool's locks for a moment, again and again, as a
native thread may: so also those who only want to give a connection back have to wait. With
``shielded`` that is so too, but the user's own code takes and gives back in a shield.
"""

from treadle import monkey

monkey.patch_all()

import itertools
import json
import logging
import os
import queue
import ssl
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from typing import Any

import bson
import psycopg_pool
import pymongo
import redis
import requests
import sqlalchemy
import trustme
import urllib3
from requests.adapters import HTTPAdapter

import treadle
import treadle.queue
from treadle import socket
from treadle.testing import at_every_park

NAME, URL = sys.argv[1:]
KINDS = "kill", "timeout", "scope"
SIZE = 2  # connections of a pool
OTHERS = 2  # who use it, besides the one who is interrupted
SECONDS = 3  # for what takes milliseconds

tokens = map("token-{}".format, itertools.count())
Ask = Callable[[str], str]


class HangError(Exception):
    """Something did not end."""


class Pool:
    """A pool to be tested, new for each run."""

    #: What guards it.
    locks: tuple[Any, ...] = ()
    #: Only what the user's own code does can be shielded by it.
    hows: tuple[str, ...] = ("free", "held")
    shielded = False

    def shield(self) -> AbstractContextManager[object]:
        return treadle.shield() if self.shielded else nullcontext()

    @contextmanager
    def taken(self) -> Iterator[Ask]:
        """Take a connection, and give it back at the end; yields what asks with it."""
        raise NotImplementedError

    def use(self, token: str) -> str:
        """Take a connection, ask with it for *token*, give it back; return the answer."""
        with self.taken() as ask:
            return ask(token)

    def fault(self) -> str | None:
        """What is wrong with the pool's own count while nobody uses it."""
        return None

    def close(self) -> None:
        """Close all its connections."""


class Urllib3(Pool):
    def __init__(self) -> None:
        self.pool = urllib3.connection_from_url(URL, maxsize=SIZE, block=True, timeout=5)
        self.free: Any = self.pool.pool
        self.locks = (self.free.mutex,)

    def use(self, token: str) -> str:
        return self.pool.request("GET", f"/{token}").json()["path"][1:]

    @contextmanager
    def taken(self) -> Iterator[Ask]:
        response = self.pool.request("GET", "/held", preload_content=False, pool_timeout=1)
        try:
            yield lambda token: token if response.json() == {"path": "/held"} else response.data
        finally:
            response.release_conn()

    def fault(self) -> str | None:
        return None if self.free.qsize() == SIZE else f"{self.free.qsize()} places are left"

    def close(self) -> None:
        self.pool.close()


class Requests(Pool):
    def __init__(self) -> None:
        self.session = requests.Session()
        adapter = HTTPAdapter(pool_connections=1, pool_maxsize=SIZE, pool_block=True)
        self.session.mount("http://", adapter)
        self.session.get(f"{URL}/first")  # makes the pool of that host
        pools: Any = adapter.poolmanager.pools
        self.free: Any = pools[pools.keys().pop()].pool
        self.locks = (self.free.mutex, adapter.poolmanager.pools.lock)

    @contextmanager
    def taken(self) -> Iterator[Ask]:
        with self.session.get(f"{URL}/held", stream=True, timeout=5) as response:
            yield lambda token: token if response.json() == {"path": "/held"} else response.text

    def use(self, token: str) -> str:
        return self.session.get(f"{URL}/{token}", timeout=5).json()["path"][1:]

    def fault(self) -> str | None:
        return None if self.free.qsize() == SIZE else f"{self.free.qsize()} places are left"

    def close(self) -> None:
        self.session.close()


class Psycopg(Pool):
    hows = "free", "held", "shielded"

    def __init__(self) -> None:
        self.pool = psycopg_pool.ConnectionPool(
            URL, min_size=SIZE, max_size=SIZE, num_workers=1, timeout=1, open=True
        )
        self.pool.wait(SECONDS)
        self.locks = (self.pool._lock,)

    @contextmanager
    def taken(self) -> Iterator[Ask]:
        if not self.shielded:
            with self.pool.connection() as connection:
                yield lambda token: connection.execute("select %s", [token]).fetchone()[0]
            return
        with self.shield():
            connection = self.pool.getconn()
        try:
            yield lambda token: connection.execute("select %s", [token]).fetchone()[0]
        finally:
            with self.shield():
                self.pool.putconn(connection)

    def fault(self) -> str | None:
        end = time.monotonic() + SECONDS / 3
        while self.pool.get_stats()["pool_available"] < SIZE and time.monotonic() < end:
            time.sleep(0.01)  # its worker replaces connections that were broken off
        found = self.pool.get_stats()["pool_available"], len(self.pool._waiting)
        return None if found == (SIZE, 0) else f"{found[0]} are left, {found[1]} wait"

    def close(self) -> None:
        self.pool.close()


class SQLAlchemy(Pool):
    hows = "free", "held", "shielded"

    def __init__(self) -> None:
        self.engine = sqlalchemy.create_engine(
            URL.replace("postgresql:", "postgresql+psycopg:"),
            pool_size=SIZE,
            max_overflow=0,
            pool_timeout=1,
        )
        self.pool: Any = self.engine.pool
        self.locks = (self.pool._pool.mutex, self.pool._overflow_lock)

    @contextmanager
    def taken(self) -> Iterator[Ask]:
        with self.shield():
            connection = self.engine.connect()
        try:
            yield lambda token: connection.scalar(sqlalchemy.text(f"select '{token}'"))
        finally:
            with self.shield():
                connection.close()

    def fault(self) -> str | None:
        taken = self.pool.checkedout()
        return None if taken == 0 else f"{taken} count as taken"

    def close(self) -> None:
        self.engine.dispose()


class PyMongo(Pool):
    def __init__(self) -> None:
        self.client: Any = pymongo.MongoClient(
            URL,
            directConnection=True,
            maxPoolSize=SIZE,
            waitQueueTimeoutMS=1000,
            heartbeatFrequencyMS=1_000_000,
        )
        self.client.admin.command("ping")  # the driver gets to know the server
        (server,) = self.client._topology._servers.values()
        self.pool = server.pool
        self.locks = (self.pool.lock,)

    def use(self, token: str) -> str:
        return self.client.admin.command("ping", comment=token)["comment"]

    @contextmanager
    def taken(self) -> Iterator[Ask]:
        with self.pool.checkout() as connection:
            ping = bson.SON([("ping", 1)])
            yield lambda token: connection.command("admin", ping | {"comment": token})["comment"]

    def fault(self) -> str | None:
        pool = self.pool
        found = pool.requests, pool.active_sockets, pool._pending, pool.operation_count
        return None if found == (0, 0, 0, 0) else f"requests, sockets, pending, operations: {found}"

    def close(self) -> None:
        self.client.close()


class Redis(Pool):
    def __init__(self) -> None:
        self.pool: Any = redis.ConnectionPool.from_url(URL, max_connections=SIZE + OTHERS)
        self.locks = (self.pool._lock,)
        self.client = redis.Redis(connection_pool=self.pool)

    def use(self, token: str) -> str:
        return self.client.echo(token).decode()

    @contextmanager
    def taken(self) -> Iterator[Ask]:
        with redis.Redis(connection_pool=self.pool, single_connection_client=True) as client:
            yield lambda token: client.echo(token).decode()

    def fault(self) -> str | None:
        taken = len(self.pool._in_use_connections)
        here = len(self.pool._available_connections)
        if taken == 0 and here == self.pool._created_connections:
            return None
        return f"{taken} taken, {here} of {self.pool._created_connections} here"

    def close(self) -> None:
        self.pool.disconnect()


class BlockingRedis(Redis):
    def __init__(self) -> None:
        self.pool = redis.BlockingConnectionPool.from_url(URL, max_connections=SIZE, timeout=1)
        self.locks = (self.pool.pool.mutex,)
        self.client = redis.Redis(connection_pool=self.pool)

    def fault(self) -> str | None:
        left = self.pool.pool.qsize()
        return None if left == SIZE else f"{left} places are left"


class PatchedQueue(Pool):
    """The pool that many programs have: a queue of what is free."""

    hows = "free", "held", "shielded"

    def __init__(self) -> None:
        self.free: Any = queue.Queue()
        self.locks = (self.free.mutex,)
        for _ in range(SIZE):
            self.free.put(str)

    @contextmanager
    def taken(self) -> Iterator[Ask]:
        with self.shield():
            connection = self.free.get(timeout=1)
        try:
            time.sleep(0.001)
            yield connection
        finally:
            with self.shield():
                self.free.put(connection)

    def fault(self) -> str | None:
        return None if self.free.qsize() == SIZE else f"{self.free.qsize()} are left"


class TreadleQueue(PatchedQueue):
    hows = ("free",)  # it has no lock

    def __init__(self) -> None:
        self.free = treadle.queue.Queue()
        for _ in range(SIZE):
            self.free.put(str)


class FullQueue(PatchedQueue):
    """A queue of limited size that limits how many do something at once: putting may wait."""

    def __init__(self) -> None:
        self.taken_places: Any = queue.Queue(SIZE)
        self.locks = (self.taken_places.mutex,)

    @contextmanager
    def taken(self) -> Iterator[Ask]:
        with self.shield():
            self.taken_places.put(None, timeout=1)
        try:
            time.sleep(0.001)
            yield str
        finally:
            with self.shield():
                self.taken_places.get(timeout=1)

    def fault(self) -> str | None:
        taken = self.taken_places.qsize()
        return None if taken == 0 else f"{taken} places are taken"


class FullTreadleQueue(FullQueue):
    hows = ("free",)

    def __init__(self) -> None:
        self.taken_places = treadle.queue.Queue(SIZE)


authority = trustme.CA()
server_side = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
authority.issue_cert("localhost").configure_cert(server_side)
client_side = ssl.create_default_context()
authority.configure_trust(client_side)


class TLS(Pool):
    """Connections of TLS, new each time, and ended by the user."""

    hows = ("free",)
    peer_ends = False

    def __init__(self) -> None:
        self.servers: list[treadle.Greenlet[None]] = []
        self.open = len(os.listdir("/proc/self/fd"))
        #: Ready connections, so that no greenlet is started in the run.
        self.ready = [self.pair() for _ in range(1 + OTHERS * 5 + SIZE)]

    def pair(self) -> socket.socket:
        ours, theirs = socket.socketpair()
        self.servers.append(treadle.spawn(self.serve, theirs))
        return ours

    def serve(self, connection: socket.socket) -> None:
        with (
            suppress(OSError),  # the other side may break off anywhere
            connection,
            server_side.wrap_socket(connection, server_side=True) as secured,
        ):
            while data := secured.recv(100):
                secured.sendall(data)
                if self.peer_ends:
                    break
            secured.unwrap().close()

    @contextmanager
    def taken(self) -> Iterator[Ask]:
        if not self.ready:
            time.sleep(0.01)
            yield str
            return
        with (
            self.ready.pop() as plain,
            client_side.wrap_socket(plain, server_hostname="localhost") as secured,
        ):
            yield lambda token: self.exchange(secured, token)
            assert not self.peer_ends or secured.recv(100) == b""
            secured.unwrap().close()

    def exchange(self, secured: ssl.SSLSocket, token: str) -> str:
        secured.sendall(token.encode())
        return secured.recv(100).decode()

    def fault(self) -> str | None:
        for each in self.ready:
            each.close()
        self.ready.clear()
        if len(treadle.joinall(self.servers, timeout=SECONDS)) < len(self.servers):
            return "the other side was not told of the end"
        more = len(os.listdir("/proc/self/fd")) - self.open
        return None if more == 0 else f"{more} descriptors are left"


class TLSEndedByPeer(TLS):
    peer_ends = True


POOLS: dict[str, type[Pool]] = {
    "urllib3": Urllib3,
    "requests": Requests,
    "psycopg": Psycopg,
    "sqlalchemy": SQLAlchemy,
    "pymongo": PyMongo,
    "redis": Redis,
    "redis-blocking": BlockingRedis,
    "queue": PatchedQueue,
    "queue-treadle": TreadleQueue,
    "queue-full": FullQueue,
    "queue-treadle-full": FullTreadleQueue,
    "tls": TLS,
    "tls-ended-by-peer": TLSEndedByPeer,
}


class Trial:
    """One run: a new pool, those who use it besides, and the faults found at the end."""

    def __init__(self, how: str) -> None:
        self.stop = False
        self.faults: dict[str, str] = {}
        self.scope = treadle.CancelScope()
        self.pool = POOLS[NAME]()
        self.pool.shielded = how == "shielded"
        self.began = treadle.event.Event()
        self.others = [treadle.spawn(self.other) for _ in range(OTHERS)]
        if how != "free":
            self.others += [treadle.spawn(self.hold, lock) for lock in self.pool.locks]

    def ask(self, use: Ask) -> None:
        """Ask for something new; a wrong answer is a fault."""
        token = next(tokens)
        answer = use(token)
        if answer != token:
            self.faults["mixed up"] = f"{answer} for {token}"

    def other(self) -> None:
        """Use the pool until the one who is interrupted has ended."""
        self.began.wait()
        while not self.stop:
            try:
                self.ask(self.pool.use)
            except Exception as exc:
                self.faults[type(exc).__name__] = "of another user"
                return
            time.sleep(0)

    def hold(self, lock: Any) -> None:
        """Hold the lock most of that time."""
        self.began.wait()
        while not self.stop:
            with lock:
                time.sleep(0.0002)
            time.sleep(0)

    def user(self) -> None:
        """Use the pool twice; is what is interrupted."""
        self.began.set()
        with treadle.Timeout(10 * SECONDS, HangError), self.scope:
            try:
                time.sleep(0)  # the others come first
                self.ask(self.pool.use)
                self.ask(self.pool.use)
            except Exception as exc:
                self.faults[type(exc).__name__] = "of the user itself"
            finally:
                self.stop = True

    def check(self) -> dict[str, str]:
        """Look at what is left; return the faults."""
        if len(treadle.joinall(self.others, timeout=SECONDS)) < len(self.others):
            self.faults["hang"] = "of other users"
            treadle.killall(self.others)
        for lock in self.pool.locks:
            if lock.acquire(blocking=False):
                lock.release()
            else:
                self.faults["locked"] = repr(lock)
                return self.faults
        try:
            with treadle.Timeout(SECONDS, HangError):
                fault = self.pool.fault()
                if fault is not None:
                    self.faults["lost"] = fault
                with ExitStack() as stack:
                    for _ in range(SIZE):
                        self.ask(stack.enter_context(self.pool.taken()))
        except Exception as exc:
            self.faults.setdefault("lost", f"fewer than {SIZE} are given: {exc!r}")
        self.pool.close()
        return self.faults


def trials(kind: str, how: str) -> dict[str, Any]:
    """Interrupt the user at each wait; return the report."""
    trial = Trial(how)
    found: dict[str, dict[int, str]] = {}
    runs = itertools.count(-1)  # the first one is not disturbed

    def user() -> None:
        trial.user()

    def check() -> None:
        nonlocal trial
        number = next(runs)
        for fault, details in trial.check().items():
            found.setdefault(fault, {})[number] = details
        trial = Trial(how)

    disturb: dict[str, Any] = {
        "kill": {"raises": treadle.GreenletExit},
        "timeout": {"raises": treadle.Timeout},
        "scope": {"call": lambda: trial.scope.cancel()},
    }
    parks = at_every_park(user, check=check, leaks=False, **disturb[kind])
    trial.pool.close()
    return {"kind": kind, "how": how, "parks": parks, "faults": found}


logging.getLogger("psycopg").setLevel(logging.ERROR)  # it warns of what is tested here
first = Trial("free")  # opens what this process opens once
first.user()
first.check()
print(json.dumps([trials(kind, how) for how in POOLS[NAME].hows for kind in KINDS]))
