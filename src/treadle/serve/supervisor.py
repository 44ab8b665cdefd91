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
from collections.abc import Iterable
from contextlib import suppress
from functools import partial
from itertools import chain
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
from treadle.serve.log import LogFile
from treadle.serve.pidfile import PidFile
from treadle.serve.place import CANNOT_LOAD, LAST_WORDS, MOST_LEAVING, Child, Place
from treadle.serve.process import (
    end_with_parent,
    free_signals,
    reap_adopted,
    reset_in_children,
)
from treadle.serve.settings import Settings, SettingsError
from treadle.serve.stats import Board, Slot
from treadle.serve.worker import Worker, source_files

__all__ = ["Supervisor"]

#: File descriptors that a worker needs besides those of its clients' connections.
SPARE_DESCRIPTORS = 1024
#: How often a worker checks its source files for changes with --reload, in seconds.
RELOAD_INTERVAL = 0.5
#: Linux's number for this socket option; the socket module does not define it.
SO_ATTACH_FILTER = 26


class Supervisor:
    """Runs the workers of *settings* until it is told to stop.

    SIGTERM and SIGINT stop it gracefully, SIGQUIT immediately. SIGHUP replaces all workers, one
    after the other, without losing a request, and starts missing ones at once. SIGUSR1 reopens the
    log files.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.places: list[Place] = [Place(self, at) for at in range(settings.workers)]
        # A place has a worker, its successor that loads, and those that leave.
        self.board: Board = Board((2 + MOST_LEAVING) * settings.workers)
        self.children: dict[int, Child] = {}  # all that have not ended, by process id
        self.stopping = False
        self.errors: LogFile = _open_log(settings.error_log)
        self.status = 0
        self.pid = os.getpid()
        self._wake = Event()
        self._reloads = 0  # requested and not done
        self._sockets: list[list[Any]] = []  # per address: one, or one per place
        self._files: dict[Any, tuple[str, os.stat_result]] = {}  # of Unix sockets
        self._admin: list[Any] = []
        self._admin_server: AdminServer | None = None
        self._pid_file: PidFile | None = None
        self._fast = False
        self._spent_read, self._spent_write = os.pipe()
        os.set_blocking(self._spent_write, False)

    # -- life

    def run(self) -> int:
        """Serve until told to stop; return the exit status.

        Raises SettingsError if an address cannot be listened on.
        """
        settings = self.settings
        _raise_descriptor_limit(settings.worker_connections + SPARE_DESCRIPTORS)
        count = settings.workers if settings.reuse_port else 1
        try:
            for address in settings.bind:
                self._sockets.append(self._listen("bind", address, count))
            if settings.admin:
                self._admin = self._listen("admin", settings.admin, 1)
            if settings.pid:
                self._pid_file = PidFile(settings.pid)
        except SettingsError:
            self._close(self._admin)
            self._clean_up()
            raise
        actions = {
            signal.SIGTERM: self._on_stop,
            signal.SIGINT: self._on_stop,
            signal.SIGQUIT: self._on_stop,
            signal.SIGHUP: self._on_reload,
            signal.SIGUSR1: self._on_reopen,
            signal.SIGUSR2: self._on_unknown,
        }
        for number, action in actions.items():
            signal.signal(number, action)
        free_signals(actions)
        if self._admin:
            self._admin_server = AdminServer(self, self._admin[0])
        admin = self._admin_server
        try:
            if admin is not None:
                admin.start()
            for place in self.places:
                spawn(place.run)
            for duty in (self._announce, self._watch, self._hear_spent):
                spawn(duty)
            spawn(reap_adopted, self.children)
            self._supervise()
        finally:
            if admin is not None:
                admin.stop_accepting()
                self._close(self._admin)
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

    def _announce(self) -> None:
        for place in self.places:
            place.ready.wait()
        places = ", ".join(self.addresses())
        self.tell(f"serving {self.settings.app} at {places}, pid {os.getpid()}")

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
        for place in self.places:
            place.retry()
        self._wake.set()

    def _on_reopen(self, number: int, frame: object) -> None:
        try:
            self.errors.reopen()
        except OSError as exc:
            self.tell(f"cannot reopen the error log: {exc}")
        for child in list(self.children.values()):
            child.signal(signal.SIGUSR1)

    def _on_unknown(self, number: int, frame: object) -> None:
        # Other servers start their next version then; by default the system would end this one.
        self.tell(f"{signal.Signals(number).name} does nothing here; SIGHUP replaces the workers")

    def tell(self, text: str) -> None:
        """Write *text* to the error log."""
        self.errors.write(f"treadle serve: {text}\n")

    # -- sockets

    def _listen(self, setting: str, text: str, count: int) -> list[Any]:
        """Return *count* sockets that listen on one address, which *setting* gives."""
        try:
            family, address = parse_address(text)
        except (TypeError, ValueError) as exc:
            raise SettingsError(f"{setting}: {exc}") from None
        if not address:
            raise SettingsError(f"{setting}: there is no path in {text!r}")
        found = []
        for _ in range(count if family in (AF_INET, AF_INET6) else 1):
            listener = socket.socket(family)
            try:
                if family == AF_UNIX:
                    _remove_stale(address)
                else:
                    listener.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)
                    # The workers set it too, when clients may have connected already.
                    listener.setsockopt(IPPROTO_TCP, TCP_NODELAY, 1)
                    if count > 1:
                        listener.setsockopt(SOL_SOCKET, SO_REUSEPORT, 1)
                listener.bind(address)
                listener.listen(self.settings.backlog)
            except (OSError, OverflowError) as exc:
                raise SettingsError(f"{setting}: cannot listen on {text}: {exc}") from exc
            if family == AF_UNIX and not address.startswith("\0"):
                self._files[listener] = os.path.abspath(address), os.stat(address)
            address = listener.getsockname()  # after port 0: the other sockets share this port
            found.append(listener)
        return found

    def _clean_up(self) -> None:
        everything, self._sockets = self._sockets, []
        self._close(chain(*everything))
        mine, self._pid_file = self._pid_file, None
        if mine is not None:
            mine.remove()

    def _close(self, listeners: Iterable[Any]) -> None:
        """Close *listeners*, and remove the files of Unix sockets."""
        for listener in listeners:
            listener.close()
            path, status = self._files.pop(listener, ("", None))
            with suppress(OSError):
                if status is not None and os.path.samestat(status, os.stat(path)):
                    os.unlink(path)  # else it is another server's by now

    # -- workers

    def start_worker(self, place: Place) -> Child:
        """Fork a worker for *place*.

        Raises OSError if the system starts no process.
        """
        slot = next(each for each in self.board.slots if not each["pid"])
        slot["pid"] = -1  # it is taken
        slot["beat"] = monotonic()
        try:
            pid = treadle_os.fork()
        except BaseException:
            slot.clear()
            raise
        if not pid:
            self._become_worker(place, slot)
        slot["pid"] = pid
        child = self.children[pid] = Child(pid, slot)
        spawn(self._wait_for, child, place)
        return child

    def _become_worker(self, place: Place, slot: Slot) -> None:
        """Run the worker in the forked child process; never return."""
        status, first = 1, True
        try:
            first = not self._has_served()
            self.errors = _open_log(self.settings.error_log, first)  # with nothing of the parent's
            for number in (signal.SIGQUIT, signal.SIGUSR2):
                signal.signal(number, signal.SIG_DFL)
            for number in (signal.SIGHUP, signal.SIGINT):
                # A terminal sends these to all, and the supervisor acts on them. They are not
                # ignored, because programs that the application starts would inherit that.
                signal.signal(number, lambda number, frame: None)
            if self._admin_server is not None:
                self._admin_server.abandon()
            listeners = [each[place.at % len(each)] for each in self._sockets]
            spent = partial(self._say_spent, slot)
            worker = Worker(self.settings, listeners, slot, spent, self.pid, first=first)
            signal.signal(signal.SIGTERM, lambda number, frame: worker.leave())
            signal.signal(signal.SIGUSR1, lambda number, frame: worker.reopen_logs())
            reset_in_children([signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1])
            end_with_parent(self.pid)
            if self.stopping:  # by a SIGTERM that came before
                worker.leave()
            if self.settings.reload and place.at == 0:
                spawn(_watch_sources, self.pid)
            worker.run()
            status = 0
        except SettingsError as exc:
            self.tell(str(exc))
            status = CANNOT_LOAD
        except BaseException as exc:
            loading = not slot["ready"] and not slot["requests_2xx"]
            if loading:
                status = CANNOT_LOAD
            if loading and not first:
                self.tell(f"the new worker cannot load {self.settings.app}: {_in_one_line(exc)}")
            else:
                self.tell("a worker failed:\n" + traceback.format_exc().rstrip())
        finally:
            for stream in (sys.stdout, sys.stderr):
                with suppress(Exception):
                    stream.flush()
            with suppress(Exception):
                self.errors.drain(1)
            os._exit(status)

    def _wait_for(self, child: Child, place: Place) -> None:
        """Wait until a worker ends; its place decides what follows."""
        _, status = treadle_os.waitpid(child.pid, 0)
        child.status = os.waitstatus_to_exitcode(status)
        del self.children[child.pid]
        self.board.retire(child.slot)
        child.ended.set()
        place.wake()

    def worker_failed(self, child: Child) -> None:
        """Say that *child* has ended unasked; stop if no worker can ever serve.

        An application that was served once will be served again, once what is wrong has passed: a
        deployment that is half done, or a lack of descriptors.
        """
        fatal = child.status == CANNOT_LOAD and not self.settings.reload
        if fatal and not self._has_served():
            self.status = CANNOT_LOAD
            self._on_stop(signal.SIGTERM, None)
            return
        self.tell(f"worker {child.pid} ended: {child.reason()}; another is started")

    def _has_served(self) -> bool:
        return any(place.ready.is_set() for place in self.places)

    def _say_spent(self, slot: Slot) -> None:
        """Run in a worker: tell the supervisor that another one is to serve in its place."""
        slot["spent"] = 1
        with suppress(OSError):  # it is full: the supervisor will look in any case
            os.write(self._spent_write, b"!")

    def _hear_spent(self) -> None:
        while treadle_os.read(self._spent_read, 4096):
            for place in self.places:
                place.wake()

    def _watch(self) -> None:
        """Kill workers whose last heartbeat is longer ago than ``timeout``."""
        timeout = self.settings.timeout
        if not timeout:
            return
        interval = min(1.0, timeout / 4)
        while True:
            before = monotonic()
            sleep(interval)
            # While the machine or a terminal held up all processes, no heart could beat.
            passed = min(monotonic() - before, 2 * interval)
            for child in list(self.children.values()):
                silent = child.listen(passed)
                if silent > timeout and child.serves and child.kill():
                    self.tell(f"worker {child.pid} hangs since {silent:.0f} s: it is killed")

    def _replace_all(self) -> None:
        """Replace the workers one after the other: a new one serves before the old one stops."""
        for place in self.places:
            if not place.replace():
                if not self.stopping:
                    self.tell("the new worker does not become ready; the old ones stay")
                return
        self.tell("the workers were replaced")

    def _stop_all(self) -> None:
        for place in self.places:
            place.wake()
        for sockets in self._sockets:
            for listener in sockets:
                _refuse(listener)
        told: set[int] = set()
        began = monotonic()
        while self.children:
            passed = monotonic() - began
            for child in list(self.children.values()):
                # A worker that has never served has nobody to answer.
                patience = self.settings.graceful_timeout if child.serves else 0.0
                if self._fast or passed > patience + LAST_WORDS:
                    child.kill()
                elif child.pid not in told:
                    told.add(child.pid)
                    child.signal(signal.SIGTERM)
            if self._sockets:
                self._clean_up()  # workers keep the sockets until no connection is pending
            sleep(0.02)


def _open_log(path: str, needed: bool = True) -> LogFile:
    try:
        return LogFile(path, 2, needed=needed)
    except OSError as exc:
        raise SettingsError(f"error_log: {exc}") from exc


def _in_one_line(exc: BaseException) -> str:
    """Return what *exc* is, and where it was raised."""
    text = " ".join(f"{type(exc).__name__}: {exc}".split())
    stack = traceback.extract_tb(exc.__traceback__)
    if stack and not isinstance(exc, SyntaxError):  # which says where by itself
        text += f" ({stack[-1].filename}, line {stack[-1].lineno})"
    return text


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
        with suppress(OSError):  # a sandbox may know no filters
            listener.setsockopt(SOL_SOCKET, SO_ATTACH_FILTER, program)


def _remove_stale(path: str) -> None:
    """Remove the Unix socket at *path* if no process listens on it."""
    try:
        if not stat.S_ISSOCK(os.stat(path).st_mode):
            return
    except OSError:
        return
    with socket.socket(AF_UNIX) as probe:
        probe.settimeout(0)  # a server whose queue is full may let nobody in for long
        try:
            probe.connect(path)
        except BlockingIOError:
            return
        except ConnectionRefusedError:
            os.unlink(path)


def _watch_sources(supervisor: int) -> None:
    """Run in a worker: have all workers replaced when the source of an imported module changes.

    The worker watches on, since the replacement fails if the source has an error.
    """
    known = source_files()
    while os.getppid() == supervisor:
        sleep(RELOAD_INTERVAL)
        now = source_files()
        if any(known.get(path, changed) != changed for path, changed in now.items()):
            os.kill(supervisor, signal.SIGHUP)
        known |= now
