"""When a request is told to the access log, with what status and size; and the short way to a handler."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from applications import Receive, Scope, Send, responding
from clients import connect
from http_peers import ConnectionClass, Peer, Recorder
from servers import serving
from uvicorn.config import Config
from uvicorn.logs import files as logfiles
from uvicorn.logs.formats import RequestFormatter
from uvicorn.worker.access.log import AccessLog
from uvicorn.worker.http.state import ServerState

GET = b"GET /x?y HTTP/1.1\r\nHost: a\r\n\r\n"
HEAD = GET.replace(b"GET", b"HEAD")
START = {"type": "http.response.start", "status": 200, "headers": []}


class Log:
    """What was told as JSON, and who asks for it."""

    def __init__(self) -> None:
        self.stream = io.StringIO()
        self.state = ServerState()

    def told(self) -> list[tuple[int, int, bool]]:
        lines = [json.loads(line) for line in self.stream.getvalue().splitlines()]
        return [(line["status"], line["bytes"], line["complete"]) for line in lines]


@pytest.fixture
def access() -> Iterator[logging.Logger]:
    log = logging.getLogger("uvicorn.access")
    before = log.handlers, log.propagate, log.level, log.filters
    log.handlers, log.propagate, log.filters = [], False, []
    log.setLevel(logging.INFO)
    yield log
    for handler in log.handlers:
        handler.close()
    log.handlers, log.propagate, log.level, log.filters = before
    log.setLevel(log.level)


@pytest.fixture
def log(access: logging.Logger) -> Log:
    made = Log()
    access.addHandler(logging.StreamHandler(made.stream))
    access.handlers[0].setFormatter(RequestFormatter("json"))
    assert made.state.access.settle(True) is False
    return made


async def test_a_response_in_parts_is_told_once_at_its_end(connection_class: ConnectionClass, log: Log) -> None:
    between = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(START)
        await send({"type": "http.response.body", "body": b"abc", "more_body": True})
        between.append(log.told())
        await send({"type": "http.response.body", "body": b"de"})

    peer = Peer(connection_class, app, state=log.state)
    peer.send(GET)
    await peer.answered()
    assert between == [[]] and log.told() == [(200, 5, True)]


async def test_head_has_no_bytes(connection_class: ConnectionClass, log: Log) -> None:
    peer = Peer(connection_class, responding(body=b"abc"), state=log.state)
    peer.send(HEAD)
    await peer.answered("HEAD")
    assert log.told() == [(200, 0, True)]


@pytest.mark.parametrize(("begun", "told"), [(False, (499, 0, False)), (True, (200, 3, False))])
async def test_a_client_that_leaves(
    connection_class: ConnectionClass, log: Log, begun: bool, told: tuple[int, int, bool]
) -> None:
    ready = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if begun:
            await send(START)
            await send({"type": "http.response.body", "body": b"abc", "more_body": True})
        await receive()
        ready.set()
        await receive()

    peer = Peer(connection_class, app, state=log.state)
    peer.send(GET)
    await ready.wait()
    assert log.told() == []
    peer.transport.lose()
    assert log.told() == [told]


async def test_our_own_answers(connection_class: ConnectionClass, log: Log) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise ValueError

    peer = Peer(connection_class, app, state=log.state)
    peer.send(GET)
    await peer.closed()
    assert log.told() == [(500, len("Internal Server Error"), True)]


@pytest.mark.parametrize(
    ("data", "status", "path"),
    [
        (b"GET /x HTTP/1.1\r\n\r\n", 400, "/x"),
        (b"\x1b[31m\r\n\r\n", 400, None),
        (b"GET /\x9b HTTP/1.1\r\nHost: a\r\n\r\n", 400, None),
        (b"NONE / HTTP/1.1\r\nHost: a\r\n\r\n", 501, None),
    ],
)
async def test_what_is_refused(
    connection_class: ConnectionClass, log: Log, data: bytes, status: int, path: str | None
) -> None:
    peer = Peer(connection_class, responding(b"ok"), state=log.state)
    peer.send(data)
    await peer.answered()
    (line,) = log.stream.getvalue().splitlines()
    told = json.loads(line)
    assert (told["status"], told["path"]) == (status, path) and line.isascii() and line.isprintable()


async def test_a_refused_body(connection_class: ConnectionClass, recorder: Recorder, log: Log) -> None:
    peer = Peer(connection_class, recorder, state=log.state)
    peer.send(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nnone\r\n")
    await peer.answered()
    assert [told[0] for told in log.told()] == [400]


@pytest.mark.parametrize(
    ("trusted", "given", "kept"),
    [
        ("192.0.2.1", b"abc-1", True),
        ("192.0.2.1", b'a"b', False),
        ("192.0.2.1", b"x" * 129, False),
        ("", b"abc", False),
    ],
)
async def test_request_ids(
    connection_class: ConnectionClass, recorder: Recorder, log: Log, trusted: str, given: bytes, kept: bool
) -> None:
    peer = Peer(connection_class, recorder, state=log.state, forwarded_allow_ips=trusted)
    peer.send(GET.replace(b"\r\n\r\n", b"\r\nX-Request-ID: " + given + b"\r\n\r\n"))
    await peer.answered()
    told = json.loads(log.stream.getvalue())["request_id"]
    assert (told == given.decode()) is kept and (kept or len(told) == 32)
    assert recorder.seen[0][0]["extensions"]["uvicorn.request_id"] == {"id": told}


@pytest.mark.parametrize("followed", [True, False], ids=["with ids", "plain"])
@pytest.mark.parametrize("trusted", ["192.0.2.1", ""])
async def test_a_fault_names_the_request_as_the_log_does(
    connection_class: ConnectionClass, log: Log, caplog: pytest.LogCaptureFixture, followed: bool, trusted: str
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise ValueError

    given = {"state": log.state} if followed else {}
    peer = Peer(connection_class, app, forwarded_allow_ips=trusted, **given)
    peer.send(b'GET /a"b?c HTTP/1.1\r\nHost: a\r\nX-Request-ID: abc-1\r\n\r\n')
    await peer.answered()
    (said,) = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    named = said.removeprefix("Exception in ASGI application\n")
    assert ' - "GET /a%22b?c HTTP/1.1"' in named
    known = json.loads(log.stream.getvalue())["request_id"] if followed else "abc-1" if trusted else None
    assert named.partition(", request ")[2] == (known or "") and (known == "abc-1" or not trusted)


async def test_plain_lines_quote_what_a_peer_sends(
    connection_class: ConnectionClass, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "uvicorn.access")
    state = ServerState()
    state.logs_access = True
    peer = Peer(connection_class, responding(b"ok"), state=state, forwarded_allow_ips="192.0.2.1")
    peer.send(b'GET /"?" HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: [fe80::1%\x9b2J]:5\r\n\r\n')
    await peer.answered()
    assert caplog.messages == ['fe80::1%\\x9b2J:5 - "GET /%22?%22 HTTP/1.1" 200']


# -- the short way ---------------------------------------------------------------------------------------------


async def app(scope: Scope, receive: Receive, send: Send) -> None: ...


def plain(log: AccessLog) -> None:
    log.line("1.2.3.4:5", "GET", "/", "1.1", 404)


def test_the_short_way_writes_what_the_long_way_does(
    access: logging.Logger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Config(app, access_log_file=tmp_path / "a")
    log = AccessLog()
    plain(log)
    assert log.settle(True)
    monkeypatch.setattr(access, "info", None)  # nobody needs it now
    plain(log)
    monkeypatch.undo()
    first, second = (tmp_path / "a").read_text().splitlines()
    assert first == second == 'INFO:     1.2.3.4:5 - "GET / HTTP/1.1" 404 Not Found'


class Heard(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


@pytest.mark.parametrize("kind", ["filter", "handler's filter", "handler", "propagation", "level", "formatter"])
def test_the_short_way_is_left_for_who_else_listens(access: logging.Logger, tmp_path: Path, kind: str) -> None:
    Config(app, access_log_file=tmp_path / "a")
    log, heard = AccessLog(), Heard()
    assert log.settle(True)
    (handler,) = access.handlers
    if kind == "filter":
        access.addFilter(lambda record: record.args[2] != "/")  # type: ignore[index]  # a plain line's
    elif kind == "handler's filter":
        handler.addFilter(lambda record: False)
    elif kind == "handler":
        access.addHandler(heard)
    elif kind == "propagation":
        access.propagate = True
        access.parent.addHandler(heard)  # type: ignore[union-attr]  # it has one
    elif kind == "level":
        access.setLevel(logging.WARNING)
    else:
        handler.setFormatter(logging.Formatter("%(args)s"))
    try:
        plain(log)
    finally:
        access.parent.removeHandler(heard)  # type: ignore[union-attr]
    logfiles.flush()
    written = (tmp_path / "a").read_text()
    if kind in ("handler", "propagation"):
        assert [record.args for record in heard.records] == [("1.2.3.4:5", "GET", "/", "1.1", 404)] and written
    else:
        assert written == ("('1.2.3.4:5', 'GET', '/', '1.1', 404)\n" if kind == "formatter" else "")


@pytest.mark.parametrize("name", ["handle", "callHandlers", "makeRecord"])
def test_no_short_way_where_logging_is_watched(
    access: logging.Logger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    Config(app, access_log_file=tmp_path / "a")
    seen = []
    real = getattr(logging.Logger, name)

    def watching(*arguments: Any, **named: Any) -> Any:
        seen.append(name)
        return real(*arguments, **named)

    monkeypatch.setattr(logging.Logger, name, watching)
    log = AccessLog()
    assert log.settle(True)
    plain(log)
    assert seen == [name]


async def test_json_in_a_file_of_a_real_server(access: logging.Logger, tmp_path: Path) -> None:
    path = tmp_path / "a"
    async with (
        serving(responding(body=b"abc"), lifespan="off", access_log_file=path, access_log_format="json") as server,
        connect(server) as client,
    ):
        await client.get("/one")
        os.rename(path, tmp_path / "old")
        logfiles.reopen()
        await client.get("/two")
    told = [json.loads((tmp_path / name).read_text()) for name in ("old", "a")]
    assert [(line["path"], line["bytes"]) for line in told] == [("/one", 3), ("/two", 3)]
    assert all(line["duration"] > 0 for line in told)


def test_the_format_wins_over_the_configurations_formatter(access: logging.Logger) -> None:
    own = logging.StreamHandler(io.StringIO())
    own.setFormatter(logging.Formatter("mine %(message)s"))
    access.addHandler(own)
    Config(app, log_config=None, access_log_format="json")
    assert isinstance(own.formatter, RequestFormatter)
