/* What CPython keeps in the thread and a program sets in a greenlet: the trace and profile functions,
   the hooks of asynchronous generators, how deep coroutines record their origin. While other
   greenlets run it is put aside: each greenlet has its own, and a new one has nothing. */
#ifndef TREADLE_THREAD_STATE_H
#define TREADLE_THREAD_STATE_H

#include <Python.h>

typedef struct {
    Py_tracefunc trace, profile;
    PyObject *trace_arg, *profile_arg;
    PyObject *first_iter, *finalizer;
    int origin_depth;
    int tracing; /* how many trace or profile functions are being called */
} treadle_kept;

static inline PyThreadState *treadle_this(void *state)
{
    return state != NULL ? (PyThreadState *)state : PyThreadState_Get();
}

/* Whether the current greenlet has any of it; `state` is this thread's, or NULL if that is unknown.
   Every wait asks this, so it has one branch. */
static inline int treadle_is_in_use(void *state)
{
    PyThreadState *ts = treadle_this(state);
    return ((uintptr_t)ts->c_tracefunc | (uintptr_t)ts->c_profilefunc
            | (uintptr_t)ts->async_gen_firstiter | (uintptr_t)ts->async_gen_finalizer
            | (uintptr_t)ts->coroutine_origin_tracking_depth) != 0;
}

static inline int treadle_is_traced(void)
{
    PyThreadState *ts = PyThreadState_Get();
    return ts->c_tracefunc != NULL || ts->c_profilefunc != NULL;
}

/* Has the interpreter look at the functions again. From CPython 3.12 on it always does. */
static inline void treadle_note_tracing(PyThreadState *ts)
{
#if PY_VERSION_HEX < 0x030C0000
    ts->cframe->use_tracing
        = ts->tracing == 0 && (ts->c_tracefunc != NULL || ts->c_profilefunc != NULL) ? 255 : 0;
#else
    (void)ts;
#endif
}

/* Moves it from the thread to `kept`. The fields are moved, not set by PyEval_SetTrace(): from
   CPython 3.12 on that counts the threads that trace, and may instrument all code anew. */
static inline void treadle_put_aside(treadle_kept *kept)
{
    PyThreadState *ts = PyThreadState_Get();
    kept->trace = ts->c_tracefunc;
    kept->trace_arg = ts->c_traceobj;
    kept->profile = ts->c_profilefunc;
    kept->profile_arg = ts->c_profileobj;
    kept->first_iter = ts->async_gen_firstiter;
    kept->finalizer = ts->async_gen_finalizer;
    kept->origin_depth = ts->coroutine_origin_tracking_depth;
    kept->tracing = ts->tracing;
    ts->c_tracefunc = ts->c_profilefunc = NULL;
    ts->c_traceobj = ts->c_profileobj = NULL;
    ts->async_gen_firstiter = ts->async_gen_finalizer = NULL;
    ts->coroutine_origin_tracking_depth = ts->tracing = 0;
    treadle_note_tracing(ts);
}

/* Takes everything from the thread. May run any code. */
static inline void treadle_clear_state(void)
{
    PyThreadState *ts = PyThreadState_Get();
    PyObject *first_iter = ts->async_gen_firstiter, *finalizer = ts->async_gen_finalizer;
    PyObject *type, *value, *tb;
    PyErr_Fetch(&type, &value, &tb);
    ts->async_gen_firstiter = ts->async_gen_finalizer = NULL;
    ts->coroutine_origin_tracking_depth = ts->tracing = 0;
    if (ts->c_tracefunc != NULL)
        PyEval_SetTrace(NULL, NULL);
    if (ts->c_profilefunc != NULL)
        PyEval_SetProfile(NULL, NULL);
    Py_XDECREF(first_iter);
    Py_XDECREF(finalizer);
    PyErr_Restore(type, value, tb);
}

/* Moves it back from `kept`. Whoever switched here by a switch() of its own may have left something,
   which goes. May run any code then. */
static inline void treadle_bring_back(treadle_kept *kept)
{
    PyThreadState *ts;
    if (treadle_is_in_use(NULL))
        treadle_clear_state();
    ts = PyThreadState_Get();
    ts->c_tracefunc = kept->trace;
    ts->c_traceobj = kept->trace_arg;
    ts->c_profilefunc = kept->profile;
    ts->c_profileobj = kept->profile_arg;
    ts->async_gen_firstiter = kept->first_iter;
    ts->async_gen_finalizer = kept->finalizer;
    ts->coroutine_origin_tracking_depth = kept->origin_depth;
    ts->tracing = kept->tracing;
    treadle_note_tracing(ts);
}

/* Copies the thread's trace function, and the profile function if `both`, to `kept`, which then owns
   references. */
static inline void treadle_copy_tracing(treadle_kept *kept, int both)
{
    PyThreadState *ts = PyThreadState_Get();
    kept->trace = ts->c_tracefunc;
    kept->trace_arg = Py_XNewRef(ts->c_traceobj);
    if (both) {
        kept->profile = ts->c_profilefunc;
        kept->profile_arg = Py_XNewRef(ts->c_profileobj);
    }
}

/* Whether the trace function is of a tool written in C, such as coverage's. Such a tool knows of
   greenlets and counts on one trace function for all of them, threads that are greenlets included. A
   function given to sys.settrace() is a Python object, and belongs to one thread. */
static inline int treadle_is_traced_by_tool(void)
{
    PyObject *arg = PyThreadState_Get()->c_traceobj;
    return arg != NULL && !PyFunction_Check(arg) && !PyMethod_Check(arg) && !PyCFunction_Check(arg)
        && !PyType_HasFeature(Py_TYPE(arg), Py_TPFLAGS_HEAPTYPE);
}

/* Sets the thread's trace and profile functions to those of `kept`. May run any code. */
static inline void treadle_set_tracing(treadle_kept *kept)
{
    if (kept->profile != NULL)
        PyEval_SetProfile(kept->profile, kept->profile_arg);
    if (kept->trace != NULL)
        PyEval_SetTrace(kept->trace, kept->trace_arg);
}

#endif
