"""The phases of an HTTP/1.1 connection.

    NEW ──bytes──▶ STARTING ──a request that is not answered at once──▶ SERVING ──its response──▶ READING
    READING ──bytes──▶ STARTING ──everything is answered, or a head is incomplete──▶ READING
    any ──the last response, while the peer may still send──▶ LINGERING ──▶ GONE
    STARTING ──upgrade──▶ GONE           any ──connection_lost──▶ GONE

NEW: there was no request yet. STARTING: `Connection._next` is on the stack. LINGERING: our half is closed, and what the
peer sends is dropped for a moment, because closing now would reset the connection before the peer has read the
response. GONE: the transport is lost, or belongs to another protocol. There is an exchange in SERVING (until the
connection closes after its response), and in STARTING from a request to its response. Whether the transport is closing,
it knows itself.
"""

from __future__ import annotations

NEW, READING, STARTING, SERVING, LINGERING, GONE = range(6)
