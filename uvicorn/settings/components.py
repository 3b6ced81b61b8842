"""Importing what the settings name: protocol classes, the loop factory, TLS files, and wrappers of the application.

Owns: the tables of the words that an option can have, and the error for a missing package. The tables hold the public
paths, where a program may have put a class of its own. Tables and wrappers are arguments of these functions,
because programs replace them in `uvicorn.config`. Must not: know a Config, or decide when the application's modules are
imported (a master imports none). Fails by: `StartupError`.
"""

from __future__ import annotations

import importlib.util
import logging
import sys
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any

from uvicorn.errors import StartupError
from uvicorn.importer import ImportFromStringError, import_from_string
from uvicorn.logging import TRACE_LOG_LEVEL
from uvicorn.net import tls
from uvicorn.net.endpoint import comma_separated
from uvicorn.settings.declared import Settings
from uvicorn.surface import overridden

if TYPE_CHECKING:
    import ssl

    from uvicorn._types import ASGI3Application
    from uvicorn.net import proxies

HTTP_PROTOCOLS: dict[str, str] = {
    "auto": "uvicorn.protocols.http.auto:AutoHTTPProtocol",
    "h11": "uvicorn.protocols.http.h11_impl:H11Protocol",
    "httptools": "uvicorn.protocols.http.httptools_impl:HttpToolsProtocol",
}
WS_PROTOCOLS: dict[str, str | None] = {
    "auto": "uvicorn.protocols.websockets.auto:AutoWebSocketsProtocol",
    "none": None,
    "websockets": "uvicorn.protocols.websockets.websockets_impl:WebSocketProtocol",
    "websockets-sansio": "uvicorn.protocols.websockets.websockets_sansio_impl:WebSocketsSansIOProtocol",
    "wsproto": "uvicorn.protocols.websockets.wsproto_impl:WSProtocol",
}
LIFESPAN: dict[str, str] = {
    "auto": "uvicorn.lifespan.on:LifespanOn",
    "on": "uvicorn.lifespan.on:LifespanOn",
    "off": "uvicorn.lifespan.off:LifespanOff",
}
LOOP_FACTORIES: dict[str, str | None] = {
    "none": None,
    "auto": "uvicorn.loops.auto:auto_loop_factory",
    "asyncio": "uvicorn.loops.asyncio:asyncio_loop_factory",
    "uvloop": "uvicorn.loops.uvloop:uvloop_loop_factory",
    "zuvloop": "uvicorn.loops.zuvloop:zuvloop_loop_factory",
}
INTERFACES: list[str] = ["auto", "asgi3", "asgi2", "wsgi"]

WRAPPERS = {
    "ASGI2Middleware": "uvicorn.middleware.asgi2",
    "MessageLoggerMiddleware": "uvicorn.middleware.message_logger",
    "ProxyHeadersMiddleware": "uvicorn.middleware.proxy_headers",
    "WSGIMiddleware": "uvicorn.middleware.wsgi",
}
"""Classes that wrap an application, and their modules."""


# -- protocols and loops ---------------------------------------------------------------------------------------


def named_protocol(option: str, word: Any, table: Mapping[str, str | None]) -> type[Any] | None:
    """The class for a word in `table`; None for anything else (a class or an import string)."""
    target = table.get(word) if isinstance(word, str) else None
    if target is None:
        return None
    try:
        found: type[Any] = import_from_string(target)
    except ImportFromStringError:
        package = word.removesuffix("-sansio")
        raise StartupError(
            f"--{option} {word}: the package {package} is not installed. Run: pip install {package}"
        ) from None
    return found


def loop_factory(loop: Any, table: Mapping[str, str | None]) -> Any:
    """The function that makes the event loop; None leaves that to asyncio."""
    if isinstance(loop, str) and loop in table:
        target = table[loop]
        return None if target is None else import_from_string(target)()
    factory = import_from_string(loop)
    if not callable(factory):
        raise StartupError(
            f"loop={loop!r} is not a loop factory. To serve in a loop that exists already, await server.serve() in it;"
            " otherwise pass a function that returns a loop."
        )
    return factory


def require_wsgi() -> None:
    if importlib.util.find_spec("a2wsgi") is None:
        raise StartupError("--interface wsgi: the package a2wsgi is not installed. Run: pip install a2wsgi")


def note_replaced_methods(*protocols: Any) -> None:
    """Let subclasses of our protocols notice replaced methods, and warn of replaced functions that are never called."""
    overridden.warn_of_functions()
    for protocol in protocols:
        if hasattr(protocol, "never_called"):
            getattr(protocol, "apply_overrides", bool)()  # what was replaced on the class since it was made
            overridden.warn_of_uncalled(protocol)


# -- TLS and proxies -------------------------------------------------------------------------------------------


def alpn_protocols(http2: bool, protocol: Any) -> Sequence[str]:
    """The protocols to offer by ALPN (RFC 7301). A protocol class can name its own (`alpn_protocols`)."""
    if http2:
        return ["h2", "http/1.1"]
    protocols: Sequence[str] = getattr(protocol, "alpn_protocols", ["http/1.1"])
    return protocols


def certificate_files(
    settings: Settings, alpn_protocols: Sequence[str], make: Callable[..., ssl.SSLContext]
) -> tls.CertificateFiles:
    """Read the files of the `ssl_*` options. `make` is `create_ssl_context`, or a program's replacement."""
    options = tls.ContextOptions(
        certfile=settings.ssl_certfile,
        keyfile=settings.ssl_keyfile,
        password=settings.ssl_keyfile_password,
        ssl_version=settings.ssl_version,
        cert_reqs=settings.ssl_cert_reqs,
        ca_certs=settings.ssl_ca_certs,
        ciphers=settings.ssl_ciphers,
    )
    return tls.CertificateFiles(options, alpn_protocols, make)


def trusted_proxies(settings: Settings) -> proxies.TrustedProxies:
    from uvicorn.net import proxies

    fields = frozenset(name.lower().encode() for name in comma_separated(settings.forwarded_headers))
    return proxies.TrustedProxies(settings.forwarded_allow_ips or "", fields)


# -- the application -------------------------------------------------------------------------------------------


def extend_path(app_dir: str | None) -> None:
    """Let the application be imported from this folder."""
    if app_dir is not None and app_dir not in sys.path:
        sys.path.insert(0, app_dir)


def replaced_wrappers(module: ModuleType) -> list[str]:
    """The names in `WRAPPERS` that a program has replaced in `module`, or whose methods it has replaced."""
    found = []
    for name, home in WRAPPERS.items():
        if name in vars(module) or home in sys.modules:  # otherwise no program has imported it
            wrapper = getattr(module, name)
            parts = (wrapper, *(getattr(wrapper, step, None) for step in ("__init__", "__call__")))
            if not all(overridden.is_ours(one, home) for one in parts):
                found.append(name)
    return found


def traced(app: ASGI3Application, wrapper: Callable[[str], Any]) -> ASGI3Application:
    """The application, with its messages in the log at level trace."""
    if logging.getLogger("uvicorn.asgi").isEnabledFor(TRACE_LOG_LEVEL):
        app = wrapper("MessageLoggerMiddleware")(app)
    return app
