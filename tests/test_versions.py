"""How the log names the event loop and the implementations in use."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import uvicorn
from uvicorn.launch import versions


class Own(asyncio.Protocol):
    pass


def made() -> asyncio.AbstractEventLoop:
    raise AssertionError("nobody makes a loop to name it")


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"loop": "none", "http": "h11", "ws": "wsproto"}, "loop asyncio, HTTP h11, WebSockets wsproto"),
        ({"ws": "websockets", "interface": "wsgi"}, "WebSockets none"),
        ({"ws": "websockets-sansio"}, "WebSockets websockets"),
        (
            {"loop": "missing:loop", "http": "missing:Own", "ws": "missing:Ws"},
            "missing:loop, HTTP missing:Own, WebSockets missing:Ws",
        ),
        ({"http": Own, "ws": Own, "loop": made}, f"{__name__}.made, HTTP {__name__}.Own, WebSockets {__name__}.Own"),
    ],
)
def test_the_parts(settings: dict[str, Any], named: str) -> None:
    config = uvicorn.Config("app:app", **settings)
    config.load_components()
    assert named in versions.parts(config)
    assert versions.parts(config).startswith(versions.interpreter() + ", ")


def test_what_is_found_is_what_is_named() -> None:
    config = uvicorn.Config("app:app")
    config.load_components()
    line = versions.parts(config)
    for module, name in (("httptools", "HTTP httptools"), ("uvloop", "loop uvloop")):
        try:
            __import__(module)
        except ImportError:
            continue
        assert name in line
