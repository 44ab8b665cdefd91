"""The same bytes to the strict server, to treadle.pywsgi's, and to h11: all make the same of them.

Where they differ, a reason must be in the tables of :mod:`.differential`. That the bytes come in
other pieces must make no difference at all.
"""

import os
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from treadle.http.limits import UNBOUNDED, Limits
from treadle.http.policy import LIKE_GEVENT, STRICT

from .conftest import Site
from .differential import (
    APPLICATIONS,
    CHUNKED,
    LAXER,
    LAXER_LIKE_GEVENT,
    OTHER_LIKE_GEVENT,
    STRICTER,
    Call,
    Outcome,
    Server,
    compare,
    get,
    parsed,
    read_all,
    read_nothing,
    references,
    say_close,
)
from .grammar import VALID, connection, in_pieces

#: How long each test searches, if TREADLE_FUZZ_SECONDS is set; else it tries the same few cases.
SECONDS = float(os.environ.get("TREADLE_FUZZ_SECONDS", "0"))
CASES = 500
#: Such that some of the requests of the grammar are just within them, and some are not.
TIGHT = Limits(request_line=30, header_count=6, header_size=150, trailer_size=20, body_size=40)

COMMON = {**STRICTER, **LAXER}
DIFFERENCES = {**COMMON, **LAXER_LIKE_GEVENT, **OTHER_LIKE_GEVENT}


#: The case that is being tried, to be shown.
CASE: list[str] = []


@pytest.fixture(autouse=True)
def show_case() -> Iterator[None]:
    CASE.clear()
    yield
    print(*CASE)


#: What the search has found that servers did differently.
FOUND = {
    "an HTTP/1.0 client that wants both": (
        b"GET / HTTP/1.0\r\nConnection: keep-alive, close\r\n\r\n" + VALID[0]
    ),
    "the connection ends in a trailer": (
        get(CHUNKED, rest=b"0\r\nConnection: close\r\n\r\n") + VALID[0]
    ),
    "another request's upgrade": (
        get(b"Connection: Upgrade", b"Content-Length: 3", rest=b"abc")
        + get(b"Upgrade: c", b"Connection: Upgrade")
        + VALID[0]
    ),
    "a handshake after a request": (
        VALID[0]
        + get(
            b"Upgrade: websocket",
            b"Connection: Upgrade",
            b"Sec-WebSocket-Version: 13",
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        )
    ),
}


def servers() -> dict[str, Server]:
    return {
        "strict": Server(STRICT, Limits()),
        "pywsgi": Server(LIKE_GEVENT, UNBOUNDED),
        "strict, tight": Server(STRICT, TIGHT),
        "pywsgi, tight": Server(LIKE_GEVENT, TIGHT),
    }


def cases() -> Iterator[tuple[random.Random, bytes]]:
    """Yield generators of random numbers, and connections."""
    seed = random.randrange(1 << 32) if SECONDS else 0
    until = time.monotonic() + SECONDS
    number = 0
    while number < CASES or time.monotonic() < until:
        rng = random.Random(f"{seed} {number}")
        data = connection(rng)
        CASE[:] = [f"case {number} of seed {seed}: {data!r}"]
        yield rng, data
        number += 1


def same(one: Outcome, other: Outcome) -> None:
    """Check that two servers made the same of a connection, for an application that reads all."""
    # The application is not called if the body is known to be bad at once.
    assert good_heads(one) == good_heads(other)
    assert answers(one) == answers(other)


def answers(outcome: Outcome) -> list[Any]:
    # Of two faults, the one that is found first depends on the pieces.
    return [
        ("refused" if response.status >= 400 else response.body, response.closes)
        for response in outcome.responses
    ]


def good_heads(outcome: Outcome) -> list[Any]:
    return [
        (call.head, call.websocket, call.fault, call.body)
        for call in outcome.calls
        if call.fault != "bad"
    ]


def test_against_h11() -> None:
    all_servers = servers()
    used: Counter[str] = Counter()
    for _, data in cases():
        reference = references(data)
        for name in ("strict", "pywsgi"):
            outcome = all_servers[name].outcome([data])
            used.update(compare(reference, outcome, like_gevent=name == "pywsgi"))
    print(*(f"{used[name]:6} {name}" for name in DIFFERENCES), sep="\n")


@pytest.mark.parametrize("name", DIFFERENCES)
def test_each_difference_is_one(name: str) -> None:
    data = DIFFERENCES[name].example
    reference = references(data)
    like_gevent = name not in COMMON
    server = servers()["pywsgi" if like_gevent else "strict"]
    assert compare(reference, server.outcome([data]), like_gevent=like_gevent) == [name]
    if like_gevent:
        assert compare(reference, servers()["strict"].outcome([data]), like_gevent=False) == []


def test_pieces_do_not_matter() -> None:
    for rng, data in cases():
        pieces = [[bytes([byte]) for byte in data], in_pieces(rng, data)]
        cut = rng.randrange(len(data) + 1)
        pieces.append([data[:cut], data[cut:]])
        for server in servers_of_all:
            whole = server.outcome([data])
            for each in pieces:
                same(whole, server.outcome(each))


def test_applications_do_not_matter() -> None:
    """What an application does decides about its own response only: the next request is the same.

    Each request has one response, which h11 can read. A body that is bad, or that the client might
    not send, may end the connection earlier.
    """
    for rng, data in cases():
        application = rng.choice(APPLICATIONS)
        pieces = rng.choice([[data], in_pieces(rng, data)])
        for server in servers_of_all[:2]:
            usual = server.outcome([data])
            known = usual.whole()
            # The end of the connection may be the end of a response to HTTP/1.0.
            old = [at for at, call in enumerate(usual.calls) if call.version == "HTTP/1.0"]
            known = min([known, *(at + 1 for at in old)])
            outcome = server.outcome(pieces, application)
            if application is say_close:
                known = min(known, 1)
            elif any(asks_for_websocket(call) for call in usual.calls):
                continue  # as with gevent, all that follows is the application's to read
            heads = [call.head for call in usual.calls[:known]]
            assert [call.head for call in outcome.calls[:known]] == heads
            assert all(response.complete for response in outcome.responses[:known])
            assert len(outcome.responses) >= known


def asks_for_websocket(call: Call) -> bool:
    return call.fields.get("HTTP_UPGRADE", "").lower() == "websocket"


def test_a_real_socket_does_not_matter(site: Callable[..., Site]) -> None:
    local = servers_of_all[0]
    here = site(local, Limits())
    for number, (_, data) in enumerate(cases()):
        if number % 10:
            continue
        expected = local.outcome([data])
        local.calls = []
        answer = here.exchange(data, end=True)
        calls = local.calls
        same(expected, Outcome(calls, parsed(answer, [call.method for call in calls])))
    assert here.errors == []


@pytest.mark.parametrize("name", FOUND)
def test_found(name: str) -> None:
    data = FOUND[name]
    for server, like_gevent in zip(servers_of_all, (False, True), strict=False):
        whole = server.outcome([data])
        assert compare(references(data), whole, like_gevent=like_gevent) == []
        for cut in range(1, len(data)):
            same(whole, server.outcome([data[:cut], data[cut:]]))


def test_what_was_read_as_input_is_no_request() -> None:
    data = get(b"Connection: Upgrade", b"Upgrade: websocket", rest=VALID[0] * 2)
    for application, count in ((read_all, 1), (read_nothing, 3), (read_one_request, 2)):
        for pieces in ([data], [data[:100], data[100:]], [data[:-5], data[-5:]]):
            outcome = servers_of_all[1].outcome(pieces, application)
            assert len(outcome.calls) == len(outcome.responses) == count


def read_one_request(call: Call, body: Any, start_response: Any) -> list[bytes]:
    body.read(len(VALID[0]) if asks_for_websocket(call) else 0)
    start_response("200 OK", [])
    return []


def test_the_size_of_a_head_is_what_was_sent() -> None:
    """Blanks count, which are no part of a value; and the limit is the same for all pieces."""
    server = servers_of_all[2]
    room = TIGHT.header_size - len(b"Host: a\r\n" + b"X:" + b"\r\n")
    for blanks in (0, 9):
        for more, status in ((0, 200), (1, 431)):
            line = b"X:" + b" " * blanks + b"a" * (room - blanks + more)
            data = get(line, target=b"/" + b"a" * 29)
            for cut in range(1, len(data)):
                outcome = server.outcome([data[:cut], data[cut:]])
                assert [response.status for response in outcome.responses] == [status]
    for size in range(room - 4, room + 2):
        data = get(b"X:" + b" " * size)
        whole = server.outcome([data])
        for cut in range(1, len(data)):
            same(whole, server.outcome([data[:cut], data[cut:]]))
    assert whole.refusal is not None


servers_of_all = list(servers().values())


@pytest.mark.parametrize("data", VALID)
def test_every_cut(data: bytes) -> None:
    """Of the bytes, which changes nothing; and of the connection, which is never the server's."""
    for server in servers_of_all[:2]:
        whole = server.outcome([data + VALID[0]])
        assert {response.status for response in whole.responses} == {200}
        for cut in range(1, len(data)):
            same(whole, server.outcome([data[:cut], data[cut:] + VALID[0]]))
            ended = server.outcome([data[:cut]])
            assert all(response.status == 200 for response in ended.responses)
            assert all(call.fault == "cut" for call in ended.calls)
