"""What lies between a protocol and its socket."""
