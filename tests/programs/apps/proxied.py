"""Tells what the server says of the client; echoes bodies and WebSocket messages."""

import json

NAMES = (
    "REMOTE_ADDR",
    "wsgi.url_scheme",
    "HTTP_HOST",
    "SCRIPT_NAME",
    "PATH_INFO",
    "SERVER_PROTOCOL",
)


def application(environ, start_response):
    told = json.dumps({name: environ[name] for name in NAMES})
    websocket = environ.get("wsgi.websocket")
    if websocket is not None:
        websocket.send(told)
        for message in websocket:
            websocket.send(message)
        return []
    start_response("200 OK", [("Content-Type", "text/plain")])
    return (
        [environ["wsgi.input"].read()] if environ["REQUEST_METHOD"] == "POST" else [told.encode()]
    )
