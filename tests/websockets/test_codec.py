"""Frames → messages and back: every codec the same, and ours over websockets equal to that library alone."""

from __future__ import annotations

import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import websocket_wire as wire
from uvicorn.worker.websockets.codec import Codec
from uvicorn.worker.websockets.deflate import Agreed, Deflate

AGREED = Agreed(our_bits=12, their_bits=12, we_forget=False, they_forget=False)
LIMIT = 1000


Heard = str | bytes | tuple[str, bytes]
"""A message, or a ping or a pong and its payload."""


class Ear:
    """A sink that writes everything down, and is full after so many messages."""

    def __init__(self, room: int = 10**9) -> None:
        self.heard: list[Heard] = []
        self.room = room
        self.over: tuple[int, bool] | None = None
        self.answer = b""

    @property
    def full(self) -> bool:
        return self.room <= 0

    def message(self, content: str | bytes) -> None:
        self.heard.append(content)
        self.room -= 1

    def pinged(self, payload: bytes) -> None:
        self.heard.append(("ping", payload))

    def ponged(self, payload: bytes) -> None:
        self.heard.append(("pong", payload))

    def ended(self, code: int, reason: str, answer: bytes, failed: bool) -> None:
        self.over = (code, failed)
        self.answer = answer


def feed(codec: Codec, ear: Ear, data: bytes) -> None:
    """As a session does it while the application waits for a message."""
    content = codec.whole(data)
    if content is None:
        codec.receive(data)
    else:
        ear.message(content)


def listen(codec_class: type[Codec], data: bytes, deflate: bool = False, size: int = 1 << 20) -> Ear:
    """What a codec makes of `data` in pieces of `size`."""
    ear = Ear()
    codec = codec_class(ear, LIMIT, Deflate(AGREED) if deflate else None)
    for at in range(0, len(data), size):
        if not codec.over:
            feed(codec, ear, data[at : at + size])
    return ear


@pytest.mark.parametrize("size", [1, 3, 1 << 20])
@pytest.mark.parametrize("length", [0, 1, 125, 126, LIMIT])
def test_messages(codec_class: type[Codec], length: int, size: int) -> None:
    text, data = "x" * length, bytes(length)
    sent = wire.frame(wire.TEXT, text.encode()) + wire.frame(wire.PING, b"p") + wire.frame(wire.BINARY, data)
    ear = listen(codec_class, sent + wire.frame(wire.PONG, b"q") + wire.frame(wire.TEXT, "é€𝄞".encode()), size=size)
    assert ear.heard == [text, ("ping", b"p"), data, ("pong", b"q"), "é€𝄞"]
    assert ear.over is None


def test_fragments(codec_class: type[Codec]) -> None:
    letters = "é€𝄞".encode()
    sent = wire.frame(wire.TEXT, letters[:1], fin=False) + wire.frame(wire.PING)
    sent += wire.frame(wire.CONT, letters[1:6], fin=False) + wire.frame(wire.CONT, letters[6:])
    sent += wire.frame(wire.BINARY, b"", fin=False) + wire.frame(wire.CONT) + wire.frame(wire.TEXT, b"end")
    assert listen(codec_class, sent).heard == [("ping", b""), "é€𝄞", b"", "end"]


@pytest.mark.parametrize("piece", [b"", "é".encode()], ids=["empty", "letter"])
@pytest.mark.parametrize("kind", ["TEXT", "BINARY"])
def test_many_fragments_weigh_what_their_bytes_do(codec_class: type[Codec], kind: str, piece: bytes) -> None:
    """`max_size` bounds a message in bytes: an object for each fragment would be many times that, or without bound."""
    ear = Ear()
    codec = codec_class(ear, 1 << 20, None)
    many = wire.frame(wire.CONT, piece, fin=False) * 500
    codec.receive(wire.frame(getattr(wire, kind), b"", fin=False) + many)
    tracemalloc = pytest.importorskip("tracemalloc")
    tracemalloc.start()
    try:
        for _ in range(100):
            codec.receive(many)
        assert tracemalloc.get_traced_memory()[0] < 3 * 100 * 500 * len(piece) + 16_384
    finally:
        tracemalloc.stop()
    codec.receive(wire.frame(wire.CONT))
    whole = piece * 500 * 101
    assert ear.heard == [whole.decode() if kind == "TEXT" else whole]


def test_compressed(codec_class: type[Codec]) -> None:
    packed = wire.deflated(b"Hello " * 100)
    sent = wire.frame(wire.TEXT, packed, rsv=4) + wire.frame(wire.TEXT, b"plain")
    sent += wire.frame(wire.BINARY, packed[:5], rsv=4, fin=False) + wire.frame(wire.PING)
    sent += wire.frame(wire.CONT, packed[5:], fin=False) + wire.frame(wire.CONT)
    ear = listen(codec_class, sent, deflate=True)
    assert ear.heard == ["Hello " * 100, "plain", ("ping", b""), b"Hello " * 100]


@pytest.mark.parametrize("data", [b"", b"x", b"x" * 125, b"x" * 126, b"x" * (LIMIT - 2), "é€𝄞".encode()])
def test_the_short_way(data: bytes) -> None:
    """One frame that is a whole message is taken at once; everything else, and everything in between, is not."""
    from uvicorn.worker.websockets import codec_websockets

    ear = Ear()
    codec = codec_websockets.Codec(ear, LIMIT, Deflate(AGREED))
    text, binary = wire.frame(wire.TEXT, data), wire.frame(wire.BINARY, data)
    assert (codec.whole(text), codec.whole(binary)) == (data.decode(), data)
    for other in (
        text[:-1],
        text + text,
        text + b"x",
        wire.frame(wire.TEXT, data, mask=None),
        wire.frame(wire.TEXT, data, fin=False),
        wire.frame(wire.TEXT, data, rsv=4),
        wire.frame(wire.CONT, data),
        wire.frame(wire.PING, data[:125]),
        wire.frame(wire.TEXT, data + b"\xff"),
        wire.frame(wire.TEXT, b"x" * LIMIT),
    ):
        assert codec.whole(other) is None
    codec.receive(text[:3])
    assert codec.whole(text) is None
    codec.receive(text[3:])
    assert codec.whole(text) == data.decode()
    codec.receive(wire.frame(wire.TEXT, b"begun", fin=False))
    assert codec.whole(text) is None
    codec.receive(wire.frame(wire.CONT, b""))
    assert codec.whole(text) == data.decode()
    codec.fail(1011, "")
    assert codec.whole(text) is None


FAULTS: dict[str, tuple[bytes, int]] = {
    "not masked": (wire.frame(wire.TEXT, b"x", mask=None), 1002),
    "reserved bit": (wire.frame(wire.TEXT, b"x", rsv=2), 1002),
    "compressed unasked": (wire.frame(wire.TEXT, b"x", rsv=4), 1002),
    "reserved opcode": (wire.frame(3), 1002),
    "reserved control": (wire.frame(0xB), 1002),
    "control in fragments": (wire.frame(wire.PING, fin=False), 1002),
    "control too long": (wire.frame(wire.PING, bytes(126)), 1002),
    "continues nothing": (wire.frame(wire.CONT, b"x"), 1002),
    "message in a message": (wire.frame(wire.TEXT, b"x", fin=False) + wire.frame(wire.TEXT, b"x"), 1002),
    "close of one byte": (wire.frame(wire.CLOSE, b"x"), 1002),
    "close with 1005": (wire.close(1005), 1002),
    "close with 999": (wire.close(999), 1002),
    "close reason": (wire.close(1000, b"\xff"), 1007),
    "text": (wire.frame(wire.TEXT, b"\xc3"), 1007),
    "surrogate": (wire.frame(wire.TEXT, b"\xed\xa0\x80"), 1007),
    "text in fragments": (wire.frame(wire.TEXT, b"\xc3", fin=False) + wire.frame(wire.CONT, b"x"), 1007),
    "too big": (wire.frame(wire.BINARY, bytes(LIMIT + 1)), 1009),
    "far too big": (wire.frame(wire.BINARY, bytes(70_000))[:20], 1009),
    "too big in fragments": (wire.frame(wire.TEXT, b"x" * LIMIT, fin=False) + wire.frame(wire.CONT, b"x"), 1009),
}


@pytest.mark.parametrize("size", [1, 1 << 20])
@pytest.mark.parametrize("name", FAULTS)
def test_faults(codec_class: type[Codec], name: str, size: int) -> None:
    fault, code = FAULTS[name]
    ear = listen(codec_class, wire.frame(wire.TEXT, b"before") + fault + wire.frame(wire.TEXT, b"after"), size=size)
    assert ear.heard == ["before"]
    assert ear.over == (code, True)
    assert ear.answer[0] == 0x88 and ear.answer[2:4] == code.to_bytes(2, "big")


@pytest.mark.parametrize(
    ("payload", "rsv", "fin", "code"),
    [
        (b"\xff\xff\xff", 4, True, 1002),
        (wire.deflated(bytes(LIMIT + 1)), 4, True, 1009),
        (wire.deflated(bytes(LIMIT + 1)), 4, False, 1009),
        (wire.deflated(b"\xc3("), 4, True, 1007),
    ],
)
def test_compressed_faults(codec_class: type[Codec], payload: bytes, rsv: int, fin: bool, code: int) -> None:
    ear = listen(codec_class, wire.frame(wire.TEXT, payload, rsv=rsv, fin=fin) + wire.frame(wire.CONT), deflate=True)
    assert ear.over == (code, True)


def test_rsv_on_a_continuation(codec_class: type[Codec]) -> None:
    sent = wire.frame(wire.TEXT, wire.deflated(b"a"), rsv=4, fin=False) + wire.frame(wire.CONT, b"", rsv=4)
    assert listen(codec_class, sent, deflate=True).over == (1002, True)


@pytest.mark.parametrize(("sent", "code"), [(b"", 1005), (b"\x03\xe8bye", 1000), (b"\x0f\xa0", 4000)])
def test_the_peers_close_is_answered(codec_class: type[Codec], sent: bytes, code: int) -> None:
    ear = listen(codec_class, wire.frame(wire.CLOSE, sent) + wire.frame(wire.TEXT, b"late"))
    assert (ear.over, ear.heard) == ((code, False), [])
    assert ear.answer[0] == 0x88 and ear.answer[2:4] == sent[:2]


def test_a_close_between_fragments_is_no_fault(codec_class: type[Codec]) -> None:
    assert listen(codec_class, wire.frame(wire.TEXT, b"a", fin=False) + wire.close(1000)).over == (1000, False)


def test_our_close(codec_class: type[Codec]) -> None:
    ear = Ear()
    codec = codec_class(ear, LIMIT, None)
    for code, reason in [(1006, ""), (1005 - 1, ""), (999, ""), (5000, ""), (1000, "x" * 124)]:
        with pytest.raises(ValueError, match="WebSocket"):
            codec.close(code, reason)
    assert codec.close(3000, "enough") == b"\x88\x08\x0b\xb8enough"
    assert codec.close(1000, "") == b""
    codec.receive(wire.frame(wire.TEXT, b"sent before") + wire.close(3000))
    assert (ear.heard, ear.over, ear.answer) == (["sent before"], (3000, False), b"")


def test_a_close_without_a_code(codec_class: type[Codec]) -> None:
    assert codec_class(Ear(), LIMIT, None).close(1005, "") == b"\x88\x00"


def test_what_follows_a_full_queue_waits_as_bytes(codec_class: type[Codec]) -> None:
    ear = Ear(room=2)
    codec = codec_class(ear, LIMIT, None)
    codec.receive(wire.frame(wire.TEXT, b"m") * 5 + wire.close(1000))
    assert ear.heard == ["m", "m"] and codec.pending >= 21
    codec.receive(b"")
    assert len(ear.heard) == 2
    ear.room = 10
    codec.receive(b"")
    assert len(ear.heard) == 5 and ear.over == (1000, False)


def test_frames_out(codec_class: type[Codec]) -> None:
    codec = codec_class(Ear(), LIMIT, None)
    assert codec.text("é") == b"\x81\x02\xc3\xa9"
    assert codec.binary(b"") == b"\x82\x00"
    assert codec.binary(bytes(126))[:4] == b"\x82\x7e\x00\x7e"
    assert codec.binary(bytes(65535))[:4] == b"\x82\x7e\xff\xff"
    assert codec.binary(bytes(65536))[:10] == b"\x82\x7f" + (65536).to_bytes(8, "big")
    assert codec.ping(b"abc") == b"\x89\x03abc"
    packing = codec_class(Ear(), LIMIT, Deflate(AGREED))
    frame = packing.text("abc" * 100)
    assert frame[0] == 0xC1
    assert zlib.decompressobj(wbits=-12).decompress(frame[2:] + b"\x00\x00\xff\xff") == b"abc" * 100


# -- against the library alone ---------------------------------------------------------------------------------

opcodes = st.sampled_from([0x1, 0x1, 0x1, 0x2, 0x2, 0x0, 0x0, 0x8, 0x9, 0xA, 0x3])
payloads = st.one_of(
    st.binary(max_size=130),
    st.text(max_size=40).map(str.encode),
    st.sampled_from([b"", b"\x03\xe8", b"\x03\xe8bye", b"x" * LIMIT, b"y" * (LIMIT + 1), "€".encode()[:2]]),
)
frames = st.tuples(opcodes, payloads, st.sampled_from([True, True, True, False]), st.sampled_from([0, 0, 0, 4, 4, 2]))


def by_the_library(pieces: list[bytes], deflate: bool) -> tuple[list[Heard], int | None]:
    """What the package says of the same bytes: messages and pongs put together as its own documentation does."""
    from websockets.extensions.permessage_deflate import PerMessageDeflate
    from websockets.frames import Frame, Opcode
    from websockets.protocol import Protocol, Side

    library = Protocol(Side.SERVER, max_size=LIMIT)
    if deflate:
        library.extensions = [PerMessageDeflate(False, False, 12, 12)]
    heard: list[Heard] = []
    kind, parts = 0, b""
    for piece in pieces:
        library.receive_data(piece)
        for event in library.events_received():
            assert isinstance(event, Frame)
            if event.opcode in (Opcode.PING, Opcode.PONG):
                heard.append((event.opcode.name.lower(), bytes(event.data)))
            elif event.opcode is not Opcode.CLOSE:
                if event.opcode is not Opcode.CONT:
                    kind, parts = int(event.opcode), b""
                parts += bytes(event.data)
                if event.fin:
                    try:
                        heard.append(parts.decode() if kind == 0x1 else parts)
                    except UnicodeDecodeError:
                        return heard, 1007
        if library.close_sent is not None:
            break
    return heard, None if library.close_sent is None else int(library.close_sent.code)


@settings(max_examples=400, deadline=None)
@given(st.lists(frames, max_size=8), st.lists(st.integers(1, 300), max_size=12), st.booleans())
def test_as_the_library_alone(sent: list[tuple[int, bytes, bool, int]], cuts: list[int], deflate: bool) -> None:
    """Without `cuts` every frame comes by itself, as most do."""
    pytest.importorskip("websockets")
    from uvicorn.worker.websockets import codec_websockets

    compressor = zlib.compressobj(wbits=-12)
    whole: list[bytes] = []
    inside, held = False, 0
    for opcode, payload, fin, rsv in sent:
        if inside and opcode == 0x8:
            continue  # a close between fragments: ours answers it, the library minds
        if inside and opcode in (0x9, 0xA) and held + len(payload) > LIMIT:
            continue  # a ping or a pong: the library counts it as a part of the message that it stands in
        if opcode in (0x0, 0x1, 0x2):
            held = len(payload) + (held if inside else 0)
        if deflate and rsv == 4 and opcode in (0x1, 0x2):
            payload = compressor.compress(payload) + compressor.flush(zlib.Z_SYNC_FLUSH)
            payload = payload.removesuffix(b"\x00\x00\xff\xff") if fin else payload
        inside = not fin if opcode in (0x0, 0x1, 0x2) else inside
        whole.append(wire.frame(opcode, payload, fin=fin, rsv=rsv))
    pieces: list[bytes] = []
    data, at = b"".join(whole), 0
    while cuts and at < len(data):
        size = cuts[len(pieces) % len(cuts)]
        pieces.append(data[at : at + size])
        at += size
    pieces = pieces or whole
    ear = Ear()
    codec = codec_websockets.Codec(ear, LIMIT, Deflate(AGREED) if deflate else None)
    for piece in pieces:
        if not codec.over:
            feed(codec, ear, piece)
    heard, code = by_the_library(pieces, deflate)
    ours = None if ear.over is None else ear.over[0]
    if ours == 1007 and code != 1007:  # letters are judged with each fragment, before what may come behind them
        assert heard[: len(ear.heard)] == ear.heard
    else:
        assert (ear.heard, ours) == (heard, code)
