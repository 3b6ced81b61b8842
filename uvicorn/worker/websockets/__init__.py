"""WebSockets (RFC 6455): one ASGI session over a frame codec.

`handshake` judges the request and writes the answer (pure), `codec_websockets` and `codec_wsproto` turn bytes into
messages and back (no asyncio, no ASGI), `session` is the asyncio protocol that speaks ASGI to the application.
"""
