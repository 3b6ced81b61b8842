"""What counts as a debugger that holds a process."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from types import FrameType, ModuleType

import pytest

from uvicorn.worker import debugging


def trace_of(module: str) -> ModuleType:
    made = ModuleType(module)
    exec("def trace(*_): return None\nclass Tracer:\n    __call__ = trace", vars(made))
    return made


@pytest.mark.parametrize(
    ("module", "expected"), [("bdb", True), ("pydevd", True), ("coverage.pytracer", False), ("coverage", False)]
)
@pytest.mark.parametrize("kind", ["function", "object"])
def test_a_trace_function_that_is_not_coverages(
    monkeypatch: pytest.MonkeyPatch, module: str, expected: bool, kind: str
) -> None:
    made = trace_of(module)
    monkeypatch.setattr(sys, "gettrace", lambda: made.trace if kind == "function" else made.Tracer())
    assert debugging.is_held(sys._getframe(), 1.0) is expected
    assert not debugging.is_held(sys._getframe(), 0.1), "the loop turns: it is attached, and holds nothing"


@pytest.mark.parametrize(("tool", "expected"), [("pdb", True), ("coverage", False), (None, False)])
def test_a_tool_under_the_debuggers_id(monkeypatch: pytest.MonkeyPatch, tool: str | None, expected: bool) -> None:
    class Monitoring:
        DEBUGGER_ID = 0

        @staticmethod
        def get_tool(number: int) -> str | None:
            return tool if number == 0 else "coverage"

    monkeypatch.setattr(sys, "gettrace", lambda: None)
    monkeypatch.setattr(sys, "monitoring", Monitoring, raising=False)
    assert debugging.is_held(sys._getframe(), 1.0) is expected


def at_prompt(then: Callable[[], object]) -> None:
    """Call that from a frame of pdb's."""
    made = ModuleType("pdb")
    exec("def interaction(then): then()", vars(made))
    made.interaction(then)


def test_a_prompt_in_the_main_thread_and_in_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "gettrace", lambda: None)
    seen: list[FrameType] = []
    at_prompt(lambda: seen.append(sys._getframe()))
    assert debugging.is_held(seen[0], 0.0) and not debugging.is_held(None, 0.0)
    assert not debugging.is_asking()
    there, go = threading.Event(), threading.Event()

    def wait() -> None:
        there.set()
        go.wait()

    thread = threading.Thread(target=at_prompt, args=(wait,))
    thread.start()
    try:
        there.wait()
        assert debugging.is_asking()
        assert not debugging.is_held(sys._getframe(), 1.0)
    finally:
        go.set()
        thread.join()
