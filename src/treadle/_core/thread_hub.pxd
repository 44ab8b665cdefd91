from cpython.object cimport PyObject

from treadle._core.greenlet_api cimport greenlet
from treadle._core.hub cimport Hub
from treadle._core.poller cimport Pollable
from treadle._core.timers cimport treadle_fire


cdef class ThreadHub(Hub):
    cdef Py_ssize_t jobs  # how many calls in native threads were begun here and have not ended
    cdef greenlet deadlocked  # the last greenlet to get a LoopExit

    cdef bint ended_by_deadlock(self) except -1
    cdef bint lost_principal(self) noexcept
    cdef greenlet heir(self, greenlet current)

# For hubs that belong to no thread, too: list_hub() adds a hub to the list of all hubs, shut()
# closes it and takes it off the list.
cdef int list_hub(Hub hub) except -1
cdef int shut(Hub hub) except -1
# Clears the pointer of `obj` to its timer and returns True, or returns False: it belongs to a greenlet
# that goes on after a fork. That may be one of two, or None.
ctypedef bint (*treadle_forget)(PyObject *obj, greenlet current, greenlet heir) noexcept
# The descriptor of `pollable` is about to be closed: no hub of any thread watches it any more.
cdef int forget_in_all_hubs(Pollable pollable) except -1
# The hubs that are open, of all threads and of none.
cdef list open_hubs()
# Declare that function() gives on the turns of greenlets that will never run again. It is called when
# a hub is closed. Call it only while a module is initialized.
cdef void turns_pass_on(function) noexcept
# Never free a greenlet that was left behind, as its code would run then.
cdef int keep_for_ever(greenlet g) except -1
# Declare that timers which call `fire` belong to greenlets or watchers. When a fork or the end of a
# thread leaves those behind, forget() is asked for each timer, and it is removed. Call it only while
# a module is initialized.
cdef void abandon_timers(treadle_fire fire, treadle_forget forget) noexcept
