"""What treadle.testing asks of the interpreter: threads, what modules hold, what is opened."""

from cpython.object cimport PyObject
from libc.stdint cimport int64_t, uint64_t

cdef extern from "audit.h":
    int treadle_set_auditor(PyObject *) except -1

cdef extern from "usage.h":
    void treadle_usage(int64_t *used, int64_t *waits) nogil

cdef extern from "Python.h":
    bint PyModule_Check(object)
    PyObject *PyModule_GetDict(object)  # borrowed
    Py_ssize_t PyList_GET_SIZE(list)
    PyObject *PyList_GET_ITEM(list, Py_ssize_t)  # borrowed
    int PyDict_Next(object, Py_ssize_t *, PyObject **, PyObject **)
    ctypedef struct PyInterpreterState:
        pass
    ctypedef struct PyThreadState:
        unsigned long thread_id
    PyInterpreterState *PyInterpreterState_Get()
    PyThreadState *PyInterpreterState_ThreadHead(PyInterpreterState *)
    PyThreadState *PyThreadState_Next(PyThreadState *)
    uint64_t PyThreadState_GetID(PyThreadState *)
    int PyThreadState_SetAsyncExc(unsigned long, PyObject *)


# -- threads

def raise_in_thread(unsigned long ident, type kind):
    """Raise an exception of the class *kind* in a thread, as soon as that runs Python code."""
    PyThreadState_SetAsyncExc(ident, <PyObject *>kind)


def list_threads():
    """Return a dict of the interpreter's threads: a number that no other has had, and the ident.

    Threads that are about to begin are left out.
    """
    cdef PyThreadState *state = PyInterpreterState_ThreadHead(PyInterpreterState_Get())
    numbers = {}
    while state != NULL:
        # Until it begins, a thread may have the ident of the older one that makes it.
        number = PyThreadState_GetID(state)
        numbers[state.thread_id] = min(number, numbers.get(state.thread_id, number))
        state = PyThreadState_Next(state)
    return {number: ident for ident, number in numbers.items()}


def newest_thread():
    """Return the number of the thread that was made last; later ones have greater numbers."""
    return PyThreadState_GetID(PyInterpreterState_ThreadHead(PyInterpreterState_Get()))


def count_threads(uint64_t since):
    """Return how many threads there are that were made since that with the number *since*.

    Those that are about to begin count too.
    """
    cdef PyThreadState *state = PyInterpreterState_ThreadHead(PyInterpreterState_Get())
    cdef size_t count = 0
    while state != NULL:
        count += PyThreadState_GetID(state) > since
        state = PyThreadState_Next(state)
    return count


def thread_usage():
    """Return the nanoseconds of processor time that this thread has used, and how often it waited.

    The latter is -1 if the system does not tell.
    """
    cdef int64_t used, waits
    treadle_usage(&used, &waits)
    return used, waits


# -- what modules hold

def holders(modules, objects):
    """Return (module's namespace, name, object) for each of *objects* in one of *modules*.

    Objects are compared by identity. No code of a module runs: values are neither hashed nor
    compared, and one that is to be loaded when it is used is not.
    """
    cdef list wanted = list(objects), found = []
    cdef PyObject *key
    cdef PyObject *value
    cdef Py_ssize_t at
    for module in modules:
        if not PyModule_Check(module):
            continue
        namespace = <object>PyModule_GetDict(module)
        at = 0
        while PyDict_Next(namespace, &at, &key, &value):
            if is_one_of(value, wanted):
                name, held = <object>key, <object>value
                found.append((namespace, name, held))
    return found


cdef bint is_one_of(PyObject *value, list wanted) noexcept:
    cdef Py_ssize_t i
    for i in range(PyList_GET_SIZE(wanted)):
        if PyList_GET_ITEM(wanted, i) == value:
            return True
    return False


# -- what is opened

def audit(function):
    """Let *function* be called with each event "open" and "socket.__new__", and its arguments.

    None ends that. A process has one audit hook for it, however often this is called.
    """
    treadle_set_auditor(NULL if function is None else <PyObject *>function)

