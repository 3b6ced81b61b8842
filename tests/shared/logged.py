"""What a logger has said during a test."""

from __future__ import annotations

import logging

import pytest


class Logged:
    """Lines of the logger `name`, from INFO on."""

    def __init__(self, caplog: pytest.LogCaptureFixture, name: str = "uvicorn.error") -> None:
        self._caplog, self._name = caplog, name
        caplog.set_level(logging.INFO, logger=name)  # and puts it back at the end

    def lines(self) -> list[str]:
        """All of them so far."""
        return [record.getMessage() for record in self._caplog.records if record.name == self._name]


@pytest.fixture
def logged(caplog: pytest.LogCaptureFixture) -> Logged:
    """What `uvicorn.error` says from INFO on."""
    return Logged(caplog)
