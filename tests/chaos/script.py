"""The script of a run: what happens when. A seed decides all of it."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

#: Between what happens in a moment, in seconds, on average.
GAP = 0.8
#: What happens in a moment, or for a short while, and how often.
MOMENTS = {
    "HUP": 4,
    "TERM a worker": 5,
    "KILL a worker": 5,
    "STOP a worker": 3,
    "STOP a worker until it is killed": 1,
    "limit a worker's descriptors": 3,
    "rotate the logs": 1,
}
#: Lanes of what lasts for a while. In each lane one thing happens after the other.
PLAIN_LANES = (
    ("break the application", "limit the supervisor's descriptors"),
    ("fill the disk",),
    ("close the reader of stdout", "do not read stdout"),
)
TLS_LANES = (
    ("break the application", "break the certificate", "limit the supervisor's descriptors"),
    ("fill the disk",),
)
#: While one of these lasts, no worker can be started.
HINDRANCES = {
    "break the application",
    "break the certificate",
    "limit the supervisor's descriptors",
}
#: What takes a worker away.
LOSSES = {"TERM a worker", "KILL a worker", "STOP a worker until it is killed"}
#: Within this time of a loss another worker serves, in seconds.
RECOVERY = 2.0
#: How long it may take until a worker that is stopped is killed, in seconds.
HANG = 9.0


@dataclass(frozen=True, order=True)
class Event:
    """Something that happens *at* a time of the run and lasts; *choice* is random, below 1."""

    at: float
    what: str
    lasts: float
    choice: float


def write(seed: int, seconds: float, tls: bool) -> list[Event]:
    """Return the events of a run in their order."""
    random = Random(seed)
    events: list[Event] = []
    for lane in TLS_LANES if tls else PLAIN_LANES:
        events += _lane(random, lane, seconds)
    hindered = [
        (each.at - RECOVERY, each.at + each.lasts) for each in events if each.what in HINDRANCES
    ]
    events += _moments(random, seconds, hindered)
    return sorted(events)


def _lane(random: Random, lane: tuple[str, ...], seconds: float) -> list[Event]:
    events = []
    at = random.uniform(1, 6)
    while True:
        lasts = random.uniform(1, 4)
        if at + lasts > seconds - 1:
            return events
        events.append(Event(at, random.choice(lane), lasts, random.random()))
        at += lasts + random.uniform(4, 12)


def _moments(random: Random, seconds: float, hindered: list[tuple[float, float]]) -> list[Event]:
    """Return what happens in moments: while no worker can be started, at most one is lost."""
    events = []
    lost: set[tuple[float, float]] = set()
    at = 1.0
    while (at := at + random.expovariate(1 / GAP)) < seconds - 1:
        (what,) = random.choices(list(MOMENTS), list(MOMENTS.values()))
        lasts = 0.0
        if what == "STOP a worker until it is killed":
            lasts = HANG
            if at + lasts > seconds:
                what = "STOP a worker"
        if what in LOSSES:
            now = {each for each in hindered if each[0] < at + lasts and at < each[1]}
            if now & lost:
                what, lasts = "HUP", 0.0
            else:
                lost |= now
        if what in ("STOP a worker", "limit a worker's descriptors"):
            lasts = random.uniform(0.1, 1.5)
        events.append(Event(at, what, lasts, random.random()))
    return events
