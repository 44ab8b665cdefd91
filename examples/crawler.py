"""Fetch the URLs of the command line concurrently with urllib. Run it with `treadle run`."""

import sys
from urllib.request import urlopen

import treadle


def fetch(url: str) -> None:
    with urlopen(url) as response:
        print(f"{len(response.read())} bytes from {url}")


treadle.joinall([treadle.spawn(fetch, url) for url in sys.argv[1:]], raise_error=True)
