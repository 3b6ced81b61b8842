"""What a connection sends: heads, bodies as far as the flow-control windows allow, and the order of waiting streams.

A part of a body is sent at once if both windows and the transport have room and no stream waits. Else it waits in its
stream, and waiting streams take turns, a frame each. Control frames and heads wait only for the transport.

Owns: `out`, the windows for sent data, and the turns. Must not: judge what the peer does, or know a transport.
Fails by: `unread`, when the peer does not read the answers to its control frames.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from uvicorn.worker.http2 import frames
from uvicorn.worker.http2.frames import END_HEADERS, END_STREAM, FIRST_WINDOW, HEADERS, LARGEST_FRAME, pack_head
from uvicorn.worker.http2.hpack import NO_TABLE
from uvicorn.worker.http2.schedule import Turns
from uvicorn.worker.http2.streams import Stream

CONTROL_BYTES = 65536
"""The most bytes of control frames that a peer has not read; above it the connection ends."""
OUT_BYTES = 1 << 18
"""Bytes of bodies in `out` above which no more are added until they were written."""


class Sender:
    """`out` is to be written, in this order; the connection writes it, empties it and calls `written`.

    `ended` is called when a stream was ended by us, `writable` when its queue was sent, `unread` when the peer leaves
    too many control frames unread.
    """

    __slots__ = (
        "_control",
        "_turns",
        "blocked",
        "ended",
        "held",
        "out",
        "parts",
        "quick",
        "table_shrunk",
        "unread",
        "unseen",
        "window",
        "writable",
    )

    def __init__(
        self, ended: Callable[[Stream], None], writable: Callable[[Stream], None], unread: Callable[[], None]
    ) -> None:
        self.ended = ended
        self.writable = writable
        self.unread = unread
        self.out: list[bytes | memoryview] = []
        self.blocked = False
        """The transport is full, or `out` holds enough for now: only heads and control frames are sent."""
        self.window = FIRST_WINDOW
        """Bytes of all bodies that the peer still accepts."""
        self.table_shrunk = False
        """The peer has made its table smaller; the next block has to begin with a table size update."""
        self._turns: Turns[Stream] = Turns()
        self._control = self.held = 0
        self.quick = LARGEST_FRAME
        """The largest part that leaves at once, if its stream's window takes it; below zero when none does."""
        self.unseen = 0
        """Streams whose end a full transport has not taken yet."""
        self.parts = 0
        """The number of body parts that were sent."""

    def headers(self, stream: Stream, block: bytes, ends: bool = False) -> None:
        """Send the field block of a response or of an interim response."""
        if stream.closed:
            return
        if self.table_shrunk:
            block = NO_TABLE + block
            self.table_shrunk = False
            self.look()
        self.out.append(frames.head_block(stream.id, block, END_STREAM if ends else 0, LARGEST_FRAME))
        if ends:
            self._said_all(stream)

    def respond(self, stream: Stream, block: bytes, body: bytes, ends: bool) -> None:
        """Send the head of a response and the first part of its body, or all of it."""
        size = len(body)
        if 0 < size <= self.quick and size <= stream.window and len(block) <= LARGEST_FRAME:
            number = stream.id
            self.out += (
                pack_head(len(block) << 8 | HEADERS, END_HEADERS, number),
                block,
                pack_head(size << 8, ends, number),
                body,
            )
            stream.window -= size
            self.window = window = self.window - size
            self.held += size
            self.parts += 1
            if window < LARGEST_FRAME or self.held > OUT_BYTES:
                self.look()
            if ends:
                stream.we_ended = True
                self.ended(stream)
            return
        self.headers(stream, block, ends and not body)
        if body:
            self.send(stream, body, ends)

    def send(self, stream: Stream, body: bytes, ends: bool) -> None:
        """Send a part of a body, or its end. What the windows and the transport do not allow now waits."""
        size = len(body)
        if 0 < size <= self.quick and size <= stream.window and not stream.queued:
            self.out += (pack_head(size << 8, ends, stream.id), body)
            self._count(stream, size)
            if ends:
                self._said_all(stream)
            return
        if stream.closed or not (size or ends):
            return
        if not stream.queued and (not size or (self.quick >= 0 and size <= self.window and size <= stream.window)):
            self._send_frames(stream.id, body, ends)
            self._count(stream, size)
            if ends:
                self._said_all(stream)
            return
        queue = stream.queue
        if queue is None:
            queue = stream.queue = deque()
        if size:
            queue.append(body)
            stream.queued += size
        if ends:
            stream.ends = b""
        self.wait(stream)
        self.pump()

    def _count(self, stream: Stream, size: int) -> None:
        self.window -= size
        stream.window -= size
        self.held += size
        self.parts += 1
        if self.held > OUT_BYTES or self.window < LARGEST_FRAME:
            self.look()

    def look(self) -> None:
        """Something that `quick` depends on has changed."""
        if self.held > OUT_BYTES:
            self.blocked = True
        free = not (self.blocked or self.table_shrunk or self._turns.size)
        self.quick = min(self.window, LARGEST_FRAME) if free else -1

    def block(self) -> None:
        """The transport is full."""
        self.blocked = True
        self.look()

    def widen(self, more: int) -> None:
        """The peer takes so many bytes more."""
        self.window += more
        self.look()

    def _send_frames(self, number: int, body: bytes, ends: bool) -> None:
        view = memoryview(body)
        for at in range(0, len(body) or 1, LARGEST_FRAME):
            part = view[at : at + LARGEST_FRAME]
            last = ends and at + LARGEST_FRAME >= len(body)
            self.out.append(pack_head(len(part) << 8, last, number))
            self.out.append(part)

    def end_with(self, stream: Stream, block: bytes) -> None:
        """Send trailers, which end the response."""
        if stream.queued and not stream.closed:
            stream.ends = block
        else:
            self.headers(stream, block, ends=True)

    def takes(self, stream: Stream, size: int) -> bool:
        """Whether so many bytes of its body would leave at once."""
        return size <= min(self.quick, stream.window)

    def drop(self, stream: Stream) -> None:
        """Nothing more of it is sent."""
        stream.queue = None
        stream.queued = 0
        if stream.waiting:
            self._turns.remove(stream)
            self.look()

    def wait(self, stream: Stream) -> None:
        """Let a stream take turns if it has something to send that its own window allows."""
        if not stream.waiting and (stream.queued and stream.window > 0):
            stream.waiting = True
            self._turns.put(stream, stream.urgency)
            self.quick = -1

    def pump(self) -> None:
        """Send from waiting streams, as far as the windows and the transport allow: a frame of each in turn."""
        turns = self._turns
        while turns.size and self.window > 0 and not self.blocked:
            stream = turns.take()
            if stream is None:
                break
            stream.waiting = False
            if stream.closed or not stream.queued or stream.window <= 0:
                continue
            self._send_frame(stream)
            self.wait(stream)
        self.look()

    def _send_frame(self, stream: Stream) -> None:
        queue = stream.queue
        assert queue is not None
        room = min(self.window, stream.window, LARGEST_FRAME)
        parts: list[bytes | memoryview] = []
        size = 0
        while queue and size < room:
            part = queue.popleft()
            if size + len(part) > room:
                view = memoryview(part)
                queue.appendleft(view[room - size :])
                part = view[: room - size]
            parts.append(part)
            size += len(part)
        stream.queued -= size
        ends = not stream.queued and stream.ends is not None
        self.out.append(pack_head(size << 8, ends and not stream.ends, stream.id))
        self.out += parts
        self._count(stream, size)
        if ends:
            trailers, stream.ends = stream.ends, None
            if trailers:
                self.headers(stream, trailers, ends=True)
            else:
                self._said_all(stream)
        elif not stream.queued:
            self.writable(stream)

    def _said_all(self, stream: Stream) -> None:
        if self.blocked:
            self.unseen += 1
        stream.we_ended = True
        self.ended(stream)

    def say(self, data: bytes) -> None:
        """Send a control frame, which no window limits."""
        self.out.append(data)
        self._control += len(data)
        if self._control > CONTROL_BYTES:
            self.unread()

    def written(self, full: bool) -> None:
        """The contents of `out` were given to the transport. `full`: send no more before `written(False)`."""
        self.held = 0
        if not full:
            self._control = self.unseen = 0
        if full or self.quick < LARGEST_FRAME:
            self.blocked = full
            self.pump()
