"""Takes one sample: measures a contestant in a row, in a fresh process."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from . import native
from .rows import Row

trustme: Any = import_module("trustme") if find_spec("trustme") else None
ROOT = Path(__file__).parent.parent
LIMIT = 600.0
CONNECTIONS = 100
MESSAGE = 1024


class Missing(Exception):
    """The contestant does not take part in this row; the text says why."""


class Failed(Exception):
    """The contestant takes part in this row but gave no figure; the text says why."""


@dataclass(frozen=True)
class Sample:
    version: str
    figures: dict[str, float]


@dataclass(frozen=True)
class Sampler:
    """Takes samples with one interpreter; the compiled C programs go to the folder `programs`."""

    python: str
    quick: bool
    programs: Path

    def take(self, row: Row, contestant: str) -> Sample:
        """Return a sample of a contestant in a row. Raises Missing or Failed."""
        count = row.quick if self.quick else row.count
        if row.kind == "echo":
            return self._echo(contestant, count)
        if row.kind == "tls_echo":
            return self._tls_echo(contestant, count)
        _require_memory(row.needs_memory)
        call = "sleepers" if row.kind == "sleepers" else row.name
        return self._call(contestant, call, count)

    def _call(self, contestant: str, call: str, count: int) -> Sample:
        command = [*self._worker(contestant), "--call", call, "--count", str(count)]
        answer = _answer(_run(command))
        return Sample(str(answer["version"]), answer["sample"])

    def _echo(self, contestant: str, messages: int) -> Sample:
        load = self._build("echo_load")
        with self._server(contestant) as (server, port, version):
            command = [str(load), str(port), str(server.pid), str(CONNECTIONS), str(MESSAGE)]
            return Sample(version, json.loads(_run([*command, str(messages // 5), str(messages)])))

    def _tls_echo(self, contestant: str, messages: int) -> Sample:
        authority, certificate = make_certificates(self.programs)
        with self._server(contestant, "--certificate", str(certificate)) as running:
            server, port, version = running
            command = [self.python, "-m", "benchmarks.tls_load", str(authority), str(port)]
            command += [str(server.pid), str(CONNECTIONS), str(MESSAGE)]
            return Sample(version, json.loads(_run([*command, str(messages // 5), str(messages)])))

    @contextmanager
    def _server(
        self, contestant: str, *options: str
    ) -> Iterator[tuple[subprocess.Popen[str], int, str]]:
        if contestant == "C epoll":
            command = [str(self._build("echo_server"))]
        else:
            command = [*self._worker(contestant), "--serve", *options]
        with (
            tempfile.TemporaryFile("w+") as errors,
            subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=errors, text=True, cwd=ROOT
            ) as server,
        ):
            try:
                assert server.stdout is not None
                line = server.stdout.readline()
                if not line:
                    errors.seek(0)
                    raise Failed(_last_line(errors.read()))
                if contestant == "C epoll":
                    yield server, int(line), "level-triggered"
                else:
                    answer = _answer(line)
                    yield server, answer["port"], str(answer["version"])
            finally:
                server.kill()

    def _worker(self, contestant: str) -> list[str]:
        return [self.python, "-m", "benchmarks.worker", contestant]

    def _build(self, program: str) -> Path:
        try:
            return native.build(program, self.programs)
        except native.NoCompiler as error:
            raise Missing(str(error)) from None


def make_certificates(folder: Path) -> tuple[Path, Path]:
    """Return the files of a certificate authority, and of a localhost certificate with its key.

    They are made at the first call. Raises Missing without trustme.
    """
    authority, certificate = folder / "authority.pem", folder / "localhost.pem"
    if trustme is None:
        raise Missing("the certificates are made with trustme, which is not installed")
    if not certificate.exists():
        maker = trustme.CA()
        maker.cert_pem.write_to_path(str(authority))
        maker.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(str(certificate))
    return authority, certificate


def _run(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT, cwd=ROOT)
    except subprocess.TimeoutExpired:
        raise Failed(f"no answer in {LIMIT:.0f} s") from None
    if done.returncode:
        raise Failed(f"exit code {done.returncode}: {_last_line(done.stderr)}")
    return done.stdout


def _answer(line: str) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(line)
    if "missing" in answer:
        raise Missing(answer["missing"])
    return answer


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["no message"])[-1]


def _require_memory(needed: int) -> None:
    with open("/proc/meminfo") as meminfo:
        facts = dict(line.split(":") for line in meminfo)
    free = int(facts["MemAvailable"].split()[0]) * 1024
    if free < needed:
        raise Missing(f"needs {needed >> 30} GiB of free memory, there are {free >> 30}")
