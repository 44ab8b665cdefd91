"""The file with the supervisor's process id."""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress

from treadle.os import close
from treadle.serve.settings import SettingsError

__all__ = ["PidFile"]


class PidFile:
    """A file at *path* that contains this process's id, and that no other server may take.

    Its lock, not its contents, says whether it is in use: the system releases the lock however the
    process ends, whereas the id in a file that was left behind may be another process's by now.
    Raises SettingsError if the file is in use or cannot be written.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        try:
            self._fd: int = self._open()
            os.ftruncate(self._fd, 0)
            os.write(self._fd, b"%d\n" % os.getpid())
        except BlockingIOError:
            raise SettingsError(f"pid: {path} is the file of a server that runs") from None
        except OSError as exc:
            named = OSError(exc.errno, exc.strerror, path)
            raise SettingsError(f"pid: {named}") from exc

    def _open(self) -> int:
        while True:
            fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            try:
                # A record lock: forked workers do not inherit it.
                fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BaseException:
                close(fd)
                raise
            if self._is_at_path(fd):
                return fd
            close(fd)  # its server has removed it meanwhile

    def _is_at_path(self, fd: int) -> bool:
        try:
            return os.path.samestat(os.fstat(fd), os.stat(self._path))
        except FileNotFoundError:
            return False

    def remove(self) -> None:
        """Remove the file, unless another one is there by now."""
        with suppress(OSError):
            if self._is_at_path(self._fd):
                os.unlink(self._path)
        close(self._fd)
