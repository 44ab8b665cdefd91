"""Start CLIENTS clients that each send MESSAGES: shout_clients.py PORT CLIENTS MESSAGES."""

import sys

import treadle
from treadle import socket


def client(port: int, number: int, messages: int) -> int:
    right = 0
    with socket.create_connection(("127.0.0.1", port)) as connection:
        for turn in range(messages):
            text = f"client {number} says hello {turn}".encode()
            connection.sendall(text)
            right += connection.recv(1024) == text.upper()
    return right


port, clients, messages = map(int, sys.argv[1:])
asked = [treadle.spawn(client, port, number, messages) for number in range(clients)]
print(sum(task.get() for task in asked), "right replies")
