"""TLS of one connection: the ASGI extension `tls`, and whether everything was sent.

Must not: know the files of a context, or decide anything. Fails by: None for what the ssl module does not know.
"""

from __future__ import annotations

import array
import asyncio
import ssl
from typing import Any

try:
    import fcntl
    import termios
except ImportError:  # Windows
    _OUTQ = None
else:
    _OUTQ = getattr(termios, "TIOCOUTQ", None)

_VERSIONS = {"TLSv1": 0x0301, "TLSv1.1": 0x0302, "TLSv1.2": 0x0303, "TLSv1.3": 0x0304}

_SHORT = {  # RFC 4514, 3; others have the name that OpenSSL gives them
    "commonName": "CN",
    "localityName": "L",
    "stateOrProvinceName": "ST",
    "organizationName": "O",
    "organizationalUnitName": "OU",
    "countryName": "C",
    "streetAddress": "STREET",
    "domainComponent": "DC",
    "userId": "UID",
}
_ESCAPES = str.maketrans({char: "\\" + char for char in '\\"+,;<>'} | {"\0": "\\00"})

_suites: dict[str, int] = {}
"""Numbers of cipher suites by OpenSSL's names for them, from every context seen so far."""


def extension(tls: ssl.SSLObject, server_cert: str | None) -> dict[str, Any]:
    """The scope's `extensions["tls"]` (ASGI specification, TLS extension 0.2).

    `client_cert_error` is always None: the handshake fails for a client whose certificate is refused.
    """
    name = None
    chain: list[str] = []
    leaf = tls.getpeercert(True)
    if leaf is not None:
        chain = [ssl.DER_cert_to_PEM_cert(der) for der in _chain(tls, leaf)]
        name = distinguished_name((tls.getpeercert() or {}).get("subject", ()))
    return {
        "server_cert": server_cert,
        "client_cert_chain": chain,
        "client_cert_name": name,
        "client_cert_error": None,
        "tls_version": _VERSIONS.get(tls.version() or ""),
        "cipher_suite": _suite(tls),
    }


def _chain(tls: ssl.SSLObject, leaf: bytes) -> list[bytes]:
    """The certificates that the client sent, its own first. Before Python 3.13 only that one is known."""
    read = getattr(tls, "get_unverified_chain", None)
    found: list[bytes] = list(read() or ()) if read is not None else []
    return found if found[:1] == [leaf] else [leaf, *found]


def _suite(tls: ssl.SSLObject) -> int | None:
    cipher = tls.cipher()
    if cipher is None:
        return None
    if cipher[0] not in _suites:
        _suites.update({known["name"]: known["id"] & 0xFFFF for known in tls.context.get_ciphers()})
    return _suites.get(cipher[0])


def distinguished_name(subject: Any) -> str:
    """A name from `getpeercert` as text (RFC 4514, 2): the last part first."""
    return ",".join(
        "+".join(f"{_SHORT.get(kind, kind)}={_escaped(value)}" for kind, value in part) for part in reversed(subject)
    )


def _escaped(value: str) -> str:
    text = value.translate(_ESCAPES)
    if value[:1] in (" ", "#"):
        text = "\\" + text
    if len(value) > 1 and value[-1] == " ":
        text = text[:-1] + "\\ "
    return text


def all_sent(transport: asyncio.Transport) -> bool:
    """Whether the peer's kernel has received everything, as our kernel knows; no where it cannot be asked.

    The buffer size of a TLS transport does not include what the transport below it holds.
    """
    sock = transport.get_extra_info("socket")
    if _OUTQ is None or sock is None:
        return False
    unsent = array.array("i", [1])
    try:
        fcntl.ioctl(sock.fileno(), _OUTQ, unsent)
    except OSError:
        return False
    return unsent[0] == 0
