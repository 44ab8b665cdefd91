"""What a server does where HTTP leaves a choice, or where programs rely on other behaviour."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Policy"]


@dataclass(frozen=True, slots=True)
class Policy:
    """A server's choices; the defaults are correct and safe for a server on the Internet."""

    #: True: an HTTP/1.1 request without a Host is refused (RFC 9112, 3.2). False: it is served,
    #: without HTTP_HOST.
    host_required: bool = True
    #: True: a request is refused if its body is known to be malformed before the application is
    #: called. False: the application gets the error if it reads that far. The connection ends in
    #: both cases.
    refuse_early: bool = True
    #: True: 100 Continue is omitted if part of the body has arrived (RFC 9110, 10.1.1), since the
    #: client did not wait for it. False: a client that expects it gets it when the application
    #: first reads.
    omit_late_continue: bool = True
    #: True: the body of a 204 or 304 response is omitted. False: it is an error of the application.
    omit_forbidden_body: bool = True
    #: True: an iterator that yields nothing gets a Content-Length of 0. False: the response is
    #: chunked, without chunks.
    tell_empty_length: bool = True
    #: True: an application that returns nothing and never calls start_response() has failed.
    #: False: it is assumed to have answered on the HTTP/1.1 socket itself; the connection ends.
    answer_always: bool = True
    #: True: an application does not fail if it lets the OSError of a broken client connection
    #: propagate. False: it fails, unless the error's number is in the handler's
    #: ``ignored_socket_errors``.
    forgive_clients: bool = True
    #: True: ``wsgi.input`` ends with the request's body. False: if the client asks to change to
    #: WebSocket, ``wsgi.input`` is what the client sends from then on.
    input_is_body: bool = True


#: The choices of gevent's server, except for those that would let one request pass for two.
LIKE_GEVENT = Policy(
    host_required=False,
    refuse_early=False,
    omit_late_continue=False,
    omit_forbidden_body=False,
    tell_empty_length=False,
    answer_always=False,
    forgive_clients=False,
    input_is_body=False,
)
STRICT = Policy()
