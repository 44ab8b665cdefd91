"""What a block of code leaves behind: greenlets, timers, descriptors, threads."""

from __future__ import annotations

import gc
import os
import sys
import traceback
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from treadle._config import config
from treadle._core.crew import all_workers
from treadle.greenlet import getcurrent
from treadle.hub import get_hub
from treadle.testing._clock import wait_all_blocked

_DESCRIPTORS = "/proc/self/fd"
#: Frames kept of the code that starts a greenlet.
STACK_LIMIT = 12


class LeakError(AssertionError):
    """Something was left behind; the text names each thing and the line that made it."""

    __module__ = __package__


class Present(NamedTuple):
    """What there is at one moment."""

    greenlets: set[Any]
    timers: int
    descriptors: frozenset[str]
    threads: frozenset[int]

    @classmethod
    def now(cls) -> Present:
        hub = get_hub()
        workers = {worker.ident for worker in all_workers()}
        return cls(
            set(hub.fibers()),
            hub.timer_count(),
            _descriptors(),
            frozenset(sys._current_frames()) - workers,
        )

    def leaks(self) -> list[str]:
        """A text for each thing that is there now and was not then."""
        now = Present.now()
        if now.descriptors - self.descriptors:
            gc.collect()
            now = Present.now()
        current = getcurrent()
        found = [
            _describe(each)
            for each in get_hub().fibers()
            if each not in self.greenlets and each is not current
        ]
        timers = now.timers - self.timers - len(found)
        if timers > 0:
            found.append(f"{timers} timers are still set")
        found += [
            f"descriptor {number} is open: {_target(number)}"
            for number in sorted(now.descriptors - self.descriptors, key=int)
        ]
        for ident in now.threads - self.threads:
            frame = sys._current_frames().get(ident)
            where = "" if frame is None else f", at {_where(traceback.extract_stack(frame)[-1])}"
            found.append(f"native thread {ident:#x} runs{where}")
        return found


def _descriptors() -> frozenset[str]:
    try:
        folder = os.open(_DESCRIPTORS, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        return frozenset()
    try:
        # listdir() reads from a duplicate, whose number is the lowest that is free.
        duplicate = os.dup(folder)
        os.close(duplicate)
        return frozenset(os.listdir(folder)) - {str(folder), str(duplicate)}
    finally:
        os.close(folder)


def _target(number: str) -> str:
    try:
        return os.readlink(f"{_DESCRIPTORS}/{number}")
    except OSError:
        return ""


def _describe(greenlet: Any) -> str:
    text = f"{greenlet!r} runs on"
    if greenlet.waiting is not None:
        text += f", {greenlet.waiting.reason}"
        if greenlet.waiting.on is not None:
            text += f" {greenlet.waiting.on!r}"
    if greenlet.gr_frame is not None:
        place = _outside(greenlet.gr_frame)
        text += "" if place is None else f", at {_where(place)}"
    started = _outside(getattr(greenlet, "spawning_stack", None))
    return text if started is None else f"{text}; started at {_where(started)}"


def places(but: Collection[Any]) -> Iterator[str]:
    """A text for each greenlet that waits: where in the program. Those in *but* are left out."""
    for greenlet in get_hub().fibers():
        if greenlet not in but and greenlet.gr_frame is not None:
            place = _outside(greenlet.gr_frame)
            if place is not None:
                yield f"{greenlet!r} waits at {_where(place)}"


def _outside(stack: Any) -> traceback.FrameSummary | None:
    """The innermost place of a stack that is not treadle's own."""
    if stack is None:
        return None
    for place in reversed(traceback.extract_stack(stack)):
        if f"{os.sep}treadle{os.sep}" not in place.filename:
            return place
    return None


def _where(place: traceback.FrameSummary) -> str:
    line = f": {place.line}" if place.line else ""
    return f"{place.filename}:{place.lineno} in {place.name}{line}"


@contextmanager
def no_leaks() -> Iterator[None]:
    """Raise :class:`LeakError` if the block leaves greenlets, timers, descriptors or threads.

    Greenlets that are ready when the block ends may still run as far as they get. What the block
    itself raises is left alone.
    """
    with spawning_stacks():
        before = Present.now()
        yield
        wait_all_blocked()
        raise_leaks(before)


@contextmanager
def spawning_stacks() -> Iterator[None]:
    """Let greenlets that are made in the block keep the stack of the code that makes them."""
    limit = config.spawning_stack_limit
    config.spawning_stack_limit = max(limit, STACK_LIMIT)
    try:
        yield
    finally:
        config.spawning_stack_limit = limit


def raise_leaks(before: Present) -> None:
    """Raise :class:`LeakError` if there is more now than *before*."""
    __tracebackhide__ = True
    found = before.leaks()
    if found:
        raise LeakError("left behind:\n" + "\n".join(f"  - {each}" for each in found))
