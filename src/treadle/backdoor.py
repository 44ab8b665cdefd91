"""A Python prompt inside a running process, served to whoever connects: gevent.backdoor.

There is no authentication: who can connect can do whatever the process can. Listen on 127.0.0.1
or a Unix socket.
"""

from __future__ import annotations

import builtins
import contextlib
import sys
from code import InteractiveConsole
from collections.abc import Iterator
from socket import IPPROTO_TCP, TCP_NODELAY
from typing import Any

from greenlet import getcurrent

from treadle.pool import Pool
from treadle.server import StreamServer

__all__ = ["BackdoorServer"]

for _name, _prompt in (("ps1", ">>> "), ("ps2", "... ")):
    if not hasattr(sys, _name):
        setattr(sys, _name, _prompt)

STREAMS = ("stdin", "stdout", "stderr")


class _PerGreenlet:
    """Stands for a standard stream: each visitor's own in its greenlet, the real one elsewhere."""

    def __init__(self, real: Any) -> None:
        self._real = real
        self._own: dict[Any, Any] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._own.get(getcurrent(), self._real), name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._own.get(getcurrent(), self._real))


def _install(streams: dict[str, Any]) -> None:
    """Let the current greenlet's standard streams be these."""
    for name, stream in streams.items():
        shared = getattr(sys, name)
        if not isinstance(shared, _PerGreenlet):
            shared = _PerGreenlet(shared)
            setattr(sys, name, shared)
        shared._own[getcurrent()] = stream


def _remove() -> None:
    """Undo :func:`_install`; the real streams come back when nobody needs others."""
    for name in STREAMS:
        shared = getattr(sys, name)
        if isinstance(shared, _PerGreenlet):
            shared._own.pop(getcurrent(), None)
            if not shared._own:
                setattr(sys, name, shared._real)


class BackdoorServer(StreamServer):
    """Serves a prompt to each who connects.

    *locals* are names that each visitor finds, in a dictionary of its own; *banner* is the text
    that greets it. The other arguments are those of :class:`~treadle.server.StreamServer`, but
    *spawn*: stopping the server ends the visits.
    """

    def __init__(
        self,
        listener: Any,
        locals: dict[str, Any] | None = None,
        banner: str | None = None,
        **server_args: Any,
    ) -> None:
        super().__init__(listener, spawn=Pool(), **server_args)
        self.locals = {"__doc__": None, "__name__": "__console__", **(locals or {})}
        self.banner = banner
        self.stderr = sys.stderr

    def _create_interactive_locals(self) -> dict[str, Any]:
        return {**self.locals, "builtins": builtins, "__builtins__": builtins}

    def handle(self, conn: Any, _address: Any) -> None:
        """Talk with one visitor until it leaves."""
        with contextlib.suppress(OSError):  # it is no TCP connection
            conn.setsockopt(IPPROTO_TCP, TCP_NODELAY, 1)
        lines = conn.makefile("r")
        output = _Output(conn)
        _install({"stdin": _Input(conn, lines), "stdout": output, "stderr": output})
        try:
            console = InteractiveConsole(self._create_interactive_locals())
            console.interact(banner=self.banner, exitmsg="")
        except SystemExit:
            pass  # quit()
        finally:
            _remove()
            lines.close()
            conn.close()


class _Output:
    """Standard output on a connection, without a buffer that nobody would flush."""

    encoding = "utf-8"

    def __init__(self, conn: Any) -> None:
        self._conn = conn
        self.fileno = conn.fileno

    def write(self, data: str) -> int:
        self._conn.sendall(data.encode(self.encoding))
        return len(data)

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        pass

    def isatty(self) -> bool:
        return False


class _Input:
    """Standard input from a connection, whose lines may end as telnet's do."""

    encoding = "utf-8"

    def __init__(self, conn: Any, lines: Any) -> None:
        self._lines = lines
        self.fileno = conn.fileno

    def readline(self, *args: Any) -> str:
        try:
            return str(self._lines.readline(*args)).replace("\r\n", "\n")
        except UnicodeError:
            return ""  # an interrupt typed into telnet

    def __iter__(self) -> Iterator[str]:
        return iter(self.readline, "")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._lines, name)


if __name__ == "__main__":
    if not sys.argv[1:]:
        sys.exit(f"usage: {sys.argv[0]} PORT [BANNER]")
    BackdoorServer(
        ("127.0.0.1", int(sys.argv[1])), banner=sys.argv[2] if sys.argv[2:] else None
    ).serve_forever()
