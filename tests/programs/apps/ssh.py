"""paramiko: commands and files over a few connections, ten calls at once on each.

The URL is ssh://USER@HOST:PORT; the last arguments are the user's key and the known hosts file.
"""

import io
import sys
from urllib.parse import urlsplit

import crowd  # first, because it patches
import paramiko

KEY, KNOWN_HOSTS = sys.argv[5:]
TEXT = b"x" * 1024


def connect(_: int) -> paramiko.SSHClient:
    url = urlsplit(crowd.URL)
    client = paramiko.SSHClient()
    client.load_host_keys(KNOWN_HOSTS)
    client.connect(
        url.hostname,
        url.port,
        url.username,
        key_filename=KEY,
        allow_agent=False,
        look_for_keys=False,
    )
    return client


clients = crowd.at_once(connect, range(crowd.SIZE // 10))
idle = [client.open_sftp() for client in clients for _ in range(10)]


def wait(number: int) -> int:
    """Return the number that a remote command prints after 0.2 s."""
    client = clients[number % len(clients)]
    _, output, errors = client.exec_command(f"sleep 0.2; echo {number}")
    assert errors.read() == b""
    assert output.channel.recv_exit_status() == 0
    return int(output.read())


def load(number: int) -> int:
    """Write a remote file, read it and remove it."""
    sftp = idle.pop()
    name = f"{KEY}-{number}"
    sftp.putfo(io.BytesIO(TEXT), name)
    with sftp.open(name) as file:
        assert file.read() == TEXT
    sftp.remove(name)
    idle.append(sftp)
    return number


crowd.main(wait, load)
for client in clients:
    client.close()
