"""Which class --ws means, with and without the packages."""

from __future__ import annotations

import importlib
import sys
from typing import Any

import pytest

from uvicorn.config import Config
from uvicorn.errors import StartupError

MODULES = ("auto", "websockets_session", "wsproto_session", "codec_websockets", "codec_wsproto")


@pytest.fixture
def without(monkeypatch: pytest.MonkeyPatch) -> Any:
    """without("websockets") makes that package impossible to import, and forgets what was made of it."""

    def forget(*packages: str) -> None:
        for name in MODULES:
            monkeypatch.delitem(sys.modules, f"uvicorn.worker.websockets.{name}", raising=False)
            monkeypatch.delattr(f"uvicorn.worker.websockets.{name}", raising=False)
        for package in packages:
            for name in [name for name in sys.modules if name == package or name.startswith(package + ".")]:
                monkeypatch.delitem(sys.modules, name)
            monkeypatch.setitem(sys.modules, package, None)  # type: ignore[arg-type]  # this is how import is told

    return forget


def chosen(ws: str) -> str | None:
    config = Config("app:app", ws=ws, log_config=None)
    config.load_components()
    made = config.ws_protocol_class
    return None if made is None else made.__name__


@pytest.mark.parametrize(
    ("ws", "name"),
    [
        ("auto", "WebsocketsSession"),
        ("websockets", "WebsocketsSession"),
        ("websockets-sansio", "WebsocketsSession"),
        ("wsproto", "WsprotoSession"),
        ("none", None),
    ],
)
def test_names(ws: str, name: str | None) -> None:
    assert chosen(ws) == name


def test_auto_takes_what_is_there(without: Any) -> None:
    without("websockets")
    assert chosen("auto") == "WsprotoSession"
    without("websockets", "wsproto")
    assert chosen("auto") is None
    with pytest.raises(StartupError, match="pip install wsproto"):
        chosen("wsproto")


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("auto", "AutoWebSocketsProtocol"),
        ("websockets_impl", "WebSocketProtocol"),
        ("websockets_sansio_impl", "WebSocketsSansIOProtocol"),
        ("wsproto_impl", "WSProtocol"),
    ],
)
def test_doors(module: str, name: str) -> None:
    from uvicorn.worker.websockets.session import Session

    made = getattr(importlib.import_module(f"uvicorn.protocols.websockets.{module}"), name)
    assert issubclass(made, Session)
