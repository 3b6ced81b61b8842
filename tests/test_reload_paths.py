"""What --reload-dir, --reload-include and --reload-exclude come to, in `Config`'s attributes."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from applications import Receive, Scope, Send
from uvicorn.config import Config, is_dir, resolve_reload_patterns


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder: app/ with sub/ and a file, ext/ with sub/, first/."""
    for name in ("app/sub", "ext/sub", "first"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "app" / "x.py").touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def relative(paths: list[Path], here: Path) -> list[str]:
    return [str(path.relative_to(here.resolve())) for path in paths]


@pytest.mark.parametrize(
    ("values", "dirs", "dirs_excludes", "includes", "excludes"),
    [
        ({}, ["."], [], [], []),
        ({"reload_dirs": "app"}, ["app"], [], [], []),
        ({"reload_dirs": ["app", "app/sub", "ext"]}, ["app", "ext"], [], [], []),
        ({"reload_dirs": ["app", "nowhere"]}, ["app"], [], [], []),
        ({"reload_includes": "*.html"}, ["."], [], ["*.html"], []),
        ({"reload_includes": ["app/*", "*.css"]}, ["app/sub"], [], ["app/*", "*.css"], []),
        (
            {"reload_includes": ["app", "ext"], "reload_excludes": ["ext/sub"]},
            ["app", "ext"],
            ["ext/sub"],
            ["app", "ext"],
            ["ext/sub"],
        ),
        ({"reload_excludes": ["ext", "*.tmp", "*.py"]}, ["."], ["ext"], [], ["ext", "*.tmp", "*.py"]),
        ({"reload_dirs": ["app/sub", "first"], "reload_excludes": ["app"]}, ["first"], ["app"], [], ["app"]),
    ],
)
def test_the_attributes(
    values: dict[str, Any],
    dirs: list[str],
    dirs_excludes: list[str],
    includes: list[str],
    excludes: list[str],
    here: Path,
) -> None:
    config = Config("a:b", reload=True, log_config=None, **values)
    assert relative(config.reload_dirs, here) == dirs
    assert relative(config.reload_dirs_excludes, here) == dirs_excludes
    assert (config.reload_includes, config.reload_excludes) == (includes, excludes)


def test_what_is_said(caplog: pytest.LogCaptureFixture, here: Path) -> None:
    with caplog.at_level(logging.INFO, "uvicorn.error"):
        Config("a:b", reload=True, log_config=None, reload_dirs=["nowhere"])
        Config("a:b", log_config=None, reload_dirs="app")
    assert [record.getMessage() for record in caplog.records] == [
        "Provided reload directories ['nowhere'] did not contain valid directories,"
        " watching current working directory.",
        "Current configuration will not reload as not all conditions are met, please refer to documentation.",
    ]


def test_nothing_is_watched_without_reload_or_for_an_object() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None: ...

    for config in (Config("a:b", log_config=None), Config(app, reload=True, log_config=None)):
        assert not config.should_reload
        assert config.reload_dirs == config.reload_dirs_excludes == []


def test_patterns_that_name_folders(here: Path) -> None:
    patterns, folders = resolve_reload_patterns(["*.py", "app", "ext/*", "**/sub", "*.py"], ["first"])
    assert patterns == ["*.py", "app", "ext/*", "**/sub"]
    assert relative(folders, here) == ["app", "ext/sub", "first"]
    _, folders = resolve_reload_patterns([str(here / "ext" / "*"), ".."], [])
    assert folders == [here.resolve().parent]


def test_what_cannot_be_looked_at_is_no_folder(here: Path) -> None:
    assert is_dir(here) and not is_dir(here / "app" / "x.py")
    assert not is_dir(here / ("x" * 5000))
