"""The options: how one is declared, read, checked, and turned into what it names."""
