"""Flask as its users have it: forms, uploads, streams, errors, a prefix; and without `--interface wsgi`."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from clients import connect
from servers import make_server, serving

pytest.importorskip("a2wsgi")
pytest.importorskip("flask")

import flask

SIZE = 10 << 20


@pytest.fixture
def app() -> flask.Flask:
    app = flask.Flask(__name__)

    @app.get("/")
    def index() -> dict[str, object]:
        request = flask.request
        return {"url": request.url, "root": request.script_root, "q": request.args.get("q"), "ip": request.remote_addr}

    @app.post("/form")
    def form() -> dict[str, object]:
        return {"name": flask.request.form["name"]}

    @app.post("/file")
    def file() -> dict[str, object]:
        sent = flask.request.files["file"]
        return {"name": sent.filename, "size": len(sent.read()), "note": flask.request.form["note"]}

    @app.post("/raw")
    def raw() -> dict[str, object]:
        return {"size": len(flask.request.get_data())}

    @app.get("/stream")
    def stream() -> flask.Response:
        def parts() -> Iterator[str]:
            yield "first"
            assert app.config["seen"].wait(15)
            yield "second"

        return flask.Response(parts(), mimetype="text/plain")

    @app.get("/fails")
    def fails() -> str:
        raise ZeroDivisionError("in a view")

    app.config["seen"] = threading.Event()
    return app


async def test_get(app: flask.Flask) -> None:
    options = {"interface": "wsgi", "root_path": "/shop", "forwarded_allow_ips": "127.0.0.1"}
    async with serving(app, **options) as server, connect(server) as client:
        answer = await client.get("/?q=%C3%BC", "X-Forwarded-For: 192.0.2.7", "X-Forwarded-Proto: https")
        told = flask.json.loads(answer.body)
        assert told == {"url": "https://a/shop/?q=ü", "root": "/shop", "q": "ü", "ip": "192.0.2.7"}
        client.ask("/", method="HEAD")
        status, headers = await client.head()
        assert status == 200 and int(headers["content-length"]) > 0
        assert (await client.get("/nowhere")).status == 404
        assert (await client.get("/fails")).status == 500


async def test_a_form(app: flask.Flask) -> None:
    async with serving(app, interface="wsgi") as server, connect(server) as client:
        kind = "Content-Type: application/x-www-form-urlencoded"
        client.ask("/form", kind, method="POST", body=b"name=J%C3%BCrgen&x=1")
        assert flask.json.loads((await client.answer()).body) == {"name": "Jürgen"}


def multipart(size: int) -> bytes:
    return (
        b'--b\r\nContent-Disposition: form-data; name="note"\r\n\r\nhello\r\n'
        b'--b\r\nContent-Disposition: form-data; name="file"; filename="f.bin"\r\n\r\n' + bytes(size) + b"\r\n--b--\r\n"
    )


async def test_an_upload(app: flask.Flask) -> None:
    async with serving(app, interface="wsgi") as server, connect(server) as client:
        client.ask("/file", "Content-Type: multipart/form-data; boundary=b", method="POST", body=multipart(SIZE))
        assert flask.json.loads((await client.answer()).body) == {"name": "f.bin", "size": SIZE, "note": "hello"}


async def test_a_body_without_a_length(app: flask.Flask) -> None:
    async with serving(app, interface="wsgi") as server, connect(server) as client:
        client.send(b"POST /raw HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(8):
            client.send(b"2710\r\n" + bytes(10_000) + b"\r\n")
        client.send(b"0\r\n\r\n")
        assert flask.json.loads((await client.answer()).body) == {"size": 80_000}


async def test_a_stream(app: flask.Flask) -> None:
    async with serving(app, interface="wsgi") as server, connect(server) as client:
        client.ask("/stream")
        assert (await client.head())[0] == 200
        assert await client.chunk() == b"first"
        app.config["seen"].set()
        assert [await client.chunk(), await client.chunk()] == [b"second", b""]


def test_without_the_option_a_sentence_says_to_use_it(app: flask.Flask, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(SystemExit) as left:
        make_server(app).config.load()
    assert left.value.code == 3
    assert "Serve WSGI applications with --interface wsgi." in caplog.text
