"""The servers that the programs use: they serve, and name the package that is missing."""

import json
import subprocess
from urllib.request import urlopen

import psycopg
import pytest
from redis import Redis

from . import servers


def test_redis_serves(redis: str) -> None:
    with Redis.from_url(redis) as client:
        assert client.ping()


def test_postgresql_serves(postgresql: str) -> None:
    with psycopg.connect(postgresql) as connection:
        assert connection.execute("select 6 * 7").fetchone() == (42,)


def test_openssh_lets_in_by_key(openssh: servers.SecureShell) -> None:
    ssh = ["ssh", "-F", "none", "-i", str(openssh.private_key)]
    ssh += ["-o", f"UserKnownHostsFile={openssh.known_hosts}"]
    done = subprocess.run(
        [*ssh, openssh.url, "echo $((6 * 7))"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.stdout == "42\n", done.stderr


def test_the_site_serves(site: str) -> None:
    with urlopen(f"{site}/7?delay=0.01") as answer:
        assert json.load(answer) == {"path": "/7"}


def test_a_missing_server_names_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers.shutil, "which", lambda *_, **__: None)
    with (
        pytest.raises(FileNotFoundError, match="apt-get install redis-server"),
        servers.redis(),
    ):
        pass
