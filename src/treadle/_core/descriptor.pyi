from treadle._core.poller import Pollable

PIPE_BUF: int

class Descriptor(Pollable):
    unref: bool

def wait_for(fd: int, event: int, timeout: float | None = None) -> bool: ...
def await_ready(fd: object, event: int) -> None: ...
def cancel_waits(fd: int) -> None: ...
