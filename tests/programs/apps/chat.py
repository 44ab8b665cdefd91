"""A Flask-SocketIO chat: ``python chat.py PORT``, or ``chat:app`` for another server."""

import os
import signal
import sys

if os.environ.get("CHAT_WITHOUT_GEVENTWEBSOCKET"):
    sys.modules["geventwebsocket"] = None  # as if it were not installed

import logging
import time

import gevent
from flask import Flask
from flask_socketio import SocketIO, emit, join_room

# engineio logs an error when a client polls once more while it disconnects.
logging.getLogger("engineio.server").setLevel(logging.CRITICAL)

app = Flask(__name__)
chat = SocketIO(app, async_mode="gevent")


@chat.on("join")
def join(room: str) -> str:
    join_room(room)
    return "joined"


@chat.on("say")
def say(room: str, text: str) -> None:
    emit("said", text, to=room)


@chat.on("wait")
def wait(number: int, seconds: float) -> int:
    time.sleep(seconds)
    return number


@chat.on("blob")
def blob(data: bytes) -> bytes:
    return data[::-1]


@chat.on("disconnect")
def leave(reason: str) -> None:
    emit("said", "somebody left", broadcast=True)


if __name__ == "__main__":
    gevent.signal_handler(signal.SIGTERM, chat.stop)
    chat.run(app, host="127.0.0.1", port=int(sys.argv[1]))
