"""Habits and mistakes on the command line: the error names the right form, and the option as it was typed."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from programs import Start
from uvicorn.config import Config
from uvicorn.importer import ImportFromStringError, import_from_string
from uvicorn.launch.sources import misspelt_variables
from uvicorn.main import main
from uvicorn.surface import foreign

MOVING = (Path(__file__).resolve().parents[1] / "docs" / "moving.md").read_text(encoding="utf-8")


def refused(*arguments: str) -> str:
    """The output of the command on one line; its exit code has to be 2."""
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 2, result.output
    return " ".join(result.output.split())


# -- variables -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("UVICORN_PORT", "http", "Invalid value for UVICORN_PORT: 'http' is not a valid integer."),
        ("UVICORN_PORT", "70000", "UVICORN_PORT must be at most 65535, not 70000."),
        ("UVICORN_LIFESPAN", "maybe", "Invalid value for UVICORN_LIFESPAN: 'maybe' is not one of"),
        ("UVICORN_RELOAD", "perhaps", "Invalid value for UVICORN_RELOAD: 'perhaps' is not a valid boolean"),
        ("UVICORN_HTTP", "spdy", "UVICORN_HTTP must be one of auto, h11, httptools, or an import string"),
        ("UVICORN_HEADERS", "x", "UVICORN_HEADERS must be Name:Value, not 'x'."),
        ("UVICORN_ENV_FILE", "nowhere", "Invalid value for UVICORN_ENV_FILE: Path 'nowhere' does not exist."),
        ("UVICORN_SSL_KEYFILE", "key.pem", "UVICORN_SSL_KEYFILE needs --ssl-certfile."),
        ("UVICORN_LIMIT_WORKER_MEMORY", "much", "UVICORN_LIMIT_WORKER_MEMORY must be a size"),
        ("WEB_CONCURRENCY", "many", "WEB_CONCURRENCY must be a whole number or auto, not 'many'."),
        ("FORWARDED_ALLOW_IPS", "1.2.3", "FORWARDED_ALLOW_IPS: '1.2.3' is not an address or a network."),
        ("UVICORN_CONFIG", "nowhere.toml", "Cannot read the configuration file nowhere.toml"),
    ],
)
def test_a_fault_names_the_variable_it_came_from(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, sentence: str
) -> None:
    monkeypatch.setenv(name, value)
    assert sentence in refused("good:app")


def test_a_fault_of_an_argument_or_a_file_does_not(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("UVICORN_PORT", "8000")
    assert "--port must be at most 65535, not 70000." in refused("good:app", "--port", "70000")
    monkeypatch.setenv("UVICORN_UDS", "x")
    assert "UVICORN_UDS and --fd cannot be used together" in refused("good:app", "--fd", "3")
    if sys.version_info >= (3, 11):
        Path("uvicorn.toml").write_text('http = "spdy"')
        assert "uvicorn.toml: http must be one of auto, h11" in refused("good:app", "--config", "uvicorn.toml")


@pytest.mark.parametrize("value", ["tcp://10.0.0.1:80", "udp://10.0.0.1:80"])
def test_what_kubernetes_sets_for_a_service_of_our_name(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("UVICORN_PORT", value)
    text = refused("good:app")
    assert f"UVICORN_PORT is '{value}': Kubernetes sets it" in text and "enableServiceLinks: false" in text
    assert "--print-config" not in text
    result = CliRunner().invoke(main, ["good:app", "--port", "80", "--print-config"])
    assert result.exit_code == 0 and "port = 80  # command line" in result.output


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("UVICORN_WORKRES", "UVICORN_WORKERS"),
        ("UVICORN_PROT", "UVICORN_PORT"),
        ("UVICORN_HEADER", "UVICORN_HEADERS"),
        ("UVICORN_RELOAD_DIR", "UVICORN_RELOAD_DIRS"),
        ("UVICORN_LOGLEVEL", "UVICORN_LOG_LEVEL"),
        ("UVICORN_LOG-LEVEL", "UVICORN_LOG_LEVEL"),
        ("uvicorn_port", "UVICORN_PORT"),
        ("UVICORN_CONFG", "UVICORN_CONFIG"),
    ],
)
def test_a_variable_that_is_nearly_an_option(name: str, meant: str) -> None:
    assert misspelt_variables({name: "1"}) == [f"The variable {name} has no effect: did you mean {meant}?"]


@pytest.mark.parametrize(
    "name",
    [
        *("UVICORN_PORT", "UVICORN_CONFIG", "UVICORN_APP", "UVICORN_SERVICE_HOST", "UVICORN_SERVICE_PORT"),
        *("UVICORN_SERVICE_PORT_HTTP", "UVICORN_PORT_8000_TCP", "UVICORN_PORT_8000_TCP_ADDR", "UVICORN_VERSION"),
        *("UVICORN_WEB_SERVICE_HOST", "UVICORN_WEB_PORT_80_TCP_PORT", "UVICORN_MY_OWN", "UVICORN_", "PORT", "UVICORN"),
    ],
)
def test_a_variable_of_somebody_else(name: str) -> None:
    assert misspelt_variables({name: "80"}) == []


def test_a_service_link_is_no_slip() -> None:
    assert misspelt_variables({"UVICORN_HOSTS": "tcp://10.0.0.1:80"}) == []


@pytest.mark.parametrize("workers", ["1", "2"])
def test_the_command_warns_once_of_a_variable(start_command: Start, tmp_path: Path, workers: str) -> None:
    (tmp_path / "good.py").write_text("async def app(scope, receive, send): raise RuntimeError\n")
    program = start_command("good:app", "--port", "0", "--workers", workers, env={"UVICORN_WORKRES": "4"})
    program.listens()
    assert program.text.count("The variable UVICORN_WORKRES has no effect: did you mean UVICORN_WORKERS?") == 1


# -- options of other servers ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--bind", "0.0.0.0:80"], "There is no option --bind. Use --host 0.0.0.0 --port 80."),
        (["--bind=[::]:80"], "There is no option --bind. Use --host :: --port 80."),
        (["-b", ":8000"], "There is no option -b. Use --port 8000."),
        (["-b", "unix:/run/app.sock"], "There is no option -b. Use --uds /run/app.sock."),
        (["-b", "fd://3"], "There is no option -b. Use --fd 3."),
        (["-b"], "There is no option -b. Use --host HOST --port PORT."),
        (["-w", "4"], "There is no option -w. Use --workers 4."),
        (["-w4"], "There is no option -w. Use --workers 4."),
        (["-k", "uvicorn.workers.UvicornWorker"], "There is no option -k. Leave it out: there is one kind of worker."),
        (["--threads", "4"], "There is no option --threads. Leave it out: each worker runs one event loop"),
        (["--graceful-timeout", "9"], "There is no option --graceful-timeout. Use --timeout-graceful-shutdown 9."),
        (["--preload"], "There is no option --preload. Leave it out: the master never imports the application"),
        (["-p", "80"], "There is no option -p. Use --port PORT, or --pid FILE."),
        (["-h"], "There is no option -h. Use --help."),
        (["--daemon"], "a service manager does that"),
        (["--prot", "80"], "--port"),
    ],
)
def test_an_option_of_another_server(arguments: list[str], sentence: str) -> None:
    assert sentence in refused("good:app", *arguments)
    assert sentence in refused(*arguments, *([] if arguments == ["-b"] else ["good:app"]))


def test_whatever_moving_md_lists_has_a_sentence() -> None:
    ours = {flag for parameter in main.params for flag in (*parameter.opts, *parameter.secondary_opts)}
    theirs = {
        name
        for line in MOVING.splitlines()
        if line.startswith("|")
        for name in re.findall(r"`(--[\w-]+)`", line[: line.find("|", 1)])
    }
    assert len(theirs) > 100
    assert {name for name in theirs - ours if not foreign.option(name)} == set()


def test_an_option_has_one_sentence_and_it_names_ours() -> None:
    ours = {flag for parameter in main.params for flag in (*parameter.opts, *parameter.secondary_opts)} | {"--help"}
    listed = [name for names in (*foreign._USE.values(), *foreign._LEAVE.values()) for name in names.split()]
    assert len(listed) == len(set(listed))
    assert not ours & set(listed)
    for words in (*foreign._USE, *foreign._LEAVE):
        assert set(re.findall(r"--[a-z][\w-]+", words)) <= ours, words


# -- the application -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("app.py", "app:app"),
        ("main.py:api", "main:api"),
        ("./main.py", "main:app"),
        ("app/main.py", "app.main:app"),
        ("app/main.py:api", "app.main:api"),
        ("app/main:app", "app.main:app"),
        ("app\\main.py:app", "app.main:app"),
        ("app/__init__.py", "app:app"),
        ("/srv/shop/main.py:app", "main:app with --app-dir /srv/shop"),
        ("../shop/main.py", "main:app with --app-dir ../shop"),
    ],
)
def test_a_file_in_the_place_of_a_module(
    text: str, right: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("app.py", "main.py"):
        (tmp_path / name).write_text("raise RuntimeError('imported')\n")
    with pytest.raises(ImportFromStringError) as caught:
        import_from_string(text)
    assert str(caught.value).endswith(f"Name the module as in an import, not by its file: {right}.")
    assert str(caught.value).startswith(f'Import string "{text}" must be in format "<module>:<attribute>".')


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("shop:ap", "Did you mean app?"),
        ("shop:aplication", "Did you mean app?"),
        ("shop:create", "Did you mean create_app?"),
        (
            "shop:create_app()",
            "Name the function without parentheses and add --factory: shop:create_app.",
        ),
        ("shop:Inner.ap", "Did you mean api?"),
        ("shop:zzz", "Did you mean app?"),
    ],
)
def test_the_nearest_attribute(text: str, advice: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text("app = 1\ndef create_app(): ...\nclass Inner:\n    api = 2\n")
    monkeypatch.syspath_prepend(tmp_path)
    sys.modules.pop("shop", None)
    with pytest.raises(ImportFromStringError) as caught:
        import_from_string(text)
    attribute = text.partition(":")[2]
    assert str(caught.value) == f'Attribute "{attribute}" not found in module "shop". {advice}'
    sys.modules.pop("shop")


@pytest.mark.parametrize(
    ("text", "end"),
    [
        ("shpo:app", 'there is no module "shpo" on the path; did you mean shop?'),
        ("shop.mian:app", 'there is no module "shop.mian" on the path; did you mean main?'),
        ("zzz:app", 'there is no module "zzz" on the path.'),
    ],
)
def test_the_nearest_module(text: str, end: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "shop").mkdir()
    for name in ("__init__", "main"):
        (tmp_path / "shop" / f"{name}.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    sys.modules.pop("shop", None)
    with pytest.raises(ImportFromStringError) as caught:
        import_from_string(text)
    assert str(caught.value) == f'Could not import module "{text.partition(":")[0]}": {end}'
    sys.modules.pop("shop", None)


def test_a_package_may_have_a_module_that_is_called_py(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "__init__.py").write_text("")
    (tmp_path / "shop" / "py.py").write_text("app = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert import_from_string("shop.py:app") == 1
    for name in ("shop.py", "shop"):
        sys.modules.pop(name)


# -- TLS -------------------------------------------------------------------------------------------------------


def test_a_key_without_its_certificate_is_a_wrong_combination(caplog: pytest.LogCaptureFixture) -> None:
    assert "--ssl-keyfile needs --ssl-certfile." in refused("good:app", "--ssl-keyfile", "key.pem")
    Config("good:app", ssl_ca_certs="ca.pem", log_config=None)
    assert caplog.messages == ["--ssl-ca-certs has no effect without --ssl-certfile: connections are not encrypted."]
