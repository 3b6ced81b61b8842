"""Methods of uvicorn 0.54's connection that subclasses override: they are called, and cost nothing where nobody does.

A class that overrides one gets a step of its own in the place of the connection's (`heed`, when the class is made and
when it is loaded, because some are replaced on a class that is there). Owns: those steps. Must not: be on the way of a
class that overrides nothing. Fails by: what an override raises is logged, and the connection closed.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, ClassVar

from uvicorn.errors import BadRequest
from uvicorn.worker.http.exchange import Exchange
from uvicorn.worker.http.request import Request
from uvicorn.worker.http.scope import http_scope

_log = logging.getLogger("uvicorn.error")


def heed(made: Any, base: Any) -> None:
    """Have `made`, a subclass of the connection `base`, call what it overrides."""
    made.unchanged = base
    if made.on_response_complete is not Heeding.on_response_complete:
        made.response_complete = _response_complete
    if made.on_headers_complete is not Heeding.on_headers_complete:
        made._serve, made._start = _serve, _start
    if made.send_400_response is not Heeding.send_400_response:
        made._write_refusal = _write_refusal


class Heeding:
    """What an override finds above it, by `super()`: the work itself, of whose step it is a part."""

    __slots__ = ()

    unchanged: ClassVar[Any]
    """The connection's own class, which has the steps as they are without an override."""

    if TYPE_CHECKING:
        _serve: Any
        _write_refusal: Any
        response_complete: Any

    def on_headers_complete(self) -> None:
        """A request's head is there: `scope`, `headers` and `url` (its target) are what it says. Serve it; the
        application is called when the override has returned, with the scope as it is then.
        """
        request = vars(self).pop("_due", None)
        if request is not None:
            _base(self)._serve(self, request)

    def on_response_complete(self) -> None:
        """The last byte of a response was handed to the transport. Go on with the next request, or close."""
        exchange = vars(self).pop("_completed", None)
        if exchange is not None:
            _base(self).response_complete(self, exchange)

    def send_400_response(self, msg: str) -> None:
        """Answer what is no acceptable request. The connection is closed afterwards."""
        _base(self)._write_refusal(self, BadRequest(400, msg), msg)


def _base(connection: Any) -> Any:
    """The connection's own class, whatever a subclass replaces."""
    return connection.unchanged


def _response_complete(self: Any, exchange: Exchange) -> None:
    vars(self)["_completed"] = exchange
    self.on_response_complete()
    _base(self).on_response_complete(self)  # if it did not do that itself


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
        self.close()  # whoever keeps a request to himself has answered it
    for exchange in ready:
        _base(self)._start(self, exchange)


def _new_exchange(connection: Any, request: Request, scope: dict[str, Any], complete: bool) -> Any:
    own = vars(connection)
    return own["_exchanges"](connection, request, own["scope"], complete)


def _start(self: Any, exchange: Exchange) -> None:
    held_back = vars(self).get("_held_back")
    if held_back is None:
        _base(self)._start(self, exchange)  # it has waited for its turn
    else:
        held_back.append(exchange)


def _write_refusal(self: Any, fault: BadRequest, body: str) -> None:
    if fault.status == 400:
        self.send_400_response(body)
    else:
        _base(self)._write_refusal(self, fault, body)
