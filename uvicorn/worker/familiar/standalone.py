"""A protocol without a `Server`: a program has made it itself, by `HttpToolsProtocol(config, ServerState(), {})`.

Programs do that to pass protocols to their own `loop.create_server`, and test suites to drive a protocol by hand, often
with fakes of the loop and the transport that have no more methods than the tests need. The settings are not loaded
then, and there is no timer. With a server, all this costs a look at one flag.

Owns: what a server would do (load the settings, apply their limits, run a timer), and the methods that such fakes lack.
Must not: be used by a server. Fails by: SystemExit(3), as `Config.load` does when it is called directly.
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
    """Called by the constructor of `protocol`: make it one without a server. Returns the loop that it is to use."""
    if not config.loaded:
        config.load()
    if loop is None:
        loop = asyncio.get_running_loop()
    if not state.now:
        state.configure(config)
        state.alone = True  # for the next protocol
        state.upgrade = import_from_string("uvicorn.worker.websockets.upgrade:upgrade")
        if config._serves_http2:
            state.http2 = import_from_string("uvicorn.worker.http2.takeover:take_over")
        state.logs_access = state.access.settle(config.access_log)
        state.on_uvloop = is_uvloop(loop)
        state.outbox = Unheld()
    state.now = time.monotonic()
    if not isinstance(loop, asyncio.AbstractEventLoop):
        loop = FittedLoop(loop)
    protocol.__class__ = _lone(type(protocol))  # protocols of a server do not have these methods
    return loop


def _lone(made: type[Any]) -> type[Any]:
    """The same class with a `Lone…` as its first base, made once."""
    lone: type[Any] | None = vars(made).get("_lone")
    if lone is None:
        named = {"__slots__": (), "__module__": made.__module__, "__qualname__": made.__qualname__}
        lone = made._lone = type(made.__name__, (made.lone_class, made), named)
    return lone


class LoneConnection(Connection):
    """An HTTP connection. With a fake loop, idleness is measured by that loop's timers."""

    __slots__ = ()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(_fitted(transport))
        if not _is_fake(self.loop):
            _start_timer(self._state)

    def data_received(self, data: bytes) -> None:
        self._cancel_keep_alive_timer()
        super().data_received(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._cancel_keep_alive_timer()
        super().connection_lost(exc)

    def _release(self, exchange: Any) -> None:
        super()._release(exchange)
        idle = self._exchange is None and not self.transport.is_closing() and not self.reader.pending
        if idle and _is_fake(self.loop):
            self._cancel_keep_alive_timer()
            handle = self.loop.call_later(self.config.timeout_keep_alive, self.timeout_keep_alive_handler)
            self.timeout_keep_alive_task = handle

    def _cancel_keep_alive_timer(self) -> None:
        handle, self.timeout_keep_alive_task = self.timeout_keep_alive_task, None
        if handle is not None:
            handle.cancel()


class LoneSession(SessionProtocol):
    """A WebSocket session. The time for the closing handshake has a timer of its own, which is exact."""

    __slots__ = ()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(_fitted(transport))
        _start_timer(self._state)

    def expect_close(self) -> None:
        super().expect_close()
        expired, seconds = self._close_expired, self.close_timeout
        self.close_timer = self.loop.call_later(seconds, expired) if seconds else self.loop.call_soon(expired)

    def shutdown(self) -> None:
        """Close at once: there is no drain during which the peer could answer."""
        if self.close_timer is not None:
            self._cancel_close_timer()
            self.close()
        super().shutdown()

    def _close_expired(self) -> None:
        self.close_timer = None
        self.transport.abort()

    def end(self, last: bytes, failed: bool) -> None:
        self._cancel_close_timer()
        super().end(last, failed)

    def connection_lost(self, exc: Exception | None) -> None:
        self._cancel_close_timer()
        super().connection_lost(exc)

    def _cancel_close_timer(self) -> None:
        handle, self.close_timer = self.close_timer, None
        if handle is not None:
            handle.cancel()


def _is_fake(loop: Any) -> bool:
    return isinstance(loop, FittedLoop)


def _start_timer(state: ServerState) -> None:
    """Run a timer as long as there are connections."""
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
    """Holds nothing back: a fake loop has no turns at whose end it could be written, and a test that drives a protocol
    by hand looks at once."""

    __slots__ = ()

    def takes(self, holder: Holder) -> bool:
        return False


class _Fitted:
    """Wraps a program's object: what that has is used, what it lacks is here."""

    def __init__(self, other: Any) -> None:
        self._other = other
        for name in vars(type(self)):
            if not name.startswith("_") and name not in self._ours and hasattr(other, name):
                setattr(self, name, getattr(other, name))

    _ours: frozenset[str] = frozenset()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._other, name)


class FittedLoop(_Fitted):
    """For a fake loop that has `create_task`, and perhaps `call_later`."""

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
    """A task whose coroutine is driven by hand; it calls its callbacks when the coroutine has ended."""

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
        except BaseException as exc:  # `result` raises it
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
    """For a fake transport that has `write` and `close`."""

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
