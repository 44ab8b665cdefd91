"""The application that is served. Each answer follows from its request, whose id it repeats."""

import errno
import os
import time
from wsgiref.util import FileWrapper

WORKER = str(os.getpid())
FILE = os.environ["CHAOS_FILE"]


def app(environ, start_response):
    kind, number = environ["PATH_INFO"][1:].split("/")
    headers = [("X-Request", number), ("X-Worker", WORKER), ("Content-Type", "text/plain")]
    if kind == "file":
        try:
            file = open(FILE, "rb")  # noqa: SIM115
        except OSError as exc:
            if exc.errno != errno.EMFILE:
                raise
            start_response("503 Service Unavailable", headers)
            return [b"no descriptor is left"]
        start_response("200 OK", headers)
        return environ.get("wsgi.file_wrapper", FileWrapper)(file)
    if kind == "streamed":
        start_response("200 OK", headers)
        return stream(number)
    if kind == "echo":
        body = environ["wsgi.input"].read()
    else:
        time.sleep(0.05 if kind == "slow" else 0)
        body = f"{kind} {number}".encode()
    start_response("200 OK", [*headers, ("Content-Length", str(len(body)))])
    return [body]


def stream(number):
    for at in range(5):
        time.sleep(0.002)
        yield f"{number}.{at} ".encode() * 200
