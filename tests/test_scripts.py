"""The scripts: what they say when something is missing, and that scripts/test tests what it installed."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

import uvicorn

ROOT = Path(__file__).resolve().parents[1]
SHELL_SCRIPTS = [
    *(
        f"scripts/{name}"
        for name in ("demo", "test", "test-system", "check", "compatibility", "install-interpreters", "install-proxies")
    ),
    ".ci/run",
]
PATIENCE = 60.0

needs_sh = pytest.mark.skipif(shutil.which("sh") is None, reason="needs a POSIX shell")
needs_cpython = pytest.mark.skipif(sys.implementation.name != "cpython", reason="the scripts want CPython")


def run(script: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", str(ROOT / script)],
        cwd="/",
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )


@pytest.mark.skipif("UVICORN_TEST_INSTALLED" not in os.environ, reason="only scripts/test installs the wheel")
def test_the_installed_package_is_tested() -> None:
    package = Path(uvicorn.__file__).resolve().parent
    assert package.parent.name == "site-packages"
    assert Path(sys.prefix).resolve() in package.parents
    assert str(ROOT) not in sys.path
    assert (package / "py.typed").exists()
    assert {file.relative_to(package) for file in package.rglob("*.py")} == {
        file.relative_to(ROOT / "uvicorn") for file in (ROOT / "uvicorn").rglob("*.py")
    }


@pytest.mark.parametrize("script", [*SHELL_SCRIPTS, "scripts/readme-options"])
def test_can_be_started(script: str) -> None:
    assert os.access(ROOT / script, os.X_OK)


def test_readme_names_scripts_that_exist() -> None:
    named = set(re.findall(r"\bscripts/[\w-]+", (ROOT / "README.md").read_text(encoding="utf-8")))
    assert {"scripts/demo", "scripts/test"} <= named
    assert [name for name in named if not (ROOT / name).is_file()] == []


@needs_sh
@pytest.mark.parametrize("script", ["scripts/demo", "scripts/test", "scripts/check"])
def test_says_that_the_interpreter_does_not_fit(script: str) -> None:
    ended = run(script, PYTHON="no-such-python")
    assert ended.returncode == 1
    assert ended.stderr == f"{Path(script).name}: PYTHON=no-such-python is not a CPython from 3.10 on.\n"


@needs_sh
@needs_cpython
def test_names_the_package_that_venv_is_in(tmp_path: Path) -> None:
    """An interpreter without ensurepip, as Debian's python3 is."""
    code = "import sys; sys.modules['ensurepip'] = None; exec(sys.argv[2].replace('sys.executable', repr(sys.argv[3])))"
    bare = tmp_path / "python3"
    bare.write_text(f'#!/bin/sh\nexec "{sys.executable}" -c "{code}" "$@" "$0"\n')
    bare.chmod(0o755)
    ended = run("scripts/demo", PYTHON=str(bare))
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    assert ended.returncode == 1
    assert f"the venv module of Python {version} is missing." in ended.stderr
    assert f"apt install python{version}-venv" in ended.stderr


@needs_sh
@needs_cpython
def test_demo_says_that_its_port_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        ended = run("scripts/demo", PORT=port, PYTHON=sys.executable)
    assert ended.returncode == 1
    assert "Address already in use" in ended.stderr
    assert f"127.0.0.1:{port} cannot be used; choose another: PORT=8001 scripts/demo" in ended.stderr


# -- .ci/run ---------------------------------------------------------------------------------------------------

needs_bash = pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")


def ci(tmp_path: Path, versions: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    """`.ci/run` where these interpreters are all there are ({command: version}), and nothing is checked or tested."""
    tools = tmp_path / "tools"
    for folder in (tools, tmp_path / ".ci", tmp_path / "scripts"):
        folder.mkdir()
    for tool in ("awk", "bash", "dirname", "mktemp", "rm", "sed", "sort", "tail", "tee"):
        found = shutil.which(tool)
        assert found is not None
        (tools / tool).symlink_to(found)
    scripts = {tools / name: f"echo {version} {tools / name}" for name, version in versions.items()}
    scripts |= {tmp_path / "scripts" / name: f"echo {name} with $PYTHON" for name in ("check", "test")}
    for path, line in scripts.items():
        path.write_text(f"#!{tools / 'bash'}\n{line}\n")
        path.chmod(0o755)
    for name in (".ci/run", "scripts/environment.sh"):
        shutil.copy(ROOT / name, tmp_path / name)
    return subprocess.run(
        [tools / "bash", tmp_path / ".ci" / "run", *arguments],
        env={"PATH": str(tools)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )


@needs_bash
def test_both_kinds_of_interpreters_are_used(tmp_path: Path) -> None:
    ended = ci(tmp_path, {"python3": "3.11", "python3.10": "3.10", "python3.12": "3.12", "python3.13": "3.13"})
    assert ended.returncode == 0
    found = [line for line in ended.stdout.splitlines() if line.startswith("3.1")]
    assert [line.split()[0] for line in found[:4]] == ["3.10", "3.11", "3.12", "3.13"]
    used = re.findall(r"^(check|test) with .*/(\S+)$", ended.stdout, re.MULTILINE)
    assert used == [(what, name) for name in ("python3.10", "python3.13") for what in ("check", "test")]


@needs_bash
@pytest.mark.parametrize("version", ["3.11", "3.12"])
def test_a_missing_kind_is_exit_code_1_unless_any_will_do(tmp_path: Path, version: str) -> None:
    (tmp_path / "first").mkdir()
    ended = ci(tmp_path / "first", {"python3": version})
    assert (ended.returncode, " with " in ended.stdout) == (1, False)
    assert f"{version} {tmp_path}" in ended.stdout and "one of the two is missing" in ended.stderr
    (tmp_path / "second").mkdir()
    ended = ci(tmp_path / "second", {"python3": version}, "--any")
    assert ended.returncode == 0 and ended.stdout.count("\ntest with ") == 1


@needs_bash
def test_no_interpreter_at_all(tmp_path: Path) -> None:
    ended = ci(tmp_path, {}, "--any")
    assert ended.returncode == 1 and "none" in ended.stdout and "no CPython" in ended.stderr
