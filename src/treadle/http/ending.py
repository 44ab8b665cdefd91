"""The end of a connection with TLS."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

__all__ = ["notify_close"]


def notify_close(sock: Any) -> None:
    """Send TLS's close notification, if *sock* has TLS, without waiting for anything.

    Without it a response that only the end of the connection delimits would pass for one that was
    cut short (RFC 9112, 9.8).
    """
    unwrap = getattr(sock, "unwrap", None)
    if unwrap is not None:
        with suppress(OSError, ValueError):  # the client is gone, or TLS has ended already
            sock.settimeout(0)
            unwrap()
