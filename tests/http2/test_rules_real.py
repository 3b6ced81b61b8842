"""Every rule of http2_rules.py once more, over a real socket, through a server and an application."""

from __future__ import annotations

import pytest

import http2 as h2
from applications import App, Receive, Scope, Send, respond
from http2_client import connect_http2
from http2_rules import RULES, Rule
from servers import LoopFactory, WatchedServer, serving
from uvicorn.process.drainmode import DrainMode


async def read_all(scope: Scope, receive: Receive, send: Send) -> None:
    assert scope["type"] == "http"
    while (await receive()).get("more_body"):
        pass
    await respond(send, b"ok")


async def hold(scope: Scope, receive: Receive, send: Send) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def outcome(rule: Rule, server: WatchedServer) -> str:
    """What is wrong; "" for nothing."""
    what, number = rule.outcome
    async with connect_http2(server, preface=rule.preface) as client:
        client.send(rule.sent)
        if what == "goaway":
            await client.until_closed()
            http1 = rule.preface.startswith(b"GET")
            return "" if http1 or (client.goaways and client.goaways[-1][1] == number) else f"{client.goaways}"
        if what == "reset":
            await client.until(lambda: rule.stream in client.resets)
            if client.resets[rule.stream] != number:
                return f"{client.resets}"
        elif what == "status":
            if (status := (await client.response(rule.stream)).status) != number:
                return f"{status}"
        else:
            await client.heard()
            if rule.stream in client.resets:
                return f"{client.resets}"
        if client.goaways:
            return f"{client.goaways}"
        last = max(rule.stream, 601)
        client.send(h2.get(last))
        if not rule.held:
            await client.until(lambda: last in client.ended or last in client.resets, "answer to another request")
            if last not in client.ended and client.resets[last] != h2.REFUSED_STREAM:
                return f"another request: {client.resets}"
    return ""


@pytest.mark.parametrize(("held", "app"), [(False, read_all), (True, hold)], ids=["answered", "held"])
async def test_rules(held: bool, app: App, loop_factory: LoopFactory) -> None:
    async with serving(app, http2=True, ws="none", lifespan="off") as server:
        server.drain_as = (DrainMode.INTERRUPT, 5.0)
        rules = [rule for rule in RULES if rule.held == held]
        wrong = {f"{rule.section} {rule.name}": found for rule in rules if (found := await outcome(rule, server))}
        assert wrong == {}
