"""The load for TLS echo, a closed loop over many connections of the standard library's.

Every connection sends a message, and, once all of it came back, the next. As in echo_load.c the
CPU clock of the server's process is read after `warmup` messages and again after `messages` more.

    python -m benchmarks.tls_load AUTHORITY PORT SERVER_PID CONNECTIONS SIZE WARMUP MESSAGES
"""

from __future__ import annotations

import json
import socket
import ssl
import sys
import time

LETTERS = b"abcdefghijklmnopqrstuvwxyz"


class Connection:
    def __init__(self, context: ssl.SSLContext, port: int, message: bytes) -> None:
        plain = socket.create_connection(("127.0.0.1", port))
        self.socket = context.wrap_socket(plain, server_hostname="localhost")
        self.message = message

    def send(self) -> None:
        self.socket.sendall(self.message)

    def receive(self) -> None:
        """Wait for the whole echo; SystemExit unless it is the message."""
        echo = b""
        while len(echo) < len(self.message):
            part = self.socket.recv(len(self.message) - len(echo))
            if not part:
                sys.exit("the server closed the connection")
            echo += part
        if echo != self.message:
            sys.exit("the echo differs from the message")


def cpu_clock(pid: int) -> int:
    """What clock_getcpuclockid() returns on Linux for a process, which Python does not offer."""
    return (~pid << 3) | 2


def main() -> None:
    authority = sys.argv[1]
    port, pid, count, size, warmup, messages = map(int, sys.argv[2:])
    context = ssl.create_default_context(cafile=authority)
    connections = [
        Connection(context, port, LETTERS[number % 26 : number % 26 + 1] * size)
        for number in range(count)
    ]
    for connection in connections:
        connection.send()
    clock = cpu_clock(pid)
    cpu = wall = 0.0
    done = 0
    while done < warmup + messages:
        for connection in connections:
            connection.receive()
            connection.send()
        done += count
        if done - count < warmup <= done:
            cpu, wall, warmup = time.clock_gettime(clock), time.monotonic(), done
    used, passed = time.clock_gettime(clock) - cpu, time.monotonic() - wall
    print(json.dumps({"cpu": used / (done - warmup), "wall": passed / (done - warmup)}))


if __name__ == "__main__":
    main()
