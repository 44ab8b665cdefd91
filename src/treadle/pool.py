"""Groups of greenlets, and pools that limit how many run: what gevent.pool offers."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from queue import Full
from typing import Any

from treadle._core.groups import Members
from treadle.event import Event
from treadle.greenlet import Greenlet, GreenletExit, getcurrent, joinall
from treadle.greenlet import kill as kill_any
from treadle.lock import DummySemaphore, Semaphore
from treadle.queue import SimpleQueue
from treadle.timeout import Timeout

__all__ = ["Group", "Pool", "PoolFull"]


class GroupMappingMixin:
    """The apply and map families, on top of ``spawn``.

    What ``spawn`` returns has ``get()``, ``rawlink()``, ``successful()``, ``value`` and
    ``exception``, as greenlets and results have.
    """

    __slots__ = ()

    def spawn(self, func: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Run ``func(*args, **kwargs)`` beside the caller; may wait for a free place first."""
        raise NotImplementedError(f"{type(self).__name__} has no spawn()")

    def _apply_immediately(self) -> bool:
        """Whether apply() called from here would wait for itself and has to call directly."""
        raise NotImplementedError(f"{type(self).__name__} has no _apply_immediately()")

    def _apply_async_use_greenlet(self) -> bool:
        """Whether spawn() might wait now, so that apply_async() needs a greenlet of its own."""
        raise NotImplementedError(f"{type(self).__name__} has no _apply_async_use_greenlet()")

    def _apply_async_cb_spawn(self, callback: Callable[[Any], object], result: Any) -> None:
        """Call apply_cb()'s callback."""
        raise NotImplementedError(f"{type(self).__name__} has no _apply_async_cb_spawn()")

    def apply(
        self,
        func: Callable[..., Any],
        args: Iterable[Any] | None = None,
        kwds: dict[str, Any] | None = None,
    ) -> Any:
        """Spawn ``func(*args, **kwds)``, wait for it and return its value or raise its exception.

        Called from a member of this very pool it calls *func* directly.
        """
        if self._apply_immediately():
            return func(*(args or ()), **(kwds or {}))
        return self.spawn(func, *(args or ()), **(kwds or {})).get()

    def apply_cb(
        self,
        func: Callable[..., Any],
        args: Iterable[Any] | None = None,
        kwds: dict[str, Any] | None = None,
        callback: Callable[[Any], object] | None = None,
    ) -> Any:
        """:meth:`apply`; then have ``callback(result)`` called if *callback* is given."""
        result = self.apply(func, args, kwds)
        if callback is not None:
            self._apply_async_cb_spawn(callback, result)
        return result

    def apply_async(
        self,
        func: Callable[..., Any],
        args: Iterable[Any] | None = None,
        kwds: dict[str, Any] | None = None,
        callback: Callable[[Any], object] | None = None,
    ) -> Any:
        """:meth:`apply_cb` in a greenlet, which is returned; never waits.

        The greenlet may or may not be a member: to wait for the call, wait for the greenlet.
        """
        if self._apply_async_use_greenlet():
            return Greenlet.spawn(self.apply_cb, func, args, kwds, callback)
        greenlet = self.spawn(func, *(args or ()), **(kwds or {}))
        if callback is not None:
            greenlet.link_value(lambda source: callback(source.value))
        return greenlet

    def map(self, func: Callable[[Any], Any], iterable: Iterable[Any]) -> list[Any]:
        """Spawn ``func(item)`` for each item; the list of the values, in the items' order.

        Raises the exception of the first item, in that order, that failed.
        """
        spawn = self.spawn
        tasks: deque[Any] = deque()
        results: list[Any] = []
        for item in iterable:
            tasks.append(spawn(func, item))
            # Let go of what ended while spawn() waited; errors are raised when all are spawned.
            while tasks and tasks[0].successful():
                results.append(tasks.popleft().value)
        results += [task.get() for task in tasks]
        return results

    def map_cb(
        self,
        func: Callable[[Any], Any],
        iterable: Iterable[Any],
        callback: Callable[[list[Any]], object] | None = None,
    ) -> list[Any]:
        """:meth:`map`; then call ``callback(list)`` if *callback* is given."""
        result = self.map(func, iterable)
        if callback is not None:
            callback(result)
        return result

    def map_async(
        self,
        func: Callable[[Any], Any],
        iterable: Iterable[Any],
        callback: Callable[[list[Any]], object] | None = None,
    ) -> Greenlet:
        """:meth:`map_cb` in a greenlet of its own, which is returned."""
        return Greenlet.spawn(self.map_cb, func, iterable, callback)

    def imap(
        self, func: Callable[..., Any], *iterables: Iterable[Any], maxsize: int | None = None
    ) -> IMap:
        """Iterate over ``func(a, b, ...)`` for the items of *iterables*, in their order.

        The iterables are consumed ahead of the results, in a greenlet of its own. With *maxsize*
        about that many results may wait for the reader before no more are begun.
        """
        return IMap.spawn(func, zip(*iterables, strict=False), self.spawn, maxsize)

    def imap_unordered(
        self, func: Callable[..., Any], *iterables: Iterable[Any], maxsize: int | None = None
    ) -> IMapUnordered:
        """The same, giving each result as soon as it is there."""
        return IMapUnordered.spawn(func, zip(*iterables, strict=False), self.spawn, maxsize)


class IMapUnordered(Greenlet):
    """Spawns the tasks of an imap and is the iterator over their results."""

    def __init__(
        self,
        func: Callable[..., Any],
        arguments: Iterable[tuple[Any, ...]],
        spawn: Callable[..., Any],
        maxsize: int | None = None,
    ) -> None:
        super().__init__()
        self._func = func
        self._arguments = arguments
        self._spawn = spawn
        self._room = Semaphore(maxsize) if maxsize else None
        self._begun = 0
        self._unfinished = 0
        #: What ended, with its place among the arguments; the iterator itself comes last.
        self._ended: SimpleQueue[tuple[int, Any]] = SimpleQueue()
        self._exhausted = False
        self.rawlink(self._on_end)

    def _run(self) -> None:
        for arguments in self._arguments:
            if self._room is not None:
                self._room.acquire()
            task = self._spawn(self._func, *arguments)
            index = self._begun
            self._begun += 1
            self._unfinished += 1
            task.rawlink(lambda task, index=index: self._on_task_end(index, task))

    def _on_task_end(self, index: int, task: Any) -> None:
        self._unfinished -= 1
        self._ended.put((index, task))
        if self.ready() and self._unfinished == 0:
            self._ended.put((self._begun, self))

    def _on_end(self, _: Any) -> None:
        if self._unfinished == 0:
            self._ended.put((self._begun, self))

    @property
    def queue(self) -> SimpleQueue[tuple[int, Any]]:
        """What has ended and was not asked for yet."""
        return self._ended

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        if self._exhausted:
            raise StopIteration
        if self._room is not None:
            self._room.release()
        task = self._next_ended()
        self._exhausted = task is self
        if not task.successful():
            raise task.exception
        if self._exhausted:
            raise StopIteration
        return task.value

    def _next_ended(self) -> Any:
        return self._ended.get()[1]


class IMap(IMapUnordered):
    """The same in the order of the arguments."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._next = 0
        self._early: dict[int, Any] = {}

    def _next_ended(self) -> Any:
        while self._next not in self._early:
            index, task = self._ended.get()
            self._early[index] = task
        self._next += 1
        return self._early.pop(self._next - 1)


class Group(GroupMappingMixin):
    """The greenlets of *args*' one iterable and those added later, until each has ended.

    Its length is their number; it can be iterated and asked with ``in``.
    """

    #: The class of greenlets that :meth:`spawn` makes.
    greenlet_class: type[Greenlet] = Greenlet

    def __init__(self, *args: Iterable[Any]) -> None:
        if len(args) > 1:
            raise TypeError(f"{type(self).__name__} takes one iterable, not {len(args)}")
        self._members = Members(Event(), self._places())
        for greenlet in args[0] if args else ():
            self._members.enter(greenlet)

    def _places(self) -> Semaphore | None:
        """What limits the number of members."""
        return None

    @property
    def greenlets(self) -> set[Any]:
        """The members."""
        return self._members.alive

    @property
    def dying(self) -> set[Any]:
        """The members that were killed and have not ended."""
        return self._members.dying

    def __repr__(self) -> str:
        return f"<{type(self).__name__} at {id(self):#x} {self.greenlets}>"

    def __len__(self) -> int:
        return len(self.greenlets)

    def __contains__(self, item: object) -> bool:
        return item in self.greenlets

    def __iter__(self) -> Iterator[Any]:
        return iter(self.greenlets)

    def add(self, greenlet: Any) -> None:
        """Make *greenlet* a member until it ends."""
        self._members.enter(greenlet)

    def discard(self, greenlet: Any) -> None:
        """Make *greenlet* no longer a member."""
        self._members.leave(greenlet)

    def start(self, greenlet: Any) -> None:
        """Add the unstarted *greenlet* and start it."""
        self.add(greenlet)
        greenlet.start()

    def spawn(self, *args: Any, **kwargs: Any) -> Any:
        """Make a greenlet with these arguments, add it, start it and return it."""
        greenlet = self.greenlet_class(*args, **kwargs)
        self.start(greenlet)
        return greenlet

    def join(self, timeout: float | None = None, raise_error: bool = False) -> bool:
        """Wait until there are no members, *timeout* seconds at most; whether that came about.

        With *raise_error* it then raises the exception of one of those that were members when it
        was called and have failed, if any.
        """
        members = list(self.greenlets) if raise_error else []
        emptied = self._members.empty.wait(timeout)
        for greenlet in members:
            if greenlet.exception is not None:
                raise greenlet.exception
        return bool(emptied)

    def kill(
        self,
        exception: BaseException | type[BaseException] = GreenletExit,
        block: bool = True,
        timeout: float | None = None,
    ) -> None:
        """Raise *exception* in every member; if *block*, wait until all have ended.

        Members that come while it waits are killed too. Waits *timeout* seconds at most.
        """
        with Timeout(timeout, False):
            while self.greenlets:
                for greenlet in self.greenlets - self.dying:
                    self._kill_member(greenlet, exception)
                if not block:
                    return
                joinall(self.greenlets)
                for greenlet in [each for each in self.greenlets if each.dead]:
                    self.discard(greenlet)  # killed before it began: the hub has it to remove

    def _kill_member(self, greenlet: Any, exception: BaseException | type[BaseException]) -> None:
        if hasattr(greenlet, "kill"):
            self.dying.add(greenlet)
            greenlet.kill(exception, block=False)
        else:
            kill_any(greenlet, exception)
            self.discard(greenlet)  # a raw greenlet cannot be waited for

    def killone(
        self,
        greenlet: Any,
        exception: BaseException | type[BaseException] = GreenletExit,
        block: bool = True,
        timeout: float | None = None,
    ) -> None:
        """Raise *exception* in *greenlet* if it is a member; if *block*, wait for its end."""
        if greenlet in self.greenlets and greenlet not in self.dying:
            self._kill_member(greenlet, exception)
            if block:
                greenlet.join(timeout)
                if greenlet.dead:
                    self.discard(greenlet)

    def full(self) -> bool:
        """Whether :meth:`add` would wait: never."""
        return False

    def wait_available(self, timeout: float | None = None) -> int | None:
        """Wait until :meth:`spawn` would not: returns at once."""
        return None

    def _apply_immediately(self) -> bool:
        return getcurrent() in self

    def _apply_async_use_greenlet(self) -> bool:
        return self.full()

    def _apply_async_cb_spawn(self, callback: Callable[[Any], object], result: Any) -> None:
        Greenlet.spawn(callback, result)


class PoolFull(Full):
    """Raised by :meth:`Pool.add` when there is no place, and none came in the time given."""


class Pool(Group):
    """A group of at most *size* greenlets; of any number if that is None.

    ValueError if *size* is negative; with 0 nothing can ever be added. *greenlet_class* is what
    :meth:`spawn` makes.
    """

    def __init__(
        self, size: int | None = None, greenlet_class: type[Greenlet] | None = None
    ) -> None:
        if size is not None and size < 0:
            raise ValueError(f"size must not be negative: {size!r}")
        self.size = size
        self._semaphore = DummySemaphore() if size is None else Semaphore(size)
        if greenlet_class is not None:
            self.greenlet_class = greenlet_class
        super().__init__()

    def _places(self) -> Semaphore | None:
        return self._semaphore if isinstance(self._semaphore, Semaphore) else None

    def wait_available(self, timeout: float | None = None) -> int:
        """Wait until there is a place, *timeout* seconds at most; how many there are."""
        return self._semaphore.wait(timeout)

    def full(self) -> bool:
        """Whether :meth:`add` would wait."""
        return self.free_count() <= 0

    def free_count(self) -> int:
        """How many more could be added; 1 if there is no limit."""
        return 1 if self.size is None else max(0, self.size - len(self.greenlets))

    def start(self, greenlet: Any, blocking: bool = True, timeout: float | None = None) -> None:
        """Add the unstarted *greenlet*, as :meth:`add` does, and start it."""
        self.add(greenlet, blocking, timeout)
        greenlet.start()

    def add(self, greenlet: Any, blocking: bool = True, timeout: float | None = None) -> None:
        """Make *greenlet* a member until it ends, waiting for a place if *blocking*.

        Raises :class:`PoolFull` if there is none, after *timeout* seconds at most.
        """
        if not self._members.enter(greenlet, blocking, timeout):
            raise PoolFull(f"{self!r} has no free place")
