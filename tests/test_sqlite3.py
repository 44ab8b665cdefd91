"""Connections to SQLite wait for locks in the hub, and else do as the standard ones do."""

import sqlite3
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import treadle
import treadle.sqlite3
from treadle.sqlite3 import Connection


@pytest.fixture
def connect(tmp_path: Path) -> Iterator[Callable[..., Connection]]:
    """Return a function that connects to one database, in which the table t has one row, 0."""
    made: list[sqlite3.Connection] = []

    def connect(timeout: float = 5, factory: type = Connection, **options: Any) -> Any:
        path = tmp_path / "db"
        made.append(sqlite3.connect(path, timeout=timeout, factory=factory, **options))
        return made[-1]

    with connect(isolation_level=None) as connection:
        connection.executescript("CREATE TABLE t (n); INSERT INTO t VALUES (0)")
    treadle.sleep(0)  # there is a hub
    yield connect
    for connection in made:
        connection.close()


def rows(connection: sqlite3.Connection) -> list[int]:
    return [n for (n,) in connection.execute("SELECT n FROM t ORDER BY n")]


def hold(connection: sqlite3.Connection, seconds: float = 0.05) -> "treadle.Greenlet[None]":
    """Lock the database for so long, in a greenlet; return when it is locked."""

    def run() -> None:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("INSERT INTO t VALUES (1)")
        treadle.sleep(seconds)
        connection.execute("COMMIT")

    greenlet = treadle.spawn(run)
    treadle.sleep(0)
    return greenlet


INSERTS: dict[str, Callable[[Connection], object]] = {
    "execute": lambda c: c.execute("INSERT INTO t VALUES (2)"),
    "cursor": lambda c: c.cursor().execute("INSERT INTO t VALUES (?)", (2,)),
    "named": lambda c: c.execute("INSERT INTO t VALUES (:n)", {"n": 2}),
    "executemany": lambda c: c.executemany("INSERT INTO t VALUES (?)", iter([(2,)])),
    "begin": lambda c: c.execute("BEGIN IMMEDIATE") and c.execute("INSERT INTO t VALUES (2)"),
    "begin first": lambda c: (
        c.execute("/* a */ begin -- b\n") and c.execute("INSERT INTO t VALUES (2)")
    ),
}


@pytest.mark.parametrize("isolation_level", ["", None])
@pytest.mark.parametrize("insert", INSERTS)
def test_a_greenlet_waits_until_another_one_has_committed(
    connect: Callable[..., Connection], insert: str, isolation_level: str | None
) -> None:
    if insert == "executemany" and isolation_level is None:
        return test_sqlite_itself_waits(connect, "executemany")
    holder = hold(connect(isolation_level=None))
    waiter = connect(isolation_level=isolation_level)
    INSERTS[insert](waiter)
    assert holder.ready()
    waiter.commit()
    assert rows(waiter) == [0, 1, 2]


def fails_after(seconds: float, call: Callable[[], object], message: str = "locked") -> None:
    """Check that *call* fails with OperationalError after so many seconds, with others running."""
    began = time.monotonic()
    with pytest.raises(sqlite3.OperationalError, match=message):
        call()
    assert seconds <= time.monotonic() - began < seconds + 4  # sqlite3's own timeout is 5 s


SCRIPTS: dict[str, Callable[[Connection], object]] = {
    "executescript": lambda c: c.executescript("INSERT INTO t VALUES (2)"),
    "executemany": lambda c: c.executemany("INSERT INTO t VALUES (?)", [(2,), (3,)]),
}


@pytest.mark.parametrize("call", SCRIPTS)
def test_sqlite_itself_waits(connect: Callable[..., Connection], call: str) -> None:
    holder = hold(connect(isolation_level=None))
    connection = connect(0.2, isolation_level=None)
    fails_after(0.2, lambda: SCRIPTS[call](connection))
    holder.join()
    SCRIPTS[call](connection)
    assert rows(connection)[:3] == [0, 1, 2]
    # and no longer afterwards
    assert connection.execute("PRAGMA busy_timeout").fetchone() == (0,)


def test_it_fails_after_its_timeout(connect: Callable[..., Connection]) -> None:
    holder = hold(connect(isolation_level=None), 10)
    for timeout in (0, 0.2):
        for insert in ("execute", "executemany"):
            fails_after(timeout, partial(INSERTS[insert], connect(timeout)))
    holder.kill()


def test_a_timeout_ends_the_wait_and_the_connection_serves_on(
    connect: Callable[..., Connection],
) -> None:
    holder, connection = hold(connect(isolation_level=None), 0.1), connect()
    with pytest.raises(treadle.Timeout), treadle.Timeout(0.02):
        connection.execute("INSERT INTO t VALUES (2)")
    connection.execute("INSERT INTO t VALUES (3)")
    connection.commit()
    assert holder.ready()
    assert rows(connection) == [0, 1, 3]


@pytest.mark.parametrize("factory", [sqlite3.Connection, Connection])
def test_of_two_that_wait_for_each_other_one_fails_at_once(
    connect: Callable[..., Connection], factory: type
) -> None:
    first, second = connect(factory=factory), connect(factory=factory)
    for connection in (first, second):
        connection.execute("BEGIN")
        assert rows(connection) == [0]
    first.execute("INSERT INTO t VALUES (1)")
    fails_after(0, lambda: second.execute("INSERT INTO t VALUES (2)"))
    second.rollback()
    first.commit()
    second.execute("INSERT INTO t VALUES (2)")
    second.commit()
    assert rows(first) == [0, 1, 2]


@pytest.mark.parametrize("how", ["commit", "with", "execute"])
def test_a_commit_waits_for_readers(connect: Callable[..., Connection], how: str) -> None:
    def read() -> None:
        with reader:
            reader.execute("BEGIN")
            seen.extend(rows(reader))
            treadle.sleep(0.05)

    seen: list[int] = []
    reader, writer = connect(isolation_level=None), connect()
    greenlet = treadle.spawn(read)
    treadle.sleep(0)
    if how == "with":
        with writer:
            writer.execute("INSERT INTO t VALUES (1)")
    else:
        writer.execute("INSERT INTO t VALUES (1)")
        writer.commit() if how == "commit" else writer.execute("COMMIT")
    assert greenlet.ready()
    assert (seen, rows(writer), writer.in_transaction) == ([0], [0, 1], False)


def test_a_with_statement_that_cannot_commit_rolls_back(connect: Callable[..., Connection]) -> None:
    reader, writer = connect(isolation_level=None), connect(0.05)
    reader.execute("BEGIN")
    rows(reader)
    with pytest.raises(sqlite3.OperationalError, match="locked"), writer:
        writer.execute("INSERT INTO t VALUES (1)")
    assert not writer.in_transaction
    reader.execute("COMMIT")
    with pytest.raises(ZeroDivisionError), writer:
        writer.execute("INSERT INTO t VALUES (?)", (1 // 0,))
    assert rows(writer) == [0]


def test_executemany_inserts_each_row_once(connect: Callable[..., Connection]) -> None:
    hold(connect(isolation_level=None))
    connection = connect()
    cursor = connection.executemany("INSERT INTO t VALUES (?)", ((n,) for n in range(2, 6)))
    assert cursor.rowcount == 4
    connection.commit()
    assert rows(connection) == [0, 1, 2, 3, 4, 5]
    assert connection.executemany("INSERT INTO t VALUES (?)", []).rowcount == 0


def test_a_program_s_cursors_wait_too(connect: Callable[..., Connection]) -> None:
    class Upper(sqlite3.Cursor):
        def execute(self, sql: str, parameters: Any = (), /) -> "Upper":
            return super().execute(sql.replace("insert", "INSERT"), parameters)

    connection = connect()
    for kind in (Upper, sqlite3.Cursor, treadle.sqlite3.Cursor):
        holder = hold(connect(isolation_level=None))
        cursor = connection.cursor(kind)
        assert isinstance(cursor, kind)
        cursor.execute("insert INTO t VALUES (2)")
        assert holder.ready()
        connection.commit()
    with pytest.raises(TypeError, match=r"no treadle\.sqlite3\.Cursor"):
        connection.cursor(lambda connection: sqlite3.Cursor(connection))
    with pytest.raises(TypeError, match=r"no treadle\.sqlite3\.Connection"):
        treadle.sqlite3.Cursor(connect(factory=sqlite3.Connection)).execute("SELECT 1")


def test_in_the_hub_sqlite_waits(connect: Callable[..., Connection]) -> None:
    def insert() -> None:
        try:
            connection.execute("INSERT INTO t VALUES (2)")
        except sqlite3.OperationalError as exc:
            failed.append(str(exc))

    failed: list[str] = []
    holder, connection = hold(connect(isolation_level=None)), connect(0.1)
    treadle.get_hub().loop.run_callback(insert)
    holder.join()
    assert failed == ["database is locked"]


def test_what_waits_no_pause_helps(connect: Callable[..., Connection]) -> None:
    first, second = connect(isolation_level=None), connect(isolation_level=None)
    first.execute("PRAGMA journal_mode = wal")
    second.execute("BEGIN")
    rows(second)
    first.execute("INSERT INTO t VALUES (1)")
    fails_after(0, lambda: second.execute("INSERT INTO t VALUES (2)"))  # SQLITE_BUSY_SNAPSHOT
    second.rollback()
    second.execute("INSERT INTO t VALUES (2)")
    assert rows(first) == [0, 1, 2]
