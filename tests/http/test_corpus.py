"""The corpus through real sockets, through whole connections, and through bare readers cut at every position."""

from __future__ import annotations

import asyncio
from typing import Any

from http_corpus import CASES, Case
from http_peers import CODECS, CodecClass, ConnectionClass, Peer, Recorder, parse_responses, read_calls
from servers import LoopFactory, serving

Outcome = tuple[list[tuple[dict[str, Any], bytes]], list[int]]


async def test_a_connection_accepts_and_refuses_as_the_corpus_says(
    case: Case, connection_class: ConnectionClass, recorder: Recorder
) -> None:
    peer = Peer(connection_class, recorder)
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


def test_the_cut_makes_no_difference(case: Case, codec_class: CodecClass) -> None:
    raw = case.raw
    whole = read_calls(codec_class, [raw])
    positions = (
        range(1, len(raw)) if len(raw) < 1000 else [*range(1, 40), len(raw) // 2, *range(len(raw) - 20, len(raw))]
    )
    for position in positions:
        assert read_calls(codec_class, [raw[:position], raw[position:]]) == whole, f"cut at {position}"
    if len(raw) < 1000:
        assert read_calls(codec_class, [raw[i : i + 1] for i in range(len(raw))]) == whole, "byte by byte"


def test_the_codecs_agree(case: Case) -> None:
    outcomes = [
        read_calls(codec, [case.raw], thorough=thorough) for codec in CODECS.values() for thorough in (False, True)
    ]
    assert all(outcome == outcomes[0] for outcome in outcomes)


# -- real sockets ----------------------------------------------------------------------------------------------


async def outcome(case: Case, port: int, recorder: Recorder) -> Outcome:
    """What the application saw of a case, and the statuses that came back."""
    recorder.seen.clear()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(case.raw)
        writer.write_eof()
        answers = parse_responses(await reader.read(), [seen.method for seen in case.seen])
    finally:
        writer.close()
    seen = [
        ({key: value for key, value in scope.items() if key not in ("client", "server")}, body)
        for scope, body in recorder.seen
    ]
    return seen, [answer.status for answer in answers if answer.status != 100]


async def test_over_real_sockets_the_codecs_do_the_same(loop_factory: LoopFactory, recorder: Recorder) -> None:
    assert len({case.name for case in CASES}) == len(CASES) >= 300
    outcomes: dict[str, list[Outcome]] = {}
    for codec in CODECS:
        async with serving(recorder, lifespan="off", http=codec) as server:
            outcomes[codec] = [await outcome(case, server.port, recorder) for case in CASES]
    for codec, found in outcomes.items():
        for case, (seen, statuses) in zip(CASES, found, strict=True):
            told = f"{codec}: {case.name}"
            assert statuses == [200] * len(case.seen) + ([] if case.status is None else [case.status]), told
            assert [(scope["method"], scope["path"], scope["query_string"], body) for scope, body in seen] == [
                (expected.method, expected.path, expected.query, expected.body) for expected in case.seen
            ], told
            for expected, (scope, _) in zip(case.seen, seen, strict=True):
                assert expected.headers in (None, tuple(scope["headers"])), told
        assert found == next(iter(outcomes.values()))
