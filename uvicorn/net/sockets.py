"""Listening sockets: bind, listen, adopt, describe, close.

States of a listener: bound (the address is reserved, and clients are refused) → listening → closed. An inherited socket
listens from the beginning. A server listens only when it can serve, so that nobody who waits for the port connects too
early; another process that has bound the same address may then have been faster, which only `listen` reports.

Owns: everything between an address in the configuration and a socket that listens. A master calls this before the first
fork and keeps every listener open while it runs, so that no queue of connections is lost with a worker; a server
without a master calls it once at the start. Must not: accept, fork, or know what a worker is.
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
    """A bound socket, and what its owner needs to listen on it and to close it.

    `path` is the absolute path of a Unix socket's file that we created, and `identity` its (device, inode), so that the
    file of another server is never removed. Both are stored because the socket may be closed, or the working directory
    changed, before `close` is called. `inherited`: passed by the process that started us, which passes it to the next
    process as well; connections in its queue are left for that process. `backlog` is the maximum number of connections
    that wait to be accepted. `asked` is the address in error messages.
    """

    def __init__(
        self,
        sock: socket.socket,
        path: str | None = None,
        identity: tuple[int, int] | None = None,
        inherited: bool = False,
        backlog: int = 2048,
        asked: str = "",
    ) -> None:
        self.sock = sock
        self.path = path
        self.identity = identity
        self.inherited = inherited
        self.backlog = backlog
        self._asked = asked

    @property
    def listens(self) -> bool:
        return listens(self.sock)

    def listen(self) -> None:
        """Let clients connect. Raises BindError. Does nothing for an inherited socket, which listens already."""
        if self.inherited:
            return
        try:
            self.sock.listen(self.backlog)
        except OSError as exc:
            raise BindError(_sentence(self._asked or _numeric(self.sock), exc)) from None

    @property
    def url(self) -> str:
        """The URL of the socket, or the path of a Unix socket."""
        return describe(self.sock)

    def close(self) -> None:
        """Close our copy, and remove the file of a Unix socket if it is still the one that we created."""
        self.sock.close()
        if self.path is not None:
            try:
                info = os.lstat(self.path)
                if (info.st_dev, info.st_ino) == self.identity:
                    os.unlink(self.path)
            except OSError:
                pass  # removed already, or the directory is not writable any more: no harm


def listen_all(listeners: list[Listener]) -> None:
    """Listen on all of them. Raises BindError; the caller then closes them all."""
    for listener in listeners:
        listener.listen()


def listens(sock: socket.socket) -> bool:
    """Whether clients can connect, and wait to be accepted."""
    return sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) != 0


def describe(sock: socket.socket, scheme: str = "http") -> str:
    """`http://host:port` or `unix:path` for a bound socket; an abstract Unix name begins with @."""
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
    """The URL for a client on this machine: the loopback address, if the socket listens on every address."""
    url, name = describe(sock, scheme), sock.getsockname()
    if isinstance(name, tuple) and name[0] in _ANY:
        return url.replace(name[0], _ANY[name[0]], 1)
    return url


_NO_SUCH_ADDRESS = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)


_Info = tuple[int, int, int, str, tuple[Any, ...]]
"""A result of `getaddrinfo`: family, type, protocol, canonical name, address."""

_CHOICES = 16
"""Maximum number of attempts with port 0: a port that is free on one address may be in use on another."""


def bind_tcp(host: str | Sequence[str], port: int, backlog: int) -> list[Listener]:
    """Bind every address of one or several host names. An empty name is every address; `::` is every address of both
    families, unless an IPv4 address is named as well.

    With port 0 the kernel chooses one port for all addresses. Raises BindError for an unknown name, for an address that
    cannot be bound, and for a name without an address of this machine.
    """
    found: dict[_Info, list[str]] = {}
    for name in [host] if isinstance(host, str) else host:
        for info in _addresses(name, port):
            found.setdefault(info, []).append(name)
    every = {info[0]: info for info in found if info[4][0] in _ANY}
    for info in list(found):
        wider = every.get(info[0], info)
        if wider != info:  # 0.0.0.0 includes 127.0.0.1: both cannot be bound on one port
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
    # Text would have Python import its codec for international names, which takes 2 ms and 200 KB.
    name: str | bytes = host if host.strip("0123456789abcdefABCDEF.:") else host.encode()
    try:
        return socket.getaddrinfo(name or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (ValueError, TypeError):  # not encodable in IDNA, or with a NUL
        raise BindError(f"Cannot resolve --host {host!r}: it is not a valid name.") from None
    except OSError as exc:
        raise BindError(f"Cannot resolve --host {host!r}: {exc.strerror or exc}.") from None


def _bind_each(found: dict[_Info, list[str]], port: int, backlog: int) -> tuple[list[Listener], _Failures]:
    """The listeners, and the names that cannot be listened on, with the errors."""
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
    # An address that this machine does not have (often ::1 in a container) is skipped if its name has another one.
    return listeners, [
        (next((name for name in names if name not in served), names[0]), exc)
        for names, exc in failures
        if exc.errno not in _NO_SUCH_ADDRESS or not served.issuperset(names)
    ]


_Failures = list[tuple[str, OSError]]


def _bind_one(family: int, kind: int, proto: int, address: tuple[Any, ...], both: bool) -> socket.socket:
    """`both`: let the IPv6 wildcard address `::` accept IPv4 clients as well."""
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
    """Bind a Unix socket. Its mode is 0666, or that of the stale file that it replaces.

    The file of a server that has ended is removed. Raises BindError for the file of a running server, and for a file of
    any other kind.
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
                f"Cannot listen on --uds {path}: the file exists and is not a socket. Remove it or choose another path."
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
    """Raise BindError if a server uses this path.

    A server that is starting has bound its path and does not listen yet, so it refuses stream connections as a stale
    file does. Connecting with a datagram socket tells them apart: a bound socket answers with EPROTOTYPE.
    """
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
    """Take over a socket that a parent process has bound, and listen on it. Raises BindError.

    The descriptor is duplicated, so that closing ours leaves the parent's number open.
    """
    try:
        sock = socket.socket(fileno=os.dup(fd))
    except OSError as exc:
        raise BindError(f"Cannot use --fd {fd}: {exc.strerror or exc}. It must be an open socket.") from None
    try:
        _listen_on_inherited(sock, backlog)
    except OSError as exc:
        sock.close()
        raise BindError(f"Cannot use --fd {fd}: {exc.strerror or exc}.") from None
    return Listener(sock, inherited=True, backlog=_backlog_of(sock, backlog))


def _listen_on_inherited(sock: socket.socket, backlog: int) -> None:
    """Listen, unless it does already: then its backlog stays."""
    if sock.type != socket.SOCK_STREAM:
        raise OSError(errno.EINVAL, "it is not a stream socket")
    if _is_connected(sock):
        raise OSError(errno.EINVAL, "it is a connection, not a listening socket (set Accept=no)")
    if not listens(sock):
        sock.listen(backlog)
    sock.setblocking(False)


_TCP_INFO_BACKLOG = 28
"""Offset in Linux's struct tcp_info of `tcpi_sacked`, which is the backlog of a listening socket."""


def _backlog_of(sock: socket.socket, otherwise: int) -> int:
    """The backlog of a listening TCP socket, if the system reports it. uvloop sets the backlog again."""
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
    """The descriptors that a service manager passed to this process, each with its name. A second call returns none.

    The variables are removed from the environment even if they are for another process, and the descriptors are made
    non-inheritable, so that no child process takes them for its own. Raises BindError.
    """
    pid, count, names, _ = (environ.pop(name, "") for name in _ACTIVATION)
    if pid != str(os.getpid()) or count in ("", "0"):
        return {}
    if not count.isdecimal():
        raise BindError(
            f"Cannot use the sockets of the service manager: LISTEN_FDS is {count!r}, which is not a number."
        )
    known = names.split(":") if names else []
    passed: dict[int, str] = {}
    for fd in range(FIRST_PASSED, FIRST_PASSED + int(count)):
        try:
            os.set_inheritable(fd, False)
        except OSError as exc:
            raise BindError(
                f"Cannot use the sockets of the service manager: LISTEN_FDS is {count},"
                f" but descriptor {fd} cannot be used ({exc.strerror or exc})."
            ) from None
        passed[fd] = known[len(passed)] if len(passed) < len(known) else "unknown"
    return passed


def adopt_passed(passed: dict[int, str], backlog: int) -> list[Listener]:
    """Listen on the descriptors of `take_passed`. Raises BindError if one of them cannot be listened on."""
    listeners: list[Listener] = []
    for fd, name in passed.items():
        try:
            sock = socket.socket(fileno=fd)
            listeners.append(Listener(sock, inherited=True))
            _listen_on_inherited(sock, backlog)
            listeners[-1].backlog = _backlog_of(sock, backlog)
        except OSError as exc:
            close_all(listeners)
            raise BindError(
                f"Cannot use descriptor {fd} ({name}) of the service manager: {exc.strerror or exc}."
                " It must be a listening stream socket: set ListenStream= and Accept=no in the .socket unit."
            ) from None
    return listeners


def close_all(listeners: list[Listener]) -> None:
    for listener in listeners:
        listener.close()
