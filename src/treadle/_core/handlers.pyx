"""Greenlets for signal handlers, which run on behalf of the principal whatever they interrupt.

In the interrupted greenlet itself a handler could not wait if that is the hub, could not kill it, and
would get the timeouts and kills that are meant for it.
"""

from cpython.object cimport PyObject

from treadle._core.aside cimport keep_for_principal
from treadle._core.delivery cimport interrupt, interrupt_main
from treadle._core.greenlet cimport FINISHED, Greenlet
from treadle._core.greenlet_api cimport (
    PyGreenlet_ACTIVE,
    PyGreenlet_Import,
    PyGreenlet_SetParent,
    greenlet,
    treadle_switch,
)
from treadle._core.hub cimport (
    HUB_OPEN,
    ON_HANDLER,
    ON_YIELD,
    START,
    WAIT_DONE,
    WAIT_READY,
    Hub,
    Wait,
    current_greenlet,
    get_hub_if_exists,
    list_fiber,
    move,
    new_hub_wait,
    park,
    unpark,
    unpark_first,
    wait_of,
)
from treadle._core.local cimport trace_of
from treadle._core.ring cimport ring_push_front
from treadle._core.thread_state cimport (
    treadle_bring_back,
    treadle_clear_state,
    treadle_is_in_use,
    treadle_kept,
    treadle_put_aside,
)
from treadle._core.threads cimport treadle_is_finalizing

from greenlet import GreenletExit

PyGreenlet_Import()


cdef class HandlerGreenlet(Greenlet):
    """Runs a signal handler: it has the principal's identity, context, locals and tracing."""

    cdef Wait interrupted  # in which the interrupted greenlet lets this one run; None if that is the hub
    cdef object raised     # what that greenlet raises in the principal when it goes on, or None

    cdef int inherit(self) except -1:
        cdef greenlet principal = self.hub.principal
        self.for_principal = True
        self.gr_context = principal.gr_context
        self.trace = trace_of(principal)
        self.tracing = self.hub.tracing
        return 0

    def __repr__(self):
        of = "ended" if self.life >= FINISHED else f"signal {self.args[0]}"
        return f"<{type(self).__name__} at {id(self):#x}: {of}>"

    def run(self):
        """Call the handler, then let the greenlet go on that it interrupted, if that still waits."""
        cdef Hub hub = self.hub
        Greenlet.run(self)
        if treadle_is_in_use(hub.thread_state):
            if hub.tracing is None:
                keep_for_principal(hub)
            treadle_clear_state()
        if self.is_awaited_by_interrupted() and move(self.interrupted, WAIT_DONE):
            PyGreenlet_SetParent(self, self.interrupted.waiter)

    cdef int fail(self, object exc) except -1:
        self.finish(None)
        if isinstance(exc, GreenletExit):
            return 0  # it was killed
        if self.is_awaited_by_interrupted():
            self.raised = exc  # the interrupted greenlet goes on first
            return 0
        return interrupt_main(self.hub, exc)

    cdef bint is_awaited_by_interrupted(self) noexcept:
        """Return whether the interrupted greenlet has not gone on since the handler began."""
        return (self.interrupted is not None and self.interrupted.state == WAIT_READY
                and self.interrupted.generation == self.hub.generation)


cdef bint runs_here(Hub hub) except -1:
    """Return whether handlers run in the current greenlet itself."""
    cdef greenlet principal
    if hub is None or hub.state != HUB_OPEN or treadle_is_finalizing():
        return True
    principal = hub.principal
    # A principal that does not wait has switched to the current greenlet by itself.
    return current_greenlet() is principal or (
        wait_of(hub, principal) is None and PyGreenlet_ACTIVE(principal))


def run_handler(function, number, frame):
    """Call ``function(number, frame)``, a signal handler, on behalf of the principal.

    It runs in a greenlet of its own, unless the principal itself is current. The caller goes on when
    it waits or ends; nothing else runs before. What it raises is raised in the principal.
    """
    cdef Hub hub = get_hub_if_exists()
    if not runs_here(hub):
        run_beside(hub, HandlerGreenlet(function, number, frame))
        return
    try:
        function(number, frame)
    except BaseException as exc:
        if hub is None or current_greenlet() is hub.principal:
            raise
        interrupt_main(hub, exc)


cdef int run_beside(Hub hub, HandlerGreenlet handler) except -1:
    cdef greenlet current = current_greenlet()
    cdef bint is_starved = False
    if current is hub:
        return run_from_hub(hub, handler)
    try:
        let_run(hub, current, handler)
    finally:
        if handler.raised is not None:
            is_starved = has_pending(wait_of(hub, hub.principal))
            exc, handler.raised = handler.raised, None
            interrupt_main(hub, exc)
    if is_starved:
        let_run(hub, current, None)
    return 0


cdef bint has_pending(Wait wait) noexcept:
    """Return whether an exception is on its way to the waiter, because another greenlet computes."""
    return wait is not None and (wait.exc is not None or wait.settled)


cdef int let_run(Hub hub, greenlet current, HandlerGreenlet handler) except -1:
    """Let *handler* run until it waits or ends or, if it is None, all that is ready."""
    cdef Wait interrupted = wait_of(hub, current)
    cdef Wait wait = new_hub_wait(ON_YIELD if handler is None else ON_HANDLER, handler)
    cdef bint in_callback = hub.in_callback
    if interrupted is not None:
        wait.settled, wait.shielded = interrupted.settled, interrupted.shielded
    if handler is None:
        unpark(wait)
    else:
        unpark_first(wait)
        start_first(hub, handler)
        handler.interrupted = wait
        hub.in_callback = False  # else the rest of the callback would run first
    try:
        park(wait, -1)
    except BaseException as exc:
        if interrupted is None:
            raise
        interrupt(hub, current, exc)  # the wait that the signal interrupted ends with it
    finally:
        if handler is not None:
            hub.in_callback = in_callback
            handler.interrupted = None
    return 0


cdef int start_first(Hub hub, HandlerGreenlet handler) except -1:
    ring_push_front(&hub.ring, handler, START)
    hub.turn += 1
    handler.scheduled = True
    list_fiber(hub, handler)
    return 0


cdef int run_from_hub(Hub hub, HandlerGreenlet handler) except -1:
    """Let *handler* run until it waits or ends, in the hub, which cannot wait."""
    cdef treadle_kept kept
    cdef bint in_callback = hub.in_callback
    cdef bint is_traced = treadle_is_in_use(hub.thread_state)
    if is_traced:
        treadle_put_aside(&kept)
    list_fiber(hub, handler)
    hub.in_callback = True  # the handler's first wait comes back here
    try:
        treadle_switch(<PyObject *>handler)
    finally:
        hub.in_callback = in_callback
        if is_traced:
            treadle_bring_back(&kept)
        if hub.poller.blocking:
            hub.poller.wake()  # the handler may have begun a wait that ends before the poller's
    return 0


def finish_handlers():
    """Wait until the signal handlers have ended that run beside the principal."""
    hub = get_hub_if_exists()
    while hub is not None:
        running = [fiber for fiber in hub.fibers() if isinstance(fiber, HandlerGreenlet)]
        if not running:
            return
        running[0].join()
