"""A server's link to the master of its process: reports, orders and its heartbeat.

A server without a master has such a link too: then nothing arrives, and reports go nowhere.

The heartbeat is written at each tick of the loop. A master that sees none for some time asks, by a signal, what the
worker is doing. The handler (`report_in_flight`) runs between two bytecodes of whatever blocks the loop, as long as
that is Python code or a call that Python restarts: it writes which requests are in flight, or that a debugger has
stopped the process. Rejected: a dormant thread, which could report blocked C code as well; every process that an
application forks would then be the fork of a process with threads.

Owns: the worker's end of the channel (`process.channel`), and the phase in its heartbeat. Must not: stop the server; it
sets `should_exit`. The signal handler must not change anything else. Fails by: a master that is gone ends the server.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Collection
from types import FrameType
from typing import TYPE_CHECKING, Any

from uvicorn.process import channel
from uvicorn.process.channel import (
    ChannelClosed,
    Drain,
    Drained,
    Failed,
    Ready,
    Spent,
    WorkerLink,
)
from uvicorn.process.drainmode import DrainMode
from uvicorn.process.handlers import undisturbed
from uvicorn.process.page import Phase
from uvicorn.surface.later import Later
from uvicorn.worker import debugging
from uvicorn.worker.loop.pulse import EACH_TICK, Pulse

if TYPE_CHECKING:
    import asyncio

    from uvicorn.worker.server import Server
else:
    asyncio = Later("asyncio", globals())

NAMED = 20
"""Requests that a report names; of the others it gives only the number."""

_log = logging.getLogger("uvicorn.error")


class MasterLink:
    """The link of one server. `phase` is what the heartbeat says the server is doing."""

    def __init__(self, server: Server, pulse: Pulse) -> None:
        self.phase = Phase.BOOTING
        self._server = server
        self._pulse = pulse
        self._taken: WorkerLink | None = None
        pulse.every(EACH_TICK, self._beat)

    @property
    def channel(self) -> WorkerLink | None:
        """The channel of this process, for the first server that asks for it; None for any other.

        A server may be made before the process is forked, so it is looked for until it is there.
        """
        if self._taken is None:
            self._taken = channel.take()
        return self._taken

    @property
    def exists(self) -> bool:
        """Whether this server has a master."""
        return self.channel is not None

    # -- to the master -----------------------------------------------------------------------------------------

    def report(self, message: Ready | Drained | Failed | Spent) -> bool:
        """Tell the master. Returns whether there is one to be told."""
        link = self.channel
        if link is None:
            return False
        try:
            link.say(message)
        except ChannelClosed:
            self._server.should_exit = True
            return False
        return True

    def report_ready(self) -> None:
        """The server accepts connections, or will as soon as the sockets listen."""
        if self.phase is not Phase.SERVING:
            self.phase = Phase.SERVING
            self.report(Ready())

    def _beat(self, now: float) -> None:
        link, server = self.channel, self._server
        if link is None:
            return
        phase, state = self.phase, server.server_state
        if server.config.should_reload:
            debugging.take_back_interrupt(link.hear_interrupt)
            phase = Phase.ASKING if debugging.is_asking() else phase
        link.beat(now, state.in_flight, phase, state.total_requests)
        if link.reopen:
            link.reopen = False
            server.reopen_logs = True

    def beat_after_serving(self) -> None:
        """The heartbeat of a process whose server has stopped, and which has not ended yet."""
        if (link := self.channel) is not None:
            link.beat(time.monotonic(), 0, Phase.DRAINING, self._server.server_state.total_requests)

    @undisturbed
    def report_in_flight(self, sig: int, frame: FrameType | None) -> None:
        """The signal handler for a master that suspects a hang: write the requests in flight where it reads them."""
        link, state = self.channel, self._server.server_state
        if link is None:
            return
        link.hear_interrupt(sig, frame)
        last = link.heartbeat.read().at
        held = debugging.is_held(frame, time.monotonic() - last)
        if held or debugging.is_asking():
            phase = Phase.HELD if held else Phase.ASKING
            link.heartbeat.beat(last, state.in_flight, phase, state.total_requests)
            return
        # A turn that works through many requests is no hang: a loop that has written since the last tick still turns.
        beat = max(last, state.outbox.last)
        link.heartbeat.beat(beat, state.in_flight, self.phase, state.total_requests)
        if link.report_fd >= 0:
            os.write(link.report_fd, in_flight(list(state.connections), time.monotonic()))

    # -- from the master ---------------------------------------------------------------------------------------

    def listen(self) -> None:
        """Notice messages of the master at once, while the loop runs."""
        if (link := self.channel) is not None:
            asyncio.get_running_loop().add_reader(link.endpoint.fileno(), self._read)

    def stop_listening(self) -> None:
        if (link := self.channel) is not None:
            asyncio.get_running_loop().remove_reader(link.endpoint.fileno())

    def _read(self) -> None:
        link = self.channel
        if link is None:
            return
        if not link.poll():
            self.stop_listening()
            _log.error("The master is gone: finishing what is in flight.")
            self._server.should_exit = True
        elif link.drain is not None:
            self._server.should_exit = True
        self._pulse.wake()

    def says_leave(self) -> bool:
        """Whether the master has said so by now, or is gone."""
        link = self.channel
        return link is not None and (not link.poll() or link.drain is not None)

    @property
    def has_ordered(self) -> bool:
        """Whether the master has said how to leave, as far as its messages have been read."""
        return self.channel is not None and self.channel.drain is not None

    def order(self, seconds: float) -> Drain | None:
        """How the master wants this worker to leave; None without a master.

        `seconds` is how long it may take when the master has given no order: when somebody else has sent TERM to this
        process. The other workers accept what is queued then.
        """
        link = self.channel
        if link is None:
            return None
        alive = link.poll()
        order = link.drain or Drain(DrainMode.RETIRE, time.monotonic() + seconds)
        if not alive:  # nobody accepts what is queued, and nobody expects this process to go on for another second
            order = order.merged(Drain(DrainMode.INTERRUPT, order.deadline))
        return order

    async def wait_until_listening(self) -> bool:
        """Wait until the master says that the sockets listen. False when the server is to stop instead."""
        link = self.channel
        assert link is not None
        while not link.listening and not self._server.should_exit:
            await self._pulse.beat()
        return link.listening

    async def outlast_debugger(self) -> None:
        """Under `--reload`, wait while a debugger has stopped a thread; the time for leaving begins after that."""
        link = self.channel
        if link is None or not self._server.config.should_reload:
            return
        since = time.monotonic()
        while debugging.is_asking() and link.poll() and not self._server.force_exit:
            await self._pulse.beat()
        if link.drain is not None:
            link.drain = link.drain._replace(deadline=link.drain.deadline + time.monotonic() - since)


def in_flight(connections: Collection[Any], now: float) -> bytes:
    """A line for each request in flight (`Connection.in_work`), b"" for none. `now`: seconds of the monotonic clock."""
    told = [in_work(now) for one in connections if (in_work := getattr(one, "in_work", None)) is not None]
    found = [line for text in told for line in text.splitlines()]  # a connection of HTTP/2 has several
    return f"In flight:\n{listed(found)}\n".encode("utf-8", "backslashreplace") if found else b""


def listed(requests: list[str]) -> str:
    """The first NAMED of them, one a line, and the number of the others."""
    more = [f"and {len(requests) - NAMED} more"] if len(requests) > NAMED else []
    return "\n".join([f"  {text}" for text in requests[:NAMED] + more])
