"""Plain ASGI wrappers; they run in any process and import nothing of the server."""
