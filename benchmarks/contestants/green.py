"""treadle and gevent: both run the same code, since they share an API."""

from __future__ import annotations

from functools import partial
from importlib import import_module
from typing import Any

from . import Announce, Contestant, nothing, package_version


def load(package: str, _variant: str) -> Contestant:
    calls = {name: partial(call, package) for name, call in _CALLS.items()}
    return Contestant(package_version(package), calls, partial(_serve_echo, package))


def _part(package: str, name: str) -> Any:
    # Imported by the first call, which is not timed; later calls only look into sys.modules.
    return import_module(f"{package}.{name}")


def _spawn_join(package: str, count: int) -> None:
    spawn = import_module(package).spawn
    for _ in range(count):
        spawn(nothing).join()


def _sleep0(package: str, count: int) -> None:
    top = import_module(package)
    sleep = top.sleep

    def sleeper() -> None:
        for _ in range(count // 2):
            sleep(0)

    top.joinall([top.spawn(sleeper), top.spawn(sleeper)])


def _timeout(package: str, count: int) -> None:
    Timeout = import_module(package).Timeout
    for _ in range(count):
        timeout = Timeout(10)
        timeout.start()
        timeout.cancel()


def _scope(package: str, count: int) -> None:
    move_on_after = import_module(package).move_on_after
    for _ in range(count):
        with move_on_after(10):
            pass


def _group(package: str, count: int) -> None:
    TaskGroup = import_module(package).TaskGroup
    for _ in range(count):
        with TaskGroup():
            pass


def _group_spawn(package: str, count: int) -> None:
    TaskGroup = import_module(package).TaskGroup
    for _ in range(count // 100):
        with TaskGroup() as group:
            for _ in range(100):
                group.spawn(nothing)


def _semaphore(package: str, count: int) -> None:
    semaphore = _part(package, "lock").Semaphore(1)
    for _ in range(count):
        semaphore.acquire()
        semaphore.release()


def _queue(package: str, count: int) -> None:
    top = import_module(package)
    queue = _part(package, "queue").Queue(1)

    def produce() -> None:
        for item in range(count):
            queue.put(item)

    def consume() -> None:
        for _ in range(count):
            queue.get()

    top.joinall([top.spawn(produce), top.spawn(consume)])


def _pool_map(package: str, count: int) -> None:
    _part(package, "pool").Pool(10).map(nothing, range(count))


def _threadpool(package: str, count: int) -> None:
    pool = _part(package, "threadpool").ThreadPool(10)
    for _ in range(count):
        pool.apply(nothing)
    pool.kill()


def _sleepers(package: str, count: int) -> object:
    top = import_module(package)
    sleep = top.sleep
    started = 0

    def sleeper() -> None:
        nonlocal started
        started += 1
        sleep(3600)

    greenlets = [top.spawn(sleeper) for _ in range(count)]
    sleep(0)
    if started != count:
        raise RuntimeError(f"only {started} of {count} sleepers run after one turn")
    return greenlets


def _serve_echo(package: str, announce: Announce, certificate: str | None) -> None:
    tls: Any = None
    if certificate is not None:
        ssl = _part(package, "ssl")
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(certificate)

    def echo(client: Any, _address: object) -> None:
        if tls is not None:
            client = tls.wrap_socket(client, server_side=True)
        while data := client.recv(4096):
            client.sendall(data)

    server = _part(package, "server").StreamServer(("127.0.0.1", 0), echo)
    server.start()
    announce(server.server_port)
    server.serve_forever()


_CALLS = {
    "spawn_join": _spawn_join,
    "sleep0": _sleep0,
    "timeout": _timeout,
    "scope": _scope,
    "group": _group,
    "group_spawn": _group_spawn,
    "semaphore": _semaphore,
    "queue": _queue,
    "pool_map": _pool_map,
    "threadpool": _threadpool,
    "sleepers": _sleepers,
}
