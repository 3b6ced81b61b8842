"""What the settings mean on a disk, and both ways of looking at it."""

from __future__ import annotations

import importlib.util
import os
import py_compile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from uvicorn.config import Config
from uvicorn.watcher import main
from uvicorn.watcher.files import differences, snapshot
from uvicorn.watcher.main import Watch, forget_compiled, watch_by_hand, watch_with_package
from uvicorn.watcher.patterns import Selection
from uvicorn.watcher.selection import select

Look = Callable[[Selection, float, float, threading.Event], Iterator[list[str]]]
LOOKS: list[Look] = [watch_by_hand]
if importlib.util.find_spec("watchfiles"):
    LOOKS.append(watch_with_package)
PATIENCE = 30.0


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for folder in ("src/deep", "static", "tests", ".venv"):
        (tmp_path / folder).mkdir(parents=True)
    for file in ("app.py", "src/deep/a.py", "static/page.html", "tests/test_app.py", ".venv/b.py"):
        (tmp_path / file).write_text("x")
    monkeypatch.chdir(tmp_path)
    return tmp_path.resolve()


def config(**settings: object) -> Config:
    return Config("app:app", log_config=None, reload=True, **settings)  # type: ignore[arg-type]


def found(chosen: Selection, project: Path) -> set[str]:
    return {os.path.relpath(path, project) for path in snapshot(chosen)}


def test_by_default_the_current_folder(project: Path) -> None:
    chosen = select(config())
    assert chosen.directories == (project,)
    assert found(chosen, project) == {"app.py", "src/deep/a.py", "tests/test_app.py"}


@pytest.mark.parametrize("form", [lambda p: "src", lambda p: ["src"], lambda p: [p / "src"], lambda p: p / "src"])
def test_a_folder_in_every_form(project: Path, form: Callable[[Path], object]) -> None:
    chosen = select(config(reload_dirs=form(project)))
    assert chosen.directories == (project / "src",)
    assert found(chosen, project) == {"src/deep/a.py"}


def test_folders_among_the_patterns(project: Path) -> None:
    chosen = select(config(reload_dirs="src", reload_includes=["static", "*.html"], reload_excludes="src/deep"))
    assert chosen.directories == (project / "src", project / "static")
    assert chosen.closed == (project / "src" / "deep",)
    assert found(chosen, project) == {"static/page.html"}


def test_a_pattern_that_fits_folders(project: Path) -> None:
    chosen = select(config(reload_dirs="src", reload_includes="t*s"))
    assert chosen.directories == (project / "src", project / "tests")


def test_a_folder_inside_another_is_watched_once(project: Path) -> None:
    assert select(config(reload_dirs=[".", "src"])).directories == (project,)


def test_an_application_elsewhere_is_watched(project: Path) -> None:
    other = project.parent / f"{project.name}-other"
    other.mkdir()
    assert select(config(app_dir=str(other))).directories == (project, other)
    assert select(config(app_dir="")).directories == (project,)
    assert select(config(app_dir="src")).directories == (project,)


def test_a_folder_that_is_not_there(project: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert select(config(reload_dirs=["src", "nothing"])).directories == (project / "src",)
    assert "no such directory: 'nothing'" in caplog.text
    assert select(config(reload_dirs="nothing")).directories == (project,)
    assert "['nothing'] did not contain valid directories, watching current working directory." in caplog.text


def test_differences() -> None:
    assert differences({"same": 1, "gone": 1, "changed": 1}, {"same": 1, "changed": 2, "new": 1}) == [
        "changed",
        "gone",
        "new",
    ]


@pytest.fixture(params=LOOKS, ids=lambda look: look.__name__)
def look(request: pytest.FixtureRequest) -> Look:
    made: Look = request.param
    return made


def batch(batches: Iterator[list[str]]) -> list[str]:
    """The next one that is not empty."""
    deadline = time.monotonic() + PATIENCE
    for paths in batches:
        if paths:
            return paths
        assert time.monotonic() < deadline, "nothing was seen"
    raise AssertionError("it ended")


def test_changes_are_seen(project: Path, look: Look) -> None:
    stop = threading.Event()
    chosen = select(config())
    batches = look(chosen, 0.05, time.time() + 3600, stop)
    assert next(batches) == []
    (project / "app.py").write_text("y")
    assert batch(batches) == [str(project / "app.py")]
    (project / "static" / "page.html").write_text("does not count")
    (project / "src" / "new.py").write_text("z")
    assert batch(batches) == [str(project / "src" / "new.py")]
    (project / "src" / "deep" / "a.py").unlink()
    assert batch(batches) == [str(project / "src" / "deep" / "a.py")]
    os.replace(project / "tests" / "test_app.py", project / "app.py")  # as many editors save
    assert str(project / "app.py") in batch(batches)
    stop.set()
    assert list(batches) == []


def test_what_changed_before_the_first_look_is_not_lost(project: Path, look: Look) -> None:
    stop = threading.Event()
    old = {str(path) for path in project.rglob("*.py") if ".venv" not in path.parts}
    assert set(batch(look(select(config()), 0.05, 0.0, stop))) == old
    assert next(look(select(config()), 0.05, time.time() + 3600, stop)) == []


def test_a_package_that_does_not_work_is_done_without(
    project: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> Iterator[list[str]]:
        raise OSError("no more watches")
        yield []

    monkeypatch.setattr(main, "watch_with_package", broken)
    watch = Watch(config())
    watch.name = main.WATCHFILES
    assert next(watch.batches(threading.Event()))[0] == main.STAT
    assert "no more watches" in caplog.text


def test_what_was_compiled_from_a_changed_file_is_forgotten(project: Path) -> None:
    source = project / "module.py"
    source.write_text("VALUE = 1\n")
    compiled = Path(py_compile.compile(str(source), doraise=True))
    forget_compiled(str(source))
    assert not compiled.exists() and source.exists()
    forget_compiled(str(source))
    forget_compiled(str(project / "static" / "page.html"))
