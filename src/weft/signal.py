"""Signal handlers: what gevent.signal offers.

The standard functions as they are. Handlers run promptly, in whichever greenlet is current, and a
handler of SIGCHLD works beside weft's watching of children, which takes no signal where the system
has descriptors for processes.
"""

from signal import getsignal, signal

__implements__ = ["getsignal", "signal"]
__all__ = ["getsignal", "signal"]
