/* Which thread this is, how many others there are, and how to report a thread's error, all without
   the threading module. */
#ifndef TREADLE_THREADS_H
#define TREADLE_THREADS_H

#include <Python.h>

#if PY_VERSION_HEX < 0x030D0000
#define treadle_is_finalizing() _Py_IsFinalizing()
#else
#define treadle_is_finalizing() Py_IsFinalizing()
#endif

/* Passes the current exception to sys.unraisablehook, as the interpreter does when a thread's
   function raises. */
static inline void treadle_report_thread(PyObject *function)
{
#if PY_VERSION_HEX >= 0x030D0000
    PyErr_FormatUnraisable("Exception ignored in thread started by %R", function);
#else
    _PyErr_WriteUnraisableMsg("in thread started by", function);
#endif
}

/* The same for what interrupts the wait for all threads at the end of the interpreter. */
static inline void treadle_report_shutdown(void)
{
#if PY_VERSION_HEX >= 0x030E0000
    PyErr_FormatUnraisable("Exception ignored while joining a thread in _thread._shutdown()");
#else
    PyErr_WriteUnraisable(NULL);
#endif
}

#ifdef __linux__
#include <sys/syscall.h>
#include <unistd.h>
static inline int treadle_is_main_thread(void)
{
    return syscall(SYS_gettid) == getpid();
}
#elif defined(_WIN32)
/* The thread that loaded treadle; Windows does not fork. */
static inline int treadle_is_main_thread(void)
{
    static unsigned long main_ident;
    if (main_ident == 0)
        main_ident = PyThread_get_thread_ident();
    return PyThread_get_thread_ident() == main_ident;
}
#else
#include <pthread.h>
static inline int treadle_is_main_thread(void)
{
    return pthread_main_np();
}
#endif

/* Returns how many other threads run Python or are about to. Unlike _thread._count(), this includes
   a thread that was started and has not begun. The caller holds the GIL, so that no thread ends
   meanwhile. */
static inline Py_ssize_t treadle_other_threads(void)
{
    Py_ssize_t count = -1;
    PyThreadState *state = PyInterpreterState_ThreadHead(PyInterpreterState_Get());
    for (; state != NULL; state = PyThreadState_Next(state))
        count++;
    return count;
}

#endif
