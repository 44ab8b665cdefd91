"""Print, as JSON, what happens to queries that are killed, time out or lose their connection.

``python interrupted.py LIBRARY URL``; LIBRARY is psycopg2 or psycopg.
"""

from treadle import monkey

monkey.patch_all()

import importlib
import json
import sys
import time
from typing import Any

import treadle

LIBRARY, URL = sys.argv[1:]
library = importlib.import_module(LIBRARY)
if LIBRARY == "psycopg2":
    import treadle.psycopg2

    treadle.psycopg2.install()


def ask(connection: Any, query: str) -> Any:
    cursor = connection.cursor()
    cursor.execute(query)
    return cursor.fetchone()[0]


def sleep(connection: Any) -> None:
    ask(connection, "select 1 from pg_sleep(60)")


def sleeping() -> int:
    """Return how many queries are sleeping in the server."""
    return ask(
        watcher,
        "select count(*) from pg_stat_activity where state = 'active' and wait_event = 'PgSleep'",
    )


def seconds_until_none_sleeps() -> float:
    began = time.monotonic()
    while sleeping():
        time.sleep(0.01)
    return time.monotonic() - began


def after(connection: Any) -> tuple[bool, float]:
    """Return whether *connection* is closed, and the seconds until no query sleeps any more."""
    closed = bool(connection.closed)
    if LIBRARY == "psycopg":  # by itself, psycopg cancels a query on KeyboardInterrupt only
        connection.cancel_safe()
    return closed, seconds_until_none_sleeps()


def begin_to_sleep() -> tuple[Any, treadle.Greenlet]:
    connection = library.connect(URL)
    sleeper = treadle.spawn(sleep, connection)
    while not sleeping():
        time.sleep(0.01)
    return connection, sleeper


watcher = library.connect(URL)
watcher.autocommit = True
report = {}

connection, sleeper = begin_to_sleep()
sleeper.kill()
report["killed"] = (repr(sleeper.value), *after(connection))

connection = library.connect(URL)
caught = None
try:
    with treadle.Timeout(0.1):
        sleep(connection)
except treadle.Timeout as timeout:
    caught = str(timeout)
report["timed out"] = (caught, *after(connection))

treadle.get_hub().exception_stream = None  # the exception that ends the greenlet is expected
connection, sleeper = begin_to_sleep()
ask(watcher, f"select pg_terminate_backend({connection.info.backend_pid})")
sleeper.join()
report["cut off"] = (
    isinstance(sleeper.exception, library.OperationalError),
    bool(connection.closed),
    seconds_until_none_sleeps(),
)

try:
    library.connect("postgresql://treadle@127.0.0.1:1/none")
except library.OperationalError as exc:
    report["refused"] = "refused" in str(exc)

report["goes on"] = ask(library.connect(URL), "select 6 * 7")
print(json.dumps(report))
