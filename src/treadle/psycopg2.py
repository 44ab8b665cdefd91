"""psycopg2's queries, cooperative: other greenlets run while one waits for PostgreSQL.

    import treadle.psycopg2
    treadle.psycopg2.install()

psycopg2 waits in C, where no patching reaches; it asks a function to wait instead, if it is given
one. It then has no COPY, no large objects and no two greenlets at once on one connection, and
libpq still looks up host names by itself: ``hostaddr`` spares that. psycopg 3 needs patching alone;
whoever interrupts a query there calls its connection's ``cancel_safe()``.
"""

from __future__ import annotations

import ctypes
from functools import partial
from typing import Any

from psycopg2 import OperationalError, _psycopg, extensions

from treadle._core.crew import waits
from treadle.socket import wait_read, wait_write

__all__ = ["install", "wait_callback"]

#: The size that libpq recommends for the text of an error, in bytes.
_ERROR_SIZE = 256


def install() -> None:
    """Let psycopg2's connections of this process, from now on, wait by :func:`wait_callback`."""
    extensions.set_wait_callback(wait_callback)


def wait_callback(connection: Any) -> None:
    """Wait until *connection* has connected or its query is done.

    If a kill or a :class:`treadle.Timeout` ends the wait, the server is told to cancel the query,
    so that it does not keep its locks; psycopg2 closes the connection then, for it is in the middle
    of an answer. Raises psycopg2's OperationalError if the connection fails.
    """
    try:
        while (state := connection.poll()) != extensions.POLL_OK:
            if state == extensions.POLL_READ:
                wait_read(connection.fileno())
            elif state == extensions.POLL_WRITE:
                wait_write(connection.fileno())
            else:
                raise OperationalError(f"poll() of {connection!r} answered {state!r}")
    except BaseException:
        if not connection.closed:
            _cancel_query(connection)
        raise


class _Libpq:
    """What psycopg2 has no function for, or one that holds the GIL while it waits."""

    def __init__(self) -> None:
        # The library that psycopg2 itself is linked with; another copy would not do.
        library = ctypes.CDLL(_psycopg.__file__)
        #: Makes what can cancel a connection's query, even after that was closed; or NULL.
        self.make_cancel = library.PQgetCancel
        self.make_cancel.argtypes = [ctypes.c_void_p]
        self.make_cancel.restype = ctypes.c_void_p
        self._cancel = library.PQcancel
        self._cancel.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int]
        self._free = library.PQfreeCancel
        self._free.argtypes = [ctypes.c_void_p]

    def cancel(self, how: int) -> None:
        """Connect to the server and have it cancel the query, if that still runs; may block."""
        # Whether it fails makes no difference: the server cannot be reached any other way.
        self._cancel(how, ctypes.create_string_buffer(_ERROR_SIZE), _ERROR_SIZE)
        self._free(how)


_libpq = _Libpq()


def _cancel_query(connection: Any) -> None:
    """Have the query that *connection* runs, if any, cancelled by a native thread."""
    if connection.get_transaction_status() == extensions.TRANSACTION_STATUS_ACTIVE:
        how = _libpq.make_cancel(connection.pgconn_ptr)
        if how:
            waits.submit(partial(_libpq.cancel, how))
