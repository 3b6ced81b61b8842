"""WebSockets (RFC 6455): one ASGI session over frames, over whatever carries it.

    application ⇄ `Session` ⇄ `Frames` ⇄ codec          ASGI; pings, closing, back-pressure; bytes of frames
                       ⇅         ⇅
                        `Wire`: `SessionProtocol` (HTTP/1.1), which has a transport to itself

`handshake` decides which request may become a WebSocket; `upgrade` takes it over from an HTTP connection.
"""
