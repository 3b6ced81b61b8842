"""Shared by the WebSocket tests: every codec of frames, and every codec of heads."""

from __future__ import annotations

import importlib

import pytest

from uvicorn.worker.websockets.codec import Codec

CODECS = ("websockets", "wsproto")
PARSERS = ("httptools", "h11")


@pytest.fixture(params=CODECS)
def ws(request: pytest.FixtureRequest) -> str:
    """A test that asks for this runs once over every library of frames that is installed."""
    pytest.importorskip(request.param)
    name: str = request.param
    return name


@pytest.fixture(params=PARSERS)
def http(request: pytest.FixtureRequest) -> str:
    pytest.importorskip(request.param)
    name: str = request.param
    return name


@pytest.fixture
def codec_class(ws: str) -> type[Codec]:
    made: type[Codec] = importlib.import_module(f"uvicorn.worker.websockets.codec_{ws}").Codec
    return made
