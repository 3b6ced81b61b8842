"""What --ws auto means: the package websockets, else wsproto, else none."""

from __future__ import annotations

from uvicorn.worker.websockets.protocol import SessionProtocol

AutoSession: type[SessionProtocol] | None = None

try:
    from uvicorn.worker.websockets.websockets_session import WebSocketsSansIOProtocol
except ImportError:
    try:
        from uvicorn.worker.websockets.wsproto_session import WSProtocol
    except ImportError:
        pass  # a request for an upgrade is then served as plain HTTP
    else:
        AutoSession = WSProtocol
else:
    AutoSession = WebSocketsSansIOProtocol
