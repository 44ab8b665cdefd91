"""What a process of the server inherits from its parent, and what it leaves to its children."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress

from treadle import os as treadle_os
from treadle.hub import sleep
from treadle.monkey import get_original

__all__ = ["end_with_parent", "free_signals", "open_standard", "reap_adopted", "reset_in_children"]

# The fork is a native thread's, and so is the mask.
get_ident: Callable[[], int] = get_original("_thread", "get_ident")
sigmask: Callable[..., Collection[int]] = get_original("signal", "pthread_sigmask")
#: Linux's number of the call of prctl() that sets the signal for the parent's end.
_PR_SET_PDEATHSIG = 1
#: How often to look for ended children that nobody waits for, in seconds.
_REAP_INTERVAL = 1.0


def open_standard() -> None:
    """Open what is closed of standard input, output and error, on the null device.

    Otherwise the next file or socket would get that number, and what is written to standard output
    or error would go there.
    """
    with suppress(OSError):  # there may be no null device
        while (fd := os.open(os.devnull, os.O_RDWR)) <= 2:
            os.set_inheritable(fd, True)
        os.close(fd)


def free_signals(numbers: Iterable[int]) -> None:
    """Let the signals *numbers* in, and have the system keep the status of children that end.

    A parent may have blocked signals, or ignored SIGCHLD, and its children inherit that.
    """
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {*numbers, signal.SIGCHLD})


def end_with_parent(parent: int) -> None:
    """Have SIGTERM sent to this process when *parent*, its parent, ends.

    On Linux only; on other systems the process has to look by itself.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # it has ended before
            os.kill(os.getpid(), signal.SIGTERM)


def reset_in_children(numbers: Iterable[int]) -> None:
    """Have processes that this one forks get no handler that it has set for *numbers*.

    A signal that comes before a child has forgotten the handlers waits until then; CPython would
    lose it.
    """
    handlers = {number: signal.getsignal(number) for number in numbers}
    masks: dict[int, Collection[int]] = {}  # by native thread

    def block() -> None:
        masks[get_ident()] = sigmask(signal.SIG_BLOCK, handlers)

    def restore() -> None:
        sigmask(signal.SIG_SETMASK, masks.pop(get_ident()))

    def reset() -> None:
        for number, handler in handlers.items():
            if signal.getsignal(number) is handler:
                default = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
                signal.signal(number, default)
        restore()

    os.register_at_fork(before=block, after_in_parent=restore, after_in_child=reset)


def reap_adopted(own: Collection[int]) -> None:
    """Reap the children that end and are not among *own*, which others wait for; never return.

    The first process of a container is the parent of all whose parents have ended. A program that
    was started by ``exec`` is the parent of the children that the one before it had.
    """
    while True:
        sleep(_REAP_INTERVAL)
        with suppress(ChildProcessError):
            while True:
                options = os.WEXITED | os.WNOHANG | os.WNOWAIT
                found = treadle_os.waitid(os.P_ALL, 0, options)
                if found is None or found.si_pid in own:
                    break
                treadle_os.waitpid(found.si_pid, os.WNOHANG)
