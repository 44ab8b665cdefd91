"""Native threads that call functions, for the thread pools and for calls that would block.

The thread pools of hubs belong to the program. treadle's own calls have separate threads, grouped
by how long a call may take, so that a slow call does not delay others: DNS lookups, file
operations, and waits.
"""

from __future__ import annotations

import os
import sys
from _queue import Empty  # the queue module would load threading before any patching
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar
from weakref import WeakSet

from treadle._core.event import AsyncResult, Event
from treadle._core.greenlet import ThreadStart, getcurrent
from treadle._core.hub import ThreadMain, get_existing_hub
from treadle._core.native import get_ident, start_new_thread
from treadle._core.queues import Queue
from treadle._core.thread_hub import ThreadHub, hub_for_waiting

R = TypeVar("R")


class Worker(ThreadMain):
    """Runs the tasks of a crew in a native thread of its own.

    It is not the thread's first greenlet but another one, so that tools can tell what runs in it.
    """

    #: For :class:`treadle.util.GreenletTree`.
    greenlet_tree_is_root = True

    #: The ident of its native thread; 0 until the thread runs.
    ident: int = 0

    def begin(self, crew: Crew) -> None:
        """Run the worker in the current thread, as the thread's main function."""
        self.ident = get_ident()
        first: Any = getcurrent()
        first.greenlet_tree_is_ignored = True
        self.parent = first
        self.switch(crew)

    def run(self, crew: Crew) -> None:
        """Run tasks until the worker has been idle for too long or is told to leave."""
        leave: Leave | None = None
        try:
            while leave is None:
                order = crew.do_next(next_task(crew, self))
                if order is not None and crew.lets_go(self, order):
                    leave = order
        except Empty:
            pass
        finally:
            crew.workers.discard(self)
            hub = get_existing_hub()  # a task may have made one
            if hub is not None and not threads_in(hub):
                hub.close()
            if leave is not None:
                leave.taken = True
            crew.worker_left.set()
            if hub is not None and not hub.closed:
                end_threads(hub)


def threads_in(hub: Any) -> list[ThreadStart]:
    """Return the greenlets of *hub* that stand for threads: tasks started them, patched."""
    return [fiber for fiber in hub.fibers() if isinstance(fiber, ThreadStart)]


def end_threads(hub: Any) -> None:
    """Close the current thread's *hub* once no greenlet is left in it that stands for a thread.

    They outlive the task that started them, as threads do.
    """
    while threads := threads_in(hub):
        threads[0].join()
    hub.close()


class Leave:
    """A task that tells one worker to end."""

    __slots__ = ("taken",)

    def __init__(self) -> None:
        #: Whether a worker has taken it and ended, or was needed and stayed.
        self.taken: bool = False


class Job:
    """A task, and the hub that it keeps from being idle, if any."""

    __slots__ = ("hub", "task")

    def __init__(self, task: partial[None], hub: ThreadHub | None) -> None:
        self.task: partial[None] | None = task
        self.hub: ThreadHub | None = hub
        if hub is not None:
            hub.begin_job()

    def end(self) -> None:
        """Let the hub be idle. Any thread may call it, once."""
        if self.hub is not None:
            self.hub.end_job()


def get_from_thread(result: AsyncResult[R]) -> R:
    """Wait for a *result* that a native thread sets; the current thread is not idle meanwhile."""
    hub = hub_for_waiting()
    if hub is None:
        return result.get()
    hub.begin_job()
    try:
        return result.get()
    finally:
        hub.end_job()


#: All crews of the process.
all_crews: WeakSet[Crew] = WeakSet()


def all_workers() -> list[Worker]:
    """Return the workers of all crews."""
    return [worker for crew in list(all_crews) for worker in list(crew.workers)]


def count_tasks() -> int:
    """Return how many tasks of all crews are queued or running."""
    return sum(crew.tasks.unfinished_tasks for crew in list(all_crews))


class Crew:
    """The workers of a pool and their tasks; independent of the pool.

    Any thread may call its methods. If *counted*, a task keeps the hub of the thread that submits
    it from being idle until it has ended.
    """

    def __init__(self, idle_seconds: float | None, counted: bool = False) -> None:
        self.idle_seconds = idle_seconds
        self.counted = counted
        #: Functions to call, and orders to leave.
        self.tasks: Queue[Job | Leave] = Queue()
        self.workers: set[Worker] = set()
        #: The orders to leave that no worker has taken yet.
        self.orders: set[Leave] = set()
        self.worker_left: Event = Event()
        all_crews.add(self)

    @property
    def staying(self) -> int:
        """The number of workers that are not told to leave."""
        return len(self.workers) - len(self.orders)

    def submit(
        self, task: partial[None], limit: int, make_worker: Callable[[], Worker] = Worker
    ) -> None:
        """Have a worker call *task*; start one if none is idle and there are fewer than *limit*.

        If the system refuses a thread, the other workers come to the task. If there are none, or no
        *limit*, the task is dropped and the RuntimeError is raised: a call that needs a thread of
        its own must not wait for one. If no thread can be started any more, because the interpreter
        is ending, the task is called in the current thread.
        """
        if sys.is_finalizing():
            task()
            return
        hub = hub_for_waiting()
        job = Job(task, hub if self.counted else None)
        self.tasks.put(job)
        # qsize() does not count tasks that are promised to an idle worker.
        if self.tasks.qsize() > 0 and self.staying < limit:
            try:
                self.start_worker(make_worker())
            except BaseException as exc:
                refused = isinstance(exc, RuntimeError)
                if refused and "shutdown" in str(exc):
                    if not self.workers:
                        self.work_here()
                elif not (refused and self.workers and limit < sys.maxsize) and self.drop(job):
                    raise

    def drop(self, job: Job) -> bool:
        """Take *job* from the queue; return False if a worker has taken it already."""
        return bool(self.take_back(lambda queued: queued is job))

    def take_back(self, chosen: Callable[[Job], bool]) -> list[partial[None]]:
        """Take the jobs for which ``chosen(job)`` is true from the queue; return their tasks."""
        taken: list[Job] = []
        kept: list[Job | Leave] = []
        with suppress(Empty):
            while True:
                each = self.tasks.get_nowait()
                if isinstance(each, Job) and chosen(each):
                    taken.append(each)
                else:
                    kept.append(each)
        for other in kept:
            self.tasks.put(other)
        for _ in range(len(kept) + len(taken)):
            self.tasks.task_done()
        for job in taken:
            job.end()
        return [job.task for job in taken if job.task is not None]

    def start_missing(self, limit: int, make_worker: Callable[[], Worker]) -> None:
        """Start workers for the tasks that wait for one, up to *limit* workers in all."""
        waiting = self.tasks.qsize() - len(self.orders)
        for _ in range(min(waiting, limit - self.staying)):
            self.start_worker(make_worker())

    def start_worker(self, worker: Worker) -> None:
        """Start the native thread of *worker*."""
        self.workers.add(worker)
        try:
            start_new_thread(worker.begin, (self,))
        except BaseException:
            self.workers.discard(worker)
            raise

    def work_here(self) -> None:
        """Run all queued tasks in the calling thread."""
        while self.tasks.qsize() > 0:
            leave = self.do_next(self.tasks.get())
            if leave is not None:
                self.orders.discard(leave)
                leave.taken = True

    def do_next(self, task: Job | Leave) -> Leave | None:
        """Do a job, whose task must not raise, and return None; return a :class:`Leave` undone."""
        if isinstance(task, Leave):
            self.tasks.task_done()
            return task
        try:
            if task.task is not None:
                task.task()
        finally:
            task.task = None  # it holds the arguments and, by the result, an exception's frames
            self.tasks.task_done()
            task.end()
        return None

    def lets_go(self, worker: Worker, leave: Leave) -> bool:
        """Take the order that *worker* got; return whether the worker may leave.

        It must stay if a task is queued and no other worker is going to stay.
        """
        # A submit() from here on does not count this worker; an earlier one may have.
        self.workers.discard(worker)
        self.orders.discard(leave)
        if self.tasks.qsize() <= len(self.orders) or self.staying > 0:
            return True
        self.workers.add(worker)
        leave.taken = True
        self.worker_left.set()
        return False

    def dismiss(self, staying: int = 0) -> None:
        """Tell all workers but *staying* to leave after the tasks that are queued now."""
        for _ in range(self.staying - staying):
            leave = Leave()
            self.orders.add(leave)
            self.tasks.put(leave)

    def await_leaves(self) -> None:
        """Wait until the workers that are told to leave have left. Others may remain.

        Raises RuntimeError if the caller is one of them.
        """
        hub_for_waiting()
        leaves = list(self.orders)
        if leaves and self.staying <= 0 and self.is_worker():
            raise RuntimeError("a thread of a pool cannot wait for its own end")
        while True:
            # First, so that a worker that leaves between the check and the wait is not missed.
            self.worker_left.clear()
            if not self.workers:
                self.work_here()  # the orders for workers that ended because they were idle
            if all(leave.taken for leave in leaves):
                return
            self.worker_left.wait()

    def is_worker(self) -> bool:
        """Return whether the calling thread is one of the workers' threads."""
        ident = get_ident()
        return any(worker.ident == ident for worker in self.workers)


def next_task(crew: Crew, worker: Worker) -> Job | Leave:
    """Wait for a task and return it. Raises Empty if the worker has been idle for too long."""
    while True:
        try:
            return crew.tasks.get(timeout=crew.idle_seconds)
        except Empty:
            # A submit() from here on does not count this worker; an earlier one may have.
            crew.workers.discard(worker)
            if crew.tasks.empty():
                raise
            crew.workers.add(worker)


#: A thread of :class:`Threads` ends after this many seconds without work.
IDLE_SECONDS = 5.0


class Threads:
    """At most *limit* native threads for one kind of call, shared by the whole process."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.begin()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self.begin)

    def begin(self) -> None:
        """Start with no threads; also called in a forked child, as the parent's are not there."""
        self.crew: Crew = Crew(IDLE_SECONDS)

    def submit(self, task: partial[None]) -> None:
        """Have a thread call *task*, which must not raise."""
        self.crew.submit(task, self.limit)

    def apply(
        self,
        function: Callable[..., R],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
        *,
        to_the_end: bool = False,
    ) -> R:
        """Call *function* in a thread and wait; return what it returns or raise what it raises.

        If the caller is interrupted before a thread begins the call, it is not made. After that, it
        goes on, and with *to_the_end* the exception is raised when it has ended.
        """
        result: AsyncResult[R] = AsyncResult()
        once: list[None] = [None]
        self.submit(partial(answer, result, once, function, args, kwargs or {}))
        try:
            return get_from_thread(result)
        except BaseException:
            try:
                once.pop()
            except IndexError:
                if to_the_end:
                    result.wait()
            raise


def answer(
    result: AsyncResult[R],
    once: list[None],
    function: Callable[..., R],
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
) -> None:
    """Call *function* and store its outcome in *result*; the task of :meth:`Threads.apply`.

    The list *once* is empty if nobody wants the call any more.
    """
    try:
        once.pop()
    except IndexError:
        return
    try:
        result.set(function(*args, **kwargs))
    except BaseException as exc:
        result.set_exception(exc)
    finally:
        del result, args, kwargs  # the exception's traceback refers to this frame


#: For calls that take as long as a disk or a network file system does.
files = Threads(32)
#: For calls that may take for ever. Without a limit, as one call may wait for what another does.
waits = Threads(sys.maxsize)
