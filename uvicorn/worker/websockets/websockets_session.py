"""A session over the package websockets: the default where it is installed.

The package takes longer to import than the rest of a server, and no plain request needs it. So it is looked for here,
and imported with the codec: by a master before it forks, by a server without one once it serves (`startup.preload`).
"""

from __future__ import annotations

import importlib.util
from importlib.machinery import PathFinder
from typing import TYPE_CHECKING, ClassVar

from uvicorn.worker.websockets.protocol import SessionProtocol

if TYPE_CHECKING:
    from uvicorn.worker.websockets.codec import Codec


def _is_installed() -> bool:
    """Whether the package is there and has its core without I/O, which is from its version 11."""
    spec = importlib.util.find_spec("websockets")
    return spec is not None and PathFinder.find_spec("websockets.protocol", spec.submodule_search_locations) is not None


if not _is_installed():
    raise ImportError("The package websockets is not installed, or is too old.", name="websockets")


class _ImportedWhenAsked:
    """The codec, in place of which it stands until then."""

    def __get__(self, instance: SessionProtocol | None, owner: type[SessionProtocol]) -> type[Codec]:
        from uvicorn.worker.websockets import codec_websockets

        WebSocketsSansIOProtocol.codec_class = codec_websockets.Codec
        return codec_websockets.Codec


class WebSocketsSansIOProtocol(SessionProtocol):
    __slots__ = ()
    codec_class: ClassVar[type[Codec]] = _ImportedWhenAsked()  # type: ignore[assignment]
    library = "websockets"
