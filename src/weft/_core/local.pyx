"""Attributes that each greenlet has for itself."""

from weakref import ref as weak_ref

from weft._core.greenlet_api cimport PyGreenlet_GetCurrent, PyGreenlet_Import, greenlet

cdef extern from "Python.h":
    object _PyObject_GenericGetAttrWithDict(object obj, object name, object namespace, int suppress)
    int _PyObject_GenericSetAttrWithDict(object obj, object name, object value,
                                         object namespace) except -1
    int set_attr "_PyObject_GenericSetAttrWithDict"(object obj, object name, void *value,
                                                    object namespace) except -1

PyGreenlet_Import()


cdef class local:

    cdef dict namespaces     # id of a greenlet -> (its attributes, a weak reference that ends them)
    cdef tuple args
    cdef dict kwargs
    cdef void *last          # the greenlet that asked last, and what it has; saves the look-up
    cdef dict last_namespace
    cdef object __weakref__

    def __cinit__(self, *args, **kwargs):
        if (args or kwargs) and type(self).__init__ is object.__init__:
            raise TypeError("Initialization arguments are not supported", args, kwargs)
        self.namespaces = {}
        self.args = args
        self.kwargs = kwargs
        # type() is about to call __init__ for the greenlet that makes the object.
        self.make_namespace(PyGreenlet_GetCurrent())

    cdef dict make_namespace(self, greenlet current):
        cdef dict namespace = {}
        self.namespaces[id(current)] = (namespace, weak_ref(current, Farewell(self, id(current))))
        return namespace

    cdef dict namespace(self):
        cdef greenlet current = PyGreenlet_GetCurrent()
        if <void *>current == self.last:
            return self.last_namespace
        entry = self.namespaces.get(id(current))
        if entry is None:
            namespace = self.make_namespace(current)
            try:
                type(self).__init__(self, *self.args, **self.kwargs)
            except:
                del self.namespaces[id(current)]
                raise
        else:
            namespace = entry[0]
        self.last = <void *>current
        self.last_namespace = namespace
        return namespace

    cdef int forget(self, key) except -1:
        if self.last == <void *><size_t>key:
            self.last = NULL
            self.last_namespace = None
        self.namespaces.pop(key, None)
        return 0

    def __getattribute__(self, name):
        cdef dict namespace = self.namespace()
        if name == "__dict__":
            return namespace
        return _PyObject_GenericGetAttrWithDict(self, name, namespace, 0)

    def __setattr__(self, name, value):
        cdef dict namespace = self.namespace()
        if name == "__dict__":
            raise AttributeError(
                f"{type(self).__name__!r} object attribute '__dict__' is read-only")
        _PyObject_GenericSetAttrWithDict(self, name, value, namespace)

    def __delattr__(self, name):
        cdef dict namespace = self.namespace()
        if name == "__dict__":
            raise AttributeError(
                f"{type(self).__name__!r} object attribute '__dict__' is read-only")
        set_attr(self, name, NULL, namespace)

    def __copy__(self):
        """Another one of the same class that begins with the current greenlet's attributes."""
        new = type(self)(*self.args, **self.kwargs)
        (<local>new).namespace().update(self.namespace())
        return new


cdef class Farewell:
    """Called when a greenlet is gone: its attributes go, too."""

    cdef object target  # weak
    cdef object key

    def __cinit__(self, local target, key):
        self.target = weak_ref(target)
        self.key = key

    def __call__(self, reference):
        cdef local target = self.target()
        if target is not None:
            target.forget(self.key)
