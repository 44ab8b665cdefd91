"""``gevent._fileobjectposix`` under the alias."""

from treadle.fileobject import FileObjectPosix

from ._fileobjectcommon import OpenDescriptor

__all__ = ["FileObjectPosix"]


class GreenOpenDescriptor(OpenDescriptor):
    """The same arguments, for a file that lets other greenlets run."""

    def opened(self):
        """Open the file."""
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
