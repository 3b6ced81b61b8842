"""The corpus through whole connections, and through bare readers cut at every position."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


async def test_a_connection_accepts_and_refuses_as_the_corpus_says(case: Any, make_peer: Any, recorder: Any) -> None:
    peer = make_peer(recorder)
    for start in range(0, len(case.raw), 60000):  # as a socket delivers it
        if not peer.transport.closed:
            peer.send(case.raw[start : start + 60000])
    await peer.turns()
    if not peer.transport.closed:
        peer.send_eof()
    await peer.closed()

    assert len(recorder.seen) == len(case.seen)
    for expected, (scope, body) in zip(case.seen, recorder.seen, strict=True):
        assert (scope["method"], scope["path"], body) == (expected.method, expected.path, expected.body)
        assert (scope["query_string"], scope["http_version"]) == (expected.query, expected.version)
        if expected.headers is not None:
            assert tuple(scope["headers"]) == expected.headers
    statuses = [response.status for response in peer.responses(*(seen.method for seen in case.seen))]
    refusal = [] if case.status is None else [case.status]
    assert [status for status in statuses if status != 100] == [200] * len(case.seen) + refusal


def test_the_cut_makes_no_difference(case: Any, codec_class: Any, calls: Callable[..., list[Any]]) -> None:
    raw = case.raw
    whole = calls(codec_class, [raw])
    positions = (
        range(1, len(raw)) if len(raw) < 1000 else [*range(1, 40), len(raw) // 2, *range(len(raw) - 20, len(raw))]
    )
    for position in positions:
        assert calls(codec_class, [raw[:position], raw[position:]]) == whole, f"cut at {position}"
    if len(raw) < 1000:
        assert calls(codec_class, [raw[i : i + 1] for i in range(len(raw))]) == whole, "byte by byte"


def test_the_codecs_agree(case: Any, codecs: dict[str, Any], calls: Callable[..., list[Any]]) -> None:
    outcomes = [calls(codec, [case.raw]) for codec in codecs.values()]
    assert all(outcome == outcomes[0] for outcome in outcomes)
