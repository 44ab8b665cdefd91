"""gevent's ``sleep()``, which suspends the current greenlet."""

from libc.stdint cimport int64_t

from treadle._core.clock cimport nanoseconds
from treadle._core.greenlet_api cimport PyGreenlet_Import
from treadle._core.hub cimport ON_SLEEP, ON_YIELD, Wait, new_hub_wait, park, unpark

PyGreenlet_Import()

cdef object ZERO = 0  # the most frequent argument of sleep(), recognised by its identity


def sleep(seconds=0, ref=True) -> None:
    """Suspend the current greenlet for *seconds*; with 0 or less, until all that is ready has run.

    With *ref* false the sleep alone does not keep the loop alive, nor :meth:`Hub.join` waiting.
    Raises TypeError if *seconds* is not a number and ValueError if it is NaN.
    """
    cdef int64_t ns = 0 if seconds is ZERO else nanoseconds(seconds)
    cdef Wait wait
    if ns < 0:
        raise TypeError("sleep() needs a number of seconds, not None")
    wait = new_hub_wait(ON_SLEEP if ns > 0 else ON_YIELD, None)
    if ns == 0:
        unpark(wait)
        ns = -1
    elif wait.hub is not None and wait.hub.stand_in is not None:
        wait.hub.stand_in.update_now()
    if ref or ns < 0 or wait.hub is None:
        park(wait, ns)
    else:
        park_unref(wait, ns)


cdef int park_unref(Wait wait, int64_t timeout) except -1:
    wait.hub.unref_timers += 1
    wait.unref = True
    try:
        return park(wait, timeout)
    finally:
        wait.hub.unref_timers -= 1
