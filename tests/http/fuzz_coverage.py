"""The differential fuzz guided by coverage (atheris): a program, not a test, because it runs for as long as it is let.

    python tests/http/fuzz_coverage.py -max_total_time=3600 -max_len=600 some-folder

The first bytes choose limits and where the rest is cut; the rest is what a peer sends. Every codec, whole and cut, must
make the same calls of it. The corpus is the seed. It needs atheris beside what the tests need.
"""

from __future__ import annotations

import itertools
import sys
from pathlib import Path

import atheris  # type: ignore[import-untyped]

HERE = Path(__file__).parent

with atheris.instrument_imports(include=["uvicorn"]):
    from uvicorn.worker.http.limits import PeerLimits

    sys.path.insert(0, str(HERE.parent / "shared"))
    from http_corpus import CASES
    from http_peers import CODECS, read_calls

LIMITS = [
    PeerLimits(),
    PeerLimits(line=18),
    PeerLimits(head=60),
    PeerLimits(fields=2),
    PeerLimits(body=5),
    PeerLimits(24, 80, 3, 8),
]
HEADER = 4
"""Bytes of an input before what the peer sends."""


def one_input(data: bytes) -> None:
    choice, *cuts = data[:HEADER].ljust(HEADER, b"\0")
    sent, limits = data[HEADER:], LIMITS[choice % len(LIMITS)]
    places = sorted({0, len(sent), *(cut * len(sent) // 255 for cut in cuts)})
    pieces = [sent[start:end] for start, end in itertools.pairwise(places)]
    outcomes = {
        f"{name}, {how}": read_calls(codec, chunks, limits, thorough)
        for name, codec in CODECS.items()
        for how, chunks, thorough in (("whole", [sent], False), ("thorough", [sent], True), ("cut", pieces, False))
    }
    first = next(iter(outcomes.values()))
    assert all(outcome == first for outcome in outcomes.values()), outcomes


def main() -> None:
    folder = next((Path(argument) for argument in sys.argv[1:] if not argument.startswith("-")), None)
    if folder is not None and not folder.is_file():  # a file is an input that is tried again
        folder.mkdir(exist_ok=True)
        for number, case in enumerate(CASES):
            if len(case.raw) < 1000:
                (folder / f"seed{number}").write_bytes(bytes([0, 80, 160, 240]) + case.raw)
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
