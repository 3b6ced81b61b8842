"""What the HTTP tests are run over: the cases of the corpus, both codecs, both connections."""

from __future__ import annotations

import pytest

from http_corpus import CASES
from http_peers import CODECS, CONNECTIONS, CodecClass, ConnectionClass, Recorder


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "case" in metafunc.fixturenames:
        metafunc.parametrize("case", CASES, ids=[case.name for case in CASES])


@pytest.fixture(params=sorted(CODECS))
def codec_class(request: pytest.FixtureRequest) -> CodecClass:
    return CODECS[request.param]


@pytest.fixture(params=sorted(CONNECTIONS))
def connection_class(request: pytest.FixtureRequest) -> ConnectionClass:
    return CONNECTIONS[request.param]


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()
