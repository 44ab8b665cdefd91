"""``gevent.exceptions`` under the alias: treadle's exceptions, and one that is never raised."""

from treadle.exceptions import *
from treadle.exceptions import __all__ as _ours

__all__ = [*_ours, "InvalidThreadUseError"]


class InvalidThreadUseError(RuntimeError):
    """gevent raises it when a thread uses an object of another thread's hub; treadle never does."""
