"""Other people's habits: programs that import, subclass and patch us, and users of other servers."""
