"""Defines what is measured: one row for each program."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

from tests.programs import servers

from . import samples


@dataclass(frozen=True)
class Row:
    """A row: ``take(who=, peer=, amount=)`` takes a sample of its program.

    *amount* is a number of units, or of seconds if *timed* is true. *peer* starts the server that
    the program talks to. *packages* are those whose versions the report lists.
    """

    name: str
    unit: str
    amount: int
    take: Callable[..., samples.Sample]
    peer: Callable[[], AbstractContextManager[Any]] = nullcontext
    timed: bool = False
    packages: tuple[str, ...] = ()

    def small(self) -> int:
        """Return the amount for ``--quick``."""
        return 1 if self.timed else max(self.amount // 10, samples.CONNECTIONS)


def _client(
    name: str, unit: str, amount: int, program: str, peer: Callable[[], Any], *extra: str
) -> Row:
    take = partial(samples.client, program, *extra)
    return Row(name, unit, amount, take, peer, packages=(name.partition(" ")[0],))


def _orm(name: str, driver: str) -> Row:
    take = partial(samples.client, "orm.py", driver)
    packages = (name, "sqlalchemy")
    return Row(
        f"{name} with SQLAlchemy",
        "3 transactions",
        2_000,
        take,
        servers.postgresql,
        False,
        packages,
    )


ROWS = (
    Row("gunicorn + Flask", "request", 4, samples.gunicorn, timed=True, packages=("gunicorn",)),
    Row("Celery", "job", 600, samples.celery, servers.redis, packages=("celery",)),
    _orm("psycopg2-binary", "psycopg2"),
    _orm("psycopg", "psycopg"),
    _client("redis", "transaction + get", 6_000, "redis_py.py", servers.redis),
    _client("requests", "request", 3_000, "http_clients.py", servers.site, "requests"),
    _client("urllib3", "request", 6_000, "http_clients.py", servers.site, "urllib3"),
    _client("httpx", "request", 2_000, "http_clients.py", servers.site, "httpx"),
    Row("locust", "request", 4, samples.locust, servers.site, timed=True, packages=("locust",)),
    _client("pyzmq green", "request + reply", 20_000, "zmq_green.py", nullcontext),
    _client("geventhttpclient", "request", 15_000, "gevent_http_client.py", servers.site),
    Row("Flask-SocketIO", "event", 4, samples.chat, timed=True, packages=("flask-socketio",)),
    _client("paramiko", "file over SFTP", 600, "ssh.py", servers.openssh),
    Row("Django + pywsgi", "request", 4, samples.django, servers.postgresql, True, ("django",)),
)
