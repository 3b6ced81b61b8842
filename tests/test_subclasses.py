"""What programs subclass and replace: an attribute of their own does no harm, a replaced function is called."""

from __future__ import annotations

import contextlib
import socket
import ssl
import sys
import threading
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import uvicorn.config
from applications import Receive, Scope, Send
from certificates import Authority, Pair
from clients import connect
from programs import Start
from servers import WatchedServer, make_server, serving
from uvicorn.config import Config, options
from uvicorn.errors import ConfigError, ExitCode
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware
from uvicorn.middleware.wsgi import WSGIMiddleware
from uvicorn.net.sockets import Listener
from uvicorn.server import Server
from uvicorn.supervisors import Multiprocess


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    assert scope["type"] == "http"
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"ok"})


# -- attributes of a program's own -----------------------------------------------------------------------------

THEIRS = {
    "Server": "config server_state started should_exit force_exit last_notified limit_max_requests run serve startup"
    " main_loop on_tick shutdown capture_signals handle_exit servers lifespan",
    "Config": "asgi_version bind_socket configure_logging get_loop_factory is_ssl load load_app setup_event_loop"
    " should_reload use_subprocess loaded loaded_app ssl http_protocol_class ws_protocol_class lifespan_class"
    " encoded_headers reload_dirs_excludes timeout_notify callback_notify ssl_context_factory",
}
"""What 0.54 has by these names: whoever sets one means it."""

CALLED = {
    "Server": "drain_as install_signal_handlers raise_captured_signals leave_import reraise_signals",
    "Config": "bind closes load_components raising reread",
}
"""Ours that the server itself calls or reads, and that nobody is likely to have for himself."""


def own_names(made: Config | Server) -> list[str]:
    """Our public attributes that 0.54 does not have: a subclass may use these names for itself."""
    kind = "Config" if isinstance(made, Config) else "Server"
    known = {*THEIRS[kind].split(), *CALLED[kind].split(), *options()}
    return sorted(name for name in dir(made) if not name.startswith("_") and name not in known)


async def test_a_subclass_may_have_any_name_of_ours_for_itself() -> None:
    async with serving(app, lifespan="off") as server:
        own = own_names(server)
        settings = own_names(server.config)
    assert {"url", "urls", "exit_code", "running", "failure"} <= set(own)
    assert {"drain_seconds", "needs_master", "server_cert", "worker_memory"} <= set(settings)
    mine = {"port", "startup_over", "shutdown_over"}  # of the class that the tests have
    for name in set(own) - mine:
        server = make_server(app, lifespan="off")
        setattr(server, name, "mine")
        async with started(server) as port, connect(port) as client:
            assert (await client.get()).body == b"ok", name
        assert name in ("failure", "reopen_logs") or getattr(server, name) == "mine"
        assert server._exit_status() == ExitCode.OK


@contextlib.asynccontextmanager
async def started(server: WatchedServer) -> AsyncIterator[int]:
    """Start and stop the server by the calls that programs make."""
    server.config.load()
    server.lifespan = server.config.lifespan_class(server.config)
    await server.startup()
    try:
        yield server.port
    finally:
        await server.shutdown()


async def test_a_server_and_settings_with_a_url_of_their_own() -> None:
    class Settings(Config):
        def __init__(self, *arguments: Any, **named: Any) -> None:
            super().__init__(*arguments, **named)
            self.url = "http://mine"
            self.environment, self.proxies, self.certificate = "production", ["a"], "mine.pem"

    class Mine(Server):
        exit_code = 7  # type: ignore[assignment]  # of the program's own

        def __init__(self, config: Config) -> None:
            super().__init__(config)
            self.url = self.urls = config.url  # type: ignore[attr-defined]  # of the program's own

    server = Mine(Settings(app, port=0, log_config=None, lifespan="off"))
    server.exit_code = 8
    async with server.running():
        port = server.servers[0].sockets[0].getsockname()[1]
        async with connect(port) as client:
            assert (await client.get("/", "X-Forwarded-For: 1.2.3.4")).body == b"ok"
    assert (server.url, server.exit_code, server._exit_status()) == ("http://mine", 8, ExitCode.OK)
    assert server.config._proxies is not None


# -- the master ------------------------------------------------------------------------------------------------


def test_multiprocess_with_and_without_a_target(listener: socket.socket) -> None:
    config = Config(app, log_config=None)
    server = Server(config)
    made = [
        Multiprocess(config, server.run, [listener]),
        Multiprocess(config, target=server.run, sockets=[listener]),
        Multiprocess(config, [listener]),
        Multiprocess(config, sockets=[listener]),
        Multiprocess(config, None, [listener]),
    ]
    assert [one.sockets for one in made] == [[listener]] * 5
    assert [one.target for one in made] == [server.run, server.run, None, None, None]
    assert Multiprocess(config).sockets == []
    with pytest.raises(TypeError, match="target must be a function"):
        Multiprocess(config, [listener], [listener])


PROGRAM = """
import ssl, uvicorn, uvicorn.config, uvicorn.main
from uvicorn.supervisors import Multiprocess

async def app(scope, receive, send):
    assert scope["type"] == "http"
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"ok"})

"""

posix = pytest.mark.skipif(sys.platform == "win32", reason="there is no master without fork")


@posix
def test_without_a_target_workers_run_a_server(start_program: Start) -> None:
    program = start_program(
        PROGRAM + "config = uvicorn.Config(app, port=0, workers=2)\n"
        "Multiprocess(config, sockets=[config.bind_socket()]).run()\nprint('over', flush=True)"
    )
    program.serves()
    assert program.get() == "ok"
    assert program.end(15) == 0 and "over" in program.text


MINE = """
import sys
class Mine(uvicorn.Server):
    async def startup(self, sockets=None):
        print("mine starts", flush=True)
        await super().startup(sockets)

if __name__ == "__main__":
    sys.modules["uvicorn.main"].Server = Mine
    uvicorn.run({}, port=0, workers=2)
"""


@posix
@pytest.mark.parametrize("named", ["app", "'caller:app'"])
def test_a_replaced_server_serves_in_workers_too(start_program: Start, named: str) -> None:
    program = start_program(PROGRAM + MINE.format(named))
    program.serves()
    assert program.end(15) == 0
    assert program.text.count("mine starts") == 2, program.text


WAYS = {
    "run": "uvicorn.run(app, port=0)",
    "multiprocess": "Multiprocess(uvicorn.Config(app, port=0, workers=2)).run()",
    "command": "uvicorn.main(['caller:app', '--port', '0'])",
}


@pytest.mark.parametrize("way", [pytest.param(way, marks=posix if way == "multiprocess" else ()) for way in WAYS])
def test_a_replaced_server_serves_whoever_starts_it(start_program: Start, way: str) -> None:
    """The launching modules do not import `uvicorn.main`, and look the name up in it all the same."""
    program = start_program(PROGRAM + MINE.replace("uvicorn.run({}, port=0, workers=2)", WAYS[way]))
    program.listens()
    assert program.get() == "ok"
    status = program.end(15)
    assert status == (-15 if way == "run" else 0)
    assert "mine starts" in program.text, program.text


@posix
def test_a_master_that_cannot_be_one_keeps_no_socket() -> None:
    """For example because it does not run in the main thread."""
    config = Config(app, port=0, workers=2, log_config=None)
    made: list[Listener] = []
    bind = config.bind

    def noted() -> list[Listener]:
        made.extend(bind())
        return made

    config.bind = noted  # type: ignore[method-assign]  # a method that is looked up on the object
    raised: list[BaseException] = []

    def run() -> None:
        try:
            Multiprocess(config).run()
        except ConfigError as exc:
            raised.append(exc)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert len(raised) == 1 and [listener.sock.fileno() for listener in made] == [-1]


# -- middleware ------------------------------------------------------------------------------------------------


def test_attributes_of_middleware_can_be_set() -> None:
    trusted: Any = ProxyHeadersMiddleware(app, "10.0.0.1").trusted_hosts
    assert (trusted.always_trust, trusted.trusted_literals) == (False, set())
    trusted.always_trust = True
    assert trusted.always_trust is True
    pytest.importorskip("a2wsgi")
    middleware = WSGIMiddleware(lambda environ, start_response: [])
    with ThreadPoolExecutor(1) as pool:
        middleware.executor.shutdown()
        middleware.executor = pool
        assert middleware.executor is pool


# -- TLS -------------------------------------------------------------------------------------------------------


def hardened(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    calls: list[dict[str, Any]] = []
    original = uvicorn.config.create_ssl_context

    def create(certfile: str, keyfile: str | None, password: str | None, **others: Any) -> ssl.SSLContext:
        calls.append({"certfile": certfile, "keyfile": keyfile, "password": password, **others})
        context = original(certfile, keyfile, password, **others)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        return context

    monkeypatch.setattr(uvicorn.config, "create_ssl_context", create)
    return calls


async def test_a_replaced_context_is_the_one_that_serves(
    monkeypatch: pytest.MonkeyPatch, pair: Pair, authority: Authority
) -> None:
    calls = hardened(monkeypatch)
    async with serving(app, lifespan="off", **pair) as server:
        assert len(calls) == 1 and calls[0]["certfile"] == pair["ssl_certfile"] and calls[0]["cert_reqs"] == 0
        assert server.config.ssl is not None
        assert server.config.ssl.minimum_version is ssl.TLSVersion.TLSv1_3
        tls = authority.client()
        async with connect(server, tls) as client:
            assert (await client.get()).body == b"ok"
        tls.maximum_version = ssl.TLSVersion.TLSv1_2
        with pytest.raises((ssl.SSLError, ConnectionError)):
            async with connect(server, tls):
                pass


def test_a_replaced_context_that_fails_is_said(
    monkeypatch: pytest.MonkeyPatch, pair: Pair, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(**options: object) -> ssl.SSLContext:
        raise KeyError("no such policy")

    monkeypatch.setattr(uvicorn.config, "create_ssl_context", fails)
    with pytest.raises(SystemExit) as raised:
        Config(app, log_config=None, **pair).load()
    assert raised.value.code == 3 and "create_ssl_context failed: 'no such policy'" in caplog.text


def test_files_that_change_go_through_it_again(
    monkeypatch: pytest.MonkeyPatch, pair: Pair, authority: Authority, tmp_path: Path
) -> None:
    calls = hardened(monkeypatch)
    config = Config(app, log_config=None, **pair)
    config.load()
    authority.issue(tmp_path / "certificate.pem", tmp_path / "key.pem")
    assert config._certificate is not None
    config._certificate.refresh()
    config._certificate.refresh()
    assert len(calls) == 2 and config.ssl is not None
    assert config.ssl.minimum_version is ssl.TLSVersion.TLSv1_3


HARDENED = """
original = uvicorn.config.create_ssl_context
def create(*arguments, **named):
    context = original(*arguments, **named)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    return context

if __name__ == "__main__":
    uvicorn.config.create_ssl_context = create
    uvicorn.run("caller:app", port=0, workers=2, ssl_certfile={!r}, ssl_keyfile={!r})
"""


@posix
def test_workers_of_an_import_string_are_hardened_too(start_program: Start, pair: Pair, authority: Authority) -> None:
    program = start_program(PROGRAM + HARDENED.format(pair["ssl_certfile"], pair["ssl_keyfile"]))
    program.serves()
    assert "because uvicorn.config.create_ssl_context was replaced" in program.text
    tls = authority.client()
    for version in (ssl.TLSVersion.TLSv1_3, ssl.TLSVersion.TLSv1_2):
        tls.maximum_version = version
        with socket.create_connection(("127.0.0.1", program.port), timeout=20) as sock:
            if version is ssl.TLSVersion.TLSv1_3:
                tls.wrap_socket(sock, server_hostname="localhost").close()
            else:
                with pytest.raises((ssl.SSLError, ConnectionError)):
                    tls.wrap_socket(sock, server_hostname="localhost")
    assert program.end(15) == 0


OWN_PROXIES = """
class Own(uvicorn.config.ProxyHeadersMiddleware):
    async def __call__(self, scope, receive, send):
        scope["root_path"] = "own"
        await self.app(scope, receive, send)

if __name__ == "__main__":
    uvicorn.config.ProxyHeadersMiddleware = Own
    uvicorn.run("caller:served", port=0, workers=2)

async def served(scope, receive, send):
    assert scope["type"] == "http"
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": scope["root_path"].encode()})
"""


@posix
def test_workers_of_an_import_string_have_the_middleware_of_the_program(start_program: Start) -> None:
    program = start_program("import uvicorn\n" + OWN_PROXIES)
    program.serves()
    assert program.get() == "own"
    assert "because uvicorn.config.ProxyHeadersMiddleware was replaced" in program.text
    assert program.end(15) == 0


# -- the command -----------------------------------------------------------------------------------------------


def test_the_command_starts_what_replaces_run(monkeypatch: pytest.MonkeyPatch) -> None:
    from click.testing import CliRunner

    from uvicorn.main import main

    called: list[tuple[str, dict[str, object]]] = []
    monkeypatch.setattr(sys.modules["uvicorn.main"], "run", lambda app, **settings: called.append((app, settings)))
    result = CliRunner().invoke(main, ["caller:app", "--port", "1234", "--header", "A:b", "--limit-queue", "3"])
    assert (result.exit_code, result.output) == (0, "")
    [(named, settings)] = called
    assert named == "caller:app" and (settings["port"], settings["limit_queue"]) == (1234, 3)
    assert settings["headers"] == [["A", "b"]] and settings["host"] == "127.0.0.1"
    assert CliRunner().invoke(main, ["no_such:app", "--check-config"]).exit_code == 3
    assert len(called) == 1


@pytest.mark.parametrize("by", ["command", "run"])
def test_a_server_that_never_started_although_nobody_stopped_it_is_a_failed_start(
    monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    from click.testing import CliRunner

    from uvicorn.main import main

    monkeypatch.setattr(Server, "run", lambda self, sockets=None: None)
    if by == "command":
        assert CliRunner().invoke(main, ["caller:app", "--port", "0"]).exit_code == 3
    else:
        with pytest.raises(SystemExit) as raised:
            uvicorn.run(app, port=0, log_config=None)
        assert raised.value.code == 3
