# threads.h: which thread this is, which others there are; and the interpreter's own locks.

cdef extern from "threads.h":
    bint treadle_is_main_thread()
    bint treadle_is_finalizing()
    Py_ssize_t treadle_other_threads()
    void treadle_report_thread(object function)
    void treadle_report_shutdown()

cdef extern from "pythread.h" nogil:
    ctypedef void *PyThread_type_lock
    PyThread_type_lock PyThread_allocate_lock()
    void PyThread_free_lock(PyThread_type_lock lock)
    int PyThread_acquire_lock_timed(PyThread_type_lock lock, long long us, int intr)
    void PyThread_release_lock(PyThread_type_lock lock)
    unsigned long PyThread_get_thread_ident()
