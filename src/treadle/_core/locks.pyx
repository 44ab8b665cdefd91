"""Semaphores, locks and conditions.

A permit that is released goes directly to the first waiter, and no other greenlet can take it:
waiters are served in order and none starves. A waiter that is cancelled after it was given a permit
passes it on.
"""

from treadle._core.clock import seconds as monotonic

cimport cython

from libc.limits cimport INT_MAX, INT_MIN

from treadle._core.clock cimport check_range, nanoseconds
from treadle._core.delivery cimport begin_firm_shield, end_firm_shield, raise_due
from treadle._core.greenlet_api cimport PyGreenlet_Import, greenlet
from treadle._core.hub cimport (
    ON_CONDITION,
    ON_LOCK,
    ON_YIELD,
    Hub,
    Wait,
    current_greenlet,
    get_hub_if_exists,
    made_hub,
    new_wait,
    park,
    unpark,
)
from treadle._core.linkable cimport Linkable
from treadle._core.methods cimport foreign, is_a
from treadle._core.probe cimport Preemption, add_preemption, operation
from treadle._core.wait_queue cimport WaitQueue, grants_pass_on, park_in

import os
import sys
from operator import index

PyGreenlet_Import()

cdef Preemption PREEMPTION
add_preemption(&PREEMPTION)

# A greenlet that fails this many times in a row to acquire without blocking is spinning. It yields,
# as it could spin for ever otherwise. It does not yield at the first failure, because non-blocking
# acquires in finalizers must not switch.
cdef enum:
    SPINS = 16
    # A greenlet that acquires a free lock this many times while the hub makes no turn yields once:
    # it may be polling a queue in a loop. That many take a few milliseconds, after which the
    # interpreter would switch threads.
    TAKES = 2000

# threading.TIMEOUT_MAX: the longest timeout of the thread module's lock, in seconds.
cdef double TIMEOUT_MAX = 9223372036.0
cdef str NEGATIVE_TIMEOUT = ("timeout value must be a non-negative number"
                             if sys.version_info >= (3, 13) else "timeout value must be positive")
# Since CPython 3.12, anything may say whether to block.
cdef bint CHECKS_BLOCKING = sys.version_info < (3, 12)


cdef int note_failure(Spin *spin) except -1:
    """Count a failure to acquire without blocking; yield if the caller is spinning."""
    cdef Hub hub = get_hub_if_exists()
    cdef greenlet current
    if hub is None:
        return 0
    current = current_greenlet()
    spin.failures = spin.failures + 1 if spin.greenlet == <void *>current else 1
    spin.greenlet = <void *>current
    if spin.failures >= SPINS and current is not hub:
        spin.greenlet = NULL
        let_others_run()
    return 0


cdef int let_others_run() except -1:
    cdef Wait wait = new_wait(ON_YIELD, None)
    unpark(wait)
    park(wait, -1)
    return 0


cdef inline int note_take(Takes *takes) except -1:
    """Count that the caller is about to take a free lock; yield if no greenlet did for long."""
    takes.count += 1
    return 0 if takes.count < TAKES else note_many_takes(takes)


cdef int note_many_takes(Takes *takes) except -1:
    cdef Hub hub = get_hub_if_exists()
    takes.count = 0
    if hub is None or current_greenlet() is hub:
        return 0
    if takes.turns == hub.turns:
        let_others_run()
    takes.turns = hub.turns
    return 0


cdef class Semaphore(Linkable):
    """Semaphore(value=1, hub=None)\n--\n
    The compiled part of :class:`treadle.lock.Semaphore`.
    """

    def __init__(self, value=1, hub=None):
        if value is None:
            value = 1
        if value < 0:
            raise ValueError("semaphore initial value must be >= 0")
        self.counter = value

    @property
    def hub(self):
        """Always None, as in gevent before the first wait: any hub's greenlets may use it."""
        return None

    cdef bint is_ready(self) noexcept:
        return self.counter > 0

    cdef bint tells_all(self) noexcept:
        return False

    cdef int forgo(self, Wait wait) except -1:
        return self.give() if wait.value is None else 0

    cdef bint catches_up(self, WaitQueue queue) noexcept:
        return self.take_free() if queue is self.waiters else self.counter > 0

    cdef inline bint take_free(self) noexcept:
        if self.counter <= 0:
            return False
        self.counter -= 1
        self.spin.greenlet = NULL
        return True

    cdef bint take(self, bint blocking, object timeout) except -1:
        if self.take_free():
            return True
        if not blocking or nanoseconds(timeout) == 0:
            note_failure(&self.spin)
            return False
        return self.wait_in(self.waiters, ON_LOCK, timeout)

    cdef int retake(self) except -1:
        """Take a permit; what is raised meanwhile is held, unless it is a LoopExit."""
        if not self.take_free():
            self.wait_in(self.waiters, ON_LOCK, None, True)
        return 0

    cdef int give(self) except -1:
        # The counter is below 0 if the program lowered it, as Celery does to shrink a pool in use.
        if self.counter < 0:
            self.counter += 1
        elif self.waiters.count == 0 or self.waiters.grant() is None:
            self.counter += 1
            if self.watchers is not None:
                self.grant_all(self.watchers)
            if self.links is not None:
                self.call_links()
        return 0

    @cython.binding(True)
    def acquire(self, blocking=True, timeout=None):
        """Take a permit and return True; return False if there is none.

        If *blocking* is true, wait for one first, at most *timeout* seconds (None: no limit).
        """
        if not is_a(self, Semaphore):
            raise foreign(self, "Semaphore")
        operation(&PREEMPTION)
        return self.take_free() or self.take(blocking, timeout)

    @cython.binding(True)
    def release(self):
        """Release a permit, to the first waiter if there is one; return the counter."""
        if not is_a(self, Semaphore):
            raise foreign(self, "Semaphore")
        operation(&PREEMPTION)
        self.give()
        return self.counter

    def wait(self, timeout=None):
        """Wait until there is a permit, without taking it; return the counter.

        Waits at most *timeout* seconds (None: no limit).
        """
        operation(&PREEMPTION)
        if self.counter <= 0:
            if self.watchers is None:
                self.watchers = WaitQueue()
            self.wait_in(self.watchers, ON_LOCK, timeout)
        return self.counter

    def locked(self):
        """Return whether no permit is left."""
        return self.counter <= 0

    def ready(self):
        """Return whether there is a permit."""
        return self.counter > 0

    def __enter__(self):
        operation(&PREEMPTION)
        self.take(True, None)

    def __exit__(self, typ, value, tb):
        self.release()

    # threading.Condition uses these methods if a lock has them. Its own fallback would leave the
    # lock released if a kill or Timeout arrives while it acquires the lock again.

    def _release_save(self):
        self.release()

    def _acquire_restore(self, state):
        if type(self).acquire in OWN_ACQUIRE:
            self.retake()
        else:
            acquire_shielded(self.acquire, ())

    def _is_owned(self):
        return self.counter <= 0

    def __repr__(self):
        return (f"<{type(self).__name__} at {id(self):#x} counter={self.counter} "
                f"waiting={self.waiters.count}>")


cdef class BoundedSemaphore(Semaphore):
    """BoundedSemaphore(value=1, hub=None)\n--\n
    The compiled part of :class:`treadle.lock.BoundedSemaphore`.
    """

    def __init__(self, value=1, hub=None):
        Semaphore.__init__(self, value, hub)
        self.initial = self.counter

    cdef int forgo(self, Wait wait) except -1:
        # Others may have released the semaphore once too often meanwhile.
        return Semaphore.forgo(self, wait) if self.counter < self.initial else 0

    def release(self):
        """Release a permit, to the first waiter if there is one; return the counter.

        Raises ValueError if that would raise the counter above its initial value.
        """
        operation(&PREEMPTION)
        if self.counter >= self.initial:
            raise ValueError("Semaphore released too many times")
        self.give()
        return self.counter


cdef bint take_with_thread_arguments(Semaphore lock, object blocking, object timeout) except -1:
    return lock.take(blocking, checked_timeout(blocking, timeout))


cdef object checked_timeout(object blocking, object timeout):
    """Return *timeout*, or None for no limit. Raises the errors of the thread module's lock."""
    cdef bint negative
    if CHECKS_BLOCKING and type(blocking) is not bool and not INT_MIN <= index(blocking) <= INT_MAX:
        raise OverflowError("signed integer is greater than maximum")
    if timeout is None or timeout == -1:
        return None
    negative = timeout < 0
    check_range(abs(timeout))
    if timeout != timeout:
        raise ValueError("Invalid value NaN (not a number)")
    if not blocking:
        raise ValueError("can't specify a timeout for a non-blocking call")
    if negative:
        raise ValueError(NEGATIVE_TIMEOUT)
    if timeout > TIMEOUT_MAX:
        raise OverflowError("timeout value is too large")
    return timeout


cdef class Lock(Semaphore):
    """Lock()\n--\n
    The compiled part of :class:`treadle.thread.LockType`.
    """

    def __init__(self):
        self.counter = 1

    cdef bint take(self, bint blocking, object timeout) except -1:
        if blocking and self.counter > 0:
            note_take(&self.takes)
        return Semaphore.take(self, blocking, timeout)

    @cython.binding(True)
    def acquire(self, blocking=True, timeout=-1):
        """Acquire the lock and return True; return False if that fails.

        If *blocking* is true, wait until it is free, at most *timeout* seconds (-1: no limit).
        """
        if not is_a(self, Lock):
            raise foreign(self, "Lock")
        operation(&PREEMPTION)
        return take_with_thread_arguments(self, blocking, timeout)

    @cython.binding(True)
    def release(self):
        """Release the lock; any greenlet may do so. Raises RuntimeError if it is not locked."""
        if not is_a(self, Lock):
            raise foreign(self, "Lock")
        operation(&PREEMPTION)
        if self.counter > 0:
            raise RuntimeError("release unlocked lock")
        self.give()

    def __enter__(self):
        operation(&PREEMPTION)
        return self.take(True, None)

    acquire_lock = acquire
    release_lock = release
    locked_lock = Semaphore.locked

    def _at_fork_reinit(self):
        self.waiters = WaitQueue()
        self.counter = 1

    def __repr__(self):
        state = "unlocked" if self.counter > 0 else "locked"
        return f"<{state} _thread.lock object at {id(self):#x}>"


cdef class RLock:
    """RLock(*ignored, **also_ignored)\n--\n
    The compiled part of :class:`treadle.lock.RLock`.
    """

    # The arguments are ignored: gevent's RLock takes a hub, the thread module's takes anything.
    def __cinit__(self, *args, **kwargs):
        self.waiters = WaitQueue()

    @property
    def hub(self):
        """Always None: greenlets of any hub may use the lock."""
        return None

    @property
    def _block(self):
        """The lock itself. In gevent it is another object, which tools that inspect locks read."""
        return self

    cdef bint owned(self) noexcept:
        return self.count > 0 and self.owner is current_greenlet()

    cdef bint take(self, Py_ssize_t count, bint blocking, object timeout,
                   bint shielded=False) except -1:
        cdef Wait wait
        cdef greenlet current = current_greenlet()
        if blocking and self.count == 0 and not shielded:
            note_take(&self.takes)
        if self.count == 0:
            self.owner = current
            self.count = count
            self.spin.greenlet = NULL
            return True
        if self.owner is current:
            self.count += count
            return True
        if not blocking or nanoseconds(timeout) == 0:
            note_failure(&self.spin)
            return False
        if made_hub():
            return self.take(count, blocking, timeout, shielded)
        wait = new_wait(ON_LOCK, self)
        wait.shielded = shielded
        if not park_in(self.waiters, wait, nanoseconds(timeout)):
            return False
        self.owner = current
        self.count = count
        return True

    cdef int give(self) except -1:
        """Release the lock, or grant it to the first waiter: held once until that waiter runs."""
        self.owner = None
        self.count = 1
        if self.waiters.grant() is None:
            self.count = 0
        return 0

    cdef int give_once(self) except -1:
        """Undo one take() by the owner."""
        if self.count > 1:
            self.count -= 1
        else:
            self.give()
        return 0

    @cython.binding(True)
    def acquire(self, blocking=True, timeout=-1):
        """Acquire the lock, once more if the caller owns it, and return True, or False on failure.

        If *blocking* is true, wait until it is free, at most *timeout* seconds (-1 or None: no
        limit).
        """
        if not is_a(self, RLock):
            raise foreign(self, "RLock")
        operation(&PREEMPTION)
        return self.take(1, blocking, checked_timeout(blocking, timeout))

    @cython.binding(True)
    def release(self):
        """Undo one acquire(). Raises RuntimeError if the caller does not own the lock."""
        if not is_a(self, RLock):
            raise foreign(self, "RLock")
        operation(&PREEMPTION)
        if not self.owned():
            raise RuntimeError("cannot release un-acquired lock")
        self.give_once()

    def locked(self):
        """Return whether any greenlet holds the lock."""
        return self.count > 0

    def __enter__(self):
        operation(&PREEMPTION)
        return self.take(1, True, None)

    def __exit__(self, typ, value, tb):
        self.release()

    def _is_owned(self):
        return self.owned()

    def _recursion_count(self):
        return self.count if self.owned() else 0

    def _release_save(self):
        if not self.owned():
            raise RuntimeError("cannot release un-acquired lock")
        state = self.count, self.owner
        self.give()
        return state

    def _acquire_restore(self, state):
        self.take(state[0], True, None, True)

    def _at_fork_reinit(self):
        self.waiters = WaitQueue()
        self.owner = None
        self.count = 0

    def __repr__(self):
        state = "locked" if self.count else "unlocked"
        return (f"<{state} _thread.RLock object owner={self.owner!r} count={self.count} "
                f"at {id(self):#x}>")


cdef int forgo_lock(Wait wait) except -1:
    if isinstance(wait.on, RLock):
        return (<RLock>wait.on).give()
    return (<Semaphore>wait.on).forgo(wait)


grants_pass_on(ON_LOCK, forgo_lock)


cdef int acquire_shielded(acquire, tuple args) except -1:
    """Call *acquire*; what is raised in its waits meanwhile is held, unless it is a LoopExit."""
    shield = begin_firm_shield()
    try:
        acquire(*args)
    finally:
        end_firm_shield(shield)
    return 0


cdef tuple OWN_ACQUIRE = (Semaphore.acquire, Lock.acquire)


cdef class Condition:
    """Condition(lock=None)\n--\n
    The compiled part of :class:`treadle.lock.Condition`.
    """

    cdef readonly object _lock
    cdef readonly object acquire
    cdef readonly object release
    cdef WaitQueue waiters
    cdef object __weakref__

    def __cinit__(self, *args, **kwargs):
        self.waiters = WaitQueue()

    def __init__(self, lock=None):
        self._lock = RLock() if lock is None else lock
        self.acquire = self._lock.acquire
        self.release = self._lock.release

    def __enter__(self):
        return self._lock.__enter__()

    def __exit__(self, *args):
        return self._lock.__exit__(*args)

    cdef int check_owned(self, str doing) except -1:
        if not self._is_owned():
            raise RuntimeError(f"cannot {doing} on un-acquired lock")
        return 0

    def wait(self, timeout=None):
        """Release the lock, wait to be notified, acquire the lock again, and return True.

        Return False if *timeout* seconds (None: no limit) pass first. However the wait ends, the
        caller holds the lock again afterwards. Raises RuntimeError if the caller does not hold the
        lock.
        """
        cdef Wait wait
        operation(&PREEMPTION)
        self.check_owned("wait")
        wait = new_wait(ON_CONDITION, self)
        self.waiters.append(wait)
        try:
            state = self.release_all()
        except:
            self.waiters.remove(wait)
            if wait.granted:
                self.waiters.grant()
            raise
        try:
            park(wait, nanoseconds(timeout))
        except:
            self.waiters.remove(wait)
            self.reacquire(state)
            if wait.granted:
                self.waiters.grant()
            raise
        self.waiters.remove(wait)
        self.reacquire(state)
        try:
            raise_due()
        except:
            if wait.granted:
                self.waiters.grant()
            raise
        return wait.granted

    cdef object release_all(self):
        if hasattr(self._lock, "_release_save"):
            return self._lock._release_save()
        self._lock.release()

    cdef int reacquire(self, state) except -1:
        """Acquire the lock; what is raised meanwhile is held, unless it is a LoopExit."""
        kind = type(self._lock)
        if isinstance(self._lock, RLock) and kind._acquire_restore is RLock._acquire_restore:
            (<RLock>self._lock).take(state[0], True, None, True)
            return 0
        if (isinstance(self._lock, Semaphore) and kind.acquire in OWN_ACQUIRE
                and kind._acquire_restore is Semaphore._acquire_restore):
            return (<Semaphore>self._lock).retake()
        if hasattr(self._lock, "_acquire_restore"):
            return acquire_shielded(self._lock._acquire_restore, (state,))
        return acquire_shielded(self._lock.acquire, ())

    def wait_for(self, predicate, timeout=None):
        """Wait until ``predicate()`` is true and return its last value.

        Waits at most *timeout* seconds in all (None: no limit).
        """
        left = timeout
        deadline = None if timeout is None else monotonic() + timeout
        result = predicate()
        while not result:
            if deadline is not None:
                left = deadline - monotonic()
                if left <= 0:
                    break
            self.wait(left)
            result = predicate()
        return result

    def notify(self, n=1):
        """Wake at most *n* waiters. Raises RuntimeError if the caller does not hold the lock."""
        operation(&PREEMPTION)
        self.wake(n)

    cdef int wake(self, Py_ssize_t n) except -1:
        self.check_owned("notify")
        while n > 0 and self.waiters.grant() is not None:
            n -= 1

    def notify_all(self):
        """Wake all waiters. Raises RuntimeError if the caller does not hold the lock."""
        operation(&PREEMPTION)
        self.wake(self.waiters.count)

    def _is_owned(self):
        lock = self._lock
        if hasattr(lock, "_is_owned"):
            return lock._is_owned()
        if hasattr(lock, "locked"):
            return lock.locked()
        if lock.acquire(False):  # as threading.Condition does
            lock.release()
            return False
        return True

    def __repr__(self):
        return f"<Condition({self._lock!r}, {self.waiters.count})>"


cdef int forgo_notification(Wait wait) except -1:
    (<Condition>wait.on).waiters.grant()
    return 0


grants_pass_on(ON_CONDITION, forgo_notification)
