"""Applications of common frameworks, served by a worker process and queried by a real client."""

from collections.abc import Callable
from pathlib import Path

import pytest
import requests

from .test_serve import Served, serve  # noqa: F401

FLASK = """
import time
from flask import Flask, Response, request

app = Flask(__name__)

@app.get("/hello/<name>")
def hello(name):
    time.sleep(0.05)
    return f"hello {name} {request.args['q']} {request.cookies.get('c')}"

@app.post("/upload")
def upload():
    return {"form": request.form["a"], "size": len(request.files["f"].read())}

@app.get("/stream")
def stream():
    return Response((f"part {number} " for number in range(3)), mimetype="text/plain")
"""

DJANGO = """
import json, time
from django.conf import settings
settings.configure(DEBUG=False, SECRET_KEY="x", ALLOWED_HOSTS=["*"], ROOT_URLCONF=__name__)
import django
django.setup()
from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse, JsonResponse, StreamingHttpResponse
from django.urls import path

def hello(request, name):
    time.sleep(0.05)
    return HttpResponse(f"hello {name} {request.GET['q']} {request.COOKIES.get('c')}")

def upload(request):
    return JsonResponse({"form": request.POST["a"], "size": len(request.FILES["f"].read())})

def stream(request):
    return StreamingHttpResponse(f"part {number} " for number in range(3))

urlpatterns = [path("hello/<name>", hello), path("upload", upload), path("stream", stream)]
app = get_wsgi_application()
"""

BOTTLE = """
import time
from bottle import Bottle, request

app = Bottle()

@app.get("/hello/<name>")
def hello(name):
    time.sleep(0.05)
    return f"hello {name} {request.query.q} {request.get_cookie('c')}"

@app.post("/upload")
def upload():
    return {"form": request.forms["a"], "size": len(request.files["f"].file.read())}

@app.get("/stream")
def stream():
    return (f"part {number} " for number in range(3))
"""

FALCON = """
import time
import falcon

class Hello:
    def on_get(self, req, resp, name):
        time.sleep(0.05)
        resp.text = f"hello {name} {req.get_param('q')} {req.cookies.get('c')}"

class Upload:
    def on_post(self, req, resp):
        found = {part.name: part.stream.read() for part in req.get_media()}
        resp.media = {"form": found["a"].decode(), "size": len(found["f"])}

class Stream:
    def on_get(self, req, resp):
        resp.stream = (b"part %d " % number for number in range(3))

app = falcon.App()
app.add_route("/hello/{name}", Hello())
app.add_route("/upload", Upload())
app.add_route("/stream", Stream())
"""

PYRAMID = """
import time
from pyramid.config import Configurator
from pyramid.response import Response

def hello(request):
    time.sleep(0.05)
    text = f"hello {request.matchdict['name']} {request.GET['q']} {request.cookies.get('c')}"
    return Response(text)

def upload(request):
    file = request.POST["f"].file
    return Response(json_body={"form": request.POST["a"], "size": len(file.read())})

def stream(request):
    return Response(app_iter=(b"part %d " % number for number in range(3)))

with Configurator() as config:
    for view, pattern in ((hello, "/hello/{name}"), (upload, "/upload"), (stream, "/stream")):
        config.add_route(view.__name__, pattern)
        config.add_view(view, route_name=view.__name__)
    app = config.make_wsgi_app()
"""

SITES = {
    "flask": FLASK,
    "django": DJANGO,
    "bottle": BOTTLE,
    "falcon": FALCON,
    "pyramid": PYRAMID,
}


@pytest.mark.parametrize("name", SITES)
def test_framework(serve: Callable[..., Served], tmp_path: Path, name: str) -> None:  # noqa: F811
    (tmp_path / f"{name}_site.py").write_text(SITES[name])
    here = serve(app=f"{name}_site:app").wait_serving()
    at = f"http://127.0.0.1:{here.port}"
    with requests.Session() as session:
        session.cookies.set("c", "d")
        answer = session.get(f"{at}/hello/w%C3%B6rld", params={"q": "a b&c"}, timeout=10)
        assert (answer.status_code, answer.text) == (200, "hello w\xf6rld a b&c d")
        answer = session.post(
            f"{at}/upload", data={"a": "b"}, files={"f": ("name", b"x" * 300_000)}, timeout=10
        )
        assert answer.json() == {"form": "b", "size": 300_000}
        answer = session.get(f"{at}/stream", timeout=10)
        assert answer.text == "part 0 part 1 part 2 "
        assert session.get(f"{at}/missing", timeout=10).status_code == 404
        assert session.head(f"{at}/hello/x", params={"q": "a"}, timeout=10).text == ""
    assert here.errors.read_text().count("\n") == 1  # the line that says that it serves
    assert here.end() == 0
