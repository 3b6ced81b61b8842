"""Notifications of a child process to the service manager (sd_notify(3)), passed on by the process that it knows.

A service manager accepts datagrams only from processes of the service whose pid it knows or may look up; a master in a
child interpreter writes to a socket of ours instead, and this process sends on what came from that child.

Owns: that socket. Must not: change a datagram. Fails by: a line at level debug; the server goes on.
"""

from __future__ import annotations

import logging
import os
import socket
import struct
import sys

_CREDENTIALS = struct.Struct("3i")
"""Pid, user and group of the sender of a datagram (unix(7), SCM_CREDENTIALS)."""

# PyPy does not name them; these are Linux's numbers on the processors that PyPy runs on.
_SO_PASSCRED: int = getattr(socket, "SO_PASSCRED", 16)
_SCM_CREDENTIALS: int = getattr(socket, "SCM_CREDENTIALS", 2)

_log = logging.getLogger("uvicorn.error")


class NotifyRelay:
    """A datagram socket whose `name` takes the place of NOTIFY_SOCKET in the child."""

    def __init__(self, manager: str) -> None:
        self._manager = "\0" + manager[1:] if manager.startswith("@") else manager
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.sock.setblocking(False)
        self.sock.setsockopt(socket.SOL_SOCKET, _SO_PASSCRED, 1)
        self.sock.bind("")  # Linux chooses an abstract name; only Linux has such a service manager
        self.name = "@" + self.sock.getsockname()[1:].decode()

    @classmethod
    def open(cls) -> NotifyRelay | None:
        """None where there is no service manager to notify."""
        manager = os.environ.get("NOTIFY_SOCKET")
        try:
            return cls(manager) if manager and sys.platform == "linux" else None
        except OSError as exc:
            _log.debug("The service manager cannot be notified: %s.", exc)
            return None

    def pass_on(self, pid: int) -> None:
        """Send on what the process `pid` has written. Anybody may write to an abstract name; others are ignored."""
        while True:
            try:
                data, about, _, _ = self.sock.recvmsg(65536, socket.CMSG_SPACE(_CREDENTIALS.size))
                if any(kind == _SCM_CREDENTIALS and _CREDENTIALS.unpack(raw)[0] == pid for _, kind, raw in about):
                    self.sock.sendto(data, self._manager)
            except BlockingIOError:
                return
            except (OSError, ValueError) as exc:
                _log.debug("The service manager cannot be notified: %s.", exc)
                return

    def close(self) -> None:
        self.sock.close()
