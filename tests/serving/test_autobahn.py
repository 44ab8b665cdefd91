"""The cases of the Autobahn testsuite for WebSocket servers, by their numbers: 517 of them.

Those of sections 9, 12 and 13 have its sizes; the latter two send fewer messages than its 1000.
"""

from __future__ import annotations

import itertools
import json
import random
import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest

import treadle

from .conftest import Site, received
from .test_websocket import (
    BINARY,
    BYE,
    CLOSE,
    PING,
    PONG,
    TEXT,
    closing,
    echo,
    frame,
    frames,
    handshake,
    upgraded,
)

Start = Callable[..., Site]
#: What a client sends, in one piece or more, and the server's answers: messages, ("pong", payload)
#: and at the end the code of its close, or None if that has none.
Case = tuple[Iterable[bytes], list[Any]]

CASES: dict[str, Case] = {}
#: The cases whose messages would fill the memory if all were made beforehand.
LONG: dict[str, Callable[[], Case]] = {}

GREEK = "\u03ba\u1f79\u03c3\u03bc\u03b5".encode()
BEYOND = b"\xf4\x90\x80\x80"
MIXED = "Hello-\u00b5@\u00df\u00f6\u00e4\u00fc\u00e0\u00e1-UTF-8!!".encode()
PROTOCOL, NOT_UTF8 = 1002, 1007


def add(section: str, *cases: Case) -> None:
    """Number *cases* from 1 on."""
    for number, case in enumerate(cases, 1):
        CASES[f"{section}.{number}"] = case


def chopped(data: bytes, size: int = 1) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


def message(kind: int, pieces: list[bytes], between: bytes = b"") -> bytes:
    """Return a message in fragments, with *between* between them."""
    last = len(pieces) - 1
    return b"".join(
        frame(0 if at else kind, piece, fin=at == last) + (b"" if at == last else between)
        for at, piece in enumerate(pieces)
    )


# -- 1: framing

for section, kind in (("1.1", TEXT), ("1.2", BINARY)):
    sizes = (0, 125, 126, 127, 128, 65535, 65536)
    star: Any = "*" if kind == TEXT else b"\xfe"
    data = b"*" if kind == TEXT else b"\xfe"
    add(
        section,
        *(([frame(kind, data * size) + BYE], [star * size, 1000]) for size in sizes),
        (chopped(frame(kind, data * 65536) + BYE, 997), [star * 65536, 1000]),
    )

# -- 2: pings and pongs

TEN = [b"payload-%d" % number for number in range(10)]
PINGS = b"".join(frame(PING, each) for each in TEN) + BYE
PONGS = [*(("pong", each) for each in TEN), 1000]
add(
    "2",
    ([frame(PING) + BYE], [("pong", b""), 1000]),
    ([frame(PING, b"Hello, world!") + BYE], [("pong", b"Hello, world!"), 1000]),
    (
        [frame(PING, b"\x00\xff\xfe\xfd\xfc\xfb\x00\xff") + BYE],
        [("pong", b"\x00\xff\xfe\xfd\xfc\xfb\x00\xff"), 1000],
    ),
    ([frame(PING, b"\xfe" * 125) + BYE], [("pong", b"\xfe" * 125), 1000]),
    ([frame(PING, b"\xfe" * 126)], [PROTOCOL]),
    (chopped(frame(PING, b"\xfe" * 125) + BYE), [("pong", b"\xfe" * 125), 1000]),
    ([frame(PONG) + BYE], [1000]),
    ([frame(PONG, b"unsolicited pong payload") + BYE], [1000]),
    (
        [frame(PONG, b"unsolicited pong payload") + frame(PING, b"ping payload") + BYE],
        [("pong", b"ping payload"), 1000],
    ),
    ([PINGS], PONGS),
    (chopped(PINGS), PONGS),
)

# -- 3: reserved bits

HELLO = frame(TEXT, b"Hello, world!")
SAID = "Hello, world!"


def after_hello(bad: bytes) -> bytes:
    return HELLO + bad + frame(PING)


add(
    "3",
    ([frame(TEXT, b"Hello, world!", rsv=1)], [PROTOCOL]),
    ([after_hello(frame(TEXT, b"Hello, world!", rsv=2))], [SAID, PROTOCOL]),
    ([HELLO, frame(TEXT, b"Hello, world!", rsv=3), frame(PING)], [SAID, PROTOCOL]),
    (chopped(after_hello(frame(TEXT, b"Hello, world!", rsv=4))), [SAID, PROTOCOL]),
    ([frame(BINARY, b"\x00\xff\xfe\xfd", rsv=5)], [PROTOCOL]),
    ([frame(PING, b"Hello, world!", rsv=6)], [PROTOCOL]),
    ([frame(CLOSE, b"\x03\xe8", rsv=7)], [PROTOCOL]),
)

# -- 4: opcodes

for section, first in (("4.1", 3), ("4.2", 11)):
    add(
        section,
        ([frame(first)], [PROTOCOL]),
        ([frame(first + 1, b"reserved opcode payload")], [PROTOCOL]),
        ([after_hello(frame(first + 2))], [SAID, PROTOCOL]),
        ([after_hello(frame(first + 3, b"reserved opcode payload"))], [SAID, PROTOCOL]),
        (chopped(after_hello(frame(first + 4, b"reserved opcode payload"))), [SAID, PROTOCOL]),
    )

# -- 5: fragments


def in_three_ways(*parts: bytes) -> Iterator[list[bytes]]:
    """Yield *parts* at once, each by itself, and as single bytes."""
    yield [b"".join(parts)]
    yield list(parts)
    yield chopped(b"".join(parts))


ONE, TWO = frame(TEXT, b"fragment1", fin=False), frame(0, b"fragment2")
BOTH = "fragment1fragment2"
ALONE = frame(0, b"non-continuation payload", fin=False)
LAST_ALONE = frame(0, b"non-continuation payload")
FIVE = [frame(0 if at else TEXT, b"fragment%d" % (at + 1), fin=at == 4) for at in range(5)]
PINGED = [*FIVE[:2], frame(PING, b"pongme 1!"), *FIVE[2:4], frame(PING, b"pongme 2!"), FIVE[4], BYE]
ANSWERED = [
    ("pong", b"pongme 1!"),
    ("pong", b"pongme 2!"),
    "".join(f"fragment{at}" for at in range(1, 6)),
    1000,
]
add(
    "5",
    ([frame(PING, b"fragment1", fin=False) + frame(0, b"fragment2")], [PROTOCOL]),
    ([frame(PONG, b"fragment1", fin=False) + frame(0, b"fragment2")], [PROTOCOL]),
    *((sent, [BOTH, 1000]) for sent in in_three_ways(ONE, TWO, BYE)),
    *(
        (sent, [("pong", b"ping payload"), BOTH, 1000])
        for sent in in_three_ways(ONE, frame(PING, b"ping payload"), TWO, BYE)
    ),
    *((sent, [PROTOCOL]) for sent in in_three_ways(LAST_ALONE, HELLO)),
    *((sent, [PROTOCOL]) for sent in in_three_ways(ALONE, HELLO)),
    ([ONE + TWO + ALONE + HELLO], [BOTH, PROTOCOL]),
    ([(ALONE + ONE + TWO) * 2], [PROTOCOL]),
    ([(LAST_ALONE + ONE + TWO) * 2], [PROTOCOL]),
    ([ONE + frame(TEXT, b"fragment2")], [PROTOCOL]),
    (PINGED, ANSWERED),
    ([b"".join(PINGED)], ANSWERED),
)

# -- 6: UTF-8


def text(data: bytes) -> Case:
    """Return the case of a text message, valid or not, in one frame."""
    try:
        return [frame(TEXT, data) + BYE], [data.decode(), 1000]
    except UnicodeDecodeError:
        return [frame(TEXT, data)], [NOT_UTF8]


def texts(*in_hexadecimal: str) -> Iterator[Case]:
    return map(text, map(bytes.fromhex, in_hexadecimal))


def alone(*first: int) -> bytes:
    """Return the first bytes of characters, each with a blank after it instead of the others."""
    return b"".join(bytes([each, 32]) for each in first)


EDITED = GREEK + b"\xed\xa0\x80edited"
LACKING = [
    *("c0", "e080", "f08080", "f8808080", "fc80808080", "df", "efbf", "f7bfbf", "fbbfbfbf"),
    "fdbfbfbfbf",
]
add(
    "6.1",
    text(b""),
    ([message(TEXT, [b"", b"", b""]) + BYE], ["", 1000]),
    ([message(TEXT, [b"", b"middle frame payload", b""]) + BYE], ["middle frame payload", 1000]),
)
add(
    "6.2",
    text(MIXED),
    ([message(TEXT, [MIXED[:6], MIXED[6:]]) + BYE], [MIXED.decode(), 1000]),
    ([message(TEXT, chopped(MIXED)) + BYE], [MIXED.decode(), 1000]),
    ([message(TEXT, chopped(GREEK)) + BYE], [GREEK.decode(), 1000]),
)
add("6.3", text(EDITED), ([message(TEXT, chopped(EDITED))], [NOT_UTF8]))
# The close comes before the end of the message is sent.
add(
    "6.4",
    ([frame(TEXT, GREEK, fin=False), frame(0, BEYOND, fin=False)], [NOT_UTF8]),
    ([frame(TEXT, GREEK + BEYOND[:1], fin=False), frame(0, BEYOND[1:2], fin=False)], [NOT_UTF8]),
    ([(head := frame(TEXT, GREEK + BEYOND + b"edited"))[:17], head[17:21]], [NOT_UTF8]),
    (chopped(head[:19]), [NOT_UTF8]),
)
add(
    "6.5",
    *map(text, (f"hello{each}world".encode() for each in "$\xa2\u20ac\U00024b62")),
    text(GREEK),
)
add("6.6", *(text(GREEK[:size]) for size in range(1, 12)))
add("6.7", *texts("00", "c280", "e0a080", "f0908080"))
add("6.8", *texts("f888808080", "fc8480808080"))
add("6.9", *texts("7f", "dfbf", "efbfbf", "f48fbfbf"))
add("6.10", *texts("f7bfbfbf", "fbbfbfbfbf", "fdbfbfbfbfbf"))
add("6.11", *texts("ed9fbf", "ee8080", "efbfbd", "f48fbfbf", "f4908080"))
add(
    "6.12",
    *texts("80", "bf", "80bf", "80bf80", "80bf80bf", "80bf80bf80", "80bf80bf80bf"),
    text(bytes(range(0x80, 0xBF))),
)
ranges = ((0xC0, 0xE0), (0xE0, 0xF0), (0xF0, 0xF8), (0xF8, 0xFC), (0xFC, 0xFE))
add("6.13", *(text(alone(*range(*each))) for each in ranges))
add("6.14", *texts(*LACKING))
add("6.15", *texts("".join(LACKING)))
add("6.16", *texts("fe", "ff", "fefeffff"))
add("6.17", *texts("c0af", "e080af", "f08080af", "f8808080af", "fc80808080af"))
add("6.18", *texts("c1bf", "e09fbf", "f08fbfbf", "f887bfbfbf", "fc83bfbfbfbf"))
add("6.19", *texts("c080", "e08080", "f0808080", "f880808080", "fc8080808080"))
add("6.20", *texts("eda080", "edadbf", "edae80", "edafbf", "edb080", "edbe80", "edbfbf"))
pairs = itertools.product(("eda080", "edadbf", "edae80", "edafbf"), ("edb080", "edbfbf"))
add("6.21", *texts(*map("".join, pairs)))
NO_CHARACTERS = [plane << 16 | last for plane in range(17) for last in (0xFFFE, 0xFFFF)]
add("6.22", *(text(chr(each).encode()) for each in NO_CHARACTERS))
add("6.23", *(text(chr(each).encode()) for each in range(0xFFF9, 0x10000)))

# -- 7: the end

add(
    "7.1",
    ([HELLO + BYE], [SAID, 1000]),
    ([BYE + BYE], [1000]),
    ([BYE + frame(PING)], [1000]),
    ([BYE + HELLO], [1000]),
    ([ONE + BYE + TWO], [1000]),
    ([frame(TEXT, b"BAsd7&jh23" * 26214) + BYE + frame(PING)], ["BAsd7&jh23" * 26214, 1000]),
)
add(
    "7.3",
    ([frame(CLOSE)], [None]),
    ([frame(CLOSE, b"a")], [PROTOCOL]),
    ([closing(1000)], [1000]),
    ([closing(1000, b"Hello World!")], [1000]),
    ([closing(1000, b"*" * 123)], [1000]),
    ([closing(1000, b"*" * 124)], [PROTOCOL]),
)
add("7.5", ([closing(1000, EDITED)], [NOT_UTF8]))
GOOD = (1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999)
add("7.7", *(([closing(code)], [code]) for code in GOOD))
BAD = (0, 999, 1004, 1005, 1006, 1016, 1100, 2000, 2999)
add("7.9", *(([closing(code)], [PROTOCOL]) for code in BAD))
add("7.13", *(([closing(code)], [PROTOCOL]) for code in (5000, 65535)))

# -- 9: limits

KIB, MIB = 1024, 1 << 20


def long(section: str, number: int, make: Callable[[], Case]) -> None:
    LONG[f"{section}.{number}"] = make


def content(kind: int, size: int) -> tuple[bytes, Any]:
    """Return a payload, and the message that the server sends back."""
    data = b"*" * size if kind == TEXT else b"\0\xff\xfe\xfd" * (size // 4)
    return data, data.decode() if kind == TEXT else data


def whole(kind: int, size: int, chop: int) -> Case:
    data, echoed = content(kind, size)
    return chopped(frame(kind, data) + BYE, chop), [echoed, 1000]


def fragmented(kind: int, size: int, fragment: int) -> Case:
    data, echoed = content(kind, size)
    return [message(kind, chopped(data, fragment)) + BYE], [echoed, 1000]


def repeated(kind: int, size: int, count: int) -> Case:
    data, echoed = content(kind, size)
    return [frame(kind, data) * count + BYE], [echoed] * count + [1000]


def with_arguments(make: Callable[..., Case], *arguments: Any) -> Callable[[], Case]:
    return lambda: make(*arguments)


for kind, sections in ((TEXT, "1357"), (BINARY, "2468")):
    for number, size in enumerate((64 * KIB, 256 * KIB, MIB, 4 * MIB, 8 * MIB, 16 * MIB), 1):
        long(f"9.{sections[0]}", number, with_arguments(whole, kind, size, 1 << 30))
    for number in range(1, 10):
        arguments = kind, 4 * MIB, 64 * 4 ** (number - 1)
        long(f"9.{sections[1]}", number, with_arguments(fragmented, *arguments))
    for number in range(1, 7):
        arguments = kind, MIB, 64 << (number - 1)
        long(f"9.{sections[2]}", number, with_arguments(whole, *arguments))
    for number, size in enumerate((0, 16, 64, 256, 1024, 4096), 1):
        long(f"9.{sections[3]}", number, with_arguments(repeated, kind, size, 1000))

# -- 10: a message in fragments of any size

add("10.1", ([message(TEXT, chopped(b"*" * 65536, 1300)) + BYE], ["*" * 65536, 1000]))

# -- the cases without compression


def said(data: bytes, inflate: Callable[[bytes], bytes] | None = None) -> Iterator[Any]:
    """Yield what the server's frames in *data* say; *inflate* decompresses a message."""
    kind, parts = 0, b""
    for first, payload in frames(data):
        if first & 15 == PONG:
            yield "pong", payload
        elif first & 15 == CLOSE:
            yield int.from_bytes(payload[:2], "big") if payload else None
        else:
            kind, parts = kind or first, parts + payload
            if first & 0x80:
                plain = inflate(parts) if kind & 0x40 and inflate is not None else parts
                yield plain.decode() if kind & 15 == TEXT else plain
                kind, parts = 0, b""


@pytest.mark.parametrize("number", [*CASES, *LONG])
def test_case(site: Start, number: str) -> None:
    parts, expected = CASES[number] if number in CASES else LONG[number]()
    here = site(echo)
    with here.connect() as sock:
        sock.sendall(handshake())
        upgraded(sock)

        def send() -> None:
            for part in parts:
                sock.sendall(part)
                treadle.sleep(0)

        treadle.spawn(send)
        assert list(said(received(sock))) == expected
    assert here.errors == []


# -- 12 and 13: compression


def shuffled(seed: int, words: list[str], size: int) -> bytes:
    return " ".join(random.Random(seed).choices(words, k=size // 4)).encode()[:size]


NOTE = json.dumps([{"id": at, "name": f"node {at}", "at": [at / 7, at / 3]} for at in range(4000)])
FAUST = ["Habe", "nun", "ach", "Philosophie", "Juristerei", "und", "Medizin", "mit", "durchaus"]
HTML = ["<p>", "</p>", '<a href="/', '">', "</a>", "Text", "<div class='x'>", "</div>"]
#: Like the testsuite's files: JSON, a bitmap, prose, HTML and a PDF.
FILES = [
    (TEXT, NOTE.encode()[:194056]),
    (BINARY, bytes(random.Random(2).choices(range(100, 140), k=263222))),
    (TEXT, shuffled(3, FAUST, 222218)),
    (TEXT, shuffled(4, HTML, 263527)),
    (BINARY, random.Random(5).randbytes(1042328)),
]
#: The size of each message, and that of its fragments; 0 for one frame.
SHAPES = [
    *((size, 0) for size in (16, 64, 256, *(1024 << at for at in range(8)))),
    *((size * KIB, 256) for size in (8, 16, 32, 64)),
    *((128 * KIB, size) for size in (256, 1024, 32768)),
]
#: The parameters of the offers of section 13; the client's own are always offered.
ASKED = [
    ("",),
    ("server_no_context_takeover",),
    ("server_max_window_bits=9",),
    ("server_max_window_bits=15",),
    ("server_no_context_takeover; server_max_window_bits=9",),
    ("server_no_context_takeover; server_max_window_bits=15",),
    ("server_no_context_takeover; server_max_window_bits=9", "server_no_context_takeover", ""),
]
OWN = "client_no_context_takeover; client_max_window_bits"
COMPRESSED: dict[str, tuple[str, int, bytes, int, int]] = {}
for place, (kind, data) in enumerate(FILES, 1):
    for number, (size, fragment) in enumerate(SHAPES, 1):
        COMPRESSED[f"12.{place}.{number}"] = "permessage-deflate", kind, data, size, fragment
for place, asked in enumerate(ASKED, 1):
    offer = ", ".join("; ".join(filter(None, ("permessage-deflate", OWN, each))) for each in asked)
    for number, (size, fragment) in enumerate(SHAPES, 1):
        COMPRESSED[f"13.{place}.{number}"] = offer, TEXT, FILES[0][1], size, fragment


class Client:
    """The client's end of the compression that the server's answer *agreed* on."""

    def __init__(self, agreed: str) -> None:
        parts = [part.strip().partition("=") for part in agreed.split(";")]
        given = {name: value for name, _, value in parts}
        assert "permessage-deflate" in given
        self._bits = int(given.get("client_max_window_bits", 15))
        self._server_bits = int(given.get("server_max_window_bits", 15))
        self._keeps = "client_no_context_takeover" not in given
        self._server_keeps = "server_no_context_takeover" not in given
        self._writing: Any = None
        self._reading: Any = None

    def deflate(self, data: bytes) -> bytes:
        if self._writing is None or not self._keeps:
            self._writing = zlib.compressobj(wbits=-self._bits)
        return bytes(self._writing.compress(data) + self._writing.flush(zlib.Z_SYNC_FLUSH))[:-4]

    def inflate(self, data: bytes) -> bytes:
        if self._reading is None or not self._server_keeps:
            self._reading = zlib.decompressobj(-self._server_bits)
        return bytes(self._reading.decompress(data + b"\0\0\xff\xff"))


@pytest.mark.parametrize("number", COMPRESSED)
def test_compressed(site: Start, number: str) -> None:
    offer, kind, data, size, fragment = COMPRESSED[number]
    messages = [data[at % (len(data) - size) :][:size] for at in range(0, 7 * size, size)]
    here = site(echo)
    with here.connect() as sock:
        sock.sendall(handshake(f"Sec-WebSocket-Extensions: {offer}"))
        answer = upgraded(sock).decode()
        client = Client(answer.partition("Sec-WebSocket-Extensions: ")[2].partition("\r\n")[0])

        def send() -> None:
            for each in messages:
                packed = client.deflate(each)
                pieces = chopped(packed, fragment or 1 << 30)
                sent = bytearray(message(kind, pieces))
                sent[0] |= 0x40
                sock.sendall(bytes(sent))
            sock.sendall(BYE)

        treadle.spawn(send)
        found = list(said(received(sock), client.inflate))
    echoed = [each.decode() if kind == TEXT else each for each in messages]
    assert found == [*echoed, 1000]
    assert here.errors == []


def test_all_cases_are_there() -> None:
    assert len(CASES) + len(LONG) + len(COMPRESSED) == 517
