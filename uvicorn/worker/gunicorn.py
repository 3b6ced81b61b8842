"""A worker process whose master is gunicorn's: `gunicorn app:App -w 4 -k uvicorn.workers.UvicornWorker`.

gunicorn's arbiter binds, forks, reloads and judges; what it asks of a worker class is answered here by our Server:
its sockets, settings, logs, signals and heartbeat. Life: made in the arbiter, before the fork (`__init__`) →
`init_process` in the worker (user, signals, application) → `run` → exit code: 0, or 3 when it could not start, which
makes gunicorn stop as a whole instead of trying for ever.

Who decides: the arbiter by signals (TERM: drain; QUIT, INT: now; USR1: log files; ABRT: the heartbeat was missed), its
reloader and hooks by `alive = False`, and its death. Looked at by `callback_notify`, which hangs on the server's one
timer: so a loop that stands still gives no sign of life, and one that starts, serves or drains does.

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
from uvicorn.process.channel import DrainMode
from uvicorn.settings.application import is_wsgi
from uvicorn.worker.drain import RESERVE
from uvicorn.worker.loop.forks import shedding
from uvicorn.worker.process import settle_memory
from uvicorn.worker.server import Server

LOOK_SECONDS = 0.5
"""Seconds between two signs of life, and two looks at whether to go on."""

_WHERE_SET = {
    "limit_request_line": "limit_request_line",
    "limit_request_fields": "limit_request_fields",
    "asgi_lifespan": "lifespan",
    "root_path": "root_path",
    "websocket_max_message_size": "ws_max_size",
}
"""gunicorn's settings, some of them of newer versions only, that count when somebody has set them."""

_log = logging.getLogger("uvicorn.error")


def settings_of(cfg: Any) -> dict[str, Any]:
    """gunicorn's settings as those of `Config`.

    Limits of a request's head count only when somebody has set them: gunicorn's defaults are smaller than ours, and who
    has served the same application with uvicorn has never met them.
    """
    settings = {
        "workers": 1,
        "log_config": None,
        "backlog": cfg.backlog,
        "timeout_keep_alive": cfg.keepalive,
        "timeout_graceful_shutdown": _before(cfg.graceful_timeout),
        "forwarded_allow_ips": cfg.forwarded_allow_ips,
        "limit_max_requests_jitter": 0,  # drawn by gunicorn
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
    """Whether this gunicorn has the setting, and somebody has changed it."""
    setting = cfg.settings.get(name)
    return setting is not None and setting.get() != setting.default


def _before(graceful_timeout: float) -> float:
    """What a drain may take, so that it is over when the arbiter kills: a tenth, or a second, less."""
    return max(0.0, graceful_timeout - min(1.0, graceful_timeout / 10))


class UvicornWorker(Worker):  # type: ignore[misc]  # gunicorn has no annotations
    """Serves gunicorn's application and sockets. `CONFIG_KWARGS` of a subclass are settings of `uvicorn.Config`, and
    win over what comes from gunicorn's."""

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
        except ConfigError as exc:  # here it would end the arbiter, and leave the other workers to nobody
            self._refused = exc

    def _take_over_logs(self) -> None:
        """Our lines go where gunicorn's go, and are reopened with them."""
        for ours, theirs in (("uvicorn.error", "error_log"), ("uvicorn.access", "access_log")):
            source = getattr(self.log, theirs, None)  # a logger class of somebody's may have none
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
        """Serve until asked to stop. Leaves by SystemExit(3) when it could not start."""
        server = self._server
        assert server is not None
        self.config.app = self._broken if self._is_a_fault_under_reload() else self.wsgi
        settle_memory()
        if self.alive:
            listeners = [Listener(sock.sock) for sock in self.sockets]
            with shedding(server, listeners, None):
                server.run([listener.sock for listener in listeners])

    def _is_a_fault_under_reload(self) -> bool:
        """With `--reload` gunicorn puts a WSGI application, which shows the fault, in the place of one that does not
        import; it is WSGI for every worker class."""
        return bool(self.cfg.reload) and self.config.interface == "auto" and is_wsgi(self.wsgi)

    async def _broken(self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        """In the application's place until its next change."""
        assert scope["type"] == "http"
        raise RuntimeError("The application could not be imported (or is WSGI): see the log above.")

    async def callback_notify(self) -> None:
        """The sign of life, and a look at whether to go on."""
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
        """QUIT, and a terminal's INT, which the arbiter follows by QUIT: end what is open after a moment, and shut
        the application down. Out of an import at once, where no loop looks at a flag."""
        self.alive = False
        self.cfg.worker_int(self)
        server = self._server
        if server is None or not server.config.loaded:
            sys.exit(0)
        server.hurry(sig)

    def handle_abort(self, sig: int, frame: FrameType | None) -> None:
        """ABRT: no sign of life for `--timeout` seconds. What holds the loop is shown, and it ends."""
        stack = "".join(traceback.format_stack(frame, limit=10))
        _log.critical("The event loop has not turned for %g s; it is held here:\n%s", self.cfg.timeout, stack.rstrip())
        super().handle_abort(sig, frame)

    def handle_usr1(self, sig: int, frame: FrameType | None) -> None:
        try:
            super().handle_usr1(sig, frame)
        except OSError as exc:
            self._log_to_standard_error(exc)
        if self._server is not None and (self.config.log_file or self.config.access_log_file):
            self._server.reopen_logs = True

    def _log_to_standard_error(self, why: OSError) -> None:
        """The old file is closed by now, and every line would raise in the request that it tells of."""
        for name in ("uvicorn.error", "uvicorn.access"):
            for handler in logging.getLogger(name).handlers:
                if isinstance(handler, logging.FileHandler) and handler.stream is None:
                    handler.setStream(os.fdopen(os.dup(2), "a"))
        _log.error("A log file cannot be opened anew (%s): its lines go to standard error.", why)


class UvicornH11Worker(UvicornWorker):
    """The same in pure Python, for PyPy and wherever there is no compiler."""

    CONFIG_KWARGS: dict[str, Any] = {"loop": "asyncio", "http": "h11"}  # noqa: RUF012


class GunicornServer(Server):
    """A server whose listeners are shared with siblings and with the arbiter."""

    instead_of_a_master = "gunicorn's own settings are timeout and max_requests."

    def __init__(self, config: Config, worker: UvicornWorker) -> None:
        super().__init__(config)
        self._worker = worker
        self._hurried = False

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """TERM is ours: libraries look for the server behind its handler. It stays, because a late one must not end a
        process that is on its way out; all others are the worker's."""
        signal.signal(signal.SIGTERM, self._hear_signal)
        yield

    def hurry(self, sig: int) -> None:
        """From a signal handler: leave, and wait for nobody. A SIGINT a second or more after the first one: now."""
        self._hurried = self.should_exit = True
        if sig == signal.SIGINT and self._interrupts.hear(time.monotonic()):
            self.force_exit = True

    def _choose_drain(self) -> tuple[DrainMode, float]:
        """A stop and a reload look the same from here, and the queue may be for us alone: it is emptied. Only a fast
        stop, and a change of code while developing, wait for nobody."""
        changed = self._worker.cfg.reload and not self._captured
        mode = DrainMode.CUT if changed or self._hurried else DrainMode.STOP
        seconds = self.config.drain_seconds
        return mode, min(seconds, RESERVE) if self._hurried else seconds

    def _log_started_message(self, listeners: list[Any]) -> None:
        """gunicorn has said where it listens."""
