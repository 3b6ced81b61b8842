"""`"module:attribute"` → object, and the error when there is none."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import uvicorn
from uvicorn.errors import ExitCode, describe_failure
from uvicorn.importer import ImportFromStringError, import_from_string

Write = Callable[[str, str], None]


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """module(name, source) → importable until the test is over."""
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)

    def write(name: str, source: str) -> None:
        path = tmp_path.joinpath(*name.split("."))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.with_suffix(".py").write_text(source)

    yield write
    for name in set(sys.modules) - before:
        del sys.modules[name]


def failure(text: str) -> ImportFromStringError:
    with pytest.raises(ImportFromStringError) as caught:
        import_from_string(text)
    assert caught.value.exit_code is ExitCode.STARTUP
    return caught.value


def test_an_attribute(module: Write) -> None:
    module("one", "class Inner:\n    value = 7\n")
    assert import_from_string("one:Inner").value == 7
    assert import_from_string("one:Inner.value") == 7


def test_a_module_in_a_package(module: Write) -> None:
    module("pack.two", "value = 8")
    assert import_from_string("pack.two:value") == 8


def test_what_is_no_string_stays_what_it_is() -> None:
    thing = object()
    assert import_from_string(thing) is thing


@pytest.mark.parametrize("text", ["one", ":app", "one:", "", ":"])
def test_another_form(text: str) -> None:
    assert str(failure(text)) == f'Import string "{text}" must be in format "<module>:<attribute>".'


@pytest.mark.parametrize(("text", "missing"), [("nowhere:app", "nowhere"), ("nowhere.at.all:app", "nowhere")])
def test_a_module_that_is_not_there(text: str, missing: str) -> None:
    fault = failure(text)
    assert f'Could not import module "{text[:-4]}": there is no module "{missing}"' in str(fault)
    assert fault.__cause__ is None and describe_failure(fault) == str(fault)


def test_a_module_that_is_not_there_in_a_package_that_is(module: Write) -> None:
    module("pack.two", "")
    assert 'there is no module "pack.three"' in str(failure("pack.three:app"))


def test_a_module_below_a_plain_module(module: Write) -> None:
    module("one", "")
    assert "one.two" in str(failure("one.two:app"))


@pytest.mark.parametrize("text", ["one:nothing", "one:value.nothing"])
def test_an_attribute_that_is_not_there(module: Write, text: str) -> None:
    module("one", "value = 1")
    assert str(failure(text)) == f'Attribute "{text[4:]}" not found in module "one".'


@pytest.mark.parametrize(
    ("source", "kind"),
    [
        ("1 / 0", ZeroDivisionError),
        ("import nowhere_else", ModuleNotFoundError),
        ("from os import nothing_there", ImportError),
        ("def broken(:", SyntaxError),
        ("raise AttributeError('x')", AttributeError),
    ],
)
def test_a_fault_inside_the_module_is_told_with_its_traceback(
    module: Write, source: str, kind: type[Exception]
) -> None:
    module("one", source)
    fault = failure("one:app")
    assert str(fault) == 'Could not import module "one".'
    assert type(fault.__cause__) is kind
    text = describe_failure(fault)
    assert text.endswith(f"\n{fault}") and "one.py" in text and "importlib" not in text
    assert str(Path(uvicorn.__file__).parent) not in text


def test_a_name_that_begins_like_the_module_is_a_fault_inside_it(module: Write) -> None:
    """`appx` missing inside `app` is not "there is no module app"."""
    module("one", "import onex")
    assert str(failure("one:app")) == 'Could not import module "one".'


def test_leaving_while_imported_is_not_caught(module: Write) -> None:
    module("one", "raise SystemExit(9)")
    with pytest.raises(SystemExit):
        import_from_string("one:app")
