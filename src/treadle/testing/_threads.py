"""Which thread makes a run: one at a time, because a run replaces the clock of the process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Generic, NamedTuple, TypeVar

from treadle._core.context import copy_context
from treadle._core.native import allocate_lock, get_ident, start_new_thread
from treadle._core.trial import list_threads, raise_in_thread
from treadle.greenlet import GreenletExit, getcurrent
from treadle.hub import Hub, get_hub

T = TypeVar("T")

#: How often a thread that waits for a run looks whether a signal handler raised, in seconds.
LOOK = 0.05
#: Seconds that a hub gets to end a run, before whatever code runs there is interrupted.
POLITE = 1.0


class _On(NamedTuple):
    """A run that is on."""

    thread: int
    name: str


#: The runs that are on. Each but the first was begun inside the one before, which stands still.
_runs: list[_On] = []
#: The idents of helpers' threads, and of the threads that wait for them.
_waiting: dict[int, int] = {}
_registry = allocate_lock()


@contextmanager
def registered(name: str) -> Iterator[None]:
    """Say that this thread makes a run. Raises RuntimeError while another thread makes one."""
    thread = get_ident()
    with _registry:
        if _runs and _runs[-1].thread != _waiting.get(thread):
            other = _runs[-1]
            raise RuntimeError(
                f"a run is on in this process already: {other.name}, in thread {other.thread:#x}; "
                "it decides what time it is for all threads, so start the next when it has ended"
            )
        _runs.append(_On(thread, name))
    try:
        yield
    finally:
        with _registry:
            _runs.pop()


def threads_of_run() -> set[int]:
    """This thread, and those that wait for what it does, each for the next: their idents."""
    found: set[int] = set()
    thread: int | None = get_ident()
    while thread is not None:
        found.add(thread)
        thread = _waiting.get(thread)
    return found


class Helper(Generic[T]):
    """A native thread that makes a run while its caller, a greenlet, waits natively.

    The caller's hub stands still meanwhile, and so does the clock of a run that the caller is in.
    The run begins with a copy of the caller's context variables.
    """

    def __init__(self, call: Callable[[], T]) -> None:
        self._call = call
        self._values: list[T] = []
        self._error: BaseException | None = None
        self._caller = get_ident()
        self._hub: Any = None
        self._number = 0
        self._begun = allocate_lock()
        self._begun.acquire()
        #: Released when the run is over.
        self.over = allocate_lock()
        self.over.acquire()
        start_new_thread(copy_context().run, (self._main,))
        self._begun.acquire()

    def _main(self) -> None:
        thread = get_ident()
        numbers = {ident: number for number, ident in list_threads().items()}
        self._number = numbers[thread]
        _waiting[thread] = self._caller
        try:
            self._hub = get_hub()
            self._begun.release()
            self._values.append(self._call())
        except BaseException as exc:
            self._error = exc
        finally:
            del _waiting[thread]
            if self._hub is not None:
                self._hub.destroy()  # its descriptors would be leaks of the caller's run
            self.over.release()

    def wait(self, lock: Any) -> None:
        """Acquire a native lock. What a signal handler raises meanwhile is raised here."""
        hub = get_hub()
        while not lock.acquire(timeout=LOOK):
            raised = _raised_in_main(hub)
            if raised is not None:
                # The main greenlet gets the exception itself, once this greenlet has ended.
                raise _EndedByMain(raised)

    def end(self, exc: BaseException) -> None:
        """End the run by an exception, and wait until it has ended, or a signal handler raises."""
        if isinstance(exc, _EndedByMain):
            exc = exc.exception
        loop = self._hub.loop
        if loop is not None:
            with suppress(ValueError):  # the run has just ended
                loop.run_callback_threadsafe(self._hub.interrupt_main, exc)
        if not self.over.acquire(timeout=POLITE):
            raise_in_thread(self._hub.thread_ident, type(exc))
            self.over.acquire()
        self._see_thread_gone()

    def result(self) -> T:
        """What the call returned; raises what it raised."""
        __tracebackhide__ = True
        self._see_thread_gone()
        if self._error is not None:
            raise self._error
        return self._values[0]

    def _see_thread_gone(self) -> None:
        """Wait for the last steps of the thread, or it would be a leak of the caller's run."""
        while self._number in list_threads():
            self.over.acquire(timeout=0.001)  # the caller has it: this only sleeps


class _EndedByMain(GreenletExit):
    """Ends a greenlet whose main greenlet is about to end the program."""

    def __init__(self, exception: BaseException) -> None:
        super().__init__()
        self.exception = exception


def _raised_in_main(hub: Hub) -> BaseException | None:
    """What a signal handler has raised in the main greenlet, which is to run later."""
    for wait in hub.waits()[:1]:
        exc = wait.exc
        if wait.greenlet is hub.main and exc is not None:
            return exc() if isinstance(exc, type) else exc
    return None


def in_main_greenlet(call: Callable[[], T]) -> T:
    """Do it here if the caller is a main greenlet, else in a native thread of its own."""
    __tracebackhide__ = True
    hub = get_hub()
    if getcurrent() is hub.main and hub.probe is None:
        return call()
    helper = Helper(call)
    try:
        helper.wait(helper.over)
    except BaseException as exc:
        helper.end(exc)
        raise
    return helper.result()
