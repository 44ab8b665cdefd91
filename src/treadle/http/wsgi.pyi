from types import TracebackType
from typing import Any

from treadle.http.body import Input
from treadle.http.exchange import Exchange
from treadle.http.h1 import Request

__all__ = ["WSGIExchange"]

class Steps:
    def start_response(
        self,
        status: str,
        headers: list[tuple[str, str]],
        exc_info: tuple[type[BaseException], BaseException, TracebackType] | None = None,
    ) -> Any: ...
    def write(self, data: bytes) -> None: ...
    def receive_body(self, request: Request) -> None: ...
    def early_hints(self, headers: list[tuple[str, str]]) -> None: ...
    def __getattr__(self, name: str) -> Any: ...

class WSGIExchange(Exchange):
    environ: dict[str, Any]
    result: Any
    wsgi_input: Input | None
    def get_environ(self) -> dict[str, Any]: ...
    def start_response(
        self,
        status: str,
        headers: list[tuple[str, str]],
        exc_info: tuple[type[BaseException], BaseException, TracebackType] | None = None,
    ) -> Any: ...
    def write(self, data: bytes) -> None: ...
    def process_result(self) -> None: ...
    def blame_client(self, error: Exception) -> None: ...
