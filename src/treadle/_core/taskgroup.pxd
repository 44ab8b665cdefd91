from treadle._core.collector cimport Collector
from treadle._core.delivery cimport Interrupts
from treadle._core.greenlet cimport CallerStack, Greenlet
from treadle._core.hub cimport Hub, Wait
from treadle._core.locks cimport Semaphore
from treadle._core.scopes cimport CancelScope


cdef class Start:
    """A child that TaskGroup.start() waits for."""
    cdef Wait wait
    cdef object value
    cdef tuple failed                # its function, and where it was spawned, if it has ended before
    cdef bint is_over                # the child has called started(), or has ended
    cdef bint has_begun              # it has called started()

    cdef int end(self) except -1


cdef class TaskGroup(Collector):
    cdef readonly CancelScope cancel_scope
    cdef readonly object name
    # Those that have not ended, by where each was spawned: subclasses may be equal or have no hash.
    cdef dict children
    cdef dict starting               # the Starts of those that have not called started() yet, by the same
    cdef Interrupts common           # what all children begin with
    cdef Semaphore places            # None: there is no limit
    cdef Hub hub
    cdef unsigned int generation     # the hub's, when the group was entered
    cdef object outer_adopter
    cdef set adopted                 # the keys of the children that no place was taken for, or None
    cdef object body                 # the exception that has left the body, or has ended the wait at its end
    cdef Py_ssize_t before           # how many children had failed by then
    cdef bint was_shielded           # while it waited for its children, at last
    cdef bint adopts
    cdef bint is_over

    cdef int check_open(self) except -1
    cdef Greenlet new_child(self, tuple args, dict kwargs)
    cdef int take(self, Greenlet child) except -1
    cdef int begin(self, Greenlet child) except -1
    cdef int note_failure(self, Greenlet child, object function, object place) except -1
    cdef bint end(self, object value, object raised, list errors, bint from_outside) except -1
    cdef int fail_by_body(self, object exc) except -1
    cdef int wait_for_children(self) except -1
    cdef int forget_left(self) except -1
    cdef int give_place(self, CallerStack of_child) except -1
    cdef int close(self) except -1
    cdef int leave_scope(self) except -1
    cdef list failures(self, object body)
    cdef str title(self)
