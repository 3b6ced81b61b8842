"""The server's side of one HTTP/2 connection (RFC 9113): bytes in, calls of a sink and bytes out.

    stream:      IDLE ──HEADERS──▶ OPEN ──the peer's END_STREAM──▶ HALF-CLOSED (remote) ──our END_STREAM──▶ closed
                                    └──our END_STREAM──▶ HALF-CLOSED (local) ──the peer's──▶ closed
                 any ──RST_STREAM of either──▶ closed
    connection:  preface → open → (drain: GOAWAY twice) → over

An open stream has a `Stream`. Of a closed one the machine remembers for a while how it closed, because later frames for
it are judged by that (`closed`). A stream error resets the stream; a connection error ends the connection (RFC 9113,
5.4): `failed` is called, a GOAWAY is the last frame that is written, and the machine ignores further bytes.

`sender` has everything that is sent. Received bytes count against both flow-control windows until `intake` is told
that they were taken.

Owns: received frames, states, settings, and the limits for a peer. Must not: know a transport, a loop, an application
or a clock: time is an argument. Fails by: the two kinds of error above; it raises nothing.
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
"""Smaller frames and window updates, in bytes, are charged to the peer's budget in some cases."""
_DRAINING = b"draining"
"""The data of a drain's PING."""


class Machine:
    """`feed` it received bytes; write what `sender.out` holds.

    `now` is in seconds, of the same monotonic clock in every call.
    """

    def __init__(self, sink: Sink, terms: Terms, now: float) -> None:
        self._sink = sink
        self._terms = terms
        self.sender = Sender(self._said_all, sink.emptied, self._unread)
        self.streams: dict[int, Stream] = {}
        self.running = 0
        """Requests that count as running until `finished` is called for each."""
        self.over = False
        self.intake = Intake(terms.window, self.sender.say)
        self._now = now
        self.frames = FrameReader(self._headers, self._frame, terms.size)
        self.heads = HeadReader(decoder(), (terms.line, terms.fields, terms.size), terms.methods, terms.tunnels)
        self._settled = False
        self.last = -3
        """The last stream that the peer has opened; -1 for none, and less before its SETTINGS came."""
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
        """Whether the peer still has to send its preface, its SETTINGS, or the rest of a field block."""
        return not self._settled or self.frames.block is not None

    @property
    def is_drained(self) -> bool:
        """Whether the second GOAWAY was sent: new streams are refused."""
        return self._last_wanted is not None

    # -- what arrives ------------------------------------------------------------------------------------------

    def feed(self, data: bytes, now: float) -> None:
        """Handle received bytes."""
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
        full = self.running >= self._most or len(self.streams) + self.sender.unseen >= self._most
        if full and not self._has_room(number):
            return
        ended = flags & END_STREAM == END_STREAM
        made = Stream(number, head.urgency, self._peer_window, self.intake.first, ended)
        if head.content_length is not None or flags & DEPENDS_ON_ITSELF:
            if flags & DEPENDS_ON_ITSELF or (head.content_length and ended):
                wrong = "stream depends on itself, or Content-Length without a body"
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
            raise Fault(Code.PROTOCOL_ERROR, "HEADERS on a stream that is not a client's")
        if number > self.last:
            self._closed.left_out(max(1, self.last + 2), number)
            return True
        self._trailers(self.streams.get(number), number, bool(flags & END_STREAM), block)
        return False

    def _read_head(self, number: int, block: bytes, flags: int) -> Head | None:
        """The head in a field block; None if the request was refused."""
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
            raise Fault(Code.COMPRESSION_ERROR, f"field block cannot be decoded: {fault}") from None
        return None

    def _has_room(self, number: int) -> bool:
        """Whether another stream may be opened. One counts until it is closed, its application has answered, and a full
        transport has taken its end. Else it is refused; the client may repeat the request (RFC 9113, 8.7).
        """
        if self.running >= self._most:
            self._sink.unfinished()
        if self.running < self._most and len(self.streams) + self.sender.unseen < self._most:
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
            raise Fault(Code.COMPRESSION_ERROR, f"field block cannot be decoded: {exc}") from None
        if stream is None:
            self._late(number, "HEADERS")
        elif stream.peer_ended:
            self._reset_for(number, Code.STREAM_CLOSED, "HEADERS after END_STREAM")
        elif fault or not ended:
            self._reset_for(number, Code.PROTOCOL_ERROR, fault or "trailers without END_STREAM")
        else:
            self._body_ended(stream, b"")

    def _late(self, number: int, what: str) -> None:
        """Handle a `what` frame for a closed stream (RFC 9113, 5.1)."""
        reason = self._closed.judge(number, what)
        if reason:
            self._reset_for(number, Code.STREAM_CLOSED, reason)

    # -- bodies ------------------------------------------------------------------------------------------------

    def _data(self, flags: int, number: int, payload: bytes) -> None:
        size = len(payload)
        intake = self.intake
        if not intake.counts(size):
            raise Fault(Code.FLOW_CONTROL_ERROR, "DATA exceeds the connection's flow-control window")
        stream = self.streams.get(number)
        if stream is None:
            if number > self.last or not number & 1:
                raise Fault(Code.PROTOCOL_ERROR, "DATA on an idle stream")
            if size < SMALL:
                self._charge("frames for closed streams")
            intake.give_back(size)
            self._late(number, "DATA")
            return
        if stream.peer_ended:
            intake.give_back(size)
            self._reset_for(number, Code.STREAM_CLOSED, "DATA after END_STREAM")
            return
        if not intake.counts_for(stream, size):
            intake.give_back(size)
            self._reset_for(number, Code.FLOW_CONTROL_ERROR, "DATA exceeds the stream's flow-control window")
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
            self._reset_for(number, Code.PROTOCOL_ERROR, "body longer than Content-Length")
        elif ended:
            self._body_ended(stream, payload)
        else:
            self._sink.data(stream, payload)

    def _body_ended(self, stream: Stream, payload: bytes) -> None:
        if stream.length >= 0 and stream.received != stream.length:
            self._reset_for(stream.id, Code.PROTOCOL_ERROR, "body shorter than Content-Length")
            return
        stream.peer_ended = True
        self._sink.data(stream, payload)

    # -- other frames ------------------------------------------------------------------------------------------

    def _priority(self, flags: int, number: int, payload: bytes) -> None:
        self._charge("PRIORITY frames")
        code, reason = priority_fault(number, payload)
        if code and (number > self.last or not number & 1):  # an idle stream cannot be reset
            raise Fault(code, reason)
        if code:
            self._reset_for(number, code, reason)

    def _rst_stream(self, flags: int, number: int, payload: bytes) -> None:
        if len(payload) != 4:
            raise Fault(Code.FRAME_SIZE_ERROR, "RST_STREAM with a wrong length")
        if not number & 1 or number > self.last:
            raise Fault(Code.PROTOCOL_ERROR, "RST_STREAM on an idle stream")
        stream = self.streams.get(number)
        if stream is None:  # many clients send it after each response that they did not read to its end
            self._charge("frames on closed streams")
            return
        if not self._budget.resets.take(self._now):
            raise Fault(Code.ENHANCE_YOUR_CALM, "too many resets")
        self._close(stream, BY_PEER)
        self._sink.reset(stream)

    def _settings(self, flags: int, number: int, payload: bytes) -> None:
        if number:
            raise Fault(Code.PROTOCOL_ERROR, "SETTINGS on a stream")
        self._charge("SETTINGS frames")
        if flags & ACK:
            if payload:
                raise Fault(Code.FRAME_SIZE_ERROR, "SETTINGS acknowledgement with a payload")
            self.intake.acknowledged(self.streams.values())
            return
        if len(payload) % 6:
            raise Fault(Code.FRAME_SIZE_ERROR, "SETTINGS with a wrong length")
        if len(payload) > 6 * 32:  # clients send six or seven, and each may concern all streams
            raise Fault(Code.ENHANCE_YOUR_CALM, "too many settings in one frame")
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
                    raise Fault(Code.FLOW_CONTROL_ERROR, "flow-control window above 2**31-1")
                self.sender.wait(stream)
        elif name == Setting.HEADER_TABLE_SIZE:
            self.sender.table_shrunk |= value < TABLE_SIZE
            self.sender.look()

    def _ping(self, flags: int, number: int, payload: bytes) -> None:
        if number:
            raise Fault(Code.PROTOCOL_ERROR, "PING on a stream")
        if len(payload) != 8:
            raise Fault(Code.FRAME_SIZE_ERROR, "PING with a wrong length")
        self._charge("PING frames")
        if not flags & ACK:
            self.sender.say(frames.ping(payload, ACK))
        elif payload == _DRAINING and self._draining:
            self.drained()

    def _goaway(self, flags: int, number: int, payload: bytes) -> None:
        """The peer will open no more streams; those that are open are answered."""
        if number:
            raise Fault(Code.PROTOCOL_ERROR, "GOAWAY on a stream")
        if len(payload) < 8:
            raise Fault(Code.FRAME_SIZE_ERROR, "GOAWAY with a wrong length")
        self._charge("GOAWAY frames")

    def _window_update(self, flags: int, number: int, payload: bytes) -> None:
        if len(payload) != 4:
            raise Fault(Code.FRAME_SIZE_ERROR, "WINDOW_UPDATE with a wrong length")
        more = frames.number(payload)
        if number == 0:
            if not more:
                raise Fault(Code.PROTOCOL_ERROR, "WINDOW_UPDATE of 0")
            self.sender.widen(more)
            if self.sender.window > LARGEST_WINDOW:
                raise Fault(Code.FLOW_CONTROL_ERROR, "flow-control window above 2**31-1")
        else:
            if not number & 1 or number > self.last:
                raise Fault(Code.PROTOCOL_ERROR, "WINDOW_UPDATE on an idle stream")
            stream = self.streams.get(number)
            if stream is None:
                self._charge("frames for closed streams")
                return
            if not more:
                self._reset_for(number, Code.PROTOCOL_ERROR, "WINDOW_UPDATE of 0")
                return
            stream.window += more
            if stream.window > LARGEST_WINDOW:
                self._reset_for(number, Code.FLOW_CONTROL_ERROR, "flow-control window above 2**31-1")
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
            self.reset(stream, Code.NO_ERROR)  # the rest of the request is not needed (RFC 9113, 8.1)
            return
        stream.closed = True
        stream.window = -1
        stream.exchange = None  # else each would keep the other alive
        del self.streams[stream.id]
        if stream.owed:
            self.intake.closed(stream)

    def _unread(self) -> None:
        self.fail(Code.ENHANCE_YOUR_CALM, "too many unread answers to control frames")

    def finished(self) -> None:
        """A request does not count as running any more."""
        self.running -= 1

    def reset(self, stream: Stream, code: int) -> None:
        """Reset a stream for a reason of the server's. The sink is not called."""
        if not stream.closed:
            self._close(stream, BY_US)
            stream.exchange = None
            self.sender.say(frames.rst_stream(stream.id, code))

    def _reset_for(self, number: int, code: int, reason: str) -> None:
        """Reset a stream for a stream error, and call the sink."""
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
            raise Fault(Code.ENHANCE_YOUR_CALM, "too many stream errors")

    def _close(self, stream: Stream, how: int) -> None:
        stream.closed = True
        stream.window = -1
        del self.streams[stream.id]
        self.sender.drop(stream)
        self.intake.closed(stream)
        self._closed.remember(stream.id, how)

    def fail(self, code: int, reason: str) -> None:
        """End the connection for a connection error."""
        if not self.over:
            self.over = self.frames.stop = True
            self.sender.out.append(frames.goaway(max(0, self.last), code, reason.encode()))
            self._sink.failed(code, reason)

    def drain(self) -> None:
        """Ask the peer to open no more streams: a GOAWAY that allows all of them, and a PING. Requests that are on
        their way are served; `drained` is called when the PING was answered, or by a caller that waits no longer.
        """
        if not self._draining and self._last_wanted is None and not self.over:
            self._draining = True
            self.sender.out.append(frames.goaway(LARGEST_WINDOW, Code.NO_ERROR) + frames.ping(_DRAINING))

    def drained(self) -> None:
        """Refuse new streams from now on, and say so: the client may repeat those requests elsewhere."""
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
