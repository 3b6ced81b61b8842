"""Processes that the application forks: they must not act as the server.

A child of `os.fork`, of multiprocessing's "fork", or of a pool of such processes inherits the signal handlers (SIGTERM
would do nothing), the listeners (the address would stay in use after a stop), the channel to the master (whose end of
file tells that the worker has ended) and every client's connection (which would stay open as long as the child). So in
the child:

- our signal handlers, and those of the event loop, become the defaults; the application's own stay;
- the worker's row of the fleet's page becomes private memory: the child may outlive the worker, and the row is another
  worker's then;
- those descriptors become /dev/null, by `dup2`. To shut them down would end them for the parent as well; to close them
  is not enough, because objects in the child still use the numbers, which would soon be another file's. The loop's
  epoll descriptor is shared with the parent, and left alone.

A child that returns into the server, or raises SystemExit there, would run the parent's loop as a second server: it
ends instead, with its own exit code and without running any of our code.

Nothing is done before a fork: the server's state is read at that moment. This is for processes that only serve; a
program that embeds a `Server` decides what its children inherit. The master forks workers before this is set up.

Owns: that clean-up. Must not: change the parent, or log in the child. Fails by: nothing; descriptors that are closed
already are left out.
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
"""The loop of the thread that forks; in the child asyncio does not tell it any more."""
_is_child = False


@contextmanager
def cleaned_forks(server: Server, listeners: list[Listener], link: WorkerLink | None) -> Iterator[None]:
    """Processes that are forked in this context drop the server, its listeners and the channel to its master."""
    global _served, _registered
    if not hasattr(os, "register_at_fork"):
        yield
        return
    if not _registered:
        os.register_at_fork(before=_note_loop, after_in_child=_in_child)
        _registered = True
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)  # now, because a child may have no free descriptor
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
        _loop.call_soon(_end_returned_child)
        if isinstance(ready := getattr(_loop, "_ready", None), deque):
            ready.rotate(1)  # before the callbacks that are the parent's
    _reset_signals()
    if served.link is not None:
        served.link.heartbeat.detach()
    for fd in _descriptors(served):
        os.dup2(served.null, fd, inheritable=False)


def end_child(exc: BaseException) -> None:
    """In a process that the application has forked: end it, as SystemExit or KeyboardInterrupt says; else nothing."""
    if not _is_child:
        return
    code = exc.code if isinstance(exc, SystemExit) else 128 + signal.SIGINT
    if code is not None and not isinstance(code, int):
        say(f"{code}")
    _end(code if isinstance(code, int) else int(code is not None))


def _end_returned_child() -> None:
    say("A process that the application has forked returned into the server: it is ended.")
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
        except (AttributeError, OSError, RuntimeError, ValueError):  # closed already; each loop raises something else
            continue
        if fd >= 0:
            yield fd
