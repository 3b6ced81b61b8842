"""A protocol that no `Server` serves: a program made it itself, by `HttpToolsProtocol(config, ServerState(), {})`.

That is how protocols are put behind a `loop.create_server` of a program's own, and how test suites drive one by hand,
often with stand-ins for the loop and the transport that have no more methods than the tests need. Nobody has loaded the
settings then, and nobody keeps time. Served protocols pay one look at a flag for all of this.

Owns: what a server does otherwise (the settings are loaded, their limits taken over, and the connections have a
pulse), and what a stand-in lacks. Must not: be used by a server. Fails by: SystemExit(3) as `Config.load` does when it
is called directly.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from uvicorn.importer import import_from_string
from uvicorn.worker.http.state import ServerState
from uvicorn.worker.loop.kinds import is_uvloop
from uvicorn.worker.loop.pulse import EACH_TICK, Pulse
from uvicorn.worker.transport.outbox import Holder, Outbox

if TYPE_CHECKING:
    from uvicorn.config import Config
    from uvicorn.worker.http1.connection import Connection
    from uvicorn.worker.websockets.protocol import SessionProtocol
else:
    Connection = SessionProtocol = object

SWEEP_SECONDS = 0.5
"""Seconds between two looks at idle and slow connections."""


def join(protocol: Any, config: Config, state: ServerState, loop: Any) -> Any:
    """Make `protocol`, which is being made, one that stands alone. The loop that it shall use."""
    if not config.loaded:
        config.load()
    if loop is None:
        loop = asyncio.get_running_loop()
    if not state.now:
        state.configure(config)
        state.alone = True  # for those that follow
        state.upgrade = import_from_string("uvicorn.worker.websockets.upgrade:upgrade")
        state.logs_access = state.access.settle(config.access_log)
        state.on_uvloop = is_uvloop(loop)
        state.outbox = Unheld()
    state.now = time.monotonic()
    if not isinstance(loop, asyncio.AbstractEventLoop):
        loop = FittedLoop(loop)
    protocol.__class__ = _lone(type(protocol))  # a class that served ones have nothing of
    return loop


def _lone(made: type[Any]) -> type[Any]:
    """The same class with a `Lone…` in front, made once."""
    lone: type[Any] | None = vars(made).get("_lone")
    if lone is None:
        named = {"__slots__": (), "__module__": made.__module__, "__qualname__": made.__qualname__}
        lone = made._lone = type(made.__name__, (made.lone_class, made), named)
    return lone


class LoneConnection(Connection):
    """An HTTP connection. A stand-in for a loop has a clock of its own: idleness is measured by that."""

    __slots__ = ()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(_fitted(transport))
        if not _is_stand_in(self.loop):
            _keep_time(self._state)

    def data_received(self, data: bytes) -> None:
        self._busy()
        super().data_received(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._busy()
        super().connection_lost(exc)

    def _release(self, exchange: Any) -> None:
        super()._release(exchange)
        idle = self._exchange is None and not self.transport.is_closing() and not self.reader.pending
        if idle and _is_stand_in(self.loop):
            self._busy()
            handle = self.loop.call_later(self.config.timeout_keep_alive, self.timeout_keep_alive_handler)
            self.timeout_keep_alive_task = handle

    def _busy(self) -> None:
        handle, self.timeout_keep_alive_task = self.timeout_keep_alive_task, None
        if handle is not None:
            handle.cancel()


class LoneSession(SessionProtocol):
    """A WebSocket session. The peer's answer to a close frame is waited for to the moment."""

    __slots__ = ()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(_fitted(transport))
        _keep_time(self._state)

    def expect_close(self) -> None:
        super().expect_close()
        late, seconds = self._late, self.close_timeout
        self.close_timer = self.loop.call_later(seconds, late) if seconds else self.loop.call_soon(late)

    def shutdown(self) -> None:
        """At once: there is no drain, whose time the peer's answer could use."""
        if self.close_timer is not None:
            self._in_time()
            self.close()
        super().shutdown()

    def _late(self) -> None:
        self.close_timer = None
        self.transport.abort()

    def end(self, last: bytes, failed: bool) -> None:
        self._in_time()
        super().end(last, failed)

    def connection_lost(self, exc: Exception | None) -> None:
        self._in_time()
        super().connection_lost(exc)

    def _in_time(self) -> None:
        handle, self.close_timer = self.close_timer, None
        if handle is not None:
            handle.cancel()


def _is_stand_in(loop: Any) -> bool:
    return isinstance(loop, FittedLoop)


def _keep_time(state: ServerState) -> None:
    """Have a pulse for as long as there are connections."""
    if state.pulse is not None:
        return

    def set_clock(now: float) -> None:
        state.now = now
        if not state.connections:
            pulse.stop()
            state.pulse = None

    def sweep_all(now: float) -> None:
        for connection in list(state.connections):
            sweep = getattr(connection, "sweep", None)
            if sweep is not None:
                sweep(now, connection.config.timeout_keep_alive)

    pulse = state.pulse = Pulse()
    pulse.every(EACH_TICK, set_clock)
    pulse.every(SWEEP_SECONDS, sweep_all)
    pulse.start()


class Unheld(Outbox):
    """Holds nothing back: a stand-in for a loop has no turns, at whose end it could be written, and whoever drives a
    protocol by hand looks at once."""

    __slots__ = ()

    def takes(self, holder: Holder) -> bool:
        return False


class _Fitted:
    """Stands before an object of somebody else's: whatever that has is its own, what it lacks is found here."""

    def __init__(self, other: Any) -> None:
        self._other = other
        for name in vars(type(self)):
            if not name.startswith("_") and name not in self._ours and hasattr(other, name):
                setattr(self, name, getattr(other, name))

    _ours: frozenset[str] = frozenset()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._other, name)


class FittedLoop(_Fitted):
    """A stand-in for a loop: it makes tasks, and perhaps calls later."""

    _ours = frozenset(("create_task",))

    def create_task(self, coroutine: Any) -> DrivenTask:
        return DrivenTask(self._other, coroutine)

    def get_task_factory(self) -> Any:
        return self.create_task

    def call_soon(self, callback: Callable[..., object], *arguments: Any, context: Any = None) -> None:
        callback(*arguments)

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.get_running_loop().create_future()


class DrivenTask:
    """A task whose coroutine somebody drives by hand: it knows its own end, and tells it."""

    def __init__(self, loop: Any, coroutine: Any) -> None:
        self._callbacks: list[Callable[[Any], object]] = []
        self._ended = False
        self._value: Any = None
        self._raised: BaseException | None = None
        self._task = loop.create_task(self._run(coroutine))

    async def _run(self, coroutine: Any) -> None:
        try:
            self._value = await coroutine
        except asyncio.CancelledError as exc:
            self._raised = exc
            raise
        except BaseException as exc:  # whoever asks for the result has it
            self._raised = exc
        finally:
            self._ended = True
            for callback in self._callbacks:
                callback(self)

    def done(self) -> bool:
        return self._ended

    def result(self) -> Any:
        if self._raised is not None:
            raise self._raised
        return self._value

    def add_done_callback(self, callback: Callable[[Any], object]) -> None:
        self._callbacks.append(callback)

    def cancel(self, msg: Any = None) -> bool:
        return bool(self._task.cancel())


def _fitted(transport: asyncio.BaseTransport) -> Any:
    return transport if hasattr(transport, "get_write_buffer_size") else FittedTransport(transport)


class FittedTransport(_Fitted):
    """A stand-in for a transport: it takes bytes, and closes."""

    _ours = frozenset(("close",))

    def close(self) -> None:
        if not self._other.is_closing():
            self._other.close()

    def abort(self) -> None:
        self.close()

    def writelines(self, parts: Iterable[bytes]) -> None:
        self._other.write(b"".join(parts))

    def can_write_eof(self) -> bool:
        return False

    def get_write_buffer_size(self) -> int:
        return 0

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass  # it holds nothing

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass

    def is_closing(self) -> bool:
        return False

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        pass

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default
