from cpython.object cimport PyObject

# The part of greenlet's C API that the core uses.  A module that cimports this must first call
# PyGreenlet_Import(): the API pointer is static in each extension.
cdef extern from "greenlet.h":
    ctypedef class greenlet.greenlet [object PyGreenlet]:
        pass
    void PyGreenlet_Import()
    # Both may run any code. They return NULL if an exception was raised in the caller.
    object PyGreenlet_Switch(greenlet g, PyObject *args, PyObject *kwargs)
    object PyGreenlet_Throw(greenlet g, object typ, object val, object tb)
    int PyGreenlet_SetParent(greenlet g, greenlet parent) except -1
    bint PyGreenlet_ACTIVE(greenlet g)
    bint PyGreenlet_STARTED(greenlet g)


cdef extern from *:
    """
    static inline PyObject *treadle_switch(PyObject *g)
    {
        PyObject *result;
        Py_INCREF(g);  /* greenlet may look at it afterwards; with assertions it does */
        result = PyGreenlet_Switch((PyGreenlet *)g, NULL, NULL);
        Py_DECREF(g);
        return result;
    }
    """
    # PyGreenlet_Switch(). `g` is borrowed; the call holds a reference to it until it returns.
    object treadle_switch(PyObject *g)


cdef extern from *:
    """
    /* The current greenlet. While the interpreter ends greenlet does not tell it: ask at_end(). */
    static inline PyObject *treadle_current(PyObject *(*at_end)(void))
    {
        PyObject *current = (PyObject *)PyGreenlet_GetCurrent();
        if (current == NULL) {
            PyErr_Clear();
            current = at_end();
        }
        return current;
    }
    #define treadle_current_greenlet(at_end) \\
        ((PyGreenlet *)treadle_current((PyObject *(*)(void))(at_end)))
    """
    greenlet treadle_current_greenlet(greenlet (*at_end)())
