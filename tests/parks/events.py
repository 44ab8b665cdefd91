"""The events: what may happen while greenlets wait at a place."""

import errno
import gc
import os
import signal
import threading
import time
import traceback
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

import treadle
import treadle.signal
from parks import ends
from parks.cell import HANGS, Cell
from parks.place import Place
from treadle.event import Event
from treadle.hub import get_hub

#: The events by their names.
EVENTS: dict[str, Callable[[Cell], None]] = {}

#: Seconds from one step of an event to the next: the signal comes after one.
SOON = 0.001
#: How many seconds waits take that end by themselves, if another thread is to interrupt them by a
#: signal.
LONG_ENOUGH = 0.3


def event(function: Callable[[Cell], None]) -> Callable[[Cell], None]:
    EVENTS[function.__name__] = function
    return function


class Interruption(Exception):
    """What a handler raises."""


@contextmanager
def interruption(
    cell: Cell, handler: Callable[[], object], set_handler: Any = signal.signal
) -> Iterator[list[bool]]:
    """Have a signal call the *handler* when the thread polls; if it is busy, after a while.

    With the *set_handler* of :mod:`treadle.signal` it has a greenlet of its own, unless the main
    greenlet polls. Yield a list: empty before the handler runs, [False] meanwhile, and [True] when
    it has returned.
    """
    ran: list[bool] = []
    hub = get_hub()

    def handle(*_: object) -> None:
        ran.append(False)
        handler()
        ran[0] = True

    def send() -> None:
        end = time.monotonic() + (10 * SOON if cell.kind.busy else HANGS)
        while not hub.idle and time.monotonic() < end:
            time.sleep(SOON / 10)
        signal.pthread_kill(threading.main_thread().ident, signal.SIGALRM)

    before = set_handler(signal.SIGALRM, handle)
    sender = threading.Thread(target=send)
    try:
        sender.start()
        yield ran
    finally:
        sender.join()
        set_handler(signal.SIGALRM, before)


def in_main(cell: Cell, handler: Callable[[], object], raises: BaseException | None = None) -> None:
    """Let the main greenlet be the victim, and poll; the *handler* runs in its poll.

    Afterwards what ends the waits is given, unless it was or the handler *raises* this exception.
    """
    cell.mine.lasts = cell.other.lasts = LONG_ENOUGH
    cell.park_others()
    count = 2 if cell.kind.shared else 1

    def handle() -> None:
        try:
            handler()
        finally:
            if raises is None or cell.kind.shields:
                cell.later(4 * SOON, cell.give, count)

    with interruption(cell, handle) as ran:
        wait = cell.park_main(cell.mine)
        with treadle.Timeout(HANGS, AssertionError("hangs: the handler")):
            while ran == [False] and raises is None:
                treadle.sleep(SOON)  # another greenlet was polling, and has the handler
    assert ran == [raises is None]
    assert wait.raised is raises
    cell.finish()


def in_greenlet(
    cell: Cell,
    handler: Callable[[treadle.Greenlet], object],
    set_handler: Any = signal.signal,
) -> treadle.Greenlet:
    """Let a greenlet be the victim, and poll; the *handler* runs in its poll.

    The main greenlet waits until the handler has ended.
    """
    cell.mine.lasts = cell.other.lasts = LONG_ENOUGH
    cell.park_others()
    victim = treadle.spawn(cell.make_wait(cell.mine).run)
    over = Event()

    def handle() -> None:
        handler(victim)
        over.set()

    with (
        treadle.Timeout(HANGS, AssertionError("hangs: the wait of the main greenlet")),
        interruption(cell, handle, set_handler),
    ):
        over.wait()
    return victim


# -- a signal handler


@event
def handler_returns(cell: Cell) -> None:
    in_main(cell, lambda: None)


def raise_(exc: BaseException) -> None:
    raise exc


@event
def handler_raises(cell: Cell) -> None:
    interruption = Interruption()
    in_main(cell, lambda: raise_(interruption), interruption)


@event
def handler_raises_an_error_of_calls(cell: Cell) -> None:
    error = BlockingIOError(errno.EAGAIN, "raised by a handler")
    in_main(cell, lambda: raise_(error), error)


@event
def handler_waits(cell: Cell) -> None:
    in_main(cell, lambda: treadle.sleep(SOON))


@event
def handler_waits_while_given(cell: Cell) -> None:
    given = Event()

    def give() -> None:
        cell.give(2 if cell.kind.shared else 1)
        given.set()

    def handle() -> None:
        cell.later(SOON, give)
        given.wait()
        treadle.sleep(SOON)

    in_main(cell, handle)


@event
def handler_gives(cell: Cell) -> None:
    in_main(cell, lambda: cell.give(2 if cell.kind.shared else 1))


@event
def handler_spawns(cell: Cell) -> None:
    count = 2 if cell.kind.shared else 1
    in_main(cell, lambda: cell.later(SOON, cell.give, count))


@event
def handler_spawns_in_a_greenlet(cell: Cell) -> None:
    in_greenlet(cell, lambda victim: cell.later(SOON, cell.give, 1))
    cell.finish()


@event
def handler_waits_in_a_greenlet(cell: Cell) -> None:
    in_greenlet(cell, lambda victim: treadle.sleep(SOON))
    cell.finish()


@event
def handler_raises_in_a_greenlet(cell: Cell) -> None:
    """Main gets the exception, and the greenlet waits on."""
    interruption = Interruption()
    with pytest.raises(Interruption) as raised:
        in_greenlet(cell, lambda victim: raise_(interruption))
    assert raised.value is interruption
    cell.finish()
    assert not any(wait.raised for wait in cell.waits)


@event
def handler_kills_others(cell: Cell) -> None:
    place = cell.one_more()
    doomed = cell.park(place)

    def kill() -> None:
        doomed.kill(block=not cell.kind.shields)
        place.give()

    in_main(cell, kill)
    assert doomed.dead


@event
def handler_kills_whom_it_interrupts(cell: Cell) -> None:
    in_greenlet(cell, lambda victim: victim.kill(block=False))
    cell.finish()


@event
def handler_beside_a_greenlet_waits(cell: Cell) -> None:
    """The greenlet gets meanwhile what it waits for."""

    def handle(victim: treadle.Greenlet) -> None:
        cell.give(2 if cell.kind.shared else 1)
        if cell.kind.shields:
            treadle.sleep(SOON)
        else:
            victim.join()

    in_greenlet(cell, handle, treadle.signal.signal)
    cell.finish()


@event
def handler_beside_a_greenlet_raises(cell: Cell) -> None:
    interruption = Interruption()
    with pytest.raises(Interruption) as raised:
        in_greenlet(cell, lambda victim: raise_(interruption), treadle.signal.signal)
    assert raised.value is interruption
    cell.finish()
    assert not any(wait.raised for wait in cell.waits)


@event
def handler_beside_a_greenlet_kills_it(cell: Cell) -> None:
    in_greenlet(
        cell, lambda victim: victim.kill(block=not cell.kind.shields), treadle.signal.signal
    )
    cell.finish()


@event
def handler_forks(cell: Cell) -> None:
    in_main(cell, lambda: fork(cell.kind))


# -- a finalizer


class Finalized:
    """Garbage whose finalizer waits at a place of the same kind."""

    #: Whether such a finalizer waits.
    waits = False

    def __init__(self, place: Place, ran: list[BaseException | None]) -> None:
        self.cycle = self
        self.place = place
        self.ran = ran
        self.thread = threading.get_ident()

    def __del__(self) -> None:
        if threading.get_ident() != self.thread:
            # The threads of a place collect garbage too. One that waited there for its own work
            # would wait for ever.
            again = Finalized(self.place, self.ran)
            again.thread = self.thread
            return
        Finalized.waits = True
        try:
            treadle.spawn_later(SOON, self.place.give)
            self.place.park()
            self.ran.append(None)
        except BaseException as exc:
            self.ran.append(exc)
        finally:
            Finalized.waits = False


@event
def finalizer_waits_in_the_poll(cell: Cell) -> None:
    ran: list[BaseException | None] = []
    gc.disable()  # else it may run in the hub, which cannot wait
    try:
        garbage(cell.one_more(), ran)
        in_main(cell, gc.collect)
    finally:
        gc.enable()
    assert ran == [None], ran


def garbage(place: Place, ran: list[BaseException | None]) -> None:
    Finalized(place, ran)


@event
def finalizer_waits_in_the_call(cell: Cell) -> None:
    """The finalizer runs as soon as the call allocates memory."""
    ran: list[BaseException | None] = []
    cell.ordered = False
    cell.park_others()
    place = cell.one_more()

    def park() -> object:
        thresholds = gc.get_threshold()
        garbage(place, ran)
        gc.set_threshold(1)
        try:
            return cell.mine.park()
        finally:
            gc.set_threshold(*thresholds)

    cell.park(cell.mine, park)
    with treadle.Timeout(HANGS, AssertionError("hangs: the finalizer")):
        while Finalized.waits:
            treadle.sleep(SOON)
    treadle.sleep(SOON)  # now the call itself begins
    cell.finish()
    gc.collect()
    assert ran == [None], ran


# -- the end of one wait


@event
def kill(cell: Cell) -> None:
    victim = cell.park(cell.mine)
    cell.park_others()
    victim.kill(block=False)
    cell.finish_raised(treadle.GreenletExit)


@event
def kill_with_an_error_of_calls(cell: Cell) -> None:
    victim = cell.park(cell.mine)
    cell.park_others()
    error = BlockingIOError(errno.EAGAIN, "thrown")
    victim.kill(error, block=False)
    cell.finish_raised(error)


@event
def kill_of_one_who_was_given(cell: Cell) -> None:
    victim = cell.park(cell.mine)
    cell.park_others()
    cell.give(1)
    victim.kill(block=False)
    cell.finish()


@event
def timeout(cell: Cell) -> None:
    end_by_timeout(cell, treadle.Timeout(SOON))


@event
def timeout_with_an_error_of_calls(cell: Cell) -> None:
    end_by_timeout(cell, treadle.Timeout(SOON, BlockingIOError(errno.EAGAIN, "timed out")))


def end_by_timeout(cell: Cell, timeout: treadle.Timeout) -> None:
    def park() -> object:
        with timeout:
            return cell.mine.park()

    cell.park(cell.mine, park)
    cell.park_others()
    if cell.kind.shields:
        treadle.sleep(2 * SOON)
    cell.finish_raised(timeout if timeout.exception is None else timeout.exception)


@event
def timeout_of_one_who_was_given(cell: Cell) -> None:
    def park() -> object:
        with treadle.Timeout(SOON):
            return cell.mine.park()

    cell.park(cell.mine, park)
    cell.park_others()
    cell.give(1)
    time.sleep(2 * SOON)  # treadle's timers are late
    cell.finish()


# -- a fork


@event
def fork_by_another(cell: Cell) -> None:
    cell.park(cell.mine)
    cell.park_others()
    treadle.spawn(fork, cell.kind, alone=True).get()
    cell.finish()


def fork(kind: type[Place], alone: bool = False) -> None:
    """Fork, and use a new place in the child. Raise what goes wrong there.

    The child has nothing of the parent but the current greenlet and, unless it is *alone*, what
    that waits for while its signal handler forks.
    """
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(int(HANGS))
            live_in_child(kind, alone)
        except BaseException:
            os.write(write, traceback.format_exc().encode())
        finally:
            os._exit(0)
    os.close(write)
    told = b""
    while part := os.read(read, 65536):
        told += part
    os.close(read)
    assert (os.waitpid(pid, 0)[1], told.decode()) == (0, ""), told.decode()


def live_in_child(kind: type[Place], alone: bool) -> None:
    cell = Cell(kind)
    assert not alone or cell.before == {**dict.fromkeys(cell.before, 0), "greenlets": 1}
    cell.park(cell.mine)
    cell.park_others()
    treadle.sleep(SOON)
    cell.finish()


# -- the end of the hub


def in_thread(cell: Cell, end: Callable[[], object]) -> None:
    """Wait at the place in a native thread, and end its hub by *end*."""
    errors = []

    def run() -> None:
        try:
            place = cell.mine if cell.kind.threads else cell.kind()
            greenlet = treadle.spawn(place.park)
            while greenlet.waiting is None and not greenlet.dead:
                treadle.sleep(0)
            end()
        except BaseException as exc:
            errors.append(exc)

    cell.park_others()
    for target in (run, lambda: treadle.sleep(0)):  # the second frees what the first left behind
        thread = threading.Thread(target=target)
        thread.start()
        thread.join()
    assert errors == []
    cell.park(cell.mine)
    cell.finish()


@event
def thread_ends(cell: Cell) -> None:
    in_thread(cell, lambda: None)


@event
def hub_is_destroyed(cell: Cell) -> None:
    in_thread(cell, lambda: get_hub().destroy())


# -- the end of the object


@event
def object_is_closed(cell: Cell) -> None:
    cell.park(cell.mine)
    cell.park_others()
    cell.mine.close()
    mine = [wait for wait in cell.waits if wait.place is cell.mine]
    cell.until(lambda: all(wait.done for wait in mine), "the object was closed")
    assert cell.kind.closed is not None
    assert all(isinstance(wait.raised, cell.kind.closed) for wait in mine)
    cell.finish_at(cell.other)
    assert cell.other.counts() == cell.counts[1]
    cell.end()


@event
def object_is_freed(cell: Cell) -> None:
    """Nobody but the waiting greenlet knows the object, and nobody knows that greenlet."""
    cell.park_others()
    place, greenlet = park_unknown(cell.kind)
    gc.collect()
    if greenlet() is not None:  # the hub knows it
        greenlet().kill(block=False)
        if cell.kind.shields:
            place().give()
        greenlet().join(HANGS)
    cell.finish()
    # A native thread may hold it until it takes its next task.
    deadline = time.monotonic() + HANGS
    while gc.collect() >= 0 and place() is not None:
        assert time.monotonic() < deadline, "the object is never freed"
        treadle.sleep(0.01)


def park_unknown(kind: type[Place]) -> tuple[weakref.ref[Place], weakref.ref[treadle.Greenlet]]:
    place = kind()

    def park() -> None:
        try:
            place.park()
        finally:
            place.give()
            place.end()

    greenlet = treadle.spawn(park)
    treadle.sleep(0)
    return weakref.ref(place), weakref.ref(greenlet)


# -- another thread


def by_thread(call: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=call)
    thread.start()
    return thread


@event
def thread_gives(cell: Cell) -> None:
    cell.ordered = False
    cell.park_others()
    thread = threading.Timer(SOON, cell.give, [2 if cell.kind.shared else 1])
    thread.start()
    assert cell.park_main(cell.mine).raised is None
    thread.join()
    cell.finish()


@event
def thread_gives_at_the_kill(cell: Cell) -> None:
    cell.ordered = False
    for delay in range(8):
        victim = cell.park(cell.mine)
        if cell.kind.shared:
            cell.park(cell.mine)
        thread = by_thread(cell.mine.give)
        for _ in range(delay * 300):
            pass
        victim.kill(block=False)
        thread.join()
        cell.finish_at(cell.mine)
    cell.park_others()
    cell.finish()


@event
def thread_gives_at_the_timeout(cell: Cell) -> None:
    cell.ordered = False

    def park() -> object:
        with treadle.Timeout(SOON / 5, False):
            return cell.mine.park()
        raise TimeoutError

    for delay in range(8):
        cell.park(cell.mine, park)
        if cell.kind.shared:
            cell.park(cell.mine)
        thread = threading.Timer(SOON / 5 + delay * 2e-5, cell.mine.give)
        thread.start()
        treadle.sleep(SOON)
        thread.join()
        cell.finish_at(cell.mine)
    cell.park_others()
    cell.finish()


# -- the end of the interpreter


def end_interpreter(how: str) -> Callable[[Cell], None]:
    def end(cell: Cell) -> None:
        cell.end()
        if not ends.all_end_well(how):
            assert ends.run(how, cell.kind.name) == (0, "")

    end.__doc__ = ends.WAYS[how].__doc__
    return end


for how in ends.WAYS:
    EVENTS[f"interpreter_ends_{how}"] = end_interpreter(how)
