"""What the benchmarks make of their figures."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from benchmarks import report


@pytest.mark.parametrize(
    ("count", "rank"), [(1, 1), (2, 1), (5, 1), (6, 1), (8, 1), (9, 2), (11, 2), (12, 3), (20, 6), (50, 18)]
)
def test_the_interval_of_a_median(count: int, rank: int) -> None:
    """Ranks from tables of the sign test."""
    values = [float(value) for value in range(1, count + 1)]
    assert report.interval(values[::-1]) == (rank, count + 1 - rank)


def test_a_table_and_a_plot() -> None:
    rows = [
        report.Row("GET", "uvicorn", [2.0, 2.1, 1.9], [2.0, 2.2, 2.1], "132 : 132"),
        report.Row("GET", "granian", [1.5, 1.4, 1.6], [1.0, 1.1, 1.05], "132 : 140"),
        report.Row("<h11>", "uvicorn", [3.0], [3.0], "132 : 132"),
    ]
    versions = {"ours": "1.0 CPython 3.13", "uvicorn": "0.54", "granian": "2.8"}
    table = report.markdown("ours", rows, versions)
    assert "| CPU time per request | uvicorn | granian |" in table
    assert "| GET | **2.10** (2.00–2.20) | **1.05** (1.00–1.10) |" in table
    assert "| <h11> | **3.00** (3.00–3.00) | – |" in table
    assert "Bytes per answer: GET 132 : 140 (granian)." in table
    assert "granian 2.8" in table and "smallest–largest" in table
    texts = [element.text for element in ElementTree.fromstring(report.plot("ours", rows, versions)).iter()]
    assert {"GET", "<h11>", "ours 1.0", "2.10", "2.00", "1.00", "3.00"} <= set(texts)
