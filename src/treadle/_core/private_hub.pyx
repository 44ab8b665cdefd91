"""A hub that belongs to no thread."""

from treadle._core.hub cimport HUB_CLOSED, Hub, get_hub, main_greenlet, next_turn
from treadle._core.thread_hub cimport list_hub, shut
from treadle._core.timers cimport timers_live

from treadle._core.pollers import make_poller


cdef class PrivateHub(Hub):
    """A hub that belongs to no thread. Its loop runs only during calls of :meth:`run_loop`."""

    def __init__(self, poller=None):
        self.main = self.principal = main_greenlet()
        self.poller = make_poller(poller, False)
        list_hub(self)

    def handle_error(self, context, type, value, tb):
        """Report an exception through ``handle_error`` of the current thread's hub."""
        get_hub().handle_error(context, type, value, tb)

    cdef bint alive(self) noexcept:
        return self.state != HUB_CLOSED and (
            self.ring.count > 0 or self.inbox.count > 0 or self.refs > 0
            or <Py_ssize_t>timers_live(&self.timers) > self.unref_timers)

    def run_loop(self, bint nowait, bint once):
        """Run callbacks and watchers until nothing is left that keeps the loop alive.

        With *once*, make only one turn; with *nowait*, make one turn that does not block.
        """
        cdef bint hooked, busy
        while self.alive():
            hooked = self.turn_hook is not None and self.turn_hook.active
            # The hook may end what kept the loop alive: then nothing would end a wait.
            busy = nowait or hooked and (self.turn_hook.before_wait() or not self.alive())
            next_turn(self, self.main, busy)
            if hooked:
                self.turn_hook.after_wait()
            while self.turn > 0 and self.ring.count > 0:
                self.run_next_callback()
            if nowait or once:
                return

    def close(self):
        """Close the hub and its poller. Greenlets parked in the hub never run again."""
        if self.state != HUB_CLOSED:
            shut(self)
