"""``gevent._fileobjectposix`` under the alias."""

from treadle.fileobject import FileObjectPosix

from ._fileobjectcommon import OpenDescriptor

__all__ = ["FileObjectPosix"]


class GreenOpenDescriptor(OpenDescriptor):
    """Checks the arguments of :func:`open`; :meth:`opened` opens a cooperative file."""

    def opened(self):
        """Open the file and return it."""
        if self.atomic_write and self.buffering == 0:
            return super().opened()
        return FileObjectPosix(
            self.fobj,
            self.mode,
            buffering=self.buffering,
            encoding=self.encoding,
            errors=self.errors,
            newline=self.newline,
            closefd=self.closefd,
        )
