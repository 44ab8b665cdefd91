from types import TracebackType
from typing import Any

from treadle.http.body import Input
from treadle.http.exchange import Exchange

__all__ = ["WSGIExchange"]

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
