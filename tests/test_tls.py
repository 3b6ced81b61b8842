"""The `--ssl-*` options: the context that they make, the errors, and files that change while it is in use."""

from __future__ import annotations

import datetime
import logging
import os
import ssl
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import uvicorn.config
from applications import Receive, Scope, Send
from certificates import Authority, Pair
from uvicorn.config import Config, create_ssl_context
from uvicorn.errors import StartupError
from uvicorn.net.tls import CertificateFiles, ContextOptions, not_after
from uvicorn.worker.transport.tls import distinguished_name


async def app(scope: Scope, receive: Receive, send: Send) -> None: ...


def loaded(**settings: Any) -> Config:
    config = Config(app, log_config=None, **settings)
    with config.raising():
        config.load()
    return config


def handshake(server: ssl.SSLContext, client: ssl.SSLContext) -> ssl.SSLObject:
    """A whole handshake in memory; the client's side of it."""
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = client.wrap_bio(back, there, server_hostname="localhost")
    theirs = server.wrap_bio(there, back, server_side=True)
    for _ in range(10):
        for side in (ours, theirs):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
    assert ours.version(), "the handshake did not end"
    return ours


def shown(server: ssl.SSLContext, authority: Authority) -> str:
    """The certificate that a client sees."""
    der = handshake(server, authority.client()).getpeercert(True)
    assert der is not None
    return ssl.DER_cert_to_PEM_cert(der)


# -- a context -------------------------------------------------------------------------------------------------


def test_without_files_there_is_no_tls() -> None:
    config = loaded()
    assert (config.is_ssl, config.ssl, config._certificate) == (False, None, None)


def test_load_makes_the_context(pair: Pair, authority: Authority) -> None:
    config = loaded(**pair)
    assert config.is_ssl
    assert isinstance(config.ssl, ssl.SSLContext)
    assert config.ssl.minimum_version >= ssl.TLSVersion.TLSv1_2
    assert config.ssl.verify_mode is ssl.CERT_NONE
    assert handshake(config.ssl, authority.client()).version() == "TLSv1.3"
    assert config.server_cert == shown(config.ssl, authority)


def test_paths_may_be_path_objects(pair: Pair) -> None:
    assert loaded(ssl_certfile=Path(pair["ssl_certfile"]), ssl_keyfile=Path(pair["ssl_keyfile"])).ssl is not None


def test_certificate_and_key_in_one_file(authority: Authority, tmp_path: Path) -> None:
    authority.issue(tmp_path / "both.pem")
    config = loaded(ssl_certfile=str(tmp_path / "both.pem"))
    assert config.ssl is not None and config.server_cert == shown(config.ssl, authority)


def test_all_settings(pair: Pair, authority: Authority) -> None:
    config = loaded(**pair, ssl_cert_reqs=2, ssl_ca_certs=authority.path, ssl_ciphers="ECDHE+AESGCM")
    assert config.ssl is not None
    assert config.ssl.verify_mode is ssl.CERT_REQUIRED
    assert len(config.ssl.get_ca_certs()) == 1
    old = [c["name"] for c in config.ssl.get_ciphers() if c["protocol"] != "TLSv1.3"]
    assert old and all("GCM" in name for name in old)


def test_alpn(pair: Pair, authority: Authority) -> None:
    config = loaded(**pair)
    client = authority.client()
    client.set_alpn_protocols(["h2", "http/1.1"])
    assert config.ssl is not None and handshake(config.ssl, client).selected_alpn_protocol() == "http/1.1"


def test_alpn_is_what_the_caller_passes(pair: Pair, authority: Authority) -> None:
    """A configuration has HTTP/1.1, or what its connection class names; TLS itself knows no protocol."""
    options = ContextOptions(pair["ssl_certfile"], pair["ssl_keyfile"], None, 17, 0, None, None)
    files = CertificateFiles(options, ["h2", "http/1.1"], create_ssl_context)
    for offered, chosen in ((["http/1.1", "h2"], "h2"), (["http/1.1"], "http/1.1")):
        client = authority.client()
        client.set_alpn_protocols(offered)
        assert handshake(files.context, client).selected_alpn_protocol() == chosen


class Talker:
    alpn_protocols = ("gopher",)


def test_alpn_of_another_connection_class(pair: Pair, authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uvicorn.config, "talker", Talker, raising=False)
    config = loaded(**pair, http="uvicorn.config:talker")
    client = authority.client()
    client.set_alpn_protocols(["http/1.1", "gopher"])
    assert config.ssl is not None and handshake(config.ssl, client).selected_alpn_protocol() == "gopher"


@pytest.mark.parametrize("maximum", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_both_versions_are_served(pair: Pair, authority: Authority, maximum: ssl.TLSVersion) -> None:
    client = authority.client()
    client.maximum_version = maximum
    config = loaded(**pair)
    assert config.ssl is not None and handshake(config.ssl, client).version() == maximum.name.replace("v1_", "v1.")


def test_the_function_that_programs_import(pair: Pair) -> None:
    context = create_ssl_context(
        keyfile=pair["ssl_keyfile"],
        certfile=pair["ssl_certfile"],
        password=None,
        ssl_version=uvicorn.config.SSL_PROTOCOL_VERSION,
        cert_reqs=ssl.CERT_NONE,
        ca_certs=None,
        ciphers=None,
    )
    assert isinstance(context, ssl.SSLContext)
    assert uvicorn.config.SSL_PROTOCOL_VERSION == ssl.PROTOCOL_TLS_SERVER


# -- sentences -------------------------------------------------------------------------------------------------


def lock(keyfile: str, password: str) -> str:
    """The same key, encrypted."""
    locked = keyfile + ".locked"
    command = ["openssl", "pkcs8", "-topk8", "-in", keyfile, "-out", locked, "-passout", f"pass:{password}"]
    subprocess.run(command, check=True, capture_output=True, timeout=30)
    return locked


def test_an_encrypted_key(pair: Pair) -> None:
    try:
        locked = lock(pair["ssl_keyfile"], "secret")
    except FileNotFoundError:
        pytest.skip("openssl is not installed")
    settings = {**pair, "ssl_keyfile": locked}
    assert loaded(**settings, ssl_keyfile_password="secret").ssl is not None
    with pytest.raises(StartupError, match=r"^The private key in .*locked needs --ssl-keyfile-password\.$"):
        loaded(**settings)
    with pytest.raises(StartupError, match=r"^--ssl-keyfile-password is wrong for the private key in .*locked\.$"):
        loaded(**settings, ssl_keyfile_password="wrong")


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"ssl_certfile": "gone.pem"}, r"Cannot read --ssl-certfile .*gone.pem: No such file or directory\."),
        ({"ssl_keyfile": "gone.pem"}, r"Cannot read --ssl-keyfile .*gone.pem: No such file or directory\."),
        ({"ssl_ca_certs": "gone.pem"}, r"Cannot read --ssl-ca-certs .*gone.pem: No such file or directory\."),
        ({"ssl_keyfile": None}, r"--ssl-certfile .* contains no private key: name its file with --ssl-keyfile\."),
        ({"ssl_keyfile": "other.pem"}, r"The private key in .*other.pem does not belong to the certificate in .*\."),
        ({"ssl_certfile": "nonsense.pem"}, r"--ssl-certfile .*nonsense.pem contains no certificate in PEM format\."),
        ({"ssl_keyfile": "nonsense.pem"}, r"--ssl-keyfile .*nonsense.pem contains no private key in PEM format\."),
        ({"ssl_ca_certs": "nonsense.pem"}, r"--ssl-ca-certs .*nonsense.pem contains no certificate in PEM format\."),
        ({"ssl_certfile": "torn.pem"}, r"Cannot use --ssl-certfile .*torn.pem: .+\."),
        ({"ssl_ca_certs": "torn.pem"}, r"Cannot use --ssl-ca-certs .*torn.pem: .+\."),
        ({"ssl_ciphers": "nonsense"}, r"--ssl-ciphers 'nonsense' matches no cipher of OpenSSL\."),
        ({"ssl_version": 99}, r"--ssl-version 99 is not a protocol that the ssl module has for servers\."),
        ({"ssl_version": 16}, r"--ssl-version 16 is not a protocol that the ssl module has for servers\."),
    ],
)
def test_what_cannot_work_gets_a_sentence(
    pair: Pair,
    authority: Authority,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    changes: dict[str, str | int | None],
    sentence: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    authority.issue(tmp_path / "other.pem")
    (tmp_path / "nonsense.pem").write_text("nonsense")
    (tmp_path / "torn.pem").write_text("-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n")
    with pytest.raises(StartupError, match=f"^{sentence}$"):
        loaded(**{**pair, **changes})


def test_an_expired_certificate_is_a_warning(
    authority: Authority, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    end = datetime.datetime(2020, 2, 3, tzinfo=datetime.timezone.utc)
    authority.issue(tmp_path / "old.pem", not_before=end.replace(year=2019), not_after=end)
    assert loaded(ssl_certfile=tmp_path / "old.pem").ssl is not None
    assert f"The certificate in {tmp_path}/old.pem expired on 03 February 2020: clients will refuse it." in caplog.text


@pytest.mark.parametrize("year", [2024, 2049, 2050, 3000])
def test_when_a_certificate_expires(authority: Authority, tmp_path: Path, year: int) -> None:
    end = datetime.datetime(year, 12, 31, 23, 59, 58, tzinfo=datetime.timezone.utc)
    authority.issue(tmp_path / "x.pem", not_before=end.replace(year=2020), not_after=end)
    pem = (tmp_path / "x.pem").read_text().partition("-----BEGIN EC")[0].partition("-----BEGIN PRIVATE")[0]
    assert not_after(ssl.PEM_cert_to_DER_cert(pem)) == end


@pytest.mark.parametrize("der", [b"", b"\x30", b"\x30\x00", b"\x30\x82\xff", b"nonsense" * 20])
def test_what_is_no_certificate_does_not_expire(der: bytes) -> None:
    assert not_after(der) is None


def test_asking_clients_for_what_no_authority_signs_is_a_warning(pair: Pair, caplog: pytest.LogCaptureFixture) -> None:
    loaded(**pair, ssl_cert_reqs=1)
    assert "every client certificate will be rejected" in caplog.text


# -- a context of the program's own ----------------------------------------------------------------------------


def test_a_factory_may_change_ours(pair: Pair, authority: Authority) -> None:
    def factory(config: Config, make_default: Callable[[], ssl.SSLContext]) -> ssl.SSLContext:
        assert config.ssl_certfile == pair["ssl_certfile"]
        context = make_default()
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        return context

    config = loaded(**pair, ssl_context_factory=factory)
    assert config.ssl is not None and config.ssl.minimum_version is ssl.TLSVersion.TLSv1_3
    assert handshake(config.ssl, authority.client()).version()
    assert (config._certificate, config.server_cert) == (None, None)


def test_a_factory_needs_no_files(pair: Pair) -> None:
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.load_cert_chain(pair["ssl_certfile"], pair["ssl_keyfile"])
    config = loaded(ssl_context_factory=lambda config, make_default: made)
    assert config.is_ssl and config.ssl is made


def test_a_factory_is_the_workers_business() -> None:
    """A master runs no code of the application."""
    config = Config(app, log_config=None, ssl_context_factory=lambda config, make_default: 1 / 0)
    config.load_components()
    assert config.ssl is None
    failure = r"^ssl_context_factory failed: division by zero$"
    with pytest.raises(StartupError, match=failure) as raised, config.raising():
        config.load()
    assert isinstance(raised.value.__cause__, ZeroDivisionError)


def test_a_factory_whose_result_is_no_context() -> None:
    with pytest.raises(StartupError, match=r"^ssl_context_factory must return an ssl.SSLContext, not int\.$"):
        loaded(ssl_context_factory=lambda config, make_default: 7)


def test_make_default_tells_what_is_missing() -> None:
    with pytest.raises(StartupError, match=r"^--ssl-keyfile needs --ssl-certfile\.$"):
        loaded(ssl_context_factory=lambda config, make_default: make_default())


# -- files that change -----------------------------------------------------------------------------------------


def watched(config: Config) -> tuple[CertificateFiles, ssl.SSLContext]:
    assert config._certificate is not None and config.ssl is not None
    return config._certificate, config.ssl


def test_nothing_changes_nothing(pair: Pair, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    certificate, context = watched(loaded(**pair))
    before = certificate.pem
    for _ in range(3):
        certificate.refresh()
    assert certificate.is_current and certificate.pem is before and certificate.context is context
    assert not [record for record in caplog.records if record.name == "uvicorn.error"]


def test_what_changed_is_loaded_into_the_live_context(
    pair: Pair, authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    certificate, context = watched(loaded(**pair))
    before = shown(context, authority)
    authority.issue(Path(pair["ssl_certfile"]), Path(pair["ssl_keyfile"]))
    certificate.refresh()
    assert shown(context, authority) == before, "it has not stood still for one look yet"
    certificate.refresh()
    assert shown(context, authority) == certificate.pem != before
    certificate.refresh()
    assert caplog.messages == ["The certificate was reloaded, because its files have changed."]


def test_files_that_are_replaced_one_by_one(
    pair: Pair, authority: Authority, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    """A check between the two replacements finds a key that does not match, and logs nothing."""
    certificate, context = watched(loaded(**pair))
    authority.issue(tmp_path / "c", tmp_path / "k")
    os.replace(tmp_path / "c", pair["ssl_certfile"])
    certificate.refresh()
    os.replace(tmp_path / "k", pair["ssl_keyfile"])
    certificate.refresh()
    assert caplog.messages == []
    certificate.refresh()
    assert shown(context, authority) == certificate.pem


def test_a_link_that_is_moved(authority: Authority, tmp_path: Path) -> None:
    """As certbot and Kubernetes do it."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        authority.issue(tmp_path / name / "both.pem")
    (tmp_path / "live").symlink_to("one")
    certificate, context = watched(loaded(ssl_certfile=tmp_path / "live" / "both.pem"))
    (tmp_path / "next").symlink_to("two")
    (tmp_path / "next").replace(tmp_path / "live")
    certificate.refresh()
    certificate.refresh()
    assert shown(context, authority) in (tmp_path / "two" / "both.pem").read_text()


@pytest.mark.parametrize("fault", ["mismatch", "nonsense", "gone"])
def test_a_broken_pair_is_told_once_and_the_old_one_kept(
    pair: Pair, authority: Authority, caplog: pytest.LogCaptureFixture, tmp_path: Path, fault: str
) -> None:
    certificate, context = watched(loaded(**pair))
    before = shown(context, authority)
    keyfile = Path(pair["ssl_keyfile"])
    if fault == "gone":
        keyfile.unlink()
    elif fault == "nonsense":
        keyfile.write_text("nonsense")
    else:
        authority.issue(tmp_path / "c", keyfile)
    for _ in range(5):
        certificate.refresh()
    assert len(caplog.messages) == 1
    assert caplog.messages[0].endswith(". The previous certificate stays in use.")
    assert shown(context, authority) == before == certificate.pem
    authority.issue(Path(pair["ssl_certfile"]), keyfile)
    for _ in range(2):
        certificate.refresh()
    assert shown(context, authority) != before


def test_an_authority_that_is_added(
    pair: Pair, authority: Authority, new_authority: Callable[[], Authority], tmp_path: Path
) -> None:
    authorities = tmp_path / "authorities.pem"
    authorities.write_text(Path(authority.path).read_text())
    certificate, context = watched(loaded(**pair, ssl_ca_certs=authorities, ssl_cert_reqs=2))
    authorities.write_text(Path(authority.path).read_text() + Path(new_authority().path).read_text())
    certificate.refresh()
    certificate.refresh()
    assert len(context.get_ca_certs()) == 2


def test_a_worker_uses_what_its_master_has_read(pair: Pair) -> None:
    """Sessions can be resumed at another worker because they share the context."""
    config = Config(app, log_config=None, **pair)
    config.load_components()
    before = config.ssl
    config.load()
    assert config.ssl is before


def test_a_worker_that_starts_later_reads_other_files(pair: Pair, authority: Authority) -> None:
    config = Config(app, log_config=None, **pair)
    config.load_components()
    before = config.ssl
    authority.issue(Path(pair["ssl_certfile"]), Path(pair["ssl_keyfile"]))
    config.load()
    assert config.ssl is not None and config.ssl is not before
    assert shown(config.ssl, authority) == config.server_cert


def test_the_folder_may_change_before_the_files_do(
    pair: Pair, authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    certificate, context = watched(loaded(ssl_certfile="certificate.pem", ssl_keyfile="key.pem"))
    monkeypatch.chdir("/")
    before = certificate.pem
    authority.issue(Path(pair["ssl_certfile"]), Path(pair["ssl_keyfile"]))
    certificate.refresh()
    certificate.refresh()
    assert shown(context, authority) == certificate.pem != before


# -- names -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("subject", "text"),
    [
        ((), ""),
        (((("countryName", "UK"),), (("commonName", "Steve Kille"),)), "CN=Steve Kille,C=UK"),
        (((("organizationName", "a,b"), ("organizationalUnitName", 'c+"d"')),), 'O=a\\,b+OU=c\\+\\"d\\"'),
        (((("commonName", "#1"),),), "CN=\\#1"),
        (((("commonName", " a "),),), "CN=\\ a\\ "),
        (((("commonName", " "),),), "CN=\\ "),
        (((("commonName", "Før<;>\\\0"),),), "CN=Før\\<\\;\\>\\\\\\00"),
        (
            ((("domainComponent", "net"),), (("domainComponent", "example"),), (("userId", "x"),)),
            "UID=x,DC=example,DC=net",
        ),
        (((("emailAddress", "a@b"),),), "emailAddress=a@b"),
    ],
)
def test_a_distinguished_name_as_text(subject: tuple[tuple[tuple[str, str], ...], ...], text: str) -> None:
    """RFC 4514."""
    assert distinguished_name(subject) == text


# -- what it costs who does not use it -------------------------------------------------------------------------


def test_without_tls_nobody_imports_ssl() -> None:
    code = "import sys, uvicorn.config as c; c.Config('a:b').is_ssl; assert 'ssl' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
