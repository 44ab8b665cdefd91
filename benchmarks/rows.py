"""Defines what is measured: for each row its contestants and the targets treadle must reach."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from .contestants import NAMES

Kind = Literal["calls", "sleepers", "echo", "tls_echo"]
Unit = Literal["s", "B"]


@dataclass(frozen=True)
class Target:
    """A target: at most `ratio` times the peer's figure, or at most `limit` without a peer."""

    peer: str | None = None
    ratio: float = 1.0
    limit: float = 0.0


@dataclass(frozen=True)
class Figure:
    """One figure of a row: `key` is its name in the samples, `unit` is seconds or bytes."""

    key: Literal["wall", "cpu", "rss"]
    title: str
    unit: Unit
    targets: tuple[Target, ...]


@dataclass(frozen=True)
class Row:
    """A row: `count` operations are one measurement.

    `quick` is the count under --quick; with 0 the row is left out there.
    """

    name: str
    kind: Kind
    count: int
    quick: int
    figures: tuple[Figure, ...]
    contestants: tuple[str, ...]
    max_repeat: int = 1000
    needs_memory: int = 0


# The standard library has no Timeout for threads, and 100,000 sleeping threads are too many.
TASKS = ("treadle", "gevent", "asyncio", "uvloop")
ALL = (*TASKS, "threads")
# gevent has no groups of this kind.
STRUCTURED = ("treadle", "asyncio", "uvloop")


def _calls(name: str, title: str, count: int, who: tuple[str, ...], *targets: Target) -> Row:
    return Row(name, "calls", count, count // 10, (Figure("wall", title, "s", targets),), who)


def _sleepers(name: str, count: int, quick: int, max_repeat: int, needs_memory: int) -> Row:
    what = f"{count:,} sleepers, each"
    time = Figure("wall", f"{what}: time", "s", (Target("gevent", 1 / 5),))
    memory = Figure("rss", f"{what}: memory", "B", (Target(limit=6.5 * 1024),))
    return Row(name, "sleepers", count, quick, (time, memory), TASKS, max_repeat, needs_memory)


# A million sleepers take 8 GiB of resident memory with gevent; the rest is for the system.
ROOM_FOR_A_MILLION = 12 * 1024**3

ROWS = (
    _calls(
        "spawn_join", "spawn + join", 5_000, ALL, Target("gevent", 1 / 8), Target("uvloop", 1.0)
    ),
    _calls("sleep0", "sleep(0), two greenlets", 50_000, ALL, Target("gevent", 1 / 4)),
    _calls("timeout", "Timeout start + cancel", 20_000, TASKS, Target("gevent", 1 / 12)),
    _calls("scope", "a block with a deadline", 20_000, STRUCTURED, Target("uvloop", 1.0)),
    _calls("group", "an empty TaskGroup", 20_000, STRUCTURED, Target("uvloop", 1.0)),
    _calls("group_spawn", "TaskGroup, a child", 20_000, STRUCTURED, Target("uvloop", 1.0)),
    _calls("semaphore", "Semaphore, uncontended", 200_000, ALL, Target("gevent", 1 / 3)),
    _calls("queue", "Queue(1) put + get", 20_000, ALL, Target("gevent", 1 / 5)),
    _calls("pool_map", "Pool.map, an item", 5_000, ALL, Target("gevent", 1 / 8)),
    _calls("threadpool", "ThreadPool.apply", 2_000, ALL, Target("gevent", 1 / 2)),
    Row(
        "echo",
        "echo",
        50_000,
        5_000,
        (Figure("cpu", "echo, CPU per message", "s", (Target("C epoll", 1.25),)),),
        NAMES,
    ),
    Row(
        "tls_echo",
        "tls_echo",
        20_000,
        5_000,
        (Figure("cpu", "TLS echo, CPU per message", "s", (Target("gevent", 0.6),)),),
        tuple(name for name in NAMES if name != "C epoll"),
    ),
    _sleepers("sleepers_100k", 100_000, 100_000, 1000, 0),
    _sleepers("sleepers_1m", 1_000_000, 0, 3, ROOM_FOR_A_MILLION),
)
