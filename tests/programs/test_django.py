"""A Django project under pywsgi, with PostgreSQL."""

from collections.abc import Callable

import psycopg
import pytest

from .conftest import Program
from .servers import free_port
from .test_clients import COMMANDS, called


@pytest.mark.parametrize("style", ["gevent", "treadle"])
def test_django_under_pywsgi(
    run: Callable[..., str],
    start: Callable[..., Program],
    postgresql: str,
    style: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with psycopg.connect(postgresql, autocommit=True) as connection:
        connection.execute(f"create database shop_{style}")
    monkeypatch.setenv("DATABASE_URL", f"{postgresql.rpartition('/')[0]}/shop_{style}")
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    server = start(*COMMANDS[style], "django_server.py", style, port)
    server.wait_for_port(port)
    waits = called(run, "threads", "http_clients.py", url, "waits", 50, "urllib3")
    assert waits.results == list(range(50))
    assert 0.2 <= waits.seconds < 3  # 10 one after the other
    assert server.stop() == 0
    assert server.stderr == ""
