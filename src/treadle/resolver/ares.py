"""A resolver that uses c-ares: what gevent.resolver.ares offers, by way of pycares."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from typing import Any

from treadle._config import config
from treadle._core.native import start_new_thread
from treadle.core import READ, WRITE
from treadle.event import AsyncResult
from treadle.hub import get_hub
from treadle.resolver._dns import Answer, DnsResolver, answer_from, failure, name_server

try:
    import pycares
except ImportError as exc:
    raise ImportError("treadle.resolver.ares needs pycares: pip install 'treadle[dns]'") from exc

__all__ = ["Resolver"]

_TYPES = {
    "A": pycares.QUERY_TYPE_A,
    "AAAA": pycares.QUERY_TYPE_AAAA,
    "CNAME": pycares.QUERY_TYPE_CNAME,
    "PTR": pycares.QUERY_TYPE_PTR,
}
_KINDS = {number: kind for kind, number in _TYPES.items()}
#: The attribute of a record that has its data.
_DATA = {"A": "addr", "AAAA": "addr", "CNAME": "cname", "PTR": "dname"}
#: What glibc makes of the same.
_CODES = {
    pycares.errno.ARES_ENOTFOUND: socket.EAI_NONAME,
    pycares.errno.ARES_EFORMERR: socket.EAI_NONAME,
    pycares.errno.ARES_EBADNAME: socket.EAI_NONAME,
    pycares.errno.ARES_ENOMEM: socket.EAI_NONAME,  # what it says of characters it does not like
    pycares.errno.ARES_ENODATA: socket.EAI_NODATA,
}
#: What else of c-ares can be set.
_OPTIONS = ("flags", "tries", "ndots", "udp_port", "tcp_port")
_NO_SOCKET = pycares.ARES_SOCKET_BAD
#: Bytes: the answers to some hundred questions may come at once.
_RECEIVE_BUFFER = 1 << 20


def _close_channels_natively() -> None:
    """Let the thread of pycares that closes channels be a native one, even if threads are patched.

    It waits on a queue that may have been made before patching, which would block the hub.
    """
    manager: Any = getattr(pycares, "_shutdown_manager", None)
    if manager is not None and manager._thread is None:
        try:
            manager._thread = start_new_thread(manager._run_safe_shutdown_loop, ())
        except RuntimeError:  # the interpreter is ending: nothing is left to be closed
            manager._thread = 0


class Channel:
    """A channel of c-ares, whose sockets and timer a hub watches."""

    def __init__(self, loop: Any, **options: Any) -> None:
        self._loop = loop
        self._watchers: dict[int, Any] = {}
        self._timer = loop.timer(0)
        self._asked: set[AsyncResult[Any]] = set()
        _close_channels_natively()
        self._channel: Any = pycares.Channel(
            lookups="b",  # name servers alone
            sock_state_cb=self._socket_changed,
            socket_receive_buffer_size=_RECEIVE_BUFFER,
            **options,
        )

    def ask(self, name: str, kind: str) -> AsyncResult[Any]:
        """Where the answer, or the failure, will be; None if nobody will be told of it here."""
        result: AsyncResult[Any] = AsyncResult()

        def finish(found: Any, status: int | None) -> None:
            if result in self._asked:
                self._asked.discard(result)
                result.set(_answer(found, status, kind))

        self._asked.add(result)
        try:
            self._channel.search(name.encode("latin-1"), _TYPES[kind], callback=finish)
        except pycares.AresError as exc:
            finish(None, exc.args[0])
        self._set_timer()
        return result

    def _socket_changed(self, fd: int, readable: bool, writable: bool) -> None:
        """Called by c-ares when it opens, closes or needs one of its sockets."""
        watcher = self._watchers.pop(fd, None)
        if watcher is not None:
            watcher.close()
        events = (READ if readable else 0) | (WRITE if writable else 0)
        if events:
            watcher = self._watchers[fd] = self._loop.io(fd, events)
            watcher.start(self._process, fd, pass_events=True)

    def _process(self, events: int, fd: int) -> None:
        self._channel.process_fd(
            fd if events & READ else _NO_SOCKET, fd if events & WRITE else _NO_SOCKET
        )
        self._set_timer()

    def _set_timer(self) -> None:
        self._timer.stop()
        if self._asked:
            self._timer.close()
            self._timer = self._loop.timer(self._channel.timeout())
            self._timer.start(self._process, 0, _NO_SOCKET)

    def close(self) -> None:
        """Fail what is asked."""
        self._channel.cancel()
        self.leave()
        self._channel.close()

    def leave(self) -> None:
        """Watch no more; who waits gets None."""
        for watcher in [self._timer, *self._watchers.values()]:
            watcher.close()
        self._watchers.clear()
        asked, self._asked = self._asked, set()
        for result in asked:
            result.set(None)


def _answer(found: Any, status: int | None, kind: str) -> Answer | socket.gaierror:
    if status is not None:
        return failure(_CODES.get(status, socket.EAI_AGAIN))
    records = []
    for record in found.answer:
        type = _KINDS.get(record.type)
        if type is not None:
            records.append((record.name, type, getattr(record.data, _DATA[type])))
    return answer_from(records, kind)


class Resolver(DnsResolver):
    """Asks name servers by c-ares: no threads, and no sockets but a few of its own.

    *nameservers* are ``address`` or ``address:port``, by default those of ``/etc/resolv.conf``;
    *timeout* is how many seconds a server has to answer before the next is asked. By default
    both, and *flags*, *tries*, *ndots*, *udp_port* and *tcp_port* of :class:`pycares.Channel`, are
    those of ``treadle.config``, unless *use_environ* is false. *servers* is gevent's name of
    *nameservers*. c-ares remembers answers and servers that fail.
    """

    def __init__(
        self,
        hub: Any = None,
        use_environ: bool = True,
        *,
        nameservers: Sequence[str] | None = None,
        servers: Sequence[str] | None = None,
        timeout: float | None = None,
        hosts: str = "/etc/hosts",
        **options: int | None,
    ) -> None:
        super().__init__(hub, hosts)
        if unknown := set(options) - set(_OPTIONS):
            raise TypeError(f"a resolver has no option {min(unknown)!r}: {', '.join(_OPTIONS)}")
        self._hub = get_hub() if hub is None else hub
        nameservers = nameservers or servers
        if use_environ:
            nameservers = nameservers or config.resolver_nameservers
            timeout = timeout or config.resolver_timeout
            options = {name: getattr(config, f"ares_{name}") for name in _OPTIONS} | options
        self._options: dict[str, Any] = {
            **options,
            "servers": ["[{}]:{}".format(*name_server(str(each))[1]) for each in nameservers or ()],
            "timeout": timeout,
        }
        self._channel: Channel | None = None

    def ask(self, name: str, kinds: Sequence[str]) -> list[Answer | socket.gaierror]:
        """Ask for all *kinds* at once."""
        while True:
            if self._channel is None:
                self._channel = Channel(self._hub.loop, **self._options)
            asked = [self._channel.ask(name, kind) for kind in kinds]
            answers = [each.get() for each in asked]
            if None not in answers:  # or this is a child: its parent gets the answers
                return answers

    def close(self) -> None:
        """Fail what is asked, and let go of the sockets; it may be used again."""
        channel, self._channel = self._channel, None
        if channel is not None:
            channel.close()

    def begin_anew_in_child(self) -> None:
        """Leave the sockets to the parent; who was kept and waits asks again."""
        super().begin_anew_in_child()
        channel, self._channel = self._channel, None
        if channel is not None:
            left_to_parents.append(channel)
            channel.leave()


#: Channels of the process that this one was forked from: closing them here would do it twice.
left_to_parents: list[Channel] = []
