"""The classes that programs know as `RequestResponseCycle`, one for each parser: see `familiar/cycle`."""

from __future__ import annotations

from uvicorn.worker.familiar.cycle import NoticingChanges, ReplaceableCycle
from uvicorn.worker.http1.response import Http1Exchange


class H11Cycle(ReplaceableCycle, Http1Exchange):
    """`uvicorn.protocols.http.h11_impl.RequestResponseCycle`"""

    arguments = (
        "conn",
        "transport",
        "flow",
        "logger",
        "access_logger",
        "access_log",
        "default_headers",
        "message_event",
        "on_response",
    )


class HttptoolsCycle(ReplaceableCycle, Http1Exchange):
    """`uvicorn.protocols.http.httptools_impl.RequestResponseCycle`"""

    arguments = (
        "transport",
        "flow",
        "logger",
        "access_logger",
        "access_log",
        "default_headers",
        "message_event",
        "expect_100_continue",
        "keep_alive",
        "on_response",
    )


NoticingChanges.ours += [H11Cycle, HttptoolsCycle]
