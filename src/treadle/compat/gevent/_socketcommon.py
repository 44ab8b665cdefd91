"""``gevent._socketcommon`` under the alias."""

import socket as __socket__
from socket import *

import treadle.socket
from treadle.socket import cancel_wait, socket, wait, wait_read, wait_readwrite, wait_write


def _resolve_addr(sock, address):
    """Return *address* with its host name resolved for the family of *sock*."""
    return treadle.socket.socket._resolved(sock, address)
