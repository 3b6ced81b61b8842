"""Log lines: how they are set up, what they look like, and where they go."""
