"""python -m benchmarks.programs.chat_load PORT CONNECTIONS SECONDS: clients of apps/chat.py."""

import json
import socket
import sys

from ..web.websocket_load import connect, load, message

TEXT = b'42["say","' + b"x" * 100 + b'"]'


def join(port: int) -> socket.socket:
    """A connection that Engine.IO and Socket.IO have welcomed."""
    sock = connect(port, b"/socket.io/?EIO=4&transport=websocket")
    assert b'0{"sid"' in sock.recv(4096)
    sock.sendall(message(b"40"))
    assert b'40{"sid"' in sock.recv(4096)
    return sock


port, connections, seconds = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
print(json.dumps(load([join(port) for _ in range(connections)], TEXT, seconds)))
