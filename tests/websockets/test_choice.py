"""Which class --ws means, with and without the packages."""

from __future__ import annotations

import importlib
import sys
from typing import Any

import pytest

from uvicorn.config import Config
from uvicorn.errors import StartupError

MODULES = {
    "uvicorn.worker.websockets": ("auto", "websockets_session", "wsproto_session", "codec_websockets", "codec_wsproto"),
    "uvicorn.protocols.websockets": ("auto", "websockets_impl", "websockets_sansio_impl", "wsproto_impl"),
}


@pytest.fixture
def without(monkeypatch: pytest.MonkeyPatch) -> Any:
    """without("websockets") makes that package impossible to import, and forgets what was made of it."""

    def forget(*packages: str) -> None:
        for package, names in MODULES.items():
            for name in names:
                monkeypatch.delitem(sys.modules, f"{package}.{name}", raising=False)
                monkeypatch.delitem(vars(importlib.import_module(package)), name, raising=False)
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
        ("auto", "WebSocketsSansIOProtocol"),
        ("websockets", "WebSocketsSansIOProtocol"),
        ("websockets-sansio", "WebSocketsSansIOProtocol"),
        ("wsproto", "WSProtocol"),
        ("none", None),
    ],
)
def test_names(ws: str, name: str | None) -> None:
    assert chosen(ws) == name


def test_auto_takes_what_is_there(without: Any) -> None:
    without("websockets")
    assert chosen("auto") == "WSProtocol"
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
    from uvicorn.worker.websockets.protocol import SessionProtocol

    made = getattr(importlib.import_module(f"uvicorn.protocols.websockets.{module}"), name)
    assert issubclass(made, SessionProtocol)
