"""Groups of greenlets, and pools that limit how many run, with the interface of gevent.pool."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, KeysView, Mapping
from collections.abc import Set as AbstractSet
from queue import Full
from typing import (
    TYPE_CHECKING,
    Any,
    Generic,
    ParamSpec,
    Protocol,
    Self,
    TypeAlias,
    TypeVar,
    TypeVarTuple,
    overload,
)

from treadle._core.greenlet import new_greenlet
from treadle._core.groups import Members
from treadle.event import AsyncResult, Event
from treadle.greenlet import Greenlet, GreenletExit, getcurrent, joinall
from treadle.greenlet import kill as kill_any
from treadle.lock import DummySemaphore, Semaphore
from treadle.queue import SimpleQueue
from treadle.timeout import Timeout

__all__ = ["Group", "Pool", "PoolFull"]


P = ParamSpec("P")
A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)
Ts = TypeVarTuple("Ts")
#: Arguments in what says nothing of their number and types, unlike a tuple.
Untyped: TypeAlias = list[Any] | range | AbstractSet[Any] | deque[Any] | Iterator[Any]


class Task(Protocol[R_co]):
    """A call that was spawned: a greenlet or a result."""

    @property
    def value(self) -> R_co | None:
        """The value that the call returned; None if it has not ended or has failed."""

    @property
    def exception(self) -> BaseException | None:
        """The exception that the call raised, or None."""

    def successful(self) -> bool:
        """Return whether the call has ended without an exception."""

    def get(self, block: bool = True, timeout: float | None = None) -> R_co:
        """Wait for the call; return its value or raise its exception."""

    def rawlink(self, callback: Callable[[Any], object], /) -> object:
        """Call ``callback(self)`` in the hub once the call has ended."""


class GroupMappingMixin:
    """The apply and map families of groups, pools and thread pools, on top of ``spawn``."""

    __slots__ = ()

    def spawn(self, func: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Task[R]:
        """Start ``func(*args, **kwargs)`` concurrently; this may block until there is a place."""
        raise NotImplementedError(f"{type(self).__name__} has no spawn()")

    def _apply_immediately(self) -> bool:
        """Return whether apply() must call the function directly, since it would wait for itself.

        That is so if the caller is a member.
        """
        raise NotImplementedError(f"{type(self).__name__} has no _apply_immediately()")

    def _apply_async_use_greenlet(self) -> bool:
        """Return whether spawn() may block now, so that apply_async() needs a new greenlet."""
        raise NotImplementedError(f"{type(self).__name__} has no _apply_async_use_greenlet()")

    def _apply_async_cb_spawn(self, callback: Callable[[R], object], result: R) -> None:
        """Call the *callback* of apply_cb() with *result*."""
        raise NotImplementedError(f"{type(self).__name__} has no _apply_async_cb_spawn()")

    @overload
    def apply(self, func: Callable[[*Ts], R], args: tuple[*Ts], kwds: None = None) -> R: ...
    @overload
    def apply(self, func: Callable[[], R], args: None = None, kwds: None = None) -> R: ...
    @overload
    def apply(
        self, func: Callable[..., R], args: Untyped, kwds: Mapping[str, Any] | None = None
    ) -> R: ...
    @overload
    def apply(
        self, func: Callable[..., R], args: Iterable[Any] | None, kwds: Mapping[str, Any] | None
    ) -> R: ...
    @overload
    def apply(self, func: Callable[..., R], *, kwds: Mapping[str, Any]) -> R: ...
    def apply(
        self,
        func: Callable[..., R],
        args: Iterable[Any] | None = None,
        kwds: Mapping[str, Any] | None = None,
    ) -> R:
        """Spawn ``func(*args, **kwds)``, wait for it and return its value or raise its exception.

        A caller that is a member itself calls *func* directly.
        """
        if self._apply_immediately():
            return func(*(args or ()), **(kwds or {}))
        return self.spawn(func, *(args or ()), **(kwds or {})).get()

    @overload
    def apply_cb(
        self,
        func: Callable[[*Ts], R],
        args: tuple[*Ts],
        kwds: None = None,
        callback: Callable[[R], object] | None = None,
    ) -> R: ...
    @overload
    def apply_cb(
        self,
        func: Callable[[], R],
        args: None = None,
        kwds: None = None,
        callback: Callable[[R], object] | None = None,
    ) -> R: ...
    @overload
    def apply_cb(
        self,
        func: Callable[..., R],
        args: Untyped,
        kwds: Mapping[str, Any] | None = None,
        callback: Callable[[R], object] | None = None,
    ) -> R: ...
    @overload
    def apply_cb(
        self,
        func: Callable[..., R],
        args: Iterable[Any] | None,
        kwds: Mapping[str, Any] | None,
        callback: Callable[[R], object] | None = None,
    ) -> R: ...
    @overload
    def apply_cb(
        self,
        func: Callable[..., R],
        *,
        kwds: Mapping[str, Any],
        callback: Callable[[R], object] | None = None,
    ) -> R: ...
    def apply_cb(
        self,
        func: Callable[..., R],
        args: Iterable[Any] | None = None,
        kwds: Mapping[str, Any] | None = None,
        callback: Callable[[R], object] | None = None,
    ) -> R:
        """Have ``func(*args, **kwds)`` called by :meth:`apply` and return its value.

        Before that, if *callback* is given, start ``callback(value)``: a group calls it in a new
        greenlet, a thread pool calls it directly.
        """
        result = self.apply(func, args, kwds or {})
        if callback is not None:
            self._apply_async_cb_spawn(callback, result)
        return result

    @overload
    def apply_async(
        self,
        func: Callable[[*Ts], R],
        args: tuple[*Ts],
        kwds: None = None,
        callback: Callable[[R], object] | None = None,
    ) -> Greenlet[R]: ...
    @overload
    def apply_async(
        self,
        func: Callable[[], R],
        args: None = None,
        kwds: None = None,
        callback: Callable[[R], object] | None = None,
    ) -> Greenlet[R]: ...
    @overload
    def apply_async(
        self,
        func: Callable[..., R],
        args: Untyped,
        kwds: Mapping[str, Any] | None = None,
        callback: Callable[[R], object] | None = None,
    ) -> Greenlet[R]: ...
    @overload
    def apply_async(
        self,
        func: Callable[..., R],
        args: Iterable[Any] | None,
        kwds: Mapping[str, Any] | None,
        callback: Callable[[R], object] | None = None,
    ) -> Greenlet[R]: ...
    @overload
    def apply_async(
        self,
        func: Callable[..., R],
        *,
        kwds: Mapping[str, Any],
        callback: Callable[[R], object] | None = None,
    ) -> Greenlet[R]: ...
    def apply_async(
        self,
        func: Callable[..., R],
        args: Iterable[Any] | None = None,
        kwds: Mapping[str, Any] | None = None,
        callback: Callable[[R], object] | None = None,
    ) -> Greenlet[R]:
        """Run :meth:`apply_cb` in a greenlet and return the greenlet without blocking.

        The greenlet may or may not be a member: to wait for the call, wait for the greenlet.
        """
        if self._apply_async_use_greenlet():
            return Greenlet.spawn(self.apply_cb, func, args, kwds or {}, callback)
        greenlet: Any = self.spawn(func, *(args or ()), **(kwds or {}))
        if callback is not None:
            greenlet.link_value(lambda source: callback(source.value))
        return greenlet  # type: ignore[no-any-return]

    def map(self, func: Callable[[A], R], iterable: Iterable[A]) -> list[R]:
        """Spawn ``func(item)`` for each item; return the list of the values, in the items' order.

        Raises the exception of the first item, in that order, that failed.
        """
        spawn = self.spawn
        tasks: deque[Any] = deque()
        results: list[R] = []
        for item in iterable:
            tasks.append(spawn(func, item))
            # Drop tasks that ended while spawn() waited. Exceptions are raised after the loop.
            while tasks and tasks[0].successful():
                results.append(tasks.popleft().value)
        results += [task.get() for task in tasks]
        return results

    def map_cb(
        self,
        func: Callable[[A], R],
        iterable: Iterable[A],
        callback: Callable[[list[R]], object] | None = None,
    ) -> list[R]:
        """Return the list of values that :meth:`map` returns.

        Before that, if *callback* is given, call ``callback(values)``.
        """
        result = self.map(func, iterable)
        if callback is not None:
            callback(result)
        return result

    def map_async(
        self,
        func: Callable[[A], R],
        iterable: Iterable[A],
        callback: Callable[[list[R]], object] | None = None,
    ) -> Greenlet[list[R]]:
        """Run :meth:`map_cb` in a greenlet and return the greenlet without blocking."""
        return Greenlet.spawn(self.map_cb, func, iterable, callback)

    @overload
    def imap(
        self, func: Callable[[A], R], iterable: Iterable[A], /, *, maxsize: int | None = None
    ) -> IMap[R]: ...
    @overload
    def imap(
        self,
        func: Callable[[A, B], R],
        first: Iterable[A],
        second: Iterable[B],
        /,
        *,
        maxsize: int | None = None,
    ) -> IMap[R]: ...
    @overload
    def imap(
        self,
        func: Callable[[A, B, C], R],
        first: Iterable[A],
        second: Iterable[B],
        third: Iterable[C],
        /,
        *,
        maxsize: int | None = None,
    ) -> IMap[R]: ...
    @overload
    def imap(
        self,
        func: Callable[..., R],
        first: Iterable[Any],
        second: Iterable[Any],
        third: Iterable[Any],
        /,
        *iterables: Iterable[Any],
        maxsize: int | None = None,
    ) -> IMap[R]: ...
    def imap(
        self, func: Callable[..., R], *iterables: Iterable[Any], maxsize: int | None = None
    ) -> IMap[R]:
        """Iterate over ``func(a, b, ...)`` for the items of *iterables*, in the items' order.

        A greenlet of the iterator's own consumes the iterables, ahead of the results. With
        *maxsize*, it waits while about that many results have not been read.
        """
        return IMap(func, zip(*iterables, strict=False), self.spawn, maxsize).begin()

    @overload
    def imap_unordered(
        self, func: Callable[[A], R], iterable: Iterable[A], /, *, maxsize: int | None = None
    ) -> IMapUnordered[R]: ...
    @overload
    def imap_unordered(
        self,
        func: Callable[[A, B], R],
        first: Iterable[A],
        second: Iterable[B],
        /,
        *,
        maxsize: int | None = None,
    ) -> IMapUnordered[R]: ...
    @overload
    def imap_unordered(
        self,
        func: Callable[[A, B, C], R],
        first: Iterable[A],
        second: Iterable[B],
        third: Iterable[C],
        /,
        *,
        maxsize: int | None = None,
    ) -> IMapUnordered[R]: ...
    @overload
    def imap_unordered(
        self,
        func: Callable[..., R],
        first: Iterable[Any],
        second: Iterable[Any],
        third: Iterable[Any],
        /,
        *iterables: Iterable[Any],
        maxsize: int | None = None,
    ) -> IMapUnordered[R]: ...
    def imap_unordered(
        self, func: Callable[..., R], *iterables: Iterable[Any], maxsize: int | None = None
    ) -> IMapUnordered[R]:
        """Iterate over ``func(a, b, ...)`` for the items of *iterables*, as results arrive.

        A greenlet of the iterator's own consumes the iterables, ahead of the results. With
        *maxsize*, it waits while about that many results have not been read.
        """
        return IMapUnordered(func, zip(*iterables, strict=False), self.spawn, maxsize).begin()


class AnyThreadPool(GroupMappingMixin):
    """The interface of a hub's ``threadpool``; see :class:`treadle.threadpool.ThreadPool`."""

    __slots__ = ()

    @property
    def maxsize(self) -> int:
        """The maximum number of threads."""
        raise NotImplementedError(f"{type(self).__name__} has no maxsize")

    @maxsize.setter
    def maxsize(self, value: int) -> None:
        raise NotImplementedError(f"{type(self).__name__} has no maxsize")

    @property
    def size(self) -> int:
        """The number of threads."""
        raise NotImplementedError(f"{type(self).__name__} has no size")

    def spawn(self, func: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> AsyncResult[R]:
        """Have a thread call ``func(*args, **kwargs)``; return an :class:`AsyncResult` for it."""
        raise NotImplementedError(f"{type(self).__name__} has no spawn()")

    def join(self) -> None:
        """Wait until all calls have ended."""
        raise NotImplementedError(f"{type(self).__name__} has no join()")

    def kill(self) -> None:
        """Tell all threads to end after the queued calls, and wait until they have ended."""
        raise NotImplementedError(f"{type(self).__name__} has no kill()")


class IMapUnordered(Greenlet[None], Generic[R]):
    """Spawns the calls of ``imap_unordered()`` and iterates over their values."""

    def __init__(
        self,
        func: Callable[..., R],
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
        #: The tasks that have ended, each with the index of its arguments. The last item is the
        #: iterator itself.
        self._ended: SimpleQueue[tuple[int, Any]] = SimpleQueue()
        self._exhausted = False
        self._asked = False
        self.rawlink(self._on_end)

    def begin(self) -> Self:
        """Start the greenlet that spawns the calls, and return this iterator."""
        self.start()
        return self

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
        """The tasks that have ended and were not yielded yet."""
        return self._ended

    def __iter__(self) -> Iterator[R]:
        return self

    def __next__(self) -> R:
        if self._exhausted:
            raise StopIteration
        if self._room is not None and not self._asked:
            self._asked = True  # until an item comes: a call that is interrupted makes no more room
            self._room.release()
        task = self._next_ended()
        self._asked = False
        self._exhausted = task is self
        if not task.successful():
            raise task.exception
        if self._exhausted:
            raise StopIteration
        value: R = task.value
        return value

    def _next_ended(self) -> Any:
        return self._ended.get()[1]


class IMap(IMapUnordered[R]):
    """Spawns the calls of ``imap()`` and iterates over their values in the arguments' order."""

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
    """A set of greenlets that have not ended.

    The only argument is an iterable of the first members. ``len()`` is the number of members;
    ``in`` and iteration work as with sets.
    """

    #: The class of greenlets that :meth:`spawn` makes.
    greenlet_class: type[Greenlet[Any]] = Greenlet

    def __init__(self, *args: Iterable[Any]) -> None:
        if len(args) > 1:
            raise TypeError(f"{type(self).__name__} takes one iterable, not {len(args)}")
        self._members = Members(Event(), self._places())
        for greenlet in args[0] if args else ():
            self._members.enter(greenlet)

    def _places(self) -> Semaphore | None:
        """Return the semaphore that limits the number of members; None: there is no limit."""
        return None

    @property
    def greenlets(self) -> KeysView[Any]:
        """The members, in the order in which they came; a view that behaves as a set."""
        return self._members.alive.keys()

    @property
    def dying(self) -> set[Any]:
        """The members that were killed and have not ended."""
        return self._members.dying

    def __repr__(self) -> str:
        return f"<{type(self).__name__} at {id(self):#x} {set(self.greenlets)}>"

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
        """Remove *greenlet* from the members, if it is one; the greenlet continues."""
        self._members.leave(greenlet)

    def start(self, greenlet: Any) -> None:
        """Add the unstarted *greenlet* and start it."""
        self.add(greenlet)
        greenlet.start()

    if TYPE_CHECKING:

        def spawn(self, func: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Greenlet[R]:
            """Start ``func(*args, **kwargs)`` in a greenlet that is a member; return it."""

    else:

        def spawn(self, *args, **kwargs):
            """Make a greenlet that runs ``func(*args, **kwargs)``, add it, start it and return it.

            A :class:`Pool` first waits for a free place. The arguments are those of
            :attr:`greenlet_class`.
            """
            greenlet = new_greenlet(self.greenlet_class, args, kwargs)
            self.start(greenlet)
            return greenlet

    def join(self, timeout: float | None = None, raise_error: bool = False) -> bool:
        """Wait until there are no members, at most *timeout* seconds; return False on timeout.

        With *raise_error*, then raise the exception of one of the greenlets that were members when
        this was called and have failed, if there is one.
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

        Members that are added while it waits are killed too. It waits *timeout* seconds at most.
        """
        with Timeout(timeout, False):
            while self.greenlets:
                for greenlet in [each for each in self.greenlets if each not in self.dying]:
                    self._kill_member(greenlet, exception)
                if not block:
                    return
                joinall(self.greenlets)
                for greenlet in [each for each in self.greenlets if each.dead]:
                    self.discard(greenlet)  # it never began: the hub would remove it only later

    def _kill_member(self, greenlet: Any, exception: BaseException | type[BaseException]) -> None:
        if hasattr(greenlet, "kill"):
            self.dying.add(greenlet)
            greenlet.kill(exception, block=False)
        else:
            kill_any(greenlet, exception)
            self.discard(greenlet)  # nothing can wait for the end of a raw greenlet

    def killone(
        self,
        greenlet: Any,
        exception: BaseException | type[BaseException] = GreenletExit,
        block: bool = True,
        timeout: float | None = None,
    ) -> None:
        """Raise *exception* in *greenlet* if it is a member; if *block*, wait for its end.

        It waits *timeout* seconds at most. It does nothing if *greenlet* was killed already.
        """
        if greenlet in self.greenlets and greenlet not in self.dying:
            self._kill_member(greenlet, exception)
            if block:
                greenlet.join(timeout)
                if greenlet.dead:
                    self.discard(greenlet)

    def full(self) -> bool:
        """Return False: :meth:`add` of a group never blocks."""
        return False

    def wait_available(self, timeout: float | None = None) -> int | None:
        """Return None at once: :meth:`spawn` of a group never blocks."""
        return None

    def _apply_immediately(self) -> bool:
        return getcurrent() in self

    def _apply_async_use_greenlet(self) -> bool:
        return self.full()

    def _apply_async_cb_spawn(self, callback: Callable[[R], object], result: R) -> None:
        Greenlet.spawn(callback, result)


class PoolFull(Full):
    """Raised by :meth:`Pool.add` when there was no free place within the timeout."""


class Pool(Group):
    """A group of at most *size* greenlets, or of any number if *size* is None.

    With *size* 0 no greenlet can be added. Raises ValueError if *size* is negative.
    *greenlet_class* is the class of greenlets that :meth:`spawn` makes.
    """

    def __init__(
        self, size: int | None = None, greenlet_class: type[Greenlet[Any]] | None = None
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
        """Wait for a free place, *timeout* seconds at most; return the number of free places."""
        return self._semaphore.wait(timeout)

    def full(self) -> bool:
        """Return whether there is no free place, so that :meth:`add` would block."""
        return self.free_count() <= 0

    def free_count(self) -> int:
        """Return the number of free places; 1 if there is no limit."""
        places = self._places()
        return 1 if places is None else max(0, places.counter)

    def start(self, greenlet: Any, blocking: bool = True, timeout: float | None = None) -> None:
        """Add the unstarted *greenlet* by :meth:`add` and start it."""
        self.add(greenlet, blocking, timeout)
        greenlet.start()

    def add(self, greenlet: Any, blocking: bool = True, timeout: float | None = None) -> None:
        """Make *greenlet* a member until it ends; if *blocking*, first wait for a free place.

        It waits *timeout* seconds at most. Raises :class:`PoolFull` if there is no free place.
        """
        if not self._members.enter(greenlet, blocking, timeout):
            raise PoolFull(f"{self!r} has no free place")
