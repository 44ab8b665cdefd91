"""Timeouts for blocks of code: the API of gevent.timeout."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar, overload

from treadle._core import timeout as core_timeout

__all__ = ["Timeout", "with_timeout"]

P = ParamSpec("P")
R = TypeVar("R")
V = TypeVar("V")


class Timeout(core_timeout.Timeout):
    """Raise *exception* in the current greenlet after *seconds*, unless cancelled before.

    ``with Timeout(5): ...`` starts the timeout and cancels it at the end of the block. Without
    *exception* the Timeout itself is raised; if *exception* is a string, that is its text; if it is
    False, the ``with`` statement swallows the Timeout. With *seconds* None it never expires. With
    *ref* false it does not keep the loop running. *priority* is accepted for gevent's sake.
    """

    @classmethod
    def _start_new_or_dummy(
        cls, timeout: float | Timeout | None, exception: Any = None, ref: bool = True
    ) -> Timeout:
        """Return a started timeout, or one that never expires if *timeout* is None.

        gevent has this private shorthand for ``with`` statements.
        """
        return cls(None) if timeout is None else cls.start_new(timeout, exception, ref)


core_timeout.public_class = Timeout

_UNSET: Any = object()


@overload
def with_timeout(
    seconds: float | None, function: Callable[..., R], *args: Any, timeout_value: V, **kwds: Any
) -> R | V: ...
@overload
def with_timeout(
    seconds: float | None, function: Callable[P, R], *args: P.args, **kwds: P.kwargs
) -> R: ...
def with_timeout(
    seconds: float | None,
    function: Callable[..., R],
    *args: Any,
    timeout_value: Any = _UNSET,
    **kwds: Any,
) -> Any:
    """Call ``function(*args, **kwds)`` and return its value.

    After *seconds* the call is ended by a :class:`Timeout`: return *timeout_value* if it is given,
    else raise the Timeout. None: there is no limit. gevent's function.
    """
    timeout = Timeout.start_new(seconds)
    try:
        return function(*args, **kwds)
    except Timeout as exc:
        if exc is timeout and timeout_value is not _UNSET:
            return timeout_value
        raise
    finally:
        timeout.cancel()
