"""What importing us costs and needs: in processes of their own, because this one has imported everything."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

import uvicorn

PACKAGE = Path(uvicorn.__file__).parent
PUBLIC = sorted(
    ".".join(("uvicorn", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__")
    for path in PACKAGE.rglob("*.py")
    if "supervisor" not in path.parts and path.name not in ("__main__.py", "gunicorn.py", "workers.py")
)


def python(code: str, *arguments: str) -> str:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(PACKAGE.parent), *sys.path[1:]])}
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


NAMES_US = "import sys, uvicorn; uvicorn.run, uvicorn.Config, uvicorn.Server; print(*sys.modules)"


def test_a_program_that_names_us_does_not_wait_for_what_it_may_not_use() -> None:
    loaded = set(python(NAMES_US).split())
    assert "uvicorn.worker.server" in loaded
    assert not loaded & {
        "asyncio",
        "ssl",
        "click",
        "subprocess",
        "multiprocessing",
        "concurrent.futures",
        "urllib.parse",
    }
    needed = set(python("import logging.config, sys; print(*sys.modules)").split())  # pathlib too, from 3.15 on
    ours = loaded - needed
    assert not ours & {"h11", "httptools", "uvloop", "websockets", "watchfiles", "yaml", "pathlib", "json"}
    assert not [name for name in loaded if name.startswith(("uvicorn.supervisor", "uvicorn.worker.http.codec"))]


def test_the_bare_package_is_next_to_nothing() -> None:
    loaded = set(python("import sys, uvicorn; print(*sys.modules)").split())
    assert {name for name in loaded if name.startswith("uvicorn")} == {"uvicorn"}


HIDE = """
import importlib, sys
# The standard library first: it has its own ways of coping.
import asyncio, concurrent.futures, logging.config, mmap, multiprocessing, os, pathlib, select, signal, socket
import subprocess, time, tempfile, uuid
for parts in (
    (os, "fork forkpty register_at_fork waitpid waitid WNOHANG P_PIDFD pidfd_open setsid getppid geteuid getuid umask "
         "sched_getaffinity memfd_create killpg getpgid pipe2 set_blocking mkfifo statvfs getloadavg sysconf"),
    (signal, "SIGHUP SIGQUIT SIGTTIN SIGTTOU SIGUSR1 SIGUSR2 SIGWINCH SIGCHLD SIGKILL SIGALRM pthread_sigmask "
             "SIG_SETMASK SIG_BLOCK set_wakeup_fd sigwait setitimer"),
    (select, "poll epoll EPOLLIN POLLIN POLLHUP kqueue"),
    (socket, "AF_UNIX SCM_RIGHTS CMSG_LEN SO_REUSEPORT SO_PEERCRED TCP_DEFER_ACCEPT TCP_QUICKACK socketpair fromfd "
             "AF_NETLINK SOCK_CLOEXEC SOCK_NONBLOCK"),
    (mmap, "MAP_SHARED MAP_PRIVATE MAP_ANONYMOUS MAP_ANON PROT_READ PROT_WRITE"),
    (time, "clock_gettime CLOCK_BOOTTIME CLOCK_MONOTONIC"),
):
    for name in parts[1].split():
        if hasattr(parts[0], name):
            delattr(parts[0], name)
for name in ("fcntl", "grp", "pwd", "resource", "termios", "syslog", "posix"):
    if name != "posix" or sys.implementation.name == "cpython":  # os itself is made of it elsewhere, while it runs
        sys.modules[name] = None
def refuse(event, arguments):
    if event == "open" and str(arguments[0]).startswith(("/proc", "/sys")):
        raise OSError(f"{arguments[0]} is Linux's")
sys.addaudithook(refuse)
for name in sys.argv[1:]:
    importlib.import_module(name)
    print(name)
import uvicorn
uvicorn.Server(uvicorn.Config("a:b"))
uvicorn.main
"""


def test_nothing_is_needed_at_import_time_that_other_systems_lack() -> None:
    missing = [parser for parser in ("httptools",) if importlib.util.find_spec(parser) is None]
    names = [name for name in PUBLIC if not any(parser in name for parser in missing)]
    assert python(HIDE, *names).split() == names


@pytest.mark.parametrize("name", ["run", "Config", "Server", "main"])
def test_each_public_name_can_be_the_first(name: str) -> None:
    assert python(f"import uvicorn; print(uvicorn.{name})")
