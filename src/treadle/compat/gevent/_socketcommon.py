"""``gevent._socketcommon`` under the alias."""

import socket as __socket__
from socket import *

import treadle.socket
from treadle.socket import cancel_wait, socket, wait, wait_read, wait_readwrite, wait_write


def _resolve_addr(sock, address):
    """*address* with its host's name looked up, for a socket of its family."""
    return treadle.socket.socket._resolved(sock, address)
