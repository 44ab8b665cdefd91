"""Put faults into treadle's sources, one at a time, and see which cells of the table find them.

Run it by hand, from the root of a checkout that was built in place:
``python tests/parks/mutations.py``. ``CFLAGS=-O0`` makes it quicker. It restores the sources. Names of faults may follow.
"""

import os
import subprocess
import sys
from pathlib import Path

SOURCE = Path("src/treadle")

#: name -> (file, what it says, what the fault makes of it, places to look at)
FAULTS = {
    "a permit of a killed waiter is lost": (
        "_core/linkable.pyx",
        "            if wait.granted:\n                self.forgo(wait)\n            raise",
        "            raise",
        "semaphore_acquire or lock_acquire",
    ),
    "a killed waiter stays in the queue": (
        "_core/linkable.pyx",
        "        except:\n            queue.remove(wait)\n            if",
        "        except:\n            if",
        "semaphore_acquire or event_wait",
    ),
    "an item that was promised to a killed getter stays promised": (
        "_core/queues.pyx",
        "                forgo(wait)\n            raise\n        if not wait.granted:\n            self.getting.remove(wait)\n            raise",
        "                pass\n            raise\n        if not wait.granted:\n            self.getting.remove(wait)\n            raise",
        "queue_get",
    ),
    "a condition's notification is lost with its waiter": (
        "_core/locks.pyx",
        "            if wait.granted:\n                self.waiters.grant()\n            if later",
        "            if later",
        "condition_wait",
    ),
    "I/O waits stay counted": (
        "_core/descriptor.pyx",
        "                wait.hub.refs -= wait.in_refs",
        "                pass",
        "socket_recv or wait_for",
    ),
    "a reader that was woken and killed passes nothing on": (
        "_core/descriptor.pyx",
        "            if wait.granted:\n                self.pass_on(event)\n            raise",
        "            raise",
        "socket_recv or socket_accept",
    ),
    "recv(MSG_WAITALL) loops over a static buffer": (
        "_core/sockets.pyx",
        "    if 0 <= size <= SCRATCH and not repeats(io, flags):\n        n = receive_some(",
        "    if 0 <= size <= SCRATCH:\n        n = receive(",
        "socket_recv_all",
    ),
    "the poller sleeps on although a handler waited": (
        "_core/hub.pyx",
        "    PyErr_CheckSignals()\n    if hub.ring.count > 0 or hub.inbox.count > 0 or hub.turns != turns:\n        return 0\n    deadline = timers_next(&hub.timers)",
        "    deadline = timers_next(&hub.timers)\n    PyErr_CheckSignals()",
        "semaphore_acquire or socket_recv or event_wait",
    ),
    "a wait's timer is not cancelled": (
        "_core/hub.pyx",
        "        cancel_timer(hub, wait.timer)\n        wait.timer = NULL",
        "        wait.timer = NULL",
        "lock_acquire or sleep",
    ),
    "waits in a closed hub are granted": (
        "_core/hub.pyx",
        "    if wait.generation != hub.generation or hub.state == HUB_CLOSED:\n        return False",
        "    if wait.generation != hub.generation:\n        return False",
        "semaphore_acquire or queue_get",
    ),
    "the hub does not see that a Wait is not entered": (
        "_core/hub.pyx",
        "    return wait if wait.entered else None",
        "    return wait",
        "semaphore_acquire or socket_recv",
    ),
    "a fork leaves the timers of dead greenlets": (
        "_core/thread_hub.pyx",
        "        if timer.obj != NULL and forget(timer, current):",
        "        if False:",
        "sleep or lock_acquire",
    ),
    "a fork leaves unref_timers negative": (
        "_core/thread_hub.pyx",
        "    if wait.unref:\n        wait.hub.unref_timers -= 1",
        "    if wait.unref:\n        wait.hub.unref_timers -= 2",
        "sleep_without_ref",
    ),
    "os.read() takes what is thrown for its own error": (
        "os.py",
        "        _await_ready(fd, event)  # what this raises is no error of the call\n        try:\n",
        "        try:\n            _await_ready(fd, event)\n",
        "os_read",
    ),
    "select() swallows what is thrown": (
        "select.py",
        "    return interest if _wait_to_ask(fd, _DIRECT[mask], seconds) else {}",
        "    try:\n        return interest if _wait_to_ask(fd, _DIRECT[mask], seconds) else {}\n    except OSError:\n        return {}",
        "select_one",
    ),
    "an exception goes to the greenlet that polls": (
        "_core/hub.pyx",
        "            if current is hub.main:\n                raise\n",
        "            raise\n",
        "semaphore_acquire or queue_get",
    ),
    "a link that has no hash ends the calls of links": (
        "_core/links.pyx",
        "        except (KeyError, TypeError):\n            return None  #",
        "        except KeyError:\n            return None  #",
        "popen_join",
    ),
}


def run(*command: str) -> str:
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    return done.stdout + done.stderr


def build() -> None:
    run(sys.executable, "setup.py", "-q", "build_ext", "--inplace")


def try_fault(name: str) -> None:
    file, good, bad, places = FAULTS[name]
    path = SOURCE / file
    source = path.read_text()
    assert source.count(good) == 1, (name, source.count(good))
    compiled = path.suffix != ".py"
    try:
        path.write_text(source.replace(good, bad))
        if compiled:
            build()
        # The kinds of an interpreter's end take long, and all places at once.
        which = f"({places}) and not interpreter"
        output = run(
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "--timeout=30",
            "--maxfail=8",
            "tests/parks",
            "-k",
            which,
        )
    finally:
        path.write_text(source)
    found = [line for line in output.splitlines() if line.startswith("FAILED")]
    print(f"{name}: {len(found)} cells")
    if not found:  # perhaps it hung so that the run was ended
        print("   ", output[-500:])
    for line in found:
        print("   ", line.split("test_cell[")[-1].split("]")[0], flush=True)


if __name__ == "__main__":
    os.environ["TREADLE_PARKS"] = "1"
    for each in sys.argv[1:] or FAULTS:
        try_fault(each)
    build()
