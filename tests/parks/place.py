"""What the table has to know of a place: how to wait there, and how to end the wait."""

import itertools
import re
import time
from collections.abc import Callable
from typing import ClassVar, TypeVar

import treadle

#: All values that are given are different, so that one in the wrong hands is noticed.
_numbers = itertools.count(1)


class Place:
    """One object that greenlets wait for, and the call that waits."""

    #: The place's name in the table.
    name: ClassVar[str]
    #: The functions that wait here, as "file:function".
    covers: ClassVar[tuple[str, ...]] = ()
    #: Why it waits here, in words of the hub; None: it does not wait for anything else before.
    reason: ClassVar[str | None] = None
    #: Whether several greenlets may wait for one object.
    shared: ClassVar[bool] = True
    #: Whether they are served in the order in which they began to wait.
    ordered: ClassVar[bool] = True
    #: Whether greenlets of several threads may wait for one object.
    threads: ClassVar[bool] = True
    #: Whether give() ends all waits for the object.
    for_all: ClassVar[bool] = False
    #: Whether what is given while nobody waits is there for the next one.
    keeps: ClassVar[bool] = True
    #: Whether park() returns what was given; otherwise it returns None.
    carries: ClassVar[bool] = True
    #: Whether the wait ends by itself: it lets others run for a while.
    yields: ClassVar[bool] = False
    #: Whether the wait ends only if another greenlet runs.
    helped: ClassVar[bool] = False
    #: Whether it runs Python code meanwhile, which signal handlers may interrupt.
    busy: ClassVar[bool] = False
    #: How many seconds a wait takes that ends by itself.
    lasts: float = 0.02
    #: Whether an exception that is thrown into the wait is raised only when the wait has ended.
    shields: ClassVar[bool] = False
    #: What close() raises in those who wait.
    closed: ClassVar[type[BaseException] | None] = None

    def __init__(self) -> None:
        #: What was given, in order.
        self.given: list[bytes] = []

    def park(self) -> object:
        """Wait for what is given, and return it."""
        raise NotImplementedError

    def hand(self, value: bytes) -> object:
        """End the first wait, or all. Any thread may call it; it never waits.

        Return False if nobody takes the value.
        """
        raise NotImplementedError

    def counts(self) -> object:
        """Return what must be as it was before, once nobody waits."""
        return None

    def close(self) -> None:
        """Close the object while greenlets wait for it."""
        raise NotImplementedError

    def end(self) -> None:
        """Give back what the system lent."""

    def give(self) -> None:
        """End the first wait, or all, by a new value of eight bytes."""
        value = b"%08d" % next(_numbers)
        self.given.append(value)
        if self.hand(value) is False:
            self.given.remove(value)


class Lossy(Place):
    """A call in a native thread, which goes on when its greenlet has left, and takes what comes."""

    keeps = False

    def __init__(self) -> None:
        super().__init__()
        self._returned = self._left = 0
        #: greenlet -> what its call in a thread has done: whether it has "begun" and "ended"
        self._records: dict[object, list[str]] = {}

    def park(self) -> object:
        try:
            value = self.call()
        except BaseException:
            self._note_left(self._records.pop(treadle.getcurrent(), None))
            raise
        self._returned += 1
        return value

    def call(self) -> object:
        """Have a thread make the call, by apply_by()."""
        raise NotImplementedError

    def apply_by(self, apply: Callable[..., object], function: Callable[[], object]) -> object:
        """Return ``apply(function)``, which calls the function in a thread."""
        record = self._records[treadle.getcurrent()] = []

        def call() -> object:
            record.append("begun")
            try:
                return function()
            finally:
                record.append("ended")

        return apply(call)

    def _note_left(self, record: list[str] | None) -> None:
        if record is None:
            return
        end = time.monotonic() + 0.05
        while not record and time.monotonic() < end:
            time.sleep(0.001)  # if the call does not begin soon, it never does
        if record and len(self.given) > self._returned:
            self.given.pop(self._returned)  # the call has taken it, or does
        elif record == ["begun"]:
            self._left += 1

    def calls_left(self) -> int:
        """Return how many calls wait that nobody wants; they shall be ended now."""
        left, self._left = self._left, 0
        return left


Kind = TypeVar("Kind", bound=type[Place])
#: The places by their names.
PLACES: dict[str, type[Place]] = {}


def place(kind: Kind) -> Kind:
    """Enter a class into the table, under its name in lower case."""
    kind.name = re.sub("(?<!^)(?=[A-Z])", "_", kind.__name__).lower()
    PLACES[kind.name] = kind
    return kind
