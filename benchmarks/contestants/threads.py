"""Native threads of the standard library."""

from __future__ import annotations

import queue
import ssl
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from socket import create_server, socket

from . import Announce, Call, Contestant, nothing, package_version


def load(_package: str, _variant: str) -> Contestant:
    return Contestant(package_version("threading"), _CALLS, _serve_echo)


def _side_by_side(*targets: Callable[[], None]) -> None:
    threads = [threading.Thread(target=target) for target in targets]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _spawn_join(count: int) -> None:
    for _ in range(count):
        thread = threading.Thread(target=nothing)
        thread.start()
        thread.join()


def _sleep0(count: int) -> None:
    def sleeper() -> None:
        for _ in range(count // 2):
            time.sleep(0)

    _side_by_side(sleeper, sleeper)


def _semaphore(count: int) -> None:
    semaphore = threading.Semaphore(1)
    for _ in range(count):
        semaphore.acquire()
        semaphore.release()


def _queue(count: int) -> None:
    items: queue.Queue[int] = queue.Queue(1)

    def produce() -> None:
        for item in range(count):
            items.put(item)

    def consume() -> None:
        for _ in range(count):
            items.get()

    _side_by_side(produce, consume)


def _pool_map(count: int) -> None:
    with ThreadPoolExecutor(10) as pool:
        for _ in pool.map(nothing, range(count)):
            pass


def _threadpool(count: int) -> None:
    with ThreadPoolExecutor(10) as pool:
        for _ in range(count):
            pool.submit(nothing).result()


def _serve_echo(announce: Announce, certificate: str | None) -> None:
    tls: ssl.SSLContext | None = None
    if certificate is not None:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(certificate)

    def echo(client: socket) -> None:
        if tls is not None:
            client = tls.wrap_socket(client, server_side=True)
        with client:
            while data := client.recv(4096):
                client.sendall(data)

    listener = create_server(("127.0.0.1", 0), backlog=256)
    announce(listener.getsockname()[1])
    while True:
        client, _address = listener.accept()
        threading.Thread(target=echo, args=(client,), daemon=True).start()


_CALLS: dict[str, Call] = {
    "spawn_join": _spawn_join,
    "sleep0": _sleep0,
    "semaphore": _semaphore,
    "queue": _queue,
    "pool_map": _pool_map,
    "threadpool": _threadpool,
}
