# What may look on at a hub, or steer it. hub.pxd declares Hub.probe; it must not be cimported here.

cdef class Probe:
    """Is told of what a hub does, and may decide what it does next. Hub.probe holds one, or None.

    The methods run in the hub's thread, inside park() or the hub greenlet. They must not switch.
    """

    # Before the hub takes the next entry of its ring. *wait* is the Wait of the greenlet that
    # parks; None in the hub greenlet. May be called several times for one entry and one park.
    cdef int steer(self, object hub, object wait) except -1
    # Before a timer that is due fires: whether it may fire in this turn.
    cdef bint lets_fire(self, object hub) except -1
    # Nothing in the hub can wake it: whether another thread can.
    cdef bint awaits_others(self, object hub) except -1


# What an operation on a primitive asks first, so that tests can have a switch there. Each module of
# primitives has one of its own: a flag at an address that the compiler knows costs least to look at.
ctypedef int (*give_way_function)() except -1
cdef struct Preemption:
    bint on
    give_way_function give_way
    Preemption *next

# Join *preemption*, which lives as long as the process, to those that switch_preemption() sets.
cdef void add_preemption(Preemption *preemption) noexcept
# Set all. Returns whether they were on.
cdef bint switch_preemption(bint on, give_way_function give_way) noexcept

cdef inline int operation(Preemption *preemption) except -1:
    """Begin an operation that might as well have been interrupted here; may switch."""
    if preemption.on:
        return preemption.give_way()
    return 0
