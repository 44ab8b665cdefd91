"""Queues between greenlets and threads.

An item that is put while getters wait stays in the queue, promised to the first of them until that
one runs and takes it: if it is cancelled on its way, the promise passes on and nothing is lost. When
a place becomes free while putters wait, the first one's item goes in at once and its put() is
settled: it returns whatever happens, so that an interrupted put() has never put anything.

Without a subclass's hooks and without comparisons (of a heap) every step between two parks is C
that runs no Python: put() is safe in signal handlers and finalizers.
"""

import warnings
from _queue import Empty
from collections import deque
from heapq import heapify, heappop, heappush
from types import GenericAlias

cimport cython
from libc.stdint cimport int64_t

from treadle._core.clock cimport nanoseconds, now
from treadle._core.hub cimport (
    HUB_CLOSED,
    ON_CHANNEL,
    ON_QUEUE_GET,
    ON_QUEUE_JOIN,
    ON_QUEUE_PUT,
    WAIT_PARKED,
    Wait,
    new_wait,
    park,
    unpark,
    unpark_with,
)
from treadle._core.timeout cimport timeout_error
from treadle._core.wait_queue cimport WaitQueue

# Filled from above with the standard library's, whose module loads threading.
full_class = Exception
shutdown_class = Exception

cdef object deque_append = deque.append
cdef object deque_popleft = deque.popleft

# Marks the wait of a peek, which takes nothing.
cdef object PEEK = object()

cdef tuple HOOKS = ("_init", "_qsize", "_put", "_get", "_peek", "_create_queue")


cdef int check_timeout(block, timeout) except -1:
    if block and isinstance(timeout, (int, float)) and timeout < 0:
        raise ValueError("'timeout' must be a non-negative number")
    return 0


cdef object too_late(object error, object timeout):
    """What to raise when *timeout* is over: *error*, unless a Timeout stands for its seconds."""
    return error if timeout is None or isinstance(timeout, (int, float)) else timeout_error(timeout)


cdef inline bint can_run(Wait wait) noexcept:
    """Whether unpark() would succeed."""
    if wait.state > WAIT_PARKED:
        return False
    return wait.hub is None or (wait.generation == wait.hub.generation and wait.hub.state != HUB_CLOSED)


@cython.no_gc_clear  # a finalizer may put into a queue that is garbage itself
cdef class SimpleQueue:

    __class_getitem__ = classmethod(GenericAlias)

    def __cinit__(self, *args, **kwargs):
        self.getting = WaitQueue.__new__(WaitQueue)
        self.putting = WaitQueue.__new__(WaitQueue)
        self.limit = -1
        self.customised = overrides_hooks(type(self))

    def __init__(self, maxsize=None, items=()):
        if maxsize is not None:
            if maxsize == 0:
                warn_of_zero()
            self.limit = maxsize if maxsize > 0 else -1
        if items:
            self._init(self.maxsize, items)
        elif self.customised:
            self._init(self.maxsize)
        else:
            SimpleQueue._init(self, None)

    # -- what subclasses may override, as with the standard library's queues

    def _init(self, maxsize, items=()):
        self.queue = self._create_queue(items)

    def _create_queue(self, items=()):
        return deque(items)

    def _qsize(self):
        return len(self.queue)

    def _put(self, item):
        self.store(item)

    def _get(self):
        return self.unstore()

    def _peek(self):
        return self.head()

    # -- the items

    cdef int store(self, object item) except -1:
        if type(self.queue) is deque:
            deque_append(self.queue, item)
        else:
            self.queue.append(item)
        return 0

    cdef object unstore(self):
        if type(self.queue) is deque:
            return deque_popleft(self.queue)
        return self.queue.popleft()

    cdef object head(self):
        return self.queue[0]

    cdef Py_ssize_t size(self) except -1:
        return self._qsize() if self.customised else len(self.queue)

    cdef bint is_full(self) except -1:
        return self.limit >= 0 and self.size() + self.arriving >= self.limit

    cdef int add(self, object item) except -1:
        self.arriving += 1
        try:
            if self.customised:
                self._put(item)
            else:
                self.store(item)
            self.unfinished += 1
        finally:
            self.arriving -= 1
        return 0

    # -- who is next

    cdef int settle(self) except -1:
        """Admit who waits to put and wake who waits to get, after every change."""
        cdef Wait getter
        while self.putting.first != NULL and not self.is_full():
            self.admit(self.putting.pop())
        while self.getting.first != NULL and self.size() > self.promised:
            getter = self.getting.grant()
            if getter is not None and getter.value is not PEEK:
                self.promised += 1
        return 0

    cdef int admit(self, Wait putter) except -1:
        """Put the item of a putter that can still run, and settle its call."""
        if not can_run(putter):
            return 0
        putter.granted = putter.settled = True
        try:
            self.add(putter.value)
        except BaseException as exc:
            putter.settled = False
            unpark_with(putter, exc)
        else:
            unpark(putter)
        return 0

    cdef int await_place(self, object item, object timeout) except -1:
        """Park until a getter made place for `item` and put it, or raise Full."""
        cdef int64_t ns = nanoseconds(timeout)
        cdef Wait wait = new_wait(ON_QUEUE_PUT, self)
        wait.value = item
        self.putting.append(wait)
        try:
            park(wait, ns)
        finally:
            self.putting.remove(wait)
        if not wait.granted:
            raise too_late(full_class, timeout)
        return 0

    cdef int await_item(self, object mark, object timeout) except -1:
        """Park until an item is promised to the caller, or raise Empty."""
        cdef int64_t ns = nanoseconds(timeout)
        cdef Wait wait = new_wait(ON_QUEUE_GET, self)
        wait.value = mark
        self.getting.append(wait)
        try:
            park(wait, ns)
        except BaseException:
            self.getting.remove(wait)
            if wait.granted and mark is not PEEK:
                self.promised -= 1
                self.settle()
            raise
        if not wait.granted:
            self.getting.remove(wait)
            raise too_late(Empty, timeout)
        return 0

    # -- putting

    def put(self, item, block=True, timeout=None):
        """Put *item* into the queue, waiting for a free place if *block* is true.

        Raises :class:`Full` if there is none, after *timeout* seconds at most;
        :class:`ShutDown` if the queue is shut down; ValueError for a negative *timeout*.
        """
        if self.is_shutdown:
            raise shutdown_class
        if self.limit >= 0:
            check_timeout(block, timeout)
        if not self.is_full():
            self.add(item)
            self.settle()
        elif block:
            self.await_place(item, timeout)
        else:
            raise full_class

    def put_nowait(self, item):
        """Put *item* into the queue, or raise :class:`Full` if there is no free place."""
        self.put(item, False)

    # -- getting

    def get(self, block=True, timeout=None):
        """Remove and return an item, waiting for one if *block* is true.

        Raises :class:`Empty` if there is none, after *timeout* seconds at most;
        :class:`ShutDown` if the queue is shut down and empty; ValueError for a negative *timeout*.
        """
        if self.is_shutdown and self.size() <= self.promised:
            raise shutdown_class
        check_timeout(block, timeout)
        if self.size() > self.promised:
            self.promised += 1
        elif block:
            self.await_item(None, timeout)
        else:
            raise Empty
        return self.take()

    cdef object take(self):
        """The item that was promised."""
        try:
            if self.is_shutdown and self.size() == 0:
                raise shutdown_class
            return self._get() if self.customised else self.unstore()
        finally:
            self.promised -= 1
            self.settle()

    def get_nowait(self):
        """Remove and return an item, or raise :class:`Empty` if there is none."""
        return self.get(False)

    def peek(self, block=True, timeout=None):
        """Return the item that :meth:`get` would, without removing it; waits as that does."""
        cdef int64_t deadline = 0
        cdef object left = timeout
        check_timeout(block, timeout)
        if timeout is not None:
            deadline = now() + nanoseconds(timeout)
        while self.size() == 0:  # what woke this one may be gone when it runs
            if self.is_shutdown:
                raise shutdown_class
            if not block:
                raise Empty
            self.await_item(PEEK, left)
            if timeout is not None:
                left = (deadline - now()) / 1e9
        return self._peek() if self.customised else self.head()

    def peek_nowait(self):
        """Return the next item without removing it, or raise :class:`Empty`."""
        return self.peek(False)

    def __iter__(self):
        return self

    def __next__(self):
        """The next item; ends at the item ``StopIteration`` (the class itself)."""
        item = self.get()
        if item is StopIteration:
            raise StopIteration
        return item

    # -- asking

    @property
    def maxsize(self):
        """How many items it holds at most; None for any number."""
        return None if self.limit < 0 else self.limit

    @maxsize.setter
    def maxsize(self, value):
        self.limit = value if value is not None and value > 0 else -1
        self.settle()

    @property
    def getters(self):
        """Those who wait in :meth:`get`; has a length."""
        return self.getting

    @property
    def putters(self):
        """Those who wait in :meth:`put`; has a length."""
        return self.putting

    def qsize(self):
        """How many items there are to get, without those on their way to a waiting getter."""
        return max(self.size() - self.promised, 0)

    def __len__(self):
        return max(self.size() - self.promised, 0)

    def __bool__(self):
        return True

    def empty(self):
        """Whether :meth:`get` would have to wait."""
        return self.size() <= self.promised

    def full(self):
        """Whether :meth:`put` would have to wait."""
        return self.is_full()

    def copy(self):
        """A new queue with the same items."""
        return type(self)(self.maxsize, self.queue)

    def __repr__(self):
        return f"<{type(self).__name__} at {id(self):#x}{self._format()}>"

    def __str__(self):
        return f"<{type(self).__name__}{self._format()}>"

    def _format(self):
        text = "" if self.limit < 0 else f" maxsize={self.limit}"
        if self.queue:
            text += f" queue={self.queue!r}"
        if self.getting.count:
            text += f" getters[{self.getting.count}]"
        if self.putting.count:
            text += f" putters[{self.putting.count}]"
        return text


cdef bint overrides_hooks(cls) except -1:
    """Whether a class written in Python changes how items are kept."""
    return (cls._put is not simple_put or cls._get is not simple_get
            or cls._qsize is not simple_qsize or cls._peek is not simple_peek
            or cls._init is not simple_init
            or cls._create_queue not in creators)


cdef int warn_of_zero() except -1:
    warnings.warn("Queue(0) is a queue without a limit; if you want a rendezvous, use Channel",
                  DeprecationWarning)  # compiled frames do not count
    return 0


@cython.no_gc_clear
cdef class Queue(SimpleQueue):

    def __cinit__(self, *args, **kwargs):
        self.joining = WaitQueue.__new__(WaitQueue)

    def __init__(self, maxsize=None, items=(), unfinished_tasks=None):
        SimpleQueue.__init__(self, maxsize, items)
        self.unfinished = unfinished_tasks if unfinished_tasks else len(items)

    @property
    def unfinished_tasks(self):
        """How many items were put and not yet reported done."""
        return self.unfinished

    @unfinished_tasks.setter
    def unfinished_tasks(self, value):
        self.unfinished = value

    def copy(self):
        """A new queue with the same items and the same count of unfinished tasks."""
        return type(self)(self.maxsize, self.queue, self.unfinished)

    def task_done(self):
        """Report that what was got last is done; once for each item.

        Raises ValueError if called more often than items were put.
        """
        if self.unfinished <= 0:
            raise ValueError(f"task_done() was called too many times on {self!r}")
        self.unfinished -= 1
        if self.unfinished == 0:
            grant_all(self.joining)

    def join(self, timeout=None):
        """Wait until all items that were put are done; False after *timeout* seconds."""
        cdef int64_t ns
        cdef Wait wait
        if self.unfinished == 0:
            return True
        ns = nanoseconds(timeout)
        wait = new_wait(ON_QUEUE_JOIN, self)
        self.joining.append(wait)
        try:
            park(wait, ns)
        finally:
            self.joining.remove(wait)
        return wait.granted

    def shutdown(self, immediate=False):
        """Make each :meth:`put`, and each :meth:`get` of an empty queue, raise ShutDown.

        With *immediate* the remaining items are dropped and count as done.
        """
        self.is_shutdown = True
        if immediate:
            while self.size() > 0:
                if self.customised:
                    self._get()
                else:
                    self.unstore()
                if self.unfinished > 0:
                    self.unfinished -= 1
            if self.unfinished == 0:
                grant_all(self.joining)
        raise_in_all(self.getting, shutdown_class)
        raise_in_all(self.putting, shutdown_class)

    def _format(self):
        text = SimpleQueue._format(self)
        return f"{text} tasks={self.unfinished}" if self.unfinished else text


cdef int grant_all(WaitQueue queue) except -1:
    while queue.grant() is not None:
        pass
    return 0


cdef int raise_in_all(WaitQueue queue, exc) except -1:
    cdef Wait wait = queue.pop()
    while wait is not None:
        unpark_with(wait, exc)
        wait = queue.pop()
    return 0


@cython.no_gc_clear
cdef class LifoQueue(Queue):

    def _create_queue(self, items=()):
        return list(items)

    cdef int store(self, object item) except -1:
        self.queue.append(item)
        return 0

    cdef object unstore(self):
        return self.queue.pop()

    cdef object head(self):
        return self.queue[len(self.queue) - 1]


@cython.no_gc_clear
cdef class PriorityQueue(Queue):

    def _create_queue(self, items=()):
        heap = list(items)
        heapify(heap)
        return heap

    cdef int store(self, object item) except -1:
        heappush(self.queue, item)
        return 0

    cdef object unstore(self):
        return heappop(self.queue)


cdef object simple_init = SimpleQueue._init
cdef object simple_qsize = SimpleQueue._qsize
cdef object simple_put = SimpleQueue._put
cdef object simple_get = SimpleQueue._get
cdef object simple_peek = SimpleQueue._peek
cdef tuple creators = (SimpleQueue._create_queue, LifoQueue._create_queue, PriorityQueue._create_queue)


@cython.no_gc_clear
cdef class Channel:
    # Items stay with their putters until a getter runs and takes one.

    __class_getitem__ = classmethod(GenericAlias)

    def __cinit__(self, *args, **kwargs):
        self.getting = WaitQueue.__new__(WaitQueue)
        self.putting = WaitQueue.__new__(WaitQueue)
        self.handed = deque()

    def __init__(self, maxsize=1):
        if maxsize != 1:
            raise ValueError(f"a Channel has a maxsize of 1, not {maxsize!r}")

    cdef Py_ssize_t offered(self) except? -2:
        """How many items are to be had; less than 0 if putters gave up on their getters."""
        return len(self.handed) + self.putting.count - self.promised

    cdef int settle(self) except -1:
        while self.getting.first != NULL and self.offered() > 0:
            if self.getting.grant() is not None:
                self.promised += 1
        return 0

    def put(self, item, block=True, timeout=None):
        """Give *item* to a getter, waiting until one has taken it.

        Raises :class:`Full` after *timeout* seconds, or at once if not *block* and nobody waits.
        """
        cdef Wait wait
        cdef int64_t ns
        if not block:
            if self.getting.grant() is None:
                raise full_class
            self.promised += 1
            deque_append(self.handed, item)
            return
        ns = nanoseconds(timeout)
        wait = new_wait(ON_CHANNEL, self)
        wait.value = item
        self.putting.append(wait)
        self.settle()
        try:
            park(wait, ns)
        finally:
            self.putting.remove(wait)
        if not wait.granted:
            raise too_late(full_class, timeout)

    def put_nowait(self, item):
        """Give *item* to a waiting getter, or raise :class:`Full` if there is none."""
        self.put(item, False)

    def get(self, block=True, timeout=None):
        """Take an item from a putter, waiting for one if *block* is true.

        Raises :class:`Empty` after *timeout* seconds, or at once if not *block* and nobody waits.
        """
        cdef Wait putter
        cdef int64_t deadline = 0
        cdef object left = timeout
        if timeout is not None:
            deadline = now() + nanoseconds(timeout)
        while True:
            if self.offered() > 0:
                if self.handed:
                    return deque_popleft(self.handed)
                putter = self.putting.grant()
                if putter is not None:
                    putter.settled = True
                    return putter.value
            if not block or not self.await_item(left):
                raise too_late(Empty, timeout if block else None)
            if timeout is not None:
                left = (deadline - now()) / 1e9

    cdef bint await_item(self, object timeout) except -1:
        """Park; true if there was an item for the caller when it was woken."""
        cdef Wait wait = new_wait(ON_CHANNEL, self)
        self.getting.append(wait)
        try:
            park(wait, nanoseconds(timeout))
        except BaseException:
            self.getting.remove(wait)
            if wait.granted:
                self.promised -= 1
                self.settle()
            raise
        if not wait.granted:
            self.getting.remove(wait)
            return False
        self.promised -= 1
        return True

    def get_nowait(self):
        """Take an item from a waiting putter, or raise :class:`Empty` if there is none."""
        return self.get(False)

    def __iter__(self):
        return self

    def __next__(self):
        """The next item; ends at the item ``StopIteration`` (the class itself)."""
        item = self.get()
        if item is StopIteration:
            raise StopIteration
        return item

    @property
    def getters(self):
        """Those who wait in :meth:`get`; has a length."""
        return self.getting

    @property
    def putters(self):
        """Those who wait in :meth:`put`; has a length."""
        return self.putting

    @property
    def balance(self):
        """How many more putters than getters wait."""
        return self.putting.count - self.getting.count

    def qsize(self):
        """Always 0: a channel holds nothing."""
        return 0

    def empty(self):
        """Always True."""
        return True

    def full(self):
        """Always True."""
        return True

    def __repr__(self):
        return f"<{type(self).__name__} at {id(self):#x}{self._format()}>"

    def __str__(self):
        return f"<{type(self).__name__}{self._format()}>"

    def _format(self):
        text = f" getters[{self.getting.count}]" if self.getting.count else ""
        return text + (f" putters[{self.putting.count}]" if self.putting.count else "")
