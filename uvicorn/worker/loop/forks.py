"""What the application forks while it is served: a child that must not be taken for the server.

A child of `os.fork`, of multiprocessing's "fork", or of a pool of such processes inherits the signal handlers (so that
TERM would do nothing), the listeners (so that the address is in use after the stop), the channel to the master (whose
end of file is its lifeline) and every client's connection (which would end only with the child). So, in the child:

- our handlers, and the event loop's, become the defaults; what the application has put in place itself stays;
- its row of the fleet's page becomes memory of its own: it may outlive the worker, whose row another one has then;
- those descriptors become /dev/null, by `dup2`. They are not shut down, which would end them for the parent too, and
  not only closed: objects of the child still hold the numbers, and would soon mean somebody else's file. The loop's
  epoll is shared with the parent, and not touched.

A child that comes back into the server, by `sys.exit()` or by returning, would go on as a second one with the parent's
loop: it ends there, with its own exit code and nothing of ours.

Nothing is done before there is a fork: the server's state is walked then. Only in a process that does nothing but
serve; a program that embeds a `Server` decides for itself what its children have. The master's forks come before this.

Owns: that. Must not: change the parent, or log in the child. Fails by: nothing; what has no descriptor any more is left
out.
"""

from __future__ import annotations

import os
import signal
import sys
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from uvicorn.errors import say
from uvicorn.net.sockets import Listener
from uvicorn.process.channel import WorkerLink

if TYPE_CHECKING:
    from uvicorn.worker.server import Server

_OURS = ("uvicorn.", "gunicorn.", "asyncio.", "uvloop.")


class _Served(NamedTuple):
    server: Server
    listeners: list[Listener]
    link: WorkerLink | None
    null: int


_served: _Served | None = None
_registered = False
_loop: Any = None
"""The one that runs in the thread that forks; in a child asyncio does not say so any more."""
_is_child = False


@contextmanager
def shedding(server: Server, listeners: list[Listener], link: WorkerLink | None) -> Iterator[None]:
    """What is forked inside leaves the server behind, its listeners and the channel to its master."""
    global _served, _registered
    if not hasattr(os, "register_at_fork"):
        yield
        return
    if not _registered:
        os.register_at_fork(before=_note_loop, after_in_child=_in_child)
        _registered = True
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)  # now: a child may have no descriptor left
    _served = _Served(server, listeners, link, null)
    try:
        yield
    finally:
        _served = None
        os.close(null)


def _note_loop() -> None:
    global _loop
    asyncio = sys.modules.get("asyncio")
    _loop = None if asyncio is None or _served is None else asyncio._get_running_loop()


def _in_child() -> None:
    global _served, _is_child
    served, _served = _served, None
    if served is None:
        return
    _is_child = True
    if _loop is not None:
        _loop.call_soon(_end_stray)
        if isinstance(ready := getattr(_loop, "_ready", None), deque):
            ready.rotate(1)  # before everything that is the parent's to do
    _reset_signals()
    if served.link is not None:
        served.link.heartbeat.detach()
    for fd in _descriptors(served):
        os.dup2(served.null, fd, inheritable=False)


def end_child(exc: BaseException) -> None:
    """What SystemExit and KeyboardInterrupt mean in a child of the application's. Returns in any other process."""
    if not _is_child:
        return
    code = exc.code if isinstance(exc, SystemExit) else 128 + signal.SIGINT
    if code is not None and not isinstance(code, int):
        say(f"{code}")
    _end(code if isinstance(code, int) else int(code is not None))


def _end_stray() -> None:
    say("A child that the application has forked came back into the server: it ends here.")
    _end(1)


def _end(code: int) -> NoReturn:
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code & 0xFF)


def _reset_signals() -> None:
    signal.set_wakeup_fd(-1)
    for number in signal.valid_signals():
        if str(getattr(signal.getsignal(number), "__module__", "")).startswith(_OURS):
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)


def _descriptors(served: _Served) -> Iterator[int]:
    holders: list[Any] = [listener.sock for listener in served.listeners]
    for acceptor in served.server.servers:
        holders += acceptor.open_sockets
    if served.link is not None:
        holders.append(served.link.endpoint)
    for connection in list(served.server.server_state.connections):
        transport = getattr(connection, "transport", None)
        if transport is not None:
            holders.append(transport.get_extra_info("socket"))
    for holder in holders:
        try:
            fd = holder.fileno()
        except (AttributeError, OSError, RuntimeError, ValueError):  # gone already, each loop in its own words
            continue
        if fd >= 0:
            yield fd
