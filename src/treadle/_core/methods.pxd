# For methods with @cython.binding(True), which are called faster through the Python classes that
# derive from a compiled one, but which take any self: each begins with
#     if not is_a(self, TheClass): raise foreign(self, "TheClass")
cdef extern from *:
    """
    /* isinstance() for a class with C fields: it is in the chain of tp_base of each subclass. The
       public class, which derives from it in Python, is the most frequent one. */
    static inline int treadle_is_a(PyObject *obj, PyTypeObject *cls) {
        PyTypeObject *own = Py_TYPE(obj);
        if (own->tp_base == cls)
            return 1;
        while (own != NULL && own != cls)
            own = own->tp_base;
        return own != NULL;
    }
    """
    bint is_a "treadle_is_a"(object obj, type cls) noexcept

cdef inline object foreign(object self, str name):
    return TypeError(f"this method doesn't apply to {self!r}, which is no {name}")


cdef extern from *:
    """
    static inline PyObject *treadle_make(PyObject *cls, PyObject *no_args) {
        return ((PyTypeObject *)cls)->tp_new((PyTypeObject *)cls, no_args, NULL);
    }
    """
    # A new object of a class, without its __init__(). The second argument is ().
    object make "treadle_make"(object cls, tuple no_args)
