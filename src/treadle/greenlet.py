"""Greenlets that programs spawn, with the interface of gevent.greenlet."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Any, ParamSpec, Self, TypeVar, overload

from greenlet import GreenletExit
from greenlet import greenlet as RawGreenlet

from treadle._core.greenlet import Greenlet as CoreGreenlet
from treadle._core.greenlet import RawGreenlet as CoreRawGreenlet
from treadle._core.greenlet import getcurrent, kill_raw, spawn_callbacks, spawn_raw
from treadle._core.iwait import SupportsLink, WaitIterator
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


P = ParamSpec("P")
R = TypeVar("R")
G = TypeVar("G")
T_co = TypeVar("T_co", covariant=True)
Waited = TypeVar("Waited", bound=SupportsLink)


class SpawnedLink:
    """A link that runs its callback in a new greenlet, where the callback may block."""

    __slots__ = ("callback",)

    def __init__(self, callback: Callable[[Any], object]) -> None:
        if not callable(callback):
            raise TypeError(f"a link must be callable, not {callback!r}")
        self.callback: Callable[[Any], object] = callback

    def __call__(self, source: Any) -> None:
        # Switch to it now: it must run before the greenlets that joined the source, and it may
        # remove other links.
        CoreRawGreenlet(self.callback, (source,), {}).switch()

    def __eq__(self, other: object) -> bool:
        return self.callback == getattr(other, "callback", other)

    def __hash__(self) -> int:
        return hash(self.callback)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.callback!r}>"


class SuccessSpawnedLink(SpawnedLink):
    """A link that runs its callback in a new greenlet if the source succeeded."""

    __slots__ = ()

    def __call__(self, source: Any) -> None:
        if source.successful():
            super().__call__(source)


class FailureSpawnedLink(SpawnedLink):
    """A link that runs its callback in a new greenlet if the source failed."""

    __slots__ = ()

    def __call__(self, source: Any) -> None:
        if not source.successful():
            super().__call__(source)


class Greenlet(CoreGreenlet[T_co]):
    """A function that runs concurrently with others in its thread.

    ``Greenlet(function, *args, **kwargs)`` makes a greenlet and :meth:`start` schedules it;
    :meth:`spawn` does both. A subclass may define ``_run`` instead of taking a function. For type
    checkers, ``Greenlet[int]`` is a greenlet whose function returns an int.

    As a context manager, a greenlet is joined at the end of the ``with`` statement, or killed if
    the block raises.
    """

    __slots__ = ()

    if TYPE_CHECKING:
        # The first overloads are for classes that take a function; the others take the arguments
        # of the class.

        @overload
        @classmethod
        def spawn(
            cls: type[Greenlet[Any]], run: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs
        ) -> Greenlet[R]: ...
        @overload
        @classmethod
        def spawn(cls: Callable[P, G], /, *args: P.args, **kwargs: P.kwargs) -> G: ...
        @classmethod  # type: ignore[misc]
        def spawn(cls: Any, *args: Any, **kwargs: Any) -> Any: ...

        @overload
        @classmethod
        def spawn_later(
            cls: type[Greenlet[Any]],
            seconds: float,
            run: Callable[P, R],
            /,
            *args: P.args,
            **kwargs: P.kwargs,
        ) -> Greenlet[R]: ...
        @overload
        @classmethod
        def spawn_later(
            cls: Callable[P, G], seconds: float, /, *args: P.args, **kwargs: P.kwargs
        ) -> G: ...
        @classmethod  # type: ignore[misc]
        def spawn_later(cls: Any, *args: Any, **kwargs: Any) -> Any: ...

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
        self, callback: Callable[[Self], object], SpawnedLink: type[SpawnedLink] = SpawnedLink
    ) -> None:
        """Call ``callback(self)`` in a new greenlet once this one has ended."""
        self.rawlink(SpawnedLink(callback))

    def link_value(
        self,
        callback: Callable[[Self], object],
        SpawnedLink: type[SpawnedLink] = SuccessSpawnedLink,
    ) -> None:
        """Call ``callback(self)`` in a new greenlet once this one has ended without an error."""
        self.link(callback, SpawnedLink=SpawnedLink)

    def link_exception(
        self,
        callback: Callable[[Self], object],
        SpawnedLink: type[SpawnedLink] = FailureSpawnedLink,
    ) -> None:
        """Call ``callback(self)`` in a new greenlet once this one has ended with an error."""
        self.link(callback, SpawnedLink=SpawnedLink)

    @staticmethod
    def add_spawn_callback(callback: Callable[[Greenlet[Any]], object]) -> None:
        """Call *callback* with each greenlet that is started from now on, in any thread."""
        spawn_callbacks.add(callback)

    @staticmethod
    def remove_spawn_callback(callback: Callable[[Greenlet[Any]], object]) -> None:
        """Stop calling *callback*; do nothing if :meth:`add_spawn_callback` did not add it."""
        spawn_callbacks.discard(callback)

    def __enter__(self) -> Self:
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
            # Keep it, because the greenlet drops its function and arguments when it ends.
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


if TYPE_CHECKING:

    def spawn(run: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Greenlet[R]:
        """Make a greenlet that runs ``run(*args, **kwargs)``, start it and return it.

        The greenlet begins when the caller next switches to other greenlets.
        """

    def spawn_later(
        seconds: float, run: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs
    ) -> Greenlet[R]:
        """Make a greenlet that begins to run ``run(*args, **kwargs)`` in *seconds*; return it."""

else:
    spawn = Greenlet.spawn
    spawn_later = Greenlet.spawn_later


@overload
def joinall(
    greenlets: Iterable[Waited],
    timeout: float | None = None,
    raise_error: bool = False,
    count: int | None = None,
) -> list[Waited]: ...
@overload  # for lists of several types, whose join mypy takes for object
def joinall(  # type: ignore[overload-cannot-match]
    greenlets: Iterable[SupportsLink],
    timeout: float | None = None,
    raise_error: bool = False,
    count: int | None = None,
) -> list[SupportsLink]: ...
def joinall(
    greenlets: Iterable[Any],
    timeout: float | None = None,
    raise_error: bool = False,
    count: int | None = None,
) -> list[Any]:
    """Wait until all *greenlets* (or *count* of them) have ended, *timeout* seconds at most.

    Return the greenlets that have ended, in the order in which they ended. With *raise_error*,
    raise the exception of the first that fails, as soon as it fails.
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


def kill(
    greenlet: RawGreenlet, exception: BaseException | type[BaseException] = GreenletExit
) -> None:
    """Have *exception* raised in *greenlet* soon, and return at once.

    *greenlet* may also be a greenlet of :func:`spawn_raw` or of the greenlet library. Raises
    TypeError if it is not a greenlet.
    """
    if not isinstance(greenlet, RawGreenlet):
        raise TypeError(f"kill() takes greenlets, not {greenlet!r}")
    if greenlet.dead:
        return
    own_kill = getattr(greenlet, "kill", None)
    if own_kill is not None:
        own_kill(exception, block=False)
    else:
        kill_raw(greenlet, exception)


def killall(
    greenlets: Iterable[RawGreenlet],
    exception: BaseException | type[BaseException] = GreenletExit,
    block: bool = True,
    timeout: float | None = None,
) -> None:
    """Have *exception* raised in all *greenlets*. Greenlets that have not begun never run.

    With *block*, wait until all have ended, and raise :class:`Timeout` if that takes longer than
    *timeout* seconds. The current greenlet may be among them: the exception is raised in it last,
    when it next switches to other greenlets.
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
        sleep(0)  # the raw greenlets run before this returns
    if alive and len(joinall(alive, timeout)) < len(alive):
        raise Timeout(timeout)
