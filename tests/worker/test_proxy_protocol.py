"""The PROXY header: what is taken, what it says, what is refused, however it is cut."""

from __future__ import annotations

import ipaddress
import struct

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from uvicorn.net.proxy_protocol import LONGEST, LONGEST_LINE, SIGNATURE, Header, HeaderReader, Malformed

V4 = bytes([203, 0, 113, 1, 192, 0, 2, 1]) + struct.pack("!HH", 4711, 443)
V6 = (
    ipaddress.ip_address("2001:db8::1").packed
    + ipaddress.ip_address("2001:db8::2").packed
    + struct.pack("!HH", 1, 65535)
)
ENDS = ("203.0.113.1", 4711), ("192.0.2.1", 443)


def block(payload: bytes = b"", family: int = 0x11, version: int = 0x21, size: int | None = None) -> bytes:
    return SIGNATURE + struct.pack("!BBH", version, family, len(payload) if size is None else size) + payload


def extension(kind: int, value: bytes) -> bytes:
    return struct.pack("!BH", kind, len(value)) + value


def unix(source: bytes, destination: bytes) -> bytes:
    return source.ljust(108, b"\0") + destination.ljust(108, b"\0")


TLS = extension(0x20, b"\x01\0\0\0\0" + extension(0x21, b"TLSv1.3"))

ACCEPTED = [
    (b"PROXY TCP4 203.0.113.1 192.0.2.1 4711 443\r\n", Header(*ENDS)),
    (b"PROXY TCP6 2001:db8::1 2001:DB8::2 0 65535\r\n", Header(("2001:db8::1", 0), ("2001:db8::2", 65535))),
    (b"PROXY TCP6 ::ffff:203.0.113.1 ::ffff:192.0.2.1 4711 443\r\n", Header(*ENDS)),
    (
        b"PROXY TCP6 " + b"ffff:" * 7 + b"ffff " + b"ffff:" * 7 + b"ffff 65535 65535\r\n",
        Header(("ffff:" * 7 + "ffff", 65535), ("ffff:" * 7 + "ffff", 65535)),
    ),
    (b"PROXY UNKNOWN\r\n", Header()),
    (b"PROXY UNKNOWN ffff::1 whatever\r\n", Header()),
    (b"PROXY UNKNOWN ".ljust(LONGEST_LINE - 2, b"x") + b"\r\n", Header()),
    (block(V4), Header(*ENDS)),
    (block(V6, 0x21), Header(("2001:db8::1", 1), ("2001:db8::2", 65535))),
    (block(V4 + TLS), Header(*ENDS, tls=True)),
    (block(V4 + extension(0x20, b"\x06\0\0\0\0")), Header(*ENDS)),
    (block(V4 + extension(0x20, b"")), Header(*ENDS)),
    (block(V4 + extension(0x04, b"\0" * 9) + extension(0xEE, b"own") + TLS), Header(*ENDS, tls=True)),
    (block(V4 + extension(0x04, b"x" * (LONGEST - 16 - 12 - 3))), Header(*ENDS)),
    (block(unix(b"/run/a.sock", b"\0abstract"), 0x31), Header(("/run/a.sock", None), ("@abstract", None))),
    (block(unix(b"", b"/run/b.sock"), 0x31), Header(None, ("/run/b.sock", None))),
    (block(b"", 0x00), Header()),
    (block(b"\xff" * 7, 0x00), Header()),
    (block(b"", 0x00, 0x20), Header(local=True)),
    (block(V4 + b"\xff", 0x11, 0x20), Header(local=True)),
]

REFUSED = [
    b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"POST / HTTP/1.1\r\n",
    b"proxy TCP4 203.0.113.1 192.0.2.1 4711 443\r\n",
    b"\x16\x03\x01\x02\x00\x01",
    b"\r\n\r\n\0\r\nQUIT\r",
    b"PROXY \r\n",
    b"PROXY TCP4\r\n",
    b"PROXY TCP5 203.0.113.1 192.0.2.1 4711 443\r\n",
    b"PROXY UNKNOWNS\r\n",
    b"PROXY TCP4 203.0.113.1 192.0.2.1 4711 443\n",
    b"PROXY TCP4 203.0.113.1 192.0.2.1 4711 443 \r\n",
    b"PROXY TCP4  203.0.113.1 192.0.2.1 4711 443\r\n",
    b"PROXY TCP4 203.0.113.1 192.0.2.1 4711\r\n",
    b"PROXY TCP4 203.0.113.1 192.0.2.1 4711 65536\r\n",
    b"PROXY TCP4 203.0.113.1 192.0.2.1 04711 443\r\n",
    b"PROXY TCP4 203.0.113.1 192.0.2.1 -1 443\r\n",
    b"PROXY TCP4 203.0.113.1 192.0.2.1 +1 443\r\n",
    b"PROXY TCP4 203.0.113.256 192.0.2.1 4711 443\r\n",
    b"PROXY TCP4 203.0.113.01 192.0.2.1 4711 443\r\n",
    b"PROXY TCP4 2001:db8::1 2001:db8::2 1 2\r\n",
    b"PROXY TCP6 203.0.113.1 192.0.2.1 4711 443\r\n",
    b"PROXY TCP6 2001:db8:::1 2001:db8::2 1 2\r\n",
    b"PROXY UNKNOWN ".ljust(LONGEST_LINE - 1, b"x") + b"\r\n",
    b"PROXY UNKNOWN a\rb\r\n",
    block(V4, 0x11, 0x11),
    block(V4, 0x11, 0x22),
    block(V4, 0x12),
    block(V4, 0x44),
    block(V4[:-1]),
    block(V6[:-1], 0x21),
    block(unix(b"/a", b"/b")[:-1], 0x31),
    block(V4 + b"\x20"),
    block(V4 + b"\x20\0\x05\x01\0\0\0"),
    block(V4 + TLS + b"\xee\0\x01"),
    block(size=LONGEST - 15),
]


def read(parts: list[bytes]) -> tuple[Header | None, bytes]:
    """What the parts say, as a socket that is peeked at hands them out, and what is left of them."""
    reader, there = HeaderReader(), b""
    for part in parts:
        there += part
        while there and reader.header is None:
            taken = reader.take(there)
            assert taken or reader.header is not None, "no byte was taken: who reads would turn for ever"
            there = there[taken:]
    return reader.header, there


@pytest.mark.parametrize(("data", "header"), ACCEPTED)
def test_accepted(data: bytes, header: Header) -> None:
    for rest in (b"", b"GET / HTTP/1.1\r\n", b"\n", data):
        assert read([data + rest]) == (header, rest)
        assert read([data[at : at + 1] for at in range(len(data))] + [rest]) == (header, rest)
    assert read([data[:-1]])[0] is None


@pytest.mark.parametrize("data", REFUSED)
def test_refused(data: bytes) -> None:
    with pytest.raises(Malformed):
        read([data])
    with pytest.raises(Malformed):
        read([data[at : at + 1] for at in range(len(data))])


def test_a_beginning_is_waited_for() -> None:
    for data in (b"P", b"PROXY", SIGNATURE, block(V4)[:20]):
        assert read([data]) == (None, b"")


def test_what_never_ends_is_refused_before_it_is_kept() -> None:
    reader = HeaderReader()
    with pytest.raises(Malformed):
        for _ in range(LONGEST_LINE + 1):
            reader.take(b"PROXY "[len(reader.taken) : len(reader.taken) + 1] or b"x")
    assert len(reader.taken) < LONGEST_LINE


@given(st.data())
def test_cuts_change_nothing(data: st.DataObject) -> None:
    header, expected = data.draw(st.sampled_from(ACCEPTED))
    rest = data.draw(st.binary(max_size=40))
    whole = header + rest
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=8)))
    parts = [whole[start:end] for start, end in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
    assert read(parts) == (expected, rest)


@given(
    st.binary(max_size=60),
    st.sampled_from([b"", b"PROXY ", b"PROXY TCP4 ", SIGNATURE, SIGNATURE + b"\x21\x11\0"]),
    st.booleans(),
)
@example(b"", b"", True)
def test_anything_is_a_header_or_malformed_or_unfinished(data: bytes, begin: bytes, singly: bool) -> None:
    whole = begin + data
    try:
        header, rest = read([whole[at : at + 1] for at in range(len(whole))] if singly else [whole])
    except Malformed:
        return
    assert header is not None or not rest
    assert whole.endswith(rest)
