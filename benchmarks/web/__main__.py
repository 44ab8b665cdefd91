"""Measures web servers side by side.

    python -m benchmarks.web [--only ROW ...] [--server NAME ...] [--seconds N] [--repeat N]

wrk (Debian's package) makes the load. It runs on the other processor where a server is measured on
one. The report is printed and kept in results/, with the machine and the versions.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

import trustme

from ..machine import describe
from .servers import Running, versions

#: row -> (path, connections, wrk's script, TLS, workers).
ROWS: dict[str, tuple[str, int, str, bool, int]] = {
    "hello": ("/hello", 100, "", False, 1),
    "hello, two cores": ("/hello", 100, "", False, 2),
    "hello over TLS": ("/hello", 100, "", True, 1),
    "10 KiB of JSON": ("/json", 100, "", False, 1),
    "64 KiB streamed": ("/stream", 100, "", False, 1),
    "64 KiB file": ("/file", 100, "", False, 1),
    "1 MiB upload": (
        "/upload",
        20,
        'wrk.method = "POST"\nwrk.body = string.rep("x", 1048576)\n',
        False,
        1,
    ),
    "WebSocket echo": ("/websocket", 100, "", False, 1),
    "50 ms wait, 2,000 connections": ("/wait", 2000, "", False, 1),
    "50 ms wait, 1,000 connections": ("/wait", 1000, "", False, 1),
}

WEBSOCKET_LOAD = Path(__file__).with_name("websocket_load.py")


def measure(row: str, name: str, seconds: int, tls: tuple[str, str]) -> dict[str, float]:
    """Take one sample of a server: requests, requests per second, processor time, latencies."""
    path, connections, script, secure, workers = ROWS[row]
    websocket = path == "/websocket"
    cpus = "0" if workers == 1 else "0,1"
    running = Running(name, workers, cpus, tls if secure else None, websocket)
    try:
        held = ["taskset", "-c", "1"] if workers == 1 else []
        if websocket:
            load = [sys.executable, str(WEBSOCKET_LOAD)]
            load += map(str, (running.port, connections, seconds))
        else:
            load = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", "--timeout"]
            load += ["10", f"{'https' if secure else 'http'}://127.0.0.1:{running.port}{path}"]
        with tempfile.NamedTemporaryFile("w", suffix=".lua") as lua:
            if script:
                lua.write(script)
                lua.flush()
                load[-1:-1] = ["-s", lua.name]
            before = running.cpu_seconds()
            text = subprocess.run([*held, *load], capture_output=True, text=True, check=True).stdout
            cpu = running.cpu_seconds() - before
    finally:
        running.stop()
    return (json.loads(text) if websocket else read_wrk(text)) | {"cpu": cpu}


UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0}


def read_wrk(text: str) -> dict[str, float]:
    """Return the figures in the output of wrk."""
    found = {"requests": float(re.search(r"(\d+) requests in", text)[1])}
    found["rate"] = float(re.search(r"Requests/sec: +([\d.]+)", text)[1])
    for share in ("50", "99"):
        number, unit = re.search(rf"{share}% +([\d.]+)(us|ms|s|m)", text).groups()
        found[f"p{share}"] = float(number) * UNITS[unit]
    bad = re.search(r"Non-2xx or 3xx responses: (\d+)", text)
    found["bad"] = float(bad[1]) if bad else 0.0
    errors = re.search(
        r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", text
    )
    found["errors"] = sum(map(float, errors.groups())) if errors else 0.0
    return found


def render(found: dict[str, dict[str, dict[str, float]]]) -> str:
    """Return Markdown with a table of the servers for each row."""
    parts = []
    for row, servers in found.items():
        lines = [
            f"## {row}",
            "",
            "| server | requests/s | CPU per request | p50 | p99 | errors |",
            "| --- | ---: | ---: | ---: | ---: | ---: |",
        ]
        for name, figures in servers.items():
            if "note" in figures:
                lines.append(f"| {name} | {figures['note']} | | | | |")
                continue
            each = figures["cpu"] / max(figures["requests"], 1) * 1e6
            lines.append(
                f"| {name} | {figures['rate']:,.0f} | {each:.1f} us | {figures['p50'] * 1e3:.2f} ms"
                f" | {figures['p99'] * 1e3:.2f} ms | {figures['bad'] + figures['errors']:.0f} |"
            )
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.web", description=__doc__)
    parser.add_argument("--only", action="append", choices=ROWS, help="a row, may be repeated")
    parser.add_argument("--server", action="append", help="who takes part, may be repeated")
    parser.add_argument("--seconds", type=int, default=5, help="of each sample (default 5)")
    parser.add_argument("--repeat", type=int, default=3, help="samples of each (default 3)")
    parser.add_argument("--output", type=Path, default=Path(__file__).parents[1] / "results")
    options = parser.parse_args()
    present = versions()
    names = options.server or list(present)
    found: dict[str, dict[str, dict[str, float]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        certificate = trustme.CA().issue_cert("localhost", "127.0.0.1")
        tls = (f"{folder}/cert.pem", f"{folder}/key.pem")
        certificate.cert_chain_pems[0].write_to_path(tls[0])
        certificate.private_key_pem.write_to_path(tls[1])
        for row in options.only or ROWS:
            found[row] = samples(row, names, options, tls)
    facts = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        **describe(sys.executable),
        "versions": ", ".join(f"{name} {text}" for name, text in present.items()),
        "settings": f"{options.repeat} x {options.seconds} s, medians; wrk with one thread",
    }
    text = "# Web servers\n\n" + "\n".join(f"- {name}: {value}" for name, value in facts.items())
    text += "\n\n" + render(found) + "\n"
    print(text)
    keep(options.output, facts, found, text)
    return 0


def samples(row: str, names: list[str], options: argparse.Namespace, tls: tuple[str, str]) -> dict:
    """Return the medians of every server in one row; the servers take turns."""
    taken: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    notes: dict[str, dict] = {}
    for _ in range(options.repeat):
        for name in names:
            try:
                taken[name].append(measure(row, name, options.seconds, tls))
            except LookupError:
                notes[name] = {"note": "-"}
            except (TimeoutError, subprocess.CalledProcessError) as exc:
                notes[name] = {"note": f"failed: {type(exc).__name__}"}
            time.sleep(0.2)
    return {
        name: {key: median(sample[key] for sample in found) for key in found[0]}
        if found
        else notes[name]
        for name, found in taken.items()
    }


def keep(folder: Path, facts: dict, found: dict, text: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    stem = folder / f"{facts['date'][:10]}-web-cpython-{facts['python'].split()[0]}"
    stem.with_name(stem.name + ".md").write_text(text)
    stem.with_name(stem.name + ".json").write_text(
        json.dumps({"facts": facts, "rows": found}, indent=1) + "\n"
    )
    try:
        from .plot import draw
    except ImportError:
        print("no plot: matplotlib is not installed", file=sys.stderr)
    else:
        draw(found, facts["date"][:10], stem.with_name(stem.name + ".png"))


if __name__ == "__main__":
    sys.exit(main())
