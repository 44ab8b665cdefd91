"""The base of events, results and semaphores: waiting greenlets and linked callbacks."""

from treadle._core.clock cimport nanoseconds
from treadle._core.hub cimport (
    HUB_CLOSED,
    Hub,
    Reason,
    Wait,
    get_hub,
    new_wait,
    park,
    run_callback,
)
from treadle._core.wait_queue cimport WaitQueue


cdef class Linkable:

    def __cinit__(self, *args, **kwargs):
        self.waiters = WaitQueue()

    cdef bint is_ready(self) noexcept:
        return False

    cdef bint tells_all(self) noexcept:
        return True

    cdef int forgo(self) except -1:
        return 0

    cdef bint wait_in(self, WaitQueue queue, Reason reason, object timeout) except -1:
        cdef Wait wait = new_wait(reason, self)
        queue.append(wait)
        try:
            park(wait, nanoseconds(timeout))
        except:
            queue.remove(wait)
            if wait.granted and queue is self.waiters:
                self.forgo()  # a watcher was told, and given nothing
            raise
        if not wait.granted:
            queue.remove(wait)
        return wait.granted

    cdef int grant_all(self, WaitQueue queue) except -1:
        # Only the waits that are queued now: later ones are not for this occasion.
        cdef Py_ssize_t left = queue.count
        while left > 0 and queue.grant() is not None:
            left -= 1
        return 0

    def rawlink(self, callback):
        """Call ``callback(self)`` once, in this thread's hub, as soon as the object is ready.

        Raises TypeError if *callback* is not callable.
        """
        if not callable(callback):
            raise TypeError(f"a link must be callable, not {callback!r}")
        if self.links is None:
            self.links = []
        self.links.append((callback, get_hub()))
        if self.is_ready():
            self.call_links()

    def unlink(self, callback):
        """Remove *callback* from the links; do nothing if it is not linked."""
        if self.links is not None:
            self.links = [link for link in self.links if link[0] != callback] or None

    cdef int call_links(self) except -1:
        cdef Hub hub
        if self.links is not None:
            for hub in {link[1] for link in self.links}:
                if hub.state != HUB_CLOSED:
                    links = [link for link in self.links if link[1] is hub]
                    run_callback(hub, run_links, (self, hub, links))
        return 0

    def linkcount(self):
        """Return the number of links and waiting greenlets."""
        return self.waiters.count + (0 if self.links is None else len(self.links))


def run_links(Linkable self, Hub hub, list links):
    """Call those of *links* that are still linked; each may run any code."""
    for link in links:
        if not self.tells_all() and not self.is_ready():
            return
        kept = [other for other in self.links or () if other is not link]
        if self.links is None or len(kept) == len(self.links):
            continue  # unlinked, or called already
        self.links = kept or None
        try:
            link[0](self)
        except BaseException as exc:
            hub.report((link[0], self), exc)
