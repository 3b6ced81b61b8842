"""Level trace: every ASGI message is in the log, without bodies and header lists."""

from __future__ import annotations

import logging

import pytest

from applications import Message, Receive, Scope, Send
from uvicorn.config import Config
from uvicorn.middleware.message_logger import MessageLoggerMiddleware


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"a", b"b")]})
    if scope["path"] == "/fails":
        raise ValueError("x")
    await send({"type": "http.response.body", "body": b"hello"})


async def call(path: str, client: tuple[str, int] | None) -> list[Message]:
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b"1234", "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    await MessageLoggerMiddleware(app)({"type": "http", "path": path, "headers": [], "client": client}, receive, send)
    return sent


async def test_the_lines_of_a_call(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(5, "uvicorn.asgi"):
        sent = await call("/", ("1.2.3.4", 5))
    assert sent[1] == {"type": "http.response.body", "body": b"hello"}, "messages go on unchanged"
    assert [record.getMessage() for record in caplog.records] == [
        "1.2.3.4:5 - ASGI [1] Started scope="
        "{'type': 'http', 'path': '/', 'headers': '<...>', 'client': ('1.2.3.4', 5)}",
        "1.2.3.4:5 - ASGI [1] Receive {'type': 'http.request', 'body': '<4 bytes>', 'more_body': False}",
        "1.2.3.4:5 - ASGI [1] Send {'type': 'http.response.start', 'status': 200, 'headers': '<...>'}",
        "1.2.3.4:5 - ASGI [1] Send {'type': 'http.response.body', 'body': '<5 bytes>'}",
        "1.2.3.4:5 - ASGI [1] Completed",
    ]
    assert {record.levelname for record in caplog.records} == {"TRACE"}


async def test_an_exception_is_said_and_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(5, "uvicorn.asgi"), pytest.raises(ValueError, match="x"):
        await call("/fails", None)
    assert caplog.records[-1].getMessage() == "ASGI [1] Raised exception"


def test_it_is_there_at_level_trace_only() -> None:
    for level, wrapped in (("trace", True), ("debug", False)):
        config = Config(app, log_level=level)  # type: ignore[arg-type]  # the loop's variable is not a Literal
        config.load()
        assert isinstance(config.loaded_app, MessageLoggerMiddleware) is wrapped
        assert logging.getLogger("uvicorn.asgi").isEnabledFor(5) is wrapped
