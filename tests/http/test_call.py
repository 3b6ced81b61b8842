"""One call of an application for something that is served on a host: admission, the task, its end; on no wire."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import ClassVar

import pytest

from applications import App, Message, Receive, Scope, Send
from uvicorn.errors import ClientDisconnected
from uvicorn.worker.http import call
from uvicorn.worker.http.admission import Admission
from uvicorn.worker.http.state import ServerState


class FakeHost:
    """A connection that may carry many exchanges."""

    def __init__(self, app: App, admission: Admission | None = None) -> None:
        self._app = app
        self._state = ServerState()
        self._state.admission = admission
        self.loop = asyncio.get_running_loop()

    def soon(self, callback: Callable[[], object]) -> None:
        self.loop.call_soon(callback)


class FakeServed:
    """Something served that keeps what it is told."""

    SETTLED: ClassVar[int] = 1

    def __init__(self, name: str = "") -> None:
        self.phase = 0
        self.in_flight = self.client_gone = False
        self.scope: dict[str, object] = {"type": "http", "name": name}
        self.told: list[str] = []

    async def receive(self) -> Message:
        return {"type": "http.request"}

    async def send(self, message: Message) -> None:
        self.phase = self.SETTLED

    def named(self) -> str:
        return f"the request {self.scope['name']}"

    def unavailable(self) -> None:
        self.told.append("unavailable")

    def returned(self) -> bool:
        self.told.append("returned")
        return True

    def failed(self, departed: bool) -> None:
        self.told.append("departed" if departed else "failed")


async def answers(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.body"})


async def turns(count: int = 5) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


class Gate:
    """An application that starts at once and ends when the test says so."""

    def __init__(self) -> None:
        self.begun: list[object] = []
        self.open = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.begun.append(scope["name"])
        await self.open.wait()
        await send({"type": "http.response.body"})


async def test_an_application_that_answers() -> None:
    host, served = FakeHost(answers), FakeServed()
    call.serve(host, served)
    await turns()
    assert (served.told, served.in_flight, host._state.in_flight, host._state.tasks) == ([], False, 0, set())


async def test_many_on_one_host_are_counted_one_by_one() -> None:
    gate = Gate()
    host = FakeHost(gate)
    many = [FakeServed(str(number)) for number in range(3)]
    for served in many:
        call.serve(host, served)
    await turns()
    assert host._state.in_flight == 3 and all(served.in_flight for served in many)
    call.leave(host, many[1])  # a WebSocket whose handshake was answered
    call.leave(host, many[1])
    assert host._state.in_flight == 2
    gate.open.set()
    await turns()
    assert host._state.in_flight == 0 and not any(served.in_flight for served in many)


async def test_each_one_waits_for_a_place_of_its_own() -> None:
    gate = Gate()
    host = FakeHost(gate, Admission(limit=1, places=2, seconds=5))
    many = [FakeServed(str(number)) for number in range(4)]
    for served in many:
        call.serve(host, served)
    await turns()
    assert gate.begun == ["0"] and [served.told for served in many] == [[], [], [], ["unavailable"]]
    call.forget(host, many[1])  # its stream was reset; the others of its connection wait on
    gate.open.set()
    await turns(10)
    assert gate.begun == ["0", "2"] and host._state.in_flight == 0


async def test_who_was_admitted_before_does_not_wait() -> None:
    gate = Gate()
    host = FakeHost(gate, Admission(limit=1, places=0, seconds=5))
    for name in ("0", "1"):
        call.serve(host, FakeServed(name), True)
    await turns()
    assert gate.begun == ["0", "1"]
    gate.open.set()
    await turns()


@pytest.mark.parametrize(
    ("raised", "gone", "told", "logged"),
    [
        (RuntimeError("mine"), False, "failed", ["ERROR", "the request x"]),
        (RuntimeError("mine"), True, "failed", ["ERROR", "the request x"]),
        (ClientDisconnected(), False, "failed", ["ERROR", "the request x"]),
        (ClientDisconnected(), True, "departed", ["DEBUG", "The client left"]),
        (asyncio.CancelledError(), False, "failed", ["ERROR", "was cancelled"]),
        (asyncio.CancelledError(), True, "departed", ["DEBUG", "The client left"]),
        (SystemExit(3), False, "failed", ["ERROR", "the request x"]),
    ],
)
async def test_whose_fault_an_end_is(
    raised: BaseException, gone: bool, told: str, logged: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG", "uvicorn.error")
    served = FakeServed("x")
    served.client_gone = gone

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise raised

    host = FakeHost(app)
    call.serve(host, served)
    await turns()
    (record,) = [record for record in caplog.records if record.name == "uvicorn.error"]
    assert (served.told, record.levelname) == ([told], logged[0]) and logged[1] in record.getMessage()
    assert host._state.in_flight == 0


async def test_a_return_that_comes_too_early_and_one_with_a_value(caplog: pytest.LogCaptureFixture) -> None:
    async def early(scope: Scope, receive: Receive, send: Send) -> str:
        if scope["name"] == "settled":
            await answers(scope, receive, send)
        return "a value"

    host = FakeHost(early)  # type: ignore[arg-type]  # that is its fault
    for name, told, sentences in (("early", ["returned"], 0), ("settled", [], 1)):
        caplog.clear()
        served = FakeServed(name)
        call.serve(host, served)
        await turns()
        assert served.told == told
        assert [record.getMessage() for record in caplog.records] == [
            "ASGI callable should return None, but returned 'a value'."
        ] * sentences
