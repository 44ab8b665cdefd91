"""asyncio inside greenlets, after patching: each test runs in its own process."""

from __future__ import annotations

from collections.abc import Callable

import pytest

PATCHED = "from treadle import monkey; monkey.patch_all()\nimport time, treadle\n"
IMPORTS = {
    "imported after": PATCHED + "import asyncio\n",
    "imported before": "import asyncio\n" + PATCHED,
}


@pytest.fixture(params=IMPORTS)
def run(request: pytest.FixtureRequest, fresh: Callable[..., str]) -> Callable[[str], str]:
    return lambda source: fresh(IMPORTS[request.param] + source)


def test_fifty_loops_at_once(run: Callable[[str], str]) -> None:
    source = """
def no_loop():
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return True

async def main(number):
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    for _ in range(4):
        await asyncio.sleep(0.05)
        assert asyncio.get_running_loop() is loop and asyncio.current_task() is task
    return number

def watch():
    for _ in range(30):
        treadle.sleep(0.005)
        assert no_loop()
    return True

begun = time.monotonic()
watcher = treadle.spawn(watch)
greenlets = [treadle.spawn(asyncio.run, main(number)) for number in range(50)]
assert [greenlet.get() for greenlet in greenlets] == list(range(50))
assert watcher.get() and no_loop()
print(time.monotonic() - begun < 5)  # 10 s if one runs after the other
"""
    assert run(source) == "True\n"


def test_blocking_calls_in_a_task_keep_its_loop(run: Callable[[str], str]) -> None:
    source = """
async def main():
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    other = asyncio.create_task(asyncio.sleep(0))
    time.sleep(0.02)
    assert asyncio.get_running_loop() is loop and asyncio.current_task() is task
    await other

treadle.joinall([treadle.spawn(asyncio.run, main()) for _ in range(10)], raise_error=True)
print("done")
"""
    assert run(source) == "done\n"


def test_to_thread_answers_promptly(run: Callable[[str], str]) -> None:
    source = """
ended = 0.0

def job():
    global ended
    time.sleep(0.1)
    ended = time.monotonic()
    return 7

async def main():
    assert await asyncio.to_thread(job) == 7
    return time.monotonic() - ended

# The fastest of five: a busy machine delays some, and a loop that is not woken delays each.
late = [min(treadle.spawn(asyncio.run, main()).get() for _ in range(5))]
late.append(min(asyncio.run(main()) for _ in range(5)))
print(max(late) < 0.02)
"""
    assert run(source) == "True\n"


def test_streams_subprocesses_and_threads(run: Callable[[str], str]) -> None:
    source = """
async def serve(reader, writer):
    writer.write((await reader.readline()).upper())
    await writer.drain()
    writer.close()

async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    writer.write(b"hello\\n")
    answer = await reader.readline()
    writer.close()
    server.close()
    child = await asyncio.create_subprocess_exec("echo", "child", stdout=asyncio.subprocess.PIPE)
    output, _ = await child.communicate()
    loop = asyncio.get_running_loop()
    treadle.spawn(loop.call_soon_threadsafe, (event := asyncio.Event()).set)
    await asyncio.wait_for(event.wait(), 5)
    return answer + output

print(asyncio.run(main()), treadle.spawn(asyncio.run, main()).get())
"""
    assert run(source) == "b'HELLO\\nchild\\n' b'HELLO\\nchild\\n'\n"


def test_a_loop_that_never_waits_lets_others_run(run: Callable[[str], str]) -> None:
    source = """
import selectors, threading
class Impatient(selectors.SelectSelector):
    def select(self, timeout=None):
        return []
done = threading.Event()
threading.Timer(0.02, done.set).start()
async def main():
    while not done.is_set():
        await asyncio.sleep(0)
for selector in (Impatient(), selectors.DefaultSelector()):
    loop = asyncio.SelectorEventLoop(selector)
    loop.run_until_complete(main())
    loop.close()
    done.clear()
    threading.Timer(0.02, done.set).start()
print(done.wait(5))
"""
    assert run(source) == "True\n"


def test_a_loop_that_two_greenlets_call_running(run: Callable[[str], str]) -> None:
    source = """
loop = asyncio.new_event_loop()
def with_loop(waits):
    asyncio._set_running_loop(loop)
    for _ in range(waits):
        time.sleep(0.002)
        assert asyncio.get_running_loop() is loop
    asyncio._set_running_loop(None)

greenlets = [treadle.spawn(with_loop, waits) for waits in (1, 5)]
for _ in range(8):
    time.sleep(0.001)
    assert asyncio._get_running_loop() is None
treadle.joinall(greenlets, raise_error=True)
loop.close()
print("apart")
"""
    assert run(source) == "apart\n"
