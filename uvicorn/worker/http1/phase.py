"""The phases of an HTTP/1.1 connection.

    NEW ──bytes──▶ STARTING ──a request that is not answered at once──▶ SERVING ──its response──▶ READING
    READING ──bytes──▶ STARTING ──all that was there is answered, or a head is not complete──▶ READING
    any ──the last response, while the peer may still send──▶ LINGERING ──▶ GONE
    STARTING ──upgrade──▶ GONE           any ──connection_lost──▶ GONE

NEW: no request yet. STARTING: `Connection._next` is on the stack. LINGERING: our half is closed, and what the peer
sends is dropped for a moment, because closing now would reset the connection under the response. GONE: the transport is
lost, or another protocol's. There is an exchange in SERVING, until the connection closes behind its response, and in
STARTING from a request to its answer. Whether the transport is closing it knows itself.
"""

from __future__ import annotations

NEW, READING, STARTING, SERVING, LINGERING, GONE = range(6)
