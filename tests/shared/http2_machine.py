"""The pure machine with a sink that notes what it is told, and answers."""

from __future__ import annotations

import http2 as h2
from uvicorn.errors import BadRequest
from uvicorn.worker.http2 import hpack
from uvicorn.worker.http2.fields import Head
from uvicorn.worker.http2.machine import Machine
from uvicorn.worker.http2.streams import Sink, Stream, Terms

METHODS = {name.encode(): name for name in ("GET", "HEAD", "POST", "OPTIONS")}
ANSWER = hpack.encode([(b":status", b"204")])


class Driven:
    """Feed it; then the attributes say what came of it. Requests are answered by 204 when all of them has come, unless
    `answers` is false. Bodies are taken at once, unless `takes` is false."""

    def __init__(self, terms: Terms | None = None, *, answers: bool = True, takes: bool = True) -> None:
        sink: Sink = self  # it is one
        self.now = 0.0
        self.answers = answers
        self.takes = takes
        self.requests: dict[int, Head] = {}
        self.bodies: dict[int, bytes] = {}
        self.ended: set[int] = set()
        self.refusals: dict[int, int] = {}
        self.lost: list[int] = []
        self.faults: list[tuple[int, int, str]] = []
        self.failure: tuple[int, str] | None = None
        self.emptied_streams: list[int] = []
        self.streams: dict[int, Stream] = {}
        self.frames: list[h2.Frame] = []
        self._rest = b""
        self.machine = Machine(sink, terms or Terms(methods=METHODS), self.now)
        self.collect()

    # -- what the machine tells --------------------------------------------------------------------------------

    def request(self, stream: Stream, head: Head) -> None:
        self.requests[stream.id] = head
        self.streams[stream.id] = stream
        self.bodies[stream.id] = b""
        self._heard(stream)

    def refused(self, stream: Stream, fault: BadRequest) -> None:
        self.refusals[stream.id] = fault.status

    def data(self, stream: Stream, data: bytes) -> None:
        if stream.id in self.bodies:
            self.bodies[stream.id] += data
        if self.takes:
            self.machine.intake.taken(stream, len(data))
        self._heard(stream)

    def reset(self, stream: Stream) -> None:
        self.lost.append(stream.id)
        if stream.id in self.requests and stream.id not in self.ended:
            self.machine.finished()

    def fault(self, number: int, code: int, reason: str) -> None:
        self.faults.append((number, code, reason))

    def emptied(self, stream: Stream) -> None:
        self.emptied_streams.append(stream.id)

    def unfinished(self) -> None:
        pass

    def failed(self, code: int, reason: str) -> None:
        assert self.failure is None
        self.failure = code, reason

    def _heard(self, stream: Stream) -> None:
        if stream.peer_ended and stream.id in self.requests and self.answers:
            self.ended.add(stream.id)
            self.machine.sender.headers(stream, ANSWER, ends=True)
            self.machine.finished()

    # -- what a test does --------------------------------------------------------------------------------------

    def feed(self, *parts: bytes) -> list[h2.Frame]:
        """The frames that the machine wants to send afterwards."""
        before = len(self.frames)
        for part in parts:
            self.machine.feed(part, self.now)
        self.collect()
        return self.frames[before:]

    def collect(self) -> None:
        sender = self.machine.sender
        while sender.out:
            self._rest += b"".join(sender.out)
            sender.out.clear()
            sender.written(False)
        found, self._rest = h2.frames_in(self._rest)
        self.frames += found

    @property
    def resets(self) -> dict[int, int]:
        return {one.stream: one.number for one in self.frames if one.kind == h2.RST_STREAM}

    @property
    def gone(self) -> int | None:
        """The code of the last GOAWAY."""
        return next((one.goaway[1] for one in reversed(self.frames) if one.kind == h2.GOAWAY), None)

    def sent(self, stream: int) -> bytes:
        """The bytes of DATA on a stream."""
        return b"".join(one.payload for one in self.frames if one.kind == h2.DATA and one.stream == stream)
