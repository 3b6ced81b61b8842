"""What the settings mean on a disk, and both ways of looking at it."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import py_compile
import threading
import time
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import pytest

from uvicorn.config import Config
from uvicorn.watcher import main
from uvicorn.watcher.files import differences, snapshot, walk
from uvicorn.watcher.main import Watch, forget_compiled, watch_by_hand, watch_with_package
from uvicorn.watcher.patterns import Selection
from uvicorn.watcher.selection import select

Look = Callable[[Selection, float, float, threading.Event], Generator[list[str], None, None]]
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


@pytest.fixture(params=LOOKS, ids=lambda look: look.__name__)
def look(request: pytest.FixtureRequest) -> Look:
    made: Look = request.param
    return made


# -- what is left out before it is entered ---------------------------------------------------------------------

HEAVY = ("node_modules/a/deep", "src/node_modules/b", ".git/objects", "src/__pycache__", "env/lib/deep")


@pytest.fixture
def heavy(project: Path) -> Path:
    for folder in HEAVY:
        (project / folder).mkdir(parents=True)
        (project / folder / "c.py").write_text("x")
    (project / "env" / "pyvenv.cfg").touch()
    return project


@pytest.fixture
def entered(monkeypatch: pytest.MonkeyPatch, heavy: Path) -> list[str]:
    """Every folder that is listed from here on."""
    found: list[str] = []
    scandir, listdir = os.scandir, os.listdir

    def noted_scandir(path: str) -> Iterator[os.DirEntry[str]]:
        found.append(str(path))
        return scandir(path)

    def noted_listdir(path: str) -> list[str]:
        found.append(str(path))
        return listdir(path)

    monkeypatch.setattr(os, "scandir", noted_scandir)
    monkeypatch.setattr(os, "listdir", noted_listdir)
    return found


OWN = {".", "src", "src/deep", "static", "tests"}
NODE = {"node_modules", "node_modules/a", "node_modules/a/deep"}


def listed(entered: list[str], project: Path) -> set[str]:
    assert len(set(entered)) == len(entered), "a folder is entered once"
    return {os.path.relpath(path, project) for path in entered}


@pytest.mark.parametrize(
    ("settings", "more"),
    [
        ({}, set()),
        ({"reload_dirs": "."}, set()),
        ({"reload_includes": "*.js"}, set()),
        ({"reload_includes": ".*", "reload_dirs": "."}, {".venv"}),
        ({"reload_dirs": [".", "node_modules"]}, NODE),
        ({"reload_dirs": [".", "node_modules/a/deep"]}, {"node_modules/a/deep"}),
        ({"reload_includes": "env/lib", "reload_dirs": "."}, {"env/lib", "env/lib/deep"}),
        ({"reload_includes": "env/**/*.html"}, {"env", "env/lib", "env/lib/deep"}),
        (
            {"reload_includes": "src/node_modules/*.js"},  # a name is taken for every folder that has it
            {*NODE, "src/node_modules", "src/node_modules/b"},
        ),
    ],
)
def test_what_nobody_edits_is_not_entered(
    heavy: Path, entered: list[str], settings: dict[str, object], more: set[str]
) -> None:
    chosen = select(config(**settings))
    entered.clear()
    snapshot(chosen)
    assert listed(entered, heavy) == OWN | more


def test_a_pattern_of_any_depth_enters_nothing_of_that_either(heavy: Path, entered: list[str]) -> None:
    chosen = config(reload_includes="**/deep", reload_excludes="**/templates")
    assert chosen.reload_dirs == [heavy / "src" / "deep"]
    assert {os.path.relpath(path, heavy) for path in entered} == OWN | {".venv"}


@pytest.mark.skipif(not main.BY_FOLDER, reason="only inotify enters folders to watch them")
@pytest.mark.skipif(watch_with_package not in LOOKS, reason="needs watchfiles")
def test_nothing_of_that_is_watched_either(heavy: Path) -> None:
    stop = threading.Event()
    with contextlib.closing(watch_with_package(select(config()), 0.05, time.time() + 3600, stop)) as batches:
        assert next(batches) == []
        details = [path.read_text() for path in Path("/proc/self/fdinfo").iterdir() if path.exists()]
        assert sum(text.count("inotify wd:") for text in details) == len(OWN)


def test_a_change_in_there_does_not_count(heavy: Path, look: Look) -> None:
    stop = threading.Event()
    with contextlib.closing(look(select(config()), 0.05, time.time() + 3600, stop)) as batches:
        assert next(batches) == []
        for folder in HEAVY:
            (heavy / folder / "c.py").write_text("y")
        (heavy / "app.py").write_text("y")
        assert batch(batches) == [str(heavy / "app.py")]


def test_a_new_folder_is_watched(project: Path, look: Look) -> None:
    stop = threading.Event()
    with contextlib.closing(look(select(config()), 0.05, time.time() + 3600, stop)) as batches:
        assert next(batches) == []
        (project / "new" / "deep").mkdir(parents=True)
        file = project / "new" / "deep" / "a.py"
        file.write_text("x")
        assert batch(batches) == [str(file)]
        file.write_text("y")
        assert batch(batches) == [str(file)]
        (project / "node_modules").mkdir()
        (project / "node_modules" / "a.py").write_text("x")
        os.rename(project / "new", project / "moved")
        found = batch(batches)
        while str(project / "moved" / "deep" / "a.py") not in found:
            found = batch(batches)
        assert not any("node_modules" in path for path in found)


def test_links_to_folders_are_watched_once(project: Path) -> None:
    elsewhere = project.parent / f"{project.name}-linked"
    elsewhere.mkdir()
    (project / "link").symlink_to(elsewhere)
    (elsewhere / "back").symlink_to(project)
    found = [os.path.relpath(folder, project) for folder, _ in walk(select(config()), follow=True)]
    assert len(found) < 12 and {*OWN, "link"} <= set(found)


def test_differences() -> None:
    assert differences({"same": 1, "gone": 1, "changed": 1}, {"same": 1, "changed": 2, "new": 1}) == [
        "changed",
        "gone",
        "new",
    ]


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
        yield from ()
        raise OSError("no more watches")

    monkeypatch.setattr(main, "watch_with_package", broken)
    watch = Watch(config())
    watch.name = main.WATCHFILES
    assert next(watch.batches(threading.Event()))[0] == main.STAT
    assert "no more watches" in caplog.text


def test_what_was_compiled_from_a_changed_file_is_forgotten(project: Path) -> None:
    source = project / "module.py"
    source.write_text("VALUE = 1\n")
    cached = py_compile.compile(str(source), doraise=True)
    assert cached is not None
    compiled = Path(cached)
    forget_compiled(str(source))
    assert not compiled.exists() and source.exists()
    forget_compiled(str(source))
    forget_compiled(str(project / "static" / "page.html"))
