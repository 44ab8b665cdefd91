"""The base of events, results and semaphores: waiting greenlets and linked callbacks."""

from treadle._core.clock cimport nanoseconds
from treadle._core.hub cimport (
    HUB_CLOSED,
    Hub,
    Reason,
    Wait,
    get_hub,
    made_hub,
    new_wait,
    run_callback,
)
from treadle._core.links cimport Links
from treadle._core.wait_queue cimport WaitQueue, park_in


cdef class Linkable:

    def __cinit__(self, *args, **kwargs):
        self.waiters = WaitQueue()

    cdef bint is_ready(self) noexcept:
        return False

    cdef bint tells_all(self) noexcept:
        return True

    cdef bint catches_up(self, WaitQueue queue) noexcept:
        return self.is_ready()

    cdef bint wait_in(self, WaitQueue queue, Reason reason, object timeout,
                      bint shielded=False) except -1:
        cdef Wait wait
        if made_hub() and self.catches_up(queue):
            return True
        wait = new_wait(reason, self)
        wait.shielded = shielded
        if queue is not self.waiters:
            wait.value = queue  # a watcher is told, and given nothing
        return park_in(queue, wait, nanoseconds(timeout))

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
        cdef Hub hub = get_hub()
        if self.links is None:
            self.links = Links()
        key = self.links.add(callback, hub)
        if self.is_ready():
            run_callback(hub, run_links, (self, hub, [key]))

    def unlink(self, callback):
        """Remove *callback* from the links, once; do nothing if it is not linked."""
        if self.links is not None:
            self.links.remove(callback)

    cdef int call_links(self) except -1:
        cdef Hub hub
        cdef dict keys_of = {}
        if self.links is None or self.links.count() == 0:
            return 0
        for key, hub in self.links.pairs():
            keys_of.setdefault(hub, []).append(key)
        for hub, keys in keys_of.items():
            if hub.state != HUB_CLOSED:
                run_callback(hub, run_links, (self, hub, keys))
        return 0

    def linkcount(self):
        """Return the number of links and waiting greenlets."""
        return self.waiters.count + (0 if self.links is None else self.links.count())


def run_links(Linkable self not None, Hub hub not None, list keys not None):
    """Call those of the links of *hub* that are still linked; each may run any code."""
    for key in keys:
        if not self.tells_all() and not self.is_ready():
            return
        callback = self.links.take(key)
        if callback is None:
            continue  # unlinked, or called already
        try:
            callback(self)
        except BaseException as exc:
            hub.report((callback, self), exc)
