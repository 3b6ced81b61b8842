"""The server's side of one HTTP/2 connection (RFC 9113): bytes in, calls of a sink and bytes out.

    stream:      IDLE ──HEADERS──▶ OPEN ──the peer's END_STREAM──▶ HALF-CLOSED (remote) ──our END_STREAM──▶ closed
                                    └──our END_STREAM──▶ HALF-CLOSED (local) ──the peer's──▶ closed
                 any ──RST_STREAM of either──▶ closed
    connection:  preface → open → (drain: GOAWAY twice) → over

A stream that is open has a `Stream`. Of one that is closed the machine remembers for a while how it closed, because
what is said of it afterwards is judged by that. A fault of the peer's ends its stream where a stream can take it,
else the connection: then `failed` says so, a GOAWAY is the last thing to be written, and the machine hears no more.

What is sent is the business of `sender`. Received bytes count against both windows until `intake` hears that they
were taken.

Owns: frames that arrive, states, settings, and what a peer may cost. Must not: know a transport, a loop, an
application or a clock: time is an argument. Fails by: what the peer did wrong, as above; it raises nothing.
"""

from __future__ import annotations

from uvicorn.errors import BadRequest
from uvicorn.worker.http2 import frames
from uvicorn.worker.http2.budget import Budget
from uvicorn.worker.http2.closed import BY_PEER, BY_US, ClosedStreams
from uvicorn.worker.http2.fields import Head, HeadReader, Malformed, decoder
from uvicorn.worker.http2.frames import ACK, END_STREAM, FIRST_WINDOW, LARGEST_WINDOW, PADDED, Code, Setting
from uvicorn.worker.http2.hpack import TABLE_SIZE
from uvicorn.worker.http2.reading import DEPENDS_ON_ITSELF, Fault, FrameReader, check_setting, unpadded
from uvicorn.worker.http2.receiving import CONNECTION_WINDOW, Intake
from uvicorn.worker.http2.schedule import DEFAULT_URGENCY, priority_fault, read_priority_update
from uvicorn.worker.http2.sending import Sender
from uvicorn.worker.http2.streams import Sink, Stream, Terms

SMALL = 256
"""Bytes below which a frame costs more than it brings."""
_DRAINING = b"draining"
"""What the PING of a drain carries."""


class Machine:
    """Feed it what arrives; write what `sender.out` holds.

    `now` is seconds of a monotonic clock, in every call the same one.
    """

    def __init__(self, sink: Sink, terms: Terms, now: float) -> None:
        self._sink = sink
        self._terms = terms
        self.sender = Sender(self._said_all, sink.emptied, self._unread)
        self.streams: dict[int, Stream] = {}
        self.running = 0
        """Requests whose application has not returned: `finished` says when one has."""
        self.over = False
        self.intake = Intake(terms.window, self.sender.say)
        self._now = now
        self.frames = FrameReader(self._headers, self._frame, terms.size)
        self.heads = HeadReader(decoder(), (terms.line, terms.fields, terms.size), terms.methods, terms.tunnels)
        self._settled = False
        self.last = -3
        """The last stream that the peer has begun; -1 for none, and less before there are settings."""
        self._most = terms.streams
        self._last_wanted: int | None = None
        self._draining = False
        self._peer_window = FIRST_WINDOW
        self._closed = ClosedStreams()
        self._small_updates = 0
        self._budget = Budget(now)
        opening = frames.settings(terms.settings()) + frames.window_update(0, CONNECTION_WINDOW - FIRST_WINDOW)
        self.sender.out.append(opening)

    @property
    def waits(self) -> bool:
        """Whether the peer owes its preface, its settings, or the rest of a header block."""
        return not self._settled or self.frames.block is not None

    @property
    def is_drained(self) -> bool:
        """Whether the peer knows that it shall begin nothing more."""
        return self._last_wanted is not None

    # -- what arrives ------------------------------------------------------------------------------------------

    def feed(self, data: bytes, now: float) -> None:
        """What has arrived."""
        if self.over:
            return
        self._now = now
        try:
            self.frames.feed(data)
        except Fault as fault:
            self.fail(fault.code, fault.reason)

    def _frame(self, kind: int, flags: int, number: int, payload: bytes) -> None:
        if not self._settled and (kind != frames.SETTINGS or flags & ACK):
            raise Fault(Code.PROTOCOL_ERROR, "the first frame is not SETTINGS")
        handle = _HANDLERS.get(kind)
        if handle is not None:
            handle(self, flags, number, payload)
        elif kind == frames.CONTINUATION:
            raise Fault(Code.PROTOCOL_ERROR, "CONTINUATION without HEADERS")
        elif kind == frames.PUSH_PROMISE:
            raise Fault(Code.PROTOCOL_ERROR, "PUSH_PROMISE from a client")
        else:
            self._charge("frames of an unknown type")

    def _charge(self, what: str) -> None:
        if not self._budget.charge(self._now):
            raise Fault(Code.ENHANCE_YOUR_CALM, f"too many {what}")

    # -- requests ----------------------------------------------------------------------------------------------

    def _headers(self, flags: int, number: int, block: bytes) -> None:
        last = self.last
        if number != last + 2 and not self._is_next(number, flags, block):
            return
        self.last = number
        head = self.heads.known.get(block)
        if head is None and (head := self._read_head(number, block, flags)) is None:
            return
        if (self.running >= self._most or len(self.streams) >= self._most) and not self._has_room(number):
            return
        ended = flags & END_STREAM == END_STREAM
        made = Stream(number, head.urgency, self._peer_window, self.intake.first, ended)
        if head.content_length is not None or flags & DEPENDS_ON_ITSELF:
            if flags & DEPENDS_ON_ITSELF or (head.content_length and ended):
                wrong = "a stream that depends on itself, or has a Content-Length and no body"
                self._reset_for(number, Code.PROTOCOL_ERROR, wrong)
                return
            made.length = head.content_length or 0
        self.streams[number] = made
        self.running += 1
        self._sink.request(made, head)

    def _is_next(self, number: int, flags: int, block: bytes) -> bool:
        """Whether this begins a stream; the usual one, two behind the last, is not asked for."""
        if not self._settled:
            raise Fault(Code.PROTOCOL_ERROR, "the first frame is not SETTINGS")
        if not number & 1:
            raise Fault(Code.PROTOCOL_ERROR, "HEADERS on a stream that no client begins")
        if number > self.last:
            self._closed.left_out(max(1, self.last + 2), number)
            return True
        self._trailers(self.streams.get(number), number, bool(flags & END_STREAM), block)
        return False

    def _read_head(self, number: int, block: bytes, flags: int) -> Head | None:
        """The head that a block means; None for one that was refused."""
        try:
            return self.heads.read(block)
        except Malformed as fault:
            if self._has_room(number):
                self._reset_for(number, Code.PROTOCOL_ERROR, str(fault))
        except BadRequest as fault:
            if self._has_room(number):
                ended = bool(flags & END_STREAM)
                made = Stream(number, DEFAULT_URGENCY, self._peer_window, self.intake.first, ended)
                self.streams[number] = made
                self._sink.refused(made, fault)
        except ValueError as fault:
            raise Fault(Code.COMPRESSION_ERROR, f"a header block that cannot be decoded: {fault}") from None
        return None

    def _has_room(self, number: int) -> bool:
        """Whether another stream may begin: one counts until it is closed and its application has returned. If not,
        it may be repeated: nothing was done about it (RFC 9113, 8.7).
        """
        if self.running >= self._most:
            self._sink.unfinished()
        if self.running < self._most and len(self.streams) < self._most:
            return True
        self._charge_reset()
        self._closed.remember(number, BY_US)
        self.sender.say(frames.rst_stream(number, Code.REFUSED_STREAM))
        return False

    def _trailers(self, stream: Stream | None, number: int, ended: bool, block: bytes) -> None:
        fault = ""
        try:
            self.heads.trailers(block)
        except (Malformed, BadRequest) as exc:
            fault = str(exc)
        except ValueError as exc:
            raise Fault(Code.COMPRESSION_ERROR, f"a header block that cannot be decoded: {exc}") from None
        if stream is None:
            self._late(number, "HEADERS")
        elif stream.peer_ended:
            self._reset_for(number, Code.STREAM_CLOSED, "HEADERS after the end of its stream")
        elif fault or not ended:
            self._reset_for(number, Code.PROTOCOL_ERROR, fault or "trailers that do not end their stream")
        else:
            self._body_ended(stream, b"")

    def _late(self, number: int, what: str) -> None:
        """Something for a stream that is closed (RFC 9113, 5.1)."""
        reason = self._closed.judge(number, what)
        if reason:
            self._reset_for(number, Code.STREAM_CLOSED, reason)

    # -- bodies ------------------------------------------------------------------------------------------------

    def _data(self, flags: int, number: int, payload: bytes) -> None:
        size = len(payload)
        intake = self.intake
        if not intake.counts(size):
            raise Fault(Code.FLOW_CONTROL_ERROR, "more than the connection's window")
        stream = self.streams.get(number)
        if stream is None:
            if number > self.last or not number & 1:
                raise Fault(Code.PROTOCOL_ERROR, "DATA on a stream that was not begun")
            if size < SMALL:
                self._charge("frames for streams that are closed")
            intake.give_back(size)
            self._late(number, "DATA")
            return
        if stream.peer_ended:
            intake.give_back(size)
            self._reset_for(number, Code.STREAM_CLOSED, "DATA after the end of its stream")
            return
        if not intake.counts_for(stream, size):
            intake.give_back(size)
            self._reset_for(number, Code.FLOW_CONTROL_ERROR, "more than the stream's window")
            return
        if flags & PADDED:
            payload = unpadded(payload, flags)
            self._charge("padded frames")
            intake.taken(stream, size - len(payload))
        ended = bool(flags & END_STREAM)
        if not payload and not ended:
            self._charge("empty frames")
            return
        stream.received += len(payload)
        if stream.length >= 0 and stream.received > stream.length:
            self._reset_for(number, Code.PROTOCOL_ERROR, "a body that is longer than its Content-Length")
        elif ended:
            self._body_ended(stream, payload)
        else:
            self._sink.data(stream, payload)

    def _body_ended(self, stream: Stream, payload: bytes) -> None:
        if stream.length >= 0 and stream.received != stream.length:
            self._reset_for(stream.id, Code.PROTOCOL_ERROR, "a body that is shorter than its Content-Length")
            return
        stream.peer_ended = True
        self._sink.data(stream, payload)

    # -- other frames ------------------------------------------------------------------------------------------

    def _priority(self, flags: int, number: int, payload: bytes) -> None:
        self._charge("PRIORITY frames")
        code, reason = priority_fault(number, payload)
        if code and number > self.last:  # no stream that could be reset
            raise Fault(code, reason)
        if code:
            self._reset_for(number, code, reason)

    def _rst_stream(self, flags: int, number: int, payload: bytes) -> None:
        if len(payload) != 4:
            raise Fault(Code.FRAME_SIZE_ERROR, "RST_STREAM of the wrong size")
        if not number & 1 or number > self.last:
            raise Fault(Code.PROTOCOL_ERROR, "RST_STREAM on a stream that was not begun")
        if not self._budget.resets.take(self._now):
            raise Fault(Code.ENHANCE_YOUR_CALM, "too many resets")
        stream = self.streams.get(number)
        if stream is not None:
            self._close(stream, BY_PEER)
            self._sink.reset(stream)

    def _settings(self, flags: int, number: int, payload: bytes) -> None:
        if number:
            raise Fault(Code.PROTOCOL_ERROR, "SETTINGS on a stream")
        self._charge("SETTINGS frames")
        if flags & ACK:
            if payload:
                raise Fault(Code.FRAME_SIZE_ERROR, "an acknowledgement with settings")
            self.intake.acknowledged(self.streams.values())
            return
        if len(payload) % 6:
            raise Fault(Code.FRAME_SIZE_ERROR, "SETTINGS of the wrong size")
        for name, value in frames.read_settings(payload):
            self._apply(name, value)
        if not self._settled:
            self._settled = True
            self.last = -1
        self.sender.say(frames.SETTINGS_ACK)
        self.sender.pump()

    def _apply(self, name: int, value: int) -> None:
        check_setting(name, value)
        if name == Setting.INITIAL_WINDOW_SIZE:
            more = value - self._peer_window
            self._peer_window = value
            for stream in self.streams.values():
                stream.window += more
                if stream.window > LARGEST_WINDOW:
                    raise Fault(Code.FLOW_CONTROL_ERROR, "a window that is too large")
                self.sender.wait(stream)
        elif name == Setting.HEADER_TABLE_SIZE:
            self.sender.table_shrunk |= value < TABLE_SIZE
            self.sender.look()

    def _ping(self, flags: int, number: int, payload: bytes) -> None:
        if number:
            raise Fault(Code.PROTOCOL_ERROR, "PING on a stream")
        if len(payload) != 8:
            raise Fault(Code.FRAME_SIZE_ERROR, "PING of the wrong size")
        self._charge("PING frames")
        if not flags & ACK:
            self.sender.say(frames.ping(payload, ACK))
        elif payload == _DRAINING and self._draining:
            self.drained()

    def _goaway(self, flags: int, number: int, payload: bytes) -> None:
        """The peer begins nothing more; what it has begun is answered."""
        if number:
            raise Fault(Code.PROTOCOL_ERROR, "GOAWAY on a stream")
        if len(payload) < 8:
            raise Fault(Code.FRAME_SIZE_ERROR, "GOAWAY of the wrong size")
        self._charge("GOAWAY frames")

    def _window_update(self, flags: int, number: int, payload: bytes) -> None:
        if len(payload) != 4:
            raise Fault(Code.FRAME_SIZE_ERROR, "WINDOW_UPDATE of the wrong size")
        more = frames.number(payload)
        if number == 0:
            if not more:
                raise Fault(Code.PROTOCOL_ERROR, "WINDOW_UPDATE of nothing")
            self.sender.widen(more)
            if self.sender.window > LARGEST_WINDOW:
                raise Fault(Code.FLOW_CONTROL_ERROR, "a window that is too large")
        else:
            if not number & 1 or number > self.last:
                raise Fault(Code.PROTOCOL_ERROR, "WINDOW_UPDATE on a stream that was not begun")
            stream = self.streams.get(number)
            if stream is None:
                self._charge("frames for streams that are closed")
                return
            if not more:
                self._reset_for(number, Code.PROTOCOL_ERROR, "WINDOW_UPDATE of nothing")
                return
            stream.window += more
            if stream.window > LARGEST_WINDOW:
                self._reset_for(number, Code.FLOW_CONTROL_ERROR, "a window that is too large")
                return
            self.sender.wait(stream)
        if more < SMALL:
            if self._small_updates < 2 * self.sender.parts:  # one for the stream, one for the connection
                self._small_updates += 1
            else:
                self._charge("small WINDOW_UPDATE frames")
        self.sender.pump()

    def _priority_update(self, flags: int, number: int, payload: bytes) -> None:
        self._charge("PRIORITY_UPDATE frames")
        named, urgency = read_priority_update(number, payload)
        stream = self.streams.get(named)
        if stream is not None:
            stream.urgency = urgency

    # -- ends --------------------------------------------------------------------------------------------------

    def _said_all(self, stream: Stream) -> None:
        self._budget.served += 1
        if not stream.peer_ended:
            self.reset(stream, Code.NO_ERROR)  # nobody reads the rest of the request (RFC 9113, 8.1)
            return
        stream.closed = True
        stream.window = -1
        stream.exchange = None  # else both would keep each other
        del self.streams[stream.id]
        if stream.owed:
            self.intake.closed(stream)

    def _unread(self) -> None:
        self.fail(Code.ENHANCE_YOUR_CALM, "too many answers that the peer does not read")

    def finished(self) -> None:
        """The application of a request has returned."""
        self.running -= 1

    def reset(self, stream: Stream, code: int) -> None:
        """End a stream of our own accord; the sink knows."""
        if not stream.closed:
            self._close(stream, BY_US)
            stream.exchange = None
            self.sender.say(frames.rst_stream(stream.id, code))

    def _reset_for(self, number: int, code: int, reason: str) -> None:
        """End a stream for what the peer did wrong on it."""
        self._charge_reset()
        stream = self.streams.get(number)
        if stream is not None:
            self._close(stream, BY_US)
        else:
            self._closed.remember(number, BY_US)
        self.sender.say(frames.rst_stream(number, code))
        self._sink.fault(number, code, reason)
        if stream is not None:
            self._sink.reset(stream)

    def _charge_reset(self) -> None:
        if not self._budget.provoked.take(self._now):
            raise Fault(Code.ENHANCE_YOUR_CALM, "too many streams that had to be reset")

    def _close(self, stream: Stream, how: int) -> None:
        stream.closed = True
        stream.window = -1
        del self.streams[stream.id]
        self.intake.closed(stream)
        stream.queue = None
        stream.queued = 0
        self._closed.remember(stream.id, how)

    def fail(self, code: int, reason: str) -> None:
        """End the connection."""
        if not self.over:
            self.over = self.frames.stop = True
            self.sender.out.append(frames.goaway(max(0, self.last), code, reason.encode()))
            self._sink.failed(code, reason)

    def drain(self) -> None:
        """Ask the peer to begin nothing more. What it has sent until it knows is still served: `drained` is called when
        it has answered; whoever does not wait for that calls it.
        """
        if not self._draining and self._last_wanted is None and not self.over:
            self._draining = True
            self.sender.out.append(frames.goaway(LARGEST_WINDOW, Code.NO_ERROR) + frames.ping(_DRAINING))

    def drained(self) -> None:
        """Begin nothing more: what comes later is refused, and may be repeated elsewhere."""
        if self._last_wanted is None and not self.over:
            self._draining = False
            self._last_wanted = max(0, self.last)
            self._most = 0
            self.sender.out.append(frames.goaway(max(0, self.last), Code.NO_ERROR))


_HANDLERS = {
    frames.DATA: Machine._data,
    frames.PRIORITY: Machine._priority,
    frames.RST_STREAM: Machine._rst_stream,
    frames.SETTINGS: Machine._settings,
    frames.PING: Machine._ping,
    frames.GOAWAY: Machine._goaway,
    frames.WINDOW_UPDATE: Machine._window_update,
    frames.PRIORITY_UPDATE: Machine._priority_update,
}
