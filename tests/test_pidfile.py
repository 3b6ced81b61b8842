"""The file that `--pid` names: written whole, refused while another process has it, removed by its writer only."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from programs import printed_by
from uvicorn.errors import ExitCode, StartupError
from uvicorn.process import pidfile

if sys.platform == "win32":
    pytest.skip("nobody can be asked whether it lives", allow_module_level=True)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "server.pid"


@pytest.fixture
def somebody() -> Iterator[int]:
    """The pid of a running process."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        yield process.pid


@pytest.fixture
def nobody() -> int:
    """The pid of a process that has ended."""
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        pass
    return process.pid


def test_there_while_inside(path: Path) -> None:
    with pidfile.written(path):
        assert path.read_text() == f"{os.getpid()}\n"
        assert path.stat().st_mode & 0o777 == 0o644 & ~_umask()
        assert os.listdir(path.parent) == [path.name]
    assert os.listdir(path.parent) == []


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_none_is_no_file() -> None:
    with pidfile.written(None):
        pass


def test_removed_although_it_ends_badly(path: Path) -> None:
    with pytest.raises(KeyError), pidfile.written(path):
        raise KeyError
    assert not path.exists()


def test_a_relative_path_survives_a_change_of_the_folder(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(path.parent)
    with pidfile.written(path.name):
        assert path.exists()
        monkeypatch.chdir("/")
    assert not path.exists()


@pytest.mark.parametrize("left", ["", "garbage", "-5", "0", "12x", "9" * 40, "²"])
def test_what_names_no_process_is_replaced(path: Path, left: str) -> None:
    path.write_text(left)
    with pidfile.written(path):
        assert path.read_text() == f"{os.getpid()}\n"


def test_what_a_dead_process_left_is_replaced(path: Path, nobody: int) -> None:
    path.write_text(f"{nobody}\n")
    with pidfile.written(path):
        assert path.read_text() == f"{os.getpid()}\n"


def test_our_own_number_is_from_an_earlier_life(path: Path) -> None:
    """A container is started again: the same file contains the same pid."""
    path.write_text(str(os.getpid()))
    with pidfile.written(path):
        assert path.read_text() == f"{os.getpid()}\n"


def test_a_number_is_anybodys(path: Path, somebody: int) -> None:
    """After a reboot, or in a container, the pid in the file may belong to an unrelated process."""
    path.write_text(f"{somebody}\n")
    with pidfile.written(path):
        assert path.read_text() == f"{os.getpid()}\n"


HOLDER = """
import sys
from uvicorn.process import pidfile
with pidfile.written(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextlib.contextmanager
def holder(path: Path, code: str = HOLDER) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the file until its standard input is closed."""
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", code, str(path)], stdin=pipe, stdout=pipe, text=True) as process:
        try:
            assert process.stdout is not None and process.stdout.readline() == "held\n"
            yield process
        finally:
            process.kill()


def test_who_holds_it_is_left_alone(path: Path) -> None:
    with holder(path) as other:
        said = f"process {other.pid} has it. Stop it or choose another path"
        for _ in range(2):
            with pytest.raises(StartupError, match=said), pidfile.written(path):
                raise AssertionError("not reached")
        assert StartupError.exit_code is ExitCode.STARTUP
        assert path.read_text() == f"{other.pid}\n"
        assert os.listdir(path.parent) == [path.name]


def test_who_was_killed_holds_nothing(path: Path) -> None:
    with holder(path) as other:
        other.kill()
        other.wait()
        assert path.exists()
        with pidfile.written(path):
            assert path.read_text() == f"{os.getpid()}\n"
    assert not path.exists()


def test_children_hold_nothing(path: Path) -> None:
    """A worker that outlives its master does not keep the next master from starting."""
    code = HOLDER.replace('print("held", flush=True)', 'if os.fork():\n        print("held", flush=True)')
    with holder(path, "import os" + code) as other:
        with pytest.raises(StartupError), pidfile.written(path):
            raise AssertionError("not reached")
        other.kill()
        other.wait()
        with pidfile.written(path):
            assert path.read_text() == f"{os.getpid()}\n"


def test_of_many_that_start_at_once_one_has_it(path: Path) -> None:
    code = "try:\n" + textwrap.indent(HOLDER, "    ") + "except Exception as exc:\n    print(exc, flush=True)\n"
    pipe = subprocess.PIPE
    with contextlib.ExitStack() as stack:
        all_of_them = []
        for _ in range(6):
            one = subprocess.Popen([sys.executable, "-c", code, str(path)], stdin=pipe, stdout=pipe, text=True)
            stack.enter_context(one)
            stack.callback(one.kill)
            all_of_them.append(one)
        said = [one.stdout.readline() for one in all_of_them if one.stdout is not None]
        assert said.count("held\n") == 1, said
        assert all("has it. Stop it" in line for line in said if line != "held\n"), said
        assert path.read_text() == f"{all_of_them[said.index('held' + chr(10))].pid}\n"


def test_a_successors_file_is_left(path: Path, somebody: int) -> None:
    with pidfile.written(path):
        path.write_text(f"{somebody}\n")
    assert path.read_text() == f"{somebody}\n"


def test_a_child_does_not_remove_it(path: Path) -> None:
    code = f"""
import os
from uvicorn.process import pidfile
with pidfile.written({str(path)!r}):
    child = os.fork()
    if child:
        os.waitpid(child, 0)
        print(os.path.exists({str(path)!r}))
"""
    assert printed_by(code) == "True\n"
    assert not path.exists()


@pytest.mark.parametrize(
    ("name", "why"), [("missing/x.pid", "No such file"), ("folder", "no regular file"), ("link", "no regular file")]
)
def test_what_cannot_be_written(tmp_path: Path, name: str, why: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "target").write_text("precious")
    (tmp_path / "link").symlink_to(tmp_path / "target")
    with pytest.raises(StartupError, match=why), pidfile.written(tmp_path / name):
        raise AssertionError("not reached")
    assert sorted(os.listdir(tmp_path)) == ["folder", "link", "target"]
    assert (tmp_path / "target").read_text() == "precious"


def test_a_draft_of_a_killed_predecessor_is_no_obstacle(path: Path) -> None:
    path.with_name(f"{path.name}.{os.getpid()}").write_text("12")
    with pidfile.written(path):
        assert os.listdir(path.parent) == [path.name]
