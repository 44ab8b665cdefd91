"""All 147 cases of h2spec (generic, http2, hpack), by a client that writes the frames itself."""

import struct
import time
from collections.abc import Callable
from typing import Any

import pytest
from hpack.huffman import HuffmanEncoder
from hpack.huffman_constants import REQUEST_CODES, REQUEST_CODES_LENGTH

from treadle.http.limits import Limits
from treadle.pywsgi import WSGIServer

from .conftest import Site

DATA, HEADERS, PRIORITY, RST, SETTINGS, PUSH, PING, GOAWAY, WINDOW, CONTINUATION = range(10)
END_STREAM, ACK, END_HEADERS, PADDED = 1, 1, 4, 8
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
#: :method GET, :scheme http, :path /, and :authority a.
GET = b"\x82\x86\x84\x41\x01a"
POST = b"\x83\x86\x84\x41\x01a"
PROTOCOL, FLOW, CLOSED, SIZE, REFUSED, COMPRESSION = {1}, {3}, {5}, {6}, {7}, {9}
MOST = (1 << 31) - 1
#: How a field of a block is kept in the table of fields: in the first byte, with the name's index.
KEPT, NOT_KEPT, NEVER_KEPT = 0x40, 0, 0x10
USER_AGENT = 58


def frame(kind: int, flags: int = 0, id: int = 0, payload: bytes = b"") -> bytes:
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, id) + payload


def get(id: int = 1, block: bytes = GET, flags: int = END_STREAM | END_HEADERS) -> bytes:
    return frame(HEADERS, flags, id, block)


def post(block: bytes = POST, id: int = 1) -> bytes:
    return frame(HEADERS, END_HEADERS, id, block)


def field(name: bytes, value: bytes) -> bytes:
    return b"\0" + bytes([len(name)]) + name + bytes([len(value)]) + value


def text(value: bytes, huffman: bool) -> bytes:
    coded = HuffmanEncoder(REQUEST_CODES, REQUEST_CODES_LENGTH).encode(value) if huffman else value
    return bytes([len(coded) | huffman << 7]) + coded


def literal(how: int, name: bytes | None, huffman: bool) -> bytes:
    """Return a field with a value of its own; without *name* it is a User-Agent."""
    most = 0x3F if how == KEPT else 0xF
    index = bytes([how | USER_AGENT] if most > USER_AGENT else [how | most, USER_AGENT - most])
    first = index if name is None else bytes([how]) + text(name, huffman)
    return first + text(b"client/1", huffman)


def priority(id: int, after: int = 0, weight: int = 256) -> bytes:
    return frame(PRIORITY, 0, id, struct.pack(">IB", after, weight - 1))


def setting(number: int, value: int) -> bytes:
    return frame(SETTINGS, 0, 0, struct.pack(">HI", number, value))


def window(id: int, size: int) -> bytes:
    return frame(WINDOW, 0, id, struct.pack(">I", size))


def word(number: int) -> bytes:
    return struct.pack(">I", number)


RESET = frame(RST, 0, 1, word(8))
SOUND = frame(PING, 0, 0, b"x" * 8)
HEAD = b"\x02\x04HEAD" + GET[1:]
MORE = frame(CONTINUATION, END_HEADERS, 1, GET)
OPEN = get(flags=END_STREAM)

#: What is sent after the preface and the settings; of more than one part, the next one follows the
#: answer to the last. Then what must come back: a set of error codes, one of which must come, the
#: payloads of all DATA, or "answer", "settings" for their acknowledgement, "pong", "closed".
TABLE: dict[str, tuple[bytes | tuple[bytes, bytes], Any]] = {
    "generic 1/1": (b"", "settings"),
    "generic 2/1": (priority(1) + SOUND, "pong"),
    "generic 2/2": (setting(4, 0) + get() + window(1, 1), [b"a"]),
    "generic 2/3": (setting(4, 0) + get() + priority(1) + window(1, 1), [b"a"]),
    "generic 2/4": (get() + RESET + SOUND, "pong"),
    "generic 2/5": ((get(), priority(1) + SOUND), "pong"),
    "generic 3.1/1": (post() + frame(DATA, END_STREAM, 1, b"test"), "answer"),
    "generic 3.1/2": (
        post() + frame(DATA, 0, 1, b"test") + frame(DATA, END_STREAM, 1, b"test"),
        "answer",
    ),
    "generic 3.1/3": (
        post() + frame(DATA, END_STREAM | PADDED, 1, b"\5test" + bytes(5)),
        "answer",
    ),
    "generic 3.2/1": (get(), "answer"),
    "generic 3.2/2": (frame(HEADERS, 0xD, 1, b"\x08" + GET + bytes(8)), "answer"),
    "generic 3.2/3": (frame(HEADERS, 0x25, 1, word(0) + b"\xff" + GET), "answer"),
    "generic 3.3/1": (priority(1, 0, 1) + get(), "answer"),
    "generic 3.3/2": (priority(1, 0, 256) + get(), "answer"),
    "generic 3.3/3": (priority(1) + priority(3, 1) + get(), "answer"),
    "generic 3.3/4": (priority(1) + priority(3, 1 << 31 | 1) + get(), "answer"),
    "generic 3.3/5": (priority(3) + get(), "answer"),
    "generic 3.4/1": (post() + RESET + SOUND, "pong"),
    "generic 3.5/1": (setting(3, 100), "settings"),
    "generic 3.7/1": (SOUND, "pong"),
    "generic 3.8/1": (frame(GOAWAY, 0, 0, word(0) * 2) + SOUND, "pong"),
    "generic 3.9/1": (window(0, 1) + get(), "answer"),
    "generic 3.9/2": (post() + window(1, 1) + frame(DATA, END_STREAM, 1, b"x"), "answer"),
    "generic 3.10/1": (get(1, GET[:3], END_STREAM) + frame(CONTINUATION, 4, 1, GET[3:]), "answer"),
    "generic 3.10/2": (
        get(1, GET[:2], END_STREAM)
        + frame(CONTINUATION, 0, 1, GET[2:3])
        + frame(CONTINUATION, END_HEADERS, 1, GET[3:]),
        "answer",
    ),
    "generic 4/1": (get(), [b"abcde"]),
    "generic 4/2": (get(1, HEAD), "answer"),
    "generic 4/3": (post() + frame(DATA, END_STREAM, 1, b"test"), [b"abcde"]),
    "generic 4/4": (
        post(POST + field(b"trailer", b"x-test"))
        + frame(DATA, 0, 1, b"test")
        + get(1, field(b"x-test", b"ok")),
        [b"abcde"],
    ),
    "generic 5/1": (get(1, GET + bytes([0x80 | USER_AGENT])), "answer"),
    **{
        f"generic 5/{2 + 4 * at + 2 * new + huffman}": (
            get(1, GET + literal(how, b"x-test" if new else None, bool(huffman))),
            "answer",
        )
        for at, how in enumerate((KEPT, NOT_KEPT, NEVER_KEPT))
        for new in (0, 1)
        for huffman in (0, 1)
    },
    "generic 5/14": (get(1, b"\x3f\x61" + GET), "answer"),
    "generic 5/15": (get(1, b"\x3f\x61\x3f\xe1\x1f" + GET), "answer"),
    "3.5/1": (get(), "answer"),
    "4.1/1": (frame(0xFF, 0, 0, b"x" * 8) + get(), "answer"),
    "4.1/2": (frame(PING, 0x16, 0, b"x" * 8), "pong"),
    "4.1/3": (frame(PING, 0, 1 << 31, b"x" * 8), "pong"),
    "4.2/1": (post() + frame(DATA, END_STREAM, 1, b"x" * 16384), "answer"),
    "4.2/2": (post() + frame(DATA, END_STREAM, 1, b"x" * 16385), SIZE),
    "4.2/3": (get(1, GET + field(b"x", b"y") * 4000), SIZE),
    "4.3/1": (get(1, b"\x40\x01"), COMPRESSION),
    "4.3/2": (OPEN + frame(PRIORITY, 0, 1, word(0) + b"\1") + MORE, PROTOCOL),
    "4.3/3": (OPEN + get(3), PROTOCOL),
    "5.1/1": (frame(DATA, END_STREAM, 1, b"x"), PROTOCOL),
    "5.1/2": (RESET, PROTOCOL),
    "5.1/3": (window(1, 100), PROTOCOL),
    "5.1/4": (MORE, PROTOCOL),
    "5.1/5": (get() + frame(DATA, END_STREAM, 1, b"x"), CLOSED),
    "5.1/6": (get() + get(), CLOSED),
    "5.1/7": (get() + MORE, CLOSED | PROTOCOL),
    "5.1/8": (post() + RESET + frame(DATA, END_STREAM, 1, b"x"), CLOSED),
    "5.1/9": (post() + RESET + get(), CLOSED),
    "5.1/10": (post() + RESET + MORE, CLOSED | PROTOCOL),
    "5.1/11": ((get(), frame(DATA, END_STREAM, 1, b"test")), CLOSED),
    "5.1/12": ((get(), get()), CLOSED),
    "5.1/13": ((get(), MORE), CLOSED | PROTOCOL),
    "5.1.1/1": (get(2), PROTOCOL),
    "5.1.1/2": (get(5) + get(3), PROTOCOL),
    "5.1.2/1": (b"".join(post(id=id) for id in range(1, 15, 2)), REFUSED),
    "5.3.1/1": (frame(HEADERS, 0x25, 1, word(1) + b"\1" + GET), PROTOCOL),
    "5.3.1/2": (frame(PRIORITY, 0, 1, word(1) + b"\1"), PROTOCOL),
    "5.4.1/1": (frame(PING, 0, 3, b"x" * 8), "closed"),
    "5.4.1/2": (frame(PING, 0, 3, b"x" * 8), PROTOCOL),
    "5.5/1": (frame(0x16, 0, 0, b"x" * 8) + get(), "answer"),
    "5.5/2": (OPEN + frame(0x16, 0, 0, b"x" * 8), PROTOCOL),
    "6.1/1": (frame(DATA, END_STREAM, 0, b"x"), PROTOCOL),
    "6.1/2": (get() + frame(DATA, END_STREAM, 1, b"x"), CLOSED),
    "6.1/3": (post() + frame(DATA, END_STREAM | PADDED, 1, b"\x09x"), PROTOCOL),
    "6.2/1": (OPEN + frame(PRIORITY, 0, 1, word(0) + b"\1"), PROTOCOL),
    "6.2/2": (OPEN + get(3), PROTOCOL),
    "6.2/3": (get(0), PROTOCOL),
    "6.2/4": (frame(HEADERS, 0xD, 1, b"\xff" + GET), PROTOCOL),
    "6.3/1": (frame(PRIORITY, 0, 0, word(0) + b"\1"), PROTOCOL),
    "6.3/2": (post() + frame(PRIORITY, 0, 1, word(0)), SIZE),
    "6.4/1": (frame(RST, 0, 0, word(8)), PROTOCOL),
    "6.4/2": (RESET, PROTOCOL),
    "6.4/3": (post() + frame(RST, 0, 1, b"xxx"), SIZE),
    "6.5/1": (frame(SETTINGS, ACK, 0, b"x" * 6), SIZE),
    "6.5/2": (frame(SETTINGS, 0, 1, struct.pack(">HI", 3, 100)), PROTOCOL),
    "6.5/3": (frame(SETTINGS, 0, 0, b"xxx"), SIZE),
    "6.5.2/1": (setting(2, 2), PROTOCOL),
    "6.5.2/2": (setting(4, 1 << 31), FLOW),
    "6.5.2/3": (setting(5, 16383), PROTOCOL),
    "6.5.2/4": (setting(5, 1 << 24), PROTOCOL),
    "6.5.2/5": (setting(0xFF, 1) + frame(PING, 0, 0, b"x" * 8), "pong"),
    "6.5.3/1": (setting(4, 100) + setting(4, 1) + get(), [b"a"]),
    "6.5.3/2": (setting(3, 100), "settings"),
    "6.7/1": (frame(PING, 0, 0, b"x" * 8), "pong"),
    "6.7/2": (frame(PING, ACK, 0, b"y" * 8) + frame(PING, 0, 0, b"x" * 8), "pong"),
    "6.7/3": (frame(PING, 0, 1, b"x" * 8), PROTOCOL),
    "6.7/4": (frame(PING, 0, 0, b"x" * 6), SIZE),
    "6.8/1": (frame(GOAWAY, 0, 1, b"\0" * 8), PROTOCOL),
    "6.9/1": (window(0, 0), PROTOCOL),
    "6.9/2": (post() + window(1, 0), PROTOCOL),
    "6.9/3": (frame(WINDOW, 0, 0, b"xxx"), SIZE),
    "6.9.1/1": (setting(4, 1) + get(), [b"a"]),
    "6.9.1/2": (window(0, MOST) * 2, FLOW),
    "6.9.1/3": (post() + window(1, MOST) * 2, FLOW),
    "6.9.2/1": (setting(4, 0) + get() + setting(4, 1), [b"a"]),
    "6.9.2/2": ((setting(4, 3) + get(), setting(4, 2) + window(1, 2)), [b"abc", b"d"]),
    "6.9.2/3": (setting(4, 1 << 31), FLOW),
    "6.10/1": (
        OPEN
        + frame(CONTINUATION, 0, 1, field(b"x", b"y"))
        + frame(CONTINUATION, END_HEADERS, 1, field(b"z", b"y")),
        "answer",
    ),
    "6.10/2": (OPEN + frame(CONTINUATION, 0, 1) + frame(DATA, END_STREAM, 1, b"x"), PROTOCOL),
    "6.10/3": (OPEN + frame(CONTINUATION, END_HEADERS, 0), PROTOCOL),
    "6.10/4": (post() + MORE, PROTOCOL),
    "6.10/5": (frame(HEADERS, 0, 1, POST) + frame(CONTINUATION, END_HEADERS, 1) + MORE, PROTOCOL),
    "6.10/6": (post() + frame(DATA, 0, 1, b"x") + MORE, PROTOCOL),
    "7/1": (frame(GOAWAY, 0, 0, word(0) + word(0xFF)) + frame(PING, 0, 0, b"x" * 8), "pong"),
    "7/2": (post() + frame(RST, 0, 1, word(0xFF)) + frame(PING, 0, 0, b"x" * 8), "pong"),
    "8.1/1": (post() + post(field(b"x", b"y")), PROTOCOL),
    "8.1.2/1": (get(1, GET + field(b"X-A", b"y")), PROTOCOL),
    "8.1.2.1/1": (get(1, GET + field(b":x", b"y")), PROTOCOL),
    "8.1.2.1/2": (get(1, GET + b"\x88"), PROTOCOL),
    "8.1.2.1/3": (post() + get(1, b"\x82"), PROTOCOL),
    "8.1.2.1/4": (get(1, b"\x82\x86" + field(b"x", b"y") + b"\x84\x41\x01a"), PROTOCOL),
    "8.1.2.2/1": (get(1, GET + field(b"connection", b"keep-alive")), PROTOCOL),
    "8.1.2.2/2": (get(1, GET + field(b"te", b"trailers, deflate")), PROTOCOL),
    "8.1.2.3/1": (get(1, b"\x82\x86\x41\x01a" + field(b":path", b"")), PROTOCOL),
    "8.1.2.3/2": (get(1, b"\x86\x84\x41\x01a"), PROTOCOL),
    "8.1.2.3/3": (get(1, b"\x82\x84\x41\x01a"), PROTOCOL),
    "8.1.2.3/4": (get(1, b"\x82\x86\x41\x01a"), PROTOCOL),
    "8.1.2.3/5": (get(1, b"\x82" + GET), PROTOCOL),
    "8.1.2.3/6": (get(1, b"\x86" + GET), PROTOCOL),
    "8.1.2.3/7": (get(1, b"\x84" + GET), PROTOCOL),
    "8.1.2.6/1": (
        post(POST + field(b"content-length", b"1")) + frame(DATA, END_STREAM, 1, b"xx"),
        PROTOCOL,
    ),
    "8.1.2.6/2": (
        post(POST + field(b"content-length", b"1"))
        + frame(DATA, 0, 1, b"x")
        + frame(DATA, END_STREAM, 1, b"x"),
        PROTOCOL,
    ),
    "8.2/1": (frame(PUSH, END_HEADERS, 1, word(2) + GET), PROTOCOL),
    "hpack 2.3.3/1": (get(1, GET + b"\xc6"), COMPRESSION),
    "hpack 2.3.3/2": (get(1, GET + b"\xff\0\x01a"), COMPRESSION),
    "hpack 4.2/1": (get(1, GET + b"\x20"), COMPRESSION),
    "hpack 5.2/1": (get(1, GET + b"\0\x01x\x82\x1f\xff"), COMPRESSION),
    "hpack 5.2/2": (get(1, GET + b"\0\x01x\x81\x00"), COMPRESSION),
    "hpack 5.2/3": (get(1, GET + b"\0\x01x\x84\xff\xff\xff\xff"), COMPRESSION),
    "hpack 6.1/1": (get(1, GET + b"\x80"), COMPRESSION),
    "hpack 6.3/1": (get(1, b"\x3f\xe2\x1f" + GET), COMPRESSION),
}


def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    environ["wsgi.input"].read()
    start_response("200 OK", [])
    return [b"abcde"]


class Frames(list[tuple[int, int, bytes]]):
    """What the server sends: kinds, flags and payloads; after the end, kind -1."""

    def __init__(self, sock: Any) -> None:
        super().__init__()
        self._sock, self._data = sock, b""

    def until(self, enough: Callable[[], Any], seconds: float = 2.0) -> None:
        """Receive until *enough* returns true, the connection ends, or so much time has passed."""
        deadline = time.monotonic() + seconds
        while not enough() and (-1, 0, b"") not in self:
            self._sock.settimeout(max(deadline - time.monotonic(), 0.001))
            try:
                part = self._sock.recv(65536)
            except TimeoutError:
                return
            except ConnectionError:
                part = b""
            self._data += part
            while len(data := self._data) >= 9 + (size := int.from_bytes(data[:3], "big")):
                self.append((data[3], data[4], data[9 : 9 + size]))
                self._data = data[9 + size :]
            if not part:
                self.append((-1, 0, b""))

    @property
    def errors(self) -> set[int]:
        codes = {payload[-4:] for kind, _, payload in self if kind == RST}
        codes |= {payload[4:8] for kind, _, payload in self if kind == GOAWAY}
        return {int.from_bytes(code, "big") for code in codes}

    @property
    def bodies(self) -> list[bytes]:
        return [payload for kind, _, payload in self if kind == DATA]

    @property
    def ended(self) -> bool:
        return any(kind in (DATA, HEADERS) and flags & END_STREAM for kind, flags, _ in self)


def came(found: Frames, wanted: Any) -> bool:
    """Return whether what is *wanted* is in *found*."""
    if wanted == "answer":
        return found.ended and any(kind == HEADERS for kind, _, _ in found)
    if wanted == "settings":
        return found[:1] != [] and found[0][:2] == (SETTINGS, 0) and (SETTINGS, ACK, b"") in found
    if wanted == "pong":
        return [payload for kind, _, payload in found if kind == PING] == [b"x" * 8]
    if wanted == "closed":
        return (-1, 0, b"") in found
    return found.bodies == wanted if isinstance(wanted, list) else found.errors == wanted


@pytest.mark.parametrize("case", TABLE)
def test_case(site: Callable[..., Site], monkeypatch: pytest.MonkeyPatch, case: str) -> None:
    monkeypatch.setattr(WSGIServer, "http2", True)
    sent, wanted = TABLE[case]
    first, then = sent if isinstance(sent, tuple) else (sent, b"")
    here = site(application, Limits(streams=5))
    with here.connect() as sock:
        found = Frames(sock)
        sock.sendall(PREFACE + frame(SETTINGS) + first)
        if then:
            found.until(lambda: found.bodies)
            sock.sendall(then)
        if isinstance(wanted, set):
            found.until(lambda: found.errors)
            assert found.errors, found
            assert found.errors <= wanted, found
        else:
            found.until(lambda: came(found, wanted))
            found.until(lambda: False, 0.02)  # nothing else follows
            assert came(found, wanted), found
            assert wanted == "closed" or not found.errors, found
    assert here.errors == []


def test_3_5_2(site: Callable[..., Site], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(WSGIServer, "http2", True)
    found = site(application).exchange(b"INVALID CONNECTION PREFACE\r\n\r\n")  # until its end
    assert found.startswith(b"HTTP/1.1 400 ")


def test_none_is_missing() -> None:
    assert len(TABLE) + 1 == 147
