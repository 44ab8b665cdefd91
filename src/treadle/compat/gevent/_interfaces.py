"""``gevent._interfaces`` under the alias: the loop's and its callbacks' interfaces."""

from zope.interface import Attribute, Interface, classImplements

from treadle._core.hub import Callback
from treadle.core import loop

__all__ = ["ICallback", "ILoop", "IWatcher"]


class ILoop(Interface):
    """What a hub's loop offers."""

    default = Attribute("whether it is the main thread's")
    approx_timer_resolution = Attribute("the shortest time it can wait, in seconds")

    def run(nowait=False, once=False):
        """Run callbacks and watchers until nothing is left."""

    def now():
        """The loop's time in seconds."""

    def update_now():
        """Read the clock anew."""

    def destroy():
        """Let go of what it holds."""

    def io(fd, events, ref=True, priority=None):
        """A watcher of a descriptor."""

    def closing_fd(fd):
        """Say that a descriptor is about to be closed."""

    def timer(after, repeat=0.0, ref=True, priority=None):
        """A watcher of the time."""

    def signal(signum, ref=True, priority=None):
        """A watcher of a signal."""

    def idle(ref=True, priority=None):
        """A watcher that fires when there is nothing else to do."""

    def prepare(ref=True, priority=None):
        """A watcher that fires before the loop waits."""

    def check(ref=True, priority=None):
        """A watcher that fires after the loop waited."""

    def fork(ref=True, priority=None):
        """A watcher that fires in forked children."""

    def async_(ref=True, priority=None):
        """A watcher that other threads may fire."""

    def child(pid, trace=0, ref=True):
        """A watcher of a child process."""

    def stat(path, interval=0.0, ref=True, priority=None):
        """A watcher of a file's status."""

    def run_callback(func, *args):
        """Call a function soon, in the hub."""

    def run_callback_threadsafe(func, *args):
        """The same, for other threads."""


class IWatcher(Interface):
    """What the loop's methods make."""

    def start(callback, *args, **kwargs):
        """Call *callback* from now on."""

    def stop():
        """Call it no more."""

    def close():
        """Let go of what it holds."""


class ICallback(Interface):
    """What :meth:`ILoop.run_callback` returns."""

    pending = Attribute("whether it has yet to run")

    def stop():
        """Do not run it."""

    def close():
        """Do not run it."""


classImplements(loop, ILoop)
classImplements(Callback, ICallback)
