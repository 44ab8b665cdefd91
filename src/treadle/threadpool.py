"""Pools of native threads for what cannot cooperate: what gevent.threadpool offers."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from concurrent import futures
from concurrent.futures.thread import BrokenThreadPool
from functools import partial
from typing import Any, ParamSpec, Self, TypeVar
from weakref import WeakSet

from treadle._core.crew import Crew, Leave, Worker
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
    """What :meth:`ThreadPool.spawn` returns: gets the function's value or exception."""

    __slots__ = ()


def _get_thread_trace() -> Any:
    """The trace function for threads: :func:`threading.gettrace`, if that was ever imported."""
    threading = sys.modules.get("threading")
    return None if threading is None else threading.gettrace()


def _get_thread_profile() -> Any:
    """The profile function for threads, as :func:`_get_thread_trace`."""
    threading = sys.modules.get("threading")
    return None if threading is None else threading.getprofile()


class _WorkerGreenlet(Worker):
    """Runs the calls of a :class:`ThreadPool`, in a native thread of its own.

    A subclass at ``ThreadPool._WorkerGreenlet`` may override what is done before and after each
    call. What they raise is raised in ``get()``.
    """

    def __init__(self, threadpool: Any) -> None:
        super().__init__()
        # Text: a worker keeps neither its pool nor the hub alive.
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
        """Set the profile and trace functions that are set for all threads now, if any."""
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
        """Take them away again, and those that the call set."""
        if _sys.getprofile() is not None:
            _sys.setprofile(None)
        if _sys.gettrace() is not None:
            _sys.settrace(None)


def _run_task(
    func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], thread_result: Any
) -> Any:
    """Call *func* in its worker, or, where none can be started any more, in any greenlet."""
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
    """At most *maxsize* native threads that call functions for greenlets.

    Threads are started when they are needed and stay; with *idle_task_timeout* (seconds, -1:
    never) one that had nothing to do for that long ends. Errors of the functions go to the
    ``handle_error`` of *hub*, by default this thread's, besides being raised in ``get()``. The
    pool may be used from any thread. A forked child begins with no threads. The length is the
    number of calls that have not ended.
    """

    #: What runs the calls in each thread.
    _WorkerGreenlet = _WorkerGreenlet

    def __init__(self, maxsize: int, hub: Any = None, idle_task_timeout: float = -1) -> None:
        self.hub: Any = get_hub() if hub is None else hub
        self._idle_seconds = None if idle_task_timeout < 0 else idle_task_timeout
        self._maxsize = 0
        self._crew = Crew(self._idle_seconds)
        self._places = Semaphore(1)  # the call that waits for the first worker to be free
        self._debt = 0  # places to be dropped when they are given back
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
        """How many calls have not ended."""
        return len(self)

    @property
    def maxsize(self) -> int:
        """The limit of threads; may be changed.

        TypeError for what is no integer, ValueError for a negative one.
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
        self._crew.dismiss(max(0, self.size - value))
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
        """How many threads there are.

        Setting it starts threads, or waits until enough of them have done their work and ended.
        ValueError if it is negative or above ``maxsize``.
        """
        return len(self._crew.workers)

    @size.setter
    def size(self, value: int) -> None:
        if not 0 <= value <= self._maxsize:
            raise ValueError(f"size must be between 0 and maxsize {self._maxsize}: {value!r}")
        while self.size < value:
            self._crew.start_worker(self._make_worker())
        if self.size > value:
            self._crew.await_leaves(self._crew.dismiss(self.size - value))

    def spawn(self, func: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> ThreadResult[R]:
        """Have a thread call ``func(*args, **kwargs)``; returns the result to come.

        Waits while one more than ``maxsize`` calls have not ended: one may wait for a thread.
        """
        places = self._places
        places.acquire()
        result: ThreadResult[R] = ThreadResult()
        task = partial(self._call, places, result, func, args, kwargs)
        self._crew.submit(task, self._maxsize, self._make_worker)
        return result

    def _call(
        self,
        places: Semaphore,
        result: ThreadResult[R],
        func: Callable[..., R],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> None:
        """What a worker does for :meth:`spawn`."""
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
        if places is self._places:  # not one from before a fork
            self._give_place()

    def _report(self, func: Callable[..., Any], exc: BaseException) -> None:
        """Hand the error to the hub, in its thread; a hub that was closed hears no more."""
        if not self.hub.closed:
            self.hub.loop.run_callback_threadsafe(
                self.hub.handle_error, (self, func), type(exc), exc, exc.__traceback__
            )

    def join(self) -> None:
        """Wait until all calls have ended."""
        self._crew.tasks.join()

    def kill(self) -> None:
        """Let all threads do what is waiting and end, and wait for that; more may be spawned."""
        self.size = 0

    def __del__(self) -> None:
        crew = getattr(self, "_crew", None)
        if crew is not None and not sys.is_finalizing():
            crew.dismiss(len(crew.workers))

    def _begin_anew(self) -> None:
        """In a forked child: the parent's threads and what they had to do are not here."""
        self._crew = Crew(self._idle_seconds)
        self._places = Semaphore(self._maxsize + 1)
        self._debt = 0

    def _apply_immediately(self) -> bool:
        return self._crew.is_worker()

    def _apply_async_use_greenlet(self) -> bool:
        return True

    def _apply_async_cb_spawn(self, callback: Callable[[R], object], result: R) -> None:
        callback(result)


#: What a forked child begins anew with, by ``_begin_anew()``.
pools: WeakSet[Any] = WeakSet()


def begin_anew_in_child() -> None:
    """What fork() calls in the child."""
    for pool in pools:
        pool._begin_anew()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=begin_anew_in_child)


class _Waiters(list[Any]):
    """Those who wait for several futures at once, by :mod:`concurrent.futures`."""

    def append(self, waiter: Any) -> None:
        """Add *waiter*, which waits on an event that the unpatched :mod:`threading` made."""
        if not isinstance(waiter.event, Event):
            waiter.event = Event()
        super().append(waiter)


class Future(futures.Future[R]):
    """A future for which greenlets and threads wait cooperatively, whatever is patched.

    So do :func:`concurrent.futures.wait` and :func:`~concurrent.futures.as_completed` if it is
    among those they are given.
    """

    def __init__(self) -> None:
        super().__init__()
        self._condition = Condition()  # type: ignore[assignment]
        self._waiters = _Waiters()

    def rawlink(self, callback: Callable[[Self], object]) -> None:
        """Call ``callback(self)`` in this thread's hub once it is done; treadle.wait() does so."""
        loop = get_hub().loop
        self.add_done_callback(lambda _: loop.run_callback_threadsafe(callback, self))

    def unlink(self, callback: Callable[[Any], object]) -> None:
        """Do nothing: a future calls all linked callbacks."""

    def ready(self) -> bool:
        """Whether it is done."""
        return self.done()


class ThreadPoolExecutor(futures.ThreadPoolExecutor):
    """The standard executor with native threads, even when threading is patched.

    Takes its arguments; its futures let other greenlets run in ``result()``, even when threading
    is not patched.
    """

    #: It belongs to none.
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
        self._crew = Crew(None)
        self._first_call = None if initializer is None else partial(initializer, *initargs)
        self._initialized: set[int] = set()
        self._is_shut = False

    def submit(self, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Future[R]:
        """Have a thread call ``fn(*args, **kwargs)``; never waits.

        Raises RuntimeError after :meth:`shutdown`.
        """
        if self._is_shut:
            raise RuntimeError("cannot schedule new futures after shutdown")
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
        """What a worker does for :meth:`submit`."""
        try:
            if future.set_running_or_notify_cancel():
                self._initialize()
                future.set_result(_run_task(fn, args, kwargs, future))
        except BaseException as exc:
            future.set_exception(exc)
        finally:
            del future, args, kwargs  # the exception's traceback refers to this frame

    def _initialize(self) -> None:
        """Call the initializer, once in each thread."""
        ident = get_ident()
        if self._first_call is None or ident in self._initialized:
            return
        try:
            self._first_call()
        except BaseException as exc:
            raise BrokenThreadPool("the initializer failed") from exc
        self._initialized.add(ident)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more; if *wait*, wait until everything is done and the threads have ended.

        With *cancel_futures* what has not begun is cancelled.
        """
        self._is_shut = True
        crew = self._crew
        told_to_leave = []
        while cancel_futures and crew.tasks.qsize() > 0:
            task = crew.tasks.get()
            if isinstance(task, Leave):
                told_to_leave.append(task)
            else:
                future: Future[Any] = task.args[0]
                future.cancel()
                future.set_running_or_notify_cancel()
            crew.tasks.task_done()
        for leave in told_to_leave:
            crew.tasks.put(leave)
        leaves = crew.dismiss(len(crew.workers))
        if wait:
            crew.await_leaves(leaves)

    kill = shutdown
