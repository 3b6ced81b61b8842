"""python -m compatibility [--check] [--python PATH …] [SECTION …]: find the figures, write docs/compatibility.md.

Owns: which sections there are, and the exit code: 1 when something is wrong. Must not: find any figure itself.
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Callable
from functools import partial

from compatibility import document, frameworks, interpreters, own, programs, suites
from compatibility.document import Section

SECTIONS: dict[str, Callable[[list[str]], Section]] = {
    "frameworks": frameworks.run,
    "suites": suites.run,
    "programs": programs.run,
    "own": own.run,
    "interpreters": interpreters.run,
}
"""Each section by its name in the document. Its function is given what --only names, or nothing for all of it."""

EXCHANGED = ("programs",)
"""Sections of which --only writes a part: its lines."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="compatibility", description="What is served as by the other package.")
    parser.add_argument("sections", nargs="*", choices=[[], *SECTIONS], metavar="SECTION", help=", ".join(SECTIONS))
    parser.add_argument("--check", action="store_true", help="leave docs/compatibility.md as it is")
    parser.add_argument("--only", default=[], action="append", help="a part; implies --check, but for programs")
    parser.add_argument("--python", default=[], action="append", help="an interpreter, instead of those that are found")
    chosen = parser.parse_args()
    sections = SECTIONS | {"interpreters": partial(interpreters.run, given=chosen.python)}
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # what was started is ended then, too
    wrong = False
    for name in chosen.sections or SECTIONS:
        section = sections[name](chosen.only)
        print(section.text, *section.remarks, sep="\n")
        for failure in section.failures:
            print(f"{name}: {failure}", file=sys.stderr)
        wrong = wrong or bool(section.failures)
        if not chosen.check and (not chosen.only or name in EXCHANGED):
            document.write(section)
    return int(wrong)


if __name__ == "__main__":
    sys.exit(main())
