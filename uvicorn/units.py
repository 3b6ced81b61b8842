"""The systemd units in this package: `python -m uvicorn.units` lists them, and prints those that are named.

    python -m uvicorn.units uvicorn.service >/etc/systemd/system/uvicorn.service

Owns: finding and printing them. Must not: install anything.
Fails by: one sentence on standard error and exit code 2 for an unknown name.
"""

from __future__ import annotations

import sys
from pathlib import Path

from uvicorn.surface.phrases import nearest


def folder() -> Path:
    """The folder of the units: in a wheel inside the package, in a checkout beside it."""
    packed = Path(__file__).with_name("systemd")
    return packed if packed.is_dir() else Path(__file__).parents[1] / "systemd"


def names() -> list[str]:
    return sorted(path.name for path in folder().glob("uvicorn*"))


def main(wanted: list[str]) -> int:
    """Print the units named, or the list of names. Returns the exit code."""
    known = names()
    for name in wanted:
        if name not in known:
            likely = nearest(name, known) or "; the units are " + ", ".join(known) + "."
            print(f"There is no unit {name}{likely}", file=sys.stderr)
            return 2
    for name in wanted:
        sys.stdout.write((folder() / name).read_text(encoding="utf-8"))
    if not wanted:
        print("\n".join(known))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
