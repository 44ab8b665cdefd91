"""Real servers from Debian's packages, and a web site; each on a free port of 127.0.0.1.

A server's data are in a new folder. It ends with its context and, by way of setpriv, when the
thread that started it dies, so no test run leaves one behind.
"""

from __future__ import annotations

import getpass
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

APPS = Path(__file__).parent / "apps"
HOST = "127.0.0.1"
START_SECONDS = 30.0


class SecureShell(NamedTuple):
    """What a client needs to log in to an OpenSSH server."""

    port: int
    user: str
    private_key: Path
    known_hosts: Path

    @property
    def url(self) -> str:
        return f"ssh://{self.user}@{HOST}:{self.port}"


@contextmanager
def redis() -> Iterator[str]:
    """Run a Redis server that stores nothing; yield its URL."""
    binary = _find("redis-server", "redis-server")
    port = free_port()
    with _folder() as folder:
        keep_nothing = ["--save", "", "--appendonly", "no"]
        listen = ["--bind", HOST, "--port", str(port), "--dir", str(folder)]
        with _running([binary, *listen, *keep_nothing], signal.SIGTERM, folder) as server:
            wait_until_listening(server, port, folder / "log")
            yield f"redis://{HOST}:{port}/0"


@contextmanager
def postgresql() -> Iterator[str]:
    """Run a new PostgreSQL cluster of 200 connections without passwords; yield its URL."""
    binaries = _postgresql_binaries()
    # PostgreSQL refuses to run as root; Debian's package creates this user.
    user = "postgres" if os.geteuid() == 0 else None
    port = free_port()
    with _folder(user) as folder:
        data = str(folder / "data")
        make = [binaries / "initdb", "-D", data, "-U", "treadle", "--auth=trust", "--no-sync"]
        made = subprocess.run(
            ["setpriv", *_identity(user), *make],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert made.returncode == 0, made.stdout + made.stderr
        settings = {
            "listen_addresses": HOST,
            "unix_socket_directories": "",
            "fsync": "off",
            "max_connections": "200",
        }
        serve = [str(binaries / "postgres"), "-D", data, "-p", str(port)]
        serve += [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        with _running(serve, signal.SIGINT, folder, user) as server:
            ask = [binaries / "pg_isready", "-q", "-h", HOST, "-p", str(port)]
            _wait(server, lambda: subprocess.run(ask).returncode == 0, folder / "log")
            yield f"postgresql://treadle@{HOST}:{port}/postgres"


@contextmanager
def openssh() -> Iterator[SecureShell]:
    """Run an OpenSSH server that accepts the user of this process, by key."""
    binary = _find("sshd", "openssh-server")
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # sshd needs it when root starts it
    port = free_port()
    with _folder() as folder:
        host_key, private_key = folder / "host_key", folder / "private_key"
        for key in (host_key, private_key):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
        settings = {
            "HostKey": host_key,
            "AuthorizedKeysFile": f"{private_key}.pub",
            "PidFile": "none",
            "StrictModes": "no",
            "UsePAM": "no",
            "PermitRootLogin": "prohibit-password",
            "MaxStartups": "200",
            "MaxSessions": "200",
            "Subsystem": "sftp internal-sftp",
            "SetEnv": "SHLVL=1",  # stops bash from running the user's .bashrc for each command
        }
        known_hosts = folder / "known_hosts"
        known_hosts.write_text(f"[{HOST}]:{port} {Path(f'{host_key}.pub').read_text()}")
        configuration = folder / "sshd_config"
        configuration.write_text("".join(f"{name} {text}\n" for name, text in settings.items()))
        listen = ["-D", "-e", "-f", str(configuration), "-o", f"ListenAddress={HOST}:{port}"]
        with _running([binary, *listen], signal.SIGTERM, folder) as server:
            wait_until_listening(server, port, folder / "log")
            yield SecureShell(port, getpass.getuser(), private_key, known_hosts)


@contextmanager
def site() -> Iterator[str]:
    """Run the web site of apps/site.py; yield its URL without a slash at the end."""
    with _running_app("site.py") as address:
        yield f"http://{address}"


@contextmanager
def fake_mongodb() -> Iterator[str]:
    """Run apps/fake_mongodb.py, because Debian has no MongoDB server; yield its URL."""
    with _running_app("fake_mongodb.py") as address:
        yield f"mongodb://{address}/"


@contextmanager
def nginx(port: int, configuration: str) -> Iterator[None]:
    """Run nginx with *configuration*, the body of its ``http`` block, which listens at *port*."""
    binary = _find("nginx", "nginx-light")
    with _folder() as folder:
        whole = f"""
            daemon off; master_process off; pid {folder}/pid; error_log stderr;
            events {{}}
            http {{
                access_log off;
                client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxied;
                fastcgi_temp_path {folder}/1; uwsgi_temp_path {folder}/2; scgi_temp_path {folder}/3;
                {configuration}
            }}
        """
        (folder / "nginx.conf").write_text(whole)
        run = [binary, "-p", str(folder), "-c", str(folder / "nginx.conf"), "-e", "stderr"]
        with _running(run, signal.SIGTERM, folder) as server:
            wait_until_listening(server, port, folder / "log")
            yield


@contextmanager
def haproxy(port: int, configuration: str) -> Iterator[None]:
    """Run HAProxy with *configuration*, its sections after ``defaults``, which binds *port*."""
    binary = _find("haproxy", "haproxy")
    defaults = "mode http\n timeout connect 5s\n timeout client 30s\n timeout server 30s\n"
    with _folder() as folder:
        (folder / "haproxy.cfg").write_text(f"defaults\n {defaults}{configuration}\n")
        run = [binary, "-db", "-f", str(folder / "haproxy.cfg")]
        with _running(run, signal.SIGTERM, folder) as server:
            wait_until_listening(server, port, folder / "log")
            yield


def free_port() -> int:
    """Return the number of an unused TCP port of 127.0.0.1."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
    return port


def wait_until_listening(server: subprocess.Popen[Any], port: int, log: Path) -> None:
    """Wait until *server* accepts connections; raise with *log* if it ends or takes too long."""
    _wait(server, lambda: _accepts(port), log)


def die_with_parent(number: signal.Signals, *options: str) -> list[str]:
    """Return a command prefix: the command gets this signal when the starting thread dies."""
    return ["setpriv", "--pdeathsig", number.name.removeprefix("SIG"), *options]


def _accepts(port: int) -> bool:
    try:
        socket.create_connection((HOST, port), timeout=1).close()
    except OSError:
        return False
    return True


def _wait(server: subprocess.Popen[Any], ready: Callable[[], bool], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not ready():
        if server.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"{server.args} does not serve:\n{log.read_text()}")
        time.sleep(0.05)


@contextmanager
def _folder(owner: str | None = None) -> Iterator[Path]:
    # Not below pytest's folders, which only their owner can enter.
    with tempfile.TemporaryDirectory(prefix="treadle-programs-") as name:
        if owner is not None:
            shutil.chown(name, owner, owner)
        yield Path(name)


@contextmanager
def _running_app(name: str) -> Iterator[str]:
    """Run ``python NAME PORT`` of APPS; yield its address."""
    port = free_port()
    with (
        _folder() as folder,
        _running([sys.executable, str(APPS / name), str(port)], signal.SIGTERM, folder) as server,
    ):
        wait_until_listening(server, port, folder / "log")
        yield f"{HOST}:{port}"


@contextmanager
def _running(
    command: Sequence[str], stop: signal.Signals, folder: Path, user: str | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server in *folder*, where its log goes; send it *stop* at the end."""
    start = [*die_with_parent(stop, *_identity(user)), *command]
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(
            start, cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
        )
    try:
        yield server
    finally:
        server.send_signal(stop)
        server.wait(timeout=30)


def _identity(user: str | None) -> list[str]:
    """Return the options that make setpriv become *user*."""
    return [] if user is None else [f"--reuid={user}", f"--regid={user}", "--init-groups"]


def _postgresql_binaries() -> Path:
    """Return the newest version's folder; Debian keeps one per version, outside PATH."""
    found = Path("/usr/lib/postgresql").glob("*/bin/postgres")
    newest = max(found, key=lambda path: int(path.parts[-3]), default=None)
    return Path(_find("postgres", "postgresql") if newest is None else newest).parent


def _find(binary: str, package: str) -> str:
    # sshd is not in an ordinary user's PATH, and must be started with its full path.
    path = os.environ.get("PATH", os.defpath) + ":/usr/sbin"
    found = shutil.which(binary, path=path)
    if found is None:
        raise FileNotFoundError(f"{binary} is not installed: apt-get install {package}")
    return found
