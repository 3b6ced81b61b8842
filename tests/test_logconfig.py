"""Which parts of a log configuration a master sets up, and what can be passed to another interpreter."""

from __future__ import annotations

import json
import logging
import logging.config
import signal
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from programs import Start
from uvicorn.logging import LOGGING_CONFIG
from uvicorn.logs import setup as logconfig
from uvicorn.surface import naming


class Filter(logging.Filter):
    """A class that can be imported by name."""


made = Filter()
HERE = __name__


def config(**parts: Any) -> dict[str, Any]:
    return {"version": 1, "disable_existing_loggers": False, **parts}


# -- what travels ----------------------------------------------------------------------------------------------


def test_names_are_written_as_logging_reads_them() -> None:
    given = config(
        formatters={"f": {"()": logging.Formatter, "fmt": "%(message)s"}},
        filters={"g": {"()": Filter}},
        handlers={
            "h": {"class": logging.StreamHandler, "stream": sys.__stdout__, "filters": ["g"]},
            "i": {"class": "logging.FileHandler", "filename": Path("x"), "given": made, "address": ("here", 1)},
        },
    )
    assert logconfig.spelled(given) == (
        config(
            formatters={"f": {"()": "logging.Formatter", "fmt": "%(message)s"}},
            filters={"g": {"()": f"{HERE}.Filter"}},
            handlers={
                "h": {"class": "logging.StreamHandler", "stream": "ext://sys.__stdout__", "filters": ["g"]},
                "i": {
                    "class": "logging.FileHandler",
                    "filename": "x",
                    "given": f"ext://{HERE}.made",
                    "address": ("here", 1),
                },
            },
        ),
        [],
    )


def test_a_part_with_something_nameless_is_left_out() -> None:
    given = config(
        formatters={"access": {"()": lambda: None}, "own": {"format": "%(message)s"}},
        filters={"g": {"()": lambda: None}, "k": {}},
        handlers={"h": {"()": object(), "level": "INFO", "formatter": "own"}},
        loggers={"a": {"filters": ["g", "k", made], "level": "INFO"}},
        root={"handlers": ["h"], "filters": ["g"]},
    )
    spelled, sentences = logconfig.spelled(given)
    assert spelled == config(
        formatters={"access": LOGGING_CONFIG["formatters"]["access"], "own": {"format": "%(message)s"}},
        filters={"k": {}},
        handlers={
            "h": {"class": "logging.StreamHandler", "stream": "ext://sys.stderr", "level": "INFO", "formatter": "own"}
        },
        loggers={"a": {"filters": ["k"], "level": "INFO"}},
        root={"handlers": ["h"], "filters": []},
    )
    names = [sentence.partition(" has ")[0].removeprefix("log_config: ") for sentence in sentences]
    assert names == ["formatter 'access'", "filter 'g'", "handler 'h'", "logger 'a'"]
    assert all("top level of a module" in sentence for sentence in sentences)
    logging.config.dictConfig({**spelled, "root": {}, "loggers": {}})


# -- whose module it is ----------------------------------------------------------------------------------------


def test_whose_a_module_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine" / "deep").mkdir(parents=True)
    (tmp_path / "mine" / "deep" / "log.py").write_text("raise AssertionError('imported')")
    (tmp_path / "site-packages" / "theirs").mkdir(parents=True)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.syspath_prepend(str(tmp_path / "site-packages"))
    monkeypatch.setitem(sys.modules, "__main__", ModuleType("__main__"))  # a script; that of `python -m pytest` is not
    for name in ("mine.deep.log", "nowhere", "__main__"):
        assert naming.is_applications(name, "app:app"), name
    for name in ("theirs.log", "logging.handlers", "sys", "uvicorn.logging", "pytest"):
        assert not naming.is_applications(name, "app:app"), name
    assert naming.is_applications("theirs.log", "theirs.main:app"), "an application that is installed"


def test_the_applications_modules_are_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "forgettable.py").write_text("import json")
    monkeypatch.syspath_prepend(str(tmp_path))
    import forgettable  # type: ignore[import-not-found]

    import uvicorn.config

    others = {name: module for name, module in sys.modules.items() if naming.is_installed(name)}
    monkeypatch.setattr(sys, "modules", sys.modules.copy())
    naming.forget("forgettable:app")
    assert "forgettable" not in sys.modules and forgettable is not None
    assert uvicorn.config is sys.modules["uvicorn.config"] and others.items() <= sys.modules.items()


# -- a master --------------------------------------------------------------------------------------------------

APP = """
import os
os.write(1, f"app imported in {os.getpid()}\\n".encode())

async def app(scope, receive, send):
    assert scope["type"] == "http"
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"there"})
"""
HANDLERS = """
import logging, os
os.write(1, f"handlers imported in {os.getpid()}\\n".encode())

class Handler(logging.StreamHandler):
    def format(self, record):
        return f"{os.getpid()} says " + record.getMessage()
"""
AS_JSON = json.dumps(
    config(
        handlers={"h": {"class": "handlers.Handler"}},
        loggers={"uvicorn": {"handlers": ["h"], "level": "INFO", "propagate": False}},
    )
)
AS_INI = """
[loggers]
keys=root,uvicorn
[handlers]
keys=h
[formatters]
keys=f
[formatter_f]
class=handlers.logging.Formatter
format=%(message)s
[handler_h]
class=handlers.Handler
args=()
formatter=f
[logger_root]
handlers=
[logger_uvicorn]
qualname=uvicorn
level=INFO
handlers=h
propagate=0
"""


@pytest.mark.parametrize(("suffix", "text"), [("json", AS_JSON), ("ini", AS_INI)], ids=["json", "ini"])
@pytest.mark.parametrize("mode", ["--reload", "--workers=2"])
@pytest.mark.skipif(sys.platform == "win32", reason="there is no master without fork")
def test_a_master_imports_nothing_of_the_applications(
    start_command: Start, tmp_path: Path, suffix: str, text: str, mode: str
) -> None:
    for name, source in {"app.py": APP, "handlers.py": HANDLERS, f"log.{suffix}": text}.items():
        (tmp_path / name).write_text(source)
    program = start_command("app:app", "--port", "0", mode, "--log-config", f"log.{suffix}")
    program.listens()
    worker = int(program.wait_for(r"^(\d+) says Application startup complete")[1])
    assert worker != program.process.pid
    assert program.get() == "there"
    assert program.end(signal.SIGTERM) == 0
    assert f"handlers imported in {worker}" in program.text
    assert f"imported in {program.process.pid}" not in program.text
    assert f"{program.process.pid} says" not in program.text and "Started" in program.text


@pytest.mark.skipif(sys.platform == "win32", reason="there is no master without fork")
def test_handlers_that_are_broken_are_a_failed_start(start_command: Start, tmp_path: Path) -> None:
    for name, source in {"app.py": APP, "handlers.py": "import nowhere", "log.json": AS_JSON}.items():
        (tmp_path / name).write_text(source)
    program = start_command("app:app", "--port", "0", "--workers=2", "--log-config", "log.json")
    assert program.end() == 3
    assert "No module named 'nowhere'" in program.text
    assert program.text.count("--log-config log.json cannot be used: Unable to configure handler 'h'") == 1
