"""`Config`: declared once, checked at once; and what kind of callable an application is."""

from __future__ import annotations

import asyncio
import copy
import functools
import inspect
import os
import pickle
import socket
from collections.abc import Awaitable, Callable, Collection, Generator
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import pytest

from applications import App, Receive, Scope, Send
from servers import make_config
from uvicorn.config import Config, options
from uvicorn.errors import ConfigError, StartupError
from uvicorn.logging import LOGGING_CONFIG
from uvicorn.main import main, run
from uvicorn.settings import checks
from uvicorn.settings.application import is_double_callable
from uvicorn.settings.declared import Settings
from uvicorn.settings.options import Option


def plain(annotation: Any) -> Any:
    """What is annotated. Python 3.10 wraps an `Annotated` in an Optional of its own when the default is None."""
    for member in (annotation, *get_args(annotation)):
        if get_origin(member) is Annotated:
            return get_args(member)[0]
    return annotation


def test_run_repeats_the_signature_of_config() -> None:
    config, parameters = inspect.signature(Config.__init__).parameters, inspect.signature(run).parameters
    ours = [name for name in config if name not in ("self", "timeout_notify", "callback_notify")]
    assert ours == list(parameters)
    hints, run_hints = get_type_hints(Config.__init__, include_extras=True), get_type_hints(run)
    for name, parameter in parameters.items():
        assert parameter.default == config[name].default, name
        assert parameter.kind == config[name].kind, name
        assert plain(hints[name]) == run_hints[name], name


def test_the_declarations_are_all_there_is() -> None:
    names = [name for name in Settings.__annotations__ if name != "_"]
    assert names == list(inspect.signature(Config).parameters)
    settings = Config("app:app")
    assert set(names) <= set(vars(settings)) and not hasattr(settings, "__slots__")
    undeclared = {name for name in names if name not in options()}
    assert undeclared == {"timeout_notify", "callback_notify", "ssl_context_factory"}


def test_programs_find_the_logging_configuration_in_the_signature() -> None:
    assert inspect.signature(Config).parameters["log_config"].default is LOGGING_CONFIG
    assert inspect.signature(run).parameters["log_config"].default is LOGGING_CONFIG
    assert Config("app:app").log_config is LOGGING_CONFIG


def test_a_config_is_compared_by_identity_and_shows_no_value() -> None:
    config, other = Config("app:app", ssl_keyfile_password="secret"), Config("app:app", ssl_keyfile_password="secret")
    assert config != other and len({config, other, config}) == 2
    assert "secret" not in repr(config)


@pytest.mark.parametrize("through", [copy.copy, copy.deepcopy, lambda config: pickle.loads(pickle.dumps(config))])
def test_a_config_can_be_copied_and_pickled(through: Callable[[Config], Config]) -> None:
    config = Config("app:app", port=9, headers=[("a", "b")], workers=3, log_config=None)
    config.mine = 7  # type: ignore[attr-defined]  # programs set what they like
    made = through(config)
    assert vars(made) == vars(config) and made is not config
    made.port = 10
    assert config.port == 9


def test_a_subclass_may_have_class_attributes_and_an_init_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    class Mine(Config):
        storage: dict[str, int] | None = None

        def __init__(self, app: str, *, level: str, **settings: Any) -> None:
            self.level = level
            super().__init__(app, **settings)

    assert (Mine("app:app", level="x", port=9).level, Mine.storage) == ("x", None)
    original = Config.__init__
    seen: list[tuple[object, ...]] = []

    def patched(self: Config, *arguments: Any, **named: Any) -> None:
        seen.append(arguments)
        original(self, *arguments, **named)

    monkeypatch.setattr(Config, "__init__", patched)
    assert Config("app:app", "127.0.0.2").host == "127.0.0.2" and seen == [("app:app", "127.0.0.2")]


def test_only_settings_that_a_program_has_changed_are_checked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker would copy what it shares with its master."""
    checked: list[Settings] = []
    check = checks.check

    def noted(settings: Settings, words: dict[str, Collection[str]]) -> None:
        checked.append(settings)
        check(settings, words)

    monkeypatch.setattr(checks, "check", noted)
    config = Config("app:app", port=0, headers=[("a", "b")], log_config=None)
    checked.clear()
    config._settle_again()
    assert not checked
    config.headers.append(("b", "c"))
    config._settle_again()
    assert checked == [config]
    config.port = -1
    with pytest.raises(ConfigError, match="--port must be at least 0"):
        config._settle_again()


def test_every_option_has_a_flag_on_the_command_line() -> None:
    flags = {flag for parameter in main.params for flag in parameter.opts}
    assert {declared.flag for name, declared in options().items() if name != "app"} <= flags


def test_every_option_says_what_it_is_for() -> None:
    for declared in options().values():
        assert isinstance(declared.spec, Option)
        assert declared.spec.help.endswith(".")
        assert declared.spec.group


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"port": 70000}, "--port must be at most 65535, not 70000."),
        ({"port": -1}, "--port must be at least 0, not -1."),
        ({"timeout_keep_alive": float("nan")}, "--timeout-keep-alive must be a number, not nan."),
        ({"shutdown_delay": float("inf")}, "--shutdown-delay must be a number, not inf."),
        ({"limit_concurrency": -1}, "--limit-concurrency must be at least 0, not -1."),
        ({"timeout_queue": -1}, "--timeout-queue must be at least 0, not -1."),
        ({"log_level": "loud"}, "--log-level must be one of critical, error, warning, info, debug, trace, not 'loud'."),
        ({"lifespan": "maybe"}, "--lifespan must be one of auto, on, off, not 'maybe'."),
        ({"interface": "cgi"}, "--interface must be one of auto, asgi3, asgi2, wsgi, not 'cgi'."),
        ({"uds": "/tmp/x", "fd": 3}, "--uds and --fd cannot be used together: choose one."),
    ],
)
def test_a_bad_value_gets_a_sentence(values: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError) as raised:
        Config("app:app", **values)
    assert str(raised.value) == sentence


@pytest.mark.parametrize("name", ["loop", "http"])
def test_a_word_that_is_no_choice_and_no_import_string(name: str) -> None:
    with pytest.raises(ConfigError, match=rf"--{name} must be one of .*, or an import string"):
        make_config("app:app", **{name: "nonsense"})


def test_an_address_in_the_applications_place() -> None:
    with pytest.raises(ConfigError, match="The application comes first"):
        Config("127.0.0.1", 5000)  # type: ignore[arg-type]  # the slip that the sentence is for


def test_web_concurrency(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEB_CONCURRENCY", "3")
    assert Config("app:app").workers == 3
    assert Config("app:app", workers=2).workers == 2
    monkeypatch.setenv("WEB_CONCURRENCY", "many")
    with pytest.raises(ConfigError, match="WEB_CONCURRENCY must be a whole number or auto, not 'many'"):
        Config("app:app")


def test_when_a_master_is_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    assert os.getpid() != 1
    assert not Config("app:app").needs_master
    assert Config("app:app", workers=2).needs_master
    assert Config("app:app", supervise=True).needs_master
    assert not Config("app:app", supervise=False).needs_master
    with pytest.raises(ConfigError, match="--no-supervise runs one process"):
        _ = Config("app:app", workers=2, supervise=False).needs_master
    monkeypatch.setenv("NOTIFY_SOCKET", "@there")
    assert Config("app:app").needs_master


# -- applications ----------------------------------------------------------------------------------------------


async def single(scope: Scope, receive: Receive, send: Send) -> None: ...


async def second_half(receive: Receive, send: Send) -> None: ...


def double(scope: Scope) -> Callable[[Receive, Send], Awaitable[None]]:
    return second_half


class ClassOfTwo:
    def __init__(self, scope: Scope) -> None: ...

    async def __call__(self, receive: Receive, send: Send) -> None: ...


class InstanceOfThree:
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None: ...


class InstanceOfTwo:
    def __call__(self, scope: Scope) -> Callable[[Receive, Send], Awaitable[None]]:
        return second_half


class PlainCallOfThree:
    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        return single(scope, receive, send)

    async def bound(self, scope: Scope, receive: Receive, send: Send) -> None: ...


class AwaitableOfThree:
    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None: ...

    def __await__(self) -> Generator[None, None, None]:
        yield


async def with_more(extra: int, scope: Scope, receive: Receive, send: Send) -> None: ...


@pytest.mark.parametrize(
    ("app", "is_double"),
    [
        (single, False),
        (double, True),
        (ClassOfTwo, True),
        (InstanceOfThree(), False),
        (InstanceOfTwo(), True),
        (PlainCallOfThree(), False),
        (PlainCallOfThree().bound, False),
        (AwaitableOfThree, False),
        (functools.partial(with_more, 1), False),
        (functools.partial(double), True),
        (lambda scope, receive, send: single(scope, receive, send), False),
        (lambda scope: single, True),
        (lambda *arguments: single(*arguments), False),
    ],
)
def test_asgi_2_and_3_are_told_apart(app: Callable[..., object], is_double: bool) -> None:
    assert is_double_callable(app) is is_double


def test_load_resolves_the_interface() -> None:
    config = Config(ClassOfTwo)
    config.load()
    assert (config.interface, config.asgi_version) == ("asgi2", "2.0")
    config = Config(single)
    config.load()
    assert (config.interface, config.asgi_version, config.loaded_app) == ("asgi3", "3.0", single)


def make_app() -> App:
    return single


def broken_factory() -> App:
    raise ValueError("no settings")


def test_a_factory_is_called(caplog: pytest.LogCaptureFixture) -> None:
    config = Config(make_app, factory=True, log_config=None)
    config.load()
    assert config.loaded_app is single
    assert not caplog.records
    config = Config(make_app, log_config=None)
    config.load()
    assert config.loaded_app is single
    assert "ASGI app factory detected" in caplog.text


def test_a_factory_that_fails() -> None:
    config = Config(broken_factory, factory=True)
    with pytest.raises(StartupError, match="no settings") as raised, config.raising():
        config.load()
    assert isinstance(raised.value.__cause__, ValueError)


def test_what_is_not_callable_is_no_application() -> None:
    config = Config(7)  # type: ignore[arg-type]  # the fault under test
    with pytest.raises(StartupError, match="is not callable"), config.raising():
        config.load()


# -- as other people's code uses it ----------------------------------------------------------------------------


def test_attributes_and_properties() -> None:
    config = Config("a:b", reload=True, workers=3, interface="asgi2", headers=[("X-A", "1")])
    assert (config.use_subprocess, config.should_reload, config.asgi_version, config.is_ssl) == (
        True,
        True,
        "2.0",
        False,
    )
    assert config.headers == [("X-A", "1")]
    assert not config.loaded
    config = Config(single)
    assert (config.use_subprocess, config.should_reload, config.asgi_version, config.workers) == (
        False,
        False,
        "3.0",
        1,
    )
    assert config.headers == []
    config.h11_max_header_count = 7  # type: ignore[attr-defined]  # programs set what they like


def test_what_load_resolves() -> None:
    config = Config(single, ws="none", lifespan="off")
    config.load()
    assert config.loaded and config.loaded_app is single
    assert issubclass(config.http_protocol_class, asyncio.Protocol)
    assert config.ws_protocol_class is None
    assert config.lifespan_class.__name__ == "LifespanOff"
    with pytest.raises(AssertionError):
        config.load()


class ForeignProtocol(asyncio.Protocol):
    """A protocol class of another package."""


@pytest.mark.parametrize("given", [ForeignProtocol, f"{__name__}:ForeignProtocol"])
def test_protocols_of_others(given: type[ForeignProtocol] | str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, __name__, __import__("types").SimpleNamespace(**globals()))
    config = Config(single, http=given, ws=given)
    config.load()
    assert config.http_protocol_class is config.ws_protocol_class is ForeignProtocol


def test_an_application_given_as_a_property_of_the_class() -> None:
    """Monitoring agents replace `Config.loaded_app`."""

    class Watched(Config):
        @property
        def loaded_app(self) -> Any:  # what such agents do
            return ("watched", self.__dict__["loaded_app"])

        @loaded_app.setter
        def loaded_app(self, value: Any) -> None:
            self.__dict__["loaded_app"] = value

    config = Watched(single)
    config.load()
    assert config.loaded_app == ("watched", single)


@pytest.mark.parametrize(
    ("headers", "server_header", "encoded"),
    [
        ([], True, [(b"server", b"uvicorn")]),
        ([], False, []),
        ([("X-A", "1"), ["X-B", " 2 "]], True, [(b"server", b"uvicorn"), (b"x-a", b"1"), (b"x-b", b"2")]),
        ([("Server", "mine")], True, [(b"server", b"mine")]),
        ([("Server", "mine")], False, [(b"server", b"mine")]),
        ([("X-L", "\xe9")], False, [(b"x-l", b"\xe9")]),
    ],
)
def test_encoded_headers(
    headers: list[tuple[str, str]], server_header: bool, encoded: list[tuple[bytes, bytes]]
) -> None:
    config = Config(single, headers=headers, server_header=server_header)
    config.load()
    assert config.encoded_headers == encoded


@pytest.mark.parametrize(
    "pair",
    [("a b", "c"), ("", "c"), ("a", "b\r\nc: d"), ("a", "\0"), ("a", "\u20ac"), ("\xe9", "c"), ("Content-Length", "1")],
)
def test_a_header_that_cannot_be_sent(pair: tuple[str, str]) -> None:
    with pytest.raises(ConfigError, match=r"^--header "):
        Config(single, headers=[pair])


def test_who_loads_by_hand_leaves_with_3_and_hears_why(caplog: pytest.LogCaptureFixture) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        config = Config("nowhere:app", port=taken.getsockname()[1], loop="nowhere:loop", log_config=None)
        for call, words in (
            (config.load, "Error loading ASGI app"),
            (config.load_app, "Error loading ASGI app"),
            (config.bind_socket, "the port is in use"),
            (config.get_loop_factory, 'Could not import module "nowhere"'),
        ):
            caplog.clear()
            with pytest.raises(SystemExit) as raised:
                call()
            assert raised.value.code == 3
            assert words in caplog.text
            caplog.clear()
            with pytest.raises(StartupError, match=words), config.raising():
                call()
            assert not caplog.records


def test_setup_event_loop_says_what_replaced_it() -> None:
    with pytest.raises(AttributeError, match="was replaced by `get_loop_factory`"):
        Config(single).setup_event_loop()


def make_loop() -> asyncio.AbstractEventLoop:
    return asyncio.new_event_loop()


def test_loops() -> None:
    assert Config(single, loop="none").get_loop_factory() is None
    assert Config(single, loop="asyncio").get_loop_factory() is asyncio.new_event_loop
    assert Config(single, loop=make_loop).get_loop_factory() is make_loop  # type: ignore[arg-type]  # people do it
    config = Config(single, loop="zuvloop")
    with pytest.raises(StartupError, match="Choose auto, asyncio or uvloop"), config.raising():
        config.get_loop_factory()


async def test_a_loop_object_is_no_fault_until_it_should_make_loops() -> None:
    config = Config(single, loop=asyncio.get_running_loop())  # type: ignore[arg-type]  # people do it
    config.load()
    with pytest.raises(StartupError, match=r"await server\.serve"), config.raising():
        config.get_loop_factory()
