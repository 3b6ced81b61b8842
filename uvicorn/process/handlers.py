"""Signal handlers that may run while an exception is being raised.

When a handler raises KeyboardInterrupt while CPython's `input()` waits, `input()` looks for further signals before it
returns (`builtin_input_impl`), and the handlers of those run with the exception set. In such a handler the first call
of a C function fails with SystemError ("returned a result with an exception set"), which replaces KeyboardInterrupt:
the work of the handler is not done, and a debugger's prompt, which expects KeyboardInterrupt, is left.

Owns: the way around it. Must not: know what a handler does. Fails by: nothing.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import ParamSpec

P = ParamSpec("P")


def undisturbed(handler: Callable[P, None]) -> Callable[P, None]:
    """A signal handler that does its work with no exception set, and then raises the one that was set, if any."""

    @functools.wraps(handler)
    def handle(*args: P.args, **kwargs: P.kwargs) -> None:
        raised: BaseException | None = None
        try:
            object(*())  # a call that the interpreter checks in every version; nothing may come before
        except SystemError as exc:
            raised = exc.__cause__
        try:
            handler(*args, **kwargs)
        finally:
            if raised is not None:
                raise raised

    return handle
