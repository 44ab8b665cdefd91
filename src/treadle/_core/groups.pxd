from treadle._core.event cimport Event
from treadle._core.locks cimport Semaphore
from treadle._core.collector cimport Collector


cdef class Members(Collector):
    cdef readonly set alive
    cdef readonly set dying          # those that were killed and have not ended
    cdef readonly Event empty        # set while there are none
    cdef Semaphore places            # None: any number

    cdef bint remove(self, object member) except -1
