"""Methods of uvicorn 0.54's connection that subclasses override. Our connection calls them in those subclasses only.

A class that overrides one gets another version of the step that the method belongs to. `apply_overrides` looks for
overrides when the class is made, and again when the settings are loaded, because programs also replace methods of an
existing class. Owns: those steps. Must not: cost anything in a class that overrides nothing. Fails by: logging what an
override raises, and closing the connection.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, ClassVar

from uvicorn.errors import BadRequest
from uvicorn.worker.http.exchange import Exchange
from uvicorn.worker.http.request import Request
from uvicorn.worker.http.scope import http_scope

_log = logging.getLogger("uvicorn.error")


class OverridableSteps:
    """What an override calls by `super()`: it does the work of the step."""

    __slots__ = ()

    unchanged: ClassVar[Any]
    """The connection's own class, with the steps as they are without overrides: the first that is derived from this."""

    def __init_subclass__(cls, **named: Any) -> None:
        super().__init_subclass__(**named)
        if hasattr(cls, "unchanged"):
            cls.apply_overrides()
        else:
            cls.unchanged = cls

    @classmethod
    def apply_overrides(cls) -> None:
        """Replace the steps to which overridden methods belong."""
        if cls.on_response_complete is not OverridableSteps.on_response_complete:
            cls.response_complete = _response_complete
        if cls.on_headers_complete is not OverridableSteps.on_headers_complete:
            cls._serve, cls._start = _serve, _start
        if cls.send_400_response is not OverridableSteps.send_400_response:
            cls._write_refusal = _write_refusal

    if TYPE_CHECKING:
        _serve: Any
        _start: Any
        _write_refusal: Any
        response_complete: Any

    def on_headers_complete(self) -> None:
        """The head of a request was read; `scope`, `headers` and `url` (its target) are set. Serve it: the application
        is called after the override has returned, with the scope as it is then.
        """
        request = vars(self).pop("_due", None)
        if request is not None:
            _base(self)._serve(self, request)

    def on_response_complete(self) -> None:
        """A response is complete: its last byte was given to the transport. Go on with the next request, or close."""
        exchange = vars(self).pop("_completed", None)
        if exchange is not None:
            _base(self).response_complete(self, exchange)

    def send_400_response(self, msg: str) -> None:
        """Answer bytes that are not an acceptable request. The connection is closed afterwards."""
        _base(self)._write_refusal(self, BadRequest(400, msg), msg)


def _base(connection: Any) -> Any:
    """The connection's own class, whatever a subclass overrides."""
    return connection.unchanged


def _response_complete(self: Any, exchange: Exchange) -> None:
    vars(self)["_completed"] = exchange
    self.on_response_complete()
    _base(self).on_response_complete(self)  # in case the override has not called it


def _serve(self: Any, request: Request) -> None:
    own = vars(self)
    scope = http_scope(request, self._ends)
    own.update(scope=scope, headers=scope["headers"], url=request.target, _due=request, _held_back=[])
    if "_exchanges" not in own:
        own["_exchanges"] = self._new_exchange
        self._new_exchange = _new_exchange
    try:
        self.on_headers_complete()
    except Exception:
        _log.exception("on_headers_complete raised: closing the connection.")
        self.close()
    ready = own.pop("_held_back")
    if own.pop("_due", None) is not None:
        self.close()  # an override that does not pass the request on has answered it
    for exchange in ready:
        _base(self)._start(self, exchange)


def _new_exchange(connection: Any, request: Request, scope: dict[str, Any], complete: bool) -> Any:
    own = vars(connection)
    return own["_exchanges"](connection, request, own["scope"], complete)


def _start(self: Any, exchange: Exchange) -> None:
    held_back = vars(self).get("_held_back")
    if held_back is None:
        _base(self)._start(self, exchange)  # it had to wait for admission
    else:
        held_back.append(exchange)


def _write_refusal(self: Any, fault: BadRequest, body: str) -> None:
    if fault.status == 400:
        self.send_400_response(body)
    else:
        _base(self)._write_refusal(self, fault, body)
