"""``gevent.exceptions`` under the alias: treadle's, and one that nothing raises here."""

from treadle.exceptions import *
from treadle.exceptions import __all__ as _ours

__all__ = [*_ours, "InvalidThreadUseError"]


class InvalidThreadUseError(RuntimeError):
    """An object that belongs to one thread's hub was used from another thread: never raised."""
