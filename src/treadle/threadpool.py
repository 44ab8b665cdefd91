"""Pools of native threads for calls that block, with the interface of gevent.threadpool."""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Callable
from concurrent import futures
from concurrent.futures.thread import BrokenThreadPool
from contextlib import suppress
from functools import partial
from typing import Any, ParamSpec, Self, TypeVar
from weakref import WeakSet

from treadle._core.crew import Crew, Worker
from treadle._core.greenlet import getcurrent
from treadle._core.native import get_ident
from treadle.event import AsyncResult, Event
from treadle.hub import get_hub
from treadle.lock import Condition, Semaphore
from treadle.pool import AnyThreadPool

__all__ = ["ThreadPool", "ThreadPoolExecutor", "ThreadResult"]

P = ParamSpec("P")
R = TypeVar("R")


class ThreadResult(AsyncResult[R]):
    """The result of :meth:`ThreadPool.spawn`: the function's value or exception."""

    __slots__ = ()


def _get_thread_trace() -> Any:
    """Return the trace function that :mod:`threading` has for all threads."""
    return threading.gettrace()


def _get_thread_profile() -> Any:
    """Return the profile function that :mod:`threading` has for all threads."""
    return threading.getprofile()


class _WorkerGreenlet(Worker):
    """Runs the calls of a thread pool or executor, in a native thread of its own.

    A subclass that is assigned to ``ThreadPool._WorkerGreenlet`` may override the methods that run
    before and after each call. The result's ``get()`` raises their exceptions.
    """

    def __init__(self, threadpool: Any) -> None:
        super().__init__()
        # A string, so that a worker keeps neither its pool nor the hub alive.
        self._hub_text = object.__repr__(threadpool.hub)

    def __repr__(self) -> str:
        ident = f"thread_ident={self.ident:#x}"
        return f"<ThreadPoolWorker at {id(self):#x} {ident} threadpool-hub={self._hub_text}>"

    def _before_run_task(
        self,
        func: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        thread_result: Any,
        _sys: Any = sys,
        _get_thread_profile: Callable[[], Any] = _get_thread_profile,
        _get_thread_trace: Callable[[], Any] = _get_thread_trace,
    ) -> None:
        """Set the profile and trace functions that :mod:`threading` has for all threads, if any."""
        profile = _get_thread_profile()
        if profile is not None:
            _sys.setprofile(profile)
        trace = _get_thread_trace()
        if trace is not None:
            _sys.settrace(trace)

    def _after_run_task(
        self,
        func: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        thread_result: Any,
        _sys: Any = sys,
    ) -> None:
        """Remove the thread's profile and trace functions, also those that the call set."""
        if _sys.getprofile() is not None:
            _sys.setprofile(None)
        if _sys.gettrace() is not None:
            _sys.settrace(None)


def _run_task(
    func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], thread_result: Any
) -> Any:
    """Call *func*, in a worker with the worker's methods before and after it.

    The current greenlet is not a worker if no thread can be started any more.
    """
    worker = getcurrent()
    if not isinstance(worker, _WorkerGreenlet):
        return func(*args, **kwargs)
    try:
        worker._before_run_task(func, args, kwargs, thread_result)
        return func(*args, **kwargs)
    finally:
        worker._after_run_task(func, args, kwargs, thread_result)
        del thread_result, args, kwargs  # the exception's traceback refers to this frame


class ThreadPool(AnyThreadPool):
    """A pool of at most *maxsize* native threads that call functions for greenlets.

    Threads are started when they are needed. A thread ends after *idle_task_timeout* seconds
    without work; -1: never. An exception of a function is raised by the result's ``get()`` and
    passed to ``handle_error()`` of *hub*, by default this thread's hub. Any thread may use the
    pool. In a forked child the pool has no threads at first. ``len()`` is the number of calls that
    have not ended.
    """

    #: The class that runs the calls in each thread.
    _WorkerGreenlet = _WorkerGreenlet

    def __init__(self, maxsize: int, hub: Any = None, idle_task_timeout: float = -1) -> None:
        self.hub: Any = get_hub() if hub is None else hub
        self._idle_seconds = None if idle_task_timeout < 0 else idle_task_timeout
        self._maxsize = 0
        self._crew = Crew(self._idle_seconds, counted=True)
        self._places = Semaphore(1)  # maxsize + 1 in all: one call may wait for a free worker
        self._debt = 0  # the number of places to drop when they are given back
        self.maxsize = maxsize
        pools.add(self)

    def __repr__(self) -> str:
        return (
            f"<{type(self).__name__} at {id(self):#x} tasks={len(self)} size={self.size} "
            f"maxsize={self.maxsize}>"
        )

    def __len__(self) -> int:
        return self._crew.tasks.unfinished_tasks

    @property
    def task_count(self) -> int:
        """The number of calls that have not ended."""
        return len(self)

    @property
    def maxsize(self) -> int:
        """The maximum number of threads; may be assigned.

        Assigning raises TypeError if the value is not an integer, ValueError if it is negative.
        """
        return self._maxsize

    @maxsize.setter
    def maxsize(self, value: int) -> None:
        if not isinstance(value, int):
            raise TypeError(f"maxsize must be an integer, not {value!r}")
        if value < 0:
            raise ValueError(f"maxsize must not be negative: {value!r}")
        more = value - self._maxsize
        self._maxsize = value
        for _ in range(more):
            self._give_place()
        for _ in range(-more):
            if not self._places.acquire(blocking=False):
                self._debt += 1
        self._crew.dismiss(value)
        self._crew.start_missing(value, self._make_worker)

    def _make_worker(self) -> Worker:
        return self._WorkerGreenlet(self)

    def _give_place(self) -> None:
        if self._debt > 0:
            self._debt -= 1
        else:
            self._places.release()

    @property
    def size(self) -> int:
        """The number of threads.

        Assigning starts threads, or tells threads to end after the queued calls and waits for
        that. It raises ValueError if the value is negative or above ``maxsize``.
        """
        return len(self._crew.workers)

    @size.setter
    def size(self, value: int) -> None:
        if not 0 <= value <= self._maxsize:
            raise ValueError(f"size must be between 0 and maxsize {self._maxsize}: {value!r}")
        while self._crew.staying < value:
            self._crew.start_worker(self._make_worker())
        self._crew.dismiss(value)
        self._crew.await_leaves()

    def spawn(  # type: ignore[override]  # gevent's takes func= as well
        self, func: Callable[P, R], *args: P.args, **kwargs: P.kwargs
    ) -> ThreadResult[R]:
        """Have a thread call ``func(*args, **kwargs)``; return a :class:`ThreadResult` for it.

        Block while ``maxsize + 1`` calls have not ended: one call may wait for a thread. Raises
        RuntimeError if the pool has no thread and the system refuses to start one.
        """
        places = self._places
        places.acquire()
        result: ThreadResult[R] = ThreadResult()
        task = partial(self._call, places, result, func, args, kwargs)
        try:
            self._crew.submit(task, self._maxsize, self._make_worker)
        except BaseException:
            self._end_call(places)
            raise
        return result

    def _call(
        self,
        places: Semaphore,
        result: ThreadResult[R],
        func: Callable[..., R],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> None:
        """Run a call of :meth:`spawn` in a worker and set its *result*."""
        try:
            value = _run_task(func, args, kwargs, result)
        except BaseException as exc:
            self._end_call(places)
            result.set_exception(exc)
            self._report(func, exc)
        else:
            self._end_call(places)
            result.set(value)
        finally:
            del result, args, kwargs  # the exception's traceback refers to this frame

    def _end_call(self, places: Semaphore) -> None:
        if places is self._places:  # the place is not from before a fork
            self._give_place()

    def _report(self, func: Callable[..., Any], exc: BaseException) -> None:
        """Pass the exception to the hub, in the hub's thread; do nothing if the hub is closed."""
        if not self.hub.closed:
            self.hub.loop.run_callback_threadsafe(
                self.hub.handle_error, (self, func), type(exc), exc, exc.__traceback__
            )

    def join(self) -> None:
        """Wait until all calls have ended."""
        self._crew.tasks.join()

    def kill(self) -> None:
        """Tell all threads to end after the queued calls, and wait until they have ended.

        The pool can be used afterwards: :meth:`spawn` starts threads again.
        """
        self.size = 0

    def __del__(self) -> None:
        crew = getattr(self, "_crew", None)
        if crew is not None and not sys.is_finalizing():
            crew.dismiss()

    def _begin_anew(self) -> None:
        """Start with no threads and no calls, in a forked child: the parent's are not there."""
        self._crew = Crew(self._idle_seconds, counted=True)
        self._places = Semaphore(self._maxsize + 1)
        self._debt = 0

    def _apply_immediately(self) -> bool:
        return self._crew.is_worker()

    def _apply_async_use_greenlet(self) -> bool:
        return True

    def _apply_async_cb_spawn(self, callback: Callable[[R], object], result: R) -> None:
        callback(result)


#: The pools and executors whose ``_begin_anew()`` is called in a forked child.
pools: WeakSet[Any] = WeakSet()
#: The crews of all executors, also of those that are gone: their threads may still work.
_crews_of_executors: WeakSet[Crew] = WeakSet()


def begin_anew_in_child() -> None:
    """Reset all pools and executors, after a fork in the child."""
    _crews_of_executors.clear()  # of the parent's threads, which are not there
    for pool in pools:
        pool._begin_anew()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=begin_anew_in_child)


class _Waiters(list[Any]):
    """The waiters of a future that :func:`concurrent.futures.wait` and ``as_completed`` add."""

    def append(self, waiter: Any) -> None:
        """Add *waiter*; replace its event, which may be an event of the unpatched threading."""
        if not isinstance(waiter.event, Event):
            waiter.event = Event()
        super().append(waiter)


class Future(futures.Future[R]):
    """A future whose waits switch to other greenlets, whether threading is patched or not.

    :func:`concurrent.futures.wait` and :func:`~concurrent.futures.as_completed` also switch to
    other greenlets if one of their futures is of this class.
    """

    def __init__(self) -> None:
        super().__init__()
        self._condition = Condition()  # type: ignore[assignment]
        self._waiters = _Waiters()

    def rawlink(self, callback: Callable[[Self], object]) -> None:
        """Call ``callback(self)`` in this thread's hub once the future is done.

        :func:`treadle.wait` and :func:`treadle.iwait` use this.
        """
        loop = get_hub().loop
        self.add_done_callback(lambda _: loop.run_callback_threadsafe(callback, self))

    def unlink(self, callback: Callable[[Any], object]) -> None:
        """Do nothing: a future calls all linked callbacks."""

    def ready(self) -> bool:
        """Return whether the future is done."""
        return self.done()


class ThreadPoolExecutor(futures.ThreadPoolExecutor):
    """An executor like :class:`concurrent.futures.ThreadPoolExecutor`, with the same arguments.

    It always uses native threads, even if threading is patched. Its futures always switch to other
    greenlets in ``result()``, even if threading is not patched. The end of the program waits for
    all submitted calls. In a forked child the executor has no threads and no calls at first.
    """

    #: None: an executor does not belong to a hub.
    hub: Any = None

    def __init__(
        self,
        max_workers: int | None = None,
        thread_name_prefix: str = "",
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
    ) -> None:
        super().__init__(max_workers, thread_name_prefix)
        if initializer is not None and not callable(initializer):
            raise TypeError("initializer must be a callable")
        self._first_call = None if initializer is None else partial(initializer, *initargs)
        self._is_shut = False
        #: Why no call can run any more, since the initializer failed; else empty.
        self._fault = ""
        self._begin_anew()
        pools.add(self)

    def _begin_anew(self) -> None:
        self._crew = Crew(None, counted=True)
        self._initialized: set[int] = set()
        _crews_of_executors.add(self._crew)

    def submit(self, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Future[R]:
        """Have a thread call ``fn(*args, **kwargs)``; return a :class:`Future` without blocking.

        Raises RuntimeError after :meth:`shutdown` and while the interpreter ends, and its subclass
        BrokenThreadPool if the initializer has failed.
        """
        if self._fault:
            raise BrokenThreadPool(self._fault)
        if self._is_shut:
            raise RuntimeError("cannot schedule new futures after shutdown")
        if _is_ending:
            raise RuntimeError("cannot schedule new futures after interpreter shutdown")
        future: Future[R] = Future()
        task = partial(self._call, future, fn, args, kwargs)
        self._crew.submit(task, self._max_workers, partial(_WorkerGreenlet, self))
        return future

    def _call(
        self,
        future: Future[R],
        fn: Callable[..., R],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> None:
        """Run a call of :meth:`submit` in a worker and settle its *future*."""
        try:
            if future.set_running_or_notify_cancel():
                self._initialize()
                future.set_result(_run_task(fn, args, kwargs, future))
        except BaseException as exc:
            future.set_exception(exc)
        finally:
            del future, args, kwargs  # the exception's traceback refers to this frame

    def _initialize(self) -> None:
        """Call the initializer if the current thread has not called it yet.

        If it raises an exception, break the executor. Raises BrokenThreadPool if it is broken.
        """
        ident = get_ident()
        if self._first_call is not None and ident not in self._initialized and not self._fault:
            try:
                self._first_call()
            except BaseException:
                logging.getLogger("concurrent.futures").critical(
                    "Exception in initializer:", exc_info=True
                )
                self._fault = "A thread initializer failed, the thread pool is not usable anymore"
                for future in self._take_back_all():
                    if future.set_running_or_notify_cancel():
                        future.set_exception(BrokenThreadPool(self._fault))
            else:
                self._initialized.add(ident)
        if self._fault:
            raise BrokenThreadPool(self._fault)

    def _take_back_all(self) -> list[Future[Any]]:
        """Take the calls that have not begun from the queue, and return their futures."""
        return [task.args[0] for task in self._crew.take_back(lambda _: True)]

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Accept no more calls; if *wait*, wait until all calls and threads have ended.

        With *cancel_futures*, cancel the calls that have not begun. Raises RuntimeError if a call
        of this executor would wait for itself.
        """
        self._is_shut = True
        if cancel_futures:
            for future in self._take_back_all():
                future.cancel()
                future.set_running_or_notify_cancel()
        self._crew.dismiss()
        if wait:
            self._crew.await_leaves()

    kill = shutdown

    def __del__(self) -> None:
        crew = getattr(self, "_crew", None)
        if crew is not None and not sys.is_finalizing():
            crew.dismiss()


_is_ending = False


def _await_calls_of_executors() -> None:
    """Wait for the calls of all executors, at the program's end, as the standard executors do."""
    global _is_ending
    _is_ending = True
    crews = list(_crews_of_executors)
    for crew in crews:
        crew.dismiss()
    for crew in crews:
        crew.await_leaves()


with suppress(RuntimeError):  # the program is ending already
    threading._register_atexit(_await_calls_of_executors)  # type: ignore[attr-defined]
