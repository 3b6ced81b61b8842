"""HTTP/1.1 on one connection.

    socket → Connection.data_received → RequestReader (→ codec: one head) → Stream → app(scope, receive, send)
                                 socket ← ResponseFraming ← Stream.send

`connection` owns the transport, time and order; `reader` the way in; `stream` one ASGI exchange; `framing` the way out;
`scope` what the application is told; a codec turns the bytes of one head into a request line and header fields.
"""
