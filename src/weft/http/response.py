"""HTTP/1.1 as a server writes it: heads, and how a body is delimited; no I/O."""

from __future__ import annotations

import re
import time
from email.utils import formatdate
from enum import Enum

__all__ = ["Framing", "HeaderLines", "check_status", "date", "frame", "header_lines"]

_STATUS = re.compile(r"[1-9][0-9]{2} [\t\x20-\x7e\x80-\xff]*").fullmatch
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+").fullmatch
_VALUE = re.compile(r"[^\x00\r\n]*").fullmatch

#: Headers between two neighbours (RFC 9110, 7.6.1), which the server speaks for (PEP 3333).
_HOP_BY_HOP = frozenset(
    {"connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding"}
)
#: What :func:`header_lines` tells of.
_TOLD = frozenset({"content-length", "date", "server", "connection"})
#: Names in lower case, once they were checked.
_NAMES: dict[str, str] = {}
_MANY_NAMES = 4096


class HeaderLines:
    """Checked headers: as *text*, lines with their ends, and those of them that matter here."""

    __slots__ = ("close", "has_date", "has_server", "length", "text")

    def __init__(self) -> None:
        self.text = ""
        self.length: int | None = None
        self.has_date = self.has_server = self.close = False


def check_status(status: object) -> None:
    """Raise TypeError or ValueError unless *status* is like "200 OK"."""
    if not isinstance(status, str):
        raise TypeError(f"a status must be a str like '200 OK', not {status!r}")
    if not _STATUS(status):
        raise ValueError(f"a status must be like '200 OK', not {status!r}")


def _lower_name(name: object) -> str:
    if not isinstance(name, str):
        raise TypeError(f"the name of a header must be a str, not {name!r}")
    if not _TOKEN(name):
        raise ValueError(f"{name!r} cannot be the name of a header")
    lower = name.lower()
    if len(_NAMES) < _MANY_NAMES:
        _NAMES[name] = lower
    return lower


def _length(value: str) -> int:
    if not (value.isascii() and value.isdigit()):
        raise ValueError(f"{value!r} cannot be a Content-Length")
    return int(value)


def header_lines(headers: list[tuple[str, str]], code: int) -> HeaderLines:
    """Check *headers* and write them down; raises TypeError or ValueError for what is wrong.

    Those that concern the connection are left out, as gunicorn does, except when it changes
    protocols (*code* 101).
    """
    found = HeaderLines()
    lines: list[str] = []
    for name, value in headers:
        lower = _NAMES.get(name) or _lower_name(name)
        if lower in _TOLD:
            if lower == "content-length":
                length = _length(value)
                if found.length not in (None, length):
                    raise ValueError(f"two lengths: {found.length} and {length}")
                if found.length is not None or code < 200 or code == 204:
                    continue
                found.length = length
            elif lower == "date":
                found.has_date = True
            elif lower == "server":
                found.has_server = True
            elif "close" in value.lower():
                found.close = True
        if lower in _HOP_BY_HOP and code != 101:
            continue
        lines.append(f"{name}: {value}\r\n")
        if not _VALUE(value):
            raise ValueError(f"the header {name} cannot have the value {value!r}")
    found.text = "".join(lines)
    return found


class Framing(Enum):
    """How a client knows where the body ends."""

    NONE = "there is none"
    LENGTH = "its length is in the head"
    CHUNKED = "it comes in chunks"
    CLOSE = "the connection ends with it"


def frame(
    method: str, version: str, code: int, lines: HeaderLines, known: int | None
) -> tuple[Framing, str]:
    """How the body is delimited, and the header that says so.

    *known* is the body's length where all of it is there.
    """
    if code < 200 or code in (204, 304):
        return Framing.NONE, ""
    length = "" if lines.length is not None or known is None else f"Content-Length: {known}\r\n"
    if method == "HEAD":
        # An empty answer to it tells nothing of the length.
        return Framing.NONE, length if known else ""
    if lines.length is not None or known is not None:
        return Framing.LENGTH, length
    if version == "1.1":
        return Framing.CHUNKED, "Transfer-Encoding: chunked\r\n"
    return Framing.CLOSE, ""


_date = (0, "")


def date() -> str:
    """The value of Date: now."""
    global _date
    now = int(time.time())
    at, text = _date
    if at != now:
        text = formatdate(now, usegmt=True)
        _date = (now, text)
    return text
