"""A cooperative version of the subprocess module, with the API of gevent.subprocess.

:class:`Popen` is a subclass of the standard class. So the interpreter's own C code starts children,
with vfork where it uses that, and no Python runs between fork and exec.
"""

from __future__ import annotations

import subprocess as _stdlib
import typing as _typing
from collections.abc import Callable as _Callable
from typing import Any as _Any

from treadle._core.pipes import cooperative as _cooperative
from treadle._core.rebound import rebound as _rebound
from treadle._core.scopes import clean_up as _clean_up
from treadle._core.sockets import hand_over as _hand_over
from treadle.event import AsyncResult as _AsyncResult
from treadle.fileobject import FileObject
from treadle.greenlet import spawn as _spawn
from treadle.os import wait_for_child as _wait_for_child
from treadle.selectors import PollSelector as _PollSelector

if _typing.TYPE_CHECKING:  # what this module has of the standard one
    from treadle._stdlib.subprocess import *  # noqa: F403

#: Names that treadle replaces.
__implements__: list[str] = [
    "Popen",
    "call",
    "check_call",
    "check_output",
    "getoutput",
    "getstatusoutput",
    "run",
]
#: Names of the standard library that are unchanged here.
__imports__: list[str] = [
    name for name in dir(_stdlib) if not name.startswith("__") and name not in __implements__
]
globals().update({name: getattr(_stdlib, name) for name in __imports__})
__all__ = [*_stdlib.__all__, "FileObject"]


class _EndLink:
    """A link that calls ``callback(child)``; links with equal callbacks are equal."""

    def __init__(self, callback: _Callable[[_Any], object], child: Popen) -> None:
        self.callback = callback
        self.child = child

    def __call__(self, _: object) -> None:
        self.callback(self.child)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _EndLink) and self.callback == other.callback

    __hash__ = None  # type: ignore[assignment]


class Popen(_stdlib.Popen[_Any]):
    """A :class:`subprocess.Popen` whose pipes and waits are cooperative."""

    def __init__(
        self,
        args: _Any,
        bufsize: int | None = -1,
        executable: _Any = None,
        stdin: _Any = None,
        stdout: _Any = None,
        stderr: _Any = None,
        *others: _Any,
        pass_fds: _Any = (),
        **kwargs: _Any,
    ) -> None:
        pass_fds = tuple(pass_fds)
        for file in (stdin, stdout, stderr, *pass_fds):
            fd = file.fileno() if hasattr(file, "fileno") else file
            if isinstance(fd, int):  # the child expects sockets as the standard library leaves them
                _hand_over(fd)
        super().__init__(
            args,
            bufsize,  # type: ignore[arg-type]
            executable,
            stdin,
            stdout,
            stderr,
            *others,
            pass_fds=pass_fds,
            **kwargs,
        )
        self.stdin: _Any = _cooperative(self.stdin, bufsize)
        self.stdout: _Any = _cooperative(self.stdout, bufsize)
        self.stderr: _Any = _cooperative(self.stderr, bufsize)

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        value: BaseException | None,
        traceback: _Any,
    ) -> None:
        # A block that a cancellation ends reaps its child all the same.
        with _clean_up():
            super().__exit__(exc_type, value, traceback)

    def _wait(self, timeout: float | None) -> int:
        # Wait without holding the lock for reaping, and acquire it once the child has ended.
        if self.returncode is None and not _wait_for_child(self.pid, timeout):
            raise _stdlib.TimeoutExpired(self.args, timeout)  # type: ignore[arg-type]
        code: int = super()._wait(timeout=None)  # type: ignore[misc]
        return code

    def rawlink(self, callback: _Callable[[_Any], object]) -> None:
        """Call ``callback(self)`` in the hub when the child has ended, for :func:`treadle.wait`.

        By then the child is reaped and :attr:`returncode` is set.
        """
        if self._end is None:
            self._end = end = _AsyncResult[int]()
            _spawn(self._watch_end, end)
        self._end.rawlink(_EndLink(callback, self))

    def unlink(self, callback: _Callable[[_Any], object]) -> None:
        """Remove a callback that :meth:`rawlink` added."""
        if self._end is not None:
            self._end.unlink(_EndLink(callback, self))

    _end: _Any = None

    def _watch_end(self, end: _AsyncResult[int]) -> None:
        end.set(self.wait())

    _communicate = _rebound(
        _stdlib.Popen._communicate,  # type: ignore[attr-defined]
        {**vars(_stdlib), "_PopenSelector": _PollSelector},
    )


for _name in __implements__[1:]:
    globals()[_name] = _rebound(getattr(_stdlib, _name), globals())
