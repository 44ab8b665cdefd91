"""Greenlet-local attributes: each greenlet has values of its own."""

import copy
from weakref import ref

cimport cython
from cpython.dict cimport PyDict_GetItemWithError
from cpython.object cimport PyObject

from treadle._core.greenlet cimport FINISHED, Greenlet
from treadle._core.greenlet_api cimport PyGreenlet_Import, greenlet
from treadle._core.hub cimport Fiber, current_greenlet
from treadle._core.collector cimport Collector

cdef extern from "Python.h":
    # Attribute access with a given dictionary. _thread._local uses these functions, too.
    object _PyObject_GenericGetAttrWithDict(object obj, object name, PyObject *d, int suppress)
    int _PyObject_GenericSetAttrWithDict(object obj, object name, PyObject *value, PyObject *d) except -1

PyGreenlet_Import()

# The key of the Trace in the `__dict__` of a greenlet that is not a Fiber.
cdef str TRACE = "treadle local"

# A list of weak references is swept when it holds twice as many as were alive at the last sweep,
# plus this many.
cdef Py_ssize_t SLACK = 32

cdef Py_ssize_t last_key = 0


@cython.final
@cython.no_gc_clear  # still used when its greenlet is freed; it has no strong references
cdef class Trace(Collector):
    """A greenlet's record of its locals; removes its dictionaries from them when it ends."""

    cdef object key        # an int: the key of this greenlet's attributes in each local
    cdef list locals       # weak references
    cdef Py_ssize_t sweep_at

    def __cinit__(self):
        global last_key
        last_key += 1
        self.key = last_key
        self.locals = []
        self.sweep_at = SLACK

    def __dealloc__(self):
        self.forget()

    cdef int add(self, object source) except -1:
        # The greenlet has ended, but the finalizers of its attributes still run in it.
        self.forget()
        return 0

    cdef int note(self, local of) except -1:
        """Record a local that has a dictionary for this greenlet."""
        if len(self.locals) >= self.sweep_at:
            self.locals = [each for each in self.locals if each() is not None]
            self.sweep_at = 2 * len(self.locals) + SLACK
        self.locals.append(ref(of))
        return 0

    cdef int forget(self) except -1:
        cdef local of
        gone, self.locals = self.locals, []
        for each in gone:
            of = each()
            if of is not None:
                of.dicts.pop(self.key, None)
        return 0


cdef object trace_of(greenlet of):
    cdef Trace trace
    if isinstance(of, Fiber):
        if (<Fiber>of).trace is None:
            (<Fiber>of).trace = trace = Trace()
            if isinstance(of, Greenlet) and (<Greenlet>of).life < FINISHED:
                (<Greenlet>of).add_link(trace)
        return (<Fiber>of).trace
    trace = of.__dict__.get(TRACE)
    if trace is None:
        of.__dict__[TRACE] = trace = Trace()
    return trace


cdef inline Trace current_trace():
    return <Trace>trace_of(current_greenlet())


def stand_for_main(Fiber program not None):
    """Give a new greenlet the identity of the main greenlet, which calls this and waits for it then.

    It has the main greenlet's number and its greenlet-local attributes.
    """
    program.stands_for_main = True
    program.trace = current_trace()


cdef class local:
    """local(*args, **kwargs)\n--\n
    The compiled part of :class:`treadle.local.local`.
    """

    cdef dict dicts        # the key of a Trace -> that greenlet's attributes
    cdef object args, kwargs
    cdef object __weakref__

    def __cinit__(self, *args, **kwargs):
        if (args or kwargs) and type(self).__init__ is object.__init__:
            raise TypeError(
                "Initialization arguments are not supported: "
                f"{type(self).__name__} has no __init__")
        self.dicts = {}
        self.args = args
        self.kwargs = kwargs
        self.begin(current_trace())  # Python calls __init__ afterwards

    cdef dict begin(self, Trace trace):
        cdef dict attributes = {}
        trace.note(self)
        self.dicts[trace.key] = attributes
        return attributes

    cdef dict here(self):
        """Return the current greenlet's attributes; call __init__ when it first uses the local."""
        cdef Trace trace = current_trace()
        cdef PyObject *known = PyDict_GetItemWithError(self.dicts, trace.key)
        if known != NULL:
            return <dict>known
        attributes = self.begin(trace)
        if type(self).__init__ is not object.__init__:
            try:
                type(self).__init__(self, *self.args, **self.kwargs)
            except BaseException:
                self.dicts.pop(trace.key, None)
                raise
        return attributes

    def __getattribute__(self, name):
        cdef dict attributes = self.here()
        if name == "__dict__":
            return attributes
        return _PyObject_GenericGetAttrWithDict(self, name, <PyObject *>attributes, 0)

    def __setattr__(self, name, value):
        cdef dict attributes = self.here()
        if name == "__dict__":
            raise AttributeError(f"{type(self).__name__!r} object attribute '__dict__' is read-only")
        _PyObject_GenericSetAttrWithDict(self, name, <PyObject *>value, <PyObject *>attributes)

    def __delattr__(self, name):
        cdef dict attributes = self.here()
        if name == "__dict__":
            raise AttributeError(f"{type(self).__name__!r} object attribute '__dict__' is read-only")
        _PyObject_GenericSetAttrWithDict(self, name, NULL, <PyObject *>attributes)

    def __copy__(self):
        """Return a new local with copies of the current greenlet's attributes."""
        cdef dict attributes = self.here()
        cdef local other = type(self)(*self.args, **self.kwargs)
        mine = other.here()
        mine.clear()
        mine.update(copy.copy(attributes))
        return other


def dictionaries_of(greenlet of not None):
    """Return ``((class, id), attributes)`` for each local that the greenlet *of* has used."""
    cdef Trace trace
    cdef local each
    found = (<Fiber>of).trace if isinstance(of, Fiber) else of.__dict__.get(TRACE)
    if found is None:
        return []
    trace = found
    alive = [reference() for reference in trace.locals]
    return [((type(each), id(each)), each.dicts[trace.key]) for each in alive
            if each is not None and trace.key in each.dicts]
