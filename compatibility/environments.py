"""Virtual environments in pairs: one with our package, one with the package that it replaces, all else the same.

Owns: making them in the cache folder (XDG_CACHE_HOME), once for each interpreter and list of requirements; our package
in it is built from this checkout each time. Must not: run anything but pip in them. Fails by: CalledProcessError.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import venv
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PEER = "0.54.*"
PARTS = ("uvicorn", "setup.cfg", "pyproject.toml", "README.md", "LICENSE")
"""What our package is built from."""


@dataclass(frozen=True)
class Environment:
    """A virtual environment."""

    path: Path

    @property
    def python(self) -> Path:
        return self.path / "bin" / "python"

    def pip(self, *arguments: str) -> str:
        command = [str(self.python), "-I", "-m", "pip", "--disable-pip-version-check", *arguments]  # not this folder's
        return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout

    def versions(self) -> dict[str, str]:
        """Name and version of everything in it, names in lower case."""
        lines = self.pip("list", "--format=freeze").splitlines()
        return {name.lower(): version for name, _, version in (line.partition("==") for line in lines)}


@dataclass(frozen=True)
class Pair:
    """Ours and the peer's: the same packages at the same versions, but for the server."""

    ours: Environment
    peer: Environment


def base() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")


def cache() -> Path:
    tag = f"{sys.implementation.name}-{sys.version_info.major}.{sys.version_info.minor}"
    return base() / "uvicorn-compatibility" / tag


@contextmanager
def checkout() -> Iterator[Path]:
    """What our package is built from, in a folder of its own: a build leaves others behind."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder)
        for part in PARTS:
            if (ROOT / part).is_dir():
                shutil.copytree(ROOT / part, source / part, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(ROOT / part, source)
        yield source


def pair(name: str, requirements: Sequence[str], extra: str = "[standard]") -> Pair:
    """The two environments of that name, made when they are missing or were made for something else; our package is
    put into the one as it is now.
    """
    place = cache() / name
    made = Pair(Environment(place / "ours"), Environment(place / "peer"))
    wanted = "\n".join([f"uvicorn{extra}=={PEER}", *requirements, (ROOT / "setup.cfg").read_text()])
    complete = place / "complete"
    with checkout() as source:
        if not complete.exists() or complete.read_text() != wanted:
            print(f"making {place} …", file=sys.stderr)
            shutil.rmtree(place, ignore_errors=True)
            for environment in (made.peer, made.ours):
                venv.create(environment.path, with_pip=True)
            made.peer.pip("install", "--quiet", f"uvicorn{extra}=={PEER}", *requirements)
            same = [f"{name}=={version}" for name, version in made.peer.versions().items() if name != "uvicorn"]
            made.ours.pip("install", "--quiet", f"uvicorn{extra} @ {source.as_uri()}", *same)
            complete.write_text(wanted)
        else:
            made.ours.pip("install", "--quiet", "--no-deps", "--force-reinstall", str(source))
    return made
