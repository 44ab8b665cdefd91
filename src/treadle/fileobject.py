"""Files whose calls switch to other greenlets while they wait: the API of gevent.fileobject."""

from __future__ import annotations

import os
import stat
from _io import DEFAULT_BUFFER_SIZE
from _io import open as native_open  # io.open may be patched already
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial, wraps
from types import TracebackType
from typing import Any
from weakref import WeakSet

from treadle._config import config
from treadle._core.crew import files, waits
from treadle._core.native import allocate_lock
from treadle._core.pipes import cooperative, renew
from treadle._core.scopes import clean_up
from treadle.lock import DummySemaphore, Semaphore

__all__ = ["FileObject", "FileObjectBlock", "FileObjectPosix", "FileObjectThread"]


def _either(name: str, value: Any, old_name: str, old_value: Any, default: Any) -> Any:
    if value is not None and old_value is not None:
        raise TypeError(f"give {name}={value!r} or {old_name}={old_value!r}, not both")
    return next((each for each in (value, old_value) if each is not None), default)


def _is_regular(file: Any) -> bool:
    return stat.S_ISREG(os.fstat(file.fileno()).st_mode)


class FileObjectBlock:
    """A file whose calls block the thread; the base class of the other file classes.

    *fobj* is a file descriptor, a path, or a file whose descriptor is used. The other arguments are
    those of :func:`open`. *close* and *bufsize* are gevent's older names of *closefd* and
    *buffering*. With *closefd* false, :meth:`close` leaves *fobj* open.
    """

    def __init__(
        self,
        fobj: Any,
        mode: str = "r",
        bufsize: int | None = None,
        close: bool | None = None,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
        buffering: int | None = None,
        closefd: bool | None = None,
    ) -> None:
        closes = _either("closefd", closefd, "close", close, True)
        buffering = _either("buffering", buffering, "bufsize", bufsize, -1)
        is_file = hasattr(fobj, "fileno")
        is_path = not is_file and not isinstance(fobj, int)
        self._owner = fobj if is_file and closes else None
        self._kept = fobj  # a reference, since its descriptor must stay open as long as this file
        file = native_open(
            fobj.fileno() if is_file else fobj,
            mode,
            buffering,
            encoding,
            errors,
            newline,
            closefd=is_path or (closes and not is_file),
        )
        self._io: Any = self._cooperating(file, buffering, newline)

    def _cooperating(self, file: Any, buffering: int, newline: str | None) -> Any:
        return file

    @property
    def io(self) -> Any:
        """The underlying file of the standard library, whose methods this object offers."""
        return self._io

    def __getattr__(self, name: str) -> Any:
        if name in ("_io", "name"):  # the file was not opened, or has no name
            raise AttributeError(name)
        return getattr(self._io, name)

    @property
    def name(self) -> Any:
        """The path or descriptor that this object was made from, or the name of that file."""
        return self._kept.name if hasattr(self._kept, "fileno") else self._kept

    @property
    def closed(self) -> bool:
        """Whether the file is closed."""
        return bool(self._io.closed)

    def close(self) -> None:
        """Flush and close the file; a greenlet that waits for it gets OSError (EBADF)."""
        owner, self._owner = self._owner, None
        try:
            with clean_up():
                self._io.close()
        finally:
            if owner is not None:
                owner.close()

    def __iter__(self) -> FileObjectBlock:
        return self

    def __next__(self) -> Any:
        line = self.readline()
        if not line:
            raise StopIteration
        return line

    next = __next__

    def __enter__(self) -> FileObjectBlock:
        return self

    def __exit__(
        self,
        typ: type[BaseException] | None,
        value: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._io!r}>"


class FileObjectPosix(FileObjectBlock):
    """A file over a pipe, a terminal or another descriptor that can be polled.

    The descriptor stays a blocking one, because O_NONBLOCK would apply to all processes that share
    it, as the processes of a shell share standard input. A regular file is always ready, so its
    calls block the thread during disk I/O: use :class:`FileObjectThread` for it.
    """

    @property
    def fileio(self) -> Any:
        """The underlying raw file, without buffer and encoding."""
        file = getattr(self._io, "buffer", self._io)
        return getattr(file, "raw", file)

    def _cooperating(self, file: Any, buffering: int, newline: str | None) -> Any:
        if _is_regular(file):
            return file
        return cooperative(file, buffering, newline, always_waits=True)


class FileObjectThread(FileObjectBlock):
    """A file whose calls run in native threads: those of *threadpool*, or treadle's own.

    The calls run one at a time unless *lock* is false. treadle's own threads for files do nothing
    else: neither the tasks of the hub's thread pool nor DNS lookups delay a file.
    """

    def __init__(
        self, *args: Any, lock: bool = True, threadpool: Any = None, **kwargs: Any
    ) -> None:
        #: Held during a call.
        self.lock: Any = Semaphore() if lock else DummySemaphore()
        self._calls: set[_Call] = set()
        _files.add(self)
        super().__init__(*args, **kwargs)
        if threadpool is None:
            threadpool = files if _is_regular(self._io) else waits
        #: The pool in whose threads the calls run.
        self.threadpool: Any = threadpool

    def _cooperating(self, file: Any, buffering: int, newline: str | None) -> Any:
        self._size = buffering if buffering > 1 else DEFAULT_BUFFER_SIZE
        return file

    def __getattr__(self, name: str) -> Any:
        value = super().__getattr__(name)
        return self._in_thread(value) if callable(value) and name != "fileno" else value

    def close(self) -> None:
        """Flush and close the file, after the call that is running has ended.

        If that call's greenlet was interrupted, the call may never end, as a read of a pipe. So do
        not wait for it: the file is closed when it has ended.
        """
        call = self._left_call
        if call is None or not call.then(super().close):
            with clean_up():
                self._in_thread(super().close)()

    #: The last call that goes on although its greenlet was interrupted.
    _left_call: _Call | None = None

    def _in_thread(self, method: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(method)
        def run(*args: Any, **kwargs: Any) -> Any:
            call = _Call(partial(method, *args, **kwargs), self.lock, self._calls)
            try:
                call.acquire()
                result = self.threadpool.apply(call)
            except BaseException:
                if call.leave():
                    self._left_call = call
                raise
            finally:
                call.release()
            return result

        return run

    def _after_fork(self) -> None:
        """In a forked child, end the calls in progress: their threads are not here."""
        self._left_call = None
        calls = list(self._calls)
        if any(call.is_running for call in calls):
            buffer = getattr(self._io, "buffer", self._io)
            if hasattr(buffer, "raw"):
                renew(buffer, self._size)
        for call in calls:
            call.end_in_child()


#: The files whose calls run in native threads.
_files: WeakSet[FileObjectThread] = WeakSet()


def _after_fork_in_child() -> None:
    for file in list(_files):
        file._after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)


class _Call:
    """A call in a thread, and what has to be done when it has ended.

    Until then it has the lock of its file, even if its greenlet is interrupted: other calls must
    not find the file in the middle of this one.
    """

    def __init__(self, function: Callable[[], Any], lock: Any, calls: set[_Call]) -> None:
        self._function = function
        self._lock = lock
        self._calls = calls
        self._guard = allocate_lock()
        self._held = self._begun = self._left = self._ended = False
        #: What is called, the last first, when the call has ended.
        self._then = ExitStack()

    def acquire(self) -> None:
        """Wait for the lock of the file. An exception afterwards must lead to :meth:`release`."""
        self._held = self._lock.acquire()
        self._calls.add(self)

    def __call__(self) -> Any:
        with self._guard:
            if self._left:
                return None
            self._begun = True
        try:
            return self._function()
        finally:
            with self._guard:
                self._ended = True
            # Here, as the greenlet that made the call may never run again.
            self.release()

    @property
    def is_running(self) -> bool:
        """Whether the call is in progress."""
        return self._begun and not self._ended

    def end_in_child(self) -> None:
        """End the call in a forked child: no thread is going to make it or has made it here."""
        self._guard = allocate_lock()  # the other one may be held by a thread that is not here
        self._left = self._ended = True
        self.release()

    def leave(self) -> bool:
        """Note that nobody waits for the call any more; return whether it goes on.

        If it has not begun, it will not.
        """
        with self._guard:
            self._left = True
            return self.is_running

    def then(self, function: Callable[[], object]) -> bool:
        """Have *function* called when the call has ended; return False if it has ended."""
        with self._guard:
            if self._ended:
                return False
            self._then.callback(function)
            return True

    def release(self) -> None:
        """Call what has to be called when the call has ended, unless it goes on."""
        with self._guard:
            if self.is_running:
                return
            todo = self._then.pop_all()
            held, self._held = self._held, False
        try:
            todo.close()
        finally:
            if held:
                self._calls.discard(self)
                self._lock.release()


#: The class for files of any kind, which ``treadle.config.fileobject`` chooses. By default one that
#: waits without a thread.
FileObject: type[FileObjectBlock] = config.fileobject
