"""The base class of pollers, and the portable poller, which uses the selectors module."""

from libc.stdint cimport int64_t, uint32_t

cdef extern from *:
    """
    #ifdef _WIN32
    #include <winsock2.h>
    #pragma comment(lib, "ws2_32.lib")
    #else
    #include <sys/socket.h>
    #endif
    static inline void treadle_send_byte(int socket)
    {
        (void)(send(socket, "w", 1, 0) + 0);
    }
    """
    void treadle_send_byte(int socket)

cdef uint32_t last_serial = 0


cdef class Pollable:

    def __cinit__(self, int fd, *args, **kwargs):
        global last_serial
        last_serial += 1  # wraps after 2**32 objects, when the earlier ones are long gone
        self.fd = fd
        self.serial = last_serial

    cdef void ready(self, int events) noexcept:
        pass

    cdef void replaced(self, Pollable other, bint reused) noexcept:
        pass

    cdef int rewatch(self, Poller poller) except -1:
        return 0


cdef class Poller:

    #: The descriptor to which the interpreter may write a byte for each signal; -1 if none.
    signal_fd = -1

    def __cinit__(self, *args):
        self.slots = []

    cdef int watch(self, Pollable pollable, int events, bint owned) except -1:
        raise NotImplementedError

    cdef int wait(self, int64_t timeout) except -1:
        raise NotImplementedError

    cdef int wake(self) except -1:
        raise NotImplementedError

    cdef int close(self) except -1:
        raise NotImplementedError

    cdef tuple descriptors(self):
        return ()

    cdef int yield_number(self, int fd) except -1:
        return 0

    cdef int renew(self) except -1:
        raise NotImplementedError

    cdef int renew_and_rewatch(self) except -1:
        cdef Pollable pollable
        slots = self.slots
        try:
            self.renew()
        except BaseException:
            self.slots = slots  # to be registered when the poller can be opened
            raise
        for pollable in slots:
            if pollable is not None:
                pollable.rewatch(self)
        return 0

    cdef int forget(self, Pollable pollable) except -1:
        if self.slot(pollable.fd) is pollable:
            self.slots[pollable.fd] = None
        return 0

    cdef Pollable slot(self, int fd):
        if 0 <= fd < len(self.slots):
            return self.slots[fd]
        return None

    cdef int fill_slot(self, Pollable pollable, bint reused) except -1:
        cdef Pollable old
        cdef Py_ssize_t missing = pollable.fd + 1 - len(self.slots)
        if missing > 0:
            self.slots.extend([None] * missing)
        old = self.slots[pollable.fd]
        if old is not pollable:
            self.slots[pollable.fd] = pollable
            if old is not None:
                old.replaced(pollable, reused)
        return 0


selector_class = None


def pin_selector():
    """Return the selector class of portable pollers; call it before patching replaces the class."""
    global selector_class
    if selector_class is None:
        import selectors  # only the portable poller pays for this import
        selector_class = selectors.DefaultSelector
    return selector_class


cdef class SelectorsPoller(Poller):
    """A level-triggered, one-shot poller: what was reported must be asked for again."""

    cdef object selector
    cdef object wake_reader, wake_writer  # sockets: Windows selects on nothing else
    cdef int wake_fd

    def __init__(self):
        self.open()

    def fileno(self):
        """Return the selector's descriptor, which can itself be watched.

        Raises NotImplementedError where the system's selector has none.
        """
        if not hasattr(self.selector, "fileno"):
            raise NotImplementedError(
                f"watchers of descriptors need epoll, kqueue or devpoll; "
                f"{type(self.selector).__name__} has no descriptor of its own")
        return self.selector.fileno()

    cdef int open(self) except -1:
        import _socket  # only the portable poller pays for this import
        if hasattr(_socket, "socketpair"):
            pair = _socket.socketpair()
        else:
            import socket
            pair = socket.socketpair()
        # Call the C type's own methods, so that a patched class does not interfere.
        for end in pair:
            _socket.socket.settimeout(end, 0)
        self.wake_reader, self.wake_writer = pair
        self.wake_fd = self.wake_writer.fileno()
        self.selector = pin_selector()()
        self.selector.register(self.wake_reader.fileno(), READ, None)
        return 0

    cdef int unregister(self, int fd) except -1:
        try:
            self.selector.unregister(fd)
        except (KeyError, ValueError, OSError):
            pass  # not registered, or the file is closed, which unregistered it
        return 0

    cdef int watch(self, Pollable pollable, int events, bint owned) except -1:
        # The number may stand for another file than at the last registration: register it anew.
        self.unregister(pollable.fd)
        try:
            self.selector.register(pollable.fd, events, pollable)
        except PermissionError:  # a regular file
            pollable.ready(events)
            return 0
        return self.fill_slot(pollable, False)

    cdef int forget(self, Pollable pollable) except -1:
        if self.slot(pollable.fd) is pollable:
            self.unregister(pollable.fd)
        return Poller.forget(self, pollable)

    cdef int wait(self, int64_t timeout) except -1:
        cdef Pollable pollable
        cdef list found = self.selector.select(None if timeout < 0 else timeout / 1e9)
        self.blocking = False
        for key, events in found:
            if key.data is None:
                self.drain()
                continue
            pollable = key.data
            self.unregister(pollable.fd)
            pollable.ready(events)
        return 0

    cdef int drain(self) except -1:
        import _socket
        try:
            while _socket.socket.recv(self.wake_reader, 4096):
                pass
        except BlockingIOError:
            pass
        return 0

    cdef int wake(self) except -1:
        # C, because unpark() must not run Python. If the socket is full, its reader wakes anyway.
        treadle_send_byte(self.wake_fd)
        return 0

    cdef tuple descriptors(self):
        own = (self.wake_reader.fileno(), self.wake_fd)
        return (*own, self.selector.fileno()) if hasattr(self.selector, "fileno") else own

    cdef int close(self) except -1:
        import _socket
        self.slots = []
        self.selector.close()
        _socket.socket.close(self.wake_reader)
        _socket.socket.close(self.wake_writer)
        return 0

    cdef int renew(self) except -1:
        self.close()
        return self.open()
