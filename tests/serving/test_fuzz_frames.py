"""Random HTTP/2 and WebSocket frames: the server survives them and reports no error."""

import contextlib
import os
import random
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from h2.connection import H2Connection

from treadle.http.limits import Limits
from treadle.hub import get_hub
from treadle.pywsgi import WSGIServer

from .conftest import Site, received
from .test_http2 import echo as echo_body
from .test_http2 import head
from .test_websocket import DEFLATE, TABLE, echo, frame, handshake

#: How long each test searches. TREADLE_FUZZ_SECONDS sets it for a longer search.
SECONDS = float(os.environ.get("TREADLE_FUZZ_SECONDS", "3"))
LIMITS = replace(Limits(), message_size=2000, body_size=2000, streams=5, body_time=0.05)


@pytest.fixture
def failures(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Return a list that collects what greenlets raise."""
    found: list[Any] = []
    hub = get_hub()
    monkeypatch.setattr(type(hub), "handle_error", lambda self, *args: found.append(args[1:3]))
    return found


def mutated(rng: random.Random, data: bytes) -> bytes:
    """Return *data* with up to four random changes."""
    changed = bytearray(data)
    for _ in range(rng.randint(0, 4)):
        at = rng.randrange(len(changed) + 1)
        kind = rng.randrange(4)
        if kind == 0:
            del changed[at : at + rng.randint(1, 8)]
        elif kind == 1:
            changed[at:at] = changed[at : at + rng.randint(1, 30)]
        elif kind == 2 and at < len(changed):
            changed[at] = rng.randrange(256)
        else:
            changed[at:at] = rng.randbytes(rng.randint(1, 9))
    return bytes(changed)


def http2_session(rng: random.Random) -> bytes:
    """Return what a client sends that opens some streams and also does other things."""
    client = H2Connection()
    client.initiate_connection()
    for _ in range(rng.randint(1, 6)):
        id = client.get_next_available_stream_id()
        body = rng.random() < 0.5
        client.send_headers(id, head("POST", "/" + "a" * rng.randrange(20)), end_stream=not body)
        if body:
            client.send_data(id, rng.randbytes(rng.randrange(300)), end_stream=rng.random() < 0.8)
        kind = rng.randrange(5)
        if kind == 0:
            client.reset_stream(id)
        elif kind == 1:
            client.ping(b"12345678")
        elif kind == 2:
            client.increment_flow_control_window(rng.randint(1, 1000))
        elif kind == 3:
            client.update_settings({4: rng.randint(0, 100_000)})
    return bytes(client.data_to_send())


def test_http2(
    site: Callable[..., Site], monkeypatch: pytest.MonkeyPatch, failures: list[Any]
) -> None:
    monkeypatch.setattr(WSGIServer, "http2", True)
    here = site(echo_body, LIMITS)
    seed = random.randrange(1 << 32)
    rng = random.Random(seed)
    until, count = time.monotonic() + SECONDS, 0
    while count < 20 or time.monotonic() < until:
        data = http2_session(rng)
        data = data[:24] + mutated(rng, data[24:])
        with contextlib.suppress(ConnectionResetError):
            here.exchange(data, end=True)
        assert failures == here.errors == [], f"seed {seed}, case {count}: {data!r}"
        count += 1


def test_websocket(site: Callable[..., Site], failures: list[Any]) -> None:
    here = site(echo, LIMITS)
    seed = random.randrange(1 << 32)
    rng = random.Random(seed)
    seeds = [sent for sent, _ in TABLE.values() if len(sent) < 1000]
    seeds.append(frame(2, rng.randbytes(100), rsv=4))
    until, count = time.monotonic() + SECONDS, 0
    while count < 20 or time.monotonic() < until:
        sent = mutated(rng, b"".join(rng.choice(seeds) for _ in range(rng.randint(1, 3))))
        lines = (DEFLATE,) if rng.random() < 0.5 else ()
        with here.connect() as sock, contextlib.suppress(ConnectionError):
            sock.sendall(handshake(*lines) + sent)
            sock.shutdown(1)
            answer = received(sock)
            assert answer.startswith(b"HTTP/1.1 101 ")
        assert failures == here.errors == [], f"seed {seed}, case {count}: {sent!r}"
        count += 1
