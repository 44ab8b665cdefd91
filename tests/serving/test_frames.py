"""The reader of WebSocket frames beside wsproto and websockets: the same bytes to all."""

from __future__ import annotations

import gc
import os
import random
import time
import zlib
from collections.abc import Callable
from typing import Any

import pytest
import wsproto.connection
import wsproto.events
from websockets import frames as websockets_frames
from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.protocol import Protocol, Side

from treadle.http.frames import BINARY, CLOSE, PING, TEXT, FrameReader, ProtocolError, frame
from treadle.http.websocket import Deflate

from .test_fuzz_frames import mutated
from .test_websocket import TABLE, closing
from .test_websocket import frame as from_client

#: How long the search takes; TREADLE_FUZZ_SECONDS sets it for a longer one.
TOO_LONG = (1009, "longer than 10")
SECONDS = float(os.environ.get("TREADLE_FUZZ_SECONDS", "3"))


def by_treadle(
    pieces: list[bytes], most: int | None = None, deflate: Deflate | None = None
) -> list[Any]:
    """Return the events; a violation is its code and the reason."""
    reader, found = FrameReader(most, deflate), []
    for piece in pieces:
        reader.feed(piece)
        try:
            while (event := reader.read()) is not None:
                found.append(event)
        except ProtocolError as exc:
            return [*found, (exc.code, exc.reason)]
    return found


def by_wsproto(pieces: list[bytes]) -> list[Any]:
    connection = wsproto.connection.Connection(wsproto.connection.ConnectionType.SERVER)
    found: list[Any] = []
    parts: list[Any] = []
    for piece in pieces:
        connection.receive_data(piece)
        for event in connection.events():
            if isinstance(event, wsproto.events.Ping):
                found.append((PING, bytes(event.payload)))
            elif isinstance(event, wsproto.events.Message):
                text = isinstance(event, wsproto.events.TextMessage)
                parts.append(event.data if text else bytes(event.data))
                if event.message_finished:
                    found.append((TEXT if text else BINARY, ("" if text else b"").join(parts)))
                    parts = []
            elif isinstance(event, wsproto.events.CloseConnection):
                if connection.state is wsproto.connection.ConnectionState.OPEN:
                    return [*found, int(event.code)]
                return [*found, (CLOSE, (int(event.code), event.reason or ""))]
    return found


def by_websockets(pieces: list[bytes], extension: PerMessageDeflate | None = None) -> list[Any]:
    protocol = Protocol(Side.SERVER, max_size=None)
    if extension is not None:
        protocol.extensions = [extension]
    found: list[Any] = []
    kind, parts = 0, b""
    for piece in pieces:
        protocol.receive_data(piece)
        for event in protocol.events_received():
            assert isinstance(event, websockets_frames.Frame)
            data = bytes(event.data)
            if event.opcode is websockets_frames.Opcode.PING:
                found.append((PING, data))
            elif event.opcode is websockets_frames.Opcode.CLOSE:
                close = websockets_frames.Close.parse(data)
                return [*found, (CLOSE, (int(close.code), close.reason))]
            elif event.opcode in websockets_frames.DATA_OPCODES:
                kind, parts = kind or int(event.opcode), parts + data
                if event.fin:
                    try:
                        found.append((kind, parts.decode() if kind == TEXT else parts))
                    except UnicodeDecodeError:
                        return [*found, 1007]
                    kind, parts = 0, b""
        if protocol.parser_exc is not None:
            assert protocol.close_sent is not None
            return [*found, int(protocol.close_sent.code)]
    return found


def cut(rng: random.Random, data: bytes) -> list[bytes]:
    """Return *data* in pieces."""
    if rng.random() < 0.3:
        return [data]
    at = sorted(rng.randrange(len(data) + 1) for _ in range(rng.randint(1, 8)))
    return [data[i:j] for i, j in zip([0, *at], [*at, len(data)], strict=True)]


def violation(found: list[Any]) -> int | None:
    """Return the code of the violation that ends what our reader found, or None."""
    if found and isinstance(found[-1][1], str) and found[-1][0] > 1000:
        return int(found[-1][0])
    return None


def agrees(ours: list[Any], theirs: list[Any], oracle: Any) -> bool:
    """Return whether both found the same, or differ as they are known to."""
    code = violation(ours)
    if code is None:
        closed = bool(ours) and ours[-1][0] == CLOSE
        # wsproto does not know these codes; websockets refuses a close within a message.
        if closed and (oracle is by_websockets or 1012 <= ours[-1][1][0] <= 1014):
            return theirs in (ours, [*ours[:-1], 1002])
        return ours == theirs
    same = ours[:-1]
    long = "a length that" in ours[-1][1] or "a control frame that is too long" in ours[-1][1]
    if oracle is by_websockets and (code == 1007 or long):
        # It takes a length that is not short. Its users check text, once a message has ended.
        return theirs[: len(same)] == same
    # Of two violations at once each may name another; one may be noticed a frame later.
    return theirs in (same, [*same, 1002], [*same, 1007])


def random_text(rng: random.Random) -> bytes:
    letters = "ab\u00e4\u20ac\U0001f680"
    return "".join(rng.choices(letters, k=rng.randrange(40))).encode()


def session(rng: random.Random, deflate: Callable[[bytes], bytes] | None = None) -> bytes:
    """Return the frames of some messages, pings and pongs, mostly valid ones.

    Some of the messages are compressed by *deflate*.
    """
    found = b""
    for _ in range(rng.randint(1, 5)):
        kind = rng.choice([TEXT, BINARY])
        data = random_text(rng) if kind == TEXT else rng.randbytes(rng.choice([0, 3, 126, 70000]))
        rsv = 4 if deflate is not None and rng.random() < 0.8 else 0
        if deflate is not None and rsv:
            data = deflate(data)
        at = sorted(rng.randrange(len(data) + 1) for _ in range(rng.choice([0, 0, 1, 3])))
        pieces = [data[i:j] for i, j in zip([0, *at], [*at, len(data)], strict=True)]
        for number, piece in enumerate(pieces):
            last = number == len(pieces) - 1
            found += from_client(0 if number else kind, piece, fin=last, rsv=0 if number else rsv)
            if rng.random() < 0.2:
                found += from_client(rng.choice([9, 10]), rng.randbytes(rng.randrange(126)))
    return found + (closing(1000, random_text(rng)[:40]) if rng.random() < 0.3 else b"")


@pytest.mark.parametrize("oracle", [by_wsproto, by_websockets])
def test_the_same_bytes(oracle: Any) -> None:
    seed = random.randrange(1 << 32)
    rng = random.Random(seed)
    seeds = [sent for sent, _ in TABLE.values() if len(sent) < 1000]
    until, count, violations = time.monotonic() + SECONDS, 0, 0
    while count <= 100 or time.monotonic() < until:
        data = session(rng)
        if rng.random() < 0.6:
            data = mutated(rng, b"".join(rng.choice(seeds) for _ in range(rng.randint(1, 4))))
        pieces = cut(rng, data)
        ours, theirs = by_treadle(pieces), oracle(pieces)
        assert agrees(ours, theirs, oracle), (
            f"seed {seed}, case {count}: {pieces!r}\n{ours}\n{theirs}"
        )
        assert ours == by_treadle([data]), f"seed {seed}, case {count}: {pieces!r}"
        count += 1
        violations += violation(ours) is not None
    assert violations > count / 5


@pytest.mark.parametrize("bits", [9, 12, 15])
@pytest.mark.parametrize("takeover", [False, True])
def test_the_same_bytes_compressed(bits: int, takeover: bool) -> None:
    seed = random.randrange(1 << 32)
    rng = random.Random(seed)
    parameters = {} if takeover else {"client_no_context_takeover": None}
    if bits < 15:
        parameters["client_max_window_bits"] = str(bits)
    until, count = time.monotonic() + SECONDS / 6, 0
    while count < 20 or time.monotonic() < until:
        writing: list[Any] = []

        def deflate(data: bytes, writing: list[Any] = writing) -> bytes:
            if not writing or not takeover:
                writing[:] = [zlib.compressobj(wbits=-bits)]
            mode = rng.choice([zlib.Z_SYNC_FLUSH, zlib.Z_FULL_FLUSH])
            return bytes(writing[0].compress(data) + writing[0].flush(mode))[:-4]

        data = session(rng, deflate)
        pieces = cut(rng, data)
        ours = by_treadle(pieces, None, Deflate(parameters, None))
        theirs = by_websockets(pieces, PerMessageDeflate(not takeover, False, bits, 15))
        same = ours == theirs or agrees(ours, theirs, by_websockets)
        assert same, f"seed {seed}, case {count}: {pieces!r}\n{ours}\n{theirs}"
        count += 1


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65535, 65536, 1_000_000])
@pytest.mark.parametrize("fin", [True, False])
def test_what_is_written(size: int, fin: bool) -> None:
    data = random.Random(size).randbytes(size)
    assert frame(BINARY, data, fin) == from_client(BINARY, data, fin=fin, mask=False)
    assert frame(TEXT, "x" * size, fin, True) == from_client(
        TEXT, b"x" * size, fin=fin, rsv=4, mask=False
    )


def test_a_text_is_encoded() -> None:
    assert frame(TEXT, "\u20ac") == b"\x81\x03\xe2\x82\xac"
    with pytest.raises(UnicodeEncodeError):
        frame(TEXT, "\ud800")


@pytest.mark.parametrize("size", [9, 10, 11])
def test_the_longest_message(size: int) -> None:
    for pieces in ([size], [4, size - 4], [0, size, 0]):
        kinds = [BINARY, *[0] * (len(pieces) - 1)]
        data = b"".join(
            from_client(kind, b"x" * each, fin=at == len(pieces) - 1)
            for at, (kind, each) in enumerate(zip(kinds, pieces, strict=True))
        )
        expected: list[Any] = [(BINARY, b"x" * size)] if size <= 10 else [TOO_LONG]
        assert by_treadle([data], 10) == expected
        assert by_treadle([data[at : at + 1] for at in range(len(data))], 10) == expected


def test_a_message_that_is_too_long_is_refused_by_its_head() -> None:
    assert by_treadle([b"\x82\xff" + (1 << 62).to_bytes(8, "big") + b"mask"], 10) == [TOO_LONG]


def test_small_fragments_cost_their_bytes() -> None:
    reader = FrameReader(None)
    many = from_client(0, b"x", fin=False) * 1000
    reader.feed(from_client(BINARY, b"", fin=False))
    assert reader.read() is None
    gc.collect()
    before = resident()
    for _ in range(1000):
        reader.feed(many)
        assert reader.read() is None
    assert resident() - before < 8 << 20  # for a million bytes
    reader.feed(from_client(0, b"y"))
    assert reader.read() == (BINARY, b"x" * 1_000_000 + b"y")


def resident() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_nothing_is_read_after_the_end() -> None:
    reader = FrameReader()
    reader.feed(closing() + from_client(TEXT, b"late"))
    assert reader.read() == (CLOSE, (1000, ""))
    assert reader.read() is None
    reader.feed(from_client(TEXT, b"later"))
    assert reader.read() is None
