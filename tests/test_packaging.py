"""What is built from a checkout: a source archive whose tests run, a wheel with the systemd units; printing units."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from uvicorn import units

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = (".ci", "benchmarks", "compatibility", "docs", "examples", "scripts", "systemd", "tests", "uvicorn")
FILES = ("ARCHITECTURE.md", "LICENSE", "MANIFEST.in", "README.md", "pyproject.toml", "setup.cfg")
JUNK = shutil.ignore_patterns("__pycache__", "*.pyc", ".*_cache", ".hypothesis", ".coverage")
PATIENCE = 120.0


def sources(folder: Path) -> set[str]:
    found = {name for name in FILES if (folder / name).is_file()}
    for top in FOLDERS:
        found |= {path.relative_to(folder).as_posix() for path in (folder / top).rglob("*") if path.is_file()}
    return found


def build(kind: str, folder: Path, place: Path) -> Path:
    code = f"import sys, setuptools.build_meta as backend; backend.build_{kind}(sys.argv[1])"
    ended = subprocess.run(
        [sys.executable, "-c", code, str(place)], cwd=folder, capture_output=True, text=True, timeout=PATIENCE
    )
    assert ended.returncode == 0, ended.stderr
    (made,) = place.iterdir()
    return made


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy: building leaves folders behind."""
    pytest.importorskip("setuptools", "77")
    place = tmp_path_factory.mktemp("checkout")
    for name in FOLDERS:
        shutil.copytree(ROOT / name, place / name, ignore=JUNK)
    for name in FILES:
        shutil.copy(ROOT / name, place)
    return place


@pytest.fixture(scope="module")
def unpacked(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("unpacked")
    with tarfile.open(build("sdist", checkout, tmp_path_factory.mktemp("sdist"))) as archive:
        if hasattr(tarfile, "data_filter"):  # from 3.11.4 on, and in 3.10.12
            archive.extraction_filter = tarfile.data_filter
        archive.extractall(place)
    (folder,) = place.iterdir()
    return folder


def test_the_sdist_is_the_checkout(checkout: Path, unpacked: Path) -> None:
    assert sources(unpacked) == sources(checkout)
    assert {"tests/conftest.py", "tests/shared/programs.py", "docs/moving.md", "examples/chat.py"} <= sources(unpacked)


def test_the_wheel_has_the_package_and_the_units(unpacked: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(build("wheel", unpacked, tmp_path)) as wheel:
        packed = {name for name in wheel.namelist() if ".dist-info/" not in name}
        for unit in (ROOT / "systemd").iterdir():
            assert wheel.read(f"uvicorn/systemd/{unit.name}") == unit.read_bytes()
    wanted = {name for name in sources(unpacked) if name.startswith("uvicorn/")}
    assert packed == wanted | {f"uvicorn/systemd/{unit.name}" for unit in (ROOT / "systemd").iterdir()}


def printed(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "uvicorn.units", *arguments]
    return subprocess.run(command, capture_output=True, text=True, encoding="utf-8", timeout=PATIENCE)


def test_the_units_are_listed_and_printed() -> None:
    assert printed().stdout.split() == ["uvicorn.service", "uvicorn.socket", "uvicorn@.service"]
    assert printed("uvicorn@.service").stdout == (ROOT / "systemd" / "uvicorn@.service").read_text(encoding="utf-8")


def test_a_unit_that_there_is_not(capsys: pytest.CaptureFixture[str]) -> None:
    assert units.main(["uvicorn.sevice"]) == 2
    out, error = capsys.readouterr()
    assert error.startswith("There is no unit uvicorn.sevice; did you mean uvicorn.service?") and out == ""
