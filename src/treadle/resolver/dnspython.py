"""A resolver that uses dnspython: the API of gevent.resolver.dnspython."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from treadle import socket as treadle_socket
from treadle._config import config
from treadle._core.clock import seconds as monotonic
from treadle.lock import Semaphore
from treadle.resolver._dns import Answer, DnsResolver, answer_from, failure, name_server

try:
    import dns.exception
    import dns.flags
    import dns.message
    import dns.name
    import dns.rcode
    import dns.rdataclass
    import dns.rdatatype
    import dns.resolver
except ImportError as _exc:
    raise ImportError(
        "treadle.resolver.dnspython needs dnspython: pip install 'treadle[dns]'"
    ) from _exc

__all__ = ["Resolver"]

_DATA = {"A": "address", "AAAA": "address", "CNAME": "target", "PTR": "target"}
#: Response code -> the code that glibc gives for it. EAI_AGAIN for all others.
_CODES = {dns.rcode.NXDOMAIN: socket.EAI_NONAME, dns.rcode.FORMERR: socket.EAI_NONAME}
_LARGEST_DATAGRAM = 65535
#: How often each server is asked: the default of resolv.conf.
_ATTEMPTS = 2
#: The most names to look up at once: each lookup takes a file descriptor.
_MAX_NAMES = 512

#: Type of record -> the query for it.
Questions = dict[str, dns.message.QueryMessage]
Outcome = Answer | socket.gaierror


class Server(NamedTuple):
    """A name server."""

    family: int
    address: Any

    def ask(self, questions: Questions, seconds: float) -> dict[str, Outcome]:
        """Query the server; return what it answers within *seconds*, by the type of record."""
        end = monotonic() + seconds
        found: dict[str, Outcome] = {}
        try:
            with treadle_socket.socket(self.family, socket.SOCK_DGRAM) as sock:
                sock.connect(self.address)
                for question in questions.values():
                    sock.send(question.to_wire())
                while len(found) < len(questions):
                    sock.settimeout(_left(end))
                    kind, response = _matching(sock.recv(_LARGEST_DATAGRAM), questions)
                    if response is not None and response.flags & dns.flags.TC:
                        kind, response = self._ask_by_stream({kind: questions[kind]}, end)
                    if response is not None:
                        found[kind] = _outcome(kind, response)
        except OSError:  # no answer in time, or no server at this address
            pass
        return found

    def _ask_by_stream(self, questions: Questions, end: float) -> tuple[str, Any]:
        with treadle_socket.socket(self.family, socket.SOCK_STREAM) as sock:
            sock.settimeout(_left(end))
            sock.connect(self.address)
            for question in questions.values():
                wire = question.to_wire()
                sock.settimeout(_left(end))
                sock.sendall(len(wire).to_bytes(2, "big") + wire)
            size = int.from_bytes(_received(sock, 2, end), "big")
            return _matching(_received(sock, size, end), questions)


def _left(end: float) -> float:
    """Return how many seconds are left until *end*; raise TimeoutError if none are."""
    seconds = end - monotonic()
    if seconds <= 0:
        raise TimeoutError("timed out")
    return seconds


def _received(sock: treadle_socket.socket, size: int, end: float) -> bytes:
    """Receive *size* bytes, or fewer at the end of the stream, until *end*."""
    data = bytearray()
    while len(data) < size:
        sock.settimeout(_left(end))
        part = sock.recv(size - len(data))
        if not part:
            break
        data += part
    return bytes(data)


def _matching(wire: bytes, questions: Questions) -> tuple[str, Any]:
    """Return which question *wire* answers, and the response; ``("", None)`` if none."""
    try:
        response = dns.message.from_wire(wire)
    except dns.exception.DNSException:
        return "", None
    for kind, question in questions.items():
        if question.is_response(response):
            return kind, response
    return "", None


def _outcome(kind: str, response: dns.message.Message) -> Outcome:
    code = response.rcode()
    if code != dns.rcode.NOERROR:
        return failure(_CODES.get(code, socket.EAI_AGAIN))
    records = [
        (_text(rrset.name), type, _text(getattr(rdata, _DATA[type])))
        for rrset in response.answer
        if rrset.rdclass == dns.rdataclass.IN
        and (type := dns.rdatatype.to_text(rrset.rdtype)) in _DATA
        for rdata in rrset
    ]
    return answer_from(records, kind)


def _text(value: Any) -> str:
    return value.to_text(omit_final_dot=True) if isinstance(value, dns.name.Name) else str(value)


def _configuration() -> dns.resolver.Resolver:
    try:
        return dns.resolver.Resolver()
    except dns.resolver.NoResolverConfiguration:
        found = dns.resolver.Resolver(configure=False)
        found.nameservers = ["127.0.0.1"]
        return found


class Resolver(DnsResolver):
    """A resolver that queries name servers over treadle's sockets, with dnspython's messages.

    :attr:`resolver` is the ``dns.resolver.Resolver`` with the configuration: ``search``,
    ``domain``, ``ndots``, ``timeout`` (seconds that a server has before the next is asked) and
    ``lifetime`` (seconds for a name). *nameservers* (``address`` or ``address:port``) and
    *timeout* replace those of ``treadle.config`` and ``/etc/resolv.conf``. The server that answered
    last is asked first.
    """

    def __init__(
        self,
        hub: Any = None,
        nameservers: Sequence[str] | None = None,
        timeout: float | None = None,
        hosts: str = "/etc/hosts",
    ) -> None:
        super().__init__(hub, hosts)
        self.resolver: Any = _configuration()
        self.resolver.timeout = timeout or config.resolver_timeout or self.resolver.timeout
        servers = nameservers or config.resolver_nameservers or self.resolver.nameservers
        self._servers = [Server(*name_server(str(each))) for each in servers]
        self._places = Semaphore(_MAX_NAMES)

    def begin_anew_in_child(self) -> None:
        """Forget the parent's pending lookups and their places; called in a forked child."""
        super().begin_anew_in_child()
        self._places = Semaphore(_MAX_NAMES)

    def ask(self, name: str, kinds: Sequence[str]) -> list[Outcome]:
        """Query *name* for all record types in *kinds* at once, over one socket."""
        worst: list[Outcome] = []
        end = monotonic() + self.resolver.lifetime
        if not self._places.acquire(timeout=self.resolver.lifetime):
            return [failure(socket.EAI_AGAIN) for _ in kinds]
        try:
            for each in self._candidates(name):
                outcomes = self._ask_for(each, kinds, end)
                if any(isinstance(outcome, Answer) for outcome in outcomes):
                    return outcomes
                codes = {getattr(outcome, "errno", None) for outcome in outcomes}
                if socket.EAI_AGAIN in codes:
                    return outcomes
                if not worst or socket.EAI_NODATA in codes:
                    worst = outcomes
        finally:
            self._places.release()
        return worst

    def _candidates(self, name: str) -> list[dns.name.Name]:
        """Return the full names that *name* may be short for, by the rules of resolv.conf."""
        labels = name.encode("latin-1").split(b".")
        relative = dns.name.Name(labels)
        if relative.is_absolute():
            return [relative]
        config = self.resolver
        domains = config.search or [config.domain]
        longer = []
        for domain in domains:
            if domain not in (None, dns.name.root):
                with suppress(dns.name.NameTooLong):
                    longer.append(relative + domain)
        whole = relative + dns.name.root
        ndots = 1 if config.ndots is None else config.ndots
        return [whole, *longer] if len(labels) > ndots else [*longer, whole]

    def _ask_for(self, name: dns.name.Name, kinds: Sequence[str], end: float) -> list[Outcome]:
        """Query one server after the other until the outcome is final or the time is *end*."""
        questions: Questions = {kind: dns.message.make_query(name, kind) for kind in kinds}
        outcomes: dict[str, Outcome] = {}
        for server in self._turns():
            seconds = min(self.resolver.timeout, end - monotonic())
            if seconds <= 0:
                break
            outcomes.update(server.ask(questions, seconds))
            questions = {
                kind: question
                for kind, question in questions.items()
                if _may_differ(outcomes.get(kind))
            }
            if not questions:
                self._servers.remove(server)
                self._servers.insert(0, server)
                break
        return [outcomes.get(kind, failure(socket.EAI_AGAIN)) for kind in kinds]

    def _turns(self) -> Iterator[Server]:
        """Yield the servers in the order in which to query them, once for each attempt."""
        for _ in range(_ATTEMPTS):
            yield from list(self._servers)


def _may_differ(outcome: Outcome | None) -> bool:
    """Return whether another server may answer something else."""
    return outcome is None or (
        isinstance(outcome, socket.gaierror) and outcome.errno == socket.EAI_AGAIN
    )
