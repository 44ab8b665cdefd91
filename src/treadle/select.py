"""The standard library's select module, made cooperative, with all of its names.

Each call first asks the system without waiting. If nothing is ready, it waits in the hub and asks
again. By then another greenlet may have consumed the data. The call returns what the hub saw all
the same, since the system's own answer may be out of date too when the caller runs. (zmq.green
waits in this way for descriptors that its own watchers read.) A call that asks for other events
than reading and writing waits for an epoll descriptor that watches all of them, until the system
reports something.
"""

from __future__ import annotations

import errno as _errno
import os as _os
import select as _select
import sys as _sys
import typing as _typing
from collections.abc import Callable, Iterable
from contextlib import suppress as _suppress
from typing import Any, SupportsFloat, SupportsIndex, TypeVar

from treadle._core.builtins import builtin as _builtin
from treadle._core.clock import in_range as _in_range
from treadle._core.clock import seconds as _clock
from treadle._core.descriptor import cancel_waits as _cancel_waits
from treadle._core.descriptor import wait_for as _wait_for
from treadle._core.descriptor import wait_to_ask as _wait_to_ask
from treadle._core.sleep import sleep as _sleep
from treadle.event import Event as _Event
from treadle.hub import get_hub as _get_hub

if _typing.TYPE_CHECKING:  # what this module has of the standard one
    from treadle._stdlib.select import *  # noqa: F403

#: The names that are the standard library's own: constants, and what does not wait.
__imports__: list[str] = [
    name
    for name in dir(_select)
    if not name.startswith("_") and name not in ("select", "poll", "epoll")
]
globals().update({name: getattr(_select, name) for name in __imports__})

error = _select.error

__implements__: list[str] = ["select"] + [
    name for name in ("poll", "epoll") if hasattr(_select, name)
]
__target__ = "select"
__all__ = ["error", *__implements__]

_READ, _WRITE = 1, 2
#: The events (EPOLLIN, EPOLLOUT) that the hub can wait for without an epoll descriptor.
_DIRECT = {0x1: _READ, 0x4: _WRITE}
#: The longest timeout of a poll() in milliseconds, which is a C int before CPython 3.15.
_LONGEST_POLL = 0x7FFFFFFF if _sys.version_info < (3, 15) else float("inf")
_T = TypeVar("_T")
#: Descriptors that were ready, each with EPOLLIN, EPOLLOUT or both.
_Ready = dict[int, int]

_original_select = _select.select
_native_epoll: Any = getattr(_select, "epoll", None)
_native_poll: Any = getattr(_select, "poll", None)


def _is_final(answer: object, seconds: float | None) -> bool:
    """Return whether the call ends with its first *answer*; if so, yield to other greenlets."""
    if answer or (seconds is not None and seconds <= 0):
        _sleep(0)  # a caller that always finds something ready must not starve the others
        return True
    return False


def _wait_and_ask(
    ask: Callable[[], _T],
    wait_for: Callable[[float | None], _Ready],
    answer_of: Callable[[_Ready], _T],
    seconds: float | None,
) -> _T:
    """Wait until the answer is not empty or *seconds* have passed; return the last answer."""
    deadline = None if seconds is None else _clock() + seconds
    left = seconds
    while True:
        ready = wait_for(left)
        answer = ask() or answer_of(ready)
        if deadline is not None:
            left = deadline - _clock()
        if answer or (left is not None and left <= 0):
            return answer


def _milliseconds(timeout: Any) -> float:
    """Return *timeout* as a float; raise OverflowError if the system's calls could not take it."""
    milliseconds = float(timeout)
    if abs(milliseconds) > _LONGEST_POLL:
        raise OverflowError("timeout is too large")
    return milliseconds


def _fileno(source: Any) -> int:
    if isinstance(source, int):
        return source
    try:
        fileno = source.fileno
    except AttributeError:
        raise TypeError("argument must be an int, or have a fileno() method.") from None
    return fileno()  # type: ignore[no-any-return]


@_builtin
def select(
    rlist: Iterable[Any],
    wlist: Iterable[Any],
    xlist: Iterable[Any],
    timeout: float | None = None,
    /,
) -> tuple[list[Any], list[Any], list[Any]]:
    """:func:`select.select`: return the objects that are readable, writable, or have urgent data.

    *timeout* is in seconds; None waits for ever. Raises TypeError if it is not a number,
    ValueError if it is negative.
    """
    if timeout is not None:
        if not isinstance(timeout, SupportsFloat | SupportsIndex):
            raise TypeError("timeout must be a number or None")
        timeout = _in_range(timeout)
        if timeout < 0:
            raise ValueError("timeout must be non-negative")
    # fileno() may run arbitrary Python that changes the lists. It is called once for each object,
    # and the lists are not copied before.
    given = [[(source, _fileno(source)) for source in sources] for sources in (rlist, wlist, xlist)]
    reads, writes, urgent = numbers = [[fd for _, fd in pairs] for pairs in given]

    def ask() -> Any:
        return answer_of(*_original_select(reads, writes, urgent, 0))

    def answer_of(*found: Iterable[int]) -> Any:
        if not any(found):
            return ()
        return tuple(
            [source for source, fd in pairs if fd in ready]
            for pairs, ready in zip(given, map(set, found), strict=True)
        )

    def answer_of_ready(ready: _Ready) -> Any:
        return answer_of(*([fd for fd in ready if ready[fd] & mask] for mask in masks))

    interest: dict[int, int] = {}
    masks = (_select.EPOLLIN, _select.EPOLLOUT, _select.EPOLLPRI)
    for fds, mask in zip(numbers, masks, strict=True):
        for fd in fds:
            interest[fd] = interest.get(fd, 0) | mask
    return _watching(interest, ask, answer_of_ready, timeout) or ([], [], [])


def _watching(
    interest: dict[int, int],
    ask: Callable[[], _T],
    answer_of: Callable[[_Ready], _T],
    seconds: float | None,
) -> _T:
    answer = ask()
    if _is_final(answer, seconds):
        return answer
    if interest and all(mask in _DIRECT for mask in interest.values()):
        wait = _wait_for_one if len(interest) == 1 else _wait_for_some
        return _wait_and_ask(ask, lambda left: wait(interest, left), answer_of, seconds)
    with _native_epoll() as watcher:
        for fd, mask in interest.items():
            with _suppress(PermissionError):  # as for a regular file, which never has other events
                watcher.register(fd, mask)
        return _wait_and_ask(ask, lambda left: _wait_for_epoll(watcher, left), answer_of, seconds)


def _wait_for_epoll(native: Any, seconds: float | None) -> _Ready:
    _wait_for(native.fileno(), _READ, seconds)
    return {}  # the caller asks the system what is ready


def _wait_for_one(interest: dict[int, int], seconds: float | None) -> _Ready:
    ((fd, mask),) = interest.items()
    return interest if _wait_to_ask(fd, _DIRECT[mask], seconds) else {}


def _wait_for_some(interest: dict[int, int], seconds: float | None) -> _Ready:
    loop = _get_hub().loop
    ready: _Ready = {}
    some = _Event()

    def note(fd: int) -> None:
        ready[fd] = interest[fd]
        some.set()

    watchers = []
    try:
        for fd, mask in interest.items():
            try:
                watcher = loop.io(fd, _DIRECT[mask])
                watchers.append(watcher)
                watcher.start(note, fd)
            except OSError as exc:
                # Asking the system again reports a closed descriptor in the way of the function
                # that was called. It does not report other errors, such as a lack of memory.
                if exc.errno != _errno.EBADF:
                    raise
                return ready
        some.wait(seconds)
    finally:
        for watcher in watchers:
            watcher.close()
    return ready


class _Poll:
    """The object that :func:`poll` returns; its ``poll()`` switches to other greenlets.

    The methods take their arguments by keyword too, as gevent's do.
    """

    _native: Any
    _interest: dict[int, int]
    _polling: bool

    def __new__(cls, *args: object, **kwargs: object) -> _Poll:
        raise TypeError(f"cannot create '{cls.__module__}.{cls.__qualname__}' instances")

    def register(self, fd: Any, eventmask: int = 0x7) -> None:
        """Watch *fd*, a file descriptor or an object with ``fileno()``, for *eventmask*."""
        self._native.register(fd, eventmask)
        self._interest[_fileno(fd)] = eventmask

    def modify(self, fd: Any, eventmask: int) -> None:
        """Watch a registered *fd* for *eventmask*; raise OSError if it is not registered."""
        self._native.modify(fd, eventmask)
        self._interest[_fileno(fd)] = eventmask

    def unregister(self, fd: Any) -> None:
        """Stop watching *fd*; raise KeyError if it is not registered."""
        self._native.unregister(fd)
        del self._interest[_fileno(fd)]

    def poll(self, timeout: float | None = None) -> list[tuple[int, int]]:
        """Wait up to *timeout* milliseconds; return pairs of a ready descriptor and its events.

        None or a negative number waits for ever. Raises RuntimeError while another greenlet is in
        this object's ``poll()``. Before CPython 3.15, raises OverflowError for a *timeout* that
        does not fit into a C int.
        """
        if timeout is not None:
            timeout = _milliseconds(timeout)
        if self._polling:
            raise RuntimeError("concurrent poll() invocation")
        seconds = None if timeout is None or timeout < 0 else timeout / 1000
        self._polling = True
        try:
            # The native call returns at once for a descriptor that the hub cannot watch: a closed
            # one, or that of a regular file.
            return _watching(
                dict(self._interest),  # it may change meanwhile
                lambda: self._native.poll(0),
                lambda ready: [*ready.items()],
                seconds,
            )
        finally:
            self._polling = False


@_builtin
def poll() -> _Poll:
    """:func:`select.poll`: return an object that watches file descriptors cooperatively."""
    made: _Poll = object.__new__(_Poll)
    made._native, made._interest, made._polling = _native_poll(), {}, False
    return made


if _native_epoll is not None:

    class epoll:
        """:class:`select.epoll`, whose ``poll()`` switches to other greenlets while it waits."""

        def __init__(self, sizehint: int = -1, flags: int = 0, *, native: Any = None) -> None:
            self._native = _native_epoll(sizehint, flags) if native is None else native

        @classmethod
        def fromfd(cls, fd: int) -> epoll:
            """Return the object for an existing epoll descriptor."""
            return cls(native=_native_epoll.fromfd(fd))

        def poll(self, timeout: float | None = None, maxevents: int = -1) -> list[tuple[int, int]]:
            """Wait up to *timeout* seconds; return pairs of a ready descriptor and its events.

            None or a negative number waits for ever. Returns at most *maxevents* pairs. Raises
            OSError (EBADF) if this object is closed meanwhile.
            """
            seconds = None if timeout is None else _in_range(timeout)
            if seconds is not None:
                _milliseconds(seconds * 1000)
                seconds = None if seconds < 0 else seconds

            def ask() -> list[tuple[int, int]]:
                return self._native.poll(0, maxevents)  # type: ignore[no-any-return]

            answer = ask()
            if _is_final(answer, seconds):
                return answer

            def wait(left: float | None) -> _Ready:
                _wait_for_epoll(self._native, left)
                if self._native.closed:  # by another thread, which cannot end this wait
                    raise OSError(_errno.EBADF, _os.strerror(_errno.EBADF))
                return {}

            return _wait_and_ask(ask, wait, lambda ready: [], seconds)

        def close(self) -> None:
            """Close the epoll descriptor; greenlets that wait for it get an OSError (EBADF)."""
            if not self._native.closed:
                _cancel_waits(self._native.fileno())
            self._native.close()

        def __enter__(self) -> epoll:
            self._native.__enter__()
            return self

        def __exit__(self, *exc_info: object) -> None:
            self.close()

        def __getattr__(self, name: str) -> Any:
            return getattr(self._native, name)
