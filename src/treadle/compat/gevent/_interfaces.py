"""``gevent._interfaces`` under the alias: zope interfaces of loops, watchers and callbacks."""

from zope.interface import Attribute, Interface, classImplements

from treadle._core.hub import Callback
from treadle.core import loop

__all__ = ["ICallback", "ILoop", "IWatcher"]


class ILoop(Interface):
    """The interface of a hub's loop."""

    default = Attribute("whether it is the main thread's")
    approx_timer_resolution = Attribute("the shortest time it can wait, in seconds")

    def run(nowait=False, once=False):
        """Run callbacks and watchers until none is left."""

    def now():
        """Return the loop's time in seconds."""

    def update_now():
        """Update the loop's time from the clock."""

    def destroy():
        """Free the loop's resources."""

    def io(fd, events, ref=True, priority=None):
        """Return a watcher of a file descriptor."""

    def closing_fd(fd):
        """Notify the loop that a file descriptor is about to be closed."""

    def timer(after, repeat=0.0, ref=True, priority=None):
        """Return a timer that fires after *after* seconds, then every *repeat* seconds."""

    def signal(signum, ref=True, priority=None):
        """Return a watcher of a signal."""

    def idle(ref=True, priority=None):
        """Return a watcher that fires when the loop has nothing else to do."""

    def prepare(ref=True, priority=None):
        """Return a watcher that fires before the loop waits."""

    def check(ref=True, priority=None):
        """Return a watcher that fires after the loop waits."""

    def fork(ref=True, priority=None):
        """Return a watcher that fires in forked children."""

    def async_(ref=True, priority=None):
        """Return a watcher that other threads may fire."""

    def child(pid, trace=0, ref=True):
        """Return a watcher of a child process."""

    def stat(path, interval=0.0, ref=True, priority=None):
        """Return a watcher of a file's status."""

    def run_callback(func, *args):
        """Schedule a call of *func* in the hub, and return its callback object."""

    def run_callback_threadsafe(func, *args):
        """Schedule a call of *func* in the hub; other threads may call this."""


class IWatcher(Interface):
    """A watcher, which methods of the loop return."""

    def start(callback, *args, **kwargs):
        """Call *callback* for each event from now on."""

    def stop():
        """Stop calling the callback."""

    def close():
        """Stop, and free the watcher's resources."""


class ICallback(Interface):
    """A scheduled call, which :meth:`ILoop.run_callback` returns."""

    pending = Attribute("whether it has yet to run")

    def stop():
        """Cancel the call."""

    def close():
        """Cancel the call."""


classImplements(loop, ILoop)
classImplements(Callback, ICallback)
