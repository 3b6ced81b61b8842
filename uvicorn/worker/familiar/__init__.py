"""What programs and subclasses know of the other package's protocols, by its names."""
