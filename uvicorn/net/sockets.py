"""Listening sockets: bind, listen, adopt, describe, close.

States of a listener: bound (the address is ours, and clients are refused) → listening → closed. One that was given
listens from the beginning. Until somebody serves, nobody who waits for the port is to be told that it is open; so who
has bound listens later, and may hear only then that another process, which had bound as well, was faster.

Owns: everything between an address in the configuration and a socket that listens. The master calls this before the
first fork and keeps every listener open for its whole life, so that no queue of connections dies with a worker; a
server without a master calls it once at start. Must not: accept, fork, or know what a worker is.
Fails by: `BindError`, one sentence that says what to do. Nothing stays open after a failure.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
import sys
from collections.abc import MutableMapping, Sequence
from typing import Any

from uvicorn.errors import BindError


class Listener:
    """A bound socket and what its owner must know to listen on it and to let go of it.

    `path`: of a Unix socket's file that we made, and `identity`: its (device, inode), so that we never remove another
    server's. Both are kept because who served may have closed the socket already, or changed the folder.
    `given`: by whoever started us, who gives it to the next process as well, with the queue that we leave behind.
    `backlog`: how many connections may wait to be accepted. `asked`: what a failure calls the address.
    """

    def __init__(
        self,
        sock: socket.socket,
        path: str | None = None,
        identity: tuple[int, int] | None = None,
        given: bool = False,
        backlog: int = 2048,
        asked: str = "",
    ) -> None:
        self.sock = sock
        self.path = path
        self.identity = identity
        self.given = given
        self.backlog = backlog
        self._asked = asked

    @property
    def listens(self) -> bool:
        return listens(self.sock)

    def listen(self) -> None:
        """Let clients in. Raises BindError. One that was given does so already, as whoever gave it wishes."""
        if self.given:
            return
        try:
            self.sock.listen(self.backlog)
        except OSError as exc:
            raise BindError(_sentence(self._asked or _numeric(self.sock), exc)) from None

    @property
    def url(self) -> str:
        """What a person can open, or the path of a Unix socket."""
        return describe(self.sock)

    def close(self) -> None:
        """Close our copy, and remove a Unix socket's file if it is still the one we made."""
        self.sock.close()
        if self.path is not None:
            try:
                info = os.lstat(self.path)
                if (info.st_dev, info.st_ino) == self.identity:
                    os.unlink(self.path)
            except OSError:
                pass  # gone already, or the folder is no longer ours to write: nothing is lost


def listen_all(listeners: list[Listener]) -> None:
    """Raises BindError; who called then closes them all."""
    for listener in listeners:
        listener.listen()


def listens(sock: socket.socket) -> bool:
    """Whether clients can connect, and wait to be accepted."""
    return sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) != 0


def describe(sock: socket.socket, scheme: str = "http") -> str:
    """`http://host:port` or `unix:path` for a bound socket; an abstract Unix name opens with an @."""
    name = sock.getsockname()
    if isinstance(name, tuple):
        host = f"[{name[0]}]" if sock.family == socket.AF_INET6 else name[0]
        return f"{scheme}://{host}:{name[1]}"
    return f"unix:{os.fsdecode(name).replace(chr(0), '@')}"


def _numeric(sock: socket.socket) -> str:
    name = sock.getsockname()
    return f"{name[0]}:{name[1]}" if isinstance(name, tuple) else f"--uds {os.fsdecode(name)}"


_ANY = {"0.0.0.0": "127.0.0.1", "::": "::1"}


def describe_for_clients(sock: socket.socket, scheme: str = "http") -> str:
    """The same as a client on this machine needs it: where every address is listened on, it asks the loopback one."""
    url, name = describe(sock, scheme), sock.getsockname()
    if isinstance(name, tuple) and name[0] in _ANY:
        return url.replace(name[0], _ANY[name[0]], 1)
    return url


_NO_SUCH_ADDRESS = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)


_Info = tuple[int, int, int, str, tuple[Any, ...]]
"""What `getaddrinfo` says: family, kind, protocol, name, address."""

_CHOICES = 16
"""Ports that the system may choose before we give up: one that is free on one address may be in use on another."""


def bind_tcp(host: str | Sequence[str], port: int, backlog: int) -> list[Listener]:
    """Bind every address that `host`, or each of several, stands for; an empty one is every address. `::` is every
    address of both families, unless an IPv4 address is asked for beside it.

    Port 0 lets the kernel choose one port for all of them. Raises BindError when a name is unknown, when an address
    cannot be bound, or when a name has no address that this machine has.
    """
    found: dict[_Info, list[str]] = {}
    for name in [host] if isinstance(host, str) else host:
        for info in _addresses(name, port):
            found.setdefault(info, []).append(name)
    every = {info[0]: info for info in found if info[4][0] in _ANY}
    for info in list(found):
        wider = every.get(info[0], info)
        if wider != info:  # 0.0.0.0 listens on 127.0.0.1 as well, and both on one port cannot be bound
            found[wider] += found.pop(info)
    for _ in range(_CHOICES):
        listeners, failures = _bind_each(found, port, backlog)
        if not failures:
            return listeners
        close_all(listeners)
        if port != 0 or not listeners or failures[0][1].errno != errno.EADDRINUSE:
            break
    name, exc = failures[0]
    raise BindError(_sentence(f"{name}:{port}", exc))


def _addresses(host: str, port: int) -> Sequence[_Info]:
    try:
        return socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (ValueError, TypeError):  # what IDNA cannot encode, or a NUL
        raise BindError(f"Cannot resolve --host {host!r}: it is no name.") from None
    except OSError as exc:
        raise BindError(f"Cannot resolve --host {host!r}: {exc.strerror or exc}.") from None


def _bind_each(found: dict[_Info, list[str]], port: int, backlog: int) -> tuple[list[Listener], _Failures]:
    """The listeners, and which names could not be listened on."""
    listeners: list[Listener] = []
    failures: list[tuple[list[str], OSError]] = []
    served: set[str] = set()
    both = not any(info[0] == socket.AF_INET for info in found) and socket.has_dualstack_ipv6()
    for (family, kind, proto, _, address), names in found.items():
        if port == 0 and listeners:
            address = (address[0], listeners[0].sock.getsockname()[1], *address[2:])
        try:
            sock = _bind_one(family, kind, proto, address, both)
            listeners.append(Listener(sock, backlog=backlog, asked=f"{names[0]}:{sock.getsockname()[1]}"))
            served.update(names)
        except OSError as exc:
            failures.append((names, exc))
    # An address that this machine lacks (often ::1 in a container) is passed over if its name has another one.
    return listeners, [
        (next((name for name in names if name not in served), names[0]), exc)
        for names, exc in failures
        if exc.errno not in _NO_SUCH_ADDRESS or not served.issuperset(names)
    ]


_Failures = list[tuple[str, OSError]]


def _bind_one(family: int, kind: int, proto: int, address: tuple[Any, ...], both: bool) -> socket.socket:
    """`both`: the IPv6 address that stands for every one stands for every IPv4 address as well."""
    sock = socket.socket(family, kind, proto)
    try:
        if os.name == "posix" and sys.platform != "cygwin":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, not (both and address[0] == "::"))
        sock.bind(address)
        sock.setblocking(False)
    except BaseException:
        sock.close()
        raise
    return sock


def _sentence(where: str, exc: OSError) -> str:
    if exc.errno == errno.EADDRINUSE:
        return f"Cannot listen on {where}: the port is in use. Stop the other program or choose another --port."
    if exc.errno in (errno.EACCES, errno.EPERM):
        return f"Cannot listen on {where}: permission denied. Ports below 1024 need privileges; choose a higher --port."
    if exc.errno == errno.EADDRNOTAVAIL:
        return f"Cannot listen on {where}: this machine has no such address. Check --host."
    return f"Cannot listen on {where}: {exc.strerror or exc}."


def bind_unix(path: str, backlog: int) -> Listener:
    """Bind a Unix socket; mode 0666, or that of the stale file it replaces.

    A file left by a dead server is removed, a live server's is refused, and so is any other kind of file.
    Raises BindError.
    """
    mode = 0o666
    try:
        info = os.lstat(path)
    except FileNotFoundError:
        pass
    except OSError as exc:
        raise BindError(f"Cannot use --uds {path}: {exc.strerror}.") from None
    else:
        if not stat.S_ISSOCK(info.st_mode):
            raise BindError(
                f"Cannot listen on --uds {path}: the file exists and is no socket. Remove it or choose another path."
            )
        _refuse_live(path)
        mode = stat.S_IMODE(info.st_mode)
        _unlink_stale(path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.bind(path)
        os.chmod(path, mode)
        sock.setblocking(False)
        info = os.lstat(path)
    except OSError as exc:
        sock.close()
        raise BindError(_sentence(f"--uds {path}", exc)) from None
    where, identity = os.path.abspath(path), (info.st_dev, info.st_ino)
    return Listener(sock, path=where, identity=identity, backlog=backlog, asked=f"--uds {path}")


def _refuse_live(path: str) -> None:
    """A server that starts has bound its path and does not listen yet: it refuses a stream as a file does that nobody
    has any more. By a socket of another kind the two differ: EPROTOTYPE is said only of what is bound."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(path)
        except (ConnectionRefusedError, FileNotFoundError):
            return
        except OSError as exc:
            if exc.errno != errno.EPROTOTYPE:
                raise BindError(f"Cannot use --uds {path}: {exc.strerror or exc}.") from None
    raise BindError(f"Cannot listen on --uds {path}: a live server is using it. Stop it or choose another path.")


def _unlink_stale(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
    except OSError as exc:
        raise BindError(f"Cannot remove the stale socket --uds {path}: {exc.strerror}.") from None


def adopt(fd: int, backlog: int) -> Listener:
    """Take a socket that a parent bound (and perhaps listens on already). Raises BindError if `fd` is none.

    The descriptor is duplicated, so that ours can be closed without taking away the parent's number.
    """
    try:
        sock = socket.socket(fileno=os.dup(fd))
    except OSError as exc:
        raise BindError(f"Cannot use --fd {fd}: {exc.strerror or exc}. It must be an open socket.") from None
    try:
        _listen_on_given(sock, backlog)
    except OSError as exc:
        sock.close()
        raise BindError(f"Cannot use --fd {fd}: {exc.strerror or exc}.") from None
    return Listener(sock, given=True, backlog=_backlog_of(sock, backlog))


def _listen_on_given(sock: socket.socket, backlog: int) -> None:
    """One that listens keeps the backlog that it was given with."""
    if sock.type != socket.SOCK_STREAM:
        raise OSError(errno.EINVAL, "it is no stream socket")
    if _is_connected(sock):
        raise OSError(errno.EINVAL, "it is a connection already; a socket that listens is needed (Accept=no)")
    if not listens(sock):
        sock.listen(backlog)
    sock.setblocking(False)


_TCP_INFO_BACKLOG = 28
"""Where struct tcp_info of Linux has it: `tcpi_sacked`, which for a listening socket is its backlog."""


def _backlog_of(sock: socket.socket, otherwise: int) -> int:
    """That of a listening TCP socket, where the system tells it: uvloop sets it again."""
    if sys.platform == "linux" and sock.family in (socket.AF_INET, socket.AF_INET6):
        known = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 64)
        if len(known) >= _TCP_INFO_BACKLOG + 4:
            return int.from_bytes(known[_TCP_INFO_BACKLOG : _TCP_INFO_BACKLOG + 4], sys.byteorder)
    return otherwise


def _is_connected(sock: socket.socket) -> bool:
    try:
        sock.getpeername()
    except OSError:
        return False
    return True


# -- socket activation: sd_listen_fds(3) -----------------------------------------------------------------------

FIRST_PASSED = 3
_ACTIVATION = ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PIDFDID")


def take_passed(environ: MutableMapping[str, str] = os.environ) -> dict[int, str]:
    """The descriptors that a service manager passed to this very process, each with its name. Once.

    The variables are taken out of the environment whoever they were meant for, and the descriptors are not inherited
    by programs that are started from here: nobody shall believe that they are his. Raises BindError.
    """
    pid, count, names, _ = (environ.pop(name, "") for name in _ACTIVATION)
    if pid != str(os.getpid()) or count in ("", "0"):
        return {}
    if not count.isdecimal():
        raise BindError(f"Cannot use the sockets of the service manager: LISTEN_FDS is {count!r}, which is no number.")
    known = names.split(":") if names else []
    passed: dict[int, str] = {}
    for fd in range(FIRST_PASSED, FIRST_PASSED + int(count)):
        try:
            os.set_inheritable(fd, False)
        except OSError as exc:
            raise BindError(
                f"Cannot use the sockets of the service manager: LISTEN_FDS is {count},"
                f" but descriptor {fd} cannot be had ({exc.strerror or exc})."
            ) from None
        passed[fd] = known[len(passed)] if len(passed) < len(known) else "unknown"
    return passed


def adopt_passed(passed: dict[int, str], backlog: int) -> list[Listener]:
    """Listen on what `take_passed` found. Raises BindError if one of them cannot be listened on."""
    listeners: list[Listener] = []
    for fd, name in passed.items():
        try:
            sock = socket.socket(fileno=fd)
            listeners.append(Listener(sock, given=True))
            _listen_on_given(sock, backlog)
            listeners[-1].backlog = _backlog_of(sock, backlog)
        except OSError as exc:
            close_all(listeners)
            raise BindError(
                f"Cannot use descriptor {fd} ({name}) of the service manager: {exc.strerror or exc}."
                " A stream socket that listens is needed: ListenStream= and Accept=no in its .socket unit."
            ) from None
    return listeners


def close_all(listeners: list[Listener]) -> None:
    for listener in listeners:
        listener.close()
