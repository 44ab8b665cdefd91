"""The server that is tested: its processes, its application, its certificate, and its logs."""

from __future__ import annotations

import contextlib
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import trustme

import treadle
from treadle import socket

from .requests import FILE

WORKERS = 3
#: How long a worker may hang, in seconds: more than any short pause that the script makes.
TIMEOUT = 5.0
APPLICATION = Path(__file__).with_name("application.py").read_text()
#: Applications that cannot be loaded, each in its own way.
BROKEN = (
    "def app(environ, start_response:\n",
    "raise RuntimeError('half deployed')\n",
    "import module_that_is_not_there\n",
    "other = None\n",
    "import sys\nsys.exit('not configured')\n",
    "import os\nos._exit(7)\n",
)
#: A line of the access log.
_LINE = re.compile(r'^127\.0\.0\.1 - - \[.{26}\] "(?:GET|POST) /\w+/\d+ HTTP/[12.]+" .*$', re.M)
INFINITE = resource.RLIM_INFINITY


class Site:
    """A running ``treadle serve`` in *folder*, with TLS or without.

    With TLS the access log is a file, and workers are replaced after 2000 requests. Without, it is
    standard output: a pipe with a name.
    """

    def __init__(self, folder: Path, tls: bool) -> None:
        self.folder, self.tls = folder, tls
        self.errors, self.access = folder / "errors.log", folder / "access.log"
        self.authority = str(folder / "authority.pem") if tls else ""
        self._rotated = 0
        self._certificate = folder / "server.pem"
        (folder / "file.bin").write_bytes(FILE)
        self.mend_application()
        if tls:
            self._write_certificates()
        else:
            os.mkfifo(self.access)
        self.reader = self.open_reader()
        self._process = self._start()
        self.supervisor = self._process.pid
        self.port = self._await_port()

    #: How many workers there may be at most: each may be leaving while its successor serves.
    most_workers = 2 * WORKERS

    # -- processes

    def _start(self) -> subprocess.Popen[bytes]:
        flags = f"--workers {WORKERS} --timeout {TIMEOUT} --graceful-timeout 10 --admin unix:admin "
        flags += "--bind 127.0.0.1:0 --error-log errors.log "
        if self.tls:
            flags += "--access-log access.log --certfile server.pem --max-requests 2000"
        else:
            flags += "--access-log -"
        env = {k: v for k, v in os.environ.items() if not k.startswith("TREADLE")}
        with (
            open(os.devnull if self.tls else self.access, "wb") as output,
            (self.folder / "stderr").open("wb") as errors,
        ):
            return subprocess.Popen(
                [sys.executable, "-m", "treadle", "serve", *flags.split(), "chaos_site:app"],
                cwd=self.folder,
                env={**env, "PYTHONDONTWRITEBYTECODE": "1", "CHAOS_FILE": "file.bin"},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=errors,
            )

    def _await_port(self) -> int:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            text = self.errors.read_text() if self.errors.exists() else ""
            found = re.search(r"serving \S+ at \S+:(\d+), pid", text)
            if found:
                return int(found[1])
            assert self._process.poll() is None, text
            treadle.sleep(0.02)
        raise AssertionError(f"it did not start: {text}")

    def workers(self) -> list[int]:
        """Return the process ids of the supervisor's children.

        The system may leave out some at a moment when one ends.
        """
        pid = self.supervisor
        return sorted(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))

    def serving(self) -> int:
        """Return how many workers serve, as the server says."""
        return int(self._ask_admin("readyz", r"(\d+) workers serve"))

    def counted(self, name: str) -> int:
        """Return the sum of a metric."""
        return sum(map(int, re.findall(rf"^{name}\S* (\d+)$", self._ask_admin("metrics"), re.M)))

    def _ask_admin(self, path: str, pattern: str = r"([\s\S]*)") -> str:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(10)
            sock.connect(str(self.folder / "admin"))
            sock.sendall(f"GET /{path} HTTP/1.0\r\n\r\n".encode())
            answer = b""
            while part := sock.recv(65536):
                answer += part
        found = re.search(f"\r\n\r\n{pattern}", answer.decode())
        assert found, answer
        return found[1]

    def signal(self, pid: int, number: int) -> None:
        """Send a signal to one of the processes, if it has not ended."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)

    def stop(self) -> int:
        """Stop the server gracefully; return its exit status."""
        self.signal(self.supervisor, signal.SIGTERM)
        deadline = time.monotonic() + 30
        while self._process.poll() is None and time.monotonic() < deadline:
            treadle.sleep(0.01)
        return -1000 if self._process.returncode is None else self._process.returncode

    def kill(self) -> None:
        """End all processes, if the run has failed."""
        if self._process.poll() is None:
            with contextlib.suppress(OSError):
                for pid in self.workers():
                    self.signal(pid, signal.SIGKILL)
            self._process.kill()
            self._process.wait()
        self.close_reader()

    def resident(self, pid: int) -> int:
        """Return the memory of a process, in KiB; 0 if it has ended."""
        try:
            return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4
        except OSError:
            return 0

    def descriptors(self, pid: int) -> int:
        """Return how many descriptors a process has."""
        with contextlib.suppress(OSError):
            return len(os.listdir(f"/proc/{pid}/fd"))
        return 0

    def limit(self, pids: list[int], what: int, most: int) -> None:
        """Set the soft limit *what* of processes."""
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                hard = resource.prlimit(pid, what)[1]
                resource.prlimit(pid, what, (hard if most == INFINITE else most, hard))

    # -- the application and its certificate

    def mend_application(self) -> None:
        self._replace(self.folder / "chaos_site.py", APPLICATION)

    def break_application(self, way: int) -> None:
        self._replace(self.folder / "chaos_site.py", BROKEN[way % len(BROKEN)])

    def mend_certificate(self, which: int) -> None:
        self._replace(self._certificate, (self.folder / f"{which % 2}.pem").read_text())

    def break_certificate(self, way: int) -> None:
        text = self._certificate.read_text()
        if way % 3 == 0:
            self._certificate.unlink(missing_ok=True)
        else:  # cut short, or without the key
            self._replace(self._certificate, text[: len(text) // 2] if way % 3 == 1 else "")

    def _replace(self, path: Path, text: str) -> None:
        new = path.with_suffix(".new")
        new.write_text(text)
        new.replace(path)

    def _write_certificates(self) -> None:
        authority = trustme.CA()
        authority.cert_pem.write_to_path(self.authority)
        for which in (0, 1):
            issued = authority.issue_cert("localhost")
            issued.private_key_and_cert_chain_pem.write_to_path(str(self.folder / f"{which}.pem"))
        shutil.copy(self.folder / "0.pem", self._certificate)

    # -- logs

    def fill_disk(self) -> None:
        """Let the log files not grow: to the processes that is like a full disk.

        Mounting a small file system would need root.
        """
        log = self.access if self.tls else self.errors
        size = log.stat().st_size if log.exists() else 0
        self.limit([self.supervisor, *self.workers()], resource.RLIMIT_FSIZE, size + 300)

    def free_disk(self) -> None:
        self.limit([self.supervisor, *self.workers()], resource.RLIMIT_FSIZE, INFINITE)

    def rotate(self) -> None:
        """Rename the log files and have them opened again."""
        self._rotated += 1
        for path in (self.errors, self.access) if self.tls else (self.errors,):
            with contextlib.suppress(FileNotFoundError):
                path.rename(path.with_suffix(f".{self._rotated}"))
        self.signal(self.supervisor, signal.SIGUSR1)

    def open_reader(self) -> int:
        """Return a descriptor that reads standard output; -1 if nothing is written there."""
        return -1 if self.tls else os.open(self.access, os.O_RDONLY | os.O_NONBLOCK)

    def close_reader(self) -> None:
        if self.reader >= 0:
            os.close(self.reader)
            self.reader = -1

    def read_output(self) -> int:
        """Read what has come on standard output; return how many lines."""
        lines = 0
        with contextlib.suppress(BlockingIOError):
            while self.reader >= 0 and (data := os.read(self.reader, 1 << 20)):
                lines += data.count(b"\n")
        return lines

    def said(self) -> str:
        """Return all that is in the error log."""
        return "".join(each.read_text() for each in self.folder.glob("errors.*"))

    def whole_lines(self) -> int:
        """Return how many whole lines are in the access log, if it is a file."""
        files = self.folder.glob("access.*")
        return sum(len(_LINE.findall(each.read_text())) for each in files)
