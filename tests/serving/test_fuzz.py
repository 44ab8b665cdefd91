"""Random bytes made from requests: splitting them must not matter, and results must be valid."""

import os
import random
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from treadle.http.h1 import RequestReader
from treadle.http.limits import Limits
from treadle.http.policy import LIKE_GEVENT, STRICT, Policy

from .conftest import Site
from .grammar import in_pieces, mutated
from .test_bad_requests import CHUNKED, TABLE, get, hello, post

#: How long each test searches. TREADLE_FUZZ_SECONDS sets it for a longer search.
SECONDS = float(os.environ.get("TREADLE_FUZZ_SECONDS", "4"))
LIMITS = Limits(request_line=300, header_count=12, header_size=600, body_size=2000)

SEEDS = [
    get(),
    get(b"Connection: close"),
    get(b"Connection: Upgrade", b"Upgrade: websocket"),
    post(b"Content-Length: 5", body=b"abcde"),
    post(b"Content-Length: 5", b"Expect: 100-continue", body=b"abcde"),
    post(b"Content-Length: 5", b"Connection: Upgrade", b"Upgrade: h2c", body=b"abcde"),
    CHUNKED + b"5\r\nabcde\r\nA;x=y\r\n0123456789\r\n0\r\nTrailer: x\r\n\r\n",
    b"GET http://a/b?c HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    *(data for data, _ in TABLE.values() if len(data) < 1000),
]
BITS = [b"\r\n", b"\n", b"\r", b" ", b"\t", b":", b"\0", b"0", b"\r\n\r\n", b"\x80", b";", b","]
BITS += [b"Content-Length: 3\r\n", b"Transfer-Encoding: chunked\r\n", b"HTTP/1.1", b"Host: a\r\n"]


def mutated_requests(rng: random.Random) -> bytes:
    """Return one to four requests with up to six random changes."""
    data = b"".join(rng.choice(SEEDS) for _ in range(rng.randint(1, 4)))
    return mutated(rng, data, BITS, range(7))


def outcome(pieces: list[bytes]) -> tuple[list[Any], str | None]:
    """Parse *pieces* as an HTTP/1.1 connection; return its requests and the status of its error."""
    reader = RequestReader(LIMITS)
    found: list[Any] = []
    for piece in pieces:
        reader.feed(piece)
        while reader.rest is not None:
            reader.resume()
    for request in reader.ready:
        assert request.version in ("1.0", "1.1")
        assert len(request.headers) <= LIMITS.header_count
        assert not (request.chunked and request.length is not None)
        body = b"".join(request.body or [])
        if request.complete and request.length is not None:
            assert len(body) == request.length
        found.append((request.method, request.target, request.headers, body, request.complete))
    status = reader.error.status if reader.error is not None else None
    return found, status


def resident() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_long_names_are_not_kept(site: Callable[..., Site]) -> None:
    """Neither those of clients nor those of applications, of headers and statuses."""
    tail = "a" * 50_000

    def long_names(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        number = len(here.requests)
        start_response(f"200 {number}{tail}", [(f"X{number}{tail}", "1")])
        here.requests[:-1] = [{}] * (number - 1)
        return []

    here = site(long_names)
    for number in range(602):
        if number == 401:  # by then, the allocator holds as much as it ever will
            before = resident()
        RequestReader(Limits()).feed(get(b"Y%d%s: 1" % (number, tail.encode())))
        assert here.exchange(get(b"Connection: close", b"Z%d: 1" % number)).startswith(b"HTTP")
    assert resident() - before < 12 << 20  # each of the three tables would have grown by 10 MB


def test_pieces_do_not_matter() -> None:
    seed = random.randrange(1 << 32)
    rng = random.Random(seed)
    until = time.monotonic() + SECONDS
    count = 0
    while count < 100 or time.monotonic() < until:
        data = mutated_requests(rng)
        whole, error = outcome([data])
        parts, error_in_parts = outcome(in_pieces(rng, data))
        where = f"seed {seed}, case {count}: {data!r}"
        assert [each[:3] for each in whole] == [each[:3] for each in parts], where
        assert (error is None) == (error_in_parts is None), where
        if error is None:
            assert whole == parts, where
        count += 1


def read_and_greet(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    with suppress(ConnectionResetError):  # raised when the client ends within a body
        environ["wsgi.input"].read()
    return hello(environ, start_response)


@pytest.mark.parametrize(
    ("application", "policy"),
    [(hello, STRICT), (read_and_greet, LIKE_GEVENT)],
    ids=["strict", "like gevent"],
)
def test_a_server_survives(site: Callable[..., Site], application: Any, policy: Policy) -> None:
    seed = random.randrange(1 << 32)
    rng = random.Random(seed)
    here = site(application, LIMITS, policy=policy)
    until = time.monotonic() + SECONDS / 2
    while time.monotonic() < until:
        data = mutated_requests(rng)
        try:
            answer = here.exchange(data, end=True)
        except ConnectionResetError:
            continue  # the server closed before it had read everything
        while answer:
            code = int(answer[9:12])
            assert answer.startswith(b"HTTP/1.1 "), (seed, data, answer)
            assert code != 500, (seed, data, answer)
            answer = answer[9:].partition(b"HTTP/1.1 ")[2]
            answer = b"HTTP/1.1 " + answer if answer else b""
    assert here.errors == []
    assert here.exchange(get(b"Connection: close")).endswith(b"hello")
