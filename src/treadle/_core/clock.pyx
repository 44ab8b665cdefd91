"""The one source from which every loop reads time."""

from libc.stdint cimport int64_t
from libc.math cimport isnan

cdef extern from "clock.h":
    int64_t treadle_monotonic() nogil

# About 292 years: what 63 bits of nanoseconds hold, less room to add it to a present time.
cdef int64_t LONGEST = <int64_t>1 << 62

cdef object source = None


cdef int64_t now() except? -1:
    if source is None:
        return treadle_monotonic()
    return source.now()


cdef bint is_replaced() noexcept:
    return source is not None


cdef bint idle_until(int64_t deadline) except? -1:
    return bool(source.idle(None if deadline < 0 else deadline))


cdef int64_t nanoseconds(object seconds) except? -2:
    cdef double value
    if seconds is None:
        return -1
    if not isinstance(seconds, (int, float)):
        # A Timeout may stand for its seconds.
        seconds = getattr(seconds, "seconds", seconds)
        if seconds is None:
            return -1
    value = seconds
    if isnan(value):
        raise ValueError("a timeout must be a number of seconds, not NaN")
    if value <= 0:
        return 0
    if value >= LONGEST / 1e9:
        return LONGEST
    return <int64_t>(value * 1e9)


def monotonic() -> int:
    """The loop's time in nanoseconds."""
    return now()


def replace(new_source):
    """Let every loop read time from *new_source*, or from the system again if it is None.

    A source has two methods: ``now()``, monotonic nanoseconds as an int; and
    ``idle(deadline)``, called when a loop has nothing to do before *deadline* (nanoseconds of
    this source, or None: nothing at all): a virtual clock jumps there and returns True, and one
    that runs by itself returns False, upon which the loop waits in real time.

    Returns the source that was in force, or None.
    """
    global source
    if new_source is not None and not (hasattr(new_source, "now") and hasattr(new_source, "idle")):
        raise TypeError(f"a clock needs now() and idle(deadline); {new_source!r} has not both")
    previous, source = source, new_source
    return previous
