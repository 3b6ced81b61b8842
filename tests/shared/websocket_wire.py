"""What a client of the tests puts on the wire: handshakes and masked frames, well-formed or not."""

from __future__ import annotations

import base64
import zlib

KEY = base64.b64encode(b"0123456789abcdef").decode()
TEXT, BINARY, CLOSE, PING, PONG, CONT = 0x1, 0x2, 0x8, 0x9, 0xA, 0x0
MASK = b"\x12\x9a\x5c\xf3"


def frame(opcode: int, payload: bytes = b"", *, fin: bool = True, rsv: int = 0, mask: bytes | None = MASK) -> bytes:
    """One frame of a client."""
    size = len(payload)
    bit = 0x80 if mask is not None else 0
    head = bytes((0x80 * fin | rsv << 4 | opcode,))
    if size < 126:
        head += bytes((bit | size,))
    elif size < 65536:
        head += bytes((bit | 126,)) + size.to_bytes(2, "big")
    else:
        head += bytes((bit | 127,)) + size.to_bytes(8, "big")
    if mask is None:
        return head + payload
    key = (mask * (size // 4 + 1))[:size]
    masked = (int.from_bytes(payload, "big") ^ int.from_bytes(key, "big")).to_bytes(size, "big")
    return head + mask + masked


def close(code: int, reason: bytes = b"") -> bytes:
    return frame(CLOSE, code.to_bytes(2, "big") + reason)


def deflated(payload: bytes, bits: int = 12, flush: int = zlib.Z_SYNC_FLUSH) -> bytes:
    """The payload of a compressed message that needs no context."""
    compressor = zlib.compressobj(wbits=-bits)
    packed = compressor.compress(payload) + compressor.flush(flush)
    return packed.removesuffix(b"\x00\x00\xff\xff")


def handshake(path: str = "/", *lines: str) -> bytes:
    """The request of a client; a line replaces the usual one of the same name, and "Name:" alone removes it."""
    usual = {
        "host": "Host: a",
        "upgrade": "Upgrade: websocket",
        "connection": "Connection: Upgrade",
        "sec-websocket-version": "Sec-WebSocket-Version: 13",
        "sec-websocket-key": f"Sec-WebSocket-Key: {KEY}",
    }
    for line in lines:
        usual.pop(line.partition(":")[0].lower(), None)
    sent = [line for line in lines if line.partition(":")[2].strip()]
    return "\r\n".join([f"GET {path} HTTP/1.1", *usual.values(), *sent, "", ""]).encode("latin-1")
