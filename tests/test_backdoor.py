"""treadle.backdoor: the Python prompt inside a running process."""

import sys
from typing import Any

import treadle
from treadle import socket
from treadle.backdoor import BackdoorServer


def read_until(connection: Any, end: bytes) -> str:
    text = b""
    while not text.endswith(end):
        piece = connection.recv(1)
        assert piece, text
        text += piece
    return text.decode()


def connected(server: BackdoorServer) -> Any:
    return socket.create_connection(("127.0.0.1", server.server_port), 5)


def test_a_visit() -> None:
    server = BackdoorServer(("127.0.0.1", 0), locals={"answer": 42}, banner="welcome")
    with server, connected(server) as visitor:
        assert read_until(visitor, b">>> ") == "welcome\n>>> "
        visitor.sendall(b"answer + 1\r\n")
        assert read_until(visitor, b">>> ") == "43\n>>> "
        visitor.sendall(b"for i in range(2): print(i)\r\n\r\n")
        assert read_until(visitor, b">>> ") == "... 0\n1\n>>> "
        visitor.sendall(b"1 / 0\r\n")
        assert "ZeroDivisionError" in read_until(visitor, b">>> ")
        visitor.sendall(b"quit()\r\n")
        assert visitor.recv(1) == b""


def test_visitors_have_streams_and_names_of_their_own() -> None:
    streams = sys.stdin, sys.stdout, sys.stderr
    with BackdoorServer(("127.0.0.1", 0)) as server:
        with connected(server) as one, connected(server) as other:
            for number, visitor in enumerate((one, other)):
                read_until(visitor, b">>> ")
                visitor.sendall(b"mine = %d\n" % number)
                read_until(visitor, b">>> ")
            for number, visitor in enumerate((one, other)):
                visitor.sendall(b"print(mine)\n")
                assert read_until(visitor, b">>> ") == f"{number}\n>>> "
        treadle.sleep(0.01)
    assert (sys.stdin, sys.stdout, sys.stderr) == streams


def test_stopping_the_server_ends_visits() -> None:
    server = BackdoorServer(("127.0.0.1", 0))
    server.start()
    with connected(server) as visitor:
        read_until(visitor, b">>> ")
        server.stop(timeout=0)
        while visitor.recv(100):
            pass
