"""The application that the servers run, for WSGI and for ASGI: one path for each kind of row."""

import json
import os
import tempfile
import time

TEXT = [("Content-Type", "text/plain"), ("Content-Length", "13")]
RECORDS = [{"id": number, "name": f"record {number}", "tags": ["a", "b"]} for number in range(170)]
PART = b"x" * 1024
PARTS = 64


def _file() -> str:
    path = os.path.join(tempfile.gettempdir(), f"treadle-bench-{os.getuid()}-64k")
    if not os.path.exists(path):
        with open(path + str(os.getpid()), "wb") as file:
            file.write(b"x" * 65536)
        os.rename(path + str(os.getpid()), path)
    return path


FILE = _file()


def app(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/hello":
        start_response("200 OK", TEXT)
        return [b"Hello, World!"]
    if path == "/json":
        body = json.dumps(RECORDS).encode()
        headers = [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
        start_response("200 OK", headers)
        return [body]
    if path == "/upload":
        size = 0
        while data := environ["wsgi.input"].read(65536):
            size += len(data)
        assert size == 1 << 20, size
        start_response("200 OK", TEXT)
        return [b"Hello, World!"]
    if path == "/stream":
        start_response("200 OK", [("Content-Type", "text/plain")])
        return (PART for _ in range(PARTS))
    if path == "/file":
        headers = [("Content-Type", "application/octet-stream"), ("Content-Length", "65536")]
        start_response("200 OK", headers)
        file = open(FILE, "rb")  # noqa: SIM115
        wrapper = environ.get("wsgi.file_wrapper")
        return wrapper(file) if wrapper else iter(lambda: file.read(8192), b"")
    if path == "/wait":
        time.sleep(0.05)
        start_response("200 OK", TEXT)
        return [b"Hello, World!"]
    if path == "/websocket":
        websocket = environ["wsgi.websocket"]
        while (message := websocket.receive()) is not None:
            websocket.send(message)
        return []
    start_response("404 Not Found", TEXT)
    return [b"Hello, World!"]


async def echo(receive, send):
    await receive()
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "text": message["text"]})


async def asgi(scope, receive, send):
    import asyncio

    if scope["type"] == "websocket":
        await echo(receive, send)
        return
    assert scope["type"] == "http"
    path = scope["path"]
    headers = [(name.lower().encode(), value.encode()) for name, value in TEXT]
    bodies = [b"Hello, World!"]
    if path == "/json":
        bodies = [json.dumps(RECORDS).encode()]
        headers = [(b"content-length", str(len(bodies[0])).encode())]
    elif path == "/upload":
        size, more = 0, True
        while more:
            message = await receive()
            size += len(message.get("body", b""))
            more = message.get("more_body", False)
        assert size == 1 << 20, size
    elif path == "/stream":
        headers, bodies = [(b"content-type", b"text/plain")], [PART] * PARTS
    elif path == "/file":
        with open(FILE, "rb") as file:
            bodies = [file.read()]
        headers = [(b"content-length", b"65536")]
    elif path == "/wait":
        await asyncio.sleep(0.05)
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    for at, body in enumerate(bodies):
        more = at + 1 < len(bodies)
        await send({"type": "http.response.body", "body": body, "more_body": more})
