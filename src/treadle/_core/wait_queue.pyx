"""A queue of waits for one thing, in the order in which they came."""

from cpython.object cimport PyObject
from cpython.ref cimport Py_DECREF, Py_INCREF

from libc.stdint cimport int64_t

from treadle._core.hub cimport ON_GROUP, WAIT_NEW, Reason, Wait, park, unpark, unpark_first


# By reason; NULL for waits that are given nothing.
cdef treadle_forgo[ON_GROUP + 1] forgo_functions


cdef void grants_pass_on(Reason reason, treadle_forgo forgo) noexcept:
    forgo_functions[<int>reason] = forgo


cdef int forgo_grant(Wait wait) except -1:
    cdef treadle_forgo forgo = forgo_functions[<int>wait.reason]
    return 0 if forgo == NULL else forgo(wait)


cdef bint park_in(WaitQueue queue, Wait wait, int64_t timeout) except -1:
    if wait.queue is None and wait.state == WAIT_NEW:
        queue.append(wait)
    try:
        park(wait, timeout)
    except:
        leave_queue(wait)
        if wait.granted:
            forgo_grant(wait)
        raise
    if not wait.granted:
        leave_queue(wait)
    return wait.granted


cdef class WaitQueue:
    # A queued wait refers to its queue, so a queue that is freed is empty.

    def __len__(self):
        return self.count

    cdef int append(self, Wait wait) except -1:
        wait.queue = self
        wait.prev = self.last
        wait.next = NULL
        if self.last == NULL:
            self.first = <PyObject *>wait
        else:
            (<Wait>self.last).next = <PyObject *>wait
        self.last = <PyObject *>wait
        self.count += 1
        Py_INCREF(wait)
        return 0

    cdef int prepend(self, Wait wait) except -1:
        wait.queue = self
        wait.prev = NULL
        wait.next = self.first
        if self.first == NULL:
            self.last = <PyObject *>wait
        else:
            (<Wait>self.first).prev = <PyObject *>wait
        self.first = <PyObject *>wait
        self.count += 1
        Py_INCREF(wait)
        return 0

    cdef void remove(self, Wait wait) noexcept:
        if wait.queue is not self:
            return
        if wait.prev == NULL:
            self.first = wait.next
        else:
            (<Wait>wait.prev).next = wait.next
        if wait.next == NULL:
            self.last = wait.prev
        else:
            (<Wait>wait.next).prev = wait.prev
        wait.queue = None
        self.count -= 1
        Py_DECREF(wait)

    cdef Wait pop(self):
        cdef Wait wait
        if self.first == NULL:
            return None
        wait = <Wait>self.first
        self.remove(wait)
        return wait

    cdef Wait grant(self):
        cdef Wait wait
        while self.first != NULL:
            wait = self.pop()
            wait.granted = True
            if unpark(wait):
                return wait
            wait.granted = False
        return None

    cdef Wait grant_last_urgently(self):
        cdef Wait wait
        while self.last != NULL:
            wait = <Wait>self.last
            self.remove(wait)
            wait.granted = True
            if unpark_first(wait):
                return wait
            wait.granted = False
        return None
