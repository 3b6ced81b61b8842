"""One worker process: an event loop, the application, its connections. asyncio lives here and only here."""
