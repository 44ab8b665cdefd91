"""One cell of the table: greenlets that wait, an event, and what must hold afterwards."""

from collections.abc import Callable

import treadle
from parks.place import Place
from treadle.event import Event
from treadle.hub import get_hub

#: Seconds after which a wait hangs.
HANGS = 10.0


class Wait:
    """One call that waits at a place, and how it ended."""

    def __init__(self, place: Place, ended: Event, call: Callable[[], object] | None) -> None:
        self.place = place
        self.value: object = None
        self.raised: BaseException | None = None
        self.done = False
        self._ended = ended
        self._call = call or place.park

    def run(self) -> None:
        try:
            self.value = self._call()
        except BaseException as exc:
            self.raised = exc.with_traceback(None)
        self.done = True
        self._ended.set()

    @property
    def returned(self) -> bool:
        return self.done and self.raised is None


def counts_of_hub() -> dict[str, int]:
    """Return what must not grow: I/O waits, timers, greenlets and their waits."""
    hub = get_hub()
    waits = [wait for wait in hub.waits() if wait.greenlet is not hub.main]
    return {
        "refs": hub.refs,
        "timers": hub.timer_count(),
        "timers without ref": hub.unref_timers,
        "waits": len(waits),
        "greenlets": len(hub.fibers()),
    }


class Cell:
    """A victim at a place, a neighbour at the same place, a stranger at another of its kind."""

    def __init__(self, kind: type[Place]) -> None:
        self.kind = kind
        self.before = counts_of_hub()
        self.mine, self.other = kind(), kind()
        self.places = [self.mine, self.other]
        self.counts = self.mine.counts(), self.other.counts()
        self.ended = Event()
        self.helpers: list[treadle.Greenlet[object]] = []
        #: Whether values come to the waits in the order in which these began. A thread may give one
        #: to a wait that has not run yet when another greenlet, which did not wait, takes it.
        self.ordered = True
        #: All waits, in the order in which they began.
        self.waits: list[Wait] = []

    def one_more(self) -> Place:
        """Return another place of the kind, which ends with the cell."""
        self.places.append(self.kind())
        return self.places[-1]

    # -- waiting

    def until(self, condition: Callable[[], object], what: str) -> None:
        """Wait until the *condition* holds, which the end of a wait may bring about.

        No timer of short intervals: it would hide that a wake-up is lost.
        """
        with treadle.Timeout(HANGS, AssertionError(f"hangs: {what}")):
            while True:
                self.ended.clear()  # first: the condition may run a finalizer, which waits
                if condition():
                    return
                self.ended.wait()

    def make_wait(self, place: Place, call: Callable[[], object] | None = None) -> Wait:
        wait = Wait(place, self.ended, call)
        self.waits.append(wait)
        return wait

    def park(self, place: Place, call: Callable[[], object] | None = None) -> treadle.Greenlet:
        """Start a greenlet that waits at *place*, and return it when it does."""
        greenlet = treadle.spawn(self.make_wait(place, call).run)
        for _ in range(200):
            treadle.sleep(0)
            wait = greenlet.waiting
            if greenlet.dead or (wait and self.kind.reason in (None, wait.reason)):
                return greenlet
        raise AssertionError("it does not come to its wait")

    def park_main(self, place: Place) -> Wait:
        """Wait at *place* in the main greenlet."""
        wait = self.make_wait(place)
        with treadle.Timeout(HANGS, AssertionError("hangs: the wait of the main greenlet")):
            wait.run()
        if isinstance(wait.raised, AssertionError):
            raise wait.raised
        return wait

    def park_others(self) -> None:
        """Let a stranger wait and, where several may wait, a neighbour at the victim's place."""
        if self.kind.shared:
            self.park(self.mine)
        self.park(self.other)

    def give(self, count: int) -> None:
        """Give what ends *count* waits at the victim's place, unless something was given."""
        if not self.mine.given:
            for _ in range(min(count, 1) if self.kind.for_all else count):
                self.mine.give()

    def later(self, seconds: float, call: Callable[..., object], *args: object) -> None:
        """Call in another greenlet, before the cell ends."""
        self.helpers.append(treadle.spawn_later(seconds, call, *args))

    # -- afterwards

    def finish(self) -> None:
        """End all waits that are left, and check what everybody got."""
        treadle.joinall(self.helpers)
        for place in (self.mine, self.other):
            self.finish_at(place)
        assert (self.mine.counts(), self.other.counts()) == self.counts
        self.end()

    def finish_raised(self, exception: BaseException | type[BaseException]) -> None:
        """Check that *exception* ends the first wait, as far as one can, and finish."""
        first = self.waits[0]
        if not self.kind.yields and not self.kind.shields:
            self.until(lambda: first.done, "an exception does not end it")
        self.finish()
        raised = first.raised
        if raised is None and (self.kind.yields or self.kind.shields):
            return  # a Timeout's block may have ended before it could be raised
        assert raised is exception or type(raised) is exception, raised

    def end(self) -> None:
        """Give back what the places lent, and check that nothing is left in the hub."""
        for place in self.places:
            place.end()
        for _ in range(200):
            if self.nothing_is_left():
                return
            treadle.sleep(0.001)
        raise AssertionError(f"{counts_of_hub()} instead of {self.before}")

    def nothing_is_left(self) -> bool:
        now = counts_of_hub()
        if not self.kind.yields and not self.kind.busy:
            return now == self.before
        # In a child the parent's waits may end by themselves meanwhile.
        return all(0 <= now[name] <= self.before[name] for name in now)

    def finish_at(self, place: Place) -> None:
        while before := len(self.waiting(place)):
            if self.lacks(place):
                place.give()
            self.until(
                lambda before=before: len(self.waiting(place)) < before,
                "what was given reaches nobody",
            )
        while place.keeps and not place.for_all and not self.lacks(place):
            wait = self.make_wait(place)  # for what was given to those who were killed
            treadle.spawn(wait.run)
            self.until(lambda wait=wait: wait.done, "what was given is lost")
        got = [wait.value for wait in self.waits if wait.place is place and wait.returned]
        if not place.carries:
            assert got == [None] * len(got)
        elif place.for_all:
            assert set(got) <= set(place.given)
        else:
            got = got if self.ordered and place.ordered else sorted(got)
            assert got == place.given[: len(got)], (got, place.given)

    def waiting(self, place: Place) -> list[Wait]:
        return [wait for wait in self.waits if wait.place is place and not wait.done]

    def lacks(self, place: Place) -> bool:
        """Return whether all that was given has been received."""
        received = sum(
            wait.place is place and (wait.returned or (wait.done and place.shields))
            for wait in self.waits
        )
        return place.for_all or received >= len(place.given)
