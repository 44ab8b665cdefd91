"""Clients of the chat: python -m benchmarks.programs.chat_load PORT CONNECTIONS SECONDS."""

import json
import socket
import sys

from ..web.websocket_load import connect, load, message

#: An event that asks for an acknowledgement, and its acknowledgement.
TEXT, ANSWER = b'421["wait",5,0]', b"431[5]"


def join(port: int) -> socket.socket:
    """Return a connection after the handshakes of Engine.IO and Socket.IO."""
    sock = connect(port, b"/socket.io/?EIO=4&transport=websocket")
    assert b'0{"sid"' in sock.recv(4096)
    sock.sendall(message(b"40"))
    assert b'40{"sid"' in sock.recv(4096)
    return sock


port, connections, seconds = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
print(json.dumps(load([join(port) for _ in range(connections)], TEXT, ANSWER, seconds)))
