"""Checks of the pages in docs/ that need no network: links, options, commands, configurations.

The programs and the `console` blocks of the pages are run by `test_readme.py`; what needs nginx or the other servers is
in `system/test_docs.py`. The conventions: a line of a block that calls `uvicorn` is a command which our command line
takes; in a table, a column headed "theirs" has options of others, and one headed "ours" has ours.
"""

from __future__ import annotations

import configparser
import json
import pkgutil
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest

from uvicorn.config import DEFAULT_DRAIN_SECONDS, Config
from uvicorn.main import main

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
DOCS = sorted((ROOT / "docs").glob("*.md"))
PAGES = [README, ROOT / "ARCHITECTURE.md", ROOT / "benchmarks" / "README.md", *DOCS]

FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]+\]\(([^)\s]+)\)")
OPTION = re.compile(r"(?<![\w-])--[a-z][\w-]*")
UVICORN = re.compile(r"(?:^|/)uvicorn ([\w.]+:\w+.*)$")

DOTTED = re.compile(r"\buvicorn(?:\.[A-Za-z_]\w*)+")
IMPORTED = re.compile(r"from (uvicorn[\w.]*) import ([\w, ]+)")

NOT_PYTHON = {
    *("uvicorn.error", "uvicorn.access", "uvicorn.asgi"),  # loggers
    *("uvicorn.service", "uvicorn.socket", "uvicorn.toml"),  # files
    "uvicorn.request_id",  # a key of a scope
    *("uvicorn.protocols.http.auto_zttp_impl", "uvicorn.protocols.http.zttp_h2_impl"),
    "uvicorn.protocols.http.zttp_impl",  # modules of the other package that docs/moving.md says are not here
}
"""What the pages write with a dot behind the package's name, and is no Python name."""

OTHERS = {
    "--stop-timeout": "docker",
    "--read-only": "docker",
    "--user": "docker",
    "--memory": "docker",
    "--cpus": "docker",
    "--no-deps": "pip",
    "--wheel-dir": "pip",
    "--now": "systemctl",
    "--http2-prior-knowledge": "curl",
    "--help": "every command",
    "--only": "scripts/compatibility",
    "--python": "scripts/compatibility",
}
"""Options of programs that are no servers, wherever a page names them."""


def names(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def text(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def blocks(page: Path, language: str) -> list[str]:
    return [found[2] for found in FENCED.finditer(text(page)) if found[1] == language]


def rows(page: str) -> Iterator[dict[str, str]]:
    """Every row of every table, by the heads of its columns."""
    heads: list[str] = []
    for line in page.splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split(" | ")] if line.startswith("|") else []
        if not cells:
            heads = []
        elif not heads:
            heads = cells
        elif not set(line) <= set("|-: "):
            yield dict(zip(heads, cells, strict=True))


def our_options() -> set[str]:
    options = [option for parameter in main.params for option in (*parameter.opts, *parameter.secondary_opts)]
    return {option for option in options if option.startswith("--")} | set(
        main.get_help_option_names(click.Context(main))
    )


def takes(arguments: list[str]) -> dict[str, Any]:
    """What our command line makes of these arguments; the test fails if the command line or `Config` refuses them."""
    context = main.make_context("uvicorn", list(arguments))
    known = Config.__init__.__annotations__
    settings = {name: value for name, value in context.params.items() if name in known and not name.startswith("ssl_")}
    Config(**{**settings, "log_config": None})
    return context.params


# -- what is in every page -------------------------------------------------------------------------------------


def anchors(page: Path) -> set[str]:
    heads = re.findall(r"^#+ (.*)$", FENCED.sub("", text(page)), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", PAGES, ids=names)
def test_links_resolve(page: Path) -> None:
    for link in LINK.findall(FENCED.sub("", text(page))):
        if not link.startswith(("http://", "https://")):
            path, _, anchor = link.partition("#")
            target = (page.parent / path).resolve() if path else page
            assert target.exists(), link
            assert not anchor or anchor in anchors(target), link


def test_the_readme_names_every_page() -> None:
    linked = LINK.findall(text(README))
    assert [name for name in map(names, DOCS) if name not in linked] == []


def python_names(page: Path) -> set[str]:
    imported = {f"{where}.{name.strip()}" for where, many in IMPORTED.findall(text(page)) for name in many.split(",")}
    return {one.partition(" as ")[0] for one in imported} | set(DOTTED.findall(text(page)))


@pytest.mark.parametrize("page", [*PAGES, *sorted((ROOT / "examples").rglob("*.py"))], ids=names)
def test_every_python_name_can_be_imported(page: Path) -> None:
    for name in python_names(page) - NOT_PYTHON:
        assert pkgutil.resolve_name(name) is not None, name


def test_what_is_not_python_is_named_somewhere() -> None:
    assert not NOT_PYTHON - {name for page in PAGES for name in python_names(page)}


@pytest.mark.parametrize("page", [README, *DOCS], ids=names)
def test_options_exist(page: Path) -> None:
    ours = our_options()
    kept = re.sub(r"^## Under gunicorn$.*?(?=^## )", "", text(page), flags=re.MULTILINE | re.DOTALL)  # its options
    kept = re.sub(r"<!-- programs -->.*?<!-- /programs -->", "", kept, flags=re.DOTALL)  # the programs' own options
    for row in rows(kept):
        if "theirs" in row:
            kept = kept.replace(f"| {row['theirs']} |", "|")
            strange = [option for option in OPTION.findall(row["ours"]) if option not in ours]
            assert strange == [], row
            assert "ours" in row and (row["ours"] != "–" or row["what is different"]), row
    kept = re.sub(r"^python -m benchmarks.*$", "", kept, flags=re.MULTILINE)
    named = {option for option in OPTION.findall(kept) if not option.endswith("-")}
    assert named - ours - set(OTHERS) == set()
    families = {option for option in OPTION.findall(kept) if option.endswith("-")}  # --ssl-*
    assert all(any(option.startswith(family) for option in ours) for family in families)


def test_options_of_others_are_named_somewhere() -> None:
    assert [option for option in OTHERS if not any(option in text(page) for page in [README, *DOCS])] == []


COMMANDS = [
    (page, found[1])
    for page in [README, *DOCS]
    for block in FENCED.finditer(text(page))
    for line in block[2].splitlines()
    if (found := UVICORN.search(line.split(" # ")[0].removeprefix("$ ")))
]


@pytest.mark.parametrize(
    ("page", "command"), COMMANDS, ids=lambda value: value if isinstance(value, str) else value.stem
)
def test_commands_are_taken(page: Path, command: str) -> None:
    assert takes(shlex.split(command))["app"]


# -- deployment ------------------------------------------------------------------------------------------------

DEPLOYMENT = ROOT / "docs" / "deployment.md"


def test_deployment_has_what_is_checked() -> None:
    assert [len(blocks(DEPLOYMENT, language)) for language in ("ini", "yaml", "nginx")] == [1, 1, 1]
    assert {page.stem for page, _ in COMMANDS} >= {"README", "deployment", "moving", "performance"}


def test_the_dropin() -> None:
    parser = configparser.ConfigParser(strict=False, allow_no_value=True, comment_prefixes=("#",))
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(blocks(DEPLOYMENT, "ini")[0])
    assert parser.sections() == ["Service"]
    program, *arguments = shlex.split(parser["Service"]["ExecStart"])
    assert program.startswith(parser["Service"]["WorkingDirectory"] + "/") and program.endswith("/bin/uvicorn")
    assert takes(arguments)["workers"] == 4


def test_the_dockerfile_of_the_readme() -> None:
    (dockerfile,) = blocks(README, "dockerfile")
    program, *arguments = json.loads(dockerfile.rpartition("CMD ")[2])
    assert program == "uvicorn" and takes(arguments)["host"] == "0.0.0.0"


def test_the_manifest_of_kubernetes() -> None:
    yaml = pytest.importorskip("yaml")
    deployment, service = yaml.safe_load_all(blocks(DEPLOYMENT, "yaml")[0])
    assert (deployment["kind"], service["kind"]) == ("Deployment", "Service")
    pod = deployment["spec"]["template"]
    labels = pod["metadata"]["labels"]
    assert labels == deployment["spec"]["selector"]["matchLabels"] == service["spec"]["selector"]
    (container,) = pod["spec"]["containers"]
    command = [*container["command"], *container["args"]]
    assert all(isinstance(word, str) for word in command) and command[0] == "uvicorn"
    params = takes(command[1:])
    (port,) = container["ports"]
    assert params["host"] == "0.0.0.0" and port["containerPort"] == params["port"]
    targets = [container[probe]["httpGet"]["port"] for probe in ("startupProbe", "readinessProbe")]
    assert {*targets, service["spec"]["ports"][0]["targetPort"]} == {port["name"]}
    drain = params["timeout_graceful_shutdown"] or DEFAULT_DRAIN_SECONDS
    assert pod["spec"]["terminationGracePeriodSeconds"] > params["shutdown_delay"] + drain + 2


# -- performance -----------------------------------------------------------------------------------------------


def test_the_measuring_programs_have_these_options() -> None:
    lines = [
        shlex.split(line)
        for page in ("docs/performance.md", "README.md")
        for block in blocks(ROOT / page, "sh")
        for line in block.splitlines()
        if line.startswith("python -m benchmarks")
    ]
    assert len(lines) > 5
    for python, dash, module, *arguments in lines:
        assert (python, dash) == ("python", "-m")
        said = subprocess.run(
            [sys.executable, "-m", module, "--help"], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
        ).stdout
        assert [option for option in OPTION.findall(" ".join(arguments)) if option not in said] == []
        values = [value for option, value in zip(arguments[::2], arguments[1::2], strict=True) if option != "--plot"]
        words = [word for value in values for word in value.split(",") if not word.isdigit()]
        flat = " ".join(said.split())
        assert [word for word in words if word not in flat] == []
