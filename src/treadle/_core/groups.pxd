from treadle._core.event cimport Event
from treadle._core.locks cimport Semaphore
from treadle._core.collector cimport Collector


cdef class Members(Collector):
    cdef readonly dict alive         # its keys are the members, in the order in which they came
    cdef readonly set dying          # the members that were killed and have not ended
    cdef readonly Event empty        # set while there are no members
    cdef Semaphore places            # None: no limit

    cdef bint remove(self, object member) except -1
