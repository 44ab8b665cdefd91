from collections.abc import Iterable
from enum import Enum

__all__ = ["Framing", "HeaderLines", "check_status", "date", "frame", "header_lines"]

class HeaderLines:
    @property
    def text(self) -> str: ...
    @property
    def length(self) -> int | None: ...
    @property
    def has_date(self) -> bool: ...
    @property
    def close(self) -> bool: ...

class Framing(Enum):
    NONE = "there is none"
    LENGTH = "its length is in the head"
    CHUNKED = "it comes in chunks"
    CLOSE = "the connection ends with it"

def check_status(status: object) -> int: ...
def header_lines(headers: Iterable[tuple[str, str]], code: int) -> HeaderLines: ...
def frame(
    method: str, version: str, code: int, lines: HeaderLines, known: int | None
) -> tuple[Framing, str]: ...
def date() -> str: ...
