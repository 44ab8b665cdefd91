"""File descriptors that are ready while signals are pending."""

from cpython.exc cimport PyErr_SetFromErrno
from posix.signal cimport sigaddset, sigemptyset, sigset_t

cdef extern from "sys/signalfd.h" nogil:
    enum:
        SFD_CLOEXEC, SFD_NONBLOCK
    int signalfd(int fd, const sigset_t *mask, int flags)


def open_signalfd(signals) -> int:
    """Return a new file descriptor that is ready while one of *signals* is pending.

    The signals must be blocked, as otherwise they are never pending. The caller has to close the
    descriptor.
    """
    cdef sigset_t mask
    cdef int fd
    sigemptyset(&mask)
    for number in signals:
        sigaddset(&mask, number)
    fd = signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK)
    if fd < 0:
        PyErr_SetFromErrno(OSError)
    return fd
