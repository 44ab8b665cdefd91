"""A name server for tests: ``python name_server.py [port]``, on 127.0.0.1, by UDP and TCP.

Prints its port. ZONE and `answer` define its answers. It ends when its standard input ends.
"""

import heapq
import selectors
import socket
import struct
import sys
import time
from collections import Counter

A, CNAME, PTR, AAAA = 1, 5, 12, 28
NOERROR, FORMERR, SERVFAIL, NXDOMAIN, NOTIMP, REFUSED = range(6)
TRUNCATED = 0x200
LARGEST_DATAGRAM = 512

ZONE: dict[str, list[tuple[int, str]]] = {
    "both.test": [(A, "192.0.2.1"), (AAAA, "2001:db8::1")],
    "four.test": [(A, "192.0.2.4"), (A, "192.0.2.5")],
    "six.test": [(AAAA, "2001:db8::6"), (AAAA, "2001:db8::7")],
    "near.test": [(A, "192.0.2.9"), (A, "127.0.0.9"), (AAAA, "2001:db8::9"), (AAAA, "::1")],
    "alias.test": [(CNAME, "second.test")],
    "second.test": [(CNAME, "both.test")],
    "dangling.test": [(CNAME, "nothing.test")],
    "loop.test": [(CNAME, "pool.test")],
    "pool.test": [(CNAME, "loop.test")],
    "empty.test": [],
    "noise.test": [(A, "192.0.2.13"), (AAAA, "2001:db8::13")],
    "short.domain.test": [(A, "192.0.2.10")],
    "big.test": [(A, f"10.0.0.{number}") for number in range(100)],
    "xn--grn-ioa.test": [(A, "192.0.2.11")],
    "under_score.test": [(A, "192.0.2.12")],
    "1.2.0.192.in-addr.arpa": [(PTR, "both.test")],
    "4.2.0.192.in-addr.arpa": [(PTR, "four.test"), (PTR, "other.test")],
    "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa": [
        (PTR, "both.test")
    ],
}
FAILING = {
    "formerr.test": FORMERR,
    "servfail.test": SERVFAIL,
    "notimp.test": NOTIMP,
    "refused.test": REFUSED,
    "9.9.9.9.in-addr.arpa": SERVFAIL,
}
asked: Counter[str] = Counter()


def encoded(name: str) -> bytes:
    labels = name.split(".") if name else []
    return b"".join(bytes([len(label)]) + label.encode() for label in labels) + b"\0"


def records(name: str, kind: int) -> list[tuple[str, int, str]]:
    """Return the chain of aliases from `name`, and the records of `kind` at its end."""
    found = []
    for _ in range(8):
        for type, data in ZONE.get(name, []):
            if type == kind:
                found.append((name, type, data))
        alias = next((data for type, data in ZONE.get(name, []) if type == CNAME), None)
        if alias is None or kind == CNAME:
            break
        found.append((name, CNAME, alias))
        name = alias
    return found


def packed(name: str, type: int, data: str) -> bytes:
    if type == A:
        raw = socket.inet_pton(socket.AF_INET, data)
    elif type == AAAA:
        raw = socket.inet_pton(socket.AF_INET6, data)
    else:
        raw = encoded(data)
    return encoded(name) + struct.pack("!HHIH", type, 1, 60, len(raw)) + raw


def answer(query: bytes, by_stream: bool) -> list[tuple[float, bytes]]:
    """Return the responses to a query, each with the delay in seconds before it is sent."""
    labels, at = [], 12
    while query[at]:
        labels.append(query[at + 1 : at + 1 + query[at]].decode("latin-1"))
        at += 1 + query[at]
    name = ".".join(labels).lower()
    (kind,) = struct.unpack("!H", query[at + 1 : at + 3])
    question = query[12 : at + 5]
    if kind == A:
        asked[name] += 1
    if name.startswith("dead"):
        return []
    if name.startswith("times."):  # reports how often the rest of the name was queried
        found = [(name, A, f"10.0.0.{asked[name.removeprefix('times.')]}")] if kind == A else []
    elif name.startswith(("slow", "quick")):
        found = [(name, A, "192.0.2.20")] if kind == A else []
    else:
        found = records(name, kind)
    exists = bool(found) or name in ZONE
    code = FAILING.get(name, NOERROR if exists else NXDOMAIN)
    flags, body = 0x8180 | code, b"".join(packed(*record) for record in found)
    if len(body) + len(question) + 12 > LARGEST_DATAGRAM and not by_stream:
        flags, body, found = flags | TRUNCATED, b"", []
    head = struct.pack("!HHHHHH", 0, flags, 1, len(found), 0, 0)[2:]
    right = query[:2] + head + question + body
    if name == "noise.test":
        wrong_id = bytes([query[0] ^ 255, query[1]]) + right[2:]
        return [(0, wrong_id), (0, right)]
    return [(0.3 if name.startswith("slow") else 0, right)]


def bind(port: int) -> tuple[socket.socket, socket.socket]:
    """Return a socket of each kind at *port*, or at a port that is free for both if it is 0."""
    while True:
        datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        datagrams.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        datagrams.bind(("127.0.0.1", port))
        try:
            return datagrams, socket.create_server(datagrams.getsockname())
        except OSError:  # some connection may have the port that the kernel chose for datagrams
            datagrams.close()
            if port:
                raise


def serve(port: int) -> None:
    datagrams, listener = bind(port)
    print(listener.getsockname()[1], flush=True)
    later: list[tuple[float, int, bytes, object]] = []
    count = 0
    with selectors.DefaultSelector() as selector:
        for each in (datagrams, listener, sys.stdin):
            selector.register(each, selectors.EVENT_READ)
        while True:
            wait = max(0, later[0][0] - time.monotonic()) if later else None
            for key, _ in selector.select(wait):
                if key.fileobj is sys.stdin:
                    return
                if key.fileobj is listener:
                    with listener.accept()[0] as stream:
                        while size := stream.recv(2):  # until the client closes it
                            for _, wire in answer(stream.recv(*struct.unpack("!H", size)), True):
                                stream.sendall(struct.pack("!H", len(wire)) + wire)
                else:
                    query, peer = datagrams.recvfrom(65535)
                    for delay, wire in answer(query, False):
                        count += 1
                        heapq.heappush(later, (time.monotonic() + delay, count, wire, peer))
            while later and later[0][0] <= time.monotonic():
                _, _, wire, peer = heapq.heappop(later)
                datagrams.sendto(wire, peer)


if __name__ == "__main__":
    serve(int(sys.argv[1]) if len(sys.argv) > 1 else 0)
