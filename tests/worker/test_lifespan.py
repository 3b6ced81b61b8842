"""The application's startup and shutdown, driven without a server."""

from __future__ import annotations

import asyncio
import logging

import pytest

from applications import App, Receive, Scope, Send
from uvicorn.config import Config, LifespanType
from uvicorn.worker.lifespan import LifespanOff, LifespanOn

Step = str | dict[str, str] | BaseException | None
"""One step of an application, in answer to an event: see `script`."""


def make(app: App, lifespan: LifespanType = "auto") -> LifespanOn:
    config = Config(app, lifespan=lifespan, log_config=None)
    config.load()
    return LifespanOn(config)


def script(*steps: Step) -> App:
    """An application that answers each event with a message, raises it, or (None) returns."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["type"] == "lifespan"
        for step in steps:
            await receive()
            if isinstance(step, BaseException):
                raise step
            if step is None:
                return
            await send(step if isinstance(step, dict) else {"type": f"lifespan.{step}"})

    return app


async def whole_run(lifespan: LifespanOn) -> list[bool]:
    await lifespan.startup()
    outcome = [lifespan.should_exit]
    await lifespan.shutdown()
    return [*outcome, lifespan.should_exit]


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "uvicorn.error"]


@pytest.fixture(autouse=True)
def info(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "uvicorn.error")


@pytest.mark.parametrize("kind", ["auto", "on"])
async def test_a_plain_run(kind: LifespanType, caplog: pytest.LogCaptureFixture) -> None:
    assert await whole_run(make(script("startup.complete", "shutdown.complete"), kind)) == [False, False]
    assert lines(caplog) == [
        "Waiting for application startup.",
        "Application startup complete.",
        "Waiting for application shutdown.",
        "Application shutdown complete.",
    ]


async def test_the_scope_and_its_state() -> None:
    scopes: list[Scope] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        scopes.append(scope)
        scope["state"]["db"] = 1
        await receive()
        await send({"type": "lifespan.startup.complete"})

    lifespan = make(app)
    await lifespan.startup()
    assert scopes[0]["type"] == "lifespan" and scopes[0]["asgi"] == {"version": "3.0", "spec_version": "2.0"}
    assert lifespan.state == {"db": 1}


async def test_auto_takes_an_exception_before_startup_for_no_lifespan(caplog: pytest.LogCaptureFixture) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise KeyError("x")

    assert await whole_run(make(app)) == [False, False]
    assert lines(caplog) == [
        "Waiting for application startup.",
        "ASGI 'lifespan' protocol appears unsupported.",
        "Application startup complete.",
    ]


async def test_on_takes_it_for_a_failure() -> None:
    fault = KeyError("x")
    lifespan = make(script(fault), "on")
    await lifespan.startup()
    assert lifespan.should_exit and lifespan.failure is not None and lifespan.failure.__cause__ is fault


@pytest.mark.parametrize("kind", ["auto", "on"])
@pytest.mark.parametrize("message", ["no database", ""])
async def test_startup_failed(kind: LifespanType, message: str) -> None:
    lifespan = make(script({"type": "lifespan.startup.failed", "message": message}), kind)
    assert await whole_run(lifespan) == [True, True]
    assert str(lifespan.failure).split("\n")[-1] == "Application startup failed. Exiting."
    assert message in str(lifespan.failure)


async def test_startup_failed_and_then_raised_is_one_failure(caplog: pytest.LogCaptureFixture) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "lifespan.startup.failed", "message": "no database"})
        raise KeyError("x")

    lifespan = make(app)
    assert await whole_run(lifespan) == [True, True]
    assert str(lifespan.failure).startswith("no database")


async def test_shutdown_failed(caplog: pytest.LogCaptureFixture) -> None:
    failed = {"type": "lifespan.shutdown.failed", "message": "data lost"}
    assert await whole_run(make(script("startup.complete", failed))) == [False, True]
    assert lines(caplog)[-2:] == ["data lost", "Application shutdown failed. Exiting."]


async def test_an_exception_in_shutdown(caplog: pytest.LogCaptureFixture) -> None:
    assert await whole_run(make(script("startup.complete", KeyError("x")))) == [False, True]
    assert "Exception in 'lifespan' protocol\n" in lines(caplog)
    assert lines(caplog)[-1] == "Application shutdown failed. Exiting."
    assert "KeyError: 'x'" in caplog.text


async def test_an_exception_while_it_serves_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        raise KeyError("x")

    lifespan = make(app)
    await lifespan.startup()
    assert lifespan._task is not None
    await asyncio.wait({lifespan._task})
    await lifespan.shutdown()
    assert caplog.text.count("Exception in 'lifespan' protocol") == 1


@pytest.mark.parametrize("steps", [(None,), ("startup.complete",), ("startup.complete", None)])
async def test_an_application_that_returns_early_takes_no_part(steps: tuple[Step, ...]) -> None:
    assert await asyncio.wait_for(whole_run(make(script(*steps))), 30) == [False, False]


@pytest.mark.parametrize(
    "steps",
    [
        ("shutdown.complete",),
        ("startup.done",),
        ("nonsense",),
        ({"type": "http.response.start"},),
        ("startup.complete", "startup.complete"),
    ],
)
async def test_messages_out_of_order_raise_in_the_application(steps: tuple[Step, ...]) -> None:
    raised: list[BaseException] = []
    inner = script(*steps)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await inner(scope, receive, send)
        except RuntimeError as exc:
            raised.append(exc)

    await asyncio.wait_for(whole_run(make(app)), 30)
    assert len(raised) == 1 and "Unexpected ASGI message" in str(raised[0])


async def test_it_can_run_again() -> None:
    lifespan = make(script("startup.complete", "shutdown.complete"), "on")
    for _ in range(3):
        assert await whole_run(lifespan) == [False, False]
    lifespan = make(script(KeyError("x")), "on")
    for _ in range(2):
        await lifespan.startup()
        assert lifespan.should_exit


@pytest.mark.parametrize("kind", ["auto", "on"])
async def test_it_can_run_again_after_a_failure(kind: LifespanType) -> None:
    first = True

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal first
        steps, first = ([KeyError("x")] if first else ["startup.complete", "shutdown.complete"]), False
        await script(*steps)(scope, receive, send)
        events.append("whole")

    events: list[str] = []
    lifespan = make(app, kind)
    await lifespan.startup()
    assert (lifespan.failure is not None) is (kind == "on")
    assert await whole_run(lifespan) == [False, False]
    assert lifespan._task is not None
    await asyncio.wait({lifespan._task})
    assert lifespan.failure is None and events == ["whole"]


async def test_a_shutdown_without_a_startup_does_nothing() -> None:
    lifespan = make(script())
    await lifespan.shutdown()
    assert not lifespan.should_exit


async def test_off_does_nothing() -> None:
    lifespan = LifespanOff(Config(script(KeyError("x")), log_config=None))
    await lifespan.startup()
    await lifespan.shutdown()
    assert (lifespan.should_exit, lifespan.failure, lifespan.state) == (False, None, {})


# -- an end while the application is served --------------------------------------------------------------------


def ending(how: dict[str, str] | BaseException | None) -> tuple[App, asyncio.Event]:
    """An application whose lifespan, once the event is set, sends, raises or (None) returns."""
    now = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await now.wait()
        if isinstance(how, BaseException):
            raise how
        if how is not None:
            await send(how)
            await receive()

    return app, now


FAILED = {"type": "lifespan.shutdown.failed", "message": "the pool is closed"}


@pytest.mark.parametrize("kind", ["auto", "on"])
@pytest.mark.parametrize(
    "how, said",
    [
        (FAILED, "The application sent 'lifespan.shutdown.failed' while it was served: the pool is closed"),
        (
            {"type": "lifespan.shutdown.complete"},
            "The application sent 'lifespan.shutdown.complete' while it was served.",
        ),
        (KeyError("x"), "Exception in 'lifespan' protocol while the application was served.\n"),
        (SystemExit(7), "Exception in 'lifespan' protocol while the application was served.\n"),
        (KeyboardInterrupt(), "Exception in 'lifespan' protocol while the application was served.\n"),
        (None, "The application's lifespan returned while the application was served."),
    ],
    ids=["failed", "complete", "raised", "exit", "interrupt", "returned"],
)
async def test_a_lifespan_that_ends_while_its_application_is_served(
    how: dict[str, str] | BaseException | None, said: str, kind: LifespanType, caplog: pytest.LogCaptureFixture
) -> None:
    app, now = ending(how)
    lifespan = make(app, kind)
    await lifespan.startup()
    assert (lifespan.should_exit, lifespan.fault) == (False, "")
    now.set()
    while not lifespan.fault:
        await asyncio.sleep(0)
    errors = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert [record.getMessage() for record in errors] == [said]
    assert (errors[0].exc_info is not None) is isinstance(how, BaseException)
    assert lifespan.fault == said.rstrip() and lifespan.failure is None
    await asyncio.wait_for(lifespan.shutdown(), 30)
    assert lifespan.should_exit
    assert len([record for record in caplog.records if record.levelno >= logging.ERROR]) == 1


async def test_a_failure_that_was_told_and_is_raised_then_is_one_line(caplog: pytest.LogCaptureFixture) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await send(FAILED)
        raise KeyError("x")

    assert await whole_run(make(app)) == [False, True]
    assert "KeyError" not in caplog.text


async def test_raising_right_after_the_startup_is_a_failed_start_under_on() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        raise KeyError("x")

    lifespan = make(app, "on")
    await lifespan.startup()
    assert lifespan.should_exit and isinstance(lifespan.failure, Exception) and not lifespan.fault
    assert isinstance(lifespan.failure.__cause__, KeyError)


async def test_auto_says_what_an_application_raised_that_had_asked(caplog: pytest.LogCaptureFixture) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        raise KeyError("no database")

    lifespan = make(app)
    assert await whole_run(lifespan) == [False, False] and not lifespan.fault
    assert "appears unsupported" not in caplog.text and "KeyError: 'no database'" in caplog.text
    assert [r.levelno for r in caplog.records if r.exc_info] == [logging.ERROR]


async def test_an_exception_behind_the_shutdown_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await script("startup.complete", "shutdown.complete")(scope, receive, send)
        raise KeyError("x")

    assert await whole_run(make(app)) == [False, False]
    assert "KeyError: 'x'" in caplog.text


async def test_a_lifespan_that_the_end_of_the_loop_cancels_is_no_fault(caplog: pytest.LogCaptureFixture) -> None:
    lifespan = make(script("startup.complete", "shutdown.complete"))
    await lifespan.startup()
    assert lifespan._task is not None
    lifespan._task.cancel()
    await asyncio.wait({lifespan._task})
    assert not lifespan.fault and "ERROR" not in caplog.text
