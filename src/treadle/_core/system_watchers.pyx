# cython: nonecheck=True
"""Watchers of signals, child processes, forks and changed files."""

import _signal
import os

from treadle._core.hub cimport run_callback
from treadle._core.poller cimport READ
from treadle._core.watchers cimport Io, Loop, Timer, Watcher

# ---------------------------------------------------------------- signals

cdef object CHILD_SIGNAL = getattr(_signal, "SIGCHLD", None)  # None on Windows
# Signal number -> its active watchers, and signal number -> the handler that was set before them.
cdef dict watchers_of_signals = {}
cdef dict handlers_before = {}


def on_signal(number, frame):
    """Handle a watched signal: queue calls of its watchers."""
    cdef Signal watcher
    for watcher in watchers_of_signals.get(number, ()):
        watcher.fire(0)
    if number == CHILD_SIGNAL and callable(handlers_before.get(number)):
        # The program's own SIGCHLD handler keeps working beside treadle's.
        handlers_before[number](number, frame)


cdef class Signal(Watcher):
    """Calls its callback when the process receives a signal, and replaces the signal's handler.

    Works only in the main thread, like all signal handlers. A forked child inherits the watcher.
    """

    cdef readonly int signalnum

    def __init__(self, Loop loop, signalnum, ref=True, priority=None):
        Watcher.__init__(self, loop, ref, priority)
        if not 1 <= signalnum < _signal.NSIG:
            raise ValueError(f"illegal signal number: {signalnum!r}")
        self.signalnum = signalnum
        self.inherited = True

    cdef int begin(self) except -1:
        watchers = watchers_of_signals.setdefault(self.signalnum, [])
        if not watchers:
            handlers_before[self.signalnum] = _signal.signal(self.signalnum, on_signal)
        watchers.append(self)
        return 0

    cdef int end(self) except -1:
        watchers = watchers_of_signals[self.signalnum]
        watchers.remove(self)
        if not watchers:
            before = handlers_before.pop(self.signalnum)
            # A handler that was set meanwhile stays.
            if _signal.getsignal(self.signalnum) is on_signal:
                _signal.signal(self.signalnum, _signal.SIG_DFL if before is None else before)
        return 0

    def _format(self):
        return f" signalnum={self.signalnum}"


# ---------------------------------------------------------------- children

cdef list children = []       # the active Child watchers
cdef Signal child_signal = None


cdef class Child(Watcher):
    """Calls its callback when a child process has ended, and reaps the child; then it is inactive.

    *pid* 0 means any child: then no other code can wait for children. With *trace* it also calls
    when the child stops or continues, and stays active.
    """

    cdef readonly int pid
    cdef readonly bint trace
    cdef public int rpid          # the pid of the child that the last call was about
    cdef public int rstatus       # that child's status, as os.waitpid() returns it
    cdef int pidfd
    cdef Io io

    def __init__(self, Loop loop, pid, trace=0, ref=True, priority=None):
        Watcher.__init__(self, loop, ref, priority)
        if not loop.default:
            raise TypeError("child watchers are only available on the main thread's loop")
        if pid < 0:
            raise ValueError(f"a child's number is not negative: {pid!r}")
        self.pid = pid
        self.trace = bool(trace)
        self.pidfd = -1

    cdef int begin(self) except -1:
        children.append(self)
        try:
            if not self.open_pidfd():
                watch_child_signal(self.loop)
        except BaseException:
            children.remove(self)
            self.close_pidfd()
            raise
        return 0

    cdef bint open_pidfd(self) except -1:
        if self.pid == 0 or self.trace or not hasattr(os, "pidfd_open"):
            return False
        try:
            self.pidfd = os.pidfd_open(self.pid)
        except ProcessLookupError:  # reaped already: nothing will ever come, as in libev
            return True
        except OSError:  # an old kernel, or a sandbox
            return False
        # The Io does not keep the loop alive; the Child does, if its `ref` is true.
        self.io = Io(self.loop, self.pidfd, READ, False)
        self.io.start(reap, self.pid, 0)
        return True

    cdef int end(self) except -1:
        children.remove(self)
        self.close_pidfd()
        if child_signal is not None and not any(needs_signal(child) for child in children):
            unwatch_child_signal()
        return 0

    cdef int close_pidfd(self) except -1:
        if self.io is not None:
            self.io.close()
            self.io = None
        if self.pidfd >= 0:
            os.close(self.pidfd)
            self.pidfd = -1
        return 0

    def _format(self):
        return f" pid={self.pid} rstatus={self.rstatus}"


cdef bint needs_signal(Child child):
    return child.pidfd < 0


cdef int watch_child_signal(Loop loop) except -1:
    global child_signal
    if child_signal is None:
        child_signal = Signal(loop, CHILD_SIGNAL, False)
        child_signal.start(reap_signalled)
    run_callback(loop.hub, reap_signalled, ())  # a child may have ended before the handler was set
    return 0


cdef int unwatch_child_signal() except -1:
    global child_signal
    watcher, child_signal = child_signal, None
    watcher.close()
    return 0


def reap_signalled():
    """Check the children that are not watched by descriptor, after one changed its state."""
    cdef Child child
    for child in list(children):
        if needs_signal(child) and child.is_active():
            while reap(child.pid or -1, os.WUNTRACED | os.WCONTINUED if child.trace else 0):
                if child.pid != 0:
                    break


def reap(pid, flags):
    """Fetch the status of child *pid* (-1: any) and tell its watchers.

    Return whether there was a status to fetch.
    """
    try:
        found, status = os.waitpid(pid, os.WNOHANG | flags)
    except ChildProcessError:
        if pid < 0:
            return False
        # Other code fetched the status. All that is known is that the child has ended; 255 is the
        # exit code that asyncio reports for that.
        found, status = pid, 255 << 8
    if found == 0:
        return False
    tell(found, status)
    return True


cdef int tell(pid, status) except -1:
    cdef Child child
    cdef bint over = not (os.WIFSTOPPED(status) or os.WIFCONTINUED(status))
    for child in list(children):
        # A forked child inherits its parent's watchers, which are inactive there.
        if child.is_active() and (child.pid == pid or child.pid == 0):
            if not over and not child.trace:
                continue
            child.rpid, child.rstatus = pid, status
            if over and child.pid != 0:
                child.deactivate()
            child.fire(0)
    return 0


# ---------------------------------------------------------------- forks and files

cdef class Fork(Watcher):
    """Calls its callback in a forked child."""

    def __init__(self, Loop loop, ref=True, priority=None):
        Watcher.__init__(self, loop, ref, priority)
        self.inherited = True

    cdef int forked(self) except -1:
        self.fire(0)
        return 0


cdef double DEFAULT_STAT_INTERVAL = 5.0074891  # libev's numbers
cdef double SHORTEST_STAT_INTERVAL = 0.1074891


cdef class Stat(Timer):
    """Calls its callback when the ``os.stat()`` of a path has changed.

    It checks every *interval* seconds. 0 means about 5 seconds; an interval of less than about 0.1
    seconds is raised to that.
    """

    cdef readonly object path
    cdef readonly object attr        # the last os.stat(); None if there is no such file
    cdef readonly object prev        # the os.stat() before the last change

    def __init__(self, Loop loop, path, interval=0.0, ref=True, priority=None):
        Timer.__init__(self, loop, 0.0, 0.0, ref, priority)
        os.fsencode(path)  # raises TypeError for what is not a path
        self.path = path
        self.after = interval

    @property
    def interval(self):
        """Seconds between checks; once the watcher is started, the interval that it uses."""
        return self.after

    cdef int begin(self) except -1:
        if self.after == 0:
            self.after = DEFAULT_STAT_INTERVAL
        self.after = self.period = max(self.after, SHORTEST_STAT_INTERVAL)
        self.attr = stat_or_none(self.path)
        return Timer.begin(self)

    cdef void fire(self, int events) noexcept:
        try:
            run_callback(self.loop.hub, look, (self,))
        except RuntimeError:
            pass  # the hub was closed

    def _format(self):
        return f" path={self.path!r} interval={self.after}"


def look(Stat self):
    """Check whether the file has changed, and queue a call of the watcher's callback if so."""
    if not self.is_active():
        return
    now = stat_or_none(self.path)
    if what_counts(now) != what_counts(self.attr):
        self.prev, self.attr = self.attr, now
        Watcher.fire(self, 0)


cdef object stat_or_none(path):
    try:
        return os.stat(path)
    except OSError:
        return None


cdef object what_counts(status):
    """Return the parts of a file's status that mean a change: all but the time of the last read."""
    if status is None:
        return None
    return (status.st_dev, status.st_ino, status.st_mode, status.st_nlink, status.st_uid,
            status.st_gid, status.st_rdev, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
