"""Listening sockets: binding, errors, and what is left behind."""

from __future__ import annotations

import errno
import os
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from applications import idle
from ports import connects
from servers import make_config
from uvicorn.config import Config
from uvicorn.errors import BindError
from uvicorn.net import sockets
from uvicorn.net.sockets import Listener, adopt, bind_tcp, bind_unix, close_all, describe

Kept = list[Listener | socket.socket]


@pytest.fixture
def keep() -> Iterator[Kept]:
    """Sockets and listeners that are put here are closed after the test."""
    opened: Kept = []
    yield opened
    for thing in opened:
        thing.close()


# -- TCP -------------------------------------------------------------------------------------------------------


def test_port_0_lets_the_system_choose_and_it_listens(keep: Kept) -> None:
    (listener,) = bind_tcp("127.0.0.1", 0, 10)
    keep.append(listener)
    host, port = listener.sock.getsockname()
    before = (connects((host, port)), listener.listens)
    assert host == "127.0.0.1" and port > 0 and before == (False, False)
    listener.listen()
    assert connects((host, port)) and listener.listens
    assert listener.url == f"http://127.0.0.1:{port}"
    assert not listener.sock.getblocking() and not os.get_inheritable(listener.sock.fileno())
    assert listener.sock.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR)


def test_a_name_with_several_addresses_has_one_port(keep: Kept) -> None:
    listeners = bind_tcp("localhost", 0, 10)
    keep += listeners
    assert len({listener.sock.getsockname()[1] for listener in listeners}) == 1
    assert len({listener.sock.getsockname()[0] for listener in listeners}) == len(listeners)


def test_an_empty_host_is_every_address(keep: Kept) -> None:
    listeners = bind_tcp("", 0, 10)
    keep += listeners
    assert "0.0.0.0" in {listener.sock.getsockname()[0] for listener in listeners}


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this system has no socket for both families")
@pytest.mark.parametrize(("hosts", "both"), [("::", True), ("", False), (["::", "127.0.0.1"], False), ("::1", False)])
def test_every_ipv6_address_is_every_address(hosts: str | list[str], both: bool, keep: Kept) -> None:
    try:
        listeners = bind_tcp(hosts, 0, 10)
    except BindError:
        pytest.skip("this machine has no IPv6")
    keep += listeners
    (six,) = (one.sock for one in listeners if one.sock.family == socket.AF_INET6)
    assert (six.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY) == 0) is both
    sockets.listen_all(listeners)
    assert connects(("127.0.0.1", six.getsockname()[1])) is (hosts != "::1")


def test_an_ipv6_address_is_told_in_brackets(keep: Kept) -> None:
    try:
        (listener,) = bind_tcp("::1", 0, 10)
    except BindError:
        pytest.skip("this machine has no IPv6")
    keep.append(listener)
    assert listener.url == f"http://[::1]:{listener.sock.getsockname()[1]}"


def test_a_port_in_use(listener: socket.socket) -> None:
    port = listener.getsockname()[1]
    with pytest.raises(BindError) as caught:
        bind_tcp("127.0.0.1", port, 10)
    assert str(caught.value) == (
        f"Cannot listen on 127.0.0.1:{port}: the port is in use. Stop the other program or choose another --port."
    )


def test_an_address_of_another_machine() -> None:
    with pytest.raises(BindError, match=r"^Cannot listen on 192\.0\.2\.1:0: this machine has no such address\."):
        bind_tcp("192.0.2.1", 0, 10)


def test_a_name_that_is_none() -> None:
    with pytest.raises(BindError, match=r"^Cannot resolve --host '256\.1\.1\.1\.1': "):
        bind_tcp("256.1.1.1.1", 0, 10)


def has_ipv6() -> bool:
    try:
        close_all(bind_tcp("::1", 0, 1))
    except BindError:
        return False
    return True


def bound(listeners: list[Listener]) -> list[str]:
    return [listener.sock.getsockname()[0] for listener in listeners]


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")
@pytest.mark.parametrize("hosts", [["127.0.0.1", "::1"], ["::", "0.0.0.0"], ["127.0.0.2", "127.0.0.1", "::1"]])
def test_several_addresses_have_one_port(keep: Kept, hosts: list[str]) -> None:
    listeners = bind_tcp(hosts, 0, 10)
    keep += listeners
    assert bound(listeners) == hosts
    assert len({listener.sock.getsockname()[1] for listener in listeners}) == 1


def test_an_address_that_is_named_twice_or_covered_by_another_is_bound_once(keep: Kept) -> None:
    listeners = bind_tcp(["127.0.0.1", "0.0.0.0", "127.0.0.1", "0.0.0.0"], 0, 10)
    keep += listeners
    assert bound(listeners) == ["0.0.0.0"]


def test_one_of_several_that_cannot_be_bound_is_named_and_nothing_stays_open(listener: socket.socket) -> None:
    port = listener.getsockname()[1]
    with pytest.raises(BindError, match=rf"^Cannot listen on 127\.0\.0\.1:{port}: the port is in use"):
        bind_tcp(["127.0.0.2", "127.0.0.1"], port, 10)
    with pytest.raises(BindError, match=r"^Cannot listen on 192\.0\.2\.1:0: this machine has no such address\."):
        bind_tcp(["127.0.0.1", "192.0.2.1"], 0, 10)
    with pytest.raises(BindError, match=r"^Cannot resolve --host '256\.1\.1\.1\.1'"):
        bind_tcp(["127.0.0.2", "256.1.1.1.1"], port, 10)
    close_all(bind_tcp("127.0.0.2", port, 10))


def test_a_port_that_the_system_chose_and_another_address_has_not_is_chosen_anew(
    monkeypatch: pytest.MonkeyPatch, keep: Kept
) -> None:
    taken: list[int] = []
    real = sockets._bind_one

    def bind_one(family: int, kind: int, proto: int, address: tuple[str, int], both: bool) -> socket.socket:
        if address[1] != 0 and not taken:
            taken.append(address[1])
            raise OSError(errno.EADDRINUSE, "in use")
        return real(family, kind, proto, address, both)

    monkeypatch.setattr(sockets, "_bind_one", bind_one)
    listeners = bind_tcp(["127.0.0.1", "127.0.0.2"], 0, 10)
    keep += listeners
    assert bound(listeners) == ["127.0.0.1", "127.0.0.2"] and len(taken) == 1


@pytest.mark.parametrize("host", ["a\0b", "a" * 300, "\udc80"])
def test_text_that_is_no_name(host: str) -> None:
    with pytest.raises(BindError, match=r"^Cannot resolve --host "):
        bind_tcp(host, 0, 10)


@pytest.mark.parametrize("host", ["127.0.0.1,127.0.0.2", "127.0.0.1, 127.0.0.2", ["127.0.0.1", "127.0.0.2"]])
def test_several_hosts_of_a_config(keep: Kept, host: str | list[str]) -> None:
    listeners = Config("app:app", host=host, port=0).bind()
    keep += listeners
    assert bound(listeners) == ["127.0.0.1", "127.0.0.2"]


@pytest.mark.parametrize("host", [None, ""])
def test_no_host_is_every_address(keep: Kept, host: str | None) -> None:
    keep += (listeners := Config("app:app", host=host, port=0).bind())  # type: ignore[arg-type]  # as programs pass it
    assert "0.0.0.0" in bound(listeners)


# -- Unix ------------------------------------------------------------------------------------------------------


def test_a_unix_socket_is_open_to_all_and_removed_in_the_end(tmp_path: Path) -> None:
    path = tmp_path / "x.sock"
    listener = bind_unix(str(path), 10)
    listener.listen()
    assert connects(str(path)) and listener.url == f"unix:{path}"
    assert stat.S_IMODE(path.stat().st_mode) == 0o666
    listener.close()
    assert not path.exists()
    listener.close()


def test_its_file_is_removed_although_the_socket_was_closed_by_who_served(tmp_path: Path) -> None:
    listener = bind_unix(str(tmp_path / "x.sock"), 10)
    listener.sock.close()
    listener.close()
    assert list(tmp_path.iterdir()) == []


def test_a_relative_path_is_still_known_after_a_change_of_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    listener = bind_unix("x.sock", 10)
    monkeypatch.chdir("/")
    listener.close()
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_another_server_made_meanwhile_stays(tmp_path: Path, keep: Kept) -> None:
    path = tmp_path / "x.sock"
    first = bind_unix(str(path), 10)
    path.unlink()
    keep.append(bind_unix(str(path), 10))
    first.close()
    keep[-1].listen()
    assert connects(str(path))


def test_a_file_that_is_gone_already_is_no_fault(tmp_path: Path) -> None:
    listener = bind_unix(str(tmp_path / "x.sock"), 10)
    (tmp_path / "x.sock").unlink()
    listener.close()


def test_a_stale_socket_is_replaced_and_its_mode_kept(tmp_path: Path, keep: Kept) -> None:
    path = tmp_path / "x.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    path.chmod(0o600)
    keep.append(bind_unix(str(path), 10))
    keep[-1].listen()
    assert connects(str(path)) and stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("listens", [False, True], ids=["starting", "serving"])
def test_a_live_server_is_refused_and_left_alone(tmp_path: Path, keep: Kept, listens: bool) -> None:
    path = str(tmp_path / "x.sock")
    keep.append(bind_unix(path, 10))
    if listens:
        keep[0].listen()
    with pytest.raises(BindError) as caught:
        bind_unix(path, 10)
    assert str(caught.value) == (
        f"Cannot listen on --uds {path}: a live server is using it. Stop it or choose another path."
    )
    keep[0].listen()
    assert connects(path)


@pytest.mark.parametrize("kind", ["file", "folder", "link"])
def test_what_is_no_socket_is_refused_and_left_alone(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "x"
    if kind == "file":
        path.write_text("data")
    elif kind == "folder":
        path.mkdir()
    else:
        (tmp_path / "other").write_text("data")
        path.symlink_to(tmp_path / "other")
    with pytest.raises(BindError, match="the file exists and is not a socket"):
        bind_unix(str(path), 10)
    assert path.exists()


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("missing/x.sock", "No such file or directory"),
        ("x" * 200, "too long"),
        ("file/x.sock", "Not a directory"),
    ],
)
def test_a_path_that_cannot_be(tmp_path: Path, path: str, words: str) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BindError, match=words) as caught:
        bind_unix(str(tmp_path / path), 10)
    assert "--uds" in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_is_not_ours(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(BindError, match="Permission denied"):
            bind_unix(str(tmp_path / "x.sock"), 10)
    finally:
        tmp_path.chmod(0o700)


def test_who_listened_first_has_the_port(keep: Kept) -> None:
    keep += (first := bind_tcp("localhost", 0, 10))
    port = first[0].sock.getsockname()[1]
    keep += (second := bind_tcp("localhost", port, 10))
    sockets.listen_all(second)
    with pytest.raises(BindError) as at_listen:
        sockets.listen_all(first)
    with pytest.raises(BindError) as at_bind:
        bind_tcp("localhost", port, 10)
    assert str(at_listen.value) == str(at_bind.value)
    assert str(at_bind.value).startswith(f"Cannot listen on localhost:{port}: the port is in use.")


# -- taking over -----------------------------------------------------------------------------------------------


def test_a_descriptor_is_duplicated(listener: socket.socket) -> None:
    taken = adopt(listener.fileno(), 10)
    assert taken.path is None and taken.sock.fileno() != listener.fileno()
    assert taken.sock.getsockname() == listener.getsockname() and not taken.sock.getblocking()
    taken.close()
    assert connects(listener.getsockname())


def test_a_bound_socket_begins_to_listen(keep: Kept) -> None:
    sock = socket.socket()
    keep.append(sock)
    sock.bind(("127.0.0.1", 0))
    assert not connects(sock.getsockname())
    keep.append(adopt(sock.fileno(), 10))
    assert connects(sock.getsockname())


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells the backlog of a socket")
def test_one_that_listens_keeps_its_backlog(keep: Kept) -> None:
    sock = socket.socket()
    keep.append(sock)
    sock.bind(("127.0.0.1", 0))
    sock.listen(77)
    keep.append(taken := adopt(sock.fileno(), 10))
    assert taken.backlog == sockets._backlog_of(sock, 0) == 77


def test_the_path_of_a_unix_socket_we_were_given_is_not_ours(tmp_path: Path, keep: Kept) -> None:
    owner = bind_unix(str(tmp_path / "x.sock"), 10)
    keep.append(owner)
    owner.listen()
    adopt(owner.sock.fileno(), 10).close()
    assert connects(str(tmp_path / "x.sock"))


def test_a_descriptor_that_is_none() -> None:
    with pytest.raises(BindError, match=r"^Cannot use --fd 99999: Bad file descriptor\. It must be an open socket\.$"):
        adopt(99999, 10)


def test_a_descriptor_that_is_no_stream_socket(tmp_path: Path) -> None:
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams,
        pytest.raises(BindError, match="not a stream socket"),
    ):
        adopt(datagrams.fileno(), 10)
    with (tmp_path / "file").open("w") as file, pytest.raises(BindError, match="--fd"):
        adopt(file.fileno(), 10)


# -- as Config asks for them -----------------------------------------------------------------------------------


def test_config_binds_what_it_says(tmp_path: Path, listener: socket.socket, keep: Kept) -> None:
    plain: list[tuple[dict[str, str | int], str]] = [
        ({"port": 0}, "127.0.0.1"),
        ({"uds": str(tmp_path / "x.sock")}, str(tmp_path / "x.sock")),
        ({"fd": listener.fileno()}, "127.0.0.1"),
    ]
    for settings, name in plain:
        made = make_config(idle, **settings).bind()
        keep += made
        assert name in describe(made[0].sock)


def test_bind_socket_says_where(caplog: pytest.LogCaptureFixture, keep: Kept) -> None:
    caplog.set_level("INFO", "uvicorn.error")

    sock = Config(idle, port=0, log_config=None).bind_socket()
    keep.append(sock)
    port = sock.getsockname()[1]
    assert caplog.messages == [f"Uvicorn running on http://127.0.0.1:{port} (Press CTRL+C to quit)"]


def test_a_program_inherits_what_bind_socket_made(keep: Kept) -> None:
    """`exec`, or `subprocess` with `close_fds=False`, and `--fd` with its number."""
    sock = Config("app:app", port=0, log_config=None).bind_socket()
    keep.append(sock)
    source = "import socket, sys; print(socket.socket(fileno=int(sys.argv[1])).getsockname()[1])"
    command = [sys.executable, "-c", source, str(sock.fileno())]
    said = subprocess.run(command, close_fds=False, capture_output=True, text=True, check=True).stdout
    assert int(said) == sock.getsockname()[1]


def test_close_all_closes_all() -> None:
    listeners = [*bind_tcp("127.0.0.1", 0, 10), *bind_tcp("127.0.0.1", 0, 10)]
    close_all(listeners)
    assert [listener.sock.fileno() for listener in listeners] == [-1, -1]
