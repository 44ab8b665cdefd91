"""An executor of :mod:`concurrent.futures` whose calls run in greenlets."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent import futures
from contextvars import Context
from functools import partial
from typing import Any, NamedTuple, ParamSpec, TypeVar

from treadle._core.context import copy_context
from treadle._core.native import allocate_lock
from treadle.event import Event
from treadle.greenlet import Greenlet, getcurrent
from treadle.hub import get_hub, get_hub_if_exists
from treadle.threadpool import Future, pools

__all__ = ["GreenletPoolExecutor"]

P = ParamSpec("P")
R = TypeVar("R")


class _Call(NamedTuple):
    """A call that was submitted to an executor."""

    future: Future[Any]
    function: Callable[[], Any]
    context: Context

    def run(self) -> None:
        """Call the function, unless the future was cancelled, and settle the future."""
        future = self.future
        try:
            if future.set_running_or_notify_cancel():
                future.set_result(self.function())
        except BaseException as exc:
            future.set_exception(exc)
        finally:
            del self, future  # the exception's traceback refers to this frame


class GreenletPoolExecutor(futures.Executor):
    """An executor that runs each call in a new greenlet.

    At most *max_workers* calls run at once; None: any number. The greenlets belong to the thread
    that makes the executor; any thread may submit calls. Its futures switch to other greenlets in
    ``result()``, :func:`concurrent.futures.wait` and :func:`~concurrent.futures.as_completed`,
    whether threading is patched or not. A future holds any exception that its call raises,
    including :class:`~treadle.GreenletExit` and other BaseExceptions. It can be cancelled until
    the call begins, as with the standard executors. A call runs in a copy of the context in which
    it was submitted. Running calls do not keep the program from ending, as no greenlets do: wait
    for them with the ``with`` statement or :meth:`shutdown`. In a forked child the executor has no
    calls.

    Raises ValueError if *max_workers* is less than 1.
    """

    def __init__(self, max_workers: int | None = None) -> None:
        if max_workers is not None and max_workers <= 0:
            raise ValueError(f"max_workers must be at least 1, not {max_workers!r}")
        self._max_workers = max_workers
        self._hub = get_hub()
        self._is_shut = False
        self._begin_anew()
        pools.add(self)

    def _begin_anew(self) -> None:
        self._submitting = allocate_lock()
        self._waiting: deque[_Call] = deque()
        #: The started calls, by their greenlets. Only the executor's own thread changes this.
        self._running: dict[Greenlet[None], _Call] = {}
        #: Set when the executor is shut down and all calls have ended.
        self._ended = Event()

    def __repr__(self) -> str:
        return (
            f"<{type(self).__name__} at {id(self):#x} running={len(self._running)} "
            f"waiting={len(self._waiting)} max_workers={self._max_workers}>"
        )

    def submit(self, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Future[R]:
        """Have a greenlet call ``fn(*args, **kwargs)``; return its future without blocking.

        Raises RuntimeError after :meth:`shutdown`, and if the executor's thread has ended.
        """
        if self._hub.closed:
            raise RuntimeError(f"cannot submit to {self!r}: its hub is closed")
        future: Future[R] = Future()
        call = _Call(future, partial(fn, *args, **kwargs), copy_context())
        with self._submitting:
            if self._is_shut:
                raise RuntimeError(f"cannot submit to {self!r} after its shutdown")
            self._waiting.append(call)
        self._go_on()
        return future

    def _go_on(self) -> None:
        """Start the calls that can start, in the executor's own thread."""
        if get_hub_if_exists() is self._hub:
            self._start_calls()
        else:
            self._hub.loop.run_callback_threadsafe(self._start_calls)

    def _start_calls(self) -> None:
        """Start waiting calls while fewer than *max_workers* run.

        This needs no lock, because it runs in the executor's own thread and does not switch.
        """
        while self._waiting and len(self._running) != self._max_workers:
            call = self._waiting.popleft()
            greenlet = Greenlet(call.run)
            greenlet.gr_context = call.context
            self._running[greenlet] = call
            greenlet.rawlink(self._on_end)
            greenlet.start()
        if self._is_shut and not self._running:
            self._ended.set()

    def _on_end(self, greenlet: Any) -> None:
        future = self._running.pop(greenlet).future
        if not future.done():  # killed before it began
            future.set_exception(greenlet.exception or greenlet.value)
        self._start_calls()

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Accept no more calls; if *wait*, wait until all calls have ended.

        With *cancel_futures*, cancel the calls that have not begun. Raises RuntimeError if a call
        of this executor would wait for itself.
        """
        with self._submitting:
            self._is_shut = True
        if cancel_futures:
            for call in [*self._waiting, *self._running.values()]:
                call.future.cancel()  # has no effect on a call that runs
        if self._hub.closed:
            return  # its calls never end
        self._go_on()
        if wait:
            if getcurrent() in self._running:
                raise RuntimeError(f"a call of {self!r} cannot wait for itself")
            self._ended.wait()
