"""simple_websocket under gevent's pywsgi, as flask-sock uses it; the argument is the port."""

import signal
import sys

from gevent import monkey

monkey.patch_all()

import time
from typing import Any

from gevent import signal_handler
from gevent.pywsgi import WSGIServer
from simple_websocket import ConnectionClosed, Server


def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    """Send back the text of each message "SECONDS TEXT" after that many seconds."""
    websocket = Server.accept(environ)
    assert websocket.mode == "gevent"
    try:
        while True:
            seconds, _, text = websocket.receive().partition(" ")
            time.sleep(float(seconds))
            websocket.send(text)
    except ConnectionClosed:
        return []  # the WebSocket has sent the response itself


server = WSGIServer(("127.0.0.1", int(sys.argv[1])), application, log=None)
signal_handler(signal.SIGTERM, server.stop)
server.serve_forever()
