from treadle._core.greenlet_api cimport greenlet


# The record of a greenlet's locals. Greenlets that share one share their attributes.
cdef object trace_of(greenlet of)
