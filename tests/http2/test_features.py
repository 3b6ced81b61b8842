"""What holds over HTTP/1.1 holds for each stream of HTTP/2: logs, request ids, proxies' fields, contexts, state."""

from __future__ import annotations

import asyncio
import json
import logging
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import pytest

import http2 as h2
from applications import Receive, Scope, Send, respond
from http2_client import connect_http2
from servers import LoopFactory, serving
from uvicorn.worker.masterlink import in_flight

WHO: ContextVar[str] = ContextVar("WHO", default="nobody")


@pytest.fixture(autouse=True)
def access(caplog: pytest.LogCaptureFixture) -> None:
    """Lines of the access log are wanted."""
    caplog.set_level(logging.INFO, "uvicorn.access")


async def several(scope: Scope, receive: Receive, send: Send) -> None:
    """/cut fails in the middle of its response, /held waits for the end of its client."""
    if scope["path"] == "/held":
        await receive()
        assert (await receive())["type"] == "http.disconnect"
        return
    await send({"type": "http.response.start", "status": 200, "headers": [(b"x-kind", b"test")]})
    await send({"type": "http.response.body", "body": b"some", "more_body": True})
    if scope["path"] == "/cut":
        raise RuntimeError("broken")
    await send({"type": "http.response.body", "body": b"more"})


async def test_durations_sizes_and_request_ids(tmp_path: Path, loop_factory: LoopFactory) -> None:
    """A line for each stream: when its response is complete, was cut, or its client has left."""
    path = tmp_path / "access"
    settings: dict[str, Any] = {"http2": True, "lifespan": "off", "access_log_file": path, "access_log_format": "json"}
    async with serving(several, limit_request_fields=3, **settings) as server, connect_http2(server) as client:
        whole = await client.get(b"/whole?q=1", (b"user-agent", b"test"), (b"x-request-id", b"abc-1"))
        cut = client.ask(path=b"/cut")
        await client.until(lambda: cut in client.resets)
        held = client.ask(path=b"/held")
        await client.heard()
        client.send(h2.rst_stream(held))
        head = await client.response(client.ask(method=b"HEAD", path=b"/head"))
        refused = await client.get(b"/refused", *[(b"x-%d" % number, b"") for number in range(5)])
    assert (whole.body, head.body, refused.status) == (b"somemore", b"", 431)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    told = {line["path"]: (line["status"], line["bytes"], line["complete"]) for line in lines}
    assert told == {
        "/whole": (200, 8, True),
        "/cut": (200, 4, False),
        "/held": (499, 0, False),
        "/head": (200, 0, True),
        None: (431, len(refused.body), True),
    }
    assert lines[0]["query"] == "q=1" and lines[0]["user_agent"] == "test" and lines[0]["host"] == "a.test"
    assert {line["http_version"] for line in lines} == {"2", None}
    assert all(line["duration"] > 0 for line in lines if line["path"])
    ids = [line["request_id"] for line in lines if line["path"]]
    assert ids[0] == "abc-1" and len(set(ids)) == 4 and all(len(one) == 32 for one in ids[1:])


async def test_a_format_with_fields_of_the_response(tmp_path: Path) -> None:
    path = tmp_path / "access"
    settings: dict[str, Any] = {"http2": True, "lifespan": "off", "access_log_file": path}
    wanted = '%(m)s %(U)s %(H)s "%(r)s" %(s)s %(B)s %({x-kind}o)s %({x-a}i)s'
    async with serving(several, access_log_format=wanted, **settings) as server, connect_http2(server) as client:
        await client.get(b"/a?b", (b"x-a", b"1"))
    assert path.read_text() == 'GET /a HTTP/2 "GET /a?b HTTP/2" 200 8 test 1\n'


async def test_an_application_knows_the_id_of_its_request(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    ids = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        ids.append(scope["extensions"]["uvicorn.request_id"]["id"])
        raise RuntimeError("broken")

    path = tmp_path / "access"
    settings: dict[str, Any] = {"http2": True, "lifespan": "off", "access_log_file": path, "access_log_format": "json"}
    async with serving(app, forwarded_allow_ips="", **settings) as server, connect_http2(server) as client:
        await client.get(b"/", (b"x-request-id", b"not-believed"))
        await client.get(b"/b")
    told = [json.loads(line)["request_id"] for line in path.read_text().splitlines()]
    assert told == ids and len(set(ids)) == 2 and "not-believed" not in ids
    assert all(f"request {one}" in caplog.text for one in ids), "the line about a fault names it"


@pytest.mark.parametrize("trusted", ["127.0.0.1", "192.0.2.7"])
async def test_each_stream_has_its_client(trusted: str, caplog: pytest.LogCaptureFixture) -> None:
    """A proxy's connection carries the requests of many clients."""
    seen = {}
    arrived: list[str] = []
    both = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        arrived.append(scope["path"])
        if len(arrived) == 2:
            both.set()
        await both.wait()
        seen[scope["path"]] = scope["client"][0], scope["scheme"], dict(scope["headers"])[b"host"]
        await respond(send)

    settings: dict[str, Any] = {"http2": True, "lifespan": "off", "forwarded_allow_ips": trusted}
    async with serving(app, **settings) as server, connect_http2(server) as client:
        streams = [
            client.ask((b"x-forwarded-for", b"192.0.2.1"), (b"x-forwarded-proto", b"https"), path=b"/one"),
            client.ask((b"x-forwarded-for", b"203.0.113.9, 192.0.2.2"), path=b"/two"),
        ]
        for stream in streams:
            await client.response(stream)
        await client.get(b"/plain")
    if trusted == "127.0.0.1":
        expected = {"/one": ("192.0.2.1", "https"), "/two": ("192.0.2.2", "http"), "/plain": ("127.0.0.1", "http")}
    else:
        expected = dict.fromkeys(("/one", "/two", "/plain"), ("127.0.0.1", "http"))
    assert seen == {path: (*ends, b"a.test") for path, ends in expected.items()}
    logged = [record.getMessage() for record in caplog.records if record.name == "uvicorn.access"]
    assert {line.split(":")[0].split(" - ")[0] for line in logged} == {ends[0] for ends in expected.values()}


@pytest.mark.parametrize("reset", [True, False])
async def test_a_fresh_context_for_each_stream(reset: bool, loop_factory: LoopFactory) -> None:
    """Also for one that was begun, or goes on, inside the call of another."""
    WHO.set("the server's")

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        before = WHO.get()
        WHO.set(scope["path"])
        while (await receive())["more_body"]:
            pass
        assert WHO.get() == scope["path"]
        await respond(send, before.encode())

    settings: dict[str, Any] = {
        "http2": True,
        "lifespan": "off",
        "reset_contextvars": reset,
        "limit_concurrency": 2,
        "limit_queue": 9,
    }
    async with serving(app, **settings) as server, connect_http2(server) as client:
        first = client.next_stream()
        client.send(h2.headers(first, h2.request_fields(method=b"POST", path=b"/first"), h2.END_HEADERS))
        others = [client.ask(path=b"/%d" % number, method=b"POST", body=b"x" * 20_000) for number in range(5)]
        client.send(h2.data(first, b"x", h2.END_STREAM))
        bodies = [(await client.response(stream)).body for stream in (first, *others)]
    assert bodies == [b"the server's"] * 6


async def test_each_stream_has_its_copy_of_the_state(loop_factory: LoopFactory) -> None:
    class Shared:
        asked = 0

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await receive()
            scope["state"]["shared"] = Shared
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await send({"type": "lifespan.shutdown.complete"})
            return
        assert set(scope["state"]) == {"shared"}
        scope["state"]["own"] = scope["path"]
        scope["state"]["shared"].asked += 1
        await respond(send)

    async with serving(app, http2=True) as server, connect_http2(server) as client:
        for stream in [client.ask(path=b"/%d" % number) for number in range(5)]:
            assert (await client.response(stream)).status == 200
    assert Shared.asked == 5


async def test_a_report_names_all_requests_in_work() -> None:
    """What a worker that hangs has in flight."""
    release = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] != "/quick":
            await release.wait()
        await respond(send)

    settings: dict[str, Any] = {"http2": True, "lifespan": "off", "forwarded_allow_ips": "127.0.0.1"}
    async with serving(app, **settings) as server, connect_http2(server) as client:
        streams = [client.ask((b"x-forwarded-for", b"192.0.2.%d" % number), path=b"/%d" % number) for number in (1, 2)]
        await client.get(b"/quick")
        told = in_flight(server.server_state.connections, server.server_state.now).decode().splitlines()
        release.set()
        for stream in streams:
            await client.response(stream)
    assert told[0] == "In flight:"
    assert [line.rpartition(",")[0] for line in told[1:]] == [f"  GET /{one} from 192.0.2.{one}:0" for one in (1, 2)]
