from libc.stdint cimport uint64_t

from treadle._core.greenlet_api cimport greenlet
from treadle._core.hub cimport Hub, Wait


cdef class Scope:
    """A cancel scope, as far as the delivery of exceptions knows it; scopes.pyx has the rest."""
    cdef Scope parent                # the scope around it, perhaps of another greenlet
    cdef greenlet owner              # the greenlet that is inside; None before and after
    cdef bint is_cancelled
    cdef bint shields                # it holds back what comes from outside
    cdef uint64_t number             # among the scopes that were entered in its hub, from 1

    cdef object error(self)          # a new exception that says so
    # Note that the shield holds something back.
    cdef int holds_back(self) except -1
    # Cancel it and end it: its greenlet has ended without leaving it.
    cdef int abandon(self) except -1


cdef class Held:
    """An exception that is raised at its greenlet's next wait, unless it is withdrawn."""
    cdef object exc
    cdef uint64_t number             # shields of scopes with greater numbers hold it back
    cdef bint is_over                # it was raised, or withdrawn


cdef class Interrupts:
    """What is to be raised in a greenlet, and the cancel scopes that it is in."""
    cdef list urgent                 # what signal handlers have raised
    cdef list held                   # the Held of kills and timeouts, in the order they came
    cdef Scope scope                 # the innermost scope, or None
    cdef Scope shield                # the innermost scope of its own that shields, or None
    cdef Py_ssize_t firm             # how many calls want all their waits shielded
    cdef list delivered              # what has come from outside, as weak references where there are some
    cdef object group                # the task group that it is a child of, or None
    cdef object adopter              # the task group that takes the greenlets it starts, or None
    cdef bint is_common              # several children of one group have this; they copy it to change it

    cdef object take_due(self)       # the exception to raise now, or None
    cdef object noted(self, object exc)
    cdef bint has_raised(self, object exc)  # whether it is the last that came from outside
    cdef Held first_held(self)
    cdef bint has_held(self)
    cdef Scope cancelled(self)       # the outermost scope that is cancelled and reaches the greenlet
    cdef int find_shield(self, greenlet owner) except -1
    cdef int leave_open(self, greenlet owner) except -1  # `owner` has ended
    cdef bint is_idle(self)


# The outermost scope, from `scope` outwards, that is cancelled and that no shield stands before.
cdef Scope outermost_cancelled(Scope scope)
# What is to be raised in a greenlet, or None; the second makes one, and a copy of a common one.
cdef Interrupts interrupts_of(Hub hub, greenlet target)
cdef Interrupts own_interrupts(Hub hub, greenlet target)
# Forget an Interrupts that says nothing.
cdef int drop_idle(Hub hub, greenlet target, Interrupts interrupts) except -1
# Raise `exc` (an instance or class) in a greenlet: at once if it waits and nothing stands against that,
# else at its next wait. Returns what is held, or None. Shields of scopes with greater numbers than
# `number` hold it back. Any thread may call it; it never switches.
cdef Held interrupt(Hub hub, greenlet target, object exc, uint64_t number=*)
# Raise it at the next wait.
cdef Held hold(Hub hub, greenlet target, object exc, uint64_t number=*)
# Do not raise it, if it was not raised yet.
cdef inline void withdraw(Held held) noexcept:
    held.is_over = True
# Raise `exc` in the principal greenlet before anything else runs.
cdef int interrupt_main(Hub hub, object exc) except -1
# Raise what is held for a greenlet, if it waits and nothing stands against that any more.
cdef int deliver_held(Hub hub, greenlet target) except -1
# Take back what signal handlers have raised and is held for a greenlet, and return it.
cdef list take_urgent(Hub hub, greenlet target)
# Raise what is held for the current greenlet, unless a shield holds it back.
cdef int raise_due() except -1
# From the first to the second, nothing ends a wait of the current greenlet but a LoopExit.
cdef Interrupts begin_firm_shield()
cdef int end_firm_shield(Interrupts interrupts) except -1
# Raise the Cancelled of `scope`, which is cancelled, where the greenlet waits.
cdef int cancel_wait(Hub hub, greenlet target, Scope scope) except -1
