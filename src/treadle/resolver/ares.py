"""A resolver that uses c-ares through pycares: the API of gevent.resolver.ares."""

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
except ImportError as _exc:
    raise ImportError("treadle.resolver.ares needs pycares: pip install 'treadle[dns]'") from _exc

__all__ = ["Resolver"]

_TYPES = {
    "A": pycares.QUERY_TYPE_A,
    "AAAA": pycares.QUERY_TYPE_AAAA,
    "CNAME": pycares.QUERY_TYPE_CNAME,
    "PTR": pycares.QUERY_TYPE_PTR,
}
_KINDS = {number: kind for kind, number in _TYPES.items()}
#: Type of record -> the attribute that holds its data.
_DATA = {"A": "addr", "AAAA": "addr", "CNAME": "cname", "PTR": "dname"}
#: c-ares' error -> the code that glibc gives for it. EAI_AGAIN for all others.
_CODES = {
    pycares.errno.ARES_ENOTFOUND: socket.EAI_NONAME,
    pycares.errno.ARES_EFORMERR: socket.EAI_NONAME,
    pycares.errno.ARES_EBADNAME: socket.EAI_NONAME,
    pycares.errno.ARES_ENOMEM: socket.EAI_NONAME,  # c-ares' error for characters it refuses
    pycares.errno.ARES_ENODATA: socket.EAI_NODATA,
}
#: The other options of c-ares that can be set.
_OPTIONS = ("flags", "tries", "ndots", "udp_port", "tcp_port")
_NO_SOCKET = pycares.ARES_SOCKET_BAD
#: In bytes. The answers to some hundred questions may arrive at once.
_RECEIVE_BUFFER = 1 << 20


def _close_channels_natively() -> None:
    """Start pycares' thread that closes channels as a native one, even if threads are patched.

    The thread waits for a queue that may have been made before patching. A greenlet that waits for
    such a queue would block the hub.
    """
    manager: Any = getattr(pycares, "_shutdown_manager", None)
    if manager is not None and manager._thread is None:
        try:
            manager._thread = start_new_thread(manager._run_safe_shutdown_loop, ())
        except RuntimeError:  # the interpreter is ending: no channel needs to be closed
            manager._thread = 0


class Channel:
    """A channel of c-ares, whose sockets and timer the hub's loop watches."""

    def __init__(self, loop: Any, **options: Any) -> None:
        self._loop = loop
        self._watchers: dict[int, Any] = {}
        self._timer = loop.timer(0)
        self._asked: set[AsyncResult[Any]] = set()
        _close_channels_natively()
        self._channel: Any = pycares.Channel(
            sock_state_cb=self._socket_changed,
            socket_receive_buffer_size=_RECEIVE_BUFFER,
            **options,
        )

    def ask(self, name: str, kind: str) -> AsyncResult[Any]:
        """Query *name* for records of type *kind*; return the result to wait for.

        Its value is the answer or the failure; None if :meth:`leave` ended the query.
        """
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
        """Watch a socket for other events; c-ares calls this when its interest in it changes."""
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
        """Fail the pending queries and close the channel."""
        self._channel.cancel()
        self.leave()
        self._channel.close()

    def leave(self) -> None:
        """Stop watching the sockets, and end the pending queries with None."""
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
    """A resolver that queries name servers with c-ares, without threads and with a few sockets.

    *nameservers* are ``address`` or ``address:port``, by default those of ``/etc/resolv.conf``;
    *timeout* is how many seconds a server has to answer before the next is asked. By default
    both, and *flags*, *tries*, *ndots*, *udp_port* and *tcp_port* of :class:`pycares.Channel`, are
    those of ``treadle.config``, unless *use_environ* is false. *servers* is gevent's name of
    *nameservers*. c-ares caches answers and remembers servers that fail.
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
        """Query *name* for all record types in *kinds* at once; return an outcome for each."""
        while True:
            if self._channel is None:
                self._channel = Channel(self._hub.loop, **self._options)
            asked = [self._channel.ask(name, kind) for kind in kinds]
            answers = [each.get() for each in asked]
            if None not in answers:  # else this is a forked child, whose parent gets the answers
                return answers

    def close(self) -> None:
        """Fail the pending queries and close the sockets; the resolver may be used again."""
        channel, self._channel = self._channel, None
        if channel is not None:
            channel.close()

    def begin_anew_in_child(self) -> None:
        """Leave the sockets to the parent; a greenlet that still waits in the child asks again."""
        super().begin_anew_in_child()
        channel, self._channel = self._channel, None
        if channel is not None:
            left_to_parents.append(channel)
            channel.leave()


#: Channels that belong to the parent process. They stay referenced so that they are not closed here
#: a second time.
left_to_parents: list[Channel] = []
