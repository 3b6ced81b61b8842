"""The event loop of a worker: which one, how tasks begin, and its one timer."""
