"""Which files count, without a file."""

from __future__ import annotations

from pathlib import PurePosixPath

import pytest

from uvicorn.watcher.patterns import DEFAULT_EXCLUDES, DEFAULT_INCLUDES, Selection, fits, with_defaults

ROOT = PurePosixPath("/home/.me/project")


def selection(includes: tuple[str, ...] = (), excludes: tuple[str, ...] = (), *closed: str) -> Selection:
    return Selection((ROOT,), *with_defaults(includes, excludes), tuple(ROOT / folder for folder in closed))


@pytest.mark.parametrize(
    ("path", "pattern", "expected"),
    [
        ("/a/b/c.py", "*.py", True),
        ("/a/b/c.pyc", "*.py", False),
        ("/a/b/c.html", "b/*.html", True),
        ("/a/b/x/c.html", "b/*.html", False),
        ("/a/b/x/y/c.html", "b/**/*.html", True),
        ("/a/b/c.html", "b/**/*.html", True),
        ("/a/b/c.html", "**", True),
        ("/a/b", "/a/*", True),
        ("/x/a/b", "/a/*", False),
        ("/x/a/b", "a/b", True),
        ("/x/ab", "./ab", True),
        ("/x/a.py", "", False),
        ("/x/a.py", "[ab].py", True),
        ("/a.py", "deeper/a.py", False),
    ],
)
def test_a_pattern(path: str, pattern: str, expected: bool) -> None:
    assert fits(PurePosixPath(path).parts, pattern) is expected


@pytest.mark.parametrize(
    ("path", "includes", "excludes", "expected"),
    [
        ("app.py", (), (), True),
        ("deep/er/app.py", (), (), True),
        ("page.html", (), (), False),
        ("page.html", ("*.html",), (), True),
        ("app.py", ("*.html",), (), True),
        ("app.py", ("*.html",), ("*.py",), False),
        ("page.html", ("*.html",), ("*.py",), True),
        (".hidden.py", (), (), False),
        (".venv/lib/app.py", (), (), False),
        (".venv/lib/app.py", (".*",), (), True),
        ("venv/lib/app.py", (), ("venv",), False),
        ("src/tests/test_app.py", (), ("tests/*",), False),
        ("src/tests/test_app.py", (), ("src/tests",), False),
        ("~backup.py", (), (), False),
        (".env", (".env",), (), True),
        (".env", (".env",), (".env",), False),
        (".env", ("*",), (), False),
        (".git/.env", (".env",), (), False),
        ("__pycache__/app.cpython-313.pyc", ("*",), (), False),
        ("data.db", ("*",), ("*.db",), False),
        ("data.json", ("*",), ("*.db",), True),
    ],
)
def test_a_file(path: str, includes: tuple[str, ...], excludes: tuple[str, ...], expected: bool) -> None:
    assert selection(includes, excludes).matches(str(ROOT / path)) is expected


def test_folders() -> None:
    chosen = selection((), (), "shut")
    assert chosen.matches("/home/.me/project/open/a.py")
    assert not chosen.matches("/home/.me/project/shut/a.py")
    assert not chosen.matches("/home/.me/project/shut/deeper/a.py")
    assert chosen.matches("/home/.me/project/shutter/a.py")
    assert not chosen.matches("/home/.me/other/a.py")
    assert not chosen.matches("/home/.me/projects/a.py")
    assert chosen.enters("/home/.me/project") and chosen.enters("/home/.me/project/open")
    assert not chosen.enters("/home/.me/project/shut") and not chosen.enters("/home/.me/project/.git")
    assert not chosen.enters("/home/.me")


def test_a_hidden_folder_that_is_asked_for() -> None:
    chosen = Selection((ROOT, ROOT / ".plugins"))
    assert chosen.matches(str(ROOT / ".plugins" / "a.py"))
    assert not chosen.matches(str(ROOT / ".git" / "a.py"))


def test_defaults_are_taken_back_by_naming_them() -> None:
    assert with_defaults((), ()) == (DEFAULT_INCLUDES, DEFAULT_EXCLUDES)
    assert with_defaults(("*.html",), ("*.py",)) == (("*.html",), (*DEFAULT_EXCLUDES, "*.py"))
    assert ".*" not in with_defaults((".*",), ())[1]
    once = with_defaults(("*.html",), ("*.tmp",))
    assert with_defaults(*once) == once
