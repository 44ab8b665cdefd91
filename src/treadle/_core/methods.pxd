# For methods with @cython.binding(True), which are called faster through the Python classes that
# derive from a compiled one, but which take any self: each begins with
#     if not is_a(self, TheClass): raise foreign(self, "TheClass")
cdef extern from *:
    """
    static inline int treadle_is_a(PyObject *obj, PyTypeObject *cls) {
        PyTypeObject *own = Py_TYPE(obj);
        return own == cls || own->tp_base == cls || PyType_IsSubtype(own, cls);
    }
    """
    bint is_a "treadle_is_a"(object obj, type cls) noexcept

cdef inline object foreign(object self, str name):
    return TypeError(f"this method doesn't apply to {self!r}, which is no {name}")
