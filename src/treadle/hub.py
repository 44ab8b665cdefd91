"""The hub of a thread, with the interface of gevent.hub."""

from __future__ import annotations

import sys
import traceback
from _weakref import ref as weak_ref
from collections.abc import Callable
from heapq import heappop, heappush
from types import TracebackType
from typing import TYPE_CHECKING, Any, ParamSpec, TextIO

from treadle._config import config
from treadle._core import hub as core_hub
from treadle._core import thread_hub as core_thread_hub
from treadle._core.hub import get_current_hub, get_existing_hub
from treadle._core.iwait import iwait, wait
from treadle._core.sleep import sleep
from treadle._core.thread_hub import ThreadHub
from treadle._core.waiter import Waiter as CoreWaiter
from treadle._core.watchers import Watcher
from treadle.events import PeriodicMonitorThreadStartedEvent, notify_and_call_entry_points
from treadle.exceptions import HubDestroyed, InvalidSwitchError, LoopExit
from treadle.greenlet import Greenlet, GreenletExit, getcurrent, kill, spawn_raw
from treadle.observe.deadlock import describe_deadlock

if TYPE_CHECKING:
    from treadle.core import loop
    from treadle.pool import AnyThreadPool

P = ParamSpec("P")

#: Seconds after which a native thread's new hub gets its monitor thread; a hub that ends earlier
#: gets none.
MONITOR_DELAY = 0.005

__all__ = [
    "GreenletExit",
    "Hub",
    "LoopExit",
    "Waiter",
    "get_hub",
    "get_hub_class",
    "get_hub_if_exists",
    "getcurrent",
    "idle",
    "iwait",
    "kill",
    "reinit",
    "set_default_hub_class",
    "set_hub",
    "signal",
    "sleep",
    "spawn_raw",
    "wait",
]

#: Return this thread's hub; make it if there is none yet.
get_hub: Callable[[], Hub] = get_current_hub
#: Return this thread's hub, or None.
get_hub_if_exists: Callable[[], Hub | None] = get_existing_hub
#: gevent's other names for these functions.
get_hub_noargs = _get_hub_noargs = get_hub
_get_hub = get_hub_if_exists


class Waiter(CoreWaiter):
    """Hands one value or exception to the one greenlet that calls ``get()``."""

    __slots__ = ()


class IdentRegistry:
    """Gives objects small numbers. The number of an object that is gone is used again."""

    def __init__(self) -> None:
        self._free: list[int] = []
        self._next = 0
        self._idents: dict[weak_ref[Any], int] = {}

    def get_ident(self, obj: Any) -> int:
        """Return the smallest free number and give it to *obj*."""
        if self._free:
            ident = heappop(self._free)
        else:
            ident, self._next = self._next, self._next + 1
        self._idents[weak_ref(obj, self._release)] = ident
        return ident

    def _release(self, reference: weak_ref[Any]) -> None:
        heappush(self._free, self._idents.pop(reference))


class Hub(ThreadHub):
    """The greenlet that runs a thread's callbacks, with gevent's error handling."""

    #: Exceptions that are raised in the main greenlet.
    SYSTEM_ERROR: tuple[type[BaseException], ...] = (KeyboardInterrupt, SystemExit, SystemError)
    #: Exceptions that are not printed.
    NOT_ERROR: tuple[type[BaseException], ...] = (GreenletExit, SystemExit)

    #: The hub's name in reports.
    name = ""

    _hubs_made = 0

    def __init__(self, loop: Any = None, default: bool | None = None) -> None:
        """Make a hub. *loop* and *default* are gevent's and ignored: a hub makes its own loop."""
        super().__init__()
        Hub._hubs_made += 1
        #: A number that no other hub of the process has had.
        self.minimal_ident: int = Hub._hubs_made
        self.ident_registry: IdentRegistry = IdentRegistry()
        #: Returns the text that names an error's context in its report.
        self.format_context: Callable[[object], str] = config.format_context
        self._threadpool: Any = None
        self._resolver: Any = None
        #: Reports greenlets that block the hub; None until
        #: :meth:`start_periodic_monitoring_thread` is called.
        self.periodic_monitoring_thread: Any = None
        if config.monitor_thread and not isinstance(self.main, core_hub.ThreadMain):
            if self.main_hub:  # at once: the program may block before it lets the loop run
                self.start_periodic_monitoring_thread()
            else:
                start = self.loop.timer(MONITOR_DELAY, ref=False)
                start.start(self.start_periodic_monitoring_thread)

    if TYPE_CHECKING:

        @property
        def loop(self) -> loop:
            """The hub's callbacks and watchers; None once the hub is destroyed."""

        @loop.setter
        def loop(self, value: Any) -> None: ...

    # -- the hub's parts; subclasses and programs may replace them

    @property
    def loop_class(self) -> Any:
        """The class of hubs' loops, from the setting ``loop``; only the setting can change it."""
        return config.loop

    @property
    def backend(self) -> Any:
        """The name of the poller of new hubs, from the setting ``poller``; None: the best one."""
        return config.poller

    @property
    def threadpool_class(self) -> Any:
        """The class of :attr:`threadpool`, from the setting ``threadpool``."""
        return config.threadpool

    @property
    def resolver_class(self) -> Any:
        """The class of :attr:`resolver`, from the setting ``resolver``."""
        return config.resolver

    @property
    def threadpool_size(self) -> int:
        """The maximum number of threads in :attr:`threadpool`.

        Assigning has no effect once :attr:`threadpool` has been used.
        """
        size: int = self.__dict__.get("_threadpool_size", config.threadpool_size)
        return size

    @threadpool_size.setter
    def threadpool_size(self, value: int) -> None:
        self.__dict__["_threadpool_size"] = value

    @property
    def threadpool(self) -> AnyThreadPool:
        """The hub's pool of native threads, made on first use; may be assigned."""
        if self._threadpool is None:
            self._threadpool = self.threadpool_class(
                self.threadpool_size,
                hub=self,
                idle_task_timeout=config.threadpool_idle_task_timeout,
            )
        pool: AnyThreadPool = self._threadpool
        return pool

    @threadpool.setter
    def threadpool(self, value: AnyThreadPool | None) -> None:
        self._threadpool = value

    @threadpool.deleter
    def threadpool(self) -> None:
        self._threadpool = None

    @property
    def resolver(self) -> Any:
        """The resolver for the hub's DNS lookups, made on first use; may be assigned."""
        if self._resolver is None:
            self._resolver = self.resolver_class(hub=self)
        return self._resolver

    @resolver.setter
    def resolver(self, value: Any) -> None:
        self._resolver = value

    @resolver.deleter
    def resolver(self) -> None:
        self._resolver = None

    def start_periodic_monitoring_thread(self) -> Any:
        """Start a native thread that reports greenlets that block the hub, and return its monitor.

        If there is a monitor already, only return it. Call this in the hub's thread. A new monitor
        is announced as a :class:`~treadle.events.PeriodicMonitorThreadStartedEvent`. The setting
        ``monitor_thread`` starts a monitor for each hub, except those of treadle's own threads.
        """
        monitor = self.periodic_monitoring_thread
        if monitor is None:
            from treadle.observe.monitor import PeriodicMonitoringThread  # only for monitoring

            monitor = self.periodic_monitoring_thread = PeriodicMonitoringThread(self)
            if config.max_memory_usage or monitor.can_monitor_memory_usage():
                monitor.install_monitor_memory_usage()
            notify_and_call_entry_points(PeriodicMonitorThreadStartedEvent(monitor))
        return monitor

    # -- errors

    def handle_error(
        self,
        context: object,
        type: type[BaseException] | None,
        value: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        """Report an uncaught exception. Subclasses and instances may replace this method.

        *context* is what raised the exception: a greenlet, a callback or a watcher. The exception
        is printed to :attr:`exception_stream` unless ``NOT_ERROR`` lists it. If ``SYSTEM_ERROR``
        lists it, or *context* is None, it is also raised in the main greenlet. HubDestroyed is
        raised to the caller.
        """
        type, value, tb = self._normalize_exception(type, value, tb)
        if type is HubDestroyed:
            raise value
        if not issubclass(type, self.NOT_ERROR):
            self.print_exception(context, type, value, tb)
        if context is None or issubclass(type, self.SYSTEM_ERROR):
            self.handle_system_error(type, value, tb)

    def handle_system_error(
        self,
        type: type[BaseException] | None,
        value: BaseException | None,
        tb: TracebackType | None = None,
    ) -> None:
        """Raise the exception in the main greenlet, before anything else runs."""
        self.interrupt_main(self._normalize_exception(type, value, tb)[1])

    def print_exception(
        self,
        context: object,
        t: type[BaseException] | None,
        v: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        """Print the traceback and the exception's *context* to :attr:`exception_stream`."""
        stream = self.exception_stream
        if not stream:
            return
        t, v, tb = self._normalize_exception(t, v, tb)
        traceback.print_exception(t, v, tb, file=stream)
        if context is not None:
            text = context if isinstance(context, str) else self.format_context(context)
            stream.write(f"{text} failed with {t.__name__}\n\n")

    @staticmethod
    def _normalize_exception(
        type: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None
    ) -> tuple[type[BaseException], BaseException, TracebackType | None]:
        """Return the type, value and traceback of an exception; make the value if it is missing.

        If *type* and *value* are None, return those of the exception that is being handled. Raises
        TypeError if there is none.
        """
        if type is None and value is None:
            type, value, tb = sys.exc_info()
        if type is None:
            raise TypeError("an error's type may only be None while an exception is being handled")
        if not isinstance(value, BaseException):
            value = type() if value is None else type(value)
        return type, value, tb

    @property
    def exception_stream(self) -> TextIO | None:
        """The file that :meth:`print_exception` writes to; None: it prints nothing.

        This is standard error unless another file is assigned.
        """
        stream: TextIO | None = self.__dict__.get("_exception_stream", sys.stderr)
        return stream

    @exception_stream.setter
    def exception_stream(self, stream: TextIO | None) -> None:
        self.__dict__["_exception_stream"] = stream

    @exception_stream.deleter
    def exception_stream(self) -> None:
        self.__dict__.pop("_exception_stream", None)

    # -- waiting

    def wait(self, watcher: Watcher) -> None:
        """Wait until *watcher*, which must not be started, is ready.

        Raises InvalidSwitchError if the wait gets a value from elsewhere, and RuntimeError while
        the interpreter takes its modules apart: no callback of a watcher runs then.
        """
        if sys.is_finalizing():
            raise RuntimeError(f"can't wait for {watcher!r} at interpreter shutdown")
        waiter = Waiter(self)
        watcher.start(waiter.switch, waiter)
        try:
            result = waiter.get()
        finally:
            watcher.stop()
        if result is not waiter:
            raise InvalidSwitchError(
                f"{getcurrent()!r} waits for {watcher!r} and was handed {result!r}"
            )

    def cancel_wait(
        self,
        watcher: Watcher | None,
        error: BaseException | type[BaseException],
        close_watcher: bool = False,
    ) -> None:
        """Raise *error* in the greenlet that is in :meth:`wait` for *watcher*.

        With *close_watcher* the watcher is closed. Does nothing if *watcher* is None.
        """
        if watcher is None:
            return
        waiter = getattr(watcher.callback, "__self__", None)
        active = watcher.active
        if close_watcher:
            watcher.close()
        if active and isinstance(waiter, CoreWaiter):
            waiter.throw(error)

    def join(self, timeout: float | None = None) -> bool:
        """Wait until nothing is left to run or to wait for, at most *timeout* seconds.

        Return True if that happened in time or the hub is destroyed, else False. Raises
        RuntimeError in any thread but the hub's own.
        """
        return self.closed or self.wait_until_idle(timeout)

    def destroy(self, destroy_loop: bool | None = None) -> None:
        """Close the hub and its loop; greenlets that wait in it never run again.

        The next blocking call of the thread makes a new hub. *destroy_loop* is gevent's and
        ignored: a loop does not outlive its hub.
        """
        if self.closed:
            return
        if self._resolver is not None:
            self._resolver.close()
        if self._threadpool is not None:
            self._threadpool.kill()
        self._resolver = self._threadpool = None
        if self.periodic_monitoring_thread is not None:
            self.periodic_monitoring_thread.kill()
            self.periodic_monitoring_thread = None
        self.loop.destroy()

    def __repr__(self) -> str:
        state = f"{self.pending()} ready, {self.timer_count()} timers"
        if self.closed:
            state = "destroyed"
        name = f" {self.name!r}" if self.name else ""
        kind = type(self).__name__
        return f"<{kind}{name} at {id(self):#x} {state} thread_ident={self.thread_ident:#x}>"


def _make_loop(hub: Hub) -> Any:
    return config.loop(hub=hub)


core_hub.hub_class = Hub
core_hub.loop_class = _make_loop
core_thread_hub.describe_deadlock = describe_deadlock


def set_default_hub_class(hub_class: type[Hub]) -> None:
    """Set the class of hubs that are made from now on."""
    core_hub.hub_class = hub_class


def get_hub_class() -> type[Hub]:
    """Return the class of this thread's hub, or of the hub that it would get."""
    hub = get_hub_if_exists()
    return core_hub.hub_class if hub is None else type(hub)


def set_hub(hub: Hub | None) -> None:
    """Do nothing if *hub* is None or this thread's hub; raise TypeError for another hub.

    In gevent a program may replace or remove a thread's hub. In treadle a hub stays until it is
    destroyed.
    """
    if hub is not None and hub is not get_hub_if_exists():
        raise TypeError(f"a thread's hub is made by get_hub(), and cannot be set to {hub!r}")


def idle(priority: int = 0) -> None:
    """Wait until nothing else is ready to run. *priority* is gevent's and has no effect."""
    if sys.is_finalizing():
        return  # nothing else runs any more
    hub = get_hub()
    with hub.loop.idle(priority=priority) as watcher:
        hub.wait(watcher)


def reinit(hub: Any = None) -> None:
    """Do nothing, for gevent's callers: treadle renews the hub of a forked child by itself."""


class signal:
    """Call ``handler(*args, **kwargs)`` in a new greenlet whenever signal *signalnum* arrives.

    The loop may end while only this object waits, unless :attr:`ref` is true. An exception of the
    handler is passed to the hub's ``handle_error`` without a context, which raises it in the main
    greenlet. Raises TypeError if *handler* is not callable, and ValueError if *signalnum* is not
    the number of a signal or the current thread is not the main thread.
    """

    #: The class of the greenlets that run the handler.
    greenlet_class: type[Greenlet[Any]] = Greenlet

    def __init__(
        self, signalnum: int, handler: Callable[P, object], *args: P.args, **kwargs: P.kwargs
    ) -> None:
        if not callable(handler):
            raise TypeError(f"a signal handler must be callable, not {handler!r}")
        self.hub: Hub = get_hub()
        self.watcher: Any = self.hub.loop.signal(signalnum, ref=False)
        self.handler: Callable[..., object] | None = handler
        self.args: tuple[Any, ...] = args
        self.kwargs: dict[str, Any] = kwargs
        self.watcher.start(self.greenlet_class.spawn, self.handle)

    @property
    def ref(self) -> bool:
        """Whether the loop keeps running while this waits for its signal."""
        return bool(self.watcher.ref)

    @ref.setter
    def ref(self, value: bool) -> None:
        self.watcher.ref = value

    def cancel(self) -> None:
        """Stop calling the handler."""
        self.watcher.close()
        self.handler = None
        self.args, self.kwargs = (), {}

    def handle(self) -> None:
        """Call the handler now, in the current greenlet; do nothing after :meth:`cancel`."""
        if self.handler is None:
            return
        try:
            self.handler(*self.args, **self.kwargs)
        except BaseException:
            self.hub.handle_error(None, *sys.exc_info())
