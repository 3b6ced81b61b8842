"""The Autobahn test suite's fuzzing client against an echo: every codec of frames and of heads, no case may fail.

Its program is installed by scripts/install-autobahn (Python 2.7). Every case there is runs, those of compression too,
which take ten minutes for each pair of codecs. `scripts/test-system -k autobahn -rP` says the counts of each group.
"""

from __future__ import annotations

import json
import subprocess
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from installations import installed, started

pytestmark = pytest.mark.system

ECHO = """
async def app(scope, receive, send):
    assert scope["type"] == "websocket"
    await receive()
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        await send({**message, "type": "websocket.send"})
"""
GROUPS = {
    "protocol": ["1.*", "2.*", "3.*", "4.*", "5.*", "6.*", "7.*", "10.*"],
    "limits": ["9.*"],
    "compression": ["12.*", "13.*"],
}
CASES = {"protocol": 247, "limits": 54, "compression": 216}
NOT_STRICT = {
    "websockets": {"6.4.3", "6.4.4"},  # letters are judged when their frame is complete, not before
    "wsproto": set(),
}


@pytest.mark.parametrize("group", GROUPS)
@pytest.mark.parametrize("http", ["httptools", "h11"])
@pytest.mark.parametrize("ws", ["websockets", "wsproto"])
def test_autobahn(
    tmp_path: Path, ws: str, http: str, group: str, record_property: Callable[[str, object], None]
) -> None:
    wstest = installed("install-autobahn")
    (tmp_path / "echo.py").write_text(ECHO)
    with started(tmp_path, "echo:app", "--ws", ws, "--http", http, "--lifespan", "off") as port:
        spec = {"outdir": "reports", "servers": [{"url": f"ws://127.0.0.1:{port}"}], "cases": GROUPS[group]}
        (tmp_path / "spec.json").write_text(json.dumps(spec))
        subprocess.run(
            [wstest, "-m", "fuzzingclient", "-s", "spec.json"],
            cwd=tmp_path,
            check=True,
            stdout=subprocess.DEVNULL,
            timeout=7200,
        )
    [cases] = json.loads((tmp_path / "reports" / "index.json").read_text()).values()
    counts: dict[str, Counter[str]] = {}
    for name, case in cases.items():
        counts.setdefault(name.split(".")[0], Counter())[case["behavior"]] += 1
    for number, count in sorted(counts.items(), key=lambda item: int(item[0])):
        print(f"{ws} {http} {number}: {dict(count)}")
    record_property("autobahn", counts)
    assert len(cases) == CASES[group]
    fine = ("OK", "INFORMATIONAL")
    closed = [name for name, case in cases.items() if case["behaviorClose"] not in fine]
    assert closed == []
    assert {name for name, case in cases.items() if case["behavior"] not in fine} <= NOT_STRICT[ws]
    assert not [name for name, case in cases.items() if case["behavior"] == "FAILED"]
