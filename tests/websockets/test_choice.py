"""Which class --ws means, with and without the packages."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType

import pytest

from uvicorn.config import Config
from uvicorn.errors import StartupError

MODULES = {
    "uvicorn.worker.websockets": ("auto", "websockets_session", "wsproto_session", "codec_websockets", "codec_wsproto"),
    "uvicorn.protocols.websockets": ("auto", "websockets_impl", "websockets_sansio_impl", "wsproto_impl"),
}


def without(monkeypatch: pytest.MonkeyPatch, *packages: str) -> None:
    """Make these packages impossible to import, and forget what was made of them."""
    modules: dict[str, ModuleType | None] = sys.modules  # type: ignore[assignment]  # None is how import is told
    for package, names in MODULES.items():
        for name in names:
            monkeypatch.delitem(modules, f"{package}.{name}", raising=False)
            monkeypatch.delitem(vars(importlib.import_module(package)), name, raising=False)
    for package in packages:
        for name in [name for name in modules if name == package or name.startswith(package + ".")]:
            monkeypatch.delitem(modules, name)
        monkeypatch.setitem(modules, package, None)


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


def test_auto_takes_what_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    without(monkeypatch, "websockets")
    assert chosen("auto") == "WSProtocol"
    without(monkeypatch, "websockets", "wsproto")
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
