"""`Config`: declared once, checked at once; and what kind of callable an application is."""

from __future__ import annotations

import functools
import inspect
import os
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import pytest

from uvicorn.config import Config, is_double_callable, options
from uvicorn.errors import ConfigError, StartupError
from uvicorn.main import main, run
from uvicorn.options import Option


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
        ({"workers": 0}, "--workers must be at least 1, not 0."),
        ({"backlog": 0}, "--backlog must be at least 1, not 0."),
        ({"timeout_keep_alive": -1}, "--timeout-keep-alive must be at least 0, not -1."),
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
        Config("app:app", **{name: "nonsense"})


def test_an_address_in_the_applications_place() -> None:
    with pytest.raises(ConfigError, match="The application comes first"):
        Config("127.0.0.1", 5000)  # type: ignore[arg-type]  # the slip that the sentence is for


def test_web_concurrency(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEB_CONCURRENCY", "3")
    assert Config("app:app").workers == 3
    assert Config("app:app", workers=2).workers == 2
    monkeypatch.setenv("WEB_CONCURRENCY", "many")
    with pytest.raises(ConfigError, match="WEB_CONCURRENCY must be a whole number of at least 1, not 'many'"):
        Config("app:app")


def test_when_a_master_is_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    assert os.getpid() != 1
    assert not Config("app:app").needs_master
    assert Config("app:app", workers=2).needs_master
    assert Config("app:app", supervise=True).needs_master
    assert not Config("app:app", supervise=False).needs_master
    with pytest.raises(ConfigError, match="--no-supervise serves with one process"):
        _ = Config("app:app", workers=2, supervise=False).needs_master
    monkeypatch.setenv("NOTIFY_SOCKET", "@there")
    assert Config("app:app").needs_master


# -- applications ----------------------------------------------------------------------------------------------


async def single(scope: Any, receive: Any, send: Any) -> None: ...


def double(scope: Any) -> Any:
    return single


class ClassOfTwo:
    def __init__(self, scope: Any) -> None: ...

    async def __call__(self, receive: Any, send: Any) -> None: ...


class InstanceOfThree:
    async def __call__(self, scope: Any, receive: Any, send: Any) -> None: ...


class InstanceOfTwo:
    def __call__(self, scope: Any) -> Any: ...


class PlainCallOfThree:
    def __call__(self, scope: Any, receive: Any, send: Any) -> Any: ...

    async def bound(self, scope: Any, receive: Any, send: Any) -> None: ...


class AwaitableOfThree:
    def __init__(self, scope: Any, receive: Any, send: Any) -> None: ...

    def __await__(self) -> Any: ...


async def with_more(extra: int, scope: Any, receive: Any, send: Any) -> None: ...


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
def test_asgi_2_and_3_are_told_apart(app: Any, is_double: bool) -> None:
    assert is_double_callable(app) is is_double


def test_load_resolves_the_interface() -> None:
    config = Config(ClassOfTwo)
    config.load()
    assert (config.interface, config.asgi_version) == ("asgi2", "2.0")
    config = Config(single)
    config.load()
    assert (config.interface, config.asgi_version, config.loaded_app) == ("asgi3", "3.0", single)


def make_app() -> Any:
    return single


def broken_factory() -> Any:
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
