"""asyncio and uvloop: the same coroutines run on either event loop."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from functools import partial
from importlib import import_module

from . import Announce, Contestant, nothing, package_version

Coroutine = Callable[[int], Awaitable[object]]


def load(package: str, variant: str) -> Contestant:
    runner = asyncio.Runner(loop_factory=import_module(package).new_event_loop)
    calls = {name: partial(_run, runner, call) for name, call in _CALLS.items()}
    serve = _serve_protocol if variant == "protocol" else _serve_streams
    return Contestant(
        package_version(package),
        {} if variant else calls,
        lambda announce, certificate: runner.run(serve(announce, _tls(certificate))),
    )


def _tls(certificate: str | None) -> ssl.SSLContext | None:
    if certificate is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


def _run(runner: asyncio.Runner, call: Coroutine, count: int) -> object:
    async def main() -> object:
        return await call(count)

    return runner.run(main())


async def _nothing() -> None:
    pass


async def _spawn_join(count: int) -> None:
    for _ in range(count):
        await asyncio.create_task(_nothing())


async def _sleep0(count: int) -> None:
    async def sleeper() -> None:
        for _ in range(count // 2):
            await asyncio.sleep(0)

    await asyncio.gather(sleeper(), sleeper())


async def _timeout(count: int) -> None:
    for _ in range(count):
        async with asyncio.timeout(10):
            pass


async def _group(count: int) -> None:
    for _ in range(count):
        async with asyncio.TaskGroup():
            pass


async def _group_spawn(count: int) -> None:
    for _ in range(count // 100):
        async with asyncio.TaskGroup() as group:
            for _ in range(100):
                group.create_task(_nothing())


async def _semaphore(count: int) -> None:
    semaphore = asyncio.Semaphore(1)
    for _ in range(count):
        await semaphore.acquire()
        semaphore.release()


async def _queue(count: int) -> None:
    queue: asyncio.Queue[int] = asyncio.Queue(1)

    async def produce() -> None:
        for item in range(count):
            await queue.put(item)

    async def consume() -> None:
        for _ in range(count):
            await queue.get()

    await asyncio.gather(produce(), consume())


async def _pool_map(count: int) -> None:
    bound = asyncio.Semaphore(10)

    async def one(item: int) -> None:
        async with bound:
            nothing(item)

    await asyncio.gather(*map(one, range(count)))


async def _threadpool(count: int) -> None:
    for _ in range(count):
        await asyncio.to_thread(nothing)


async def _sleepers(count: int) -> object:
    started = 0

    async def sleeper() -> None:
        nonlocal started
        started += 1
        await asyncio.sleep(3600)

    tasks = [asyncio.create_task(sleeper()) for _ in range(count)]
    await asyncio.sleep(0)
    if started != count:
        raise RuntimeError(f"only {started} of {count} sleepers run after one turn")
    return tasks


async def _serve_streams(announce: Announce, tls: ssl.SSLContext | None) -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(4096):
            writer.write(data)
            await writer.drain()
        writer.close()

    await _serve(await asyncio.start_server(echo, "127.0.0.1", 0, ssl=tls), announce)


class _Echo(asyncio.Protocol):
    transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


async def _serve_protocol(announce: Announce, tls: ssl.SSLContext | None) -> None:
    loop = asyncio.get_running_loop()
    await _serve(await loop.create_server(_Echo, "127.0.0.1", 0, ssl=tls), announce)


async def _serve(server: asyncio.Server, announce: Announce) -> None:
    announce(server.sockets[0].getsockname()[1])
    await server.serve_forever()


_CALLS: dict[str, Coroutine] = {
    "spawn_join": _spawn_join,
    "sleep0": _sleep0,
    "timeout": _timeout,
    "scope": _timeout,
    "group": _group,
    "group_spawn": _group_spawn,
    "semaphore": _semaphore,
    "queue": _queue,
    "pool_map": _pool_map,
    "threadpool": _threadpool,
    "sleepers": _sleepers,
}
