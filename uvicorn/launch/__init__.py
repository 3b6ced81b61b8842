"""From a command or a call to a server that runs."""
