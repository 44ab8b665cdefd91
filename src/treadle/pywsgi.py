"""A WSGI server with the interface of gevent.pywsgi, on the engine of :mod:`treadle.http`.

``treadle serve`` is for production; this module is for programs that start a server themselves::

    WSGIServer(("127.0.0.1", 8000), application).serve_forever()
"""

from __future__ import annotations

import logging
import sys
import traceback
from contextvars import Context
from email.message import Message
from functools import partial
from signal import SIGINT, default_int_handler, getsignal
from socket import AF_INET, AF_INET6, AF_UNIX, IPPROTO_TCP, TCP_NODELAY, getfqdn
from time import localtime, strftime
from types import TracebackType
from typing import TYPE_CHECKING, Any, ClassVar

from treadle.baseserver import Listener, Spawn
from treadle.greenlet import GreenletExit
from treadle.http.body import Input as _Input
from treadle.http.connection import Greeting, http2_connection, serve
from treadle.http.forwarded import Forwarded
from treadle.http.h1 import Request, RequestReader
from treadle.http.http1 import Handler
from treadle.http.limits import UNBOUNDED, Limits
from treadle.http.log import SILENCE, request_line
from treadle.http.policy import LIKE_GEVENT, Policy
from treadle.http.proxy import Proxies, receive
from treadle.http.stream import Stream
from treadle.http.wsgi import WSGIExchange
from treadle.hub import get_hub
from treadle.server import StreamServer

if TYPE_CHECKING:
    from wsgiref.types import WSGIApplication

__all__ = [
    "Environ",
    "Input",
    "LoggingLogAdapter",
    "SecureEnviron",
    "WSGIHandler",
    "WSGISecureEnviron",
    "WSGIServer",
    "WSGIStream",
]


#: gevent's name for the class of a log that keeps nothing.
_NoopLog = type(SILENCE)
#: gevent's limit for a line, in bytes. A server's limits are its :attr:`~WSGIServer.limits`.
MAX_REQUEST_LINE = 8192


#: What a hub by default raises in the main greenlet.
_WOULD_END_ALL = (KeyboardInterrupt, SystemExit, SystemError)


class Input(_Input):
    """A ``wsgi.input`` that reads from a file, for programs that make one as they do with gevent.

    *rfile* contains the body: *content_length* bytes, or chunks if *chunked_input* is true. Reading
    raises OSError if *rfile* ends too early or its chunks are malformed. *socket* is gevent's and
    not used.
    """

    def __init__(
        self,
        rfile: Any,
        content_length: int | None,
        socket: Any = None,
        chunked_input: bool = False,
    ) -> None:
        self.rfile = rfile
        self.content_length = content_length
        self.socket = socket
        self.chunked_input = chunked_input
        self._reader = RequestReader(UNBOUNDED)
        length = b"Content-Length: %d" % (content_length or 0)
        framing = b"Transfer-Encoding: chunked" if chunked_input else length
        self._reader.feed(b"POST / HTTP/1.1\r\nHost: -\r\n" + framing + b"\r\n\r\n")
        super().__init__(self._reader.ready.pop(0), self._read_more)

    def _read_more(self, request: Request) -> None:
        size = MAX_REQUEST_LINE
        if not self.chunked_input:
            size = min(size, (self.content_length or 0) - request.body_size)
        data = self.rfile.readline(size)
        if data:
            self._reader.feed(data)
        if self._reader.error is not None:
            raise OSError(str(self._reader.error))
        if not data:
            raise OSError("unexpected end of file while reading a request's body")


class _Named(WSGIExchange):
    """gevent's names for the attributes of an exchange, and gevent's log format."""

    @property
    def requestline(self) -> str:
        """The first line of the request; of one that was refused, what was read of it."""
        return request_line(self.request)

    @property
    def headers(self) -> Message:
        """The request's headers as they were received, in a new message."""
        message = Message()
        for name, value in self.request.headers:
            message[name.decode("latin-1")] = value.decode("latin-1")
        return message

    @property
    def command(self) -> str:
        """The request's method."""
        return self.request.method

    @property
    def path(self) -> str:
        """The request's target."""
        return self.request.target.decode("latin-1")

    @property
    def request_version(self) -> str:
        """The request's version, such as "HTTP/1.1"."""
        return f"HTTP/{self.request.version}"

    @property
    def content_length(self) -> int | None:
        """The length of the request's body in bytes, or None if its head does not contain it."""
        return self.request.length

    def _log_error(
        self,
        typ: type[BaseException] | None,
        value: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        """Report an exception of the application to the hub.

        Also write it to the server's error log, unless that is standard error. A SystemExit does
        not end the process, whose other requests are none of the application's business here. Nor
        does a KeyboardInterrupt, unless SIGINT raises it.
        """
        if self.server.error_log is not sys.stderr:
            super()._log_error(typ, value, tb)
        if typ is not None and not issubclass(typ, GreenletExit):
            environ, secure = self.environ, self.server.secure_environ_class
            if not isinstance(environ, secure):
                environ = secure(environ)
            hub = get_hub()
            by_signal = typ is KeyboardInterrupt and getsignal(SIGINT) is default_int_handler
            if issubclass(typ, _WOULD_END_ALL) and not by_signal:
                hub.print_exception(environ, typ, value, tb)
            else:
                hub.handle_error(environ, typ, value, tb)

    def error_body(self, status: str) -> str:
        """Return the body of the server's own error response: the reason phrase of *status*."""
        return status.partition(" ")[2]

    def format_request(self) -> str:
        """Return the log line: address, time, request, status, length, seconds."""
        address = self.client_address
        host = address[0] if isinstance(address, tuple) else address or "-"
        if self.server.forwarded is not None:  # it tells who the client is
            host = self.environ.get("REMOTE_ADDR") or host
        at = strftime("%Y-%m-%d %H:%M:%S", localtime())
        seconds = f"{self.time_finish - self.time_start:.6f}" if self.time_finish else "-"
        length = self.response_length or "-"
        code = self.code or "-"
        return f'{host} - - [{at}] "{self.requestline}" {code} {length} {seconds}'


class WSGIHandler(_Named, Handler):
    """Serves one connection; subclasses may override its steps.

    The attributes of the request and the response have gevent's names: ``environ``, ``status``,
    ``code``, ``response_headers``, ``headers_sent``, ``result``, ``socket``, ``client_address``,
    ...
    """

    #: gevent's hook that prints failures of a connection; treadle does not call it.
    _print_unexpected_exc = staticmethod(traceback.print_exc)

    @classmethod
    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        cls.reads_requestlines = cls.read_requestline is not WSGIHandler.read_requestline

    def read_requestline(self) -> str | None:
        """Read the first line of a request from ``rfile`` and return it.

        If it returns nothing, the connection ends. It is called only if a subclass overrides it,
        when the server waits for a new request. A subclass may, for instance, remove a line of
        another protocol, or respond on ``socket`` and return None. What remains in ``rfile`` is
        read as the rest of the request.
        """
        return self.rfile.readline(MAX_REQUEST_LINE).decode("latin-1")

    def log_error(self, msg: str, *args: Any) -> None:
        """Write ``msg % args``, or *msg* if there are no *args*, to the server's error log."""
        self.server.error_log.write(f"{self.socket}: {msg % args if args else msg}\n")


class WSGIStream(_Named, Stream):
    """Serves one HTTP/2 request. HTTP/1.1 requests are served by :class:`WSGIHandler`."""


class LoggingLogAdapter:
    """A log with ``write()`` that passes each text to a :class:`logging.Logger`.

    *level* is the level of all messages. Other attributes are those of the logger.
    """

    __slots__ = ("_level", "_logger")

    def __init__(self, logger: logging.Logger, level: int = logging.INFO) -> None:
        object.__setattr__(self, "_logger", logger)
        object.__setattr__(self, "_level", level)

    def write(self, msg: str) -> None:
        """Log *msg*, without a newline at its end."""
        if msg and msg.endswith("\n"):
            msg = msg[:-1]
        self._logger.log(self._level, msg)

    def flush(self) -> None:
        """Do nothing: the logger's handlers flush."""

    def writelines(self, lines: list[str]) -> None:
        """Log each of *lines*."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._logger, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in LoggingLogAdapter.__slots__:
            object.__setattr__(self, name, value)
        else:
            setattr(self._logger, name, value)

    def __delattr__(self, name: str) -> None:
        delattr(self._logger, name)


class Environ(dict[str, Any]):
    """A class for environments whose ``copy()`` keeps the class."""

    __slots__ = ()

    def copy(self) -> Environ:
        """Return a copy of the same class."""
        return type(self)(self)

    def __reduce_ex__(self, protocol: Any) -> Any:
        return dict, (), None, None, iter(self.items())


class SecureEnviron(Environ):
    """An environment whose repr hides secrets.

    The repr shows the items whose keys are in ``whitelist_keys``. If that is not empty and
    ``print_masked_keys`` is true, it also shows the other keys, with masked values. If
    ``secure_repr`` is false, it shows everything. An instance can set all three. A subclass sets
    the defaults of its instances, whose names begin with ``default_``.
    """

    default_secure_repr = True
    default_whitelist_keys: Any = ()
    default_print_masked_keys = True

    __slots__ = ("print_masked_keys", "secure_repr", "whitelist_keys")

    def __getattr__(self, name: str) -> Any:
        if name in SecureEnviron.__slots__:
            return getattr(type(self), f"default_{name}")
        raise AttributeError(name)

    def __repr__(self) -> str:
        if not self.secure_repr:
            return super().__repr__()
        shown = self.whitelist_keys
        if not shown:
            return f"<pywsgi.{type(self).__name__} dict (keys: {len(self)}) at {id(self):#x}>"
        masked = self.print_masked_keys
        items = {
            key: value if key in shown else "<MASKED>"
            for key, value in self.items()
            if masked or key in shown
        }
        hidden = len(self) - len(items)
        text = repr(items)
        return f"{text[:-1]}, (hidden keys: {hidden})}}" if hidden else text

    __str__ = __repr__


class WSGISecureEnviron(SecureEnviron):
    """An environment whose repr shows only the client's address and the Host of the request."""

    default_whitelist_keys: Any = ("REMOTE_ADDR", "REMOTE_PORT", "HTTP_HOST")
    default_print_masked_keys = False


def _stand_for_gevent(version: str) -> None:
    # Programs detect the server by SERVER_SOFTWARE; simple_websocket finds the socket that way.
    software = WSGIServer.base_env["SERVER_SOFTWARE"].partition(" ")[2]
    WSGIServer.base_env["SERVER_SOFTWARE"] = f"gevent/{version.rpartition('.')[0]} {software}"


class WSGIServer(StreamServer):
    """A server that serves the WSGI *application* at *listener*.

    *log* gets a line for each request. *error_log* gets exceptions of the application and what it
    writes to ``wsgi.errors``. Each is an object with ``write()``, a :class:`logging.Logger`, or
    None to discard; by default both are standard error. *environ* is added to the environment of
    each request. :class:`treadle.server.StreamServer` documents the other arguments, such as those
    for TLS.
    """

    #: Makes the object that serves an HTTP/1.1 connection with its ``handle()``. Called with the
    #: socket, the client's address and the server.
    handler_class: Any = WSGIHandler
    #: Makes the object that serves an HTTP/2 stream. Called with the connection, the stream's
    #: number and its headers.
    stream_class: Any = WSGIStream
    #: Whether to support HTTP/2, which needs the extra ``treadle[serve]``. A client chooses it by
    #: the connection preface or, with TLS, by ALPN: the TLS context must offer "h2"
    #: (``set_alpn_protocols``).
    http2 = False
    #: The class of the environments; :class:`WSGISecureEnviron` hides secrets from logs.
    environ_class: type[dict[str, Any]] = dict
    #: The class that an environment is converted to for error reports.
    secure_environ_class: type[SecureEnviron] = WSGISecureEnviron
    #: The limits for clients. As in gevent's server, bodies, times and connections are unlimited;
    #: subclasses and instances may set limits.
    limits: Limits = UNBOUNDED
    #: The choices where gevent's behaviour, which programs rely on, differs from the safe default.
    policy: Policy = LIKE_GEVENT
    #: The context that each request runs in a copy of.
    context: Context = Context()
    #: The proxies whose connections must begin with a PROXY protocol header, which contains the
    #: client's address. Without the header their connections are refused. Other clients cannot
    #: send the header. None: there are no such proxies.
    proxies: Proxies | None = None
    #: What proxies are believed that say in headers who the client is and what it asked for; None:
    #: none is, and applications find the proxy's address as the client's.
    forwarded: Forwarded | None = None
    #: The last base environment of a connection; connections with an equal one share it.
    shared_environ: dict[str, Any] | None = None
    #: Whether each connection ends after its current response.
    stopping = False

    base_env: ClassVar[dict[str, Any]] = {
        "GATEWAY_INTERFACE": "CGI/1.1",
        "SERVER_SOFTWARE": f"treadle Python/{sys.version_info[0]}.{sys.version_info[1]}",
        "SCRIPT_NAME": "",
        "wsgi.version": (1, 0),
        "wsgi.multithread": False,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }

    def __init__(
        self,
        listener: Listener,
        application: WSGIApplication | None = None,
        backlog: int | None = None,
        spawn: Spawn = "default",
        log: Any = "default",
        error_log: Any = "default",
        handler_class: Any = None,
        environ: dict[str, Any] | None = None,
        **ssl_args: Any,
    ) -> None:
        super().__init__(listener, None, backlog, spawn, **ssl_args)
        if application is not None:
            self.application = application
        if handler_class is not None:
            self.handler_class = handler_class
        #: The objects that serve open connections; their ``stop()`` ends the connection soon.
        self.connections: set[Any] = set()
        self.log: Any = self._log_of(log, logging.INFO)
        self.error_log: Any = self._log_of(error_log, logging.ERROR)
        self.set_environ(environ)

    application: Any = None

    @staticmethod
    def _log_of(given: Any, level: int) -> Any:
        if given is None:
            return SILENCE
        if given == "default":
            return sys.stderr
        if not hasattr(given, "write") and hasattr(given, "log"):
            return LoggingLogAdapter(given, level)
        return given

    def set_environ(self, environ: dict[str, Any] | None = None) -> None:
        """Make a new base environment, which is updated with *environ*.

        If *environ* is None, the items of the present base environment are kept.
        """
        given = getattr(self, "environ", None) if environ is None else environ
        self.environ: dict[str, Any] = self.environ_class(self.base_env)
        self.environ["wsgi.url_scheme"] = "https" if self.ssl_enabled else "http"
        self.environ.update(given or {})
        if self.environ.get("wsgi.errors") is None:
            self.environ["wsgi.errors"] = self.error_log

    def get_environ(self) -> dict[str, Any]:
        """Return a copy of the base environment, from which requests' environments are made."""
        return self.environ_class(self.environ)

    def init_socket(self) -> None:
        """Make the listening socket and set its address in the base environment.

        Raises ImportError if ``http2`` is true and h2 is missing.
        """
        if self.http2:
            http2_connection()
        super().init_socket()
        if self.socket.family in (AF_INET, AF_INET6):
            # Connections inherit it. Without it a part of a body would wait until the client has
            # acknowledged the one before, which clients delay by 40 ms.
            self.socket.setsockopt(IPPROTO_TCP, TCP_NODELAY, 1)
        self.address: Any = self.socket.getsockname()
        if self.proxies is not None:
            self._handle = partial(self._handle_behind, self.proxies, self._handle)
        self.update_environ()

    def _handle_behind(self, proxies: Proxies, handle: Any, sock: Any, address: Any) -> None:
        if address in proxies:
            try:
                with Greeting(self):
                    address = receive(sock, self.limits.header_time) or address
            except OSError as exc:
                self.error_log.write(f"refused a connection from {address!r}: {exc}\n")
                return
        handle(sock, address)

    def update_environ(self) -> None:
        """Set SERVER_NAME and SERVER_PORT in the base environment, unless they are there."""
        name, port = "localhost", "80"  # of a Unix socket, which has neither (PEP 3333)
        if self.family != AF_UNIX and isinstance(self.address, tuple):
            port = str(self.address[1])
            name = self.environ.get("SERVER_NAME") or getfqdn(self.address[0])
        self.environ.setdefault("SERVER_NAME", name)
        self.environ.setdefault("SERVER_PORT", port)

    def handle(self, sock: Any, address: Any) -> None:
        """Serve one connection until it ends."""
        serve(sock, address, self)
