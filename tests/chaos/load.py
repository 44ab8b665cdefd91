"""Clients that send requests at a steady rate, whatever the server does."""

from __future__ import annotations

import time
from random import Random
from typing import Any

import treadle
from treadle.pool import Pool

from .connections import (
    PATIENCE,
    CutError,
    Http1,
    Http2,
    ReturnedError,
)
from .dialler import Dialler
from .ledger import Ledger
from .requests import Request, draw

#: The most requests that wait for an answer at once, or batches of them. Beyond that the rate
#: drops: on a busy machine more clients would do nothing but TLS handshakes.
CLIENTS = 150
#: The most requests at once on a connection over HTTP/2.
STREAMS = 8
#: The most connections that are kept of each protocol: so the memory of the workers, which is
#: mostly that of their connections, does not grow with the time.
KEPT = 40
#: How often a request is sent again after the server has said that it was not looked at.
ATTEMPTS = 20
#: What is asked for one after the other without waiting: it fits into one packet.
_SMALL = {"hello": 4, "slow": 1, "streamed": 1}


class Load:
    """Sends *rate* requests a second, each in its time; :attr:`rate` is what came of it."""

    def __init__(self, dialler: Dialler, rate: float, ledger: Ledger, seed: int) -> None:
        self._dialler, self._rate, self._ledger = dialler, rate, ledger
        self.rate = 0.0
        self._random = Random(seed)
        self._number = 0
        self._idle: list[Http1] = []
        self._shared: list[Http2] = []
        self._clients = Pool(CLIENTS)

    def run(self, seconds: float) -> None:
        """Send requests for so long, and wait for all answers."""
        began = time.monotonic()
        sent = 0.0
        while time.monotonic() - began < seconds:
            passed = time.monotonic() - began
            if sent < (passed - 1) * self._rate:
                sent = (passed - 1) * self._rate  # what could not be sent is not sent all at once
            while sent < passed * self._rate:
                requests = self._next()
                sent += len(requests)
                self._ledger.counts["sent"] += len(requests)
                self._clients.spawn(self._client, requests)
            treadle.sleep(0.003)
        self.rate = self._number / (time.monotonic() - began)
        self._clients.join()
        for connection in [*self._idle, *self._shared]:
            connection.close()

    def _next(self) -> list[Request]:
        pipelined = self._random.random() < 0.03
        kinds = {"kinds": _SMALL} if pipelined else {}
        requests = []
        for _ in range(self._random.randint(2, 6) if pipelined else 1):
            self._number += 1
            requests.append(draw(self._random, self._number, **kinds))
        return requests

    def _client(self, requests: list[Request]) -> None:
        """Have *requests* answered; those of more than one are sent at once, over HTTP/1.1."""
        over2 = len(requests) == 1 and self._random.random() < 0.4
        left = requests
        for _ in range(ATTEMPTS):
            connection = self._shared_connection() if over2 else self._own_connection()
            if connection is None:
                continue
            left = self._try(connection, left)
            self._put_back(connection)
            if not left:
                return
        for request in left:
            self._ledger.wrong(request, f"not answered in {ATTEMPTS} attempts")

    def _try(self, connection: Http1 | Http2, requests: list[Request]) -> list[Request]:
        """Ask on *connection*; return the requests that are to be sent again."""
        sent = time.monotonic()
        left = list(requests)
        try:
            for answer in connection.ask(requests):
                self._ledger.answered(left.pop(0), answer, connection.worker)
        except ReturnedError:
            self._ledger.counts["returned, sent again"] += len(left)
        except CutError as exc:
            connection.ended = True
            self._ledger.cut(left[0], connection, sent, exc)
        except (TimeoutError, treadle.Timeout):
            connection.ended = True
            late = f"no answer in {PATIENCE} s (worker {connection.worker})"
            self._ledger.wrong(left.pop(0), late)
        except Exception as exc:  # what came is not HTTP, or the client is wrong
            connection.ended = True
            self._ledger.wrong(left.pop(0), f"{exc!r} (worker {connection.worker})")
        return left

    def _own_connection(self) -> Http1 | None:
        while self._idle and self._random.random() < 0.95:
            idle = self._idle.pop(self._random.randrange(len(self._idle)))
            if idle.usable():
                return idle
            idle.close()
        connection: Http1 | None = self._open(Http1)
        return connection

    def _shared_connection(self) -> Http2 | None:
        self._shared = [each for each in self._shared if not each.ended]
        free = [each for each in self._shared if each.open < STREAMS]
        if free and (self._random.random() < 0.95 or len(self._shared) >= KEPT):
            return self._random.choice(free)
        connection: Http2 | None = self._open(Http2)
        if connection is not None:
            self._shared.append(connection)
        return connection

    def _open(self, kind: type[Any]) -> Any:
        opened = time.monotonic()
        try:
            sock = self._dialler.dial(kind.PROTOCOL)
        except TimeoutError as exc:
            self._ledger.wrong(Request(0, "connect"), f"late: {exc!r}")
        except ConnectionRefusedError as exc:
            self._ledger.wrong(Request(0, "connect"), f"refused: {exc!r}")
            treadle.sleep(0.1)
        except OSError as exc:
            self._ledger.cut_in_handshake(opened, exc)
        else:
            self._ledger.counts["connections"] += 1
            connection = kind(sock, opened)
            connection.uses = self._random.choice((1, 5, 50, 500))
            return connection
        return None

    def _put_back(self, connection: Http1 | Http2) -> None:
        connection.uses -= 1
        full = isinstance(connection, Http1) and len(self._idle) >= KEPT
        if connection.ended or connection.uses <= 0 or full:
            connection.ended = True
            if not connection.open:
                connection.close()
        elif isinstance(connection, Http1):
            self._idle.append(connection)
