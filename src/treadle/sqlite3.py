"""Connections to SQLite that let other greenlets run while the database is locked.

    sqlite3.connect("app.db", factory=treadle.sqlite3.Connection)

SQLite sleeps in C until the lock is free, for at most the connection's *timeout* (5 seconds by
default). If a greenlet of the same thread has the lock, it cannot free it meanwhile. These
connections have SQLite fail at once instead, and try the statement again after a pause.

They still block while they read and write the disk. ``executescript()``, ``backup()``, and
``executemany()`` outside a transaction, wait in SQLite.
"""

from __future__ import annotations

import functools as _functools
import re as _re
import sqlite3 as _sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager as _contextmanager
from itertools import chain as _chain
from itertools import islice as _islice
from itertools import repeat as _repeat
from types import TracebackType
from typing import Any, Literal, Self, TypeVar, overload

from treadle._core.clock import seconds as _clock
from treadle._core.sleep import sleep as _sleep
from treadle.fcntl import others_may_run as _others_may_run

__all__ = ["Connection", "Cursor"]

_C = TypeVar("_C", bound=_sqlite3.Cursor)

#: The extended error codes for which SQLite calls its busy handler. It does not for
#: SQLITE_BUSY_SNAPSHOT: no pause helps a transaction that has read what is out of date.
_BUSY = (_sqlite3.SQLITE_BUSY, _sqlite3.SQLITE_BUSY_RECOVERY)
#: Seconds between two attempts, as SQLite's own busy handler has them.
_PAUSES = tuple(ms / 1000 for ms in (1, 2, 5, 10, 15, 20, 25, 25, 25, 50, 50))
_LONGEST_PAUSE = 0.1
#: SQLite's own limit, in milliseconds.
_LONGEST_TIMEOUT = 0x7FFFFFFF

_BLANK = r"(?:\s|--[^\n]*\n|/\*.*?\*/)*"
#: Begins a transaction that holds no lock yet.
_BEGINS = _re.compile(
    rf"{_BLANK}(?:BEGIN(?:\s+DEFERRED)?(?:\s+TRANSACTION)?{_BLANK};?{_BLANK}$|SAVEPOINT\b)",
    _re.IGNORECASE | _re.DOTALL,
)
#: Ends a transaction, for which SQLite waits though it holds a lock.
_ENDS = _re.compile(rf"{_BLANK}(?:COMMIT|END|RELEASE)\b", _re.IGNORECASE | _re.DOTALL)


class Cursor(_sqlite3.Cursor):
    """A cursor of a :class:`Connection`."""

    def execute(self, sql: str, parameters: Any = (), /) -> Self:
        """:meth:`sqlite3.Cursor.execute`; while the database is locked, other greenlets run."""
        connection = _cooperative(self.connection)
        attempt = _functools.partial(super().execute, sql, parameters)
        connection._until_free(attempt, ends=_ENDS.match(sql) is not None)
        connection._note_success(sql)
        return self

    def executemany(self, sql: str, seq_of_parameters: Iterable[Any], /) -> Self:
        """:meth:`sqlite3.Cursor.executemany`; while the database is locked, other greenlets run.

        Without a transaction each row is one of its own, and SQLite waits.
        """
        connection = _cooperative(self.connection)
        execute = super().executemany
        if connection._commits_each_statement():
            with connection._sqlite_waits():
                execute(sql, seq_of_parameters)
        else:
            connection._until_free(_many(execute, sql, seq_of_parameters))
        connection._note_success(sql)
        return self

    def executescript(self, sql_script: str, /) -> Self:
        """:meth:`sqlite3.Cursor.executescript`; SQLite waits while the database is locked."""
        connection = _cooperative(self.connection)
        with connection._sqlite_waits():
            super().executescript(sql_script)
        connection._note_success(sql_script)
        return self


class Connection(_sqlite3.Connection):
    """A :class:`sqlite3.Connection` that waits for locks in the hub.

    Pass it as *factory* to :func:`sqlite3.connect`. *timeout*, in seconds, means what it means
    there: OperationalError is raised after it if the database is still locked, and at once if
    waiting could not help since the connection's own transaction is in the way.

    Cursors are of :class:`Cursor`. A class of cursors that a program passes to :meth:`cursor` is
    combined with it, so its methods must reach the standard ones by ``super()``.

    ``PRAGMA busy_timeout`` has SQLite wait again, which blocks.
    """

    def __init__(self, database: Any, timeout: float = 5.0, *args: Any, **kwargs: Any) -> None:
        if args:
            super().__init__(database, 0, *args, **kwargs)
        else:  # by its name, as CPython 3.13 asks for
            super().__init__(database, timeout=0, **kwargs)
        self._timeout = timeout
        self._may_hold_lock = False

    @overload
    def cursor(self, factory: None = None) -> Cursor: ...
    @overload
    def cursor(self, factory: Callable[[_sqlite3.Connection], _C]) -> _C: ...
    def cursor(self, factory: Any = Cursor) -> Any:
        """Return a new :class:`Cursor`, which is a *factory* as well if that is a class.

        Raises TypeError if another factory makes a cursor that is no :class:`Cursor`.
        """
        if isinstance(factory, type) and issubclass(factory, _sqlite3.Cursor):
            factory = _combined(factory)
        made = super().cursor(factory)
        if not isinstance(made, Cursor):
            raise TypeError(f"{factory!r} made {made!r}, which is no treadle.sqlite3.Cursor")
        return made

    # The standard methods do not ask cursor() for their cursor on every version of CPython.

    def execute(self, sql: str, parameters: Any = (), /) -> Cursor:
        """Return ``cursor().execute(sql, parameters)``."""
        return self.cursor().execute(sql, parameters)

    def executemany(self, sql: str, seq_of_parameters: Iterable[Any], /) -> Cursor:
        """Return ``cursor().executemany(sql, seq_of_parameters)``."""
        return self.cursor().executemany(sql, seq_of_parameters)

    def executescript(self, sql_script: str, /) -> Cursor:
        """Return ``cursor().executescript(sql_script)``."""
        return self.cursor().executescript(sql_script)

    def commit(self) -> None:
        """:meth:`sqlite3.Connection.commit`; while readers have locks, other greenlets run."""
        self._until_free(super().commit, ends=True)
        self._may_hold_lock = False

    def rollback(self) -> None:
        """:meth:`sqlite3.Connection.rollback`, which does not wait."""
        super().rollback()
        self._may_hold_lock = False

    def __exit__(
        self,
        typ: type[BaseException] | None,
        value: BaseException | None,
        tb: TracebackType | None,
        /,
    ) -> Literal[False]:
        if typ is not None:
            return super().__exit__(typ, value, tb)
        try:
            self.commit()
        except BaseException:
            self.rollback()  # which frees the database
            raise
        return False

    def _until_free(self, attempt: Callable[[], object], ends: bool = False) -> None:
        """Call *attempt* until it does not find the database locked, or the time is over.

        If this connection may have a lock itself, and does not end its transaction (*ends*), SQLite
        decides: it does not wait for a lock whose holder may wait for this one.
        """
        if not self.in_transaction:
            self._may_hold_lock = False
        deadline = _clock() + self._timeout
        for pause in _chain(_PAUSES, _repeat(_LONGEST_PAUSE)):
            try:
                attempt()
                return
            except _sqlite3.OperationalError as exc:
                left = deadline - _clock()
                if exc.sqlite_errorcode not in _BUSY or left <= 0:
                    raise
            if (self._may_hold_lock and not ends) or not _others_may_run():
                break
            _sleep(min(pause, left))
        with self._sqlite_waits():
            attempt()

    @_contextmanager
    def _sqlite_waits(self) -> Iterator[None]:
        """Have SQLite wait for locks meanwhile."""
        self._set_busy_timeout(self._timeout)
        try:
            yield
        finally:
            self._set_busy_timeout(0)

    def _set_busy_timeout(self, seconds: float) -> None:
        milliseconds = max(0, min(int(seconds * 1000), _LONGEST_TIMEOUT))
        _sqlite3.Cursor(self).execute(f"PRAGMA busy_timeout = {milliseconds}").close()

    def _commits_each_statement(self) -> bool:
        return not self.in_transaction and (
            self.isolation_level is None or getattr(self, "autocommit", -1) is True
        )

    def _note_success(self, sql: str) -> None:
        """Note whether the transaction, if there is one, has a lock after the statement *sql*."""
        if not self.in_transaction:
            self._may_hold_lock = False
        elif not _BEGINS.match(sql) and not _ENDS.match(sql):
            self._may_hold_lock = True


def _cooperative(connection: _sqlite3.Connection) -> Connection:
    if not isinstance(connection, Connection):
        raise TypeError(f"{connection!r} is no treadle.sqlite3.Connection, as its cursor needs")
    return connection


@_functools.lru_cache(64)
def _combined(factory: type[_sqlite3.Cursor]) -> type[_sqlite3.Cursor]:
    """Return the class of cursors that is *factory* and :class:`Cursor`."""
    if issubclass(factory, Cursor):
        return factory
    if issubclass(Cursor, factory):
        return Cursor
    return type(factory.__name__, (factory, Cursor), {"__module__": factory.__module__})


def _many(
    execute: Callable[[str, Iterable[Any]], object], sql: str, rows: Iterable[Any]
) -> Callable[[], None]:
    """Return a function that executes *sql* for all *rows*, and may be called again if it fails.

    The first row gets the lock. After it nothing is to be repeated: a failure is final.
    """
    rest = iter(rows)
    first: list[Any] = []
    failure: list[Exception] = []
    begun = False

    def all_rows() -> Iterator[Any]:
        nonlocal begun
        if not first:
            first.extend(_islice(rest, 1))
        yield from first
        begun = True
        yield from rest

    def attempt() -> None:
        if failure:
            raise failure[0]
        try:
            execute(sql, all_rows())
        except _sqlite3.OperationalError as exc:
            if begun:
                failure.append(exc)
            raise

    return attempt
