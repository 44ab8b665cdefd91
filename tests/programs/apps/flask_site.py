"""A Flask site for gunicorn to serve, and a WebSocket application without a framework."""

import os
import sys
import time
from collections.abc import Iterable
from typing import Any

import simple_websocket
from flask import Flask, Response, request

app = Flask(__name__)


@app.get("/")
def hello() -> str:
    return "hello"


@app.get("/wait/<float:seconds>")
def wait(seconds: float) -> str:
    time.sleep(seconds)
    return "waited"


@app.get("/hang")
def hang() -> str:
    """Block the worker: no other greenlet runs."""
    while True:
        pass


@app.get("/pid")
def pid() -> str:
    return str(os.getpid())


@app.get("/exit")
def leave() -> str:
    sys.exit(5)


@app.post("/echo")
def echo() -> bytes:
    return request.get_data()


@app.get("/stream")
def stream() -> Response:
    return Response(f"{number}\n" for number in range(3))


@app.get("/environ")
@app.get("/under/environ")
def environ() -> dict[str, Any]:
    """Return the strings and booleans of the WSGI environment."""
    return {
        name: value
        for name, value in request.environ.items()
        if isinstance(value, str | bool) and not name.startswith("werkzeug.")
    }


def sockets(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    """Echo WebSocket messages, with treadle's API or with simple_websocket on the raw socket."""
    if environ["PATH_INFO"] == "/treadle":
        for message in environ["wsgi.websocket"]:
            environ["wsgi.websocket"].send(message)
        return []
    socket = simple_websocket.Server(environ)
    try:
        while True:
            socket.send(socket.receive())
    except simple_websocket.ConnectionClosed:
        raise StopIteration from None  # as Flask-Sock does
