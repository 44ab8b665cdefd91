"""The parts of WebSocket without I/O: the handshake (RFC 6455) and compression (RFC 7692)."""

from __future__ import annotations

import binascii
import zlib
from base64 import b64decode, b64encode
from collections.abc import Mapping
from hashlib import sha1
from typing import Any

try:
    from wsproto.extensions import Extension
    from wsproto.frame_protocol import CloseReason, FrameDecoder, FrameProtocol, Opcode, RsvBits
except ImportError as _missing:
    raise ImportError("WebSockets need wsproto: pip install 'treadle[serve]'") from _missing

__all__ = ["VERSION", "Deflate", "accept_headers", "is_handshake", "listed"]

#: The only version of the protocol (RFC 6455, 4.4).
VERSION = "13"

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def listed(value: str) -> list[str]:
    """Return the items of a comma-separated header *value*, without blanks around them."""
    return [item for each in value.split(",") if (item := each.strip())]


def is_handshake(environ: Mapping[str, Any]) -> bool:
    """Return whether a request for a WebSocket is a valid handshake (RFC 6455, 4.2.1)."""
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
    key = environ["HTTP_SEC_WEBSOCKET_KEY"].encode("ascii")
    accept = b64encode(sha1(key + _GUID).digest()).decode("ascii")
    return [
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Accept", accept),
    ]


class Deflate(Extension):
    """The extension permessage-deflate, for the server's end.

    wsproto's own class does not bound the size of a decompressed message, and forgets that a
    message is compressed when a ping comes between its frames.
    """

    name = "permessage-deflate"
    #: zlib's window bits and memory level. With these a connection takes about 50 KiB for both
    #: directions; with zlib's defaults it would take 300 KiB.
    BITS = 12
    MEMORY = 5
    #: Messages with fewer bytes are not compressed.
    WORTH = 64
    #: What zlib appends at a sync flush; messages leave it out.
    _TAIL = b"\x00\x00\xff\xff"

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
        self._compressed: bool | None = None  # whether the incoming message is; None between two
        self._size = 0  # bytes of the incoming message so far
        self._control = False  # whether the incoming frame is a control frame
        self._compressing = False  # whether the outgoing message is compressed

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

    def enabled(self) -> bool:
        """Return True: the extension is in use. wsproto calls this method."""
        return True

    def offer(self) -> bool | str:
        """Return False: a server does not offer extensions."""
        return False

    def frame_inbound_header(
        self,
        proto: FrameDecoder | FrameProtocol,
        opcode: Opcode,
        rsv: RsvBits,
        payload_length: int,
    ) -> CloseReason | RsvBits:
        """Handle the start of a frame; a message's first frame says whether it is compressed."""
        self._control = opcode.iscontrol()
        first = not self._control and opcode is not Opcode.CONTINUATION
        if rsv.rsv1 and not first:
            return CloseReason.PROTOCOL_ERROR
        if first and self._compressed is None:
            self._compressed, self._size = rsv.rsv1, 0
        return RsvBits(True, False, False)

    def frame_inbound_payload_data(
        self, proto: FrameDecoder | FrameProtocol, data: bytes
    ) -> bytes | CloseReason:
        """Return *data*, part of a frame; decompressed if its message is compressed."""
        return self._inflate(data) if self._compressed and not self._control else data

    def frame_inbound_complete(
        self, proto: FrameDecoder | FrameProtocol, fin: bool
    ) -> bytes | CloseReason | None:
        """Handle the end of a frame, with *fin* also of its message; return the last data."""
        if self._control or not fin:
            return None
        compressed, self._compressed = self._compressed, None
        data = self._inflate(self._TAIL) if compressed else None
        if not self._keep_reading:
            self._reading = None
        return data

    def _inflate(self, data: bytes) -> bytes | CloseReason:
        parts: list[bytes] = []
        while data:
            if self._reading is None:
                self._reading = zlib.decompressobj(-max(self._read_bits, 9))
            room = 0 if self._most is None else self._most + 1 - self._size
            try:
                part = self._reading.decompress(data, room)
            except zlib.error:
                return CloseReason.INVALID_FRAME_PAYLOAD_DATA
            parts.append(part)
            self._size += len(part)
            if self._most is not None and self._size > self._most:
                return CloseReason.MESSAGE_TOO_BIG
            if not self._reading.eof:
                break
            # A final block ends the deflate stream; the data after it starts a new one.
            data, self._reading = self._reading.unused_data, None
        return b"".join(parts)

    def frame_outbound(
        self,
        proto: FrameDecoder | FrameProtocol,
        opcode: Opcode,
        rsv: RsvBits,
        data: bytes,
        fin: bool,
    ) -> tuple[RsvBits, bytes]:
        """Return the frame's bits and *data*, compressed unless the message is short."""
        if opcode.iscontrol():
            return rsv, data
        if opcode is not Opcode.CONTINUATION:
            self._compressing = not fin or len(data) >= self.WORTH
            rsv = RsvBits(self._compressing, rsv.rsv2, rsv.rsv3)
        if not self._compressing:
            return rsv, data
        if self._writing is None:
            self._writing = zlib.compressobj(wbits=-self._write_bits, memLevel=self.MEMORY)
        data = self._writing.compress(data)
        if fin:
            data += self._writing.flush(zlib.Z_SYNC_FLUSH)
            data = data[: -len(self._TAIL)]
            if not self._keep_writing:
                self._writing = None
        return rsv, data


def _window_bits(value: str | None, *, least: int) -> int:
    if value not in ("8", "9", "10", "11", "12", "13", "14", "15") or int(value) < least:
        raise ValueError(f"{value!r} cannot be the size of a window")
    return int(value)
