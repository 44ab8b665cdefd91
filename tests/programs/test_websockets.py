"""simple_websocket, which takes over a connection that the server has accepted."""

from collections.abc import Callable

import pytest

from .conftest import Program
from .servers import free_port
from .test_clients import COMMANDS, crowd


@pytest.mark.parametrize("style", ["threads", "gevent"])
def test_simple_websocket_under_pywsgi(
    run: Callable[..., str], start: Callable[..., Program], style: str
) -> None:
    port = free_port()
    server = start(*COMMANDS["gevent"], "websocket_site.py", port)
    server.wait_for_port(port)
    crowd(run, style, "websocket_client.py", f"ws://127.0.0.1:{port}/")
    assert server.stop() == 0
    assert server.stderr == ""
