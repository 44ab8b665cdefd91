"""Send all data back in capitals. Prints the port it listens on, and serves until killed."""

import sys
from typing import Any

from treadle.server import StreamServer


def shout(connection: Any, address: Any) -> None:
    while data := connection.recv(1024):
        connection.sendall(data.upper())


if __name__ == "__main__":
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 0
    server = StreamServer(("127.0.0.1", port), shout, backlog=1024)
    server.start()
    print(server.server_port, flush=True)
    server.serve_forever()
