"""Flask-SocketIO in gevent mode on the alias, with python-socketio's clients."""

import json
from collections.abc import Callable

import pytest

from .conftest import Program
from .servers import HOST, free_port

RUN = ("-m", "treadle", "run", "--gevent")
#: How to serve the chat at a port: alone, and with gunicorn's workers.
ALONE = (*RUN, "chat.py", "{port}")
GUNICORN = (*RUN, "-m", "gunicorn", "--no-control-socket", "--log-level", "warning")
TREADLE = (*GUNICORN, "--bind", "127.0.0.1:{port}", "-k", "treadle", "chat:app")
GEVENT = (*GUNICORN, "--bind", "127.0.0.1:{port}", "-k", "gevent", "chat:app")
GEVENTWEBSOCKET = (
    *(*GUNICORN, "--bind", "127.0.0.1:{port}"),
    *("-k", "geventwebsocket.gunicorn.workers.GeventWebSocketWorker", "chat:app"),
)


@pytest.mark.parametrize("transport", ["polling", "websocket"])
@pytest.mark.parametrize(
    ("command", "without_geventwebsocket"),
    [
        pytest.param(ALONE, False, id="alone"),
        pytest.param(ALONE, True, id="alone, simple-websocket"),
        pytest.param(TREADLE, False, id="gunicorn -k treadle"),
        pytest.param(TREADLE, True, id="gunicorn -k treadle, simple-websocket"),
        pytest.param(GEVENT, True, id="gunicorn -k gevent, simple-websocket"),
        pytest.param(GEVENTWEBSOCKET, False, id="gevent-websocket's worker"),
    ],
)
def test_chat(
    run: Callable[..., str],
    start: Callable[..., Program],
    monkeypatch: pytest.MonkeyPatch,
    command: tuple[str, ...],
    without_geventwebsocket: bool,
    transport: str,
) -> None:
    if without_geventwebsocket:
        monkeypatch.setenv("CHAT_WITHOUT_GEVENTWEBSOCKET", "1")
    port = free_port()
    server = start(*(part.format(port=port) for part in command))
    server.wait_for_port(port)
    report = json.loads(run("chat_client.py", f"http://{HOST}:{port}", transport))
    seconds, results = report.pop("waits")
    assert results == list(range(50))
    assert 0.2 <= seconds < 3  # 10 one after the other
    assert report == {
        "joined": ["joined"] * 10,
        "blob": "fffefd",
        "heard": ["hello"] * 5,
        "left": ["somebody left"] * 9,
    }
    assert server.stop() == 0
    assert server.stderr == ""
