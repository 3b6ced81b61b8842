"""What the application forks while it is served: a child that must not be taken for the server.

A child of `os.fork`, of multiprocessing's "fork", or of a pool of such processes inherits the signal handlers (so that
TERM would do nothing), the listeners (so that the address is in use after the stop), the channel to the master (whose
end of file is its lifeline) and every client's connection (which would end only with the child). So, in the child:

- our handlers, and the event loop's, become the defaults; what the application has put in place itself stays;
- those descriptors become /dev/null, by `dup2`. They are not shut down, which would end them for the parent too, and
  not only closed: objects of the child still hold the numbers, and would soon mean somebody else's file. The loop's
  epoll is shared with the parent, and not touched.

Nothing is done before there is a fork: the server's state is walked then. Only in a process that does nothing but
serve; a program that embeds a `Server` decides for itself what its children have. The master's forks come before this.

Owns: that. Must not: run in the parent, or log in the child. Fails by: nothing; what has no descriptor any more is left
out.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from uvicorn.channel import WorkerLink
from uvicorn.sockets import Listener

if TYPE_CHECKING:
    from uvicorn.worker.server import Server

_OURS = ("uvicorn.", "asyncio.", "uvloop.")


class _Served(NamedTuple):
    server: Server
    listeners: list[Listener]
    link: WorkerLink | None
    null: int


_served: _Served | None = None
_registered = False


@contextmanager
def shedding(server: Server, listeners: list[Listener], link: WorkerLink | None) -> Iterator[None]:
    """What is forked inside leaves the server behind, its listeners and the channel to its master."""
    global _served, _registered
    if not hasattr(os, "register_at_fork"):
        yield
        return
    if not _registered:
        os.register_at_fork(after_in_child=_in_child)
        _registered = True
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)  # now: a child may have no descriptor left
    _served = _Served(server, listeners, link, null)
    try:
        yield
    finally:
        _served = None
        os.close(null)


def _in_child() -> None:
    global _served
    served, _served = _served, None
    if served is None:
        return
    _reset_signals()
    for fd in _descriptors(served):
        os.dup2(served.null, fd, inheritable=False)


def _reset_signals() -> None:
    signal.set_wakeup_fd(-1)
    for number in signal.valid_signals():
        if str(getattr(signal.getsignal(number), "__module__", "")).startswith(_OURS):
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)


def _descriptors(served: _Served) -> Iterator[int]:
    holders: list[Any] = [listener.sock for listener in served.listeners]
    for acceptor in served.server.servers:
        holders += acceptor.held
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
