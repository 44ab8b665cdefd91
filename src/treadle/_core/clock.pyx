"""The one source from which every loop reads time."""

from libc.stdint cimport int64_t
from libc.math cimport ceil, isnan

cdef extern from "clock.h":
    int64_t treadle_monotonic() nogil

# The longest wait, about 146 years: half of what 63 bits of nanoseconds hold, so that it can be
# added to the present time.
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
    if isinstance(seconds, BaseException):
        seconds = getattr(seconds, "seconds", seconds)  # a Timeout, instead of its seconds
        if seconds is None:
            return -1
    value = seconds
    if isnan(value):
        raise ValueError("a timeout must be a number of seconds, not NaN")
    if value <= 0:
        return 0
    if value >= LONGEST / 1e9:
        return LONGEST
    return <int64_t>ceil(value * 1e9)  # never early; a repeated wait of 1e-10 s is none of 0


# The most seconds that the interpreter's timeouts hold: 63 bits of nanoseconds.
cdef double MOST_SECONDS = 9223372036.854775


cdef int check_range(double seconds) except -1:
    if not -MOST_SECONDS <= seconds <= MOST_SECONDS and seconds == seconds:
        raise OverflowError("timestamp too large to convert to C _PyTime_t")
    return 0


def in_range(double seconds):
    """Return *seconds*; raise OverflowError for more than the standard library's timeouts hold."""
    check_range(seconds)
    return seconds


def monotonic() -> int:
    """Return the loop's time in nanoseconds."""
    return now()


def seconds() -> float:
    """Return the loop's time in seconds, as :func:`time.monotonic` does unless it was replaced."""
    return now() / 1e9


def replace(new_source):
    """Make every loop read time from *new_source*, or from the system again if it is None.

    A source has two methods. ``now()`` returns monotonic nanoseconds as an int. A loop calls
    ``idle(deadline)`` when it has nothing to do before *deadline* (nanoseconds of this source, or
    None: it has nothing to do at all). A virtual clock advances to *deadline* and returns True. A
    clock that runs by itself returns False, and the loop then waits in real time.

    Returns the previous source, or None. Raises TypeError if *new_source* lacks a method.
    """
    global source
    if new_source is not None and not (hasattr(new_source, "now") and hasattr(new_source, "idle")):
        raise TypeError(f"a clock needs now() and idle(deadline); {new_source!r} has not both")
    previous, source = source, new_source
    return previous
