"""The application's startup and shutdown (ASGI specification, Lifespan Protocol).

States: before startup → served (complete, or the application has no lifespan) │ failed → stopping → shut down. If the
lifespan of an application ends while it is served, with a message or without, that is an error: what it had opened is
closed. A lifespan that returns right after its `lifespan.startup.complete`, before `startup()` does, has nothing to
close, and gets no `lifespan.shutdown`.

Owns: the one task that runs the application's lifespan, its messages, and what is logged about them. Must not: decide
what a failure means for the process. Fails by: `should_exit` after `startup()`; `failure` then has the message and the
cause, which are logged as two records, unless `tells_failure` is false (a master logs it once for all workers). And by
`fault`, at any time between `startup()` and `shutdown()`.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import TYPE_CHECKING, Any

from uvicorn._types import Message
from uvicorn.errors import LifespanError, shown
from uvicorn.worker.loop.tasks import from_signal

if TYPE_CHECKING:
    from uvicorn.config import Config


class LifespanOn:
    """Runs the lifespan. With `config.lifespan == "auto"` an application that raises on it is served without it.

    `startup_failed` and `shutdown_failed` say which of the two has; `error_occurred`, that the application has raised.
    `fault` is a message: how the lifespan ended while the application was served; "" if it has not ended.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        self.logger = logging.getLogger("uvicorn.error")
        self.state: dict[str, Any] = {}
        self.should_exit = False
        self.failure: LifespanError | None = None
        self.startup_failed = self.shutdown_failed = self.error_occurred = False
        self.tells_failure = True
        self.fault = ""
        self._supported = True
        self._inbox: deque[Message] = deque()
        self._arrived: asyncio.Event | None = None
        self._asked = self._startup_done = self._served = self._stopping = self._shutdown_done = False
        self._settled: asyncio.Event | None = None
        self._task: asyncio.Task[None] | None = None

    async def startup(self) -> None:
        """Start the application. Afterwards `should_exit` says whether that failed."""
        self.logger.info("Waiting for application startup.")
        if not self.config.loaded:
            self.config.load()
        self.should_exit = False  # it may be started again after a shutdown
        self.startup_failed = self.shutdown_failed = self.error_occurred = False
        self._asked = self._startup_done = self._served = self._stopping = self._shutdown_done = False
        self.failure, self.fault, self._supported = None, "", True
        self._inbox.clear()
        self._arrived, self._settled = asyncio.Event(), asyncio.Event()
        self._task = asyncio.get_running_loop().create_task(self.main())
        self._post({"type": "lifespan.startup"})
        try:
            await self._settled.wait()
        except asyncio.CancelledError:
            self._task.cancel()
            raise
        failure = self._failed()
        if failure is not None:
            self.startup_failed = self.should_exit = True
            if self.tells_failure:
                self._log_failure(failure)
        else:
            self._served = True
            self.logger.info("Application startup complete.")

    def _log_failure(self, failure: LifespanError) -> None:
        """Log first what the application said or raised, then the message."""
        message, _, sentence = str(failure).rpartition("\n")
        if failure.__cause__ is not None:
            self.logger.error("Exception in 'lifespan' protocol\n", exc_info=shown(failure.__cause__))
        if message:
            self.logger.error("%s", message)
        self.logger.error("%s", sentence)

    async def shutdown(self) -> None:
        """Shut the application down. Afterwards `should_exit` says whether that failed."""
        if self.fault:
            self.shutdown_failed = self.should_exit = True
            return
        if not self._supported or self._failed() or self._task is None or self._task.done():
            return
        self.logger.info("Waiting for application shutdown.")
        self._stopping = True
        self._settled = asyncio.Event()
        self._post({"type": "lifespan.shutdown"})
        await self._settled.wait()
        failure = self._failed()
        if failure is not None:
            self._log_failure(
                failure if self._shutdown_done else LifespanError("Application shutdown failed. Exiting.")
            )
            self.shutdown_failed = self.should_exit = True
        else:
            self.logger.info("Application shutdown complete.")

    async def main(self) -> None:
        """The application's lifespan task."""
        try:
            scope: dict[str, Any] = {
                "type": "lifespan",
                "asgi": {"version": self.config.asgi_version, "spec_version": "2.0"},
                "state": self.state,
            }
            await self.config.loaded_app(scope, self.receive, self.send)
        except BaseException as exc:
            self.error_occurred = not isinstance(exc, asyncio.CancelledError)
            self._raised(exc)
            if isinstance(exc, (asyncio.CancelledError, GeneratorExit)) or from_signal(exc):
                raise
        else:
            if self._served and not (self._stopping or self.failure or self.fault):
                self._ended("The application's lifespan returned while the application was served.")
        finally:
            self._settle()

    def _raised(self, exc: BaseException) -> None:
        if self.failure is not None or self.fault:
            return  # it has sent a message about it before it raised
        if isinstance(exc, asyncio.CancelledError) and self._startup_done and not self._cancelled_itself():
            return  # the server ends without a shutdown
        if not self._startup_done:
            self._raised_in_startup(exc)
        elif self._stopping:
            self.logger.error("Exception in 'lifespan' protocol\n", exc_info=exc)
            if not self._shutdown_done:
                self.failure = LifespanError("The application raised in its lifespan.")
        elif not self._served and self.config.lifespan == "on":
            self.failure = LifespanError("Application startup failed. Exiting.")
            self.failure.__cause__ = exc
        else:
            self._ended("Exception in 'lifespan' protocol while the application was served.\n", exc)

    def _raised_in_startup(self, exc: BaseException) -> None:
        if self.config.lifespan != "auto" or not isinstance(exc, Exception):
            self.failure = LifespanError("Application startup failed. Exiting.")
            self.failure.__cause__ = exc
            return
        self._supported = False
        if self._asked:  # then it does have a lifespan
            self.logger.error("Exception in 'lifespan' protocol. The application is served without it.\n", exc_info=exc)
        else:
            self.logger.info("ASGI 'lifespan' protocol appears unsupported.")
            self.logger.debug("The application raised on the lifespan scope.", exc_info=exc)

    def _cancelled_itself(self) -> bool:
        """Whether the task was cancelled only by us; before Python 3.11 that cannot be known."""
        cancelling = getattr(self._task, "cancelling", None)
        return cancelling is not None and not cancelling()

    def _ended(self, how: str, exc: BaseException | None = None) -> None:
        """The lifespan has ended while the application is served."""
        self.fault = how.rstrip()
        self.logger.error("%s", how, exc_info=exc)

    async def receive(self) -> Message:
        assert self._arrived is not None
        self._asked = True
        while not self._inbox:
            self._arrived.clear()
            await self._arrived.wait()
        return self._inbox.popleft()

    async def send(self, message: Message) -> None:
        """`lifespan.startup.complete` or `.failed`, then `lifespan.shutdown.complete` or `.failed`, once each."""
        kind = message["type"]
        phase, _, outcome = kind.removeprefix("lifespan.").partition(".")
        expected = "startup" if not self._startup_done else "shutdown"
        if phase != expected or outcome not in ("complete", "failed") or self._shutdown_done:
            raise RuntimeError(f"Unexpected ASGI message '{kind}' sent in the lifespan.")
        if phase == "startup":
            self._startup_done = True
        else:
            self._shutdown_done = True
        if phase == "shutdown" and not self._stopping:
            text = message.get("message", "")
            if self._served or outcome == "failed":
                self._ended(f"The application sent '{kind}' while it was served{f': {text}' if text else '.'}")
        elif outcome == "failed":
            text = message.get("message", "")
            self.failure = LifespanError(f"{text}\nApplication {phase} failed. Exiting.".lstrip())
        self._settle()

    def _failed(self) -> LifespanError | None:
        return self.failure

    def _post(self, message: Message) -> None:
        assert self._arrived is not None
        self._inbox.append(message)
        self._arrived.set()

    def _settle(self) -> None:
        if self._settled is not None:
            self._settled.set()


class LifespanOff:
    """The lifespan of applications that have none."""

    def __init__(self, config: Config) -> None:
        self.should_exit = False
        self.failure: LifespanError | None = None
        self.state: dict[str, Any] = {}

    async def startup(self) -> None:
        """Nothing to do."""

    async def shutdown(self) -> None:
        """Nothing to do."""
