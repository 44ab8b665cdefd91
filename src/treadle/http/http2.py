"""HTTP/2 connections: h2 implements the protocol, and a greenlet answers each stream."""

from __future__ import annotations

from contextlib import suppress
from errno import ECONNABORTED, ECONNRESET, ETIMEDOUT
from typing import Any

from treadle._core.clock import seconds as monotonic
from treadle._core.turns import Turn
from treadle.event import Event
from treadle.greenlet import getcurrent, kill
from treadle.http.ending import LOOK, Patience, end, end_reading, untaken
from treadle.http.stream import Stream
from treadle.hub import sleep
from treadle.pool import Group
from treadle.timeout import Timeout

try:
    from h2 import events as h2_events
    from h2.config import H2Configuration
    from h2.connection import H2Connection
    from h2.errors import ErrorCodes
    from h2.exceptions import (
        DenialOfServiceError,
        FrameTooLargeError,
        ProtocolError,
        StreamClosedError,
    )
    from h2.frame_buffer import FrameBuffer
    from h2.settings import SettingCodes, Settings
    from hpack.exceptions import HPACKError
    from hyperframe.frame import DataFrame, GoAwayFrame, SettingsFrame
except ImportError as _missing:
    raise ImportError("HTTP/2 needs h2: pip install 'treadle[serve]'") from _missing

__all__ = ["Connection"]

#: The most that is received at once, in bytes.
_CHUNK = 65536
#: The flow-control window of a connection, in bytes: it bounds all bodies together. Each body is
#: also bounded by its stream's window, which is HTTP/2's default until the application reads it.
_CONNECTION_WINDOW = 1 << 24
#: By how many bytes a stream's window grows once the application reads the body.
_READING_WINDOW = 262144
#: The most bytes of a stream to send before a flush, so that other streams have their turn.
_TURN = 65536
#: The most bytes to send within the limit ``write_time``.
_PART = 262144
#: While more bytes than these wait to be sent, nothing is received: requests whose greenlets do
#: not wait for their answers to be sent, such as killed ones, must not pile them up.
_MOST_QUEUED = 1 << 20
#: For so many bytes of bodies sent, a client may send one more frame that is no request. Slow ones
#: give credit in small steps.
_CREDIT = 1024
#: The most bytes of the table in which sent headers are kept, whatever the client allows.
_MOST_TABLE = 65536
#: As the last stream in GOAWAY: all that are on their way.
_ANY_STREAM = (1 << 31) - 1
#: The largest value of a setting (RFC 9113, 6.5.1).
_MOST_SETTING = (1 << 32) - 1


#: How long after its last answer a client may still send credit for it, in seconds.
_SETTLING = 2.0


class _NoMore(BaseException):
    """Thrown into the wait for what the client sends: nothing more is received."""


class _Budget:
    """A rate limit: *burst* times at once, and *rate* times per second in the long run."""

    def __init__(self, burst: int, rate: float) -> None:
        self._burst, self._rate = burst, rate
        self._left, self._at = float(burst), monotonic()

    def spend(self) -> bool:
        """Count one occurrence; return whether it is within the limit."""
        now = monotonic()
        self._left = min(self._burst, self._left + (now - self._at) * self._rate) - 1
        self._at = now
        return self._left >= 0

    def earn(self, times: int) -> None:
        """Allow *times* more occurrences."""
        self._left += times


class _Frames(FrameBuffer):
    """h2's buffer of frames; also refuses an acknowledgement with settings (RFC 9113, 6.5)."""

    def _validate_frame_length(self, length: int) -> None:
        super()._validate_frame_length(length)
        kind, flags = self._data[3:5]
        if length and kind == SettingsFrame.type and flags & 1:
            raise FrameTooLargeError("an acknowledgement is empty")


class _Rules(H2Connection):
    """h2's connection, except that open streams are still answered after the client's GOAWAY.

    RFC 9113, 6.8, requires that. It also counts the frames that are no event, such as those on
    streams that are closed, but not what was on its way when a stream was reset.
    """

    silent = 0
    #: How many bytes the client had credit for on streams that were reset, and has not sent.
    _late = 0

    def __init__(self, config: H2Configuration) -> None:
        super().__init__(config)
        self.incoming_buffer = _Frames(server=True)

    def _receive_frame(self, frame: Any) -> Any:
        try:
            events = super()._receive_frame(frame)
        except ProtocolError as exc:
            if isinstance(exc.__cause__, HPACKError) and not isinstance(exc, DenialOfServiceError):
                exc.error_code = ErrorCodes.COMPRESSION_ERROR  # RFC 9113, 4.3
            raise
        if not events and not self._is_late(frame):
            self.silent += 1
        return events

    def _is_late(self, frame: Any) -> bool:
        size = frame.flow_controlled_length if isinstance(frame, DataFrame) else 0
        if not 0 < size <= self._late:
            return False
        self._late -= size
        return True

    def reset_stream(self, stream_id: int, error_code: ErrorCodes | int = 0) -> None:
        self._late += max(0, self.remote_flow_control_window(stream_id))
        super().reset_stream(stream_id, error_code)

    def _receive_goaway_frame(self, frame: Any) -> Any:
        event = h2_events.ConnectionTerminated()
        return [], [event]

    @property
    def overlong(self) -> bool:
        """Whether the incoming frame is longer than was agreed; h2 would wait for all of it."""
        return len(self.incoming_buffer._data) > self.max_inbound_frame_size + 9


class Connection:
    """Serves the requests of one HTTP/2 connection, each in a greenlet.

    A greenlet of its own sends what the others queue, while there is something. So none of them can
    cut a frame in two, however it ends.
    """

    def __init__(self, sock: Any, address: Any, server: Any, first: bytes = b"") -> None:
        """*first* are bytes that were received already.

        *server* has what :class:`treadle.http.http1.Handler` needs, and ``stream_class``.
        """
        self.socket = sock
        self.client_address = address
        self.server = server
        #: What the environments of all requests have in common; None before the first request.
        self.base_environ: Any = None
        self._limits = server.limits
        self._first = first
        self._streams: dict[int, Stream] = {}
        self._answering = Group()  # the greenlets of the streams
        self._greenlets = Group()  # others of the connection
        #: Held by the greenlet that receives. A child process gets it by a fork.
        self._serving = Turn()
        self._output = bytearray()  # waits to be sent
        self._queued = self._sent = 0  # how many bytes ever were
        self._progress = Event()  # is set when more was sent
        self._writer: Any = None  # the greenlet that sends, if there is one
        self._unread = 0
        self._used_at = monotonic()  # when the last stream ended
        self._warned = False  # the client knows that the connection ends
        self._leaving = False  # no more streams are opened
        self._ender: Any = None  # the greenlet that ends reading
        self._over = False  # reading has ended
        self._reader: Any = None  # the greenlet that waits to receive
        self._no_more: OSError | None = None  # why nothing more is received
        self._lost: OSError | None = None  # why no stream can go on
        self._cut: OSError | None = None  # why nothing at all can be sent
        self._acknowledged = False  # the client knows the settings
        # A client that reads in small steps sends many window updates: sending data allows more.
        self._control = _Budget(burst=2000, rate=50)
        self._resets = _Budget(burst=200, rate=20)
        self._h2 = _Rules(H2Configuration(client_side=False, header_encoding=False))
        limits = self._limits
        header_list = min(2 * (limits.header_size + 32 * limits.header_count), _MOST_SETTING)
        settings: dict[SettingCodes, int] = {
            SettingCodes.MAX_HEADER_LIST_SIZE: header_list,
            # WebSockets over HTTP/2 (RFC 8441) have no socket that a program could take.
            SettingCodes.ENABLE_CONNECT_PROTOCOL: int(server.policy.input_is_body),
        }
        announced = settings | {SettingCodes.MAX_CONCURRENT_STREAMS: limits.streams}
        self._h2.local_settings = Settings(client=False, initial_values=announced)
        self._h2.decoder.max_header_list_size = header_list
        self._h2.initiate_connection()
        # h2 would end the connection of a client that opens too many streams, which it may do as
        # long as it does not know how many are too many: they are refused one by one.
        self._h2.local_settings = Settings(client=False, initial_values=settings)

    @property
    def idle(self) -> bool:
        """Whether no request is being answered."""
        return not self._streams

    @property
    def fresh(self) -> bool:
        """Whether no request has come yet."""
        return not self._h2.highest_inbound_stream_id

    # -- the connection

    def handle(self) -> None:
        """Serve until either end ends the connection, then close it."""
        with self._serving:
            try:
                self._read_all()
                if self._lost is None:
                    self._join()
            except OSError:
                pass  # the client is gone
            except BaseException:
                self._answering.kill(block=False)
                self._greenlets.kill(block=False)
                raise
            finally:
                self._lose(ConnectionResetError(ECONNRESET, "the connection has ended"))
                self._close()
            self._join()

    def _join(self) -> None:
        self._answering.join()
        self._greenlets.join()

    def _read_all(self) -> None:
        self.socket.settimeout(None)  # its users have limits of their own
        self._h2.increment_flow_control_window(_CONNECTION_WINDOW - 65535)
        with suppress(_NoMore):
            self._flush()
            data = self._first or self._read()
            while data and self._take(data):
                data = self._read()
        if self.server.stopping:
            self.stop()
        self._no_more = ConnectionResetError(ECONNRESET, "the client ended the connection")
        for stream in self._streams.values():
            if not stream.request.complete:
                stream.fail(self._no_more)
            stream.wake()

    def _read(self) -> bytes:
        """Receive data; return b"" at the end, or after the idle time without a stream."""
        idle = self._limits.idle_time
        while not self._over:
            left = idle
            if idle is not None and not self._streams:
                left = self._used_at + idle - monotonic()
                if left <= 0:
                    self.stop()
                    return b""
            try:
                self._reader = getcurrent()
                with Timeout(left, False):
                    data: bytes = self.socket.recv(_CHUNK)
                    return data
            finally:
                self._reader = None
        return b""

    def _take(self, data: bytes) -> bool:
        """Handle *data* that the client sent; return whether to receive more."""
        try:
            good = all(self._hear(event) for event in self._h2.receive_data(data))
            while good and self._h2.silent:
                self._h2.silent -= 1
                good = self._afford(self._control)
            if self._h2.overlong:
                self._h2.close_connection(ErrorCodes.FRAME_SIZE_ERROR)
                raise ProtocolError("a frame longer than was agreed")
        except ProtocolError as exc:
            self._lose(ConnectionResetError(ECONNRESET, f"the client broke HTTP/2's rules: {exc}"))
            good = False
        # A client that sends before it reads must not wait for one that waits for it.
        self._push()
        if not good or len(self._output) > _MOST_QUEUED:
            self._flush()
        return good

    def _hear(self, event: Any) -> bool:
        """Handle *event*; return False if there were too many such events."""
        if isinstance(event, h2_events.RequestReceived):
            return self._open(event)
        if isinstance(event, h2_events.DataReceived):
            self._take_body(event)  # padding uses credit too
            return bool(event.data) or self._afford(self._control)
        elif isinstance(event, h2_events.StreamEnded):
            if event.stream_id in self._streams:
                self._streams[event.stream_id].end_body()
        elif isinstance(event, h2_events.TrailersReceived):
            if event.stream_id in self._streams:
                self._streams[event.stream_id].add_trailers(event.headers)
        elif isinstance(event, h2_events.StreamReset):
            if event.stream_id in self._streams:
                error = ConnectionResetError(
                    ECONNRESET, f"the client reset the stream: {event.error_code}"
                )
                self._streams[event.stream_id].fail(error)
            return self._afford(self._resets)
        else:
            self._heed(event)
            return self._afford(self._control)
        return True

    def _open(self, event: Any) -> bool:
        if self._leaving or self._lost is not None or self._is_full():
            with suppress(StreamClosedError):  # the client has already reset the stream
                self._h2.reset_stream(event.stream_id, ErrorCodes.REFUSED_STREAM)
            return self._afford(self._resets if self._acknowledged else self._control)
        stream = self.server.stream_class(self, event.stream_id, event.headers)
        self._streams[event.stream_id] = stream
        self._control.earn(10)
        self._answering.spawn(stream.handle).rawlink(stream.forget)
        return True

    def _is_full(self) -> bool:
        """Return whether the client has as many streams as it may have, or their ends pile up.

        A stream that the client has reset still counts while its application runs. One whose answer
        is complete does not: to the client it has ended, though its greenlet may end later.
        """
        most: int = self._limits.streams
        there = len(self._streams)
        if there < most or there >= 2 * most:
            return there >= most
        return sum(not stream.is_over for stream in self._streams.values()) >= most

    def _take_body(self, event: Any) -> None:
        size = event.flow_controlled_length
        stream = self._streams.get(event.stream_id)
        if stream is not None:
            stream.add_body(event.data, size)
        if event.data:
            self._control.earn(1)
        self._unread += size
        if self._unread >= _CONNECTION_WINDOW // 2:
            self._h2.increment_flow_control_window(self._unread)
            self._unread = 0

    def _heed(self, event: Any) -> None:
        """Handle an event that is not part of a request; h2 has already sent any answer."""
        if isinstance(event, h2_events.WindowUpdated) and event.stream_id:
            if event.stream_id in self._streams:
                self._streams[event.stream_id].wake()
        elif isinstance(event, h2_events.WindowUpdated | h2_events.RemoteSettingsChanged):
            encoder = self._h2.encoder
            encoder.header_table_size = min(encoder.header_table_size, _MOST_TABLE)
            for stream in self._streams.values():
                stream.wake()
        elif isinstance(event, h2_events.SettingsAcknowledged):
            self._acknowledged = True
        elif isinstance(event, h2_events.ConnectionTerminated):
            self._leaving = True
            if not self._streams:
                self._end_reading()

    def _afford(self, budget: _Budget) -> bool:
        if budget.spend():
            return True
        self._h2.close_connection(ErrorCodes.ENHANCE_YOUR_CALM)
        self._lose(
            ConnectionResetError(ECONNRESET, "the client keeps the server busy with nothing")
        )
        return False

    def warn(self, at_once: bool) -> None:
        """Tell the client to open no more streams; those that it opens meanwhile are answered.

        That is the graceful end of RFC 9113, 6.8: :meth:`stop` follows after a while. Some clients
        read no answer after it. So unless *at_once* is true, streams that are open end before.
        """
        if not self._warned and not self._leaving and (at_once or not self._streams):
            self._warned = True
            self._go_away(_ANY_STREAM)

    def stop(self) -> None:
        """Accept no more streams; the connection ends with the last one."""
        if not self._leaving:
            self._leaving = True
            self._go_away(self._h2.highest_inbound_stream_id)
        if not self._streams:
            self._end_reading()
        for stream in self._streams.values():
            stream.leave()

    def abandon(self) -> None:
        """Kill the applications that have not answered, so that their clients get 500."""
        self._answering.kill(block=False)

    def _go_away(self, last: int) -> None:
        # After close_connection() of h2 the open streams could not be answered.
        self._push(GoAwayFrame(0, last_stream_id=last).serialize())

    def _end_reading(self) -> None:
        """End reading as soon as the client has got everything, for which it has some time."""
        if self._ender is None or self._ender.dead:  # someone may have killed it
            self._ender = self._greenlets.spawn(self._end_when_taken)

    def _end_when_taken(self) -> None:
        # The client goes on to give credit as it reads. So nothing must end the reading before,
        # and there is no use in waiting once more afterwards.
        patience = Patience(self._untaken, times=2)
        while self._lost is None and not patience.is_over():
            sleep(LOOK)
        if self._lost is None and self.server.stopping and self._untaken():
            self._cut = TimeoutError(ETIMEDOUT, "the client takes nothing, and the server stops")
            self._lose(self._cut)
        self._over = True
        if self._reader is not None:
            # Not by shutting the socket down: the credit that the client still sends for its last
            # answers would reset the connection, and might cut them.
            kill(self._reader, _NoMore)

    def _untaken(self) -> int:
        return self._queued - self._sent + untaken(self.socket)

    def _lose(self, error: OSError) -> None:
        """Fail all streams with *error*."""
        if self._lost is None:
            self._lost = error
        for stream in self._streams.values():
            stream.fail(error)

    def _close(self) -> None:
        try:
            if self._cut is None:
                recent = monotonic() - self._used_at < _SETTLING
                end(self.socket, self.server, recent or not self._over)
        finally:
            self.socket.close()

    # -- methods for streams

    def give_credit(self, stream: Stream) -> None:
        """Let the client send more of the body, because the application waits for it."""
        if stream.request.complete or stream.error is not None or self._is_lost():
            return
        more, stream.unread = stream.unread, 0
        if not stream.wanted:
            more += _READING_WINDOW
            stream.wanted = True
        if more:
            with suppress(ProtocolError):  # the stream has ended
                self._h2.increment_flow_control_window(more, stream.id)
            self._push()

    def send_headers(
        self, stream: Stream, fields: list[tuple[bytes, bytes]], end: bool, flush: bool = False
    ) -> None:
        """Send a head; with *end* nothing follows it.

        Without *end* and *flush* the head of a final response is only queued: it is sent with the
        body's first part.
        """
        self._check(stream)
        self._h2.send_headers(stream.id, fields, end_stream=end)
        stream.ended = end
        if end or flush or fields[0][1] < b"200":
            self._flush()

    def send_data(self, stream: Stream, data: bytes, end: bool) -> None:
        """Send part of a body as flow control allows; with *end* it is the last part."""
        view = memoryview(data)
        at = turn = 0
        while True:
            self._check(stream)
            room = self._h2.local_flow_control_window(stream.id)
            size = max(0, min(room, self._h2.max_outbound_frame_size, len(view) - at))
            if size > 0 or at == len(view):
                last = at + size == len(view)
                self._h2.send_data(stream.id, view[at : at + size], end_stream=end and last)
                stream.ended = end and last
                at, turn = at + size, turn + size
                self._control.earn(2 + size // _CREDIT)
                if last or turn >= _TURN:
                    self._flush()
                    stream.note_sent(turn)
                    turn = 0
                if last:
                    return
            else:
                self._flush()
                stream.note_sent(turn)
                turn = 0
                self._check(stream)  # h2 knows nothing more of a stream that was reset meanwhile
                if self._h2.local_flow_control_window(stream.id) <= 0:
                    self._await_room(stream)

    def cancel(self, stream: Stream, error: OSError) -> None:
        """End *stream* at once, in both directions, with *error*."""
        self._reset(stream, error, ErrorCodes.CANCEL)

    def cut(self, stream: Stream) -> None:
        """End *stream* because a part of its response was not sent, unless it is complete."""
        if not stream.ended:
            error = ConnectionAbortedError(ECONNABORTED, "a part of the response was cut short")
            self._reset(stream, error, ErrorCodes.INTERNAL_ERROR)

    def _reset(self, stream: Stream, error: OSError, code: ErrorCodes) -> None:
        if stream.error is None and not self._is_lost():
            stream.fail(error)
            with suppress(ProtocolError):  # it has ended
                self._h2.reset_stream(stream.id, code)
            self._push()

    def _await_room(self, stream: Stream) -> None:
        if self._no_more is not None:
            raise self._no_more
        stream.pause(self._limits.write_time)

    def _check(self, stream: Stream) -> None:
        if stream.error is not None:
            raise stream.error
        if self._is_lost():
            assert self._lost is not None
            raise self._lost

    def _is_lost(self) -> bool:
        """Return whether no stream can go on, as in a child process, to which none belongs."""
        if self._lost is None and self._serving.reclaim():
            error = ConnectionAbortedError(ECONNABORTED, "another process serves the connection")
            self._cut = error
            self._lose(error)
        return self._lost is not None

    def finish(self, stream: Stream) -> None:
        """Forget *stream*, whose greenlet ends, and reset it if it is not complete.

        One whose greenlet was killed before its first run is refused.
        """
        del self._streams[stream.id]
        self._used_at = monotonic()
        if self._is_lost():
            return
        if stream.error is None:
            self._finish_cleanly(stream)
        if self.server.stopping:
            self.warn(at_once=False)
        if self._leaving and not self._streams:
            self._end_reading()

    def _finish_cleanly(self, stream: Stream) -> None:
        with suppress(ProtocolError):  # it has ended
            if not stream.begun:  # the client may ask again
                self._h2.reset_stream(stream.id, ErrorCodes.REFUSED_STREAM)
            elif not stream.ended:
                self._h2.reset_stream(stream.id, ErrorCodes.INTERNAL_ERROR)
            elif not stream.request.complete:  # the client need not send the rest
                self._h2.reset_stream(stream.id, ErrorCodes.NO_ERROR)
        self._push()

    # -- sending

    def _push(self, more: bytes = b"") -> None:
        """Queue h2's frames, and *more* after them, without waiting.

        They are sent completely, even if the greenlet that queued them ends.
        """
        data = self._h2.data_to_send() + more
        if not data or self._cut is not None:
            return
        self._output += data
        self._queued += len(data)
        if self._writer is None:
            self._writer = self._greenlets.spawn(self._write)
            self._writer.rawlink(self._check_written)

    def _flush(self) -> None:
        """Queue h2's frames, and wait until all that is queued by then is sent."""
        self._push()
        mark = self._queued
        while self._sent < mark and self._cut is None:
            self._progress.wait()
        if self._cut is not None:
            raise self._cut

    def _write(self) -> None:
        """Send what is queued, until nothing is left."""
        limit = self._limits.write_time
        late = TimeoutError(
            ETIMEDOUT, f"the client has not taken {_PART} bytes within {limit} seconds"
        )
        error: OSError = ConnectionResetError(ECONNRESET, "a frame was cut short")
        try:
            while self._output:
                part = self._output[:_PART]
                with Timeout(limit, late):
                    self.socket.sendall(part)
                del self._output[: len(part)]
                self._sent += len(part)
                self._tell_progress()
        except OSError as exc:
            error = exc
        finally:
            self._end_writing(error)

    def _end_writing(self, error: OSError) -> None:
        self._writer = None
        if self._output:
            self._cut = error
            self._output.clear()
            self._lose(error)
            self._tell_progress()
            end_reading(self.socket)

    def _check_written(self, writer: Any) -> None:
        """End the connection if *writer* was killed before its first run."""
        if writer is self._writer:
            self._end_writing(ConnectionResetError(ECONNRESET, "nothing was sent"))

    def _tell_progress(self) -> None:
        progress, self._progress = self._progress, Event()
        progress.set()
