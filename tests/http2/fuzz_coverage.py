"""The fuzz of HTTP/2 guided by coverage (atheris): a program, not a test, because it runs for as long as it is let.

    python tests/http2/fuzz_coverage.py -max_total_time=3600 -max_len=600 some-folder

An input decides what a client does; its first byte says which: one that may do anything (`http2_fuzz.any_client`), one
that sends the rest as it is (`raw_client`), or python-hyper h2 (`hyper_client`). It needs atheris beside what the tests
need.
"""

from __future__ import annotations

import sys
from pathlib import Path

import atheris  # type: ignore[import-untyped]

sys.path.insert(0, str(Path(__file__).parent.parent / "shared"))

with atheris.instrument_imports(include=["uvicorn"]):
    import http2_fuzz
    from http2_rules import RULES

PROGRAMS = (http2_fuzz.any_client, http2_fuzz.raw_client, http2_fuzz.hyper_client)


def one_input(data: bytes) -> None:
    PROGRAMS[(data[0] if data else 0) % len(PROGRAMS)](data[1:])


def main() -> None:
    folder = next((Path(argument) for argument in sys.argv[1:] if not argument.startswith("-")), None)
    if folder is not None and not folder.is_file():  # a file is an input that is tried again
        folder.mkdir(exist_ok=True)
        for number, rule in enumerate(RULES):
            if len(rule.sent) < 1000:
                (folder / f"seed{number}").write_bytes(bytes([1, 13, 26, 39, 52, 1, 80, 160, 240, 20]) + rule.sent)
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
