"""The parts of WebSocket without I/O: handshakes (RFC 6455, 8441) and compression (RFC 7692)."""

from __future__ import annotations

import binascii
import zlib
from base64 import b64decode, b64encode
from collections.abc import Mapping
from hashlib import sha1
from typing import Any

from treadle.http.frames import ProtocolError

__all__ = ["VERSION", "Deflate", "accept_headers", "is_handshake", "listed"]

#: The only version of the protocol (RFC 6455, 4.4).
VERSION = "13"

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def listed(value: str) -> list[str]:
    """Return the items of a comma-separated header *value*, without blanks around them."""
    return [item for each in value.split(",") if (item := each.strip())]


def is_handshake(environ: Mapping[str, Any]) -> bool:
    """Return whether a request for a WebSocket is a valid handshake.

    Over HTTP/1.1 it is one of RFC 6455, 4.2.1; over HTTP/2, of RFC 8441, 5, which has no key.
    """
    if environ["SERVER_PROTOCOL"] == "HTTP/2":
        return environ.get("HTTP_SEC_WEBSOCKET_VERSION") == VERSION
    try:
        key = b64decode(environ.get("HTTP_SEC_WEBSOCKET_KEY", ""), validate=True)
    except (binascii.Error, ValueError):
        return False
    return (
        len(key) == 16
        and environ["REQUEST_METHOD"] == "GET"
        and environ["SERVER_PROTOCOL"] == "HTTP/1.1"
        and environ.get("HTTP_SEC_WEBSOCKET_VERSION") == VERSION
    )


def accept_headers(environ: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the headers that the response to a handshake must have."""
    if environ["SERVER_PROTOCOL"] == "HTTP/2":
        return []
    key = environ["HTTP_SEC_WEBSOCKET_KEY"].encode("ascii")
    accept = b64encode(sha1(key + _GUID).digest()).decode("ascii")
    return [
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Accept", accept),
    ]


class Deflate:
    """The extension permessage-deflate (RFC 7692), for the server's end."""

    name = "permessage-deflate"
    #: zlib's window bits and memory level. With these a connection takes about 50 KiB for both
    #: directions; with zlib's defaults it would take 300 KiB.
    BITS = 12
    MEMORY = 5
    #: Messages with fewer bytes are not compressed.
    WORTH = 64
    #: The most bytes to decompress at once: a message of some KiB may stand for many MiB.
    PIECE = 262144
    #: What zlib appends at a sync flush; messages leave it out.
    TAIL = b"\x00\x00\xff\xff"

    def __init__(self, parameters: Mapping[str, str | None], most: int | None) -> None:
        """*parameters* are those of an offer; *most* is the longest message in bytes, or None.

        Raises ValueError for invalid parameters.
        """
        self._most = most
        self._keep_reading = "client_no_context_takeover" not in parameters
        self._keep_writing = "server_no_context_takeover" not in parameters
        self._read_bits, self._write_bits = 15, self.BITS
        agreed = [self.name]
        for name, value in parameters.items():
            if name in ("client_no_context_takeover", "server_no_context_takeover"):
                if value is not None:
                    raise ValueError(f"{name} has no value")
                agreed.append(name)
            elif name == "server_max_window_bits":
                # zlib needs at least 9 bits to compress.
                self._write_bits = min(_window_bits(value, least=9), self.BITS)
            elif name == "client_max_window_bits":
                bits = 15 if value is None else _window_bits(value, least=8)
                self._read_bits = min(bits, self.BITS)
                agreed.append(f"{name}={self._read_bits}")
            else:
                raise ValueError(f"{name} is no parameter")
        agreed.append(f"server_max_window_bits={self._write_bits}")
        #: The value of Sec-WebSocket-Extensions in the response.
        self.agreed: str = "; ".join(agreed)
        self._reading: Any = None
        self._writing: Any = None
        self._size = 0  # of the incoming message so far, in bytes

    @classmethod
    def agree(cls, header: str, most: int | None) -> Deflate | None:
        """Return the extension for the first acceptable offer, or None.

        *header* is the client's Sec-WebSocket-Extensions; *most* is the longest message in bytes.
        """
        for offer in listed(header):
            name, *rest = (part.strip() for part in offer.split(";"))
            if name != cls.name:
                continue
            parameters: dict[str, str | None] = {}
            for each in rest:
                key, equals, value = each.partition("=")
                parameters[key.strip()] = value.strip().strip('"') if equals else None
            try:
                if len(parameters) == len(rest):  # no parameter is repeated
                    return cls(parameters, most)
            except ValueError:
                pass
        return None

    def inflate(self, data: bytes) -> tuple[bytes, bytes | None]:
        """Decompress the beginning of *data*, a part of a message; it may be empty.

        Returns at most :attr:`PIECE` bytes, and the data that is left: None if there is none, and
        the part is complete. The last part of a message is followed by :attr:`TAIL`. Raises
        ProtocolError if it cannot be decompressed, or if the message becomes too long.
        """
        if self._reading is None:
            self._reading = zlib.decompressobj(-max(self._read_bits, 9))
        room = self.PIECE
        if self._most is not None:
            room = min(room, self._most + 1 - self._size)
        try:
            piece: bytes = self._reading.decompress(data, room)
        except zlib.error:
            raise ProtocolError(1007, "data that cannot be decompressed") from None
        self._size += len(piece)
        if self._most is not None and self._size > self._most:
            raise ProtocolError(1009, f"longer than {self._most}")
        if self._reading.eof:
            # A final block ends the deflate stream; the data after it starts a new one.
            left, self._reading = self._reading.unused_data, None
            return piece, left or None
        left = self._reading.unconsumed_tail
        # A full piece may leave something in zlib, though it has taken all of the data.
        return piece, left if left or len(piece) == room else None

    def end_inflating(self) -> None:
        """Note that a message has been decompressed, with :attr:`TAIL`."""
        self._size = 0
        if not self._keep_reading:
            self._reading = None

    def deflate(self, data: bytes, last: bool) -> bytes:
        """Return *data*, a part of a message, compressed; *last* ends the message."""
        if self._writing is None:
            self._writing = zlib.compressobj(wbits=-self._write_bits, memLevel=self.MEMORY)
        data = self._writing.compress(data)
        if last:
            data += self._writing.flush(zlib.Z_SYNC_FLUSH)
            data = data[: -len(self.TAIL)]
            if not self._keep_writing:
                self._writing = None
        return bytes(data)


def _window_bits(value: str | None, *, least: int) -> int:
    if value not in ("8", "9", "10", "11", "12", "13", "14", "15") or int(value) < least:
        raise ValueError(f"{value!r} cannot be the size of a window")
    return int(value)
