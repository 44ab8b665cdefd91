"""How much a client may ask of a server."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Limits"]


@dataclass(frozen=True, slots=True)
class Limits:
    """Sizes in bytes, times in seconds; None is no limit."""

    #: The longest request line's target.
    request_line: int = 8190
    #: The most headers of a request, and of its trailers.
    header_count: int = 100
    #: The longest header block, names and values and what stands between them.
    header_size: int = 65536
    #: The longest trailers of a body in chunks, and the longest extension of one of its chunks.
    trailer_size: int = 8190
    #: The longest body.
    body_size: int | None = 128 << 20
    #: From the first byte of a request to the end of its header block.
    header_time: float | None = 10.0
    #: All the waiting for a body; what the application takes meanwhile does not count.
    body_time: float | None = 60.0
    #: From one request's end to the next one's first byte.
    idle_time: float | None = 30.0
    #: For the client to take up to 256 KiB of an answer.
    write_time: float | None = 60.0
    #: The longest message of a WebSocket; of text, in characters.
    message_size: int | None = 16 << 20
    #: After so long without a word from its client a WebSocket that receives pings it; after as
    #: long again it is given up.
    ping_time: float | None = 20.0
    #: Requests at once on one connection of HTTP/2; more are refused.
    streams: int = 100
    #: Connections in all; more are left in the system's queue until one ends.
    connections: int | None = 20_000
    #: Connections from one address; more are refused with 503. Unix sockets have no address.
    connections_per_address: int | None = 5_000
    #: Requests in the application at once; more wait in turn.
    requests: int | None = None
    #: Requests that wait in turn; more are refused with 503.
    queue: int | None = 1_000


#: As gevent's server: no bound on sizes of bodies, on times, on connections.
UNBOUNDED = Limits(
    body_size=None,
    header_time=None,
    body_time=None,
    idle_time=None,
    write_time=None,
    message_size=None,
    ping_time=None,
    connections=None,
    connections_per_address=None,
    queue=None,
)
