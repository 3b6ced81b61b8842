"""The layer rule and the invariants of ARCHITECTURE.md, read from the source with `ast`."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import uvicorn

PACKAGE = Path(uvicorn.__file__).parent
MODULES = {
    ".".join(("uvicorn", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
}

BASE = tuple(f"uvicorn.{name}" for name in ["errors", "channel", "_types", "_shapes", "_later", "_replaceable"])
TOOLS = tuple(
    f"uvicorn.{name}"
    for name in [
        "accesslog",
        "addresses",
        "application",
        "configfile",
        "cpus",
        "environment",
        "foreign",
        "forwarded",
        "grammar",
        "headers",
        "importer",
        "interrupts",
        "leaving",
        "lifeline",
        "logconfig",
        "logfiles",
        "logging",
        "middleware",
        "naming",
        "options",
        "outlet",
        "overridden",
        "pidfile",
        "proxies",
        "sizes",
        "sockets",
        "terminal",
        "tls",
        "ttysettings",
        "values",
        "watched",
    ]
)
CONFIG = ("uvicorn.config",)
EMBEDDING = ("uvicorn.launch.reloading", "uvicorn._subprocess")
TOP = (
    "uvicorn.main",
    "uvicorn.__main__",
    "uvicorn.launch.command",
    "uvicorn.launch.own_interpreter",
    "uvicorn.launch.embedding",
    "uvicorn.launch.portable",
    "uvicorn.launch.spawned",
    "uvicorn.units",
    "uvicorn.launch.versions",
)
DOORS = (
    "uvicorn.server",
    "uvicorn._ansi",
    "uvicorn._compat",
    "uvicorn.protocols",
    "uvicorn.lifespan",
    "uvicorn.loops",
    "uvicorn.supervisors",
    "uvicorn.workers",
)
PURE = (
    "uvicorn.process.interrupts",
    *(
        f"uvicorn.supervisor.{name}"
        for name in [
            "events",
            "actions",
            "policy",
            "state",
            "table",
            "rolling",
            "watchdog",
            "wording",
            "effects",
            "development",
        ]
    ),
)

LAYERS: list[tuple[tuple[str, ...], tuple[str, ...]]] = [
    (BASE, BASE),
    (TOOLS, BASE + TOOLS),
    (CONFIG, BASE + TOOLS + CONFIG),
    (("uvicorn.supervisor",), (*BASE, *TOOLS, *CONFIG, "uvicorn.supervisor")),
    (("uvicorn.watcher",), (*BASE, *TOOLS, *CONFIG, "uvicorn.watcher")),
    (EMBEDDING, (*BASE, *TOOLS, *CONFIG, *EMBEDDING, "uvicorn.watcher")),
    (("uvicorn.worker",), (*BASE, *TOOLS, *CONFIG, "uvicorn.worker")),
]
"""(modules, what of ours they may import). A name covers the module and everything below it."""


def within(module: str, names: tuple[str, ...]) -> bool:
    return any(module == name or module.startswith(name + ".") for name in names)


def is_type_checking(node: ast.If) -> bool:
    return isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def imports(module: str) -> Iterator[str]:
    """Every module that `module` imports at run time, inside functions too."""
    todo: list[ast.AST] = [ast.parse(MODULES[module].read_text())]
    while todo:
        node = todo.pop()
        if isinstance(node, ast.If) and is_type_checking(node):
            todo.extend(node.orelse)
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: imports are absolute here"
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield full if full in MODULES else str(node.module)
        todo.extend(ast.iter_child_nodes(node))


def calls(module: str) -> set[str]:
    """`name.attribute` of every call in `module`."""
    found = set()
    for node in ast.walk(ast.parse(MODULES[module].read_text())):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and isinstance(node.func.value, ast.Name)
        ):
            found.add(f"{node.func.value.id}.{node.func.attr}")
    return found


def modules_of(*names: str) -> list[str]:
    return [module for module in MODULES if within(module, names)]


def test_every_module_is_in_a_layer() -> None:
    known = tuple(name for names, _ in LAYERS for name in names) + TOP + DOORS
    assert [module for module in MODULES if module != "uvicorn" and not within(module, known)] == []


@pytest.mark.parametrize(("layer", "allowed"), LAYERS, ids=lambda names: names[-1])
def test_a_layer_imports_only_what_is_below(layer: tuple[str, ...], allowed: tuple[str, ...]) -> None:
    for module in modules_of(*layer):
        ours = {name for name in imports(module) if name.split(".")[0] == "uvicorn" and name != "uvicorn"}
        assert {name for name in ours if not within(name, allowed)} == set(), module


@pytest.mark.parametrize("module", modules_of(*DOORS))
def test_a_door_is_nothing_but_names(module: str) -> None:
    body = ast.parse(MODULES[module].read_text()).body[1:]
    assert all(isinstance(node, (ast.Import, ast.ImportFrom, ast.Assign)) for node in body)
    assert not [name for name in MODULES if not within(name, DOORS) and any(within(i, DOORS) for i in imports(name))]


@pytest.mark.parametrize("module", modules_of(*BASE))
def test_the_lowest_layer_needs_the_standard_library_only(module: str) -> None:
    assert not {"click", "h11", "httptools", "uvloop"} & {name.split(".")[0] for name in imports(module)}


@pytest.mark.parametrize("module", modules_of("uvicorn.supervisor"))
def test_the_master_has_no_loop_no_threads_and_no_parser(module: str) -> None:
    banned = {"asyncio", "threading", "concurrent", "uvloop", "httptools", "h11", "websockets"}
    assert not banned & {name.split(".")[0] for name in imports(module)}


def test_what_counts_as_a_change_is_pure() -> None:
    banned = {"os", "time", "glob", "logging", "watchfiles"}
    assert not banned & {name.split(".")[0] for name in imports("uvicorn.watcher.patterns")}


@pytest.mark.parametrize("module", PURE)
def test_the_machine_is_pure(module: str) -> None:
    found = set(imports(module))
    assert {name for name in found if name.startswith("uvicorn") and not within(name, PURE)} <= {"uvicorn.supervisor"}
    banned = {"os", "signal", "socket", "time", "select", "logging", "subprocess", "datetime"}
    assert not banned & {name.split(".")[0] for name in found}


@pytest.mark.parametrize("module", [m for m in modules_of("uvicorn.supervisor") if m != "uvicorn.supervisor.kernel"])
def test_only_the_kernel_touches_processes_and_the_clock(module: str) -> None:
    banned = {"os.fork", "os.kill", "os.killpg", "os.waitpid", "os.wait", "time.monotonic", "time.time", "time.sleep"}
    assert not banned & calls(module)


@pytest.mark.parametrize(
    "module", [m for m in MODULES if ".codec_" in m or m.rpartition(".")[2] in ("reader", "fields")]
)
def test_codecs_know_neither_loop_nor_asgi_nor_time(module: str) -> None:
    found = set(imports(module))
    assert not {"asyncio", "time", "socket"} & {name.split(".")[0] for name in found}
    assert not {"uvicorn.worker.http.exchange", "uvicorn.worker.http.scope", "uvicorn._types"} & found


@pytest.mark.parametrize(
    ("package", "user"), [("gunicorn", "uvicorn.worker.gunicorn"), ("a2wsgi", "uvicorn.middleware.wsgi")]
)
def test_an_optional_package_has_one_user(package: str, user: str) -> None:
    assert [module for module in MODULES if package in {name.split(".")[0] for name in imports(module)}] == [user]


@pytest.mark.parametrize("module", ["uvicorn.net.proxies", "uvicorn.net.forwarded", "uvicorn.net.proxy_protocol"])
def test_what_proxies_say_is_pure(module: str) -> None:
    banned = {"asyncio", "time", "socket", "logging", "os"}
    assert not banned & {name.split(".")[0] for name in imports(module)}


@pytest.mark.parametrize("name", ["stream", "scope"])
def test_stream_and_scope_know_no_codec(name: str) -> None:
    assert not [found for found in imports(f"uvicorn.worker.http.{name}") if "codec" in found]


@pytest.mark.parametrize("module", ["uvicorn.worker.drain", "uvicorn.worker.http.request", "uvicorn.supervisor.policy"])
def test_time_is_an_argument(module: str) -> None:
    assert not [call for call in calls(module) if call.startswith("time.")]


def test_a_worker_has_one_timer() -> None:
    """`call_later` in two places: the pulse, and an acceptor that waits for descriptors to come back. Protocols that no
    server serves (`standalone`) are not in a worker.
    """
    users = [
        m for m in modules_of("uvicorn.worker") if any(call.endswith(("call_later", "call_at")) for call in calls(m))
    ]
    users += [m for m in modules_of("uvicorn.worker") if "_loop.call_later" in MODULES[m].read_text()]
    assert sorted(set(users)) == ["uvicorn.worker.front.acceptor", "uvicorn.worker.loop.pulse"]


@pytest.mark.parametrize("module", list(MODULES))
def test_every_module_says_what_it_is(module: str) -> None:
    assert ast.get_docstring(ast.parse(MODULES[module].read_text()))


LAZY = "__getattr__, __dir__ = submodules(__name__)"


@pytest.mark.parametrize("module", modules_of(*DOORS))
def test_a_door_holds_a_docstring_and_re_exports_only(module: str) -> None:
    docstring, *statements = ast.parse(MODULES[module].read_text()).body
    assert isinstance(docstring, ast.Expr) and isinstance(docstring.value, ast.Constant)
    for statement in statements:
        if ast.unparse(statement).replace("(__getattr__, __dir__)", "__getattr__, __dir__") == LAZY:  # as 3.10 has it
            assert MODULES[module].name == "__init__.py"
        elif isinstance(statement, ast.Assign):
            assert [ast.unparse(target) for target in statement.targets] == ["__all__"]
            assert isinstance(statement.value, ast.List)
        else:
            assert isinstance(statement, ast.ImportFrom), ast.unparse(statement)
    assert not within(module, tuple(name for names, _ in LAYERS for name in names))


def test_nothing_of_ours_goes_through_a_door() -> None:
    for module in MODULES:
        assert not [name for name in imports(module) if within(name, DOORS)], module
