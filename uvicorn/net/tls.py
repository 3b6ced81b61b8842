"""Certificates and keys → an SSLContext, which is kept up to date when its files change.

A master makes the context before it forks its workers, so it reports a missing file or a key that does not fit. Workers
that share a context can resume each other's TLS sessions, because the ticket keys are in it. A worker that starts later
and finds other files makes a context of its own. While a worker serves, it looks at the files every few seconds
(`CertificateFiles.refresh`). Changed files that stay the same between two looks are tried in a new context, then loaded
into the one in use: new handshakes use them, and open connections go on. Rejected: inotify (a descriptor and a
dependency for something that happens every sixty days).

Owns: what the `--ssl-*` options mean. Must not: read a Config, choose the ALPN protocols, import the module ssl before
TLS is used, or touch a connection.
Fails by: `StartupError` at the start. Later by one error in the log; the certificate that was loaded stays in use.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from uvicorn.errors import StartupError

if TYPE_CHECKING:
    import ssl
    from datetime import datetime

Path = str | os.PathLike[str]

_CERTIFICATE = re.compile(rb"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)
_ANY_CERTIFICATE = re.compile(rb"-----BEGIN (?:X509 |TRUSTED )?CERTIFICATE-----")
_KEY = re.compile(rb"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY-----")

_log = logging.getLogger("uvicorn.error")


# -- a context -------------------------------------------------------------------------------------------------


def create_ssl_context(
    certfile: Path | None,
    keyfile: Path | None = None,
    password: str | None = None,
    ssl_version: int = 17,
    cert_reqs: int = 0,
    ca_certs: Path | None = None,
    ciphers: str | None = None,
    alpn_protocols: list[str] | None = None,
) -> ssl.SSLContext:
    """Make a server's context. Its minimum is TLS 1.2, unless `ssl_version` names one older protocol.

    `alpn_protocols` are offered to clients (RFC 7301), the preferred one first; the default is http/1.1. Raises
    StartupError. A program that wants stricter settings replaces `uvicorn.config.create_ssl_context` by a function that
    calls this one.
    """
    import ssl

    if certfile is None:
        raise StartupError("--ssl-keyfile needs --ssl-certfile.")
    try:
        if ssl_version == ssl.PROTOCOL_TLS_CLIENT:
            raise ValueError
        context = ssl.SSLContext(ssl_version)
    except ValueError:
        raise StartupError(
            f"--ssl-version {ssl_version} is not a protocol that the ssl module has for servers."
        ) from None
    if ssl_version in (ssl.PROTOCOL_TLS_SERVER, ssl.PROTOCOL_TLS):
        context.minimum_version = max(context.minimum_version, ssl.TLSVersion.TLSv1_2)
    context.options |= ssl.OP_NO_RENEGOTIATION
    _load_pair(context, certfile, keyfile, password)
    context.verify_mode = ssl.VerifyMode(cert_reqs)
    if ca_certs is not None:
        _load_authorities(context, ca_certs)
    if ciphers:
        try:
            context.set_ciphers(ciphers)
        except ssl.SSLError:
            raise StartupError(f"--ssl-ciphers {ciphers!r} matches no cipher of OpenSSL.") from None
    context.set_alpn_protocols(alpn_protocols or ["http/1.1"])
    return context


def _load_pair(context: ssl.SSLContext, certfile: Path, keyfile: Path | None, password: str | None) -> None:
    import ssl

    if not _ANY_CERTIFICATE.search(_read("--ssl-certfile", certfile)):
        raise StartupError(f"--ssl-certfile {certfile} contains no certificate in PEM format.")
    if keyfile is not None and not _KEY.search(_read("--ssl-keyfile", keyfile)):
        raise StartupError(f"--ssl-keyfile {keyfile} contains no private key in PEM format.")
    if keyfile is None and not _KEY.search(_read("--ssl-certfile", certfile)):
        raise StartupError(f"--ssl-certfile {certfile} contains no private key: name its file with --ssl-keyfile.")
    asked = []

    def tell_password() -> str:  # without such a function, OpenSSL would ask at the terminal
        asked.append(True)
        if password is None:
            raise StartupError(f"The private key in {keyfile or certfile} needs --ssl-keyfile-password.")
        return password

    try:
        context.load_cert_chain(certfile, keyfile, tell_password)
    except ssl.SSLError as exc:
        if exc.reason == "KEY_VALUES_MISMATCH":
            sentence = f"The private key in {keyfile or certfile} does not belong to the certificate in {certfile}."
        elif asked:
            sentence = f"--ssl-keyfile-password is wrong for the private key in {keyfile or certfile}."
        else:
            sentence = f"Cannot use --ssl-certfile {certfile}: {exc.reason or exc}."
        raise StartupError(sentence) from None
    except (OSError, ValueError) as exc:
        raise StartupError(f"Cannot use --ssl-certfile {certfile}: {exc}.") from None


def _load_authorities(context: ssl.SSLContext, ca_certs: Path) -> None:
    if not _ANY_CERTIFICATE.search(_read("--ssl-ca-certs", ca_certs)):
        raise StartupError(f"--ssl-ca-certs {ca_certs} contains no certificate in PEM format.")
    try:
        context.load_verify_locations(ca_certs)
    except OSError as exc:
        raise StartupError(f"Cannot use --ssl-ca-certs {ca_certs}: {exc}.") from None


def _read(option: str, path: Path) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as exc:
        raise StartupError(f"Cannot read {option} {path}: {exc.strerror or exc}.") from None


def context_from_factory(factory: Callable[[], object]) -> ssl.SSLContext:
    """The context that a program's own function makes. Its files are not read again here.

    Raises StartupError, with the function's exception as the cause.
    """
    import ssl

    try:
        context = factory()
    except StartupError:
        raise
    except Exception as exc:
        raise StartupError(f"ssl_context_factory failed: {exc}") from exc
    if not isinstance(context, ssl.SSLContext):
        raise StartupError(f"ssl_context_factory must return an ssl.SSLContext, not {type(context).__name__}.")
    return context


# -- its files -------------------------------------------------------------------------------------------------


class ContextOptions(NamedTuple):
    """What a context is made of, by the names of `create_ssl_context`'s parameters."""

    certfile: Path | None
    keyfile: Path | None
    password: str | None
    ssl_version: int
    cert_reqs: int
    ca_certs: Path | None
    ciphers: str | None


FileStates = list[tuple[int, int, int, int] | None]
"""For each file its time, inode, device and size; None where there is no such file."""


class CertificateFiles:
    """A context, and the files that it was made of. `pem` is the server's certificate; None where it was not found."""

    def __init__(
        self, options: ContextOptions, alpn_protocols: Sequence[str], make: Callable[..., ssl.SSLContext]
    ) -> None:
        """`make` is `create_ssl_context`, or what a program has put in its place. Raises StartupError."""
        self._options = options._replace(  # absolute: the application may change the current folder later
            certfile=_absolute(options.certfile),
            keyfile=_absolute(options.keyfile),
            ca_certs=_absolute(options.ca_certs),
        )
        self._alpn_protocols = alpn_protocols
        self._make_context = make
        self._loaded = self._last = self._look()
        self.context = self._make()
        self.pem = self._leaf()
        if options.cert_reqs and options.ca_certs is None:
            _log.warning("--ssl-cert-reqs without --ssl-ca-certs: every client certificate will be rejected.")

    def _make(self) -> ssl.SSLContext:
        try:
            context = self._make_context(**self._options._asdict())
        except StartupError:
            raise
        except Exception as exc:  # a program's own function may raise anything
            raise StartupError(f"create_ssl_context failed: {exc}") from exc
        context.set_alpn_protocols(self._alpn_protocols)
        return context

    def _look(self) -> FileStates:
        states: FileStates = []
        for path in (self._options.certfile, self._options.keyfile, self._options.ca_certs):
            try:
                found = os.stat(path or "")
            except OSError:
                states.append(None)
            else:
                states.append((found.st_mtime_ns, found.st_ino, found.st_dev, found.st_size))
        return states

    @property
    def is_current(self) -> bool:
        """Whether the files are still those that were loaded."""
        return self._look() == self._loaded

    def refresh(self) -> None:
        """Load changed files into the context in use, once two looks have found them the same.

        So a certificate and its key that are replaced one after the other are loaded together.
        """
        states = self._look()
        if states == self._loaded or states != self._last:
            self._last = states
            return
        self._loaded = states
        options = self._options
        try:
            self._make()  # tried first in a new one: a context with half of them loaded could serve nobody
            assert options.certfile is not None
            _load_pair(self.context, options.certfile, options.keyfile, options.password)
            if options.ca_certs is not None:
                _load_authorities(self.context, options.ca_certs)
            self.pem = self._leaf()
        except StartupError as exc:
            _log.error("%s The previous certificate stays in use.", exc)
            return
        _log.info("The certificate was reloaded, because its files have changed.")

    def _leaf(self) -> str | None:
        """The first certificate of the chain, in PEM form. Logs a warning if it has expired."""
        certfile = self._options.certfile
        assert certfile is not None
        found = _CERTIFICATE.search(_read("--ssl-certfile", certfile))
        if found is None:
            return None
        import ssl
        from datetime import datetime, timezone

        pem = found[0].decode("ascii", "replace") + "\n"
        end = not_after(ssl.PEM_cert_to_DER_cert(pem))
        if end is not None and end < datetime.now(timezone.utc):
            _log.warning("The certificate in %s expired on %s: clients will refuse it.", certfile, f"{end:%d %B %Y}")
        return pem


def _absolute(path: Path | None) -> str | None:
    return None if path is None else os.path.abspath(path)


def not_after(der: bytes) -> datetime | None:
    """When a certificate expires (RFC 5280, 4.1.2.5); None where it cannot be read."""
    from datetime import datetime, timezone

    try:
        inside = _elements(_elements(_elements(der)[0][1])[0][1])  # Certificate → TBSCertificate
        if inside[0][0] == 0xA0:  # an explicit version
            del inside[0]
        tag, text = _elements(inside[3][1])[1]  # serial, algorithm, issuer, validity: its end
        form = "%y%m%d%H%M%SZ" if tag == 0x17 else "%Y%m%d%H%M%SZ"
        return datetime.strptime(text.decode(), form).replace(tzinfo=timezone.utc)
    except (IndexError, ValueError):
        return None


def _elements(data: bytes) -> list[tuple[int, bytes]]:
    """The (tag, content) pairs of a DER sequence (X.690, 8.1)."""
    found, position = [], 0
    while position < len(data):
        tag, size = data[position], data[position + 1]
        position += 2
        if size & 0x80:
            count = size & 0x7F
            size = int.from_bytes(data[position : position + count], "big")
            position += count
        found.append((tag, data[position : position + size]))
        position += size
    return found
