"""What every version of HTTP shares: no wire, no parser.

    a wire → request + Endpoints → scope → an exchange → call.serve → app(scope, receive, send)

`request` is what a client asks for, `exchange` the order of ASGI's messages for it, `call` one run of the application,
with `admission` before it and `departure` behind it; `deadlines` and `limits` say what a peer may cost.
"""
