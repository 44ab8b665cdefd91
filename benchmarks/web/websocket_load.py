"""The load for WebSocket echo, in place of wrk: a closed loop over many connections.

    python websocket_load.py PORT CONNECTIONS SECONDS

Every connection sends a message of 125 bytes, waits for all of it to come back and sends the next.
Prints one line of JSON.
"""

import json
import selectors
import socket
import sys
import time

TEXT = b"x" * 125
HANDSHAKE = (
    b"GET %b HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)


def message(text: bytes) -> bytes:
    """Return a client's text message of at most 125 bytes, with a mask of zeros."""
    return bytes([0x81, 0x80 | len(text), 0, 0, 0, 0]) + text


def connect(port: int, target: bytes) -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", port))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.sendall(HANDSHAKE % target)
    answer = b""
    while not answer.endswith(b"\r\n\r\n"):
        part = sock.recv(1)  # one byte at a time: what follows the head is for the caller
        if not part:
            raise SystemExit(f"no WebSocket here: {answer!r}")
        answer += part
    if not answer.startswith(b"HTTP/1.1 101"):
        raise SystemExit(f"no WebSocket here: {answer!r}")
    return sock


def load(
    sockets: list[socket.socket], text: bytes, answer: bytes, seconds: float
) -> dict[str, float]:
    """Send *text* and expect *answer* on all *sockets* for *seconds*.

    Returns counts, the requests per second, and latencies in seconds.
    """
    ask, expected = message(text), bytes([0x81, len(answer)]) + answer
    poller = selectors.EpollSelector()
    for sock in sockets:
        sock.sendall(ask)
        poller.register(sock, selectors.EVENT_READ, [b"", time.perf_counter()])
    latencies = []
    bad = 0
    begin = now = time.perf_counter()
    while now < begin + seconds:
        for key, _ in poller.select(1):
            state = key.data
            state[0] += key.fileobj.recv(4096)
            if len(state[0]) < len(expected):
                continue
            bad += state[0] != expected
            now = time.perf_counter()
            latencies.append(now - state[1])
            state[:] = b"", now
            key.fileobj.sendall(ask)
        now = time.perf_counter()
    latencies.sort()
    return {
        "requests": len(latencies),
        "rate": len(latencies) / (now - begin),
        "p50": latencies[len(latencies) // 2],
        "p99": latencies[len(latencies) * 99 // 100],
        "bad": bad,
        "errors": 0,
    }


if __name__ == "__main__":
    port, connections, seconds = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    sockets = [connect(port, b"/websocket") for _ in range(connections)]
    print(json.dumps(load(sockets, TEXT, TEXT, seconds)))
