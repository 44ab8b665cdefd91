"""Waiting for descriptors and sockets: both pollers behave alike."""

from __future__ import annotations

import re
import sys

import pytest

CASES = r"""
import errno, os, signal, socket as stdlib, sys, threading, time
from treadle._core import pollers
pollers.default_name = sys.argv[1]
import treadle, treadle.os
from treadle import socket

def joined(*greenlets):
    for greenlet in greenlets:
        greenlet.join(20)
        assert greenlet.ready(), greenlet
    return [greenlet.value for greenlet in greenlets]

def readers_in_order():
    a, b = socket.socketpair()
    got = []
    def read(name):
        got.append((name, b.recv(1)))
    readers = [treadle.spawn(read, i) for i in range(3)]
    treadle.sleep(0.01)
    for _ in range(3):
        a.send(b"x")
        treadle.sleep(0.01)
    joined(*readers)
    assert got == [(0, b"x"), (1, b"x"), (2, b"x")], got

def one_message_wakes_all_it_can_serve():
    a, b = socket.socketpair()
    readers = [treadle.spawn(b.recv, 1) for _ in range(3)]
    treadle.sleep(0.01)
    a.send(b"abc")
    assert joined(*readers) == [b"a", b"b", b"c"]

def killed_reader_passes_on():
    a, b = socket.socketpair()
    first, second = treadle.spawn(b.recv, 9), treadle.spawn(b.recv, 9)
    treadle.sleep(0.01)
    a.send(b"abc")
    first.kill(block=False)
    assert joined(second) == [b"abc"]

def end_of_stream_after_a_short_read():
    listener = socket.create_server(("127.0.0.1", 0))
    client = socket.create_connection(listener.getsockname())
    server, _ = listener.accept()
    reader = treadle.spawn(lambda: [server.recv(100), server.recv(100)])
    treadle.sleep(0.01)
    client.sendall(b"abc")
    client.close()
    assert joined(reader) == [[b"abc", b""]]

def close_wakes_with_error():
    a, b = socket.socketpair()
    def read():
        try:
            b.recv(1)
        except OSError as exc:
            return exc.errno
    readers = [treadle.spawn(read) for _ in range(2)]
    treadle.sleep(0.01)
    b.close()
    assert joined(*readers) == [errno.EBADF] * 2

def timeout():
    a, b = socket.socketpair()
    b.settimeout(0.02)
    started = time.monotonic()
    try:
        b.recv(1)
    except TimeoutError as exc:
        assert str(exc) == "timed out"
    else:
        raise AssertionError
    assert 0.01 < time.monotonic() - started < 5
    a.send(b"x")
    assert b.recv(1) == b"x"

def foreign_readers_and_writers():
    a, b = stdlib.socketpair()
    waits = [treadle.spawn(socket.wait_read, a.fileno()),
             treadle.spawn(socket.wait_read, a.fileno()),
             treadle.spawn(socket.wait_write, a.fileno())]
    joined(waits[2])
    assert not waits[0].ready() and not waits[1].ready()
    b.send(b"x")
    joined(*waits)

def foreign_wait_beside_a_socket_of_ours():
    a, b = socket.socketpair()
    while True:
        try:
            a.setblocking(False)
            a.send(b"x" * 65536)
        except BlockingIOError:
            break
    a.setblocking(True)
    writer = treadle.spawn(a.sendall, b"end")
    treadle.sleep(0.01)
    reader = treadle.spawn(socket.wait_read, a.fileno())
    treadle.sleep(0.01)
    b.settimeout(30)
    data = b""
    while not data.endswith(b"end"):
        data = data[-9:] + b.recv(1 << 20)
    joined(writer)
    b.send(b"x")
    joined(reader)

def number_used_again():
    a, b = stdlib.socketpair()
    def wait(fd):
        try:
            socket.wait_read(fd)
        except OSError as exc:
            return exc.errno
    old = treadle.spawn(wait, a.fileno())
    treadle.sleep(0.01)
    fd = a.fileno()
    c, d = stdlib.socketpair()
    os.close(a.detach())
    os.dup2(c.fileno(), fd)
    new = treadle.spawn(wait, fd)
    treadle.sleep(0.01)
    d.send(b"x")
    assert joined(new) == [None]
    if pollers.default_name == "epoll":  # a selector cannot know
        assert joined(old) == [errno.EBADF]
    os.close(fd)

def kill_never_loses_data():
    a, b = socket.socketpair()
    seen = []
    def read():
        while True:
            seen.append(b.recv(1))
    sent = 0
    for _ in range(40):
        reader = treadle.spawn(read)
        a.sendall(b"x" * 200)
        sent += 200
        treadle.sleep(0)
        reader.kill()
    b.settimeout(0)
    while True:
        try:
            seen.append(b.recv(1))
        except BlockingIOError:
            break
    assert len(seen) == sent, (len(seen), sent)

def callback_in_the_hub_is_not_budgeted():
    a, b = socket.socketpair()
    done = []
    def callback():
        for _ in range(300):
            a.sendall(b"x")
            done.append(b.recv(1))
    treadle.get_hub().loop.run_callback(callback)
    treadle.sleep(0.01)
    assert done == [b"x"] * 300, len(done)

def descriptors_passed_with_data():
    a, b = socket.socketpair()
    reader = treadle.spawn(lambda: [b.recv(100), b.recv(100)])
    treadle.sleep(0.01)
    socket.send_fds(a, [b"first"], [0])
    a.send(b"second")
    assert joined(reader) == [[b"first", b"second"]]

def urgent_data():
    listener = socket.create_server(("127.0.0.1", 0))
    client = socket.create_connection(listener.getsockname())
    server, _ = listener.accept()
    server.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, 1)
    def read():
        data = b""
        while len(data) < 7:
            data += server.recv(100)
        return data
    reader = treadle.spawn(read)
    treadle.sleep(0.01)
    client.sendall(b"abc")
    client.send(b"U", socket.MSG_OOB)
    client.sendall(b"def")
    assert joined(reader) == [b"abcUdef"]

def heartbeat_beside_an_always_ready_reader():
    a, b = socket.socketpair()
    stop = []
    def feed():
        while not stop:
            a.sendall(b"x" * 1000)
    def read():
        while not stop:
            b.recv(100)
    busy = [treadle.spawn(feed), treadle.spawn(read)]
    beats = []
    for _ in range(20):
        treadle.sleep(0.01)
        beats.append(time.process_time())  # without what other processes take
    stop.append(1)
    treadle.sleep(0)
    for greenlet in busy:
        greenlet.kill()
    gaps = sorted(later - sooner for sooner, later in zip(beats, beats[1:]))
    assert gaps[len(gaps) // 2] < 0.025, gaps

def error_number(call, *args):
    try:
        return call(*args)
    except OSError as exc:
        return exc.errno

def a_socket_goes_on_with_the_file_that_replaces_its_own():
    a, b = socket.socketpair()
    c, d = socket.socketpair()
    first = treadle.spawn(a.recv, 10)
    treadle.sleep(0.01)
    b.send(b"1")
    assert joined(first) == [b"1"]
    waiter = treadle.spawn(error_number, a.recv, 10)
    elsewhere = []
    thread = threading.Thread(target=lambda: elsewhere.append(error_number(a.recv, 10)))
    if pollers.default_name == "epoll":
        thread.start()
    treadle.sleep(0.05)
    os.dup(a.fileno())  # so that the file that is replaced stays open
    treadle.os.dup2(c.fileno(), a.fileno())
    assert joined(waiter) == [errno.EBADF]
    if pollers.default_name == "epoll":
        thread.join(20)
        assert elsewhere == [errno.EBADF], elsewhere
    second = treadle.spawn(a.recv, 10)
    treadle.sleep(0.01)
    b.send(b"no")
    d.send(b"2")
    assert joined(second) == [b"2"]

def who_waits_for_what_is_closed_in_a_range_wakes():
    a, b = socket.socketpair()
    reader, writer = os.pipe()
    waiters = [
        treadle.spawn(error_number, a.recv, 1),
        treadle.spawn(error_number, socket.wait_read, reader),
    ]
    treadle.sleep(0.01)
    treadle.os.closerange(3, 256)
    assert joined(*waiters) == [errno.EBADF] * 2
    assert error_number(os.fstat, a.fileno()) == errno.EBADF
    hub_goes_on()

def a_daemon_closes_every_descriptor_and_goes_on():
    treadle.get_hub().threadpool.apply(abs, (-1,))
    pid = treadle.os.fork()
    if pid == 0:
        for fd in range(3, 64):
            assert error_number(treadle.os.close, fd) in (None, errno.EBADF)
        treadle.os.closerange(3, 256)
        hub_goes_on()
        os._exit(7)
    assert os.waitstatus_to_exitcode(treadle.os.waitpid(pid, 0)[1]) == 7

def the_program_takes_a_number_that_the_hub_uses():
    hub_goes_on()
    if pollers.default_name == "epoll":
        for fd in range(3, 20):
            treadle.os.dup2(0, fd)
            hub_goes_on()

def hub_goes_on():
    treadle.sleep(0.001)
    assert treadle.get_hub().threadpool.apply(abs, (-1,)) == 1
    a, b = socket.socketpair()
    reader = treadle.spawn(a.recv, 1)
    treadle.sleep(0)
    b.send(b"x")
    assert joined(reader) == [b"x"]
    seen = []
    before = signal.signal(signal.SIGALRM, lambda *_: seen.append(1))
    signal.setitimer(signal.ITIMER_REAL, 0.01)
    treadle.sleep(0.03)
    signal.signal(signal.SIGALRM, before)
    assert seen == [1]

globals()[sys.argv[2]]()
"""
NAMES = re.findall(r"^def ((?!hub_goes_on)\w+)\(\):$", CASES, re.MULTILINE)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("poller", ["epoll", "select"] if sys.platform == "linux" else ["select"])
def test_conduct(fresh, poller: str, name: str) -> None:
    source = "import warnings; warnings.simplefilter('ignore', ResourceWarning)\n" + CASES
    assert fresh(source, poller, name, timeout=30) == ""
