"""The other package's names and methods on our protocols, for programs and subclasses that use them."""
