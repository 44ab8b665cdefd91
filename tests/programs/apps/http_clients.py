"""requests, urllib3 or httpx (the last argument), with connections that stay open."""

import sys
from collections.abc import Callable
from typing import Any

import crowd  # first, because it patches
import httpx
import requests
import urllib3
from requests.adapters import HTTPAdapter


def with_requests() -> Callable[[str], Any]:
    session = requests.Session()
    session.mount("http://", HTTPAdapter(pool_maxsize=crowd.SIZE))
    return lambda url: session.get(url).json()


def with_urllib3() -> Callable[[str], Any]:
    pool = urllib3.PoolManager(maxsize=crowd.SIZE)
    return lambda url: pool.request("GET", url).json()


def with_httpx() -> Callable[[str], Any]:
    client = httpx.Client(timeout=30)
    return lambda url: client.get(url).json()


get = {"requests": with_requests, "urllib3": with_urllib3, "httpx": with_httpx}[sys.argv[5]]()


def fetch(number: int, delay: float = 0) -> int:
    return int(get(f"{crowd.URL}/{number}?delay={delay}")["path"].removeprefix("/"))


crowd.main(lambda number: fetch(number, 0.2), fetch)
