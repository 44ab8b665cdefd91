"""Places: native threads and processes."""

import concurrent.futures
import os
import queue as stdlib_queue
import tempfile
from collections.abc import Callable
from contextlib import suppress

import treadle
import treadle.os
import treadle.subprocess
from parks.place import Place, place
from treadle._core.crew import files, waits
from treadle.hub import get_hub
from treadle.resolver._merging import Merger
from treadle.threadpool import ThreadPool, ThreadPoolExecutor


class InThread(Place):
    """Each call waits in its thread for a value of its own."""

    threads = keeps = False

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[stdlib_queue.SimpleQueue[bytes]] = []

    def park(self) -> object:
        call: stdlib_queue.SimpleQueue[bytes] = stdlib_queue.SimpleQueue()
        self.calls.append(call)
        count = len(self.given)
        try:
            return self.apply(call.get)
        except BaseException:
            if call in self.calls:
                self.calls.remove(call)
                call.put(b"nobody's")
            elif len(self.given) > count:
                self.given.pop(count)  # the call took it, and its greenlet left
            raise

    def apply(self, function: Callable[[], object]) -> object:
        """Call the function in a thread."""
        raise NotImplementedError

    def hand(self, value: bytes) -> bool:
        if not self.calls:
            return False
        self.calls.pop(0).put(value)
        return True

    def end(self) -> None:
        while self.hand(b"the end."):
            pass


@place
class ThreadpoolApply(InThread):
    covers = ("_core/event.pyx:get",)

    def apply(self, function: Callable[[], object]) -> object:
        return get_hub().threadpool.apply(function)


@place
class ThreadsApply(InThread):
    covers = ("_core/crew.py:apply", "_core/crew.py:get_from_thread")

    def apply(self, function: Callable[[], object]) -> object:
        return waits.apply(function)


@place
class ThreadsApplyToTheEnd(Place):
    """The greenlet leaves only when the call has ended."""

    covers = ("_core/crew.py:apply", "os.py:_in_thread")
    shared = threads = keeps = carries = False
    shields = True

    def __init__(self) -> None:
        super().__init__()
        self.values: stdlib_queue.SimpleQueue[bytes] = stdlib_queue.SimpleQueue()

    def park(self) -> None:
        files.apply(self.values.get, to_the_end=True)

    def hand(self, value: bytes) -> None:
        self.values.put(value)

    def end(self) -> None:
        self.values.put(b"the end.")


@place
class MergedLookup(Place):
    """Lookups of one name share a call."""

    covers = ("resolver/_merging.py:call",)
    for_all = helped = True

    def __init__(self) -> None:
        super().__init__()
        self.values: stdlib_queue.SimpleQueue[bytes] = stdlib_queue.SimpleQueue()
        self.merger = Merger(waits.submit)

    def park(self) -> object:
        return self.merger.call(self.values.get, "name")

    def hand(self, value: bytes) -> object:
        return self.values.put(value) if self.merger.pending else False

    def end(self) -> None:
        self.values.put(b"the end.")


class Pool(Place):
    """A pool whose thread works until somebody shall get what he waits for."""

    carries = False
    helped = True

    def __init__(self) -> None:
        super().__init__()
        self.work: stdlib_queue.SimpleQueue[bytes] = stdlib_queue.SimpleQueue()
        self.begin()

    def begin(self) -> None:
        self.pool = ThreadPool(1)
        self.result = self.pool.spawn(self.work.get)

    def hand(self, value: bytes) -> None:
        self.work.put(value)

    def end(self) -> None:
        for _ in range(10):
            self.work.put(b"the end.")
        self.pool.kill()


@place
class ThreadpoolSpawn(Pool):
    """One call runs and one waits: there is no place for another."""

    covers = ("threadpool.py:spawn",)

    def begin(self) -> None:
        super().begin()
        self.pool.spawn(self.work.get)

    def park(self) -> None:
        self.pool.spawn(self.work.get)

    def counts(self) -> object:
        return self.pool.size


@place
class ThreadpoolJoin(Pool):
    covers = ("threadpool.py:join",)
    for_all = True

    def park(self) -> None:
        self.pool.join()


@place
class ThreadpoolKill(Pool):
    covers = ("threadpool.py:size", "_core/crew.py:await_leaves")
    for_all = True

    def park(self) -> None:
        self.pool.kill()


@place
class ExecutorShutdown(Pool):
    covers = ("threadpool.py:shutdown", "_core/crew.py:await_leaves")
    for_all = True

    def begin(self) -> None:
        self.pool = ThreadPoolExecutor(1)
        self.future = self.pool.submit(self.work.get)

    def park(self) -> None:
        self.pool.shutdown()


@place
class FutureResult(ExecutorShutdown):
    covers = ()

    def park(self) -> None:
        self.future.result()


@place
class FuturesWait(ExecutorShutdown):
    covers = ()

    def park(self) -> None:
        concurrent.futures.wait([self.future])


# -- processes


class Child(Place):
    """A child that ends when its standard input does."""

    for_all = True
    carries = False

    def __init__(self) -> None:
        super().__init__()
        self.input, self.end_of_input = os.pipe()
        self.begin()
        os.close(self.input)

    def begin(self) -> None:
        self.child = treadle.subprocess.Popen(["cat"], stdin=self.input, close_fds=True)

    def hand(self, value: bytes) -> None:
        if self.end_of_input >= 0:
            os.close(self.end_of_input)
            self.end_of_input = -1

    def end(self) -> None:
        self.hand(b"")
        self.child.wait()


@place
class PopenWait(Child):
    covers = ("subprocess.py:_wait", "os.py:wait_for_child", "os.py:_until_changed")

    def park(self) -> None:
        self.child.wait()


@place
class PopenJoin(Child):
    covers = ("subprocess.py:_watch_end",)
    helped = True

    def park(self) -> None:
        treadle.wait([self.child])


class Bare(Child):
    shared = False

    def begin(self) -> None:
        self.pid = os.posix_spawn(
            "/bin/cat",
            ["cat"],
            {},
            file_actions=[
                (os.POSIX_SPAWN_DUP2, self.input, 0),
                (os.POSIX_SPAWN_CLOSE, self.end_of_input),
            ],
        )

    def end(self) -> None:
        self.hand(b"")
        with suppress(ChildProcessError):  # park() may have reaped it
            os.waitpid(self.pid, 0)


@place
class Waitpid(Bare):
    covers = ("os.py:waitpid", "os.py:_reap")
    keeps = False

    def park(self) -> None:
        treadle.os.waitpid(self.pid, 0)


@place
class Waitid(Bare):
    covers = ("os.py:waitid",)

    def park(self) -> None:
        treadle.os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)


@place
class WaitForAnyStop(Bare):
    """No descriptor tells of a child that stops: a thread asks."""

    covers = ("os.py:_ask_thread",)

    def park(self) -> None:
        treadle.os.waitid(os.P_PID, self.pid, os.WEXITED | os.WSTOPPED | os.WNOWAIT)


@place
class System(Place):
    """The command goes on when its greenlet has left."""

    covers = ("os.py:system",)
    for_all = True
    carries = False

    def __init__(self) -> None:
        super().__init__()
        self.file = tempfile.NamedTemporaryFile()

    def park(self) -> None:
        treadle.os.system(f"while test -e {self.file.name}; do sleep 0.002; done")

    def hand(self, value: bytes) -> None:
        self.file.close()

    def end(self) -> None:
        self.file.close()
