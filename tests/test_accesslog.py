"""Access log formats: what each atom says, what is refused, and that a line stays one printable line of ASCII."""

from __future__ import annotations

import json
import logging
import os
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from applications import Receive, Scope, Send
from uvicorn.config import Config
from uvicorn.errors import ConfigError
from uvicorn.logs.formats import FORMATS, LONGEST, AccessRecord, RequestFormatter, compiled, escaped

USUAL = AccessRecord(
    client=("192.0.2.1", 1234),
    method="GET",
    target="/api/x?a=b",
    http_version="1.1",
    line=b"",
    fields=[(b"host", b"a"), (b"user-agent", b"ua/1"), (b"referer", b"http://r/"), (b"x-request-id", b"r1")],
    status=200,
    head=b"HTTP/1.1 200 OK\r\nServer: me\r\ncontent-length: 3\r\n\r\n",
    sent=3,
    duration=1.2345678,
    whole=True,
    request_id="id1",
)
UNREAD = USUAL._replace(method="", target="", http_version="", line=b'\x1b[31mGET "/', fields=[], status=400, head=b"")


async def app(scope: Scope, receive: Receive, send: Send) -> None: ...


def field(name: bytes, value: bytes) -> AccessRecord:
    return USUAL._replace(fields=[(name, value)])


@pytest.mark.parametrize(
    ("atom", "exchange", "text"),
    [
        ("h", USUAL, "192.0.2.1"),
        ("h", USUAL._replace(client=None), "-"),
        ("h", USUAL._replace(client=("fe80::1%\x9b2J\n", 0)), "fe80::1%\\xC2\\x9B2J\\x0A"),
        ("l", USUAL, "-"),
        ("u", USUAL, "-"),
        ("u", field(b"authorization", b"Basic am8gZTpwdw=="), "jo\\x20e"),
        ("u", field(b"authorization", b"Basic !"), "-"),
        ("u", field(b"authorization", b"Bearer am8gZTpwdw=="), "-"),
        ("r", USUAL, "GET /api/x?a=b HTTP/1.1"),
        ("r", USUAL._replace(target='/"\\'), "GET /\\x22\\x5C HTTP/1.1"),
        ("r", UNREAD, "\\x1B[31mGET \\x22/"),
        ("m", USUAL, "GET"),
        ("m", UNREAD, "-"),
        ("U", USUAL, "/api/x"),
        ("q", USUAL, "a=b"),
        ("H", USUAL, "HTTP/1.1"),
        ("s", USUAL, "200"),
        ("B", USUAL, "3"),
        ("b", USUAL, "3"),
        ("b", USUAL._replace(sent=0), "-"),
        ("B", USUAL._replace(sent=0), "0"),
        ("f", USUAL, "http://r/"),
        ("a", USUAL, "ua/1"),
        ("a", field(b"user-agent", b'\x1b[2J"\xe4\\'), "\\x1B[2J\\x22\\xE4\\x5C"),
        ("a", field(b"user-agent", b"x" * (LONGEST + 1)), "x" * LONGEST + "..."),
        ("a", UNREAD, "-"),
        ("T", USUAL, "1"),
        ("M", USUAL, "1234"),
        ("D", USUAL, "1234567"),
        ("L", USUAL, "1.234568"),
        ("p", USUAL, f"<{os.getpid()}>"),
        ("X", USUAL, "+"),
        ("X", USUAL._replace(whole=False), "X"),
        ("request_id", USUAL, "id1"),
        ("{X-Request-ID}i", USUAL, "r1"),
        ("{absent}i", USUAL, "-"),
        ("{accept}i", USUAL._replace(fields=[(b"accept", b"a"), (b"accept", b"b")]), "a, b"),
        ("{server}o", USUAL, "me"),
        ("{absent}o", USUAL, "-"),
        ("{ACCESS_TEST}e", USUAL, "v\\x0A"),
    ],
)
def test_an_atom(atom: str, exchange: AccessRecord, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCESS_TEST", "v\n")
    assert compiled(f"<%({atom})s>%%")(exchange) == f"<{text}>%"


def test_the_common_formats() -> None:
    begin = r'192\.0\.2\.1 - - \[\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}\] "GET /api/x\?a=b HTTP/1\.1" 200 3'
    assert re.fullmatch(begin, compiled("common")(USUAL))
    assert re.fullmatch(begin + ' "http://r/" "ua/1"', compiled("combined")(USUAL))
    assert compiled(FORMATS["common"])(USUAL).startswith("192.0.2.1 - - [")
    assert compiled("%(s)5s|%(s)-5s|%(s)d|%(m).1s")(USUAL) == "  200|200  |200|G"


def test_json() -> None:
    told = json.loads(compiled("json")(USUAL))
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", told.pop("time"))
    assert told == {
        "client": "192.0.2.1",
        "method": "GET",
        "path": "/api/x",
        "query": "a=b",
        "http_version": "1.1",
        "status": 200,
        "bytes": 3,
        "duration": 1.234568,
        "complete": True,
        "request_id": "id1",
        "host": "a",
        "referer": "http://r/",
        "user_agent": "ua/1",
        "pid": os.getpid(),
    }
    told = json.loads(compiled("json")(UNREAD._replace(client=None, request_id="")))
    assert told["line"] == '\x1b[31mGET "/'
    assert told["client"] is told["method"] is told["path"] is told["request_id"] is told["user_agent"] is None


@pytest.mark.parametrize(
    ("wanted", "sentence"),
    [
        ("jsn", "not 'jsn'; did you mean json?"),
        ("", "must be one of uvicorn, common, combined, json, or a format string"),
        ("%(reqest_id)s", "there is no %(reqest_id)s; did you mean request_id?"),
        ("%({x-request-id})s", "did you mean {x-request-id}i?"),
        ("%(z)s", "there is no %(z)s; there are h l u t"),
        ("%(h)x", "a % that does not start an atom"),
        ("%h", "a % that does not start an atom"),
        ("%(h)s\n", "one line without control characters"),
    ],
)
def test_what_is_no_format(wanted: str, sentence: str) -> None:
    with pytest.raises(ConfigError, match=r"^--access-log-format") as raised:
        Config(app, access_log_format=wanted)
    assert sentence in str(raised.value)


fields = st.lists(st.tuples(st.sampled_from([b"user-agent", b"referer", b"host", b"authorization"]), st.binary()))
exchanges = st.builds(
    USUAL.__class__,
    client=st.none() | st.tuples(st.text(), st.integers(0, 65535)),
    method=st.sampled_from(["", "GET"]),
    target=st.text(),
    http_version=st.sampled_from(["1.0", "1.1"]),
    line=st.binary(),
    fields=fields,
    status=st.integers(100, 999),
    head=st.binary().map(lambda value: b"HTTP/1.1 200 OK\r\nserver: " + value + b"\r\n\r\n"),
    sent=st.integers(0),
    duration=st.floats(0, 1e6),
    whole=st.booleans(),
    request_id=st.text(),
)
QUOTED = compiled('"%(h)s" "%(u)s" "%(r)s" "%(U)s" "%(q)s" "%(f)s" "%(a)s" "%({server}o)s" "%(request_id)s"')
JSON = compiled("json")


@given(exchanges)
def test_one_request_is_one_line_whatever_bytes(exchange: AccessRecord) -> None:
    line = QUOTED(exchange)
    assert line.isascii() and line.isprintable() and line.count('"') == 18
    line = JSON(exchange)
    assert line.isascii() and line.isprintable()
    told = json.loads(line)
    json.dumps(told, ensure_ascii=False).encode()  # no lone surrogates
    assert told["status"] == exchange.status


@given(st.text() | st.binary())
def test_escaping_tells_different_values_apart(value: str | bytes) -> None:
    data = value if isinstance(value, bytes) else value.encode("utf-8", "surrogatepass")
    back = re.sub(r"\\x(..)", lambda match: chr(int(match[1], 16)), escaped(value, 1 << 20)).encode("latin-1")
    assert back == data


def test_somebody_elses_record_is_a_line_too() -> None:
    record = logging.LogRecord("uvicorn.access", logging.INFO, "", 1, 'a "%s"\n', ("b",), None)
    assert RequestFormatter("common").format(record) == "a \\x22b\\x22\\x0A"
    assert json.loads(RequestFormatter("json").format(record))["message"] == 'a "b"\n'
