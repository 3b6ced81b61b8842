"""What programs that import, subclass and patch us expect, and users of other servers."""
