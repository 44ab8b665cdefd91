from cpython.object cimport PyObject

# The part of greenlet's C API that the core uses.  A module that cimports this calls
# PyGreenlet_Import() first thing: the API pointer is static in each extension.
cdef extern from "greenlet.h":
    ctypedef class greenlet.greenlet [object PyGreenlet]:
        pass
    void PyGreenlet_Import()
    greenlet PyGreenlet_GetCurrent()
    # Both may run anything. NULL: an exception arrived for the caller.
    object PyGreenlet_Switch(greenlet g, PyObject *args, PyObject *kwargs)
    object PyGreenlet_Throw(greenlet g, object typ, object val, object tb)
    int PyGreenlet_SetParent(greenlet g, greenlet parent) except -1
    bint PyGreenlet_ACTIVE(greenlet g)
    bint PyGreenlet_STARTED(greenlet g)


cdef extern from *:
    """
    static inline PyObject *weft_switch(PyObject *g)
    {
        return PyGreenlet_Switch((PyGreenlet *)g, NULL, NULL);
    }
    """
    # PyGreenlet_Switch() that holds no reference while the caller is suspended.
    object weft_switch(PyObject *g)
