"""The access log of a worker."""
