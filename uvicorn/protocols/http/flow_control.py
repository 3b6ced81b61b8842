"""A door: flow control for protocols of others."""

from __future__ import annotations

from uvicorn.worker.familiar.flow import CLOSE_HEADER, HIGH_WATER_LIMIT, FlowControl, service_unavailable

__all__ = ["CLOSE_HEADER", "HIGH_WATER_LIMIT", "FlowControl", "service_unavailable"]
