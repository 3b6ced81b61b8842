"""What a random client of HTTP/2 does, decided by bytes; and what has to hold whatever it does.

The same programs serve hypothesis (test_fuzz.py) and a fuzzer that is guided by coverage (fuzz_coverage.py): each takes
bytes, and raises AssertionError where something does not hold.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, Event, ResponseReceived, StreamEnded, StreamReset, TrailersReceived
from h2.exceptions import ProtocolError

import http2 as h2
from http2_machine import METHODS, Driven
from uvicorn.worker.http2 import hpack
from uvicorn.worker.http2.fields import Head
from uvicorn.worker.http2.frames import Code
from uvicorn.worker.http2.machine import Machine
from uvicorn.worker.http2.receiving import CONNECTION_WINDOW
from uvicorn.worker.http2.streams import Stream, Terms

LARGEST = 16384
HEAD = hpack.encode([(b":status", b"200"), (b"server", b"test")])
TRAILERS = hpack.encode([(b"x-checksum", b"1")])


class Choices:
    """Bytes as decisions; when they are used up, each is 0."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def __bool__(self) -> bool:
        return self._at < len(self._data)

    def byte(self) -> int:
        self._at += 1
        return self._data[self._at - 1] if self._at <= len(self._data) else 0

    def below(self, end: int) -> int:
        return self.byte() % end

    def of(self, *these: Any) -> Any:
        return these[self.byte() % len(these)]

    def size(self) -> int:
        """A size, most of them small, some at the edge of something."""
        return int(self.of(0, 1, 2, 10, 100, 255, 256, 1000, 5000, LARGEST - 1, LARGEST, LARGEST + 1, 40_000))


# -- what has to hold of a machine ---------------------------------------------------------------------------------


def check(machine: Machine) -> None:
    """What is counted adds up."""
    intake, sender = machine.intake, machine.sender
    if machine.over:
        return
    owed = sum(stream.owed for stream in machine.streams.values())
    assert intake._window + intake._credit + owed == CONNECTION_WINDOW
    waiting = 0
    for number, stream in machine.streams.items():
        assert stream.id == number and not stream.closed
        assert stream.owed >= 0 and stream.queued == sum(map(len, stream.queue or ()))
        if not stream.peer_ended:
            assert stream.window_in + stream.credit + stream.owed == intake.first
        waiting += stream.waiting
        assert stream.waiting == (stream.queued > 0 and stream.window > 0) or sender.window <= 0 or sender.blocked
    assert sender._turns.size == waiting
    assert machine.last % 2 == 1 or machine.last == 0


class Peer:
    """What a client has allowed, told by its bytes; it judges what a server sends."""

    def __init__(self) -> None:
        self.first = self.window = 65535
        self.windows: dict[int, int] = {}
        self.over: set[int] = set()
        self.gone = False

    def hears(self, frames: list[h2.Frame]) -> None:
        """What the server sends is in order, whatever it answers."""
        for one in frames:
            assert not self.gone, f"{one} after the last GOAWAY"
            assert len(one.payload) <= LARGEST and (one.kind != h2.DATA or one.stream)
            if one.kind in (h2.HEADERS, h2.DATA):
                assert one.stream not in self.over, f"{one} after the end of its stream"
            if one.kind == h2.DATA:
                window = self.windows.setdefault(one.stream, self.first)
                self.windows[one.stream] = window - len(one.payload)
                self.window -= len(one.payload)
                assert not one.payload or (self.window >= 0 and window >= len(one.payload))
            if one.kind == h2.RST_STREAM or (one.kind in (h2.HEADERS, h2.DATA) and one.flags & h2.END_STREAM):
                self.over.add(one.stream)
            if one.kind == h2.GOAWAY and one.goaway[1]:
                self.gone = True

    def says(self, one: h2.Frame) -> None:
        """A frame that the server has taken."""
        if one.kind == h2.SETTINGS and not one.flags & h2.ACK:
            for at in range(0, len(one.payload) - 5, 6):
                name, value = (
                    int.from_bytes(one.payload[at : at + 2], "big"),
                    int.from_bytes(one.payload[at + 2 : at + 6], "big"),
                )
                if name == h2.INITIAL_WINDOW_SIZE:
                    for number in self.windows:
                        self.windows[number] += value - self.first
                    self.first = value
        elif one.kind == h2.HEADERS:
            self.windows.setdefault(one.stream, self.first)
        elif one.kind == h2.WINDOW_UPDATE and len(one.payload) == 4:
            more = one.number & 0x7FFFFFFF
            if one.stream == 0:
                self.window += more
            elif one.stream in self.windows:
                self.windows[one.stream] += more


# -- a client that may do anything ---------------------------------------------------------------------------------

NAMES = [
    b"x-a", b"cookie", b"te", b"priority", b"host", b"content-length", b"expect", b"user-agent",
    b"X", b"connection", b":path", b"", b"x y",
]  # fmt: skip
VALUES = [
    b"", b"a", b"5", b"0", b"trailers", b"u=1", b"u=7, i", b"a.test", b"100-continue", b"x" * 300,
    b" a", b"a\n", b"\xff",
]  # fmt: skip
PSEUDO = [
    (b":method", b"GET"), (b":method", b"POST"), (b":scheme", b"http"), (b":authority", b"a.test"),
    (b":path", b"/"), (b":path", b"/b?c"), (b":path", b"/" + b"p" * 200),
    (b":protocol", b"websocket"), (b":status", b"200"),
]  # fmt: skip


SMALL_TABLE = -1000
"""Entries of a table that may hold none."""


def random_field(choices: Choices, name: bytes, value: bytes, wild: bool, entries: int) -> tuple[bytes, int]:
    """One field in one of its forms, or one of the table; and how many entries are certainly in that."""
    how = choices.below(8)
    known = next((index for index, (one, _) in enumerate(hpack.STATIC, 1) if one == name), 0)
    if how < 2:
        return hpack.encoded_field(name, value), entries
    if how < 4 and known:
        return hpack.encoded_integer(known, 6, 0x40) + hpack.encoded_string(value), entries + 1
    if how < 6 and (wild or entries > 0):
        return bytes([0x80 | 62 + choices.below(4 if wild else min(entries, 8))]), entries
    first = int(choices.of(0, 0x10, 0x40))
    return h2.literal(name, value, first), entries + (first == 0x40)


def random_block(choices: Choices, wild: bool, entries: int) -> tuple[bytes, int]:
    """A header block, and how many entries are in the table then."""
    parts = []
    if choices.below(8) == 7:
        size = int(choices.of(0, 31, 100, 4096, *([4097] if wild else [])))
        parts.append(hpack.encoded_integer(size, 5, 0x20))
        entries = SMALL_TABLE if size < 4096 else max(entries, 0)
    how = choices.below(6)
    method = PSEUDO[choices.below(2)]
    pseudo = [method, PSEUDO[2], PSEUDO[3], PSEUDO[4 + choices.below(3)]]
    if how == 5:
        pseudo = [PSEUDO[choices.below(len(PSEUDO))] for _ in range(choices.below(8))]
    fields = [(field, how > 3) for field in pseudo]
    for _ in range(choices.below(4)):
        bad = choices.below(8) == 7
        name = NAMES[choices.below(len(NAMES) if bad else 8)]
        value = {b"te": b"trailers", b"host": b"a.test", b"content-length": b"5"}.get(name, b"a")
        fields.append(((name, VALUES[choices.below(len(VALUES))] if bad else value), True))
    for field, any_form in fields:
        if any_form:
            part, entries = random_field(choices, *field, wild, entries)
        else:
            part = hpack.encoded_field(*field)
        parts.append(part)
    return b"".join(parts), min(entries, 8)


def random_frames(choices: Choices) -> list[bytes]:
    """What a client sends after its preface."""
    wild = choices.below(3) == 2
    entries = 0  # in the table, of which a client that behaves knows
    begun: list[int] = []
    sent = [
        h2.settings((h2.INITIAL_WINDOW_SIZE, int(choices.of(65535, 0, 1, 1000, 1 << 20)))),
        h2.frame(h2.SETTINGS, h2.ACK),
    ]
    number = 1
    while choices and len(sent) < 60:
        old = max(1, number - 2 * (1 + choices.below(3)))
        kind = choices.below(18 if wild else 15)
        if not wild:
            if kind >= 5 and not begun:
                continue
            old = begun[choices.below(len(begun))] if begun else 0
        if kind < 5:
            block, entries = random_block(choices, wild, entries)
            begun.append(number)
            flags = int(choices.of(h2.END_STREAM, 0, 0))
            how = choices.below(10)
            if how == 7:
                block, flags = bytes([3]) + block + bytes(3), flags | h2.PADDED
            elif how == 8:
                block, flags = b"\x00\x00\x00" + bytes([choices.below(8), 16]) + block, flags | h2.WITH_PRIORITY
            if how == 9:
                at = len(block) // 2
                sent.append(h2.frame(h2.HEADERS, flags, number, block[:at]))
                sent.append(h2.frame(h2.CONTINUATION, 0, number, block[at : at + 1]))
                sent.append(h2.frame(h2.CONTINUATION, h2.END_HEADERS, number, block[at + 1 :]))
            else:
                sent.append(h2.frame(h2.HEADERS, flags | h2.END_HEADERS, number, block))
            if flags & h2.END_STREAM and not wild:
                begun.pop()
            number += 2 + 2 * (choices.below(16) == 15)
        elif kind < 9:
            payload = bytes([choices.byte()]) * min(choices.size(), LARGEST)
            flags = int(choices.of(0, 0, 0, h2.END_STREAM))
            if choices.below(6) == 5:
                payload, flags = (bytes([2]) + payload + bytes(2))[:LARGEST], flags | h2.PADDED
            sent.append(h2.data(old, payload, flags))
            if flags & h2.END_STREAM and not wild:
                begun.remove(old)
        elif kind == 9:
            sent.append(h2.rst_stream(old, choices.below(14)))
            if not wild:
                begun.remove(old)
        elif kind < 12:
            sent.append(
                h2.window_update(
                    int(choices.of(0, old)), int(choices.of(1, 100, 1000, 65535, *([0, 2**31 - 1] if wild else [])))
                )
            )
        elif kind == 12:
            name = int(choices.of(h2.INITIAL_WINDOW_SIZE, h2.HEADER_TABLE_SIZE, 99, h2.MAX_FRAME_SIZE, h2.ENABLE_PUSH))
            if not wild and name in (h2.MAX_FRAME_SIZE, h2.ENABLE_PUSH):
                name = h2.INITIAL_WINDOW_SIZE
            value = int(choices.of(0, 1, 100, 16384, 65535, 100_000, *([2**31 - 1, 2**31] if wild else [])))
            sent.append(h2.settings((name, value)))
        elif kind == 13:
            sent.append(h2.frame(h2.PRIORITY, 0, old, b"\x00\x00\x00" + bytes([choices.below(8), 1])))
        elif kind == 14:
            sent.append(
                h2.frame(h2.PRIORITY_UPDATE, 0, 0, old.to_bytes(4, "big") + bytes(choices.of(b"u=0", b"u=6,i", b"x")))
            )
        elif kind == 15:
            sent.append(h2.headers(old, [(NAMES[choices.below(len(NAMES))], b"a")], int(choices.of(5, 4))))
        elif kind == 16:
            sent.append(h2.frame(h2.PING, choices.below(2), 0, b"12345678"))
        else:
            sent.append(mutated(choices, sent[choices.below(len(sent))]))
    return sent


def mutated(choices: Choices, data: bytes) -> bytes:
    """The same frame with another byte somewhere, or none, or one more."""
    at = choices.below(len(data))
    other: bytes = choices.of(bytes([choices.byte()]), b"", b"\x00\x00")
    return data[:at] + other + data[at + 1 :]


class Answering(Driven):
    """An application that answers each stream by a plan of its own."""

    def __init__(self, plans: bytes, window: int) -> None:
        self.plans = plans or b"\x00"
        self.told: list[object] = []
        super().__init__(
            Terms(methods=METHODS, window=window, streams=8, fields=6, size=400), answers=False, takes=bool(plans[:1])
        )

    def plan(self, stream: Stream) -> int:
        return self.plans[stream.id // 2 % len(self.plans)]

    def request(self, stream: Stream, head: Head) -> None:
        self.told.append(
            (stream.id, head.method, head.target, tuple(head.fields), head.content_length, stream.peer_ended)
        )
        super().request(stream, head)
        if self.plan(stream) & 1:
            self.answer(stream)

    def data(self, stream: Stream, data: bytes) -> None:
        self.told.append((stream.id, data, stream.peer_ended))
        if stream.id not in self.requests:
            self.machine.intake.taken(stream, stream.owed)
            return
        super().data(stream, data)
        if stream.peer_ended:
            self.answer(stream)

    def refused(self, stream: Stream, fault: object) -> None:
        self.told.append((stream.id, str(fault)))
        self.machine.sender.respond(stream, HEAD, b"no", True)

    def reset(self, stream: Stream) -> None:
        self.told.append((stream.id, "reset"))
        super().reset(stream)

    def fault(self, number: int, code: int, reason: str) -> None:
        self.told.append((number, code, reason))

    def failed(self, code: int, reason: str) -> None:
        self.told.append((code, reason))
        super().failed(code, reason)

    def answer(self, stream: Stream) -> None:
        if stream.id in self.ended:
            return
        self.ended.add(stream.id)
        plan, sender = self.plan(stream), self.machine.sender
        size = (0, 13, 300, 5000, 17_000, 40_000)[plan // 2 % 6]
        body = bytes([stream.id & 255]) * size
        how = plan // 12 % 5
        if how == 0:
            sender.respond(stream, HEAD, body, True)
        elif how == 1:
            sender.respond(stream, HEAD, body, False)
            sender.send(stream, b"end", True)
        elif how == 2:
            sender.respond(stream, HEAD, body, False)
            sender.end_with(stream, TRAILERS)
        elif how == 3:
            sender.respond(stream, HEAD, body, False)
            self.machine.reset(stream, Code.INTERNAL_ERROR)
        else:
            sender.headers(stream, HEAD)
            sender.send(stream, body, False)
            sender.send(stream, b"", True)
        self.machine.finished()


def feed_all(driven: Answering, pieces: list[bytes], forgets: bool = False) -> tuple[list[object], bytes]:
    for piece in pieces:
        if forgets:
            driven.machine.heads.forget()
        driven.feed(piece)
        check(driven.machine)
    frames = b"".join(h2.frame(*one) for one in driven.frames)
    return driven.told, frames


def any_client(data: bytes) -> None:
    """Cuts and what is remembered make no difference; windows hold; what is counted adds up."""
    choices = Choices(data)
    plans, window, cuts = setting(choices)
    judge(plans, window, cuts, random_frames(choices))


def raw_client(data: bytes) -> None:
    """The same of a client whose bytes are given, frame behind frame."""
    choices = Choices(data[:9])
    plans, window, cuts = setting(choices)
    frames, rest = h2.frames_in(data[9:])
    judge(plans, window, cuts, [h2.settings(), *[h2.frame(*one) for one in frames], *([rest] if rest else [])])


def setting(choices: Choices) -> tuple[bytes, int, list[int]]:
    """The plans of an application, the window of a stream, and where what is sent is cut."""
    plans = bytes(choices.byte() for _ in range(4))
    window = int(choices.of(65535, 1 << 18, 1000, 1))
    return plans, window, [choices.byte() for _ in range(4)]


def judge(plans: bytes, window: int, cuts: list[int], sent: list[bytes]) -> None:
    whole = h2.PREFACE + b"".join(sent)
    peer, driven = Peer(), Answering(plans, window)
    for one in [h2.PREFACE, *sent]:
        frames = driven.feed(one)
        check(driven.machine)
        if driven.failure is None or frames:
            for said in h2.frames_in(b"" if one == h2.PREFACE else one)[0]:
                peer.says(said)
        peer.hears(frames)
    first = driven.told, b"".join(h2.frame(*one) for one in driven.frames)
    places = sorted({0, len(whole), *(cut * len(whole) // 255 for cut in cuts)})
    assert feed_all(Answering(plans, window), [whole]) == first
    assert feed_all(Answering(plans, window), [whole[a:b] for a, b in itertools.pairwise(places)]) == first
    assert feed_all(Answering(plans, window), [h2.PREFACE, *sent], forgets=True) == first
    if len(whole) < 1000:
        assert feed_all(Answering(plans, window), [whole[at : at + 1] for at in range(len(whole))]) == first


# -- python-hyper as the client --------------------------------------------------------------------------------------


class Conversation:
    """h2 as the client of a machine, what both have sent, and what has arrived of it."""

    def __init__(self, choices: Choices) -> None:
        self.choices = choices
        self.client = H2Connection(H2Configuration(client_side=True, header_encoding=False))
        self.window = int(choices.of(65535, 0, 1, 100, 1000))
        self.client.local_settings[h2.INITIAL_WINDOW_SIZE] = self.window
        self.client.local_settings.acknowledge()
        self.client.initiate_connection()
        self.driven = Driven(
            Terms(methods=METHODS, window=int(choices.of(65535, 1 << 18, 1000))), answers=False, takes=False
        )
        self.uploads: dict[int, bytes] = {}
        self.open: set[int] = set()
        self.sent: dict[int, bytes] = {}
        self.got: dict[int, bytes] = {}
        self.begun: set[int] = set()
        self.done: set[int] = set()
        self.finished: set[int] = set()
        self.complete: set[int] = set()
        self.gone: set[int] = set()
        self.trailers: set[int] = set()
        self.wire = b"".join(h2.frame(*one) for one in self.driven.frames)
        self.seen = len(self.driven.frames)
        self.full = False
        self.unacknowledged = 1

    def to_server(self) -> None:
        data = self.client.data_to_send()
        at = len(data) * self.choices.below(4) // 4
        for piece in (data[:at], data[at:]):
            if piece:
                self.driven.machine.feed(piece, 0.0)
        self.collect()

    def collect(self) -> None:
        machine = self.driven.machine
        if self.full:
            machine.sender.written(True)
        self.driven.collect() if not self.full else None
        new = self.driven.frames[self.seen :]
        self.seen = len(self.driven.frames)
        self.wire += b"".join(h2.frame(*one) for one in new)
        check(machine)

    def to_client(self) -> None:
        at = len(self.wire) * (1 + self.choices.below(4)) // 4
        data, self.wire = self.wire[:at], self.wire[at:]
        for event in self.client.receive_data(data):
            self.heard(event)

    def heard(self, event: Event) -> None:
        number = getattr(event, "stream_id", 0) or 0
        if isinstance(event, ResponseReceived):
            self.begun.add(number)
        elif isinstance(event, DataReceived):
            self.got[number] = self.got.get(number, b"") + event.data
            if event.flow_controlled_length:
                try:
                    self.client.acknowledge_received_data(event.flow_controlled_length, number)
                except ProtocolError:
                    assert number in self.gone or number in self.complete
        elif isinstance(event, TrailersReceived):
            self.trailers.add(number)
        elif isinstance(event, StreamEnded):
            self.complete.add(number)
            self.open.discard(number)
        elif isinstance(event, StreamReset):
            self.open.discard(number)
            if number not in self.complete:
                self.gone.add(number)
        elif type(event).__name__ == "SettingsAcknowledged":
            self.unacknowledged -= 1

    def client_acts(self) -> None:
        choices, client = self.choices, self.client
        what = choices.below(12)
        if what < 4 and len(self.open) < 100:
            number = client.get_next_available_stream_id()
            fields = h2.request_fields(
                path=bytes(choices.of(b"/", b"/a", b"/" + b"x" * 50)), method=b"POST" if what else b"GET"
            )
            fields += [
                (bytes(choices.of(b"x-a", b"x-b", b"cookie")), bytes(choices.of(b"1", b"2", b"v" * 100, b"v" * 15_000)))
                for _ in range(choices.below(3))
            ]
            ends = choices.below(3) == 0
            prior = (
                choices.below(5) == 4 and sum(len(value) for _, value in fields) < 10_000
            )  # h2 forgets its five bytes
            client.send_headers(number, fields, end_stream=ends, priority_weight=5 if prior else None)
            self.uploads[number] = b""
            if not ends:
                self.open.add(number)
            return
        number = sorted(self.open)[choices.below(len(self.open))] if self.open else 0
        try:
            if what < 7 and number:
                padding = int(choices.of(None, None, None, 0, 5, 255) or 0) if choices.below(3) == 2 else None
                room = min(client.local_flow_control_window(number), client.max_outbound_frame_size) - (
                    0 if padding is None else padding + 1
                )
                size = min(choices.size(), max(0, room))
                if room < 0:
                    return
                body = bytes([choices.byte()]) * size
                client.send_data(number, body, end_stream=(ends := choices.below(4) == 0), pad_length=padding)
                self.uploads[number] += body
                if ends:
                    self.open.discard(number)
                    self.finished.add(number)
            elif what == 7 and number:
                client.send_headers(number, [(b"x-trailer", b"1")], end_stream=True)
                self.open.discard(number)
                self.finished.add(number)
            elif what == 8 and number and choices.below(3) == 0:
                client.reset_stream(number)
                self.open.discard(number)
                self.gone.add(number)
            elif what == 9:
                client.ping(b"12345678")
            elif what == 10 and not self.unacknowledged:
                if choices.below(2):
                    client.update_settings({h2.HEADER_TABLE_SIZE: int(choices.of(0, 100, 4096, 65535))})
                else:  # never smaller: h2 refuses an empty frame below a window of nothing (RFC 9113, 6.9.1)
                    self.window += choices.size()
                    client.update_settings({h2.INITIAL_WINDOW_SIZE: self.window})
                self.unacknowledged += 1
            elif what == 11:
                client.increment_flow_control_window(1 + choices.size(), number or None)
        except ProtocolError:
            assert number in self.complete or number in self.gone or not number

    def server_acts(self) -> None:
        choices, driven = self.choices, self.driven
        ready = [number for number in driven.streams if number not in self.done and not driven.streams[number].closed]
        if not ready:
            return
        stream = driven.streams[ready[choices.below(len(ready))]]
        sender, number = driven.machine.sender, stream.id
        what = choices.below(8)
        if what == 0:
            driven.machine.intake.taken(stream, stream.owed)
        elif what == 1:
            driven.machine.intake.taken(stream, stream.owed // 2)
        elif number not in self.sent:
            body = bytes([choices.byte()]) * choices.size()
            self.sent[number] = body
            ends = what == 2
            sender.respond(stream, HEAD, body, ends)
            if ends:
                self.done.add(number)
        elif what == 2:
            self.done.add(number)
            sender.end_with(stream, TRAILERS)
        elif what == 3 and choices.below(4) == 0:
            self.done.add(number)
            self.gone.add(number)
            driven.machine.reset(stream, Code.INTERNAL_ERROR)
        else:
            body = bytes([choices.byte()]) * choices.size()
            self.sent[number] += body
            if ends := what > 5:
                self.done.add(number)
            sender.send(stream, body, ends)
        if number in self.done:
            driven.machine.finished()
        self.collect()

    def end(self, stream: Stream) -> None:
        number, sender = stream.id, self.driven.machine.sender
        if number in self.done or stream.closed:
            return
        self.done.add(number)
        if number in self.sent:
            sender.send(stream, b"", True)
        else:
            self.sent[number] = b"late"
            sender.respond(stream, HEAD, b"late", True)
        self.driven.machine.finished()

    def settle(self) -> None:
        """Everything arrives, every window opens, every application ends."""
        driven = self.driven
        self.full = False
        driven.machine.sender.written(False)
        for turn in range(1000):
            self.collect()
            sent = self.client.data_to_send()
            driven.machine.feed(sent, 0.0)
            for stream in driven.streams.values():
                driven.machine.intake.taken(stream, stream.owed)
                self.end(stream)
            self.collect()
            data, self.wire = self.wire, b""
            for event in self.client.receive_data(data):
                self.heard(event)
            if not (data or sent or driven.machine.streams):
                return
            if turn in (5, 100):
                self.window += 1_000_000
                self.client.update_settings({h2.INITIAL_WINDOW_SIZE: self.window})
                self.client.increment_flow_control_window(1_000_000)
        raise AssertionError("no end")


def hyper_client(data: bytes) -> None:
    """h2 as a client finds nothing wrong with us, and every byte arrives in order, both ways."""
    choices = Choices(data)
    conversation = Conversation(choices)
    steps: list[Callable[[], None]] = [
        conversation.client_acts,
        conversation.client_acts,
        conversation.server_acts,
        conversation.server_acts,
        conversation.to_server,
        conversation.to_client,
    ]
    while choices:
        step = choices.below(8)
        if step < 6:
            steps[step]()
        elif step == 7:
            conversation.full = not conversation.full
            if not conversation.full:
                conversation.driven.machine.sender.written(False)
                conversation.collect()
    conversation.settle()
    driven = conversation.driven
    assert driven.failure is None, driven.failure
    assert not driven.faults, driven.faults
    for number, body in conversation.uploads.items():
        if number in driven.bodies:
            assert body.startswith(driven.bodies[number])
        if number in conversation.finished and number not in conversation.gone and number not in driven.lost:
            assert number in driven.requests
    assert not driven.machine.streams
    for number, body in conversation.sent.items():
        got = conversation.got.get(number, b"")
        assert body.startswith(got)
        if number not in conversation.gone:
            assert got == body and number in conversation.complete, (number, len(got), len(body))
