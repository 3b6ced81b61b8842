"""The header that a proxy sends before a connection's own bytes: PROXY protocol, versions 1 and 2. Pure.

`HeaderReader.take` returns how many bytes belong to the header, so that no byte of what follows (TLS, or a request) is
taken. The header is required: bytes that do not begin one are an error, because a client could send one itself if it
were optional. Of version 2's extensions only the one about TLS is read; checksums are ignored (TCP has one).

Owns: the header's wire form. Must not: know a socket, whom to trust, or what an application is told. Fails by:
`Malformed`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import NamedTuple

from uvicorn.net.proxies import unmapped

LONGEST_LINE = 107
"""Maximum bytes of a version 1 header, CRLF included (specification, 2.1)."""
LONGEST = 4096
"""Maximum bytes of a version 2 header. The format allows 64 KiB; addresses, names and a certificate need less."""

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
_FIXED = 16
_LINE = re.compile(rb"PROXY (TCP[46]) ([0-9A-Fa-f:.]+) ([0-9A-Fa-f:.]+) (0|[1-9][0-9]{0,4}) (0|[1-9][0-9]{0,4})\r\n")
_UNKNOWN = re.compile(rb"PROXY UNKNOWN(?: [^\r\n]*)?\r\n")
_IP_SIZES = {0x11: 4, 0x21: 16}
_UNIX_SIZE = 108
_TLS, _CLIENT_TLS = 0x20, 0x01

Address = tuple[str, int | None]


class Malformed(Exception):
    """These bytes are not a PROXY header. The text is a reason for the log, and does not quote them."""


class Header(NamedTuple):
    """A parsed header. `local`: the proxy itself is the client (a health check).

    `source` and `destination` are None if the proxy does not know them; (path, None) for Unix sockets.
    `tls`: the client is connected to the proxy over TLS.
    """

    source: Address | None = None
    destination: Address | None = None
    local: bool = False
    tls: bool = False


class HeaderReader:
    """Reads a header from the beginning of a stream, in parts of any size. `header` is set when it is complete."""

    def __init__(self) -> None:
        self.taken = b""
        self.header: Header | None = None

    def take(self, data: bytes) -> int:
        """The number of bytes of `data`, the next part of the stream, that belong to the header. Raises Malformed."""
        seen = self.taken + data
        size = _line_size(seen) if _begins(seen, b"PROXY ") else _block_size(seen)
        before = len(self.taken)
        self.taken = seen[:size]
        if len(self.taken) == size:
            self.header = _line(self.taken) if self.taken[:1] == b"P" else _block(self.taken)
        return len(self.taken) - before


def _begins(data: bytes, text: bytes) -> bool:
    return data[: len(text)] == text[: len(data)]


# -- version 1: a line -----------------------------------------------------------------------------------------


def _line_size(seen: bytes) -> int:
    """The size of the header; one byte more than was received while it is not known."""
    end = seen.find(b"\n", 0, LONGEST_LINE)
    if end < 0 and len(seen) >= LONGEST_LINE:
        raise Malformed("PROXY line too long")
    return end + 1 if end >= 0 else len(seen) + 1


def _line(line: bytes) -> Header:
    if _UNKNOWN.fullmatch(line):
        return Header()
    match = _LINE.fullmatch(line)
    if match is None:
        raise Malformed("malformed PROXY line")
    kind = IPv4Address if match[1] == b"TCP4" else IPv6Address
    try:
        source, destination = (str(unmapped(kind(host.decode("ascii")))) for host in (match[2], match[3]))
    except ValueError:
        raise Malformed("malformed address in a PROXY line") from None
    ports = int(match[4]), int(match[5])
    if max(ports) > 65535:
        raise Malformed("malformed port in a PROXY line")
    return Header((source, ports[0]), (destination, ports[1]))


# -- version 2: a block ----------------------------------------------------------------------------------------


def _block_size(seen: bytes) -> int:
    if not _begins(seen, SIGNATURE):
        raise Malformed("no PROXY header")
    if len(seen) < _FIXED:
        return _FIXED
    size = _FIXED + int.from_bytes(seen[14:16], "big")
    if size > LONGEST:
        raise Malformed("PROXY header too long")
    return size


def _block(block: bytes) -> Header:
    version, family, rest = block[12], block[13], block[_FIXED:]
    if version == 0x20:
        return Header(local=True)
    if version != 0x21:
        raise Malformed("unknown version or command in a PROXY header")
    if family == 0x00:
        return Header()
    if family == 0x31:
        source, destination, rest = _unix_addresses(rest)
    elif family in _IP_SIZES:
        source, destination, rest = _ip_addresses(rest, _IP_SIZES[family])
    else:
        raise Malformed("unknown address family in a PROXY header")
    return Header(source, destination, tls=_came_over_tls(rest))


def _ip_addresses(rest: bytes, size: int) -> tuple[Address, Address, bytes]:
    end = 2 * size + 4
    if len(rest) < end:
        raise Malformed("PROXY header too short")
    source, destination = (str(unmapped(ip_address(rest[at : at + size]))) for at in (0, size))
    ports = [int.from_bytes(rest[at : at + 2], "big") for at in (2 * size, 2 * size + 2)]
    return (source, ports[0]), (destination, ports[1]), rest[end:]


def _unix_addresses(rest: bytes) -> tuple[Address | None, Address | None, bytes]:
    if len(rest) < 2 * _UNIX_SIZE:
        raise Malformed("PROXY header too short")
    source, destination = _path(rest[:_UNIX_SIZE]), _path(rest[_UNIX_SIZE : 2 * _UNIX_SIZE])
    return source, destination, rest[2 * _UNIX_SIZE :]


def _path(field: bytes) -> Address | None:
    """A Unix socket's path. An abstract name begins with a zero byte, shown as @."""
    name = field.rstrip(b"\0").replace(b"\0", b"@")
    return (name.decode("utf-8", "backslashreplace"), None) if name else None


def _extensions(rest: bytes) -> Iterator[tuple[int, bytes]]:
    while rest:
        end = 3 + int.from_bytes(rest[1:3], "big")
        if len(rest) < max(3, end):
            raise Malformed("extension of a PROXY header too short")
        yield rest[0], rest[3:end]
        rest = rest[end:]


def _came_over_tls(rest: bytes) -> bool:
    """Whether the extensions say so. All are parsed, so that any malformed one is an error."""
    return [value for kind, value in _extensions(rest) if kind == _TLS and value[:1] and value[0] & _CLIENT_TLS] != []
