"""What a server does where HTTP leaves it the choice, or programs rely on another one."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Policy"]


@dataclass(frozen=True, slots=True)
class Policy:
    """By default what is right and safe for a server that faces the Internet."""

    #: HTTP/1.1 without a Host is refused (RFC 9112, 3.2); else it is served, with no HTTP_HOST.
    host_required: bool = True
    #: A body that is known to be malformed before the application is called refuses the request;
    #: else the application is told if it reads that far. The connection ends either way.
    refuse_early: bool = True
    #: 100 is left out if some of the body has come (RFC 9110, 10.1.1), so that it was not waited
    #: for; else whoever expects it gets it when the application first reads.
    omit_late_continue: bool = True
    #: With 204 and 304 a body is left out; else it is an error of the application.
    omit_forbidden_body: bool = True
    #: An iterator that yields nothing gets a Content-Length of 0; else it comes in no chunks.
    tell_empty_length: bool = True
    #: An application that returns nothing and never calls start_response() has failed; else it
    #: has answered by itself, upon the socket of HTTP/1.1, and the connection just ends.
    answer_always: bool = True
    #: What a client does to its connection is no failure of an application that lets the OSError
    #: pass; else it is one, unless its number is in the handler's ``ignored_socket_errors``.
    forgive_clients: bool = True
    #: ``wsgi.input`` ends with the request's body; else, where a client asks to change to
    #: WebSocket, it is what the client sends from then on.
    input_is_body: bool = True


#: As gevent's server, but for what would let one request pass for two.
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
