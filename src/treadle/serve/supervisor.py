"""The supervisor process: it starts, watches, replaces and stops the workers."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import stat
import struct
import sys
import traceback
from contextlib import suppress
from pathlib import Path
from socket import (
    AF_INET,
    AF_INET6,
    AF_UNIX,
    IPPROTO_TCP,
    SO_REUSEADDR,
    SO_REUSEPORT,
    SOL_SOCKET,
    TCP_NODELAY,
)
from time import monotonic
from typing import Any

from treadle import os as treadle_os
from treadle import socket
from treadle.baseserver import parse_address
from treadle.event import Event
from treadle.greenlet import spawn
from treadle.hub import sleep
from treadle.serve.admin import AdminServer
from treadle.serve.settings import Settings, SettingsError
from treadle.serve.stats import Board, Slot
from treadle.serve.worker import LogFile, Worker, source_files

__all__ = ["Supervisor"]

#: The minimum time, in seconds, from the start of a worker that fails to the start of its
#: replacement: a worker that always fails at its start must not keep the machine busy.
RESTART_DELAY = 0.5
#: How long a new worker may take to become ready, in seconds.
READY_TIMEOUT = 60.0
#: File descriptors that a worker needs besides those of its clients' connections.
SPARE_DESCRIPTORS = 1024
#: How often a worker checks its source files for changes with --reload, in seconds.
RELOAD_INTERVAL = 0.5
#: Linux's number for this socket option; the socket module does not define it.
SO_ATTACH_FILTER = 26
#: Exit status of a worker that cannot load the application; a restart would not help.
CANNOT_LOAD = 3


class Child:
    """A worker process, as the supervisor tracks it."""

    def __init__(self, pid: int, at: int, slot: Slot) -> None:
        self.pid: int = pid
        self.at: int = at
        self.slot: Slot = slot
        self.started: float = monotonic()
        self.ended: Event = Event()
        self.status: int = 0
        self.stopping: bool = False

    def signal(self, number: int) -> None:
        """Send the signal *number* to the worker, unless it has ended."""
        if not self.ended.is_set():
            os.kill(self.pid, number)


class Supervisor:
    """Runs the workers of *settings* until it is told to stop.

    SIGTERM and SIGINT stop it gracefully, SIGQUIT immediately. SIGHUP replaces all workers, one
    after the other, without losing a request. SIGUSR1 reopens the log files.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.board: Board = Board(settings.workers + 1)  # one more while a worker is replaced
        self.children: dict[int, Child] = {}  # by the index of their slot
        self.stopping = False
        self.errors: LogFile = LogFile(settings.error_log, 2)
        self.status = 0
        self._wake = Event()
        self._reloads = 0  # requested and not done
        self._sockets: list[list[Any]] = []  # per address: one, or one per worker
        self._fast = False

    # -- life

    def run(self) -> int:
        """Serve until told to stop; return the exit status.

        Raises SettingsError if an address cannot be listened on.
        """
        settings = self.settings
        _raise_descriptor_limit(settings.worker_connections + SPARE_DESCRIPTORS)
        self._sockets = [self._listen(address) for address in settings.bind]
        if settings.pid:
            Path(settings.pid).write_text(f"{os.getpid()}\n")
        for number, action in (
            (signal.SIGTERM, self._on_stop),
            (signal.SIGINT, self._on_stop),
            (signal.SIGQUIT, self._on_stop),
            (signal.SIGHUP, self._on_reload),
            (signal.SIGUSR1, self._on_reopen),
        ):
            signal.signal(number, action)
        admin = AdminServer(self, settings.admin) if settings.admin else None
        try:
            if admin is not None:
                admin.start()
            spawn(self._announce, [self._start(at) for at in range(settings.workers)])
            watcher = spawn(self._watch)
            self._supervise()
            watcher.kill()
        finally:
            if admin is not None:
                admin.stop()
            self._clean_up()
        return self.status

    def addresses(self) -> list[str]:
        """Return the addresses that the supervisor listens on: HOST:PORT or unix:PATH."""
        found = []
        for sockets in self._sockets:
            name = sockets[0].getsockname()
            found.append(f"{name[0]}:{name[1]}" if isinstance(name, tuple) else f"unix:{name}")
        return found

    def _announce(self, children: list[Child]) -> None:
        if all(self._await_ready(child) for child in children):
            places = ", ".join(self.addresses())
            self._tell(f"serving {self.settings.app} at {places}, pid {os.getpid()}")

    def _supervise(self) -> None:
        while not self.stopping:
            self._wake.wait()
            self._wake.clear()
            while self._reloads and not self.stopping:
                self._reloads = 0
                self._replace_all()
        self._stop_all()

    def _on_stop(self, number: int, frame: object) -> None:
        self.stopping = True
        self._fast = self._fast or number == signal.SIGQUIT
        self._wake.set()

    def _on_reload(self, number: int, frame: object) -> None:
        self._reloads += 1
        self._wake.set()

    def _on_reopen(self, number: int, frame: object) -> None:
        self.errors.reopen()
        for child in self.children.values():
            child.signal(signal.SIGUSR1)

    def _tell(self, text: str) -> None:
        self.errors.write(f"treadle serve: {text}\n")

    # -- sockets

    def _listen(self, text: str) -> list[Any]:
        """Return the listening sockets of one address: one, or one per worker with reuse_port."""
        settings = self.settings
        try:
            family, address = parse_address(text)
        except (TypeError, ValueError) as exc:
            raise SettingsError(f"bind: {exc}") from None
        several = settings.reuse_port and family in (AF_INET, AF_INET6)
        found = []
        for _ in range(settings.workers if several else 1):
            listener = socket.socket(family)
            try:
                if family == AF_UNIX:
                    _remove_stale(address)
                else:
                    listener.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)
                    listener.setsockopt(IPPROTO_TCP, TCP_NODELAY, 1)  # accepted ones inherit it
                    if several:
                        listener.setsockopt(SOL_SOCKET, SO_REUSEPORT, 1)
                listener.bind(address)
                listener.listen(settings.backlog)
            except OSError as exc:
                raise SettingsError(f"bind: cannot listen on {text}: {exc}") from exc
            address = listener.getsockname()  # after port 0: the other sockets share this port
            found.append(listener)
        return found

    def _clean_up(self) -> None:
        everything, self._sockets = self._sockets, []
        for sockets in everything:
            for listener in sockets:
                name = listener.getsockname()
                listener.close()
                if isinstance(name, str) and name:
                    with suppress(OSError):
                        os.unlink(name)
        if self.settings.pid:
            with suppress(OSError):
                os.unlink(self.settings.pid)

    # -- workers

    def _start(self, at: int) -> Child:
        """Fork a worker for the slot at *at*."""
        slot = self.board.slots[at]
        self.board.retire(slot)
        slot["beat"] = monotonic()
        pid = treadle_os.fork()
        if not pid:
            self._become_worker(at, slot)
        child = Child(pid, at, slot)
        slot["pid"] = pid
        self.children[at] = child
        spawn(self._wait_for, child)
        return child

    def _become_worker(self, at: int, slot: Slot) -> None:
        """Run the worker in the forked child process; never return."""
        status = 1
        try:
            for number in (signal.SIGHUP, signal.SIGQUIT):
                signal.signal(number, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # the supervisor handles Ctrl-C
            listeners = [each[at % len(each)] for each in self._sockets]
            worker = Worker(self.settings, listeners, slot)
            signal.signal(signal.SIGTERM, lambda number, frame: worker.stop_event.set())
            signal.signal(signal.SIGUSR1, lambda number, frame: worker.reopen_logs())
            if self.settings.reload:
                spawn(_watch_sources, os.getppid())
            worker.run()
            status = 0
        except SettingsError as exc:
            self._tell(str(exc))
            status = CANNOT_LOAD
        except BaseException:
            self._tell("a worker failed:\n" + traceback.format_exc().rstrip())
            if not slot["ready"] and not slot["requests_2xx"]:
                status = CANNOT_LOAD
        finally:
            for stream in (sys.stdout, sys.stderr):
                with suppress(Exception):
                    stream.flush()
            os._exit(status)

    def _wait_for(self, child: Child) -> None:
        """Wait until a worker ends, and start another unless it was told to stop."""
        _, status = treadle_os.waitpid(child.pid, 0)
        child.status = os.waitstatus_to_exitcode(status)
        child.ended.set()
        if self.children.get(child.at) is child:
            del self.children[child.at]
        if child.stopping or self.stopping:
            return
        if child.status == 0:
            self._start(self._free_place(child.at))  # it has served max_requests
            return
        others_serve = any(each.slot["ready"] for each in self.children.values())
        if child.status == CANNOT_LOAD and not self.settings.reload and not others_serve:
            self.status = CANNOT_LOAD
            self._on_stop(signal.SIGTERM, None)
            return
        self._tell(f"worker {child.pid} ended: {_reason(child.status)}; another is started")
        sleep(max(0.0, child.started + RESTART_DELAY - monotonic()))
        if not self.stopping and child.at not in self.children:
            self._start(child.at)

    def _free_place(self, wanted: int) -> int:
        """Return the index of a free slot: *wanted*, or else the spare one for replacements."""
        taken = set(self.children)
        return wanted if wanted not in taken else min(set(range(len(self.board.slots))) - taken)

    def _watch(self) -> None:
        """Kill workers whose last heartbeat is longer ago than ``timeout``."""
        timeout = self.settings.timeout
        while True:
            sleep(min(1.0, timeout / 4) if timeout else 3600)
            for child in list(self.children.values()):
                silent = monotonic() - child.slot["beat"]
                if timeout and silent > timeout and child.slot["ready"]:
                    self._tell(f"worker {child.pid} hangs since {silent:.0f} s: it is killed")
                    child.signal(signal.SIGKILL)

    def _replace_all(self) -> None:
        """Replace the workers one after the other: a new one serves before the old one stops."""
        for old in list(self.children.values()):
            if self.stopping:
                return
            new = self._start(self._free_place(old.at))
            if not self._await_ready(new):
                new.stopping = True
                with suppress(ProcessLookupError):
                    new.signal(signal.SIGKILL)
                self._tell("the new worker does not become ready; the old ones stay")
                return
            old.stopping = True
            old.signal(signal.SIGTERM)
            spawn(self._kill_later, old)
            old.ended.wait()
        self._tell("the workers were replaced")

    def _await_ready(self, child: Child) -> bool:
        deadline = monotonic() + READY_TIMEOUT
        while not child.slot["ready"]:
            if child.ended.wait(0.02) or monotonic() > deadline or self.stopping:
                return False
        return True

    def _kill_later(self, child: Child) -> None:
        if not child.ended.wait(self.settings.graceful_timeout + 1):
            child.signal(signal.SIGKILL)

    def _stop_all(self) -> None:
        for sockets in self._sockets:
            for listener in sockets:
                _refuse(listener)
        children = list(self.children.values())
        for child in children:
            child.stopping = True
            child.signal(signal.SIGKILL if self._fast else signal.SIGTERM)
        self._clean_up()  # workers keep the sockets until no connection is pending
        deadline = monotonic() + self.settings.graceful_timeout + 1
        for child in children:
            while not child.ended.wait(0.2):
                if self._fast or monotonic() > deadline:
                    child.signal(signal.SIGKILL)


def _reason(status: int) -> str:
    return f"exit status {status}" if status >= 0 else f"killed by {signal.Signals(-status).name}"


def _raise_descriptor_limit(count: int) -> None:
    """Raise the limit of open file descriptors to *count*, or as far as the system allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY:
        count = min(count, hard)
    if soft != resource.RLIM_INFINITY and soft < count:
        resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))


def _refuse(listener: Any) -> None:
    """Drop new connection attempts to *listener*, but keep the pending connections.

    Closing the socket would reset the pending connections; the workers accept them first. Does
    nothing on other systems than Linux, or for a Unix socket.
    """
    if sys.platform == "linux" and listener.family != AF_UNIX:
        # A filter of one instruction, which drops every packet.
        drop = ctypes.create_string_buffer(struct.pack("HBBI", 0x06, 0, 0, 0))
        program = struct.pack("HL", 1, ctypes.addressof(drop))
        listener.setsockopt(SOL_SOCKET, SO_ATTACH_FILTER, program)


def _remove_stale(path: str) -> None:
    """Remove the Unix socket at *path* if no process listens on it."""
    try:
        if not stat.S_ISSOCK(os.stat(path).st_mode):
            return
    except OSError:
        return
    with socket.socket(AF_UNIX) as probe:
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)


def _watch_sources(supervisor: int) -> None:
    """Run in a worker: have all workers replaced when the source of an imported module changes."""
    known = source_files()
    while True:
        sleep(RELOAD_INTERVAL)
        for path, changed in source_files().items():
            if known.setdefault(path, changed) != changed:
                os.kill(supervisor, signal.SIGHUP)
                return
