"""What a block of code leaves behind: greenlets, timers, descriptors, threads, children."""

from __future__ import annotations

import gc
import os
import sys
import traceback
from _signal import NSIG  # type: ignore[import-not-found]
from _signal import getsignal as _native_getsignal
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from signal import Handlers
from typing import Any, NamedTuple

from treadle._core.crew import all_workers
from treadle._core.hub import Wait
from treadle._core.native import nap
from treadle._core.trial import list_threads, newest_thread
from treadle.greenlet import getcurrent, kill, killall
from treadle.hub import get_hub
from treadle.observe.text import safe_repr
from treadle.scopes import CancelScope
from treadle.signal import _handler_in
from treadle.testing._clock import wait_all_blocked
from treadle.testing._openings import is_own, opened_at, recording
from treadle.threadpool import pools
from treadle.timeout import Timeout

_DESCRIPTORS = "/proc/self/fd"
_CHILDREN = "/proc/thread-self/children"
#: How many milliseconds a thread may take to end after it has said that it will.
_ENDING = 500
#: Helpers that multiprocessing starts once, and where it notes their descriptors and processes.
_OF_PROCESS = (
    ("multiprocessing.resource_tracker", "_resource_tracker"),
    ("multiprocessing.forkserver", "_forkserver"),
)
_NUMBERS = ("_fd", "_pid", "_forkserver_alive_fd", "_forkserver_pid")


class LeakError(AssertionError):
    """Something was left behind; the text names each thing and the line that made it."""

    __module__ = __package__


class Started(NamedTuple):
    """The greenlets, timers and watchers that a hub has at one moment."""

    greenlets: Collection[Any]
    #: Greenlets that treadle did not make, but that wait here.
    raw: Collection[Any]
    #: By a number that no other timer has: what each is for.
    timers: dict[int, Any]
    watchers: set[Any]

    @classmethod
    def now(cls) -> Started:
        hub = get_hub()
        fibers = hub.fibers()
        # By identity: classes of the program may compare their greenlets.
        others = {id(each) for each in [*fibers, hub.main]}
        waiting = {id(wait.greenlet): wait.greenlet for wait in hub.waits()}
        raw = [who for number, who in waiting.items() if number not in others]
        loop = hub.loop_made
        return cls(fibers, raw, hub.live_timers(), set() if loop is None else set(loop.watchers))

    def more(self) -> Started:
        """What there is now and was not then. Timers of greenlets and watchers are left out."""
        now = Started.now()
        watchers = now.watchers - self.watchers
        of_watchers = set(map(id, now.watchers))
        timers = {
            number: what
            for number, what in now.timers.items()
            if number not in self.timers
            and not isinstance(what, Wait)
            and id(what) not in of_watchers
        }
        return Started(
            _without(now.greenlets, self.greenlets), _without(now.raw, self.raw), timers, watchers
        )

    def end_later(self) -> list[Any]:
        """Stop new timers and watchers; kill new greenlets, and return them."""
        more = self.more()
        for watcher in more.watchers:
            watcher.stop()
        for what in more.timers.values():
            if isinstance(what, Timeout):
                what.cancel()
            elif isinstance(what, CancelScope):
                what.shield = False
                what.cancel("the run is over")
            else:  # a greenlet that is to start
                kill(what)
        current = getcurrent()
        for each in more.raw:
            if each is not current:
                kill(each)
        killall(more.greenlets, block=False)
        return list(more.greenlets)


def _without(all_: Collection[Any], known: Collection[Any]) -> list[Any]:
    """Those that are not known, in their order, by identity."""
    numbers = set(map(id, known))
    return [each for each in all_ if id(each) not in numbers]


class Present(NamedTuple):
    """What there is at one moment."""

    started: Started
    descriptors: frozenset[str]
    #: The number of the native thread that was made last; later ones have greater numbers.
    newest: int
    #: Thread pools that have threads.
    pools: frozenset[Any]
    handlers: tuple[Any, ...]
    children: frozenset[str]

    @classmethod
    def now(cls) -> Present:
        own = get_hub().__dict__.get("_threadpool")
        kept = _of_process()
        return cls(
            Started.now(),
            _descriptors() - kept,
            newest_thread(),
            frozenset(pool for pool in pools if pool is not own and _has_threads(pool)),
            tuple(map(_native_getsignal, range(1, NSIG))),
            _children() - kept,
        )

    def leaks(self) -> list[str]:
        """A text for each thing that is there now and was not then."""
        now = Present.now()
        if now.descriptors - self.descriptors or now.pools - self.pools:
            del now
            gc.collect()
            now = Present.now()
        current = getcurrent()
        more = self.started.more()
        found = [_describe(each) for each in more.greenlets if each is not current]
        found += [f"{safe_repr(each)} waits" for each in more.raw if each is not current]
        found += [_describe_timer(what) for what in more.timers.values()]
        found += sorted(f"{safe_repr(watcher)} is active" for watcher in more.watchers)
        for number in sorted(now.descriptors - self.descriptors, key=int):
            target = _target(number)
            found.append(f"descriptor {number} is open: {target}{opened_at(int(number), target)}")
        for ident in self._new_threads():
            frame = sys._current_frames().get(ident)
            where = "" if frame is None else f", at {_where(traceback.extract_stack(frame)[-1])}"
            found.append(f"native thread {ident:#x} runs{where}")
        found += [
            f"{safe_repr(pool)} has threads: kill() ends them" for pool in now.pools - self.pools
        ]
        signals = {getattr(watcher, "signalnum", None) for watcher in more.watchers}
        handlers = zip(self.handlers, now.handlers, strict=True)
        for signum, pair in enumerate(handlers, 1):
            before, after = map(_named, pair) if pair[0] is not pair[1] else pair
            if before is not after and signum not in signals:
                now_is, was = safe_repr(after), safe_repr(before)
                found.append(f"the handler of signal {signum} is {now_is}, no more {was}")
        for pid in sorted(now.children - self.children):
            found.append(f"child {pid} was not waited for{_command(pid)}")
        return found

    def _new_threads(self) -> list[int]:
        """The idents of native threads that were made since, unless they are about to end."""
        for _ in range(_ENDING):
            workers = {worker.ident for worker in all_workers()}
            live = sys._current_frames().keys() - workers
            threads = sorted(list_threads().items())
            found = [ident for number, ident in threads if number > self.newest and ident in live]
            if not found:
                break
            nap()
        return found


def _named(handler: Any) -> Any:
    """What signal.getsignal() returns where the system has *handler*."""
    return Handlers(handler) if type(handler) is int else _handler_in(handler)


def _of_process() -> frozenset[str]:
    """What a process has only one of, made when it is first needed: descriptors and children.

    Children and descriptors have different numbers as a rule; that one hides the other is no harm.
    """
    found: list[object] = []
    for module, name in _OF_PROCESS:
        one = getattr(sys.modules.get(module), name, None)
        found += [value for key, value in getattr(one, "__dict__", {}).items() if key in _NUMBERS]
    return frozenset(str(each) for each in found if type(each) is int)


def _has_threads(pool: Any) -> bool:
    crew = getattr(pool, "_crew", None)  # an executor that runs greenlets has none
    return crew is not None and bool(crew.workers)


def _children() -> frozenset[str]:
    """The children of this thread that have not been waited for, where the system tells them."""
    try:
        with open(_CHILDREN, "rb") as file:
            return frozenset(file.read().decode().split())
    except OSError:
        return frozenset()


def _command(pid: str) -> str:
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            words = file.read().decode(errors="replace").split("\0")
    except OSError:
        return ""
    return f": {' '.join(words).strip()}"


def _describe_timer(what: Any) -> str:
    started = _outside(getattr(what, "spawning_stack", None))
    text = f"{safe_repr(what)} has a timer"
    return text if started is None else f"{text}; started at {_where(started)}"


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
    text = f"{safe_repr(greenlet)} runs on"
    if greenlet.waiting is not None:
        text += f", {greenlet.waiting.reason}"
        if greenlet.waiting.on is not None:
            text += f" {safe_repr(greenlet.waiting.on)}"
    if greenlet.gr_frame is not None:
        place = _outside(greenlet.gr_frame)
        text += "" if place is None else f", at {_where(place)}"
    started = _outside(getattr(greenlet, "spawning_stack", None))
    return text if started is None else f"{text}; started at {_where(started)}"


def places(but: Collection[Any]) -> Iterator[str]:
    """A text for each greenlet that waits: where in the program. Those in *but* are left out."""
    for greenlet in _without(get_hub().fibers(), but):
        if greenlet.gr_frame is not None:
            place = _outside(greenlet.gr_frame)
            if place is not None:
                yield f"{safe_repr(greenlet)} waits at {_where(place)}"


def _outside(stack: Any) -> traceback.FrameSummary | None:
    """The innermost place of a stack that is not treadle's own."""
    if stack is None:
        return None
    for place in reversed(traceback.extract_stack(stack)):
        if not is_own(place.filename):
            return place
    return None


def _where(place: traceback.FrameSummary) -> str:
    line = f": {place.line}" if place.line else ""
    return f"{place.filename}:{place.lineno} in {place.name}{line}"


@contextmanager
def no_leaks() -> Iterator[None]:
    """Raise :class:`LeakError` if the block leaves greenlets, timers, descriptors, threads or more.

    Greenlets that are ready when the block ends may still run as far as they get. What the block
    itself raises is left alone.
    """
    with recording():
        prepare()
        before = Present.now()
        yield
        wait_all_blocked()
        raise_leaks(before)


def prepare() -> None:
    """Make what a hub makes of descriptors when it first needs it, before they are counted."""
    if _descriptors():
        get_hub().loop.prepare_io()


def raise_leaks(before: Present) -> None:
    """Raise :class:`LeakError` if there is more now than *before*."""
    __tracebackhide__ = True
    found = before.leaks()
    if found:
        raise LeakError("left behind:\n" + "\n".join(f"  - {each}" for each in found))
