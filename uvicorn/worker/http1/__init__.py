"""HTTP/1.1 on one connection.

    socket → Connection.data_received → RequestReader (→ codec: one head) → call.serve → app(scope, receive, send)
                     socket ← Carrier ← framing ← Http1Exchange.part ← Exchange.send

`connection` owns the transport and order; `reader` the way in; `response` one exchange on this wire; `framing` the
bytes of a response; a codec turns the bytes of one head into header fields.
"""
