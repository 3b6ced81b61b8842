"""`RequestResponseCycle`, the class by which programs change how uvicorn 0.54 serves a request.

Here an exchange serves a request; over HTTP/1.1 it also has the attributes of that class (`CycleNames`). The modules of
both parsers have a class of that name (`http1/cycles`), and programs replace its methods or the class itself. An
instance is made for a request only if a program has done so, which a connection checks when it is made; otherwise
nothing is paid for this. All exchanges are instances of both classes for `isinstance`. When one is made, the
application is called by its `run_asgi`.

Owns: these attributes, that check, and the arguments that such a class is made with. Must not: serve anything itself.
Fails by: one warning for a class that is not derived from ours; requests are then served without it.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

from uvicorn._types import ASGI3Application, ASGIReceiveCallable, ASGISendCallable, Message, Scope
from uvicorn.worker.http.exchange import COMPLETE, WAITING

if TYPE_CHECKING:
    from uvicorn.worker.http1.response import ExchangeCarrier

_NAME = "RequestResponseCycle"
_log = logging.getLogger("uvicorn.error")
_told: set[Any] = set()


class CycleNames:
    """The names that programs know, of an exchange of HTTP/1.1."""

    __slots__ = ()

    if TYPE_CHECKING:
        _body: list[bytes]
        _connection: ExchangeCarrier
        body_complete: bool
        continue_due: bool
        hung_up: bool
        phase: int
        scope: dict[str, Any]

        async def receive(self) -> Message: ...

        async def send(self, message: Message) -> None: ...

    async def run_asgi(self, app: ASGI3Application) -> None:
        """Have `app` answer. Called where a program has changed how that is done (`cycle`); the server is shorter."""
        await app(self.scope, self.receive, self.send)

    async def send_500_response(self) -> None:
        """The answer to a request whose application has failed. The server has its own."""
        body = b"Internal Server Error"
        fields = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", b"%d" % len(body))]
        await self.send({"type": "http.response.start", "status": 500, "headers": [*fields, (b"connection", b"close")]})
        await self.send({"type": "http.response.body", "body": body})

    @property
    def transport(self) -> Any:
        return self._connection.transport

    @property
    def logger(self) -> logging.Logger:
        return logging.getLogger("uvicorn.error")

    @property
    def access_logger(self) -> logging.Logger:
        return logging.getLogger("uvicorn.access")

    @property
    def access_log(self) -> bool:
        return self._connection.logs_access

    @property
    def default_headers(self) -> list[tuple[bytes, bytes]]:
        return self._connection._state.default.pairs

    @property
    def body(self) -> bytes:
        """What has arrived of the request's body and was not received yet."""
        return b"".join(self._body)

    @property
    def more_body(self) -> bool:
        return not self.body_complete

    @property
    def disconnected(self) -> bool:
        return self.hung_up

    @property
    def response_started(self) -> bool:
        return self.phase != WAITING

    @property
    def response_complete(self) -> bool:
        return self.phase == COMPLETE

    @property
    def waiting_for_100_continue(self) -> bool:
        return self.continue_due


class NoticingChanges(type):
    """Remembers that an attribute of the class was set. `ours`: the classes of which every exchange is an instance."""

    changed = False
    ours: ClassVar[list[type[Any]]] = []

    def __setattr__(cls, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        if name != "changed":
            cls.changed = True

    def __instancecheck__(cls, instance: Any) -> bool:
        return super().__instancecheck__(instance) or (cls in cls.ours and isinstance(instance, CycleNames))


class ReplaceableCycle(CycleNames, metaclass=NoticingChanges):
    """Initialised twice: as an exchange, and then with the arguments that programs expect, which add nothing.

    Arguments that have no counterpart here are None.
    """

    arguments: ClassVar[tuple[str, ...]] = ()

    def __init__(self, scope: Any, **known: Any) -> None:
        if not hasattr(self, "phase"):
            raise TypeError(f"A {_NAME} is made by its connection, for a request; a program cannot make one.")


def replaced(door: str) -> type[ReplaceableCycle] | None:
    """The class that a program has changed, or put into the module `door`; None if there is none, as nearly always."""
    found = getattr(sys.modules.get(door), _NAME, None)
    if found is None or (found in NoticingChanges.ours and not found.changed):
        return None
    if isinstance(found, type) and issubclass(found, ReplaceableCycle):
        return found
    if found not in _told:
        _told.add(found)
        _log.warning("%s.%s was replaced by %r, which is not derived from it, and is not used.", door, _NAME, found)
    return None


def maker(made: type[Any], exchange_class: type[Any]) -> Callable[..., Any]:
    """A function with the parameters of `exchange_class` that makes an instance of `made`."""

    def new_exchange(*arguments: Any) -> Any:
        exchange: Any = object.__new__(made)
        exchange_class.__init__(exchange, *arguments)
        known = {name: getattr(exchange, name, None) for name in made.arguments}
        made.__init__(exchange, scope=exchange.scope, **known)
        return exchange

    return new_exchange


def by_run_asgi(app: ASGI3Application) -> ASGI3Application:
    """An application that has the exchange call `app`, by its `run_asgi`."""

    async def call(scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        cycle: Any = receive.__self__  # type: ignore[attr-defined]  # an exchange's
        await cycle.run_asgi(app)

    return call
