"""A WSGI server: what gevent.pywsgi offers, on the engine of :mod:`treadle.http`.

``treadle serve`` is for production; this is for programs that start a server themselves::

    WSGIServer(("127.0.0.1", 8000), application).serve_forever()
"""

from __future__ import annotations

import logging
import sys
import traceback
from contextvars import Context
from email.message import Message
from functools import partial
from socket import AF_UNIX, getfqdn
from time import localtime, strftime
from types import TracebackType
from typing import TYPE_CHECKING, Any, ClassVar

from treadle.baseserver import Listener, Spawn
from treadle.greenlet import GreenletExit
from treadle.http.body import Input as _Input
from treadle.http.connection import serve
from treadle.http.h1 import Request, RequestReader
from treadle.http.http1 import Handler
from treadle.http.limits import UNBOUNDED, Limits
from treadle.http.log import SILENCE
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


#: gevent's name of the class of a log that keeps nothing.
_NoopLog = type(SILENCE)
#: gevent's bound on a line, in bytes; a server's own are its :attr:`~WSGIServer.limits`.
MAX_REQUEST_LINE = 8192


class Input(_Input):
    """``wsgi.input`` upon a file: for programs that make one themselves, as gevent's.

    *rfile* has the body in *content_length* bytes, or in chunks if *chunked_input* is true. Raises
    OSError where it ends too early or holds no chunks. *socket* is gevent's and not used.
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
    """gevent's names of what an exchange has, and its line for the log."""

    @property
    def requestline(self) -> str:
        """The first line of the request."""
        request = self.request
        if not request.version:
            return ""
        target = request.target.decode("latin-1")
        return f"{request.method} {target} HTTP/{request.version}"

    @property
    def headers(self) -> Message:
        """The request's headers as they came, in a message of their own."""
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
        """ "HTTP/1.1" or "HTTP/1.0"."""
        return f"HTTP/{self.request.version}"

    @property
    def content_length(self) -> int | None:
        """The length of the request's body, where its head says it."""
        return self.request.length

    def _log_error(
        self,
        typ: type[BaseException] | None,
        value: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        """Report what the application raised: to the hub, and to a log that was given for it."""
        if self.server.error_log is not sys.stderr:
            super()._log_error(typ, value, tb)
        if typ is not None and not issubclass(typ, GreenletExit):
            environ, secure = self.environ, self.server.secure_environ_class
            if not isinstance(environ, secure):
                environ = secure(environ)
            get_hub().handle_error(environ, typ, value, tb)

    def error_body(self, status: str) -> str:
        """The body of an answer of the server's own: what *status* says after its number."""
        return status.partition(" ")[2]

    def format_request(self) -> str:
        """A line for the log: address, time, request, status, length, seconds."""
        address = self.client_address
        host = address[0] if isinstance(address, tuple) else address or "-"
        at = strftime("%Y-%m-%d %H:%M:%S", localtime())
        seconds = f"{self.time_finish - self.time_start:.6f}" if self.time_finish else "-"
        length = self.response_length or "-"
        code = self.code or "-"
        return f'{host} - - [{at}] "{self.requestline}" {code} {length} {seconds}'


class WSGIHandler(_Named, Handler):
    """Serves one connection; subclass it to override what it does at each step.

    Attributes of the request and the response are gevent's: ``environ``, ``status``, ``code``,
    ``response_headers``, ``headers_sent``, ``result``, ``socket``, ``client_address``, ...
    """

    #: gevent's hook for what it prints of a connection's own failures; nothing calls it here.
    _print_unexpected_exc = staticmethod(traceback.print_exc)

    @classmethod
    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        cls.reads_requestlines = cls.read_requestline is not WSGIHandler.read_requestline

    def read_requestline(self) -> str | None:
        """The first line of a request, off ``rfile``; nothing ends the connection.

        It is called where a subclass overrides it, for what comes while nothing is to be answered:
        for instance to take off a line of another protocol, or to answer by ``socket`` and return
        None. What it leaves of ``rfile`` is read as the rest of the request.
        """
        return self.rfile.readline(MAX_REQUEST_LINE).decode("latin-1")

    def log_error(self, msg: str, *args: Any) -> None:
        """Write *msg*, with *args* formatted into it if there are any, to the error log."""
        self.server.error_log.write(f"{self.socket}: {msg % args if args else msg}\n")


class WSGIStream(_Named, Stream):
    """Serves one request of HTTP/2, as :class:`WSGIHandler` those of HTTP/1.1."""


class LoggingLogAdapter:
    """Something to write to that hands lines to a :class:`logging.Logger`.

    *level* is the level of each; setting other attributes sets the logger's.
    """

    __slots__ = ("_level", "_logger")

    def __init__(self, logger: logging.Logger, level: int = logging.INFO) -> None:
        object.__setattr__(self, "_logger", logger)
        object.__setattr__(self, "_level", level)

    def write(self, msg: str) -> None:
        """Log *msg*, without its line's end."""
        if msg and msg.endswith("\n"):
            msg = msg[:-1]
        self._logger.log(self._level, msg)

    def flush(self) -> None:
        """A logger's handlers do that."""

    def writelines(self, lines: list[str]) -> None:
        """Log each."""
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
    """The class of a server's base environment; its copies are of the same class."""

    __slots__ = ()

    def copy(self) -> Environ:
        """Another of the same class, with the same items."""
        return type(self)(self)

    def __reduce_ex__(self, protocol: Any) -> Any:
        return dict, (), None, None, iter(self.items())


class SecureEnviron(Environ):
    """An environment whose repr does not tell secrets.

    It shows the items whose keys are in ``whitelist_keys``; of others the key, if
    ``print_masked_keys`` is true; if ``secure_repr`` is false, everything. All three can be set on
    an instance; a subclass sets them for all its instances with ``default_`` before the name.
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
    """Shows where a request comes from and what host it is for, and no other keys."""

    default_whitelist_keys: Any = ("REMOTE_ADDR", "REMOTE_PORT", "HTTP_HOST")
    default_print_masked_keys = False


def _stand_for_gevent(version: str) -> None:
    # Programs ask it what the server can do: simple_websocket, where its socket is.
    software = WSGIServer.base_env["SERVER_SOFTWARE"].partition(" ")[2]
    WSGIServer.base_env["SERVER_SOFTWARE"] = f"gevent/{version.rpartition('.')[0]} {software}"


class WSGIServer(StreamServer):
    """Serves a WSGI *application* at *listener*; see :class:`treadle.server.StreamServer`.

    *log* takes a line for each request and *error_log* what applications raise and write to
    ``wsgi.errors``: an object with ``write``, or a :class:`logging.Logger`, or None for nothing;
    by default both are standard error. *environ* is added to each request's. Other arguments make
    it serve TLS.
    """

    #: Called with a socket, its peer's address and the server, for an object with ``handle()``.
    handler_class: Any = WSGIHandler
    #: The like of it for HTTP/2: called with its connection, its number and its headers.
    stream_class: Any = WSGIStream
    #: Whether to speak HTTP/2, with the extra ``treadle[serve]``, to clients that begin with it or,
    #: with TLS, choose "h2": the TLS context has to offer that (``set_alpn_protocols``).
    http2 = False
    #: The class of the environments; :class:`WSGISecureEnviron` hides secrets from logs.
    environ_class: type[dict[str, Any]] = dict
    #: What reports of errors name an environment as.
    secure_environ_class: type[SecureEnviron] = WSGISecureEnviron
    #: What clients may ask for. As gevent's server there is no bound on bodies, times and
    #: connections; subclasses and instances may set one.
    limits: Limits = UNBOUNDED
    #: What it does where programs rely on gevent's way.
    policy: Policy = LIKE_GEVENT
    #: The context that each request runs in a copy of.
    context: Context = Context()
    #: Those whose connections begin with a header of the PROXY protocol, which says whom they are
    #: for; they are refused without it, and nobody else may send one. None: nobody may.
    proxies: Proxies | None = None
    #: The last base environment of a connection, for others that have the same.
    shared_environ: dict[str, Any] | None = None
    #: Whether each connection ends with the answer it is at.
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
        #: What serves each open connection, with ``stop()`` to let it end.
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
        """Make the base environment anew, with *environ* or what was given before."""
        given = getattr(self, "environ", None) if environ is None else environ
        self.environ: dict[str, Any] = self.environ_class(self.base_env)
        self.environ["wsgi.url_scheme"] = "https" if self.ssl_enabled else "http"
        self.environ.update(given or {})
        if self.environ.get("wsgi.errors") is None:
            self.environ["wsgi.errors"] = self.error_log

    def get_environ(self) -> dict[str, Any]:
        """A new environment, that of a request is based on."""
        return self.environ_class(self.environ)

    def init_socket(self) -> None:
        """Listen; the environment says where from then on."""
        super().init_socket()
        self.address: Any = self.socket.getsockname()
        if self.proxies is not None:
            self._handle = partial(self._handle_behind, self.proxies, self._handle)
        self.update_environ()

    def _handle_behind(self, proxies: Proxies, handle: Any, sock: Any, address: Any) -> None:
        if address in proxies:
            try:
                address = receive(sock, self.limits.header_time) or address
            except OSError as exc:
                self.error_log.write(f"refused a connection from {address!r}: {exc}\n")
                return
        handle(sock, address)

    def update_environ(self) -> None:
        """Set the server's name and port in the base environment, unless they were given."""
        name = port = ""
        if self.family != AF_UNIX and isinstance(self.address, tuple):
            port = str(self.address[1])
            name = self.environ.get("SERVER_NAME") or getfqdn(self.address[0])
        self.environ.setdefault("SERVER_NAME", name)
        self.environ.setdefault("SERVER_PORT", port)

    def handle(self, sock: Any, address: Any) -> None:
        """Serve one connection until it ends."""
        serve(sock, address, self)
