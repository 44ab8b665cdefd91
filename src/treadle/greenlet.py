"""Greenlets that people spawn: what gevent.greenlet offers."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any

from greenlet import GreenletExit
from greenlet import greenlet as RawGreenlet

from treadle._core.greenlet import Greenlet as CoreGreenlet
from treadle._core.greenlet import RawGreenlet as CoreRawGreenlet
from treadle._core.greenlet import getcurrent, kill_raw, spawn_callbacks, spawn_raw
from treadle._core.iwait import WaitIterator
from treadle._core.sleep import sleep
from treadle.timeout import Timeout

__all__ = [
    "Greenlet",
    "GreenletExit",
    "getcurrent",
    "joinall",
    "kill",
    "killall",
    "spawn",
    "spawn_later",
    "spawn_raw",
]


class SpawnedLink:
    """A link that runs its callback in a new greenlet, where it may block."""

    __slots__ = ("callback",)

    def __init__(self, callback: Callable[[Any], object]) -> None:
        if not callable(callback):
            raise TypeError(f"a link must be callable, not {callback!r}")
        self.callback = callback

    def __call__(self, source: Any) -> None:
        # At once, so that whoever joined the source runs after it, and may still unlink others.
        CoreRawGreenlet(self.callback, (source,), {}).switch()

    def __eq__(self, other: object) -> bool:
        return self.callback == getattr(other, "callback", other)

    def __hash__(self) -> int:
        return hash(self.callback)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.callback!r}>"


class SuccessSpawnedLink(SpawnedLink):
    """The same, for sources that succeeded."""

    __slots__ = ()

    def __call__(self, source: Any) -> None:
        if source.successful():
            super().__call__(source)


class FailureSpawnedLink(SpawnedLink):
    """The same, for sources that failed."""

    __slots__ = ()

    def __call__(self, source: Any) -> None:
        if not source.successful():
            super().__call__(source)


class Greenlet(CoreGreenlet):
    """A function that runs beside others; the core class's methods say the rest.

    As a context manager it is joined at the end of the ``with`` statement, or killed if that
    ends by an exception.
    """

    __slots__ = ()

    @property
    def minimal_ident(self) -> int:
        """A small number, 0 or more, that no other living greenlet of the hub has."""
        ident = self.__dict__.get("_ident")
        if ident is None:
            ident = self.__dict__["_ident"] = self.hub.ident_registry.get_ident(self)
        return int(ident)

    @property
    def name(self) -> str:
        """The name in reports: ``Greenlet-`` and :attr:`minimal_ident` unless one is assigned."""
        return str(self.__dict__.get("_name") or f"Greenlet-{self.minimal_ident}")

    @name.setter
    def name(self, value: str) -> None:
        self.__dict__["_name"] = value

    def link(
        self, callback: Callable[[Any], object], SpawnedLink: type[SpawnedLink] = SpawnedLink
    ) -> None:
        """Call ``callback(self)`` in a new greenlet when this one has ended."""
        self.rawlink(SpawnedLink(callback))

    def link_value(
        self,
        callback: Callable[[Any], object],
        SpawnedLink: type[SpawnedLink] = SuccessSpawnedLink,
    ) -> None:
        """The same, only if it ends without an error."""
        self.link(callback, SpawnedLink=SpawnedLink)

    def link_exception(
        self,
        callback: Callable[[Any], object],
        SpawnedLink: type[SpawnedLink] = FailureSpawnedLink,
    ) -> None:
        """The same, only if it ends by an error."""
        self.link(callback, SpawnedLink=SpawnedLink)

    @staticmethod
    def add_spawn_callback(callback: Callable[[Greenlet], object]) -> None:
        """Call *callback* with each greenlet that is started from now on, in any thread."""
        spawn_callbacks.add(callback)

    @staticmethod
    def remove_spawn_callback(callback: Callable[[Greenlet], object]) -> None:
        """Undo :meth:`add_spawn_callback`; does nothing if it was not added."""
        spawn_callbacks.discard(callback)

    def __enter__(self) -> Greenlet:
        return self

    def __exit__(
        self,
        typ: type[BaseException] | None,
        value: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        if value is not None:
            self.kill(value)
            return
        try:
            self.join()
        finally:
            self.kill()

    def __repr__(self) -> str:
        named = "_name" in self.__dict__ or "_ident" in self.__dict__
        name = f' "{self.name}"' if named else ""
        call = self._formatinfo()
        return f"<{type(self).__name__}{name} at {id(self):#x}: {call}>"

    def _formatinfo(self) -> str:
        text = self.__dict__.get("_formatted")
        if text is None:
            # Kept, because the call is forgotten when the greenlet ends.
            text = self.__dict__["_formatted"] = self._format_call()
        return str(text)

    def _format_call(self) -> str:
        function = self._run
        owner = getattr(function, "__self__", None)
        if function is None or owner is self:
            name = "_run"
        elif owner is not None:
            name = repr(function)
        else:
            name = getattr(function, "__name__", "") or repr(function)
        arguments = [repr(arg)[:50] for arg in self.args]
        arguments += [f"{key}={repr(value)[:50]}" for key, value in self.kwargs.items()]
        return f"{name}({', '.join(arguments)})" if arguments else name


spawn = Greenlet.spawn
spawn_later = Greenlet.spawn_later


def joinall(
    greenlets: Iterable[Any],
    timeout: float | None = None,
    raise_error: bool = False,
    count: int | None = None,
) -> list[Any]:
    """Wait until all (or *count*) of *greenlets* have ended, at most *timeout* seconds.

    Returns those that have, in order. With *raise_error* the first exception that one of them
    ends by is raised here at once.
    """
    waiting = WaitIterator(greenlets, timeout, count)
    if not raise_error:
        return waiting.all()
    done = []
    with waiting:
        for greenlet in waiting:
            exception = getattr(greenlet, "exception", None)
            if exception is not None:
                raise exception
            done.append(greenlet)
    return done


def kill(greenlet: Any, exception: BaseException | type[BaseException] = GreenletExit) -> None:
    """Raise *exception* in *greenlet* soon, without waiting; raw greenlets are taken too."""
    if not isinstance(greenlet, RawGreenlet):
        raise TypeError(f"kill() takes greenlets, not {greenlet!r}")
    if greenlet.dead:
        return
    if hasattr(greenlet, "kill"):
        greenlet.kill(exception, block=False)
    else:
        kill_raw(greenlet, exception)


def killall(
    greenlets: Iterable[Any],
    exception: BaseException | type[BaseException] = GreenletExit,
    block: bool = True,
    timeout: float | None = None,
) -> None:
    """Raise *exception* in all *greenlets*; those that have not begun never run.

    With *block* waits until all have ended. Raises :class:`Timeout` if that takes longer than
    *timeout* seconds. The current greenlet may be among them: it gets the exception last, when it
    waits.
    """
    alive = []
    raw = False
    for greenlet in greenlets:
        if not isinstance(greenlet, CoreGreenlet):
            raw = True
            kill_raw(greenlet, exception)
        elif not greenlet.ready():
            greenlet.kill(exception, block=False)
            if not greenlet.ready():
                alive.append(greenlet)
    if not block:
        return
    if raw:
        sleep(0)  # they run before we do again
    if alive and len(joinall(alive, timeout)) < len(alive):
        raise Timeout(timeout)
