"""``treadle demo``: read a slow web site with ordinary blocking code, one by one and all at once.

The site and its readers share one process and one thread.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from urllib.request import urlopen

import treadle
from treadle import monkey
from treadle.server import StreamServer

#: How many pages are fetched one by one: enough to see how long all would take.
FEW = 5
BAR_WIDTH = 40


class SlowSite:
    """An HTTP site on a free port of 127.0.0.1. Each page takes *delay* seconds."""

    def __init__(self, delay: float) -> None:
        self.delay = delay
        self.server: StreamServer = StreamServer(("127.0.0.1", 0), self.answer, backlog=4096)

    def answer(self, connection: object, address: object) -> None:
        with connection, connection.makefile("rb") as request:  # type: ignore[attr-defined]
            path = request.readline().split(b" ")[1]
            while request.readline().strip():
                pass
            time.sleep(self.delay)
            body = b"<h1>Page %s</h1>\n" % path.strip(b"/")
            head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % len(body)
            connection.sendall(head + body)  # type: ignore[attr-defined]

    def __enter__(self) -> str:
        self.server.start()
        return f"http://127.0.0.1:{self.server.server_port}"

    def __exit__(self, *exc_info: object) -> None:
        self.server.stop()


class Progress:
    """A progress bar on standard error; silent if that is no terminal."""

    def __init__(self, label: str, total: int) -> None:
        self.label: str = label
        self.total: int = total
        self.done: int = 0
        self.shown: bool = sys.stderr is not None and sys.stderr.isatty()

    def step(self) -> None:
        """Count one more page as done, and update the bar."""
        self.done += 1
        if self.shown:
            full = BAR_WIDTH * self.done // self.total
            bar = "#" * full + "." * (BAR_WIDTH - full)
            end = "\n" if self.done == self.total else ""
            print(f"\r{self.label} [{bar}] {self.done}/{self.total}", end=end, file=sys.stderr)


def fetch(url: str, progress: Progress) -> int:
    """Read one page with ordinary blocking code; return its length in bytes."""
    with urlopen(url, timeout=60) as response:
        size = len(response.read())
    progress.step()
    return size


def timed(work: Callable[[], list[int]]) -> tuple[float, int]:
    """Call *work*; return how many seconds it took and the sum of the sizes it returned."""
    started = time.monotonic()
    sizes = work()
    return time.monotonic() - started, sum(sizes)


def run_demo(pages: int, delay: float) -> int:
    """Read *pages* pages both ways and print the times; return the exit status.

    Each page takes *delay* seconds.
    """
    if pages < 1 or delay < 0:
        print("treadle demo: --pages must be 1 or more, --delay 0 or more", file=sys.stderr)
        return 2
    monkey.patch_all()
    few = min(FEW, pages)
    with SlowSite(delay) as site:
        urls = [f"{site}/{number}" for number in range(pages)]
        bar = Progress("one by one ", few)
        slow, _ = timed(lambda: [fetch(url, bar) for url in urls[:few]])
        everything = Progress("all at once", pages)

        def all_at_once() -> list[int]:
            readers = [treadle.spawn(fetch, url, everything) for url in urls]
            return [reader.get() for reader in readers]

        fast, size = timed(all_at_once)
    print(f"{pages} pages, each {delay:g} s slow, read by urllib.request:")
    print(f"  one by one : {few} pages in {slow:.2f} s ({slow / few * pages:.0f} s for all)")
    print(f"  all at once: {pages} pages, {size} bytes, in {fast:.2f} s")
    print(f"  {slow / few * pages / fast:.0f} times as fast, on one thread")
    return 0
