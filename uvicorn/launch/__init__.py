"""From a command or a call to a server that runs.

Three ways in: the command (`command`), `uvicorn.run()` (`program`) and `Multiprocess` (`embedding`). All of them lead
to `serving`, which takes a Config and returns an exit code.
"""
