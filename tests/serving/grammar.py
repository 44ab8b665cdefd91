"""Random HTTP/1.1 connections: what clients send, right and wrong, made by a grammar."""

import random
from collections.abc import Sequence

__all__ = ["VALID", "connection", "in_pieces", "mutated"]

#: How often a part of a request is an odd one.
_ODD = 0.04

_METHODS = [b"GET", b"POST", b"PUT", b"HEAD", b"OPTIONS", b"DELETE", b"M-SEARCH", b"FOO", b"G"]
_ODD_METHODS = [b"CONNECT", b"PRI", b"get", b"", b"G T", b"G(T", b"GET\0", b"G\xc4T", b"\r\nGET"]
_TARGETS = [b"/", b"/a?b=c", b"/%41/%zz?", b"/a;b=1/../c", b"http://b/", b"HTTP://b:80/x?y", b"//a"]
_TARGETS += [b"https://b?q", b"/a//b", b"/?a?b", b"/" + b"a" * 40, b"/:@!$&'()*+,;="]
_ODD_TARGETS = [b"*", b"a", b"a:80", b"", b"/#f", b"/\x80", b"/\xc3\xa4", b"/\0", b"/\x7f", b"/ a"]
_ODD_TARGETS += [b"http://", b"http:///", b"http://a,b/", b"http://u@a/", b"http:a", b"*a", b"?a"]
_ODD_TARGETS += [b"/\t", b'/"<>^`{|}\\', b"http://[::1]:80/", b"/\r", b"/\n", b"1http://a/"]
_VERSIONS = [b"HTTP/1.1"] * 6 + [b"HTTP/1.0"]
_ODD_VERSIONS = [b"HTTP/0.9", b"HTTP/1.2", b"HTTP/2.0", b"HTTP/1", b"http/1.1", b"HTTP/1.1 ", b""]
_ODD_VERSIONS += [b"HTTP/1.10", b"HTTP/01.1", b"HTTP/1.1\t", b"HTTP/1,1", b"HTTP/3.0", b"HTTPS/1.1"]
_HOSTS = [b"Host: a", b"host:b:8000", b"HOST: \t c.example \t", b"Host: [::1]", b"Host:"]
_ODD_HOSTS = [b"Host: a b", b"Host: a,b", b"Host: a/b", b"Host: u@a", b"Host: \xe4", b"Host : a"]
_NAMES = [b"X", b"x-y", b"Accept", b"Cookie", b"X_Y", b"!#$%&'*+-.^_`|~", b"Content-Type", b"Te"]
_ODD_NAMES = [b"", b"X ", b" X", b"X\0", b"X\xff", b"X\x01", b"(", b"X\t", b"X\r", b"X\n", b"\tX"]
_VALUES = [b"", b"a", b" a b ", b"\t\ta\t b\t", b"\xe4\xff", b'"a, b"', b"a:b", b"x" * 30]
_ODD_VALUES = [b"a\0b", b"a\x01", b"a\x7f", b"a\rb", b"a\nb", b"a\x0b", b"a\r\n b", b"\r\n\tb"]
_CONNECTIONS = [b"close", b"keep-alive", b"Close", b"x, close", b"keep-alive, close", b"close,x"]
_CONNECTIONS += [b"upgrade", b"Upgrade, keep-alive", b"te", b",,close", b"closed", b"", b"close, "]
_CONNECTIONS += [b"keep-alive close", b"close\t", b"x,\tclose", b'"close"', b"clo", b"xclose"]
_UPGRADES = [b"websocket", b"h2c", b"TLS/1.0", b"", b"WebSocket", b"foo, bar"]
_EXPECTS = [b"100-continue", b"100-Continue"]
_ODD_EXPECTS = [b"x", b"", b"100-continue, 100-continue", b"100-continue;q=1"]
_ODD_LENGTHS = [b"+%d", b"0%d", b"%d,%d", b"%d, %d", b"0x%d", b"-%d", b"%d_0", b"%d.", b" %d\t"]
_ODD_LENGTHS += [b"", b"99999999999999999999%d", b"18446744073709551616", b"%d 1", b"%d\x0b", b"x"]
_ODD_LENGTHS += [b"9223372036854775808", b"\xd9\xa3", b"%d;", b"4294967297"]
_CODINGS = [b"chunked", b"Chunked", b"CHUNKED", b" chunked "]
_ODD_CODINGS = [b"gzip, chunked", b"chunked, chunked", b"identity", b"chunked, gzip", b"xchunked"]
_ODD_CODINGS += [
    b"",
    b"chunked\t",
    b"\x0bchunked",
    b"chunked;q=1",
    b"chunked,",
    b",chunked",
    b"gzip",
    b"chun ked",
]
_ODD_CODINGS += [b'"chunked"', b"chunked\0", b"chunked\x0b"]
_EXTENSIONS = [b"", b";a", b";a=b", b';a="b c"', b";a;b=1", b';a="\\""', b";a="]
_ODD_EXTENSIONS = [b";", b" ;a", b"; ", b";a\x01", b";a\nb", b";a\r", b"\t", b" ", b"x", b";\0"]
_ODD_EXTENSIONS += [b';a="', b';a="\n"', b";a=\xe4", b"; a = b", b";=a", b';a="b"c']
_ODD_SIZES = [b"0x%x", b"+%x", b"-%x", b"", b"%x_0", b"g", b"10000000000000000%x", b" %x", b"%x\0"]
_ODD_SIZES += [b"0" * 21 + b"%x", b"0" * 15 + b"%x", b"%x\n", b"ffffffffffffffff%x"]
_TRAILERS = [b"Content-Length: 5", b"Content-Length: x", b"Transfer-Encoding: chunked", b"Host: z"]
_TRAILERS += [b"Connection: close", b"Connection: upgrade", b"Upgrade: websocket", b"Expect: x"]
_TRAILERS += [b"Transfer-Encoding: gzip"]
_LINE_ENDS = [b"\n", b"\r", b"\r\r\n", b"\n\r", b"", b" \r\n", b"\r\n\r\n", b"\0\r\n", b"\r\n "]
_BITS = [b"\r\n", b"\n", b"\r", b" ", b"\t", b":", b"\0", b"0", b"\r\n\r\n", b"\x80", b";", b","]
_BITS += [b"Content-Length: 3\r\n", b"Transfer-Encoding: chunked\r\n", b"HTTP/1.1", b"Host: a\r\n"]
_BITS += [b"Connection: close\r\n", b"\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", b"0\r\n\r\n"]

#: Valid requests, whose bytes tests cut and change.
VALID: list[bytes] = [
    b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"HEAD /a?b HTTP/1.1\r\nHost: a\r\nX: y\r\nX: z\r\nCookie: a\r\nCookie: b\r\n\r\n",
    b"FOO http://b/c HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
    b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nabcde",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    b'5\r\nabcde\r\nA;x=y;z="\\" "\r\n0123456789\r\n0\r\nTrailer: x\r\n\r\n',
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\nabc",
    b"POST / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
    b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
]


class _Writer:
    """Writes one random connection."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng

    def pick(self, usual: Sequence[bytes], odd: Sequence[bytes]) -> bytes:
        rng = self.rng
        return rng.choice(odd) if rng.random() < _ODD else rng.choice(usual)

    def often(self, chance: float) -> bool:
        return self.rng.random() < chance

    def end(self) -> bytes:
        """Return the end of a line."""
        return self.rng.choice(_LINE_ENDS) if self.often(_ODD / 8) else b"\r\n"

    def field(self, name: bytes, value: bytes) -> bytes:
        name = self.rng.choice([name, name, name.lower(), name.upper()])
        blank = self.rng.choice([b"", b" ", b" ", b"\t", b"  \t"])
        return name + b":" + blank + value

    def number(self, form: bytes, number: int) -> bytes:
        return form % ((number,) * form.count(b"%"))

    def chunks(self) -> bytes:
        data = b""
        for _ in range(self.rng.randint(0, 3)):
            content = self.rng.randbytes(self.rng.choice([1, 2, 9, 15, 16, 17]))
            form = self.pick([b"%x", b"%x", b"%X", b"0%x", b"000%x"], _ODD_SIZES)
            data += self.number(form, len(content))
            data += self.pick(_EXTENSIONS, _ODD_EXTENSIONS) + self.end()
            data += content + self.end()
        data += self.pick([b"0", b"0", b"000"], [b"", b"0x0", b"-0", b"0 ", b"00g"])
        data += self.pick(_EXTENSIONS, _ODD_EXTENSIONS) + self.end()
        for _ in range(self.rng.choice([0, 0, 0, 1, 2])):
            trailer = self.pick(_NAMES, _ODD_NAMES) + b":" + self.pick(_VALUES, _ODD_VALUES)
            data += (self.rng.choice(_TRAILERS) if self.often(0.2) else trailer) + self.end()
        return data + self.end()

    def request(self) -> bytes:
        rng = self.rng
        fields = [self.pick(_HOSTS, _ODD_HOSTS)]
        if self.often(_ODD):
            fields = rng.choice([[], fields * 2, [fields[0], b"Host: z"]])
        for _ in range(rng.choice([0, 0, 1, 2, 4])):
            value = self.pick(_VALUES, _ODD_VALUES)
            fields.append(self.field(self.pick(_NAMES, _ODD_NAMES), value))
        if self.often(0.15):
            fields.append(self.field(b"Connection", rng.choice(_CONNECTIONS)))
            if self.often(0.2):
                fields.append(self.field(b"Connection", rng.choice(_CONNECTIONS)))
        if self.often(0.07):
            fields.append(self.field(b"Upgrade", rng.choice(_UPGRADES)))
            if self.often(0.7):
                fields.append(self.field(b"Connection", b"Upgrade"))
        if self.often(0.1):
            fields.append(self.field(b"Expect", self.pick(_EXPECTS, _ODD_EXPECTS)))
        body = b""
        kind = rng.random()
        if kind < 0.35:
            body = rng.randbytes(rng.choice([0, 1, 5, 30, 300]))
            form = self.pick([b"%d"], _ODD_LENGTHS)
            length = len(body) if not self.often(_ODD) else rng.randrange(40)
            fields.append(self.field(b"Content-Length", self.number(form, length)))
            if self.often(_ODD):
                form = self.pick([b"%d"], _ODD_LENGTHS)
                fields.append(self.field(b"Content-Length", self.number(form, length)))
        if 0.33 < kind < 0.65:  # some have both
            fields.append(self.field(b"Transfer-Encoding", self.pick(_CODINGS, _ODD_CODINGS)))
            if self.often(_ODD):
                coding = self.pick(_CODINGS, _ODD_CODINGS)
                fields.append(self.field(b"Transfer-Encoding", coding))
            body = self.chunks()
        rng.shuffle(fields)
        line = self.pick(_METHODS, _ODD_METHODS) + self.pick([b" "], [b"  ", b"\t", b"", b" \r"])
        line += self.pick(_TARGETS, _ODD_TARGETS) + self.pick([b" "], [b"  ", b"\t", b"", b"\0"])
        line += self.pick(_VERSIONS, _ODD_VERSIONS) + self.end()
        start = self.pick([b""], [b"\r\n", b"\n", b"\r\n\r\n", b" ", b"\r", b"\0"])
        return start + line + b"".join(each + self.end() for each in fields) + self.end() + body


def connection(rng: random.Random) -> bytes:
    """Return what a client sends on one connection: some requests, perhaps mutated or cut."""
    writer = _Writer(rng)
    parts = []
    for _ in range(rng.choice([1, 1, 2, 3, 5])):
        parts.append(rng.choice(VALID) if rng.random() < 0.2 else writer.request())
    data = b"".join(parts)
    kind = rng.random()
    if kind < 0.25:
        data = mutated(rng, data)
    elif kind < 0.35:
        data = data[: rng.randrange(len(data) + 1)]
    return data


def mutated(
    rng: random.Random,
    data: bytes,
    bits: Sequence[bytes] = _BITS,
    counts: Sequence[int] = range(1, 5),
) -> bytes:
    """Return *data* with one of *counts* random changes, some of which put one of *bits* in."""
    changed = bytearray(data)
    for _ in range(rng.choice(counts)):
        at = rng.randrange(len(changed) + 1)
        kind = rng.randrange(5)
        if kind == 0:
            del changed[at : at + rng.randint(1, 8)]
        elif kind == 1:
            changed[at:at] = rng.choice(bits)
        elif kind == 2 and at < len(changed):
            changed[at] = rng.randrange(256)
        elif kind == 3:
            changed[at:at] = changed[at : at + rng.randint(1, 30)]
        else:
            changed[at : at + 2] = rng.choice(bits)
    return bytes(changed)


def in_pieces(rng: random.Random, data: bytes) -> list[bytes]:
    """Return *data* in pieces of random sizes."""
    pieces = []
    while data:
        size = rng.choice((1, 2, 5, 17, 100))
        pieces.append(data[:size])
        data = data[size:]
    return pieces
