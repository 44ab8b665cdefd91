"""The load for TLS echo: a closed loop over many connections of the standard library.

    python -m benchmarks.tls_load AUTHORITY PORT SERVER_PID CONNECTIONS SIZE WARMUP MESSAGES

Every connection sends a message, waits for all of it to come back and sends the next. As in
echo_load.c, the CPU clock of the server's process is read after WARMUP messages and again after
MESSAGES more. Prints one line of JSON.
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
        """Wait for the whole echo; raise SystemExit if it differs from the message."""
        echo = b""
        while len(echo) < len(self.message):
            part = self.socket.recv(len(self.message) - len(echo))
            if not part:
                sys.exit("the server closed the connection")
            echo += part
        if echo != self.message:
            sys.exit("the echo differs from the message")


def cpu_clock(pid: int) -> int:
    """Return the CPU clock of a process, as clock_getcpuclockid() does on Linux.

    time.pthread_getcpuclockid() is for threads only.
    """
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
