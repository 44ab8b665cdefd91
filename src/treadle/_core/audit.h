/* An audit hook of the process. The interpreter has no way to remove one, so there is at most one,
 * and it does nothing but a comparison while it is off. */
#ifndef TREADLE_AUDIT_H
#define TREADLE_AUDIT_H

#include <Python.h>
#include <string.h>

static PyObject *auditor = NULL;  /* what is called; owned */
static PyInterpreterState *audited = NULL;  /* the interpreter that it belongs to */
static int is_audited = 0;  /* whether the hook is there */

static int treadle_audit(const char *event, PyObject *args, void *data)
{
    if (auditor == NULL)
        return 0;
    if (strcmp(event, "open") != 0 && strcmp(event, "socket.__new__") != 0)
        return 0;
    if (PyInterpreterState_Get() != audited)
        return 0;
    PyObject *called = Py_NewRef(auditor);
    PyObject *result = PyObject_CallFunction(called, "sO", event, args);
    Py_DECREF(called);
    Py_XDECREF(result);
    return result == NULL ? -1 : 0;
}

/* Make the hook call `function`, or nothing if that is NULL. */
static inline int treadle_set_auditor(PyObject *function)
{
    if (function != NULL && !is_audited) {
        if (PySys_AddAuditHook(treadle_audit, NULL) < 0)
            return -1;
        is_audited = 1;
    }
    audited = PyInterpreterState_Get();
    Py_XSETREF(auditor, Py_XNewRef(function));
    return 0;
}

#endif
