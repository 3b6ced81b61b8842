"""Differential fuzz: whatever a client does, and however its bytes are cut, windows hold, what is counted adds up, and
python-hyper h2 finds nothing wrong.

The examples are the same in every run. `FUZZ_EXAMPLES` raises their number and draws new ones each time. A longer
search is tests/http2/fuzz_coverage.py.
"""

from __future__ import annotations

import os

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import http2_fuzz

WANTED = os.environ.get("FUZZ_EXAMPLES", "")

fuzzed = settings(
    max_examples=int(WANTED or 300),
    derandomize=not WANTED,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


@fuzzed
@given(st.binary(min_size=30, max_size=400))
def test_any_client(data: bytes) -> None:
    http2_fuzz.any_client(data)


@fuzzed
@given(st.binary(min_size=30, max_size=400))
def test_python_hyper_as_the_client(data: bytes) -> None:
    http2_fuzz.hyper_client(data)
