from types import TracebackType
from typing import Any

from treadle.http.h1 import Request
from treadle.http.limits import Limits
from treadle.http.policy import Policy

__all__ = ["Exchange"]

class Exchange:
    ApplicationError: type[Exception]
    client_address: Any
    server: Any
    application: Any
    close_connection: bool
    status: str | None
    code: int
    response_headers: list[tuple[str, str]] | None
    headers_sent: bool
    response_length: int
    time_start: float
    time_finish: float
    @property
    def limits(self) -> Limits: ...
    @property
    def policy(self) -> Policy: ...
    @property
    def request(self) -> Request: ...
    def handle_one_response(self) -> None: ...
    def run_application(self) -> None: ...
    def handle_error(
        self,
        t: type[BaseException] | None,
        v: BaseException | None,
        tb: TracebackType | None,
    ) -> None: ...
    def _log_error(
        self,
        typ: type[BaseException] | None,
        value: BaseException | None,
        tb: TracebackType | None,
    ) -> None: ...
    def error_body(self, status: str) -> str: ...
    def log_request(self) -> None: ...
    def format_request(self) -> str: ...
