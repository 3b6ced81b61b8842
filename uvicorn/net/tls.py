"""Certificates and keys → an SSLContext, and a live one when its files change.

The context is made before the first fork: a file that is missing or a key that does not fit is told by the master, and
workers that share a context resume each other's sessions, because the ticket keys are in it. A worker that starts
later and finds other files makes its own. While it serves, its one timer looks at the files every few seconds
(`CertificateFiles.refresh`): what changed, and then stood still for one look, is tried in a fresh context and loaded
into the live one, so that new handshakes use it and no connection hears of it. Rejected: inotify (a descriptor and a
dependency for something that happens every sixty days).

Owns: the `--ssl-*` options' meaning. Must not: import the module ssl before it is needed, or touch a connection.
Fails by: `StartupError`, one sentence, when it starts; later by one line in the log, and what was loaded stays.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from uvicorn.errors import StartupError
from uvicorn.importer import import_from_string

if TYPE_CHECKING:
    import ssl
    from datetime import datetime

    from uvicorn.config import Config

Path = str | os.PathLike[str]

ALPN = ["http/1.1"]

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
    """A server's context. TLS 1.2 at least, unless `ssl_version` names one older protocol. Raises StartupError.

    Programs that harden it replace `uvicorn.config.create_ssl_context`, and call this one from there.
    """
    import ssl

    if certfile is None:
        raise StartupError("--ssl-keyfile needs --ssl-certfile.")
    try:
        if ssl_version == ssl.PROTOCOL_TLS_CLIENT:
            raise ValueError
        context = ssl.SSLContext(ssl_version)
    except ValueError:
        raise StartupError(f"--ssl-version {ssl_version} is no protocol that the ssl module can serve.") from None
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
            raise StartupError(f"--ssl-ciphers {ciphers!r} names no cipher that OpenSSL has.") from None
    context.set_alpn_protocols(alpn_protocols or ALPN)
    return context


def _load_pair(context: ssl.SSLContext, certfile: Path, keyfile: Path | None, password: str | None) -> None:
    import ssl

    if not _ANY_CERTIFICATE.search(_read("--ssl-certfile", certfile)):
        raise StartupError(f"--ssl-certfile {certfile} holds no certificate in PEM form.")
    if keyfile is not None and not _KEY.search(_read("--ssl-keyfile", keyfile)):
        raise StartupError(f"--ssl-keyfile {keyfile} holds no private key in PEM form.")
    if keyfile is None and not _KEY.search(_read("--ssl-certfile", certfile)):
        raise StartupError(f"--ssl-certfile {certfile} holds no private key: name its file with --ssl-keyfile.")
    asked = []

    def tell_password() -> str:  # without it OpenSSL would ask at the terminal
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
            sentence = f"--ssl-keyfile-password does not open the private key in {keyfile or certfile}."
        else:
            sentence = f"Cannot use --ssl-certfile {certfile}: {exc.reason or exc}."
        raise StartupError(sentence) from None
    except (OSError, ValueError) as exc:
        raise StartupError(f"Cannot use --ssl-certfile {certfile}: {exc}.") from None


def _load_authorities(context: ssl.SSLContext, ca_certs: Path) -> None:
    if not _ANY_CERTIFICATE.search(_read("--ssl-ca-certs", ca_certs)):
        raise StartupError(f"--ssl-ca-certs {ca_certs} holds no certificate in PEM form.")
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


def offer(config: Config, context: ssl.SSLContext) -> None:
    """ALPN: a connection class of the user's may speak something else."""
    context.set_alpn_protocols(getattr(config.__dict__.get("http_protocol_class"), "alpn_protocols", ALPN))


def context_from_factory(config: Config, make: Make) -> ssl.SSLContext:
    """What `ssl_context_factory(config, make_default)` makes: the program's, nothing of it is read again by us.

    Raises StartupError, with the factory's own exception as the cause.
    """
    import ssl

    factory: Any = import_from_string(config.ssl_context_factory)  # its name, where it came from another interpreter
    try:
        context = factory(config, lambda: CertificateFiles(config, make).context)
    except StartupError:
        raise
    except Exception as exc:
        raise StartupError(f"ssl_context_factory failed: {exc}") from exc
    if not isinstance(context, ssl.SSLContext):
        raise StartupError(f"ssl_context_factory must return an ssl.SSLContext, not {type(context).__name__}.")
    return context


# -- its files -------------------------------------------------------------------------------------------------

Seen = list[tuple[int, int, int, int] | None]
Make = Callable[..., "ssl.SSLContext"]


class CertificateFiles:
    """The files of a configuration, and the live context that was made of them. `pem` is the server's certificate."""

    def __init__(self, config: Config, make: Make) -> None:
        """`make` is `create_ssl_context`, or what stands in its place. Raises StartupError."""
        self._config = config
        self._create = make
        self._certfile = _absolute(config.ssl_certfile)
        self._keyfile = _absolute(config.ssl_keyfile)
        self._authorities = _absolute(config.ssl_ca_certs)
        self._loaded = self._last = self._look()
        self.context = self._make()
        self.pem = self._leaf()
        if config.ssl_cert_reqs and config.ssl_ca_certs is None:
            _log.warning("--ssl-cert-reqs without --ssl-ca-certs: no client's certificate will be accepted.")

    def _make(self) -> ssl.SSLContext:
        config = self._config
        try:
            context = self._create(
                certfile=self._certfile,
                keyfile=self._keyfile,
                password=config.ssl_keyfile_password,
                ssl_version=config.ssl_version,
                cert_reqs=config.ssl_cert_reqs,
                ca_certs=self._authorities,
                ciphers=config.ssl_ciphers,
            )
        except StartupError:
            raise
        except Exception as exc:  # whatever a program's own raises
            raise StartupError(f"create_ssl_context failed: {exc}") from exc
        offer(config, context)
        return context

    def _look(self) -> Seen:
        seen: Seen = []
        for path in (self._certfile, self._keyfile, self._authorities):
            try:
                found = os.stat(path or "")
            except OSError:
                seen.append(None)
            else:
                seen.append((found.st_mtime_ns, found.st_ino, found.st_dev, found.st_size))
        return seen

    @property
    def is_current(self) -> bool:
        """Whether the files are still those that were loaded."""
        return self._look() == self._loaded

    def refresh(self) -> None:
        """Load what changed into the live context. Whoever replaces files one by one is given until the next look."""
        seen = self._look()
        if seen == self._loaded or seen != self._last:
            self._last = seen
            return
        self._loaded = seen
        try:
            self._make()  # a context that was half loaded could serve nobody
            assert self._certfile is not None
            _load_pair(self.context, self._certfile, self._keyfile, self._config.ssl_keyfile_password)
            if self._authorities is not None:
                _load_authorities(self.context, self._authorities)
            self.pem = self._leaf()
        except StartupError as exc:
            _log.error("%s The certificate that was loaded before is kept.", exc)
            return
        _log.info("The certificate was loaded again: its files have changed.")

    def _leaf(self) -> str | None:
        """The first certificate of the chain, and a warning if no client will accept it."""
        certfile = self._certfile
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
    """The application may change the folder while the files are watched."""
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
