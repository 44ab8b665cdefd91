"""The common part of the resolvers that query name servers themselves."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Sequence
from typing import Any
from weakref import WeakSet

from treadle.greenlet import spawn_raw
from treadle.resolver import NATIVE, AbstractResolver, is_address, is_special
from treadle.resolver._hosts import Answer, Hosts, packed
from treadle.resolver._merging import Merger
from treadle.resolver._order import in_order

__all__ = ["Answer", "DnsResolver", "answer_from", "failure", "name_server"]

#: Address family -> the type of DNS record that holds its addresses.
_KINDS: dict[int, str] = {socket.AF_INET: "A", socket.AF_INET6: "AAAA"}
_LOOPBACK: dict[int, str] = {socket.AF_INET: "127.0.0.1", socket.AF_INET6: "::1"}
#: Flags of getaddrinfo() that concern names and mean nothing for addresses.
_OF_NAMES = socket.AI_CANONNAME | socket.AI_ADDRCONFIG | socket.AI_V4MAPPED | socket.AI_ALL
#: Error code of getaddrinfo() -> its text, and h_errno and text of the corresponding herror.
_FAILURES = {
    socket.EAI_NONAME: ("Name or service not known", 1, "Unknown host"),
    socket.EAI_AGAIN: ("Temporary failure in name resolution", 2, "Host name lookup failure"),
    socket.EAI_NODATA: (
        "No address associated with hostname",
        4,
        "No address associated with name",
    ),
}


def failure(code: int) -> socket.gaierror:
    """Return the gaierror for one of socket's ``EAI_`` codes."""
    return socket.gaierror(code, _FAILURES[code][0])


def _as_herror(error: socket.gaierror) -> socket.herror:
    _, code, text = _FAILURES[error.args[0]]
    return socket.herror(code, text)


def answer_from(records: Sequence[tuple[str, str, str]], kind: str) -> Answer | socket.gaierror:
    """Return the answer in *records*, or the gaierror EAI_NODATA if there is none.

    *records* holds owner, type and data of each DNS record; names have no final dot. Follows the
    CNAME records to the records of type *kind*. A PTR record gives the name of an address.
    """
    aliases = {owner.lower(): data for owner, type, data in records if type == "CNAME"}
    targets = {data.lower() for data in aliases.values()}
    name = next((owner for owner, _, _ in records if owner.lower() not in targets), "")
    passed: list[str] = []
    while name.lower() in aliases and len(passed) < len(records):
        passed.append(name)
        name = aliases[name.lower()]
    found = [
        data for owner, type, data in records if type == kind and owner.lower() == name.lower()
    ]
    if not found:
        return failure(socket.EAI_NODATA)
    return Answer(found[0], [], []) if kind == "PTR" else Answer(name, passed, found)


def _reverse_name(address: bytes) -> str:
    """Return the DNS name that holds the PTR record of an address.

    The final dot makes the name absolute, so that no search domain is appended.
    """
    if len(address) == 4:
        return ".".join(map(str, reversed(address))) + ".in-addr.arpa."
    return ".".join(reversed(address.hex())) + ".ip6.arpa."


class DnsResolver(AbstractResolver):
    """Base of the resolvers that read the hosts file and query name servers themselves.

    The standard functions do the rest: they check arguments, build results and raise errors. They
    are called with addresses only, so that they do no lookup. A subclass defines :meth:`ask`. Other
    sources of names (mDNS, NIS, ``nsswitch.conf``) are not used.
    """

    def __init__(self, hub: object = None, hosts: str = "/etc/hosts") -> None:
        """Make a resolver; *hosts* is the path of the hosts file."""
        self.hosts: Hosts = Hosts(hosts)
        self._merger = Merger(spawn_raw)
        resolvers.add(self)

    def begin_anew_in_child(self) -> None:
        """Forget the parent's pending lookups; called in a forked child."""
        self._merger = Merger(spawn_raw)

    def ask(self, name: str, kinds: Sequence[str]) -> list[Answer | socket.gaierror]:
        """Query name servers; return the answer or the failure for each record type in *kinds*.

        *name* has one character for each byte. If it is relative, the search domains of the
        configuration are tried.
        """
        raise NotImplementedError(f"{type(self).__name__} does not define ask()")

    def look_up(self, name: str, *args: Any) -> Any:
        """Do what the function *name* of :mod:`socket` does with these arguments."""
        if sys.is_finalizing():  # modules that this needs may be gone
            return NATIVE[name](*args)
        return self._merger.call(getattr(self, f"_{name}"), name, *args)

    # -- names

    def _getaddrinfo(
        self, host: Any, port: Any, family: Any, type: Any, proto: Any, flags: Any
    ) -> list[Any]:
        if not isinstance(flags, int):
            return _native("getaddrinfo", host, port, family, type, proto, flags)  # type: ignore[no-any-return]
        numeric = flags | socket.AI_NUMERICHOST
        try:
            return _native("getaddrinfo", host, port, family, type, proto, numeric)  # type: ignore[no-any-return]
        except socket.gaierror as exc:
            if exc.errno != socket.EAI_NONAME or not host or flags & socket.AI_NUMERICHOST:
                raise
        known = self._known(host, family, flags)
        numeric &= ~_OF_NAMES
        result = [
            each
            for family, address in in_order((_family(text), text) for text in known.addresses)
            for each in _native("getaddrinfo", address, port, family, type, proto, numeric)
        ]
        if flags & socket.AI_CANONNAME:
            result[0] = (*result[0][:3], known.canonical, result[0][4])
        return result

    def _gethostbyname(self, host: Any) -> str:
        if not _is_name(host):
            return _native("gethostbyname", host)  # type: ignore[no-any-return]
        found = self._getaddrinfo(host, None, socket.AF_INET, socket.SOCK_DGRAM, 0, 0)
        return found[0][4][0]  # type: ignore[no-any-return]

    def _gethostbyname_ex(self, host: Any) -> tuple[str, list[str], list[str]]:
        if not _is_name(host) or _is_numeric(host, socket.AF_INET):
            return _native("gethostbyname_ex", host)  # type: ignore[no-any-return]
        known = self._known(host, socket.AF_INET, 0)
        return known.canonical, known.aliases, known.addresses

    def _known(self, host: str | bytes, family: int, flags: int) -> Answer:
        """Return the addresses of a name from the first source that knows any, or raise gaierror.

        The sources are the hosts file, then the name servers.
        """
        name = (host.encode("idna") if isinstance(host, str) else bytes(host)).decode("latin-1")
        if not _may_exist(name):
            raise failure(socket.EAI_NONAME)
        mapped = family == socket.AF_INET6 and flags & socket.AI_V4MAPPED
        families = (family, socket.AF_INET) if mapped else _families(family, flags)
        answers: list[Any] = [self.hosts.by_name(name, each) for each in families]
        if not any(answers):
            answers = self.ask(name, [_KINDS[each] for each in families])
        good = [each for each in answers if isinstance(each, Answer)]
        if not good:
            raise _worst(answers)
        addresses = [address for each in good for address in each.addresses]
        if mapped:
            own = [address for address in addresses if ":" in address]
            others = [f"::ffff:{address}" for address in addresses if ":" not in address]
            addresses = own if own and not flags & socket.AI_ALL else own + others
        return Answer(good[0].canonical, good[0].aliases, addresses)

    # -- addresses

    def _gethostbyaddr(self, host: Any) -> tuple[str, list[str], list[str]]:
        if not _is_name(host):
            return _native("gethostbyaddr", host)  # type: ignore[no-any-return]
        found = self._getaddrinfo(host, None, 0, socket.SOCK_DGRAM, 0, 0)
        address = found[0][4][0].partition("%")[0]
        answer = self._owner(address)
        if isinstance(answer, socket.gaierror):
            raise _as_herror(answer)
        return answer.canonical, answer.aliases, [address]

    def _getnameinfo(self, sockaddr: Any, flags: Any) -> tuple[str, str]:
        if not isinstance(flags, int) or flags & socket.NI_NUMERICHOST:
            return _native("getnameinfo", sockaddr, flags)  # type: ignore[no-any-return]
        numeric = (flags & ~socket.NI_NAMEREQD) | socket.NI_NUMERICHOST
        address, service = _native("getnameinfo", sockaddr, numeric)
        answer = self._owner(address)
        if isinstance(answer, Answer):
            return answer.canonical, service
        if answer.errno == socket.EAI_AGAIN:
            raise answer
        if flags & socket.NI_NAMEREQD:
            raise failure(socket.EAI_NONAME)
        return address, service

    def _owner(self, address: str) -> Answer | socket.gaierror:
        raw = packed(address)
        return self.hosts.by_address(raw) or self.ask(_reverse_name(raw), ["PTR"])[0]


#: All resolvers of this kind: a forked child resets them.
resolvers: WeakSet[DnsResolver] = WeakSet()


def _begin_anew_in_child() -> None:
    for resolver in resolvers:
        resolver.begin_anew_in_child()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_anew_in_child)


def name_server(text: str) -> tuple[int, Any]:
    """Return family and socket address of ``address`` or ``address:port``.

    Raises ValueError for anything else.
    """
    address, port = text, "53"
    if not is_address(text):
        address, _, port = text.rpartition(":")
        address = address.removeprefix("[").removesuffix("]")
    if not (is_address(address) and port.isdecimal() and int(port) < 1 << 16):
        raise ValueError(f"a name server is an address or address:port, not {text!r}")
    found = _native(
        "getaddrinfo", address, int(port), 0, socket.SOCK_DGRAM, 0, socket.AI_NUMERICHOST
    )
    return found[0][0], found[0][4]


def _native(name: str, *args: Any) -> Any:
    return NATIVE[name](*args)


def _is_name(host: Any) -> bool:
    """Return whether *host* may be a name or an address.

    For anything else the standard functions answer or raise at once, without a lookup.
    """
    if not isinstance(host, str | bytes | bytearray) or is_special(host):
        return False
    try:
        return b"\0" not in (host.encode("idna") if isinstance(host, str) else host)
    except UnicodeError:
        return False


def _may_exist(name: str) -> bool:
    """Return whether a name has a valid length for a DNS query: RFC 1035, section 2.3.4."""
    name = name.removesuffix(".")
    labels = name.split(".")
    return len(name) < 254 and all(0 < len(label) < 64 for label in labels)


def _is_numeric(host: Any, family: int) -> bool:
    """Return whether *host* is an address in any notation.

    Raises the gaierror of getaddrinfo() if that is another one than EAI_NONAME.
    """
    try:
        _native("getaddrinfo", host, None, family, 0, 0, socket.AI_NUMERICHOST)
    except socket.gaierror as exc:
        if exc.errno != socket.EAI_NONAME:
            raise
        return False
    return True


def _family(address: str) -> int:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def _families(family: int, flags: int) -> tuple[int, ...]:
    """Return the address families to look up; raise gaierror if *flags* exclude *family*."""
    wanted = tuple(_KINDS) if family == socket.AF_UNSPEC else (family,)
    if not flags & socket.AI_ADDRCONFIG:
        return wanted
    here = [each for each in _KINDS if _is_configured(each)]
    if family == socket.AF_UNSPEC:
        return tuple(here) or wanted
    if family not in here:
        raise failure(socket.EAI_NONAME)
    return wanted


def _is_configured(family: int) -> bool:
    """Return whether the machine has an address of the family, other than loopback's."""
    flags = socket.AI_NUMERICHOST | socket.AI_ADDRCONFIG
    try:
        _native("getaddrinfo", _LOOPBACK[family], None, family, 0, 0, flags)
    except socket.gaierror:
        return False
    return True


def _worst(errors: Sequence[socket.gaierror]) -> socket.gaierror:
    """Return the error to raise when all lookups have failed.

    EAI_AGAIN takes precedence: a later lookup may succeed.
    """
    codes = {each.errno for each in errors}
    ranked = (socket.EAI_AGAIN, socket.EAI_NODATA)
    return failure(next((code for code in ranked if code in codes), socket.EAI_NONAME))
