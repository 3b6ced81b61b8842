"""HTTP/2 (RFC 9113, RFC 7541): frames, header compression, streams, flow control; WebSockets over it (RFC 8441)."""
