"""The configuration file: what it may contain, which source takes precedence, and what a reload changes."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import pytest
from click.testing import CliRunner

from commands import config_of
from uvicorn.config import Config, options
from uvicorn.errors import ConfigError
from uvicorn.launch.sources import Sources
from uvicorn.logging import LOGGING_CONFIG
from uvicorn.main import main
from uvicorn.settings import file as configfile

if sys.version_info < (3, 11):
    pytest.importorskip("tomli")


class Write(Protocol):
    def __call__(self, text: str, name: str = "uvicorn.toml") -> str: ...


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """write(text) → the path of a file that holds it."""

    def writing(text: str, name: str = "uvicorn.toml") -> str:
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return str(path)

    return writing


def read(path: str) -> dict[str, Any]:
    return configfile.read(path, options())


# -- reading ---------------------------------------------------------------------------------------------------


def test_hyphens_underscores_and_flags_are_one(write: Write) -> None:
    path = write('timeout-keep-alive = 7\nlimit_concurrency = 9\nreload-dir = "src"\nreload_includes = ["*.html"]')
    assert read(path) == {
        "timeout_keep_alive": 7,
        "limit_concurrency": 9,
        "reload_dirs": ["src"],
        "reload_includes": ["*.html"],
    }


def test_values_of_every_type(write: Write) -> None:
    path = write('port = 0\nws-ping-interval = 3\nworkers = "auto"\naccess-log = false\n[log_config]\nversion = 1')
    assert read(path) == {
        "port": 0,
        "ws_ping_interval": 3,
        "workers": "auto",
        "access_log": False,
        "log_config": {"version": 1},
    }


@pytest.mark.parametrize("text", ['headers = ["X-A: 1", ["X-B", "2"]]', 'header = {X-A = "1", X-B = "2"}'])
def test_headers(write: Write, text: str) -> None:
    assert read(write(text)) == {"headers": [["X-A", "1"], ["X-B", "2"]]}


def test_a_pyproject_has_a_section_for_it(write: Write) -> None:
    assert read(write("[tool.uvicorn]\nport = 1\n[tool.ruff]\nport = 2", "pyproject.toml")) == {"port": 1}
    with pytest.raises(ConfigError, match=r"pyproject\.toml has no section \[tool\.uvicorn\]\.$"):
        read(write("[project]\nname = 'x'", "pyproject.toml"))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("prot = 80", "there is no option prot; did you mean port?"),
        ("timeout-keepalive = 80", "there is no option timeout-keepalive; did you mean timeout_keep_alive?"),
        ("zzz = 1", "there is no option zzz."),
        ("callback_notify = 1", "there is no option callback_notify."),
        ('port = "80"', "port must be a whole number, not '80'."),
        ("port = true", "port must be a whole number, not True."),
        ("port = 70000", "port must be at most 65535, not 70000."),
        ("access-log = 1", "access-log must be true or false, not 1."),
        ('timeout-keep-alive = "x"', "timeout-keep-alive must be a number, not 'x'."),
        ("app = 1", "app must be text, not 1."),
        ("reload_dirs = [1]", "reload_dirs must be a list of text, not [1]."),
        ('workers = "many"', "workers must be one of auto, not 'many'."),
        ('log-level = "loud"', "log-level must be one of critical, error, warning, info, debug, trace, not 'loud'."),
        ("headers = [1]", 'headers must be a list of "Name: value" or a table, not 1.'),
        ("port = 1\nhost = 2", "host must be text or a list, not 2."),
        ("log-level = 1\nlog_level = 1", "log_level is set twice."),
    ],
)
def test_a_fault_is_named_with_file_and_key(write: Write, text: str, sentence: str) -> None:
    path = write(text)
    with pytest.raises(ConfigError) as raised:
        read(path)
    assert str(raised.value) == f"{path}: {sentence}"


def test_what_is_no_file_or_no_toml(write: Write, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"Cannot read the configuration file .*: No such file or directory\."):
        read(str(tmp_path / "nowhere.toml"))
    with pytest.raises(ConfigError, match=r"is not valid TOML: Invalid value"):
        read(write("port ="))
    (tmp_path / "latin.toml").write_bytes(b"host = '\xe9'")
    with pytest.raises(ConfigError, match="a TOML file must be UTF-8"):
        read(str(tmp_path / "latin.toml"))


# -- precedence ------------------------------------------------------------------------------------------------


def test_command_line_over_environment_over_file(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(
        'app = "file:app"\nport = 1\nbacklog = 1\nlimit_concurrency = 1\naccess_log = false\nheader = ["A: f"]'
    )
    monkeypatch.setenv("UVICORN_PORT", "2")
    monkeypatch.setenv("UVICORN_BACKLOG", "2")
    config = config_of("--config", path, "--port", "3")
    assert (config.port, config.backlog, config.limit_concurrency, config.app) == (3, 2, 1, "file:app")
    assert config.headers == [("A", "f")]
    assert config.access_log is False
    assert config.timeout_keep_alive == 5
    monkeypatch.setenv("UVICORN_CONFIG", path)
    config = config_of("line:app", "--access-log", "--header", "A:line")
    assert (config.app, config.access_log, config.headers) == ("line:app", True, [("A", "line")])
    # The default's own value, said on the command line, is said.
    assert config_of("--limit-concurrency", "7", "--log-level", "info").limit_concurrency == 7


def test_the_other_variables_are_environment_too(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write('app = "a:b"\nworkers = 2')
    assert config_of("--config", path).workers == 2
    monkeypatch.setenv("WEB_CONCURRENCY", "3")
    assert config_of("--config", path).workers == 3
    assert config_of("--config", path, "--workers", "4").workers == 4


def test_a_bad_file_is_a_usage_error(write: Write) -> None:
    result = CliRunner().invoke(main, ["a:b", "--config", write("prot = 1")])
    assert result.exit_code == 2
    assert "there is no option prot; did you mean port?" in " ".join(result.output.split())


def test_check_and_print_are_no_settings_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UVICORN_CHECK_CONFIG", "1")
    monkeypatch.setenv("UVICORN_PRINT_CONFIG", "1")
    assert config_of("a:b").app == "a:b"


# -- printing and checking -------------------------------------------------------------------------------------


def test_what_is_printed_can_be_read_and_says_the_same(write: Write) -> None:
    path = write(
        'app = "a:b"\nlog_config = {version = 1, disable_existing_loggers = false}\nheader = ["X: 1"]\nport = 8'
    )
    arguments = ["--config", path, "--host", "::1", "--root-path", 'a"\\\n\u007fü', "--timeout-keep-alive", "0.5"]
    arguments += ["--ssl-keyfile-password", "secret"]
    printed = CliRunner().invoke(main, [*arguments, "--print-config"])
    assert printed.exit_code == 0, printed.output
    assert 'host = "::1"  # command line\n' in printed.output
    assert f"port = 8  # {path}\n" in printed.output
    assert "secret" not in printed.output and "# ssl_keyfile_password is set, and not shown\n" in printed.output
    again = read(write(printed.output, "again.toml"))
    assert again["root_path"] == 'a"\\\n\u007fü'
    assert again["log_config"] == {"version": 1, "disable_existing_loggers": False}
    second = CliRunner().invoke(main, ["--config", write(printed.output, "again.toml"), "--print-config"])
    assert {line.split("  # ")[0] for line in second.output.splitlines()} == {
        line.split("  # ")[0] for line in printed.output.splitlines() if not line.startswith("#")
    }


def test_printing_needs_no_application_and_says_where_from(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UVICORN_PORT", "77")
    monkeypatch.setenv("WEB_CONCURRENCY", "5")
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", "10.0.0.1")
    output = CliRunner().invoke(main, ["--print-config"]).output
    assert 'forwarded_allow_ips = "10.0.0.1"  # FORWARDED_ALLOW_IPS\n' in output
    assert "port = 77  # UVICORN_PORT\n" in output and "workers = 5  # WEB_CONCURRENCY\n" in output
    assert "app" not in [line.split(" ")[0] for line in output.splitlines()]


@pytest.mark.parametrize(
    ("source", "code", "words"),
    [
        ("async def app(scope, receive, send): ...", 0, "the application can be imported"),
        ("1 / 0", 3, "ZeroDivisionError"),
        ("", 3, 'Attribute "app" not found in module "checked".'),
    ],
)
def test_checking_imports_and_serves_nothing(tmp_path: Path, source: str, code: int, words: str) -> None:
    (tmp_path / "checked.py").write_text(source)
    command = [sys.executable, "-m", "uvicorn", "checked:app", "--check-config"]
    done = subprocess.run(command, cwd=tmp_path, env=dict(os.environ), capture_output=True, text=True, timeout=60)
    assert done.returncode == code
    assert words in done.stdout + done.stderr
    assert "Started" not in done.stderr


# -- a reload --------------------------------------------------------------------------------------------------


def test_a_reload_keeps_what_the_master_used_and_names_it() -> None:
    declared = options()
    before = {name: one.default for name, one in declared.items()} | {"port": 8000, "limit_concurrency": 1}
    values, in_vain = configfile.renewed(declared, before | {"port": 1, "timeout_keep_alive": 9}, before)
    assert in_vain == ["port"]
    assert {name: value for name, value in values.items() if value != before[name]} == {"timeout_keep_alive": 9}


def test_what_needs_a_restart() -> None:
    """Where the master listens and what it has open; the name of the environment file, not what is in it."""
    assert {name for name, one in options().items() if one.spec.restart} == {
        *("host", "port", "uds", "fd", "backlog", "supervise", "pid", "log_file", "access_log_file", "env_file"),
        *("reload", "reload_dirs", "reload_delay", "reload_includes", "reload_excludes"),
    }


def test_a_reload_takes_the_file_as_it_is_now(write: Write, caplog: pytest.LogCaptureFixture) -> None:
    path = write("timeout_keep_alive = 1\nlimit_concurrency = 1")
    settings = Sources({"app": "a:b", "backlog": 7, "log_config": None}, {}, path)
    first = settings.config
    assert (first.timeout_keep_alive, first.limit_concurrency, first.backlog) == (1, 1, 7)
    write("timeout_keep_alive = 2\nport = 1\nbacklog = 9")
    second = settings.reread()
    assert (second.timeout_keep_alive, second.limit_concurrency, second.backlog, second.port) == (2, None, 7, 8000)
    assert [record.getMessage() for record in caplog.records] == [
        f"{path}: a reload cannot change port: restart the server for that."
    ]


@pytest.mark.parametrize("text", ["prot = 1", "port =", "[log_config]\nversion = 2"])
def test_a_reload_with_a_bad_file_changes_nothing(write: Write, text: str) -> None:
    path = write("timeout_keep_alive = 1")
    settings = Sources({"app": "a:b"}, {}, path)
    first = settings.config
    handlers = list(logging.getLogger("uvicorn").handlers)
    assert handlers
    write("timeout_keep_alive = 2\n" + text)
    with pytest.raises(ConfigError):
        settings.reread()
    assert settings.config is first
    assert logging.getLogger("uvicorn").handlers
    write("timeout_keep_alive = 3")
    assert settings.reread().timeout_keep_alive == 3


def test_a_reload_without_a_file() -> None:
    settings = Sources({"app": "a:b"}, {}, None)
    assert settings.reread() is settings.config
    assert settings.config.log_config is LOGGING_CONFIG


VALUES = {
    "app": "a:b",
    "fd": 7,
    "limit_worker_memory": "512MB",
    "workers": 3,
    "loop": "asyncio",
    "http": "h11",
    "ws": "wsproto",
    "lifespan": "on",
    "interface": "asgi3",
    "log_level": "debug",
    "headers": [["X-One", "1"]],
    "forwarded_allow_ips": "10.0.0.1",
    "forwarded_headers": "forwarded",
    "access_log_format": "json",
    "supervise": True,
    "ssl_cert_reqs": 1,
}
"""A value of each option that is not its default; the others are told by their types."""

UNUSABLE = {"uds", "http2", "log_config"}
"""Not beside `fd`, or not yet, or no value of a flag."""


def other_value(name: str, folder: Path) -> object:
    option = options()[name]
    if name in VALUES:
        return VALUES[name]
    if option.kind is bool:
        return not option.default
    if option.kind in (int, float):
        return (option.default or 1000) + 1
    path = str(folder)
    return [path] if option.many else path


@pytest.mark.parametrize("way", ["flags", "variables", "file", "defaults"])
@pytest.mark.parametrize("with_file", [True, False])
def test_all_settings_survive_a_reload(
    way: str, with_file: bool, write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From every source, including the values that the command fills in itself."""
    files = {"ssl_keyfile", "ssl_certfile", "ssl_ca_certs", "env_file", "log_file", "access_log_file", "pid"}
    (tmp_path / "empty").write_text("")
    seen: list[tuple[Config, Config]] = []

    def serve(config: Config, reread: Callable[[], Config]) -> int:
        seen.append((config, reread()))
        return 0

    monkeypatch.setattr("uvicorn.launch.command.serve", serve)
    arguments, lines = [], []
    for name, option in options().items():
        if name in UNUSABLE or way == "defaults":
            continue
        value = str(tmp_path / "empty") if name in files else other_value(name, tmp_path)
        values = value if option.many and isinstance(value, list) else [value]
        texts = [":".join(one) if isinstance(one, (list, tuple)) else str(one) for one in values]
        if way == "file":
            lines.append(f"{name} = {json.dumps(value)}")
        elif way == "variables":
            monkeypatch.setenv(option.env, texts[0])
        elif name == "app":
            arguments += texts
        elif option.kind is bool and not option.spec.valued:
            arguments.append(option.flag if value else f"--no-{option.flag[2:]}")
        else:
            arguments += [part for text in texts for part in (option.flag, text)]
    if way == "defaults":
        arguments.append("a:b")
    if with_file or way == "file":
        arguments += ["--config", write("\n".join(lines))]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    (first, second) = seen.pop()
    for name, option in options().items():
        assert getattr(second, name) == getattr(first, name), name
        if name not in UNUSABLE and way != "defaults":
            assert getattr(first, name) != option.default, name
    assert (first.app_dir == "") is (way == "defaults")


@pytest.mark.parametrize("with_file", [True, False])
def test_a_variable_of_the_environment_file_stands_for_a_setting_at_each_reload(
    with_file: bool, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("dotenv")
    for name in ("WEB_CONCURRENCY", "FORWARDED_ALLOW_IPS"):
        monkeypatch.setenv(name, "")  # taken away again when the test is over, whatever the file has set
        monkeypatch.delenv(name)
    env_file = write("WEB_CONCURRENCY=2", "app.env")
    path = write("") if with_file else None
    settings = Sources({"app": "a:b", "log_config": None, "env_file": env_file}, {}, path)
    first = settings.config
    assert first.workers == 2
    write("WEB_CONCURRENCY=3\nFORWARDED_ALLOW_IPS=10.0.0.1", "app.env")
    second = settings.reread()
    assert (second.workers, second.forwarded_allow_ips, first.workers) == (3, "10.0.0.1", 2)
    write("WEB_CONCURRENCY=many", "app.env")
    with pytest.raises(ConfigError, match="WEB_CONCURRENCY"):
        settings.reread()
    write("", "app.env")
    third = settings.reread()
    assert (third.workers, third.forwarded_allow_ips) == (1, first.forwarded_allow_ips)
