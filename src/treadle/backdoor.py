"""A server for a Python prompt inside a running process, with the API of gevent.backdoor.

There is no authentication: any client that can connect can do everything the process can. Listen on
127.0.0.1 or a Unix socket.
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
    """A standard stream that is the client's in its greenlet, and the real one elsewhere."""

    def __init__(self, real: Any) -> None:
        self._real = real
        self._own: dict[Any, Any] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._own.get(getcurrent(), self._real), name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._own.get(getcurrent(), self._real))


def _install(streams: dict[str, Any]) -> None:
    """Use *streams* as the standard streams of the current greenlet."""
    for name, stream in streams.items():
        shared = getattr(sys, name)
        if not isinstance(shared, _PerGreenlet):
            shared = _PerGreenlet(shared)
            setattr(sys, name, shared)
        shared._own[getcurrent()] = stream


def _remove() -> None:
    """Undo :func:`_install`; restore the real streams if no other greenlet uses its own."""
    for name in STREAMS:
        shared = getattr(sys, name)
        if isinstance(shared, _PerGreenlet):
            shared._own.pop(getcurrent(), None)
            if not shared._own:
                setattr(sys, name, shared._real)


class BackdoorServer(StreamServer):
    """Serves a Python prompt to each client that connects.

    Each client gets its own copy of the dictionary *locals* as its namespace. *banner* is the text
    printed first. The other arguments are those of :class:`~treadle.server.StreamServer`, except
    *spawn*: the server uses a pool, so that stopping it ends the clients' sessions.
    """

    def __init__(
        self,
        listener: Any,
        locals: dict[str, Any] | None = None,
        banner: str | None = None,
        **server_args: Any,
    ) -> None:
        super().__init__(listener, spawn=Pool(), **server_args)
        self.locals: dict[str, Any] = {"__doc__": None, "__name__": "__console__", **(locals or {})}
        self.banner = banner
        self.stderr: Any = sys.stderr

    def _create_interactive_locals(self) -> dict[str, Any]:
        return {**self.locals, "builtins": builtins, "__builtins__": builtins}

    def handle(self, conn: Any, _address: Any) -> None:
        """Serve the prompt to one client until it leaves."""
        with contextlib.suppress(OSError):  # not a TCP connection
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
    """Standard output on a connection, unbuffered because nothing would flush it."""

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
    """Standard input from a connection; its lines may end with CRLF, as telnet's do."""

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
