"""Limits on what clients may ask of a server."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Limits"]


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of a server: sizes in bytes, times in seconds; None means no limit."""

    #: The longest target of a request line.
    request_line: int = 8190
    #: The most headers of a request, and of its trailers.
    header_count: int = 100
    #: The longest header block, with names, values and separators.
    header_size: int = 65536
    #: The longest trailers of a chunked body, and the longest extension of one chunk.
    trailer_size: int = 8190
    #: The longest body.
    body_size: int | None = 128 << 20
    #: From the first byte of a request to the end of its header block.
    header_time: float | None = 10.0
    #: All the waiting for a body; the time that the application itself takes does not count.
    body_time: float | None = 60.0
    #: From the end of one request to the first byte of the next.
    idle_time: float | None = 30.0
    #: For the client to accept up to 256 KiB of a response.
    write_time: float | None = 60.0
    #: The longest message of a WebSocket; of text, in characters.
    message_size: int | None = 16 << 20
    #: How long a client may be silent before a receiving WebSocket sends it a ping. If the client
    #: is silent for the same time again, the WebSocket is closed.
    ping_time: float | None = 20.0
    #: Concurrent requests on one HTTP/2 connection; more are refused.
    streams: int = 100
    #: Connections in total; more stay in the system's queue until one ends.
    connections: int | None = 20_000
    #: Connections from one address; more are refused with 503. Unix sockets have no address.
    connections_per_address: int | None = 5_000
    #: Concurrent requests in the application; more wait in a queue.
    requests: int | None = None
    #: Requests that wait in that queue; more are refused with 503.
    queue: int | None = 1_000


#: The limits of gevent's server: none on the size of bodies, on times, or on connections.
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
