"""What importing the package loads, in new processes, because this one has imported everything already."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

import uvicorn
from programs import printed_by

PACKAGE = Path(uvicorn.__file__).parent
PUBLIC = sorted(
    ".".join(("uvicorn", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__")
    for path in PACKAGE.rglob("*.py")
    if "supervisor" not in path.parts and path.name not in ("__main__.py", "gunicorn.py", "workers.py")
)


NAMES_US = "import sys, uvicorn; uvicorn.run, uvicorn.Config, uvicorn.Server; print(*sys.modules)"


def test_a_program_that_names_us_does_not_wait_for_what_it_may_not_use() -> None:
    loaded = set(printed_by(NAMES_US).split())
    assert "uvicorn.worker.server" in loaded
    needed = set(
        printed_by("import logging.config, sys; print(*sys.modules)").split()
    )  # and what an editable install adds
    ours = loaded - needed
    assert not ours & {"asyncio", "ssl", "click", "subprocess", "multiprocessing", "concurrent.futures", "urllib.parse"}
    assert not ours & {"h11", "httptools", "uvloop", "websockets", "watchfiles", "yaml", "pathlib", "json"}
    assert not [name for name in loaded if name.startswith(("uvicorn.supervisor", "uvicorn.worker.http1.codec"))]


def test_the_bare_package_is_next_to_nothing() -> None:
    bare = set(printed_by("import importlib, sys, types, typing; print(*sys.modules)").split())
    loaded = set(printed_by("import sys, uvicorn; print(*sys.modules)").split())
    assert loaded - bare - {"__future__"} == {"uvicorn"}


CONTRACT = """
_ansi _compat _subprocess _types config importer logging server workers lifespan.off lifespan.on loops.asyncio
loops.auto loops.uvloop loops.zuvloop middleware.asgi2 middleware.message_logger middleware.proxy_headers
middleware.wsgi protocols.http.auto protocols.http.flow_control protocols.http.h11_impl protocols.http.httptools_impl
protocols.utils protocols.websockets.auto protocols.websockets.websockets_impl
protocols.websockets.websockets_sansio_impl protocols.websockets.wsproto_impl supervisors supervisors.basereload
supervisors.multiprocess supervisors.statreload supervisors.watchfilesreload
"""

EACH_ALONE = """
import importlib, operator, sys
for name in sys.argv[1:]:
    for loaded in [module for module in sys.modules if module.partition(".")[0] == "uvicorn"]:
        del sys.modules[loaded]
    import uvicorn
    found = operator.attrgetter(name)(uvicorn)
    assert found is sys.modules["uvicorn." + name], name
    assert operator.attrgetter(name)(uvicorn) is found, name
    print(name)
"""


def test_each_module_is_named_after_a_bare_import() -> None:
    needs = {"workers": "gunicorn", "protocols.http.httptools_impl": "httptools", "middleware.wsgi": "a2wsgi"}
    here = [name for name in CONTRACT.split() if importlib.util.find_spec(needs.get(name, "uvicorn"))]
    assert printed_by(EACH_ALONE, *here).split() == here


def test_naming_a_module_imports_what_it_needs_and_not_its_neighbours() -> None:
    code = "import sys, uvicorn; uvicorn.protocols.utils; print(*sys.modules)"
    ours = {name for name in printed_by(code).split() if name.startswith("uvicorn")}
    assert "uvicorn.protocols.utils" in ours
    assert not [
        name for name in ours if name.startswith(("uvicorn.protocols.http", "uvicorn.config", "uvicorn.worker"))
    ]


def test_names_that_there_are_not() -> None:
    printed_by(
        """
import inspect, pytest, sys, uvicorn
for package in (uvicorn, uvicorn.protocols, uvicorn.middleware, uvicorn.supervisors):
    for name in ("nonsense", "__wrapped__", "__main__", "config.nonsense", "", "protocols.http"):
        assert not hasattr(package, name), name
with pytest.raises(AttributeError, match=r"^module 'uvicorn' has no attribute 'nonsense'$"):
    uvicorn.nonsense
with pytest.raises(ImportError, match="cannot import name 'nonsense' from 'uvicorn'"):
    from uvicorn import nonsense
"""
    )


def test_a_module_whose_package_is_not_installed_is_no_attribute_and_says_why() -> None:
    printed_by(
        """
import sys
sys.modules["h11"] = None
import inspect, pytest, uvicorn
assert not hasattr(uvicorn.protocols.http, "h11_impl")
with pytest.raises(AttributeError, match="'uvicorn.protocols.http.h11_impl' cannot be imported.*h11"):
    uvicorn.protocols.http.h11_impl
with pytest.raises(ImportError, match="h11"):
    from uvicorn.protocols.http import h11_impl
inspect.getmembers(uvicorn.protocols.http)
"""
    )


def test_tools_that_walk_or_replace_names() -> None:
    """What `inspect`, `pickle` and `unittest.mock` do with a package whose modules are imported when first used."""
    printed_by(
        """
import inspect, pickle, sys, types, uvicorn, uvicorn.main
from unittest import mock
names = dir(uvicorn)
assert {"Config", "Server", "config", "logging", "main", "middleware", "protocols", "run", "supervisors"} <= set(names)
assert not [name for name in names if name.startswith("_") and not name.startswith("__")]
assert "h11_impl" in dir(uvicorn.protocols.http)
with mock.patch("uvicorn.config.LOGGING_CONFIG", {}) as replaced:
    assert uvicorn.config.LOGGING_CONFIG is replaced
with mock.patch("uvicorn.protocols.http.h11_impl.H11Protocol") as replaced:
    assert uvicorn.protocols.http.h11_impl.H11Protocol is replaced
with mock.patch.object(sys.modules["uvicorn.main"], "Server") as replaced:
    from uvicorn.main import Server
    assert Server is replaced
with mock.patch.object(uvicorn.server, "Server") as replaced, mock.patch.object(uvicorn, "run") as run:
    uvicorn.run("a:b")
    run.assert_called_once_with("a:b")
with mock.patch("uvicorn.middleware") as replaced:
    assert uvicorn.middleware is replaced
assert isinstance(uvicorn.middleware.wsgi, types.ModuleType)
for named in (uvicorn.config.Config, uvicorn.server.Server, uvicorn.lifespan.on.LifespanOn):
    assert pickle.loads(pickle.dumps(named)) is named
found = dict(inspect.getmembers(uvicorn))
assert found["config"] is uvicorn.config and found["main"] is uvicorn.main
assert mock.create_autospec(uvicorn.protocols.utils).get_client_addr
"""
    )


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
    assert printed_by(HIDE, *names).split() == names


@pytest.mark.parametrize("name", ["run", "Config", "Server", "main"])
def test_each_public_name_can_be_the_first(name: str) -> None:
    assert printed_by(f"import uvicorn; print(uvicorn.{name})")


WORKER = """
import asyncio, sys
from uvicorn import Config, Server
from uvicorn.worker.startup import preload

async def app(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"ok"})

async def get(port):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET / HTTP/1.1\\r\\nHost: a\\r\\nConnection: close\\r\\n\\r\\n")
    assert (await reader.read()).endswith(b"ok")
    writer.close()

async def serve(config):
    server = Server(config)
    async with server.running():
        await get(server.servers[0].sockets[0].getsockname()[1])

config = Config(app, port=0, lifespan="off", log_level="error", http2="http2" in sys.argv)
config.load_components()
preload(config)
before = set(sys.modules)
asyncio.run(serve(config))
print(*[name for name in sys.modules if name.startswith("uvicorn.") and name not in before])
"""


@pytest.mark.parametrize("http2", [False, True], ids=["", "http2"])
def test_a_worker_imports_nothing_of_ours_after_the_fork(http2: bool) -> None:
    """What a master has imported is shared by its workers, and takes them no time."""
    assert printed_by(WORKER, *(["http2"] if http2 else [])).split() == []


def test_a_server_without_a_master_imports_the_websocket_library_once_it_serves() -> None:
    pytest.importorskip("websockets")
    printed_by(
        """
import asyncio, contextlib, sys
import uvicorn
from uvicorn import Config, Server

async def serve(config):
    async with Server(config).running() as server:
        assert "websockets" not in sys.modules, "it starts later than it could"
        while "websockets" not in sys.modules:  # without a request for it
            await server._pulse.beat()
        assert config.ws_protocol_class.codec_class.__module__ == "uvicorn.worker.websockets.codec_websockets"

async def app(scope, receive, send):
    raise AssertionError("nobody asks")

config = Config(app, port=0, lifespan="off", log_level="error")
config.load()
assert config.ws_protocol_class.library == "websockets"
asyncio.run(asyncio.wait_for(serve(config), 30))
"""
    )


def test_binding_to_an_address_does_not_import_what_names_need() -> None:
    printed_by(
        """
import sys
from uvicorn import Config
from uvicorn.net.sockets import close_all
for host in ("127.0.0.1", "::1", ""):
    try:
        close_all(Config("a:b", host=host, port=0, log_level="error").bind())
    except Exception as exc:
        assert host == "::1", exc  # there may be no IPv6
assert not {"encodings.idna", "stringprep"} & set(sys.modules)
"""
    )


@pytest.mark.parametrize("ws", ["auto", "websockets"])
def test_a_websocket_library_that_cannot_be_imported_is_told_and_plain_requests_are_served(ws: str) -> None:
    pytest.importorskip("websockets")
    said = printed_by(
        """
import asyncio, sys
sys.modules["websockets.protocol"] = None
from uvicorn import Config
from uvicorn.worker.startup import preload

config = Config("a:b", ws=sys.argv[1], lifespan="off", log_level="error")
config.load_components()
sys.stderr = sys.stdout
config.configure_logging()
preload(config)
assert config.ws_protocol_class is None
""",
        ws,
    )
    assert "WebSockets are not served: " in said and "websockets.protocol" in said
