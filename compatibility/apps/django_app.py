"""The routes in Django, its WebSockets by Channels. Neither takes part in ASGI's lifespan."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import django
from django.conf import settings

settings.configure(
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    SECRET_KEY="not one",
    DATA_UPLOAD_MAX_MEMORY_SIZE=64 << 20,
    LOGGING_CONFIG=None,
    INSTALLED_APPS=["channels"],
    MIDDLEWARE=["django.middleware.common.CommonMiddleware"],
)
django.setup()

from channels.exceptions import DenyConnection  # noqa: E402  (Django has to be set up first)
from channels.generic.websocket import AsyncWebsocketConsumer, WebsocketConsumer  # noqa: E402
from channels.routing import ProtocolTypeRouter, URLRouter  # noqa: E402
from django.core.asgi import get_asgi_application  # noqa: E402
from django.http import (  # noqa: E402
    FileResponse,
    HttpRequest,
    HttpResponse,
    HttpResponseRedirect,
    JsonResponse,
    StreamingHttpResponse,
)
from django.urls import path  # noqa: E402
from notes import FAILS, note  # noqa: E402

if FAILS:
    raise RuntimeError("no database")

release = asyncio.Event()
tasks: set[asyncio.Task[None]] = set()


def hello(request: HttpRequest) -> HttpResponse:
    return HttpResponse("hello", content_type="text/plain")


def described(request: HttpRequest, rest: str = "") -> HttpResponse:
    fields = sorted(request.headers.items())
    query = [[name, request.GET.getlist(name)] for name in request.GET]
    facts = {"method": request.method, "path": request.path, "rest": rest, "query": query, "fields": fields}
    return JsonResponse({**facts, "client": request.META["REMOTE_ADDR"], "scheme": request.scheme})


def body(request: HttpRequest) -> HttpResponse:
    return JsonResponse({"size": len(request.body), "sha256": hashlib.sha256(request.body).hexdigest()})


async def form(request: HttpRequest) -> HttpResponse:
    return JsonResponse([[name, request.POST.getlist(name)] for name in request.POST], safe=False)


def upload(request: HttpRequest) -> HttpResponse:
    file: Any = request.FILES["file"]
    data = file.read()
    facts = {"name": file.name, "size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    return JsonResponse({**facts, "title": request.POST["title"]})


async def stream(request: HttpRequest) -> StreamingHttpResponse:
    async def parts() -> AsyncIterator[str]:
        for number in range(5):
            yield f"part {number}\n"
            await asyncio.sleep(0)

    return StreamingHttpResponse(parts(), content_type="text/plain")


async def events(request: HttpRequest) -> StreamingHttpResponse:
    async def endless() -> AsyncIterator[str]:
        try:
            for number in range(100_000):
                yield f"event: tick\ndata: {number}\n\n"
                await asyncio.sleep(0.01)
        finally:
            note("events ended")

    return StreamingHttpResponse(endless(), content_type="text/event-stream")


async def background(request: HttpRequest) -> HttpResponse:
    async def work() -> None:
        try:
            await asyncio.wait_for(release.wait(), 10)
        except asyncio.TimeoutError:
            note("background was never released")
        else:
            note("background done")
        release.clear()

    task = asyncio.create_task(work())
    tasks.add(task)
    task.add_done_callback(tasks.discard)
    return HttpResponse("accepted", status=202, content_type="text/plain")


async def released(request: HttpRequest) -> HttpResponse:
    release.set()
    return HttpResponse("released", content_type="text/plain")


def refused(request: HttpRequest) -> HttpResponse:
    return HttpResponse("no coffee", status=418)


def fails(request: HttpRequest) -> HttpResponse:
    raise RuntimeError("before the start")


async def fails_late(request: HttpRequest) -> StreamingHttpResponse:
    async def parts() -> AsyncIterator[str]:
        yield "begin\n"
        raise RuntimeError("after the start")

    return StreamingHttpResponse(parts(), content_type="text/plain")


async def waits(request: HttpRequest) -> HttpResponse:
    note("waiting")
    try:
        await asyncio.sleep(20)
    except asyncio.CancelledError:
        note("heard http.disconnect True")
        raise
    return HttpResponse("nobody left")


def empty(request: HttpRequest) -> HttpResponse:
    return HttpResponse(status=204)


def unmodified(request: HttpRequest) -> HttpResponse:
    return HttpResponse(status=304, headers={"etag": '"1"'})


def redirect(request: HttpRequest) -> HttpResponse:
    return HttpResponseRedirect("/", status=303)


def cookies(request: HttpRequest) -> HttpResponse:
    response = HttpResponse(",".join(f"{name}={value}" for name, value in request.COOKIES.items()))
    response.set_cookie("one", "1")
    response.set_cookie("two", "2", httponly=True)
    return response


def file(request: HttpRequest) -> FileResponse:
    return FileResponse((Path(__file__).parent / "poem.txt").open("rb"))


def large(request: HttpRequest) -> HttpResponse:
    return HttpResponse(bytes(range(256)) * 40_960, content_type="application/octet-stream")


class Echo(AsyncWebsocketConsumer):
    async def connect(self) -> None:
        await self.accept(headers=[(b"x-greeting", b"hello")])

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        await self.send(text_data=text_data, bytes_data=bytes_data)

    async def disconnect(self, code: int) -> None:
        note("websocket left", code)


class Subprotocol(WebsocketConsumer):
    def connect(self) -> None:
        offered = self.scope["subprotocols"]
        self.accept("chat.v2" if "chat.v2" in offered else None)
        self.send(",".join(offered))
        self.close()


class Denied(AsyncWebsocketConsumer):
    async def connect(self) -> None:
        raise DenyConnection


class Closes(AsyncWebsocketConsumer):
    async def connect(self) -> None:
        await self.accept()
        await self.close(4001, "enough")


class Fails(AsyncWebsocketConsumer):
    async def connect(self) -> None:
        await self.accept()
        raise RuntimeError("in a WebSocket")


class FailsEarly(AsyncWebsocketConsumer):
    async def connect(self) -> None:
        raise RuntimeError("before the accept")


VIEWS: dict[str, Callable[..., HttpResponse | StreamingHttpResponse | Awaitable[Any]]] = {
    "": hello,
    "request": described,
    "request/<path:rest>": described,
    "body": body,
    "form": form,
    "upload": upload,
    "stream": stream,
    "events": events,
    "background": background,
    "release": released,
    "refused": refused,
    "fails": fails,
    "fails-late": fails_late,
    "waits": waits,
    "empty": empty,
    "unmodified": unmodified,
    "redirect": redirect,
    "cookies": cookies,
    "file": file,
    "large": large,
}
CONSUMERS: dict[str, Any] = {
    "ws/echo": Echo,
    "ws/subprotocol": Subprotocol,
    "ws/denied": Denied,
    "ws/closes": Closes,
    "ws/fails": Fails,
    "ws/fails-early": FailsEarly,
}
urlpatterns = [path(route, view) for route, view in VIEWS.items()]

sockets = URLRouter([path(route, consumer.as_asgi()) for route, consumer in CONSUMERS.items()])
app = ProtocolTypeRouter({"http": get_asgi_application(), "websocket": sockets})
