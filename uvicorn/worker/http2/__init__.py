"""HTTP/2 (RFC 9113, RFC 7541): frames, header compression, streams and their windows."""
