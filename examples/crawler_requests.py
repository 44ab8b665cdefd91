"""Fetch the URLs of the command line concurrently with requests. Run it with `treadle run`."""

import sys

import requests

import treadle


def fetch(url: str) -> None:
    response = requests.get(url, timeout=30)
    if response.status_code == 200:
        print(f"{len(response.content)} bytes from {url}")


treadle.joinall([treadle.spawn(fetch, url) for url in sys.argv[1:]], raise_error=True)
