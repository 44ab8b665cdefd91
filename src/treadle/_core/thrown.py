"""Tells what a kill, a Timeout or a signal handler threw into a wait from errors of calls."""

from __future__ import annotations

from treadle._core.clock import seconds as monotonic

#: The clock counts nanoseconds, and a sum of two floats may be off by less than this.
_ROUNDING = 1e-6


def thrown_in(exc: OSError, began: float, limit: float | None) -> bool:
    """Return whether *exc* was thrown into a wait that *began* then, on the loop's clock.

    Otherwise it is an error of a call on a socket, each of whose waits ends after *limit* seconds.
    The call raises TimeoutError only then, and its other errors have the system's number. Errors
    that are not the interpreter's own belong to classes that extend sockets.
    """
    if exc.errno is not None:
        return False
    if isinstance(exc, TimeoutError):
        return limit is None or monotonic() - began < limit - _ROUNDING
    return type(exc).__module__ == "builtins"
