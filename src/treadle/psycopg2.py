"""Cooperative psycopg2 queries: other greenlets run while one waits for PostgreSQL.

    import treadle.psycopg2
    treadle.psycopg2.install()

psycopg2 waits in C code, which patching cannot change, but it calls a wait callback instead if one
is set. Then COPY and large objects do not work, and only one greenlet at a time may use a
connection. libpq still does a blocking DNS lookup of the host; pass ``hostaddr`` to avoid it.

psycopg 3 needs only patching. A program that interrupts a query there must call the connection's
``cancel_safe()`` itself.
"""

from __future__ import annotations

import ctypes
from functools import partial
from typing import Any

from psycopg2 import OperationalError, _psycopg, extensions

from treadle._core.crew import waits
from treadle.socket import wait_read, wait_write

__all__ = ["install", "wait_callback"]

#: The size that libpq recommends for an error message, in bytes.
_ERROR_SIZE = 256


def install() -> None:
    """Make all psycopg2 connections of this process wait with :func:`wait_callback` from now on."""
    extensions.set_wait_callback(wait_callback)


def wait_callback(connection: Any) -> None:
    """Wait until *connection* is connected or its query is done; other greenlets run meanwhile.

    If a kill or a :class:`treadle.Timeout` ends the wait, the server is told to cancel the query,
    so that it does not keep its locks. psycopg2 then closes the connection, because it is in the
    middle of a response. Raise psycopg2's OperationalError if the connection fails.
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
    """Functions of libpq that psycopg2 lacks, or calls while holding the GIL."""

    def __init__(self) -> None:
        # The libpq that psycopg2 itself is linked with; another copy would not work.
        library = ctypes.CDLL(_psycopg.__file__)
        #: Returns an object that can cancel a connection's query even after it is closed, or NULL.
        self.make_cancel = library.PQgetCancel
        self.make_cancel.argtypes = [ctypes.c_void_p]
        self.make_cancel.restype = ctypes.c_void_p
        self._cancel = library.PQcancel
        self._cancel.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int]
        self._free = library.PQfreeCancel
        self._free.argtypes = [ctypes.c_void_p]

    def cancel(self, how: int) -> None:
        """Connect to the server, and cancel the query if it still runs; may block.

        *how* is a result of :attr:`make_cancel`; it is freed.
        """
        # A failure is ignored: there is no other way to reach the server.
        self._cancel(how, ctypes.create_string_buffer(_ERROR_SIZE), _ERROR_SIZE)
        self._free(how)


_libpq = _Libpq()


def _cancel_query(connection: Any) -> None:
    """Cancel the query that *connection* runs, if any, in a native thread."""
    if connection.get_transaction_status() == extensions.TRANSACTION_STATUS_ACTIVE:
        how = _libpq.make_cancel(connection.pgconn_ptr)
        if how:
            waits.submit(partial(_libpq.cancel, how))
