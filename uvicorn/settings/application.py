"""From an application, or its import string, to an ASGI 3 callable.

Owns: import, factories, and telling ASGI 2, ASGI 3 and WSGI applications apart. Must not: know the other settings.
Fails by: `StartupError`, whose cause is the application's own exception, if there was one.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import Any, Literal

from uvicorn._types import ASGI3Application
from uvicorn.errors import StartupError
from uvicorn.importer import ImportFromStringError, import_from_string

InterfaceType = Literal["auto", "asgi3", "asgi2", "wsgi"]

_log = logging.getLogger("uvicorn.error")


def load(
    app: Any, factory: bool, interface: InterfaceType, wrapper: Callable[[str], Any]
) -> tuple[ASGI3Application, InterfaceType]:
    """The application as an ASGI 3 callable, and its interface ("auto" is resolved).

    `wrapper(name)` returns the middleware class that adapts an application of another interface.
    """
    try:
        loaded = import_from_string(app)
    except ImportFromStringError as exc:
        raise StartupError(f"Error loading ASGI app. {exc}") from exc.__cause__
    except SystemExit as exc:
        raise StartupError(f"Error loading ASGI app. It called sys.exit({exc.code!r}) while imported.") from exc
    loaded = _called_factory(app, loaded, factory)
    if interface == "wsgi":
        adapted = wrapper("WSGIMiddleware")(loaded)
        threads = getattr(adapted, "workers", None)  # a program's replacement may have none
        _log.info("Interface wsgi%s.", "" if threads is None else f", {threads} threads")
        return adapted, interface
    if interface == "auto":
        if is_wsgi(loaded):
            named = repr(app) if isinstance(app, str) else f"The application ({type(app).__name__})"
            raise StartupError(
                f"Error loading ASGI app. {named} takes two arguments, like a WSGI application."
                " Serve WSGI applications with --interface wsgi."
            )
        interface = "asgi2" if is_double_callable(loaded) else "asgi3"
    if interface == "asgi2":
        loaded = wrapper("ASGI2Middleware")(loaded)
    return loaded, interface  # whether it is an application shows when it is called


def _called_factory(app: Any, loaded: Any, factory: bool) -> Any:
    try:
        made = loaded() if factory or _takes_nothing(loaded) else loaded
    except TypeError as exc:
        if factory:
            raise StartupError(f"Error loading ASGI app factory: {exc}") from exc
        return loaded
    except Exception as exc:
        raise StartupError(f"Error loading ASGI app factory: {exc}") from exc
    if made is not loaded and not factory:
        _log.warning("ASGI app factory detected. Using it, but please consider setting the --factory flag explicitly.")
    if not callable(made):
        raise StartupError(f"Error loading ASGI app. {app!r} is {type(made).__name__!r}, which is not callable.")
    return made


# -- which kind of callable ------------------------------------------------------------------------------------


def is_double_callable(app: Any) -> bool:
    """Whether `app` is ASGI 2, where `app(scope)` returns a callable of `(receive, send)`.

    A class or function that needs exactly one argument is ASGI 2. A callable without a signature is taken for ASGI 3.
    """
    target = _called(app)
    return target is not None and _fits(target, 1) and not _fits(target, 3)


def is_wsgi(app: Any) -> bool:
    """Whether `app` takes exactly two arguments, as WSGI applications do and ASGI applications do not."""
    target = _called(app)
    return target is not None and _fits(target, 2) and not _fits(target, 1) and not _fits(target, 3)


def _called(app: Any) -> Any:
    """The callable whose signature is that of calling `app`; None for a coroutine function, which is ASGI 3."""
    import inspect  # not when this module is imported: it takes as long as the rest of it

    target = app
    if not inspect.isclass(app) and not inspect.isroutine(app) and not isinstance(app, partial):
        target = getattr(app, "__call__", app)  # noqa: B004  # its signature is wanted, not whether it is callable
    return None if inspect.iscoroutinefunction(target) else target


def _takes_nothing(app: Any) -> bool:
    return _fits(app, 0) and not _fits(app, 3) and not _fits(app, 1)


def _fits(target: Any, arguments: int) -> bool:
    import inspect

    try:
        inspect.signature(target).bind(*range(arguments))
    except (TypeError, ValueError):
        return False
    return True
