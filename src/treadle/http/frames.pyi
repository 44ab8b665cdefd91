from typing import Protocol

__all__ = [
    "BINARY",
    "CLOSE",
    "CONTINUATION",
    "PING",
    "PONG",
    "TEXT",
    "FrameReader",
    "ProtocolError",
    "frame",
    "is_close_code",
]

CONTINUATION: int
TEXT: int
BINARY: int
CLOSE: int
PING: int
PONG: int

class ProtocolError(Exception):
    code: int
    reason: str
    def __init__(self, code: int, reason: str) -> None: ...

class _Inflating(Protocol):
    PIECE: int
    TAIL: bytes
    def inflate(self, data: bytes) -> tuple[bytes, bytes | None]: ...
    def end_inflating(self) -> None: ...

class FrameReader:
    def __init__(self, most: int | None = None, deflate: _Inflating | None = None) -> None: ...
    def feed(self, data: bytes) -> None: ...
    def read(self) -> tuple[int, str | bytes | tuple[int, str]] | None: ...

def frame(opcode: int, payload: str | bytes, fin: bool = True, rsv1: bool = False) -> bytes: ...
def is_close_code(code: int) -> bool: ...
