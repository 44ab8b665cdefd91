"""Native threads that call functions: beneath the thread pools, and for calls that would block.

The pools of hubs are their programs'. What treadle itself calls in threads has threads of its own,
by how long it may take, so that nothing that is slow holds up something else: look-ups of names,
operations on files, and waits.
"""

from __future__ import annotations

import os
import sys
from _queue import Empty  # by way of queue it would load threading, before any patching
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, TypeVar

from treadle._core.event import AsyncResult, Event
from treadle._core.greenlet import getcurrent
from treadle._core.hub import ThreadMain, get_existing_hub
from treadle._core.native import get_ident, start_new_thread
from treadle._core.queues import Queue

R = TypeVar("R")


class Worker(ThreadMain):
    """Does a crew's work, in a native thread of its own.

    Not in the thread's first greenlet, so that it can be told what runs in it.
    """

    #: For :class:`treadle.util.GreenletTree`.
    greenlet_tree_is_root = True

    #: Of its native thread, once that runs.
    ident: int = 0

    def begin(self, crew: Crew) -> None:
        """The main function of its thread."""
        self.ident = get_ident()
        first: Any = getcurrent()
        first.greenlet_tree_is_ignored = True
        self.parent = first
        self.switch(crew)

    def run(self, crew: Crew) -> None:
        """Work until it has nothing to do for too long or is told to leave."""
        leave: Leave | None = None
        try:
            while leave is None:
                leave = crew.do_next(next_task(crew, self))
        except Empty:
            pass
        finally:
            crew.workers.discard(self)
            hub = get_existing_hub()  # a task may have made one
            if hub is not None:
                hub.close()
            if leave is not None:
                leave.taken = True
            crew.worker_left.set()


class Leave:
    """Tells one worker to end."""

    __slots__ = ("taken",)

    def __init__(self) -> None:
        #: Whether one has.
        self.taken: bool = False


class Crew:
    """The workers of a pool and what they have to do; knows nothing of the pool.

    Everything here may be called from any thread.
    """

    def __init__(self, idle_seconds: float | None) -> None:
        self.idle_seconds = idle_seconds
        #: What to call, and who is to leave.
        self.tasks: Queue[partial[None] | Leave] = Queue()
        self.workers: set[Worker] = set()
        self.worker_left: Event = Event()

    def submit(
        self, task: partial[None], limit: int, make_worker: Callable[[], Worker] = Worker
    ) -> None:
        """Have *task* called by a worker; at most *limit* of them.

        Where no thread can be started any more, because the interpreter is ending, it is called
        right here.
        """
        if sys.is_finalizing():
            task()
            return
        self.tasks.put(task)
        # What is promised to an idle worker does not count.
        if self.tasks.qsize() > 0 and len(self.workers) < limit:
            try:
                self.start_worker(make_worker())
            except RuntimeError:
                if not self.workers:
                    self.work_here()

    def start_missing(self, limit: int, make_worker: Callable[[], Worker]) -> None:
        """Start workers for what waits for one; at most *limit* in all."""
        for _ in range(min(self.tasks.qsize(), limit - len(self.workers))):
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
        """Do everything there is to do, in the calling thread."""
        while self.tasks.qsize() > 0:
            leave = self.do_next(self.tasks.get())
            if leave is not None:
                leave.taken = True

    def do_next(self, task: partial[None] | Leave) -> Leave | None:
        """Call *task*, which must not raise; if it tells to leave, return it."""
        try:
            if isinstance(task, Leave):
                return task
            task()
            return None
        finally:
            del task  # it holds the arguments, and the result the exception's frames
            self.tasks.task_done()

    def dismiss(self, count: int) -> list[Leave]:
        """Let *count* workers leave once they have done what is waiting now."""
        leaves = [Leave() for _ in range(count)]
        for leave in leaves:
            self.tasks.put(leave)
        return leaves

    def await_leaves(self, leaves: list[Leave]) -> None:
        """Wait until so many workers have left; those started since may be there."""
        while True:
            # First, lest one leaves between the look and the wait.
            self.worker_left.clear()
            if not self.workers:
                self.work_here()  # what was meant for workers that left by themselves
            if all(leave.taken for leave in leaves):
                return
            self.worker_left.wait()

    def is_worker(self) -> bool:
        """Whether the calling thread is one of them."""
        ident = get_ident()
        return any(worker.ident == ident for worker in self.workers)


def next_task(crew: Crew, worker: Worker) -> partial[None] | Leave:
    """Wait for a task; raises Empty if the worker has been idle for too long."""
    while True:
        try:
            return crew.tasks.get(timeout=crew.idle_seconds)
        except Empty:
            # Whoever submits from here on does not count this worker; whoever did before may have.
            crew.workers.discard(worker)
            if crew.tasks.empty():
                raise
            crew.workers.add(worker)


#: After how many seconds without work a thread of :class:`Threads` ends.
IDLE_SECONDS = 5.0


class Threads:
    """At most *limit* native threads, those of the whole process, for one kind of call."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.begin()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self.begin)

    def begin(self) -> None:
        """Start with no threads; a forked child does, the parent's are not there."""
        self.crew: Crew = Crew(IDLE_SECONDS)

    def submit(self, task: partial[None]) -> None:
        """Have a thread call *task*, which must not raise."""
        self.crew.submit(task, self.limit)

    def apply(
        self,
        function: Callable[..., R],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> R:
        """Have a thread call *function* and wait; returns and raises what it does."""
        result: AsyncResult[R] = AsyncResult()
        self.submit(partial(answer, result, function, args, kwargs or {}))
        return result.get()


def answer(
    result: AsyncResult[R],
    function: Callable[..., R],
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
) -> None:
    """What a thread does for :meth:`Threads.apply`."""
    try:
        result.set(function(*args, **kwargs))
    except BaseException as exc:
        result.set_exception(exc)
    finally:
        del result, args, kwargs  # the exception's traceback refers to this frame


#: For what takes as long as a disk or a network file system does.
files = Threads(32)
#: For what may take for ever. Without a limit: what one of them waits for may be another's to do.
waits = Threads(sys.maxsize)
