"""A chat of Flask-SocketIO's that says again what it is told: ``python chat.py PORT``."""

from gevent import monkey

monkey.patch_all()

import sys

from flask import Flask
from flask_socketio import SocketIO, emit

app = Flask(__name__)
chat = SocketIO(app, async_mode="gevent")


@chat.on("say")
def say(text: str) -> None:
    emit("say", text)


chat.run(app, host="127.0.0.1", port=int(sys.argv[1]))
