"""A certificate authority for tests, and the certificates that it signs."""

from __future__ import annotations

import datetime
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

import pytest

if TYPE_CHECKING:
    import trustme


class Pair(TypedDict):
    """The two settings that serve HTTPS."""

    ssl_certfile: str
    ssl_keyfile: str


def flags(pair: Pair) -> list[str]:
    """The same settings on the command line."""
    return ["--ssl-certfile", pair["ssl_certfile"], "--ssl-keyfile", pair["ssl_keyfile"]]


class Authority:
    """A certificate authority; `path` is the file with its certificate."""

    def __init__(self, folder: Path) -> None:
        # Its cryptography has no wheel for some interpreters, and on others one that does not load.
        self._ca: trustme.CA = pytest.importorskip("trustme", exc_type=ImportError).CA()
        self.path = str(folder / "authority.pem")
        self._ca.cert_pem.write_to_path(self.path)

    def issue(
        self,
        certfile: Path,
        keyfile: Path | None = None,
        name: str = "localhost",
        *,
        common_name: str | None = None,
        organization_name: str | None = None,
        not_before: datetime.datetime | None = None,
        not_after: datetime.datetime | None = None,
    ) -> None:
        """A certificate for `name` and its key, in one file or in two; what was there is replaced at once."""
        issued = self._ca.issue_cert(
            name,
            common_name=common_name,
            organization_name=organization_name,
            not_before=not_before,
            not_after=not_after,
        )
        chain = b"".join(pem.bytes() for pem in issued.cert_chain_pems)
        files = {certfile: chain + issued.private_key_pem.bytes()}
        if keyfile is not None:
            files = {certfile: chain, keyfile: issued.private_key_pem.bytes()}
        for path, data in files.items():
            fresh = path.with_suffix(".new")
            fresh.write_bytes(data)
            fresh.replace(path)

    def client(self, certificate: Path | None = None) -> ssl.SSLContext:
        """A context for a client that trusts this authority only."""
        context = ssl.create_default_context(cafile=self.path)
        if certificate is not None:
            context.load_cert_chain(certificate)
        return context


@pytest.fixture(scope="session")
def new_authority(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Authority]:
    return lambda: Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="session")
def authority(new_authority: Callable[[], Authority]) -> Authority:
    """The authority that all tests share."""
    return new_authority()


@pytest.fixture
def pair(authority: Authority, tmp_path: Path) -> Pair:
    """Settings that serve HTTPS for localhost."""
    certfile, keyfile = tmp_path / "certificate.pem", tmp_path / "key.pem"
    authority.issue(certfile, keyfile)
    return {"ssl_certfile": str(certfile), "ssl_keyfile": str(keyfile)}
