"""What is between a protocol and its socket."""
