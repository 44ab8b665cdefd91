"""Files that let other greenlets run while they wait: what gevent.fileobject offers."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from functools import wraps
from types import TracebackType
from typing import Any

from treadle._config import config
from treadle._core.crew import files, waits
from treadle._core.pipes import cooperative
from treadle.lock import DummySemaphore, Semaphore

__all__ = ["FileObject", "FileObjectBlock", "FileObjectPosix", "FileObjectThread"]


def _either(name: str, value: Any, old_name: str, old_value: Any, default: Any) -> Any:
    if value is not None and old_value is not None:
        raise TypeError(f"give {name}={value!r} or {old_name}={old_value!r}, not both")
    return next((each for each in (value, old_value) if each is not None), default)


def _is_regular(file: Any) -> bool:
    return stat.S_ISREG(os.fstat(file.fileno()).st_mode)


class FileObjectBlock:
    """A file whose calls block the thread; what the others are made upon.

    *fobj* is a descriptor, a path, or a file, of which the descriptor is taken; the other arguments
    are those of :func:`open`. *close* and *bufsize* are gevent's older names of *closefd* and
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
        self._kept = fobj  # its descriptor must live as long as this
        self._io: Any = self._cooperating(
            open(  # noqa: SIM115
                fobj.fileno() if is_file else fobj,
                mode,
                buffering,
                encoding,
                errors,
                newline,
                closefd=is_path or (closes and not is_file),
            )
        )

    def _cooperating(self, file: Any) -> Any:
        return file

    @property
    def io(self) -> Any:
        """The standard library's file beneath, whose methods this has."""
        return self._io

    def __getattr__(self, name: str) -> Any:
        if name in ("_io", "name"):  # the file could not be opened; or has no name
            raise AttributeError(name)
        return getattr(self._io, name)

    @property
    def name(self) -> Any:
        """The path or the descriptor that it was made with; the name of the file, if it has one."""
        return self._kept.name if hasattr(self._kept, "fileno") else self._kept

    @property
    def closed(self) -> bool:
        """Whether it was closed."""
        return bool(self._io.closed)

    def close(self) -> None:
        """Flush and close it; who waits for it gets an OSError (EBADF)."""
        owner, self._owner = self._owner, None
        try:
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
    """A file over a pipe, a terminal or another descriptor that can be waited for.

    The descriptor stays a blocking one, because O_NONBLOCK would hold for all processes that share
    it, as those of a shell share standard input. Regular files are always ready: their calls
    block the thread while the disk works; :class:`FileObjectThread` is for them.
    """

    @property
    def fileio(self) -> Any:
        """The file beneath, without buffers and encodings."""
        file = getattr(self._io, "buffer", self._io)
        return getattr(file, "raw", file)

    def _cooperating(self, file: Any) -> Any:
        return file if _is_regular(file) else cooperative(file)


class FileObjectThread(FileObjectBlock):
    """A file whose calls are made in threads: *threadpool*'s, or else treadle's own for files.

    One at a time, unless *lock* is false. Those threads do nothing else: neither what a program
    gives the hub's pool nor look-ups of names hold files up.
    """

    def __init__(
        self, *args: Any, lock: bool = True, threadpool: Any = None, **kwargs: Any
    ) -> None:
        #: Held while a call is made.
        self.lock: Any = Semaphore() if lock else DummySemaphore()
        super().__init__(*args, **kwargs)
        if threadpool is None:
            threadpool = files if _is_regular(self._io) else waits
        #: In whose threads the calls are made.
        self.threadpool: Any = threadpool

    def __getattr__(self, name: str) -> Any:
        value = super().__getattr__(name)
        return self._in_thread(value) if callable(value) and name != "fileno" else value

    def close(self) -> None:
        """Flush and close it, once the call that is going on has ended."""
        self._in_thread(super().close)()

    def _in_thread(self, method: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(method)
        def call(*args: Any, **kwargs: Any) -> Any:
            with self.lock:
                return self.threadpool.apply(method, args, kwargs)

        return call


#: The class for whatever descriptor comes, by ``treadle.config.fileobject``; waits without a thread
#: unless that says otherwise.
FileObject: type[FileObjectBlock] = config.fileobject
