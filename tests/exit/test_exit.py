"""Patched programs end like unpatched ones: same exit status, same output, nothing extra."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from .programs import BUSY, PROGRAMS, SIGNALS

IMPORTS = (
    "import atexit, os, queue, signal, socket, subprocess, sys, threading, time, warnings\n"
    "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
)


def start(source: str, path: Path, patched: bool) -> "subprocess.Popen[str]":
    """Write the imports and *source* to *path* and run it, after patch_all() if *patched*."""
    path.write_text(
        ("from treadle import monkey; monkey.patch_all()\n" * patched) + IMPORTS + source
    )
    return subprocess.Popen(
        [sys.executable, path],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def end(child: "subprocess.Popen[str]", head: str = "") -> tuple[int, str, str]:
    try:
        out, err = child.communicate(timeout=30)
    except subprocess.TimeoutExpired:
        child.send_signal(signal.SIGKILL)
        out, err = child.communicate()
        pytest.fail(f"no end after 30 s\n{out}\n{err}")
    return child.returncode, head + out, heads_of_tracebacks(err)


def heads_of_tracebacks(text: str) -> str:
    """Return *text*, taken from stderr, without frames and addresses, which may differ."""
    lines = [line for line in text.splitlines() if not line.startswith("  ")]
    return re.sub(r"0x[0-9a-f]+|\b\d{6,}\b", "...", "\n".join(lines))


def outcome(name: str, folder: Path, patched: bool) -> tuple[int, str, str]:
    child = start(PROGRAMS[name], folder / "program.py", patched)
    head = ""
    if name in SIGNALS:
        head = child.stdout.readline()
        time.sleep(0.1)  # until the program waits
        child.send_signal(SIGNALS[name])
    return end(child, head)


#: These work only when patched: from 3.12 on, the interpreter starts no thread while it ends.
BETTER = {
    "thread_in_atexit": (0, "in a thread\n", ""),
    "threads_start_threads_while_the_interpreter_waits": (
        0,
        "".join(f"generation {n}\n" for n in range(6)),
        "",
    ),
}
if sys.version_info < (3, 12):
    BETTER.clear()


@pytest.mark.parametrize("name", PROGRAMS)
def test_program_ends_as_it_does_unpatched(name: str, tmp_path: Path) -> None:
    expected = BETTER.get(name) or outcome(name, tmp_path, patched=False)
    assert outcome(name, tmp_path, patched=True) == expected


@pytest.mark.parametrize("milliseconds", [0, 1, 2, 3, 5, 8, 13, 21, 34, 55])
def test_interrupted_at_any_moment(milliseconds: int, tmp_path: Path) -> None:
    child = start(BUSY, tmp_path / "program.py", patched=True)
    head = child.stdout.readline()
    time.sleep(milliseconds / 1000)
    os.kill(child.pid, signal.SIGINT)
    assert end(child, head) == (0, "ready\ninterrupted\natexit\n", "")


#: Calls, and what they print when the interpreter is ending and the program never had a hub.
WITHOUT_A_HUB = {
    "socket.wait_read(ends[0].fileno(), 0.01)": "timed out",
    "ends[0].recvfrom(1)": "timed out",
    "server.accept()": "timed out",
    "client.connect(server.getsockname())": "None",
    "treadle.os.read(ready, 1)": "b'x'",
    "file.read(1)": "b'x'",
    "child.wait()": "0",
    "treadle.sleep(0.01)": "None",
    "event.wait(0.01)": "False",
    "treadle.Timeout.start_new(1)": "can't make a hub at interpreter shutdown",
    "treadle.spawn(print)": "can't make a hub at interpreter shutdown",
    "socket.getaddrinfo('localhost', 1)": "can't make a hub at interpreter shutdown",
}


@pytest.mark.parametrize("call", WITHOUT_A_HUB)
def test_finalizers_of_a_program_that_never_had_a_hub(call: str) -> None:
    program = f"""
import os, sys, treadle, treadle.os
from treadle import socket, subprocess
from treadle.event import Event
from treadle.fileobject import FileObject
event = Event()
ends, client = socket.socketpair(), socket.socket()
server = socket.create_server(("127.0.0.1", 0))
for each in *ends, server: each.settimeout(0.01)
ready, full = os.pipe()
os.write(full, b"x")
file = FileObject(ready, "rb", 0)
child = subprocess.Popen(["true"])
names = sys.kept = dict(globals())  # modules are freed before sys is
class Thing:
    def __del__(self, eval=eval, write=os.write, names=names):
        try: result = eval({call!r}, names)
        except BaseException as exc: result = exc
        write(1, f"{{result}}".encode())
thing = Thing()
"""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program], capture_output=True, text=True, timeout=30
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, WITHOUT_A_HUB[call], "")


#: Calls, and what they print when a program ends whose hub was never asked for any of this.
WITH_A_BARE_HUB = {
    "treadle.sleep(0.001)": "None",
    "hub.loop.timer(1)": "can't import loop (['treadle.core.loop']) at interpreter shutdown",
    "hub.threadpool": (
        "can't import threadpool (['treadle.threadpool.ThreadPool']) at interpreter shutdown"
    ),
    "len(socket.getaddrinfo(b'127.0.0.1', 1)) > 0": "True",
    "treadle.kill(treadle.Greenlet())": "None",
    "treadle.with_timeout(0.001, treadle.sleep, 1, timeout_value='late')": "late",
    "ends[0].recv(1)": "timed out",
    "select.select([ends[0]], [], [], 0.001)": "([], [], [])",
}


@pytest.mark.parametrize("is_loaded", [False, True])
def test_finalizers_of_a_program_that_used_its_hub_little(is_loaded: bool) -> None:
    program = f"""
import os, treadle
from treadle import select, socket
if {is_loaded}: import treadle.core, treadle.threadpool
treadle.sleep(0)
hub = treadle.get_hub()
ends = socket.socketpair()
ends[0].settimeout(0.001)
class Thing:
    def __del__(self, write=os.write, names=globals().copy()):
        for call in {list(WITH_A_BARE_HUB)}:
            try: result = eval(call, names)
            except BaseException as exc: result = exc
            write(1, f"{{result}}\\n".encode())
thing = Thing()
"""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program], capture_output=True, text=True, timeout=30
    )
    expected = list(WITH_A_BARE_HUB.values())
    found = done.stdout.splitlines()
    if is_loaded:
        assert not any("can't import" in line for line in found[1:3])
        found[1:3] = expected[1:3]
    assert (done.returncode, found, done.stderr) == (0, expected, "")


LEFT = """
import os, treadle
def fail(text): raise ValueError(text)
def fail_before_getter(text):
    failing = treadle.Greenlet(fail, text)
    getter = treadle.spawn(failing.get)
    treadle.sleep(0)
    failing.start()
    treadle.sleep(0)
    assert failing.ready() and not getter.ready()
    return failing
fail_before_getter("left")
fail_before_getter("seen").exception
if hasattr(os, "fork"):
    pid = os.fork()
    if pid == 0: raise SystemExit
    os.waitpid(pid, 0)
print("main ends")
"""


def test_an_error_whose_getter_never_runs_is_printed_at_the_end() -> None:
    done = subprocess.run([sys.executable, "-c", LEFT], capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stdout) == (0, "main ends\n")
    assert [line for line in done.stderr.splitlines() if "ValueError:" in line] == [
        "ValueError: left"
    ]
