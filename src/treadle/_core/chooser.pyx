"""The scheduler of treadle.testing: decides what a hub runs next, and records what it decided.

A *choice* is a moment at which more than one thing may come next. Option 0 is what happens without
a probe: first in, first out. Every other option is a *departure*. Equal programs that are given
equal departures make equal choices.
"""

from cpython.object cimport PyObject
from libc.stdint cimport int64_t, uint32_t, uint64_t

from treadle._core.clock cimport now
from treadle._core.delivery cimport interrupt, interrupt_main
from treadle._core.greenlet_api cimport PyGreenlet_Import, greenlet
from treadle._core.hub cimport (
    CALLBACK,
    ON_YIELD,
    WAIT,
    WAIT_READY,
    Fiber,
    Hub,
    Wait,
    current_greenlet,
    get_hub_if_exists,
    new_wait,
    park,
    run_callback,
    unpark,
)
from treadle._core.probe cimport Probe, switch_preemption
from treadle._core.ring cimport ring_at, ring_promote, treadle_entry
from treadle._core.timers cimport timers_next, timers_promote, timers_ties

from heapq import heappop, heappush

PyGreenlet_Import()

# How a choice is made where no departure is given.
FIFO, RANDOM, PRIORITIES, ASK = range(4)
cdef enum:
    BY_FIFO, BY_RANDOM, BY_PRIORITY, BY_ASKING
    # How often in a row a greenlet is chosen until its priority becomes the lowest.
    PATIENCE = 1000

# What an entry of the ring is for a choice.
cdef enum Kind:
    A_GREENLET
    A_CALLBACK   # callbacks keep their order, as loops promise: only the first may come next
    OF_MAIN      # the greenlet that looks on: nothing depends on when it runs


cdef class Chooser(Probe):
    """Chooser(mode=0, departures=None, seed=0, changes=(), ask=None, most=1000000)\n--\n
    Decides by *departures*, a dict of the number of a choice and the option to take there.

    At other choices *mode* decides: FIFO takes option 0, RANDOM any, PRIORITIES runs the greenlet
    of the highest priority (probabilistic concurrency testing: priorities are random, and the
    greenlet that runs at each of the choices *changes*, or 1000 times in a row, is put behind all
    others), ASK calls ``ask(n)`` for an option below n. After *most* steps the hub's main greenlet gets the exception
    *limit*: a class, called with the number of steps.
    """

    cdef readonly list options        # of each choice made so far: how many there were
    cdef readonly list taken          # of each choice: which
    cdef readonly uint64_t steps      # entries that the hub took from its ring
    cdef readonly uint64_t parks      # of the greenlet `watched`
    cdef public object watched        # a greenlet whose parks are counted
    cdef public object at_park        # a dict: the number of such a park, and what to do there
    cdef public object limit          # the exception for too many steps
    cdef public object on_choice      # called with (number, option, greenlet, greenlet of option 0)
    cdef public object awaits         # called with nothing: whether a thread may wake the hub
    cdef public list log              # a line of what ran at each step, if it is a list
    cdef int mode
    cdef dict departures
    cdef object ask
    cdef uint64_t state               # of the random numbers
    cdef uint64_t most
    cdef set changes
    cdef dict priorities              # by the id of a greenlet, with it; 0: of the callbacks
    cdef int64_t lowest
    # The ring's greenlets by priority, if that decides: a heap of (-priority, number, entry).
    cdef list heap
    cdef uint64_t number_of_entries
    cdef object leader                # the greenlet that was chosen last by its priority
    cdef uint32_t streak              # how often in a row
    cdef object decided               # the entry at the head of the ring, if that was chosen
    cdef Wait gave_way                # the wait of a greenlet that lets another run first
    cdef object last_wait             # of the greenlet that parked last
    cdef uint64_t fired_in            # the turn in which a timer was fired last
    cdef int64_t tied_at              # the deadline of that timer
    cdef size_t ties                  # how many timers had that deadline then, with it
    cdef dict names                   # by the id of a greenlet: its number, and it
    # What the ring holds, so that it need not be read at each choice. The entries up to one place
    # have been counted; a place is how many entries had been taken when the entry came to the head.
    cdef uint64_t head_place, counted_to
    cdef uint64_t fronts              # how many entries had been put before all others
    cdef Kind head_kind
    cdef size_t callbacks, of_main
    cdef bint is_stale                # it must be read anew

    def __init__(self, mode=BY_FIFO, departures=None, seed=0, changes=(), ask=None, most=1000000):
        self.mode, self.departures = mode, departures or {}
        self.ask, self.most = ask, most
        self.state = <uint64_t>(seed & 0xffffffffffffffff)
        self.changes, self.priorities = set(changes), {}
        self.heap = []
        self.options, self.taken = [], []
        self.names = {}
        self.limit = RuntimeError

    # -- what a hub asks

    cdef int steer(self, object hub_, object wait) except -1:
        cdef Hub hub = hub_
        cdef object head
        if wait is not None and wait is not self.last_wait:
            self.last_wait = wait
            if self.watched is not None:
                self.count_park(hub, wait)
        if hub.in_callback or hub.turn == 0 or hub.ring.count == 0:
            return 0
        head = <object>ring_at(&hub.ring, 0).obj
        if head is self.decided:
            return 0
        self.steps += 1
        if self.steps == self.most:
            interrupt_main(hub, self.limit(self.most))
        elif hub.ring.count > 1:
            self.choose_entry(hub)
            head = <object>ring_at(&hub.ring, 0).obj
        self.decided = head
        if self.log is not None:
            self.log.append(self.name_of(head))
        return 0

    cdef int choose_entry(self, Hub hub) except -1:
        cdef size_t n = self.count(hub)
        cdef size_t option
        if self.head_kind == OF_MAIN:
            return 0
        if n > 1:
            option = self.choose(n, hub)
            if option > 0:
                ring_promote(&hub.ring, self.find(hub, option))
                self.head_kind = self.kind_of(hub, 0)
        self.gave_way = None
        if self.mode == BY_PRIORITY and self.head_kind == A_GREENLET:
            self.take_from_heap(<object>ring_at(&hub.ring, 0).obj)
        return 0

    cdef Kind kind_of(self, Hub hub, size_t index) noexcept:
        cdef treadle_entry *entry = ring_at(&hub.ring, index)
        if entry.kind == CALLBACK:
            return A_CALLBACK
        if entry.kind == WAIT and (<Wait>entry.obj).waiter is hub.main:
            return OF_MAIN
        return A_GREENLET

    cdef size_t count(self, Hub hub) except? 0:
        """How many options there are. Reads only what came to the ring since the last call."""
        cdef size_t n
        cdef Kind kind
        if (self.is_stale or hub.ring.popped - self.head_place > 1 or hub.ring.fronts != self.fronts
                or hub.ring.popped > self.counted_to):
            self.callbacks = self.of_main = 0
            self.counted_to = hub.ring.popped
            self.heap.clear()
            self.is_stale = False
        elif hub.ring.popped != self.head_place:
            self.callbacks -= self.head_kind == A_CALLBACK
            self.of_main -= self.head_kind == OF_MAIN
        self.head_place, self.fronts = hub.ring.popped, hub.ring.fronts
        while self.counted_to < hub.ring.popped + hub.ring.count:
            kind = self.kind_of(hub, self.counted_to - hub.ring.popped)
            self.callbacks += kind == A_CALLBACK
            self.of_main += kind == OF_MAIN
            if self.mode == BY_PRIORITY and kind == A_GREENLET:
                self.add_to_heap(hub, self.counted_to - hub.ring.popped)
            self.counted_to += 1
        if hub.ring.count > 0:
            self.head_kind = self.kind_of(hub, 0)
        n = hub.ring.count - self.callbacks - self.of_main + (self.callbacks > 0)
        return n - (self.gave_way is not None and self.gave_way.state == WAIT_READY)

    cdef size_t find(self, Hub hub, size_t option) noexcept:
        """The index of an option in the ring."""
        cdef bint callback = False
        cdef size_t index = 0
        if self.all_are_options():
            return option
        while True:
            if self.is_option(hub, index, &callback):
                if option == 0:
                    return index
                option -= 1
            index += 1

    cdef bint all_are_options(self) noexcept:
        """Whether each entry that was counted may come next: nearly always."""
        return self.callbacks == 0 and self.of_main == 0 and self.gave_way is None

    cdef bint is_option(self, Hub hub, size_t index, bint *callback) noexcept:
        """Whether an entry of the ring may come next. *callback*: one was before it."""
        cdef Kind kind = self.kind_of(hub, index)
        if kind == A_CALLBACK:
            if callback[0]:
                return False
            callback[0] = True
            return True
        return kind == A_GREENLET and ring_at(&hub.ring, index).obj != <PyObject *>self.gave_way

    cdef object runs_at(self, Hub hub, size_t index):
        """The greenlet that an entry of the ring lets run; None for a callback."""
        return self.runs(<object>ring_at(&hub.ring, index).obj)

    cdef object runs(self, object entry):
        if isinstance(entry, Wait):
            return (<Wait>entry).waiter
        return entry if isinstance(entry, Fiber) else None

    cdef object option_at(self, Hub hub, size_t option):
        return self.runs_at(hub, self.find(hub, option))

    cdef size_t option_of(self, Hub hub, object entry) noexcept:
        """The option that is an entry of the ring, which must be one; None: the first callback."""
        cdef bint callback = False
        cdef size_t index = 0, option = 0
        if self.all_are_options():
            while ring_at(&hub.ring, index).obj != <PyObject *>entry:
                index += 1
            return index
        while True:
            if self.is_option(hub, index, &callback):
                if ring_at(&hub.ring, index).obj == <PyObject *>entry:
                    return option
                if entry is None and ring_at(&hub.ring, index).kind == CALLBACK:
                    return option
                option += 1
            index += 1

    cdef bint lets_fire(self, object hub_) except -1:
        cdef Hub hub = hub_
        cdef int64_t first = timers_next(&hub.timers)
        if first < 0 or first > now():
            return True  # nothing is due
        if self.fired_in == hub.turns and self.choose(2, None) == 1:
            return False  # the others fire in the next turn, after what this one woke
        if self.fired_in == hub.turns and self.tied_at == first and self.ties > 0:
            self.ties -= 1  # one of them has fired, and nothing else has run
        else:
            self.fired_in, self.tied_at = hub.turns, first
            self.ties = timers_ties(&hub.timers)
        if self.ties > 1:
            timers_promote(&hub.timers, self.choose(self.ties, None))
        return True

    cdef bint awaits_others(self, object hub) except -1:
        return self.awaits is not None and bool(self.awaits())

    cdef int give_way(self, Hub hub) except -1:
        """A switch before an operation on a primitive, if that is chosen."""
        cdef Wait wait
        if hub.in_callback or hub.ring.count == 0 or current_greenlet() is hub:
            return 0
        if self.count(hub) == 0:
            return 0
        if self.choose(2, hub, current_greenlet()) == 1:
            wait = new_wait(ON_YIELD, None)
            wait.settled = True  # no exception comes here: without the switch none could
            self.gave_way = wait  # one of the others runs next: else nothing would have changed
            unpark(wait)
            park(wait, -1)
        return 0

    def forget(self):
        """Drop what the run was made of; keep what was chosen.

        The collector does not see waits. So an exception that one has, and the objects of the
        frames of its traceback, would stay for ever if such a frame refers to this object.
        """
        self.decided = self.gave_way = self.last_wait = None
        self.watched = self.leader = None
        self.priorities, self.names = {}, {}
        self.heap = []
        self.is_stale = True

    # -- choices

    cdef size_t choose(self, size_t n, Hub hub, interrupted=None) except? 99:
        """The option that is taken of *n*: of the entries of the hub's ring, or of timers.

        *hub* is None for timers. *interrupted* is a greenlet that gives way to any entry for
        option 1.
        """
        cdef object number = len(self.taken)
        cdef size_t option
        given = self.departures.get(number)
        if given is not None:
            option = n - 1 if given >= n else given
        elif self.mode == BY_FIFO:
            option = 0
        elif self.mode == BY_ASKING:
            option = min(<size_t>self.ask(n), n - 1)
        elif interrupted is not None and self.mode == BY_PRIORITY:
            option = self.highest(number, hub, interrupted)
        elif self.mode == BY_RANDOM or hub is None:
            option = self.random() % n
        else:
            option = self.highest(number, hub, None)
        self.options.append(n)
        self.taken.append(option)
        if self.on_choice is not None and option > 0:
            if interrupted is not None:
                self.on_choice(number, option, None, interrupted)
            elif hub is None:
                self.on_choice(number, option, None, None)
            else:
                who = self.option_at(hub, option)
                self.on_choice(number, option, who, self.option_at(hub, 0))
        return option

    # -- priorities

    cdef object priority_of(self, object who):
        """The priority of a greenlet, or of the callbacks, which are None."""
        # By identity: classes of the program may compare their greenlets.
        known = self.priorities.get(0 if who is None else id(who))
        if known is None:
            known = <uint32_t>(self.random() >> 32), who
            self.priorities[0 if who is None else id(who)] = known
        return known[0]

    cdef int add_to_heap(self, Hub hub, size_t index) except -1:
        who = self.runs_at(hub, index)
        entry = <object>ring_at(&hub.ring, index).obj
        self.number_of_entries += 1
        heappush(self.heap, (-self.priority_of(who), self.number_of_entries, entry))
        return 0

    cdef int take_from_heap(self, object entry) except -1:
        """Remove the entry that is about to be taken from the ring."""
        if self.heap and self.heap[0][2] is entry:
            heappop(self.heap)
        else:
            self.is_stale = True  # it was not chosen by its priority
        return 0

    cdef size_t highest(self, object number, Hub hub, object interrupted) except? 99:
        """The option with the highest priority. *interrupted* is a greenlet that may run on, or None."""
        cdef object leader = interrupted, top = None, entry = None, aside = None
        cdef size_t best = 0
        if interrupted is not None:
            top = self.priority_of(interrupted)
        if self.gave_way is not None and self.heap and self.heap[0][2] is self.gave_way:
            aside = heappop(self.heap)
        if self.heap and (top is None or -self.heap[0][0] > top):
            top, entry = -self.heap[0][0], self.heap[0][2]
            leader = self.runs(entry)
            best = 1
        if self.callbacks > 0 and (top is None or self.priority_of(None) > top):
            leader = entry = None
            best = 1
        if aside is not None:
            heappush(self.heap, aside)
        if top is None:
            return 0  # what was chosen before has not been taken yet
        if leader is self.leader:
            self.streak += 1
        else:
            self.leader, self.streak = leader, 0
        # One that runs on and on may wait in a loop for what another must do.
        # A callback may post itself again until some greenlet has run.
        if number in self.changes or self.streak >= PATIENCE or leader is None:
            self.streak = 0
            self.lowest -= 1
            self.priorities[0 if leader is None else id(leader)] = self.lowest, leader
        return best if interrupted is not None else self.option_of(hub, entry)

    cdef uint64_t random(self) noexcept:
        # SplitMix64.
        cdef uint64_t z
        self.state += <uint64_t>0x9e3779b97f4a7c15
        z = self.state
        z = (z ^ (z >> 30)) * <uint64_t>0xbf58476d1ce4e5b9
        z = (z ^ (z >> 27)) * <uint64_t>0x94d049bb133111eb
        return z ^ (z >> 31)

    # -- parks

    cdef int count_park(self, Hub hub, Wait wait) except -1:
        if wait.waiter is not self.watched:
            return 0
        number = self.parks
        self.parks += 1
        if self.at_park is None:
            return 0
        what = self.at_park.pop(number, None)
        if isinstance(what, BaseException) or isinstance(what, type):
            interrupt(hub, wait.waiter, what)
        elif what is not None:
            run_callback(hub, what, ())
        return 0

    cdef object name_of(self, object entry):
        if isinstance(entry, Wait):
            who, what = (<Wait>entry).waiter, "goes on"
        elif isinstance(entry, Fiber):
            who, what = entry, "starts"
        else:
            return "callback"
        known = self.names.setdefault(id(who), (len(self.names), who))
        return f"{known[0]} {what}"


def preempt(bint on):
    """Switch on or off that each operation on a primitive asks the hub's chooser for a switch.

    Return whether it was on.
    """
    return switch_preemption(on, ask_chooser)


cdef int ask_chooser() except -1:
    cdef Hub hub = get_hub_if_exists()
    if hub is not None and isinstance(hub.probe, Chooser):
        return (<Chooser>hub.probe).give_way(hub)
    return 0
