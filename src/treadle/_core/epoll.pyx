"""The poller for Linux: epoll, edge-triggered for the descriptors treadle owns."""

from _signal import set_wakeup_fd

from cpython.exc cimport PyErr_SetFromErrno
from libc.errno cimport EAGAIN, EBADF, EEXIST, EINTR, ENOENT, EPERM, errno
from libc.stdint cimport int64_t, uint32_t, uint64_t

from treadle._core.poller cimport HANGUP, READ, WRITE, Pollable, Poller

cdef extern from "epoll.h" nogil:
    ctypedef union epoll_data_t:
        uint64_t u64
    struct epoll_event:
        uint32_t events
        epoll_data_t data
    enum:
        EPOLLIN, EPOLLOUT, EPOLLPRI, EPOLLERR, EPOLLHUP, EPOLLRDHUP, EPOLLET, EPOLLONESHOT, EPOLL_CLOEXEC
        EPOLL_CTL_ADD, EPOLL_CTL_MOD, EPOLL_CTL_DEL
        EFD_CLOEXEC, EFD_NONBLOCK, F_DUPFD_CLOEXEC, O_CLOEXEC, O_NONBLOCK
    unsigned int treadle_forks
    int treadle_count_forks()
    int epoll_create1(int flags)
    int treadle_epoll_ctl(int epfd, int op, int fd, uint32_t events, uint64_t data)
    int treadle_epoll_wait(int epfd, epoll_event *events, int size, int64_t timeout)
    int eventfd(unsigned int value, int flags)
    int pipe2(int fds[2], int flags)
    ssize_t read(int fd, void *buffer, size_t size)
    ssize_t write(int fd, const void *buffer, size_t size)
    int close(int fd)
    int fcntl(int fd, int command, int argument)

if treadle_count_forks():
    raise MemoryError("no memory for a function to call in forked children")

# How many events one call fetches from the kernel; the next call fetches the rest.
cdef enum:
    BATCH = 512

# The event data of descriptors that are not Pollables. A Pollable's data is greater, since its
# serial is never 0.
cdef enum:
    WAKE = 0
    SIGNAL = 1


cdef class EpollPoller(Poller):

    cdef int epfd, wake_fd
    cdef int[2] signal_pipe    # (-1, -1) if this thread gets no signals
    cdef bint gets_signals
    cdef bint broken           # it could not be opened again after a fork
    cdef unsigned int forks    # treadle_forks when the descriptors were opened
    cdef epoll_event[BATCH] events

    def __cinit__(self, bint gets_signals=False):
        self.edge_triggered = True
        self.gets_signals = gets_signals
        self.epfd = self.wake_fd = -1
        self.signal_pipe[0] = self.signal_pipe[1] = -1

    def __init__(self, gets_signals=False):
        self.open()

    def __dealloc__(self):
        self.close_descriptors()

    def fileno(self):
        """Return the epoll descriptor, which can itself be watched."""
        return self.epfd

    cdef int open(self) except -1:
        """Open all descriptors, or none and raise OSError."""
        try:
            self.open_descriptors()
        except BaseException:
            self.close_descriptors()
            raise
        if self.gets_signals:
            self.ask_for_signals()
        return 0

    cdef int open_descriptors(self) except -1:
        self.forks = treadle_forks
        self.epfd = epoll_create1(EPOLL_CLOEXEC)
        self.wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)
        if self.epfd < 0 or self.wake_fd < 0:
            PyErr_SetFromErrno(OSError)
        if treadle_epoll_ctl(self.epfd, EPOLL_CTL_ADD, self.wake_fd, EPOLLIN | EPOLLET, WAKE) < 0:
            PyErr_SetFromErrno(OSError)
        if self.gets_signals:
            if pipe2(self.signal_pipe, O_CLOEXEC | O_NONBLOCK) < 0:
                PyErr_SetFromErrno(OSError)
            if treadle_epoll_ctl(self.epfd, EPOLL_CTL_ADD, self.signal_pipe[0], EPOLLIN, SIGNAL) < 0:
                PyErr_SetFromErrno(OSError)
        return 0

    cdef int reopen(self) except -1:
        """Open again what could not be opened after a fork, and register again what was."""
        cdef Pollable pollable
        self.open()
        self.broken = False
        slots, self.slots = self.slots, []
        for pollable in slots:
            if pollable is not None:
                pollable.rewatch(self)
        return 0

    @property
    def signal_fd(self):
        """The descriptor to which the interpreter may write a byte for each signal; -1 if none."""
        return self.signal_pipe[1]

    cpdef int ask_for_signals(self) except -1:
        """Make the interpreter write a byte for each signal to this poller's pipe.

        Does nothing if the program has set a wake-up descriptor of its own.
        """
        previous = set_wakeup_fd(self.signal_pipe[1], warn_on_full_buffer=False)
        if previous != -1:
            set_wakeup_fd(previous)
        return 0

    cdef int decline_signals(self) except -1:
        try:
            previous = set_wakeup_fd(-1)
        except ValueError:
            return 0  # a forked child with another main thread: no signal is written to this pipe
        if previous != self.signal_pipe[1] and previous != -1:
            set_wakeup_fd(previous)
        return 0

    cdef void close_descriptors(self) noexcept:
        cdef int fd
        for fd in (self.epfd, self.wake_fd, self.signal_pipe[0], self.signal_pipe[1]):
            if fd >= 0:
                close(fd)
        self.epfd = self.wake_fd = self.signal_pipe[0] = self.signal_pipe[1] = -1

    cdef int close(self) except -1:
        self.slots = []
        if self.gets_signals and self.signal_pipe[1] >= 0:
            self.decline_signals()
        self.close_descriptors()
        return 0

    cdef tuple descriptors(self):
        return (self.epfd, self.wake_fd, self.signal_pipe[0], self.signal_pipe[1])

    cdef int yield_number(self, int fd) except -1:
        cdef int moved
        if fd < 0 or fd not in self.descriptors():
            return 0
        moved = fcntl(fd, F_DUPFD_CLOEXEC, 0)
        if moved < 0:
            PyErr_SetFromErrno(OSError)
        # The epoll set goes on to watch the file under its old number, as the copy keeps it open.
        if fd == self.epfd:
            self.epfd = moved
        elif fd == self.wake_fd:
            self.wake_fd = moved
        elif fd == self.signal_pipe[0]:
            self.signal_pipe[0] = moved
        else:
            self.decline_signals()
            self.signal_pipe[1] = moved
            self.ask_for_signals()
        return 0

    cdef int renew(self) except -1:
        self.close()
        self.broken = True
        self.open()
        self.broken = False
        return 0

    cdef int watch(self, Pollable pollable, int events, bint owned) except -1:
        cdef uint32_t wanted
        cdef bint known = self.slot(pollable.fd) is not None
        cdef bint added
        if self.broken:
            self.reopen()
            known = self.slot(pollable.fd) is not None
        if owned:
            wanted = EPOLLIN | EPOLLOUT | EPOLLPRI | EPOLLRDHUP | EPOLLET
        else:
            wanted = EPOLLONESHOT
            if events & READ:
                wanted |= EPOLLIN | EPOLLRDHUP
            if events & WRITE:
                wanted |= EPOLLOUT
        if self.control(EPOLL_CTL_MOD if known else EPOLL_CTL_ADD, pollable, wanted) == 0:
            added = not known
        elif errno == ENOENT or errno == EEXIST:
            # The number's file changed without treadle's knowledge, or it is registered already.
            added = errno == ENOENT
            if self.control(EPOLL_CTL_ADD if added else EPOLL_CTL_MOD, pollable, wanted) < 0:
                return self.refused(pollable, events)
        else:
            return self.refused(pollable, events)
        return self.fill_slot(pollable, added)

    cdef int forget(self, Pollable pollable) except -1:
        # The kernel forgets a descriptor that is closed only if it was the last one of its file. A
        # duplicate of it, perhaps in another process, would go on to wake this poller. A forked
        # child that has not opened its own epoll set yet must not change its parent's.
        if self.slot(pollable.fd) is pollable and self.forks == treadle_forks:
            treadle_epoll_ctl(self.epfd, EPOLL_CTL_DEL, pollable.fd, 0, 0)
        return Poller.forget(self, pollable)

    cdef int control(self, int op, Pollable pollable, uint32_t wanted) noexcept:
        return treadle_epoll_ctl(self.epfd, op, pollable.fd, wanted,
                              <uint64_t>pollable.serial << 32 | <uint32_t>pollable.fd)

    cdef int refused(self, Pollable pollable, int events) except -1:
        if errno == EPERM:  # a regular file
            pollable.ready(events)
            return 0
        PyErr_SetFromErrno(OSError)

    cdef int wait(self, int64_t timeout) except -1:
        cdef int n
        if self.broken:
            self.reopen()
        if timeout == 0:
            n = treadle_epoll_wait(self.epfd, self.events, BATCH, 0)
        else:
            # If this thread gets signals, one that comes after the hub has run the handlers ends
            # the wait: by the byte that the interpreter writes for it or, if the program chose
            # another wake-up descriptor, by EINTR. The latter misses a signal that comes before the
            # system call begins.
            with nogil:
                n = treadle_epoll_wait(self.epfd, self.events, BATCH, timeout)
        self.blocking = False
        if n < 0:
            if errno != EINTR:
                PyErr_SetFromErrno(OSError)
            return 0
        self.tell(n)
        return 0

    cdef void drain_signals(self) noexcept:
        cdef char[64] numbers
        while read(self.signal_pipe[0], numbers, sizeof(numbers)) > 0:
            pass

    cdef void tell(self, int n) noexcept:
        cdef int i, ready
        cdef uint32_t bits
        cdef uint64_t data
        cdef Pollable pollable
        for i in range(n):
            data = self.events[i].data.u64
            if data >> 32 == 0:
                if data == WAKE:
                    read(self.wake_fd, &data, sizeof(data))
                else:
                    self.drain_signals()
                continue
            pollable = self.slot(<int><uint32_t>data)
            if pollable is None or pollable.serial != data >> 32:
                continue  # an event of an earlier use of this number
            bits = self.events[i].events
            ready = 0
            if bits & (EPOLLIN | EPOLLRDHUP | EPOLLERR | EPOLLHUP):
                ready |= READ
            if bits & (EPOLLOUT | EPOLLERR | EPOLLHUP):
                ready |= WRITE
            # A read stops at urgent data, so a short read does not mean that all data was read.
            if bits & (EPOLLPRI | EPOLLRDHUP | EPOLLERR | EPOLLHUP):
                ready |= HANGUP
            pollable.ready(ready)

    cdef int wake(self) except -1:
        cdef uint64_t one = 1
        write(self.wake_fd, &one, sizeof(one))
        return 0
