"""What --ws auto means: the package websockets, else wsproto, else none."""

from __future__ import annotations

from uvicorn.worker.websockets.session import Session

AutoSession: type[Session] | None
try:
    from uvicorn.worker.websockets.websockets_session import WebsocketsSession as AutoSession
except ImportError:
    try:
        from uvicorn.worker.websockets.wsproto_session import WsprotoSession as AutoSession
    except ImportError:
        AutoSession = None
