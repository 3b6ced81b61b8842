"""`RequestResponseCycle`: what programs read of a request, and how they change the way it is served."""

from __future__ import annotations

import importlib
import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from applications import App, Receive, Scope, Send
from clients import connect
from servers import serving
from uvicorn.worker.http1.response import Http1Exchange

PARSERS = ["h11", *(["httptools"] if importlib.util.find_spec("httptools") else [])]


def door(http: str) -> Any:
    return importlib.import_module(f"uvicorn.protocols.http.{http}_impl")


@pytest.fixture(params=PARSERS)
def http(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def cycle(http: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Any]]:
    """The class of one parser, to be changed; afterwards it is as it was."""
    found: type[Any] = door(http).RequestResponseCycle
    assert not found.changed
    with monkeypatch.context() as patching:
        patching.setattr(door(http), "RequestResponseCycle", found)
        yield found
    found.changed = False


def owner(method: Any) -> Any:
    """Whose method that is."""
    return method.__self__


async def plain(scope: Scope, receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


async def test_what_a_request_is(http: str) -> None:
    """`receive` and `send` belong to it: that is where programs get at the transport."""
    seen: list[tuple[object, ...]] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        one = owner(receive)
        assert one is owner(send) and type(one) is Http1Exchange
        assert all(isinstance(one, door(name).RequestResponseCycle) for name in PARSERS)
        seen.append((one.scope is scope, one.transport.get_extra_info("peername")[0], one.keep_alive))
        seen.append((one.body, one.more_body, one.response_started, one.response_complete, one.disconnected))
        assert one.logger.name == "uvicorn.error" and one.access_logger.name == "uvicorn.access"
        assert one.access_log in (True, False) and not one.waiting_for_100_continue
        assert dict(one.default_headers)[b"server"] == b"uvicorn"
        await plain(scope, receive, send)
        seen.append((one.response_started, one.response_complete))

    async with serving(app, http=http, lifespan="off") as server, connect(server) as client:
        client.ask("/", method="POST", body=b"abc")
        assert (await client.answer()).body == b"ok"
    assert seen == [(True, "127.0.0.1", True), (b"abc", False, False, False, False), (True, True)]


async def test_a_changed_constructor_has_the_transport_and_the_scope(http: str, cycle: Any) -> None:
    """How a client's certificate comes into the scope, in many programs."""
    before, given = cycle.__init__, []

    def changed(self: Any, *args: Any, **kwargs: Any) -> None:
        before(self, *args, **kwargs)
        given.append(kwargs)
        self.scope["transport"] = self.transport
        self.mine = True

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["transport"].get_extra_info("peername") == scope["client"]
        assert owner(receive).mine and isinstance(owner(receive), cycle)
        await plain(scope, receive, send)

    cycle.__init__ = changed
    try:
        async with serving(app, http=http, lifespan="off") as server, connect(server) as client:
            for _ in range(2):
                assert (await client.get()).body == b"ok"
    finally:
        cycle.__init__ = before
    assert len(given) == 2
    assert set(given[0]) == {"scope", *cycle.arguments} and given[0]["transport"] is not None
    assert given[0]["access_logger"].name == "uvicorn.access"


async def test_a_changed_run_asgi_calls_the_application(
    http: str, cycle: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """How programs log what an application raises."""
    before, seen = cycle.run_asgi, []

    async def changed(self: Any, app: App) -> None:
        async def wrapped(*args: Any) -> None:
            try:
                await app(*args)
            except Exception as exc:
                seen.append(repr(exc))
                raise

        await before(self, wrapped)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/fails":
            raise RuntimeError("no database")
        await plain(scope, receive, send)

    monkeypatch.setattr(cycle, "run_asgi", changed)
    async with serving(app, http=http, lifespan="off", reset_contextvars=True) as server, connect(server) as client:
        assert (await client.get("/")).body == b"ok"
        assert (await client.get("/fails")).status == 500
    assert seen == ["RuntimeError('no database')"]
    assert caplog.text.count("RuntimeError: no database") == 1


async def test_a_changed_send_is_what_the_application_calls(
    http: str, cycle: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = cycle.send

    async def changed(self: Any, message: Any) -> None:
        if message["type"] == "http.response.start":
            message["headers"].append((b"x-mine", b"yes"))
        await before(self, message)

    monkeypatch.setattr(cycle, "send", changed)
    async with serving(plain, http=http, lifespan="off") as server, connect(server) as client:
        assert (await client.get()).headers["x-mine"] == "yes"
    other = [name for name in PARSERS if name != http]
    for name in other:  # it is the class of one parser that was changed
        async with serving(plain, http=name, lifespan="off") as server, connect(server) as client:
            assert "x-mine" not in (await client.get()).headers


async def test_a_class_of_the_programs_own(
    http: str, cycle: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Also where requests are followed to their end for the access log."""

    class Mine(cycle):  # type: ignore[misc]
        async def run_asgi(self, app: App) -> None:
            if self.scope["path"] == "/refused":
                await self.send_500_response()
            else:
                await super().run_asgi(app)

    monkeypatch.setattr(door(http), "RequestResponseCycle", Mine)
    log = tmp_path / "access.log"
    options = {
        "http": http,
        "lifespan": "off",
        "log_level": "info",
        "access_log_format": "json",
        "access_log_file": log,
    }
    async with serving(plain, **options) as server, connect(server) as client:
        assert (await client.get("/")).body == b"ok"
        refused = await client.get("/refused")
        assert (refused.status, refused.body) == (500, b"Internal Server Error")
        assert await client.ended() == b""
    assert [json.loads(line)["status"] for line in log.read_text().splitlines()] == [200, 500]


async def test_a_class_of_another_kind_is_told_and_not_used(
    http: str, cycle: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Other: ...

    monkeypatch.setattr(door(http), "RequestResponseCycle", Other)
    async with serving(plain, http=http, lifespan="off") as server:
        for _ in range(2):
            async with connect(server) as client:
                assert (await client.get()).body == b"ok"
    assert caplog.text.count("is not derived from it, and is not used") == 1


def test_it_cannot_be_made_by_hand(cycle: Any) -> None:
    with pytest.raises(TypeError, match="is made by its connection"):
        cycle(scope={}, transport=None)
