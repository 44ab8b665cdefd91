"""Queues between greenlets and threads.

An item that is put while getters wait stays in the queue and is promised to the first getter, until
that greenlet runs and takes it. If the getter is cancelled before, the promise passes to the next
one, and no item is lost. When a place becomes free while putters wait, the first putter's item is
put at once and its put() is settled: it returns whatever happens, so a put() that is interrupted
has never put anything.

Unless a subclass overrides hooks, or a heap compares items, every step between two parks is C that
runs no Python: put() is then safe in signal handlers and finalizers.

Comparing two items may run any code: it may switch greenlets or threads, raise, and use the queue.
So a PriorityQueue compares first and changes its heap in one step at the end, or compares again if
others were faster; no lock is held, and calls that do not block never wait. The call has a place or
an item of its own meanwhile, which no other call can take: a putter that waited is promised the
place, as a getter is promised the item.

Hooks change a container that treadle does not know, so they run one at a time, under a mutex. A
call waits for the hooks of others, as with the standard library's queues, even if it does not block
otherwise. In the hub, which cannot wait, it raises BlockingSwitchOutError instead.
"""

import warnings
from _queue import Empty
from collections import deque
from heapq import heapify
from types import GenericAlias

cimport cython
from libc.stdint cimport int64_t, uint64_t

from treadle._core.clock cimport check_range, nanoseconds, now, time_in
from treadle._core.hub cimport (
    ON_CHANNEL,
    ON_QUEUE_GET,
    ON_QUEUE_JOIN,
    ON_QUEUE_PUT,
    Wait,
    can_run,
    made_hub,
    new_wait,
    unpark,
    unpark_with,
)
from treadle._core.heap cimport heap_pop, heap_push
from treadle._core.methods cimport foreign, is_a
from treadle._core.probe cimport Preemption, add_preemption, operation
from treadle._core.timeout cimport timeout_error
from treadle._core.turns cimport Turn
from treadle._core.wait_queue cimport WaitQueue, grants_pass_on, park_in

cdef Preemption PREEMPTION
add_preemption(&PREEMPTION)

# treadle.queue sets these to the standard library's classes, whose module loads threading.
full_class = Exception
shutdown_class = Exception

cdef object deque_append = deque.append
cdef object deque_popleft = deque.popleft

# The value of a Wait in peek(), which takes no item.
cdef object PEEK = object()
# What try_get() returns if there is no item.
cdef object NOTHING = object()
# The timeout of a call that does not block, recognised by its identity.
cdef object ZERO = object()

cdef tuple HOOKS = ("_init", "_qsize", "_put", "_get", "_peek", "_create_queue")


cdef int check_timeout(block, timeout) except -1:
    if block and isinstance(timeout, (int, float)):
        if timeout < 0:
            raise ValueError("'timeout' must be a non-negative number")
        check_range(timeout)
    return 0


cdef object too_late(object error, object timeout):
    """Return what to raise after *timeout*: *error*, or what a Timeout in its place raises."""
    if timeout is None or timeout is ZERO or isinstance(timeout, (int, float)):
        return error
    return timeout_error(timeout)


cdef int64_t deadline_after(object timeout) except? -2:
    """Return the loop's time *timeout* seconds from now; -1 if there is no limit."""
    cdef int64_t ns = nanoseconds(timeout)
    return -1 if ns < 0 else time_in(ns)


@cython.no_gc_clear  # a finalizer may put into a queue that is garbage itself
cdef class SimpleQueue:
    """SimpleQueue(maxsize=None, items=())\n--\n
    The compiled part of :class:`treadle.queue.SimpleQueue`.
    """

    __class_getitem__ = classmethod(GenericAlias)

    def __cinit__(self, *args, **kwargs):
        self.getting = WaitQueue.__new__(WaitQueue)
        self.putting = WaitQueue.__new__(WaitQueue)
        self.limit = -1
        self.customised = overrides_hooks(type(self))
        if self.customised:
            self.mutex = Turn.__new__(Turn)
        self.compares = not self.customised and isinstance(self, PriorityQueue)

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
        return self.limit >= 0 and self.size() + self.reserved >= self.limit

    cdef int add(self, object item) except -1:
        if self.customised:
            self._put(item)
        else:
            self.store(item)
        self.unfinished += 1
        return 0

    # -- waiting putters and getters

    cdef int settle(self) except -1:
        """Admit waiting putters and wake waiting getters; called after every change."""
        cdef Wait getter
        if self.mutex is not None:
            return self.wake_waiters()
        while self.putting.first != NULL and not self.is_full():
            if not self.compares:
                self.admit(self.putting.pop())
            elif self.putting.grant() is not None:
                self.reserved += 1
        while self.getting.first != NULL and self.size() > self.promised:
            getter = self.getting.grant()
            if getter is not None and getter.value is not PEEK:
                self.promised += 1
        return 0

    cdef int admit(self, Wait putter) noexcept:
        """Put the item of a putter that can still run, and settle its call. Only C runs."""
        if can_run(putter):
            putter.granted = putter.settled = True
            self.add(putter.value)
            unpark(putter)
        return 0

    cdef int await_place(self, object item, object timeout) except -1:
        """Park until a place is free and `item` is put there; raise Full on timeout."""
        cdef int64_t ns = nanoseconds(timeout)
        cdef Wait wait = new_wait(ON_QUEUE_PUT, self)
        wait.value = item
        if not park_in(self.putting, wait, ns):
            raise too_late(full_class, timeout)
        if self.compares:
            self.fill(item)
        return 0

    cdef int fill(self, object item) except -1:
        """Put *item* into the place that is reserved for the caller."""
        try:
            if self.is_shutdown:
                raise shutdown_class
            self.add(item)
        finally:
            self.reserved -= 1
            self.settle()
        return 0

    cdef int await_item(self, object mark, object timeout) except -1:
        """Park until an item is promised to the caller; raise Empty on timeout."""
        cdef int64_t ns = nanoseconds(timeout)
        cdef Wait wait = new_wait(ON_QUEUE_GET, self)
        wait.value = mark
        if not park_in(self.getting, wait, ns):
            raise too_late(Empty, timeout)
        return 0

    # -- putting

    @cython.binding(True)
    def put(self, item, block=True, timeout=None):
        """Put *item* into the queue, waiting for a free place if *block* is true.

        Raises :class:`Full` if no place is free within *timeout* seconds (None: no limit), or now
        if *block* is false; :class:`ShutDown` if the queue is shut down; ValueError for a negative
        *timeout*.
        """
        cdef int64_t deadline
        cdef bint woken = False
        if not is_a(self, SimpleQueue):
            raise foreign(self, "SimpleQueue")
        operation(&PREEMPTION)
        if self.is_shutdown:
            raise shutdown_class
        if timeout is not None and self.limit >= 0:
            check_timeout(block, timeout)
        if self.mutex is not None:
            deadline = deadline_after(timeout)
            try:
                while not self.try_put(item):
                    woken = self.await_change(
                        ON_QUEUE_PUT, full_class, timeout if block else ZERO, deadline, woken)
            except:
                if woken:
                    self.putting.grant()  # for the place that this call was woken for
                raise
        elif not self.is_full():
            if self.compares:
                self.reserved += 1
                self.fill(item)
            else:
                self.add(item)
                self.settle()
        elif block and made_hub():
            SimpleQueue.put(self, item, True, timeout)
        elif block:
            self.await_place(item, timeout)
        else:
            raise full_class

    def put_nowait(self, item):
        """Put *item* into the queue, or raise :class:`Full` if there is no free place."""
        self.put(item, False)

    # -- getting

    @cython.binding(True)
    def get(self, block=True, timeout=None):
        """Remove and return an item, waiting for one if *block* is true.

        Raises :class:`Empty` if there is no item within *timeout* seconds (None: no limit), or now
        if *block* is false; :class:`ShutDown` if the queue is shut down and empty; ValueError for a
        negative *timeout*.
        """
        if not is_a(self, SimpleQueue):
            raise foreign(self, "SimpleQueue")
        operation(&PREEMPTION)
        if self.mutex is not None:
            return self.get_or_peek(False, block, timeout)
        if self.is_shutdown and self.size() <= self.promised:
            raise shutdown_class
        if timeout is not None:
            check_timeout(block, timeout)
        if self.size() > self.promised:
            self.promised += 1
        elif block and made_hub():
            return SimpleQueue.get(self, True, timeout)
        elif block:
            self.await_item(None, timeout)
        else:
            raise Empty
        return self.take()

    cdef object take(self):
        """Remove and return the item that was promised to the caller."""
        try:
            if self.is_shutdown and self.size() == 0:
                raise shutdown_class
            return self.unstore()
        finally:
            self.promised -= 1
            self.settle()

    # -- with a mutex: what waits is woken when it may be able to go on, and then looks again

    cdef bint try_put(self, object item) except -1:
        """Put *item* and return True; return False if the queue is full."""
        self.mutex.take(1, True, None)
        try:
            if self.is_shutdown:
                raise shutdown_class
            if self.is_full():
                return False
            self.add(item)
            return True
        finally:
            self.leave_mutex()

    cdef object try_get(self, bint peeks):
        """Remove (unless it *peeks*) and return an item; return NOTHING if there is none."""
        self.mutex.take(1, True, None)
        try:
            if self.size() == 0:
                if self.is_shutdown:
                    raise shutdown_class
                return NOTHING
            if peeks:
                item = self._peek() if self.customised else self.head()
            else:
                item = self._get() if self.customised else self.unstore()
            return item
        finally:
            self.leave_mutex()

    cdef object get_or_peek(self, bint peeks, bint block, object timeout):
        cdef int64_t deadline
        cdef bint woken = False
        check_timeout(block, timeout)
        deadline = deadline_after(timeout)
        try:
            item = self.try_get(peeks)
            while item is NOTHING:
                woken = self.await_change(
                    ON_QUEUE_GET, Empty, timeout if block else ZERO, deadline, woken)
                item = self.try_get(peeks)
            return item
        except:
            if woken:
                self.getting.grant()  # for the item that this call was woken for
            raise

    cdef int leave_mutex(self) except -1:
        try:
            self.wake_waiters()  # even if a hook raised: it may have changed the queue before
        finally:
            self.mutex.give_once()
        return 0

    cdef int wake_waiters(self) except -1:
        cdef Py_ssize_t items = self.size()
        cdef Py_ssize_t places = self.putting.count if self.limit < 0 else self.limit - items
        while items > 0 and self.getting.grant() is not None:
            items -= 1
        while places > 0 and self.putting.grant() is not None:
            places -= 1
        return 0

    cdef bint await_change(self, Reason reason, object error, object timeout, int64_t deadline,
                           bint first) except -1:
        """Park until the caller may be able to go on; raise *error* at *deadline*.

        Return whether it was woken. With *first* it was before, and keeps its place in the queue.
        """
        cdef WaitQueue queue = self.putting if reason == ON_QUEUE_PUT else self.getting
        cdef int64_t left = -1
        cdef Wait wait
        if deadline >= 0:
            left = deadline - now()
        if timeout is ZERO or (deadline >= 0 and left <= 0):
            raise too_late(error, timeout)
        if made_hub():
            return False
        wait = new_wait(reason, self)
        if first:
            queue.prepend(wait)
        return park_in(queue, wait, left)

    def get_nowait(self):
        """Remove and return an item, or raise :class:`Empty` if there is none."""
        return self.get(False)

    def peek(self, block=True, timeout=None):
        """Return the item that :meth:`get` would return, without removing it.

        Waits for an item, and raises, as :meth:`get` does.
        """
        cdef int64_t deadline = 0
        cdef object left = timeout
        operation(&PREEMPTION)
        if self.mutex is not None:
            return self.get_or_peek(True, block, timeout)
        check_timeout(block, timeout)
        if timeout is not None:
            deadline = time_in(nanoseconds(timeout))
        while self.size() == 0:  # the item that woke this greenlet may be gone when it runs
            if self.is_shutdown:
                raise shutdown_class
            if not block:
                raise Empty
            if made_hub():
                continue
            self.await_item(PEEK, left)
            if timeout is not None:
                left = (deadline - now()) / 1e9
        return self.head()

    def peek_nowait(self):
        """Return the next item without removing it, or raise :class:`Empty`."""
        return self.peek(False)

    def __iter__(self):
        return self

    def __next__(self):
        """Return the next item; iteration ends at an item that is the class ``StopIteration``."""
        item = self.get()
        if item is StopIteration:
            raise StopIteration
        return item

    # -- queries

    @property
    def maxsize(self):
        """The number of items that the queue holds at most; None for no limit."""
        return None if self.limit < 0 else self.limit

    @maxsize.setter
    def maxsize(self, value):
        self.limit = value if value is not None and value > 0 else -1
        self.settle()

    @property
    def getters(self):
        """The queue of waits in :meth:`get`; ``len()`` counts them."""
        return self.getting

    @property
    def putters(self):
        """The queue of waits in :meth:`put`; ``len()`` counts them."""
        return self.putting

    def qsize(self):
        """Return the number of items, without those that are promised to a getter."""
        return max(self.size() - self.promised, 0)

    def __len__(self):
        return max(self.size() - self.promised, 0)

    def __bool__(self):
        return True

    def empty(self):
        """Return whether :meth:`get` would block."""
        return self.size() <= self.promised

    def full(self):
        """Return whether :meth:`put` would block."""
        return self.is_full()

    def copy(self):
        """Return a new queue with the same items."""
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
    """Return whether a class written in Python overrides how items are kept."""
    return (cls._put is not simple_put or cls._get is not simple_get
            or cls._qsize is not simple_qsize or cls._peek is not simple_peek
            or cls._init is not simple_init
            or cls._create_queue not in creators)


cdef int warn_of_zero() except -1:
    warnings.warn("Queue(0) is a queue without a limit; if you want a rendezvous, use Channel",
                  DeprecationWarning)  # no stacklevel: compiled frames do not count
    return 0


@cython.no_gc_clear
cdef class Queue(SimpleQueue):
    """Queue(maxsize=None, items=(), unfinished_tasks=None)\n--\n
    The compiled part of :class:`treadle.queue.Queue`.
    """

    def __cinit__(self, *args, **kwargs):
        self.joining = WaitQueue.__new__(WaitQueue)

    def __init__(self, maxsize=None, items=(), unfinished_tasks=None):
        SimpleQueue.__init__(self, maxsize, items)
        self.unfinished = unfinished_tasks if unfinished_tasks else len(items)

    @property
    def unfinished_tasks(self):
        """The number of items that were put and not yet reported done."""
        return self.unfinished

    @unfinished_tasks.setter
    def unfinished_tasks(self, value):
        self.unfinished = value

    def copy(self):
        """Return a new queue with the same items and the same count of unfinished tasks."""
        return type(self)(self.maxsize, self.queue, self.unfinished)

    def task_done(self):
        """Report that an item from the queue is done; to be called once for each item.

        Raises ValueError if called more often than items were put.
        """
        operation(&PREEMPTION)
        if self.unfinished <= 0:
            raise ValueError(f"task_done() was called too many times on {self!r}")
        self.unfinished -= 1
        if self.unfinished == 0:
            grant_all(self.joining)

    def join(self, timeout=None):
        """Wait until all items that were put are done, and return True.

        Return False if that takes more than *timeout* seconds (None: no limit).
        """
        cdef int64_t ns
        cdef Wait wait
        operation(&PREEMPTION)
        if self.unfinished == 0 or made_hub() and self.unfinished == 0:
            return True
        ns = nanoseconds(timeout)
        wait = new_wait(ON_QUEUE_JOIN, self)
        return park_in(self.joining, wait, ns)

    def shutdown(self, immediate=False):
        """Make :meth:`put`, and :meth:`get` if the queue is empty, raise ShutDown from now on.

        With *immediate* the remaining items are dropped and count as done.
        """
        operation(&PREEMPTION)
        self.is_shutdown = True
        if immediate:
            if self.mutex is None:
                self.drop_items()
            else:
                self.mutex.take(1, True, None)
                try:
                    self.drop_items()
                finally:
                    self.mutex.give_once()
            if self.unfinished == 0:
                grant_all(self.joining)
        if self.mutex is None:
            raise_in_all(self.getting, shutdown_class)
            raise_in_all(self.putting, shutdown_class)
        else:  # they look again: one may find what another was woken for
            grant_all(self.getting)
            grant_all(self.putting)

    cdef int drop_items(self) except -1:
        while self.size() > 0:
            if self.customised:
                self._get()
            else:
                self.queue.pop()
            if self.unfinished > 0:
                self.unfinished -= 1
        return 0

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

    cdef uint64_t changes  # of the heap

    def _create_queue(self, items=()):
        heap = list(items)
        heapify(heap)
        return heap

    cdef int store(self, object item) except -1:
        return heap_push(self.queue, item, &self.changes)

    cdef object unstore(self):
        try:
            return heap_pop(self.queue, &self.changes)
        except IndexError:
            if self.is_shutdown and not self.queue:  # since it was begun
                raise shutdown_class from None
            raise


cdef object simple_init = SimpleQueue._init
cdef object simple_qsize = SimpleQueue._qsize
cdef object simple_put = SimpleQueue._put
cdef object simple_get = SimpleQueue._get
cdef object simple_peek = SimpleQueue._peek
cdef tuple creators = (SimpleQueue._create_queue, LifoQueue._create_queue, PriorityQueue._create_queue)


@cython.no_gc_clear
cdef class Channel:
    """Channel(maxsize=1)\n--\n
    The compiled part of :class:`treadle.queue.Channel`.
    """

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
        """Return how many items no getter is promised; negative if putters gave up meanwhile."""
        return len(self.handed) + self.putting.count - self.promised

    cdef int settle(self) except -1:
        while self.getting.first != NULL and self.offered() > 0:
            if self.getting.grant() is not None:
                self.promised += 1
        return 0

    def put(self, item, block=True, timeout=None):
        """Give *item* to a getter, waiting until one has taken it if *block* is true.

        Raises :class:`Full` after *timeout* seconds (None: no limit), or at once if *block* is
        false and no getter waits.
        """
        cdef Wait wait
        cdef int64_t ns
        operation(&PREEMPTION)
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
        if not park_in(self.putting, wait, ns):
            raise too_late(full_class, timeout)

    def put_nowait(self, item):
        """Give *item* to a waiting getter, or raise :class:`Full` if there is none."""
        self.put(item, False)

    def get(self, block=True, timeout=None):
        """Take an item from a putter, waiting for one if *block* is true.

        Raises :class:`Empty` after *timeout* seconds (None: no limit), or at once if *block* is
        false and no putter waits.
        """
        cdef Wait putter
        cdef int64_t deadline = 0
        cdef object left = timeout
        operation(&PREEMPTION)
        if timeout is not None:
            deadline = time_in(nanoseconds(timeout))
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
        """Park until there may be an item and return True; False on timeout."""
        cdef Wait wait
        if made_hub():
            return True
        wait = new_wait(ON_CHANNEL, self)
        if not park_in(self.getting, wait, nanoseconds(timeout)):
            return False
        self.promised -= 1
        return True

    def get_nowait(self):
        """Take an item from a waiting putter, or raise :class:`Empty` if there is none."""
        return self.get(False)

    def __iter__(self):
        return self

    def __next__(self):
        """Return the next item; iteration ends at an item that is the class ``StopIteration``."""
        item = self.get()
        if item is StopIteration:
            raise StopIteration
        return item

    @property
    def getters(self):
        """The queue of waits in :meth:`get`; ``len()`` counts them."""
        return self.getting

    @property
    def putters(self):
        """The queue of waits in :meth:`put`; ``len()`` counts them."""
        return self.putting

    @property
    def balance(self):
        """The number of waiting putters less the number of waiting getters."""
        return self.putting.count - self.getting.count

    def qsize(self):
        """Return 0: a channel holds no items."""
        return 0

    def empty(self):
        """Return True: a channel holds no items."""
        return True

    def full(self):
        """Return True: a channel has no room for items."""
        return True

    def __repr__(self):
        return f"<{type(self).__name__} at {id(self):#x}{self._format()}>"

    def __str__(self):
        return f"<{type(self).__name__}{self._format()}>"

    def _format(self):
        text = f" getters[{self.getting.count}]" if self.getting.count else ""
        return text + (f" putters[{self.putting.count}]" if self.putting.count else "")


cdef int forgo(Wait wait) except -1:
    """Pass on what was granted to *wait*, whose call does not take it."""
    cdef SimpleQueue queue = wait.on
    if queue.mutex is not None:
        (queue.putting if wait.reason == ON_QUEUE_PUT else queue.getting).grant()
        return 0
    if wait.reason == ON_QUEUE_PUT:
        queue.reserved -= queue.compares  # otherwise its item is in the queue
    elif wait.value is not PEEK:
        queue.promised -= 1
    return queue.settle()


cdef int forgo_meeting(Wait wait) except -1:
    cdef Channel channel = wait.on
    channel.promised -= not wait.settled  # otherwise it is a putter's, whose item was taken
    return channel.settle()


grants_pass_on(ON_QUEUE_PUT, forgo)
grants_pass_on(ON_QUEUE_GET, forgo)
grants_pass_on(ON_CHANNEL, forgo_meeting)
