"""Django as a WSGI application, from a folder it is installed into (it is not small): forms, uploads, streams."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from clients import connect
from programs import Start

pytestmark = pytest.mark.system
pytest.importorskip("a2wsgi")

SITE = """
import threading
import django
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import JsonResponse, StreamingHttpResponse
from django.urls import path

settings.configure(
    DEBUG=False, ALLOWED_HOSTS=["*"], ROOT_URLCONF=__name__, SECRET_KEY="only for a test",
    MIDDLEWARE=["django.middleware.common.CommonMiddleware"], SECURE_PROXY_SSL_HEADER=None,
)
seen = threading.Event()


def index(request):
    return JsonResponse({
        "url": request.build_absolute_uri(), "path_info": request.path_info, "q": request.GET.get("q"),
        "ip": request.META["REMOTE_ADDR"], "secure": request.is_secure(),
    })


def form(request):
    return JsonResponse({"name": request.POST["name"]})


def upload(request):
    sent = request.FILES["file"]
    return JsonResponse({"name": sent.name, "size": sum(map(len, sent.chunks())), "kind": type(sent).__name__})


def stream(request):
    def parts():
        yield b"first"
        assert seen.wait(15)
        yield b"second"
    return StreamingHttpResponse(parts(), content_type="text/plain")


def go_on(request):
    seen.set()
    return JsonResponse({})


def fails(request):
    raise ZeroDivisionError("in a view")


urlpatterns = [
    path("", index), path("form", form), path("upload", upload), path("stream", stream), path("go-on", go_on),
    path("fails", fails),
]
application = get_wsgi_application()
"""


@pytest.fixture(scope="session")
def django() -> str:
    """The folder to import Django from; empty where it is installed anyway."""
    if importlib.util.find_spec("django"):
        return ""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache / "uvicorn-django" / f"{sys.version_info[0]}.{sys.version_info[1]}"
    if not (folder / "complete").exists():
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        done = subprocess.run([*pip, "--target", folder, "Django>=5.2"], capture_output=True, text=True, timeout=600)
        if done.returncode:
            pytest.skip(f"Django cannot be installed: {done.stderr.strip().splitlines()[-1]}")
        (folder / "complete").touch()
    return str(folder)


@pytest.fixture
def port(start_program: Start, tmp_path: Path, django: str) -> int:
    (tmp_path / "site_of_ours.py").write_text(SITE)
    source = (
        f"import sys; sys.path[:0] = [{str(tmp_path)!r}, *filter(None, [{django!r}])]; import uvicorn; uvicorn.main()"
    )
    options = ("--interface", "wsgi", "--port", "0", "--root-path", "/shop")
    program = start_program(source, "site_of_ours:application", *options)
    return program.listens()


async def test_get_and_form(port: int) -> None:
    async with connect(port) as client:
        answer = await client.get("/?q=%C3%BC", "X-Forwarded-For: 192.0.2.7", "X-Forwarded-Proto: https")
        assert json.loads(answer.body) == {
            "url": "https://a/shop/?q=%C3%BC",
            "path_info": "/",
            "q": "ü",
            "ip": "192.0.2.7",
            "secure": True,
        }
        client.ask("/form", "Content-Type: application/x-www-form-urlencoded", method="POST", body=b"name=J%C3%BCrgen")
        assert json.loads((await client.answer()).body) == {"name": "Jürgen"}
        assert (await client.get("/fails")).status == 500
        assert (await client.get("/nowhere")).status == 404


async def test_an_upload_goes_to_a_file(port: int) -> None:
    size = 10 << 20
    head = b'--b\r\nContent-Disposition: form-data; name="file"; filename="f.bin"\r\n\r\n'
    async with connect(port) as client:
        body = head + bytes(size) + b"\r\n--b--\r\n"
        client.ask("/upload", "Content-Type: multipart/form-data; boundary=b", method="POST", body=body)
        told = json.loads((await client.answer()).body)
    assert told == {"name": "f.bin", "size": size, "kind": "TemporaryUploadedFile"}


async def test_a_stream_leaves_as_it_is_produced(port: int) -> None:
    async with connect(port) as client, connect(port) as other:
        client.ask("/stream")
        assert (await client.head())[0] == 200
        assert await client.chunk() == b"first"
        assert (await other.get("/go-on")).status == 200
        assert [await client.chunk(), await client.chunk()] == [b"second", b""]
