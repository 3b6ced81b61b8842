"""A worker process whose master is gunicorn's: `gunicorn app:App -w 4 -k uvicorn.workers.UvicornWorker`.

gunicorn's arbiter binds, forks, reloads and replaces workers; this worker class connects our Server with what it
provides: sockets, settings, logs, signals and the heartbeat. Life: `__init__` in the arbiter, before the fork →
`init_process` in the worker (user, signals, application) → `run` → exit code: 0, or 3 when it could not start, which
makes gunicorn stop instead of trying for ever.

Who decides: the arbiter by signals (TERM: drain; QUIT, INT: stop at once; USR1: reopen log files; ABRT: no heartbeats),
its reloader and hooks by `alive = False`, and its death. `callback_notify` looks at these; it is called by the
server's one timer, so a blocked loop sends no heartbeat, and one that starts, serves or drains does.

The only module that imports gunicorn, which is optional. Must not: do in `__init__` what belongs into the worker.
Fails by: exit code 3, with the cause in gunicorn's error log.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from gunicorn.arbiter import Arbiter
from gunicorn.workers.base import Worker

from uvicorn._types import ASGIReceiveCallable, ASGISendCallable, Scope
from uvicorn.config import Config
from uvicorn.errors import ConfigError
from uvicorn.net.sockets import Listener
from uvicorn.process.drainmode import DrainMode
from uvicorn.settings.application import is_wsgi
from uvicorn.worker.drain import RESERVE
from uvicorn.worker.loop.forks import cleaned_forks
from uvicorn.worker.process import settle_memory
from uvicorn.worker.server import Server

LOOK_SECONDS = 0.5
"""Seconds between two heartbeats, and between two checks whether to go on."""

_WHERE_SET = {
    "limit_request_line": "limit_request_line",
    "limit_request_fields": "limit_request_fields",
    "asgi_lifespan": "lifespan",
    "root_path": "root_path",
    "websocket_max_message_size": "ws_max_size",
}
"""Settings of gunicorn, some only in newer versions, that count only if they were set."""

_log = logging.getLogger("uvicorn.error")


def settings_of(cfg: Any) -> dict[str, Any]:
    """gunicorn's settings as settings of `Config`.

    Limits of a request's head count only if they were set: gunicorn's defaults are smaller than ours, and applications
    that were served with uvicorn before have never met them.
    """
    settings = {
        "workers": 1,
        "log_config": None,
        "backlog": cfg.backlog,
        "timeout_keep_alive": cfg.keepalive,
        "timeout_graceful_shutdown": _before(cfg.graceful_timeout),
        "forwarded_allow_ips": cfg.forwarded_allow_ips,
        "limit_max_requests_jitter": 0,  # gunicorn has added its own
    }
    for theirs, ours in _WHERE_SET.items():
        if _is_set(cfg, theirs):
            settings[ours] = getattr(cfg, theirs)
    if cfg.is_ssl:
        settings.update(_tls_settings(cfg))
    return settings


def _tls_settings(cfg: Any) -> dict[str, Any]:
    settings = {
        "ssl_keyfile": cfg.keyfile,
        "ssl_certfile": cfg.certfile,
        "ssl_cert_reqs": int(cfg.cert_reqs),
        "ssl_ca_certs": cfg.ca_certs,
        "ssl_ciphers": cfg.ciphers,
    }
    if _is_set(cfg, "ssl_context"):
        settings["ssl_context_factory"] = lambda config, make_default: cfg.ssl_context(cfg, make_default)
    return settings


def _is_set(cfg: Any, name: str) -> bool:
    """Whether this version of gunicorn has the setting, and it was changed."""
    setting = cfg.settings.get(name)
    return setting is not None and setting.get() != setting.default


def _before(graceful_timeout: float) -> float:
    """Seconds for a drain that ends before the arbiter kills the worker: a tenth less, but at most a second."""
    return max(0.0, graceful_timeout - min(1.0, graceful_timeout / 10))


class UvicornWorker(Worker):  # type: ignore[misc]  # gunicorn has no annotations
    """Serves gunicorn's application on its sockets. `CONFIG_KWARGS` of a subclass are settings of `uvicorn.Config`, and
    take precedence over those from gunicorn."""

    CONFIG_KWARGS: dict[str, Any] = {"loop": "auto", "http": "auto"}  # noqa: RUF012  # subclasses replace it

    config: Config

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._refused: ConfigError | None = None
        self._server: GunicornServer | None = None
        self._take_over_logs()
        settings: dict[str, Any] = {
            **settings_of(self.cfg),
            "limit_max_requests": self.max_requests if self.cfg.max_requests else None,
            "callback_notify": self.callback_notify,
            "timeout_notify": min(LOOK_SECONDS, self.timeout),
            **self.CONFIG_KWARGS,
        }
        try:
            self.config = Config(None, **settings)  # type: ignore[arg-type]  # the application comes after the fork
        except ConfigError as exc:  # here it would end the arbiter and orphan the other workers
            self._refused = exc

    def _take_over_logs(self) -> None:
        """Log to the handlers of gunicorn, whose files are reopened with its own."""
        for ours, theirs in (("uvicorn.error", "error_log"), ("uvicorn.access", "access_log")):
            source = getattr(self.log, theirs, None)  # a custom logger class may have none
            if source is not None:
                logger = logging.getLogger(ours)
                logger.handlers = list(source.handlers)
                logger.setLevel(source.level)
                logger.propagate = source.propagate

    # -- life --------------------------------------------------------------------------------------------------

    def init_process(self) -> None:
        if self._refused is not None:
            _log.error("%s", self._refused)
            sys.exit(Arbiter.WORKER_BOOT_ERROR)
        if getattr(self.cfg, "proxy_protocol", "off") not in ("off", False):
            _log.warning("gunicorn's --proxy-protocol has no effect with this worker class.")
        self._server = GunicornServer(self.config, self)
        super().init_process()

    def init_signals(self) -> None:
        super().init_signals()
        signal.set_wakeup_fd(-1)  # the event loop's from now on

    def run(self) -> None:
        """Serve until asked to stop. Raises SystemExit(3) when it cannot start."""
        server = self._server
        assert server is not None
        self.config.app = self._broken if self._is_a_fault_under_reload() else self.wsgi
        settle_memory()
        if self.alive:
            listeners = [Listener(sock.sock) for sock in self.sockets]
            with cleaned_forks(server, listeners, None):
                server.run([listener.sock for listener in listeners])

    def _is_a_fault_under_reload(self) -> bool:
        """With `--reload` gunicorn replaces an application that cannot be imported by one that shows the error; that is
        a WSGI application for every worker class."""
        return bool(self.cfg.reload) and self.config.interface == "auto" and is_wsgi(self.wsgi)

    async def _broken(self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        """Takes the place of the application until its next change."""
        assert scope["type"] == "http"
        raise RuntimeError("The application could not be imported (or is WSGI): see the log above.")

    async def callback_notify(self) -> None:
        """Send the heartbeat, and check whether to go on."""
        self.notify()
        server = self._server
        if server is None or server.should_exit:
            return
        if not self.alive:
            server.should_exit = True
        elif os.getppid() != self.ppid:
            _log.error("The arbiter is gone: finishing what is in flight.")
            server.should_exit = True

    # -- signals -----------------------------------------------------------------------------------------------

    def handle_quit(self, sig: int, frame: FrameType | None) -> None:
        """QUIT, or the INT of a terminal, which the arbiter follows up with QUIT: end what is open after a moment, and
        shut the application down. During an import the process ends at once: no loop checks a flag."""
        self.alive = False
        self.cfg.worker_int(self)
        server = self._server
        if server is None or not server.config.loaded:
            sys.exit(0)
        server.hurry(sig)

    def handle_abort(self, sig: int, frame: FrameType | None) -> None:
        """ABRT: no heartbeat for `--timeout` seconds. Log what blocks the loop, and end."""
        stack = "".join(traceback.format_stack(frame, limit=10))
        _log.critical("The event loop has not turned for %g s; it is in:\n%s", self.cfg.timeout, stack.rstrip())
        super().handle_abort(sig, frame)

    def handle_usr1(self, sig: int, frame: FrameType | None) -> None:
        try:
            super().handle_usr1(sig, frame)
        except OSError as exc:
            self._log_to_standard_error(exc)
        if self._server is not None and (self.config.log_file or self.config.access_log_file):
            self._server.reopen_logs = True

    def _log_to_standard_error(self, why: OSError) -> None:
        """The old file is closed by now, and logging to it would raise in the request that logs."""
        for name in ("uvicorn.error", "uvicorn.access"):
            for handler in logging.getLogger(name).handlers:
                if isinstance(handler, logging.FileHandler) and handler.stream is None:
                    handler.setStream(os.fdopen(os.dup(2), "a"))
        _log.error("Cannot reopen a log file (%s): its lines go to standard error.", why)


class UvicornH11Worker(UvicornWorker):
    """The same in pure Python, for PyPy and where there is no compiler."""

    CONFIG_KWARGS: dict[str, Any] = {"loop": "asyncio", "http": "h11"}  # noqa: RUF012


class GunicornServer(Server):
    """A server that shares its listeners with other workers and with the arbiter."""

    instead_of_a_master = "gunicorn's own settings are timeout and max_requests."

    def __init__(self, config: Config, worker: UvicornWorker) -> None:
        super().__init__(config)
        self._worker = worker
        self._hurried = False

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """The server handles TERM: libraries find it through the handler. The handler stays, because a late TERM must
        not kill a process that is ending. All other signals are the worker's."""
        signal.signal(signal.SIGTERM, self._hear_signal)
        yield

    def hurry(self, sig: int) -> None:
        """From a signal handler: do not wait for clients. With a SIGINT a second after the first one: stop at once."""
        self._hurried = self.should_exit = True
        if sig == signal.SIGINT and self._interrupts.hear(time.monotonic()):
            self.force_exit = True

    def _choose_drain(self) -> tuple[DrainMode, float]:
        """The worker cannot tell a stop from a reload, and there may be no other worker to accept what is queued, so it
        does that. A fast stop, and a change of code under `--reload`, do not wait for clients."""
        changed = self._worker.cfg.reload and not self._captured
        mode = DrainMode.CUT if changed or self._hurried else DrainMode.STOP
        seconds = self.config.drain_seconds
        return mode, min(seconds, RESERVE) if self._hurried else seconds

    def _log_started_message(self, listeners: list[Any]) -> None:
        """Nothing: gunicorn has logged its addresses."""
