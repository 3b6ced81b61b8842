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

ROOMS: list[tuple[str, ...]] = [
    ("errors", "_types", "surface"),
    ("importer", "logging"),
    ("logs",),
    ("net",),
    ("process",),
    ("middleware",),
    ("settings",),
    ("config",),
    ("supervisor",),
    ("watcher",),
    ("worker.loop",),
    ("worker.transport",),
    ("worker.access",),
    ("worker.http",),
    ("worker.familiar",),
    ("worker.http1",),
    ("worker.websockets",),
    ("worker.http2",),
    ("worker.front",),
    ("worker",),
    ("launch", "_subprocess", "units"),
    ("main", "__main__"),
]
"""The rooms, from the lowest to the highest: a module may import from its own room and from lower ones. A room is a
folder, and what is flat beside the folders is its own room; the longest name counts."""
APART = ("supervisor", "watcher", "worker")
"""Three processes: none of them imports another's files."""
DOORS = tuple(
    f"uvicorn.{name}"
    for name in ["accesslog", "server", "_ansi", "_compat", "protocols", "lifespan", "loops", "supervisors", "workers"]
)
PURE = (
    "uvicorn.errors",
    "uvicorn.process.drainmode",
    "uvicorn.process.interrupts",
    *(
        f"uvicorn.supervisor.{name}"
        for name in [
            "events",
            "actions",
            "policy",
            "supervisor",
            "transitions",
            "service",
            "fleet",
            "handle",
            "plain",
            "table",
            "rolling",
            "watchdog",
            "wording",
            "development",
            "development_table",
        ]
    ),
)


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


def room_of(module: str) -> tuple[int, str]:
    """(height, name) of the room that a module is in."""
    found = [
        (len(name), height, name)
        for height, names in enumerate(ROOMS)
        for name in names
        if within(module, (f"uvicorn.{name}",))
    ]
    assert found, f"{module} is in no room"
    return max(found)[1:]


def ours(module: str) -> set[str]:
    """What of ours a module imports, but for the package itself."""
    return {name for name in imports(module) if name in MODULES and name not in ("uvicorn", module)}


IN_ROOMS = [module for module in MODULES if module != "uvicorn" and not within(module, DOORS)]


@pytest.mark.parametrize("module", IN_ROOMS)
def test_a_module_imports_from_its_own_room_and_from_lower_ones(module: str) -> None:
    height, name = room_of(module)
    for found in sorted(ours(module)):
        there, other = room_of(found)
        assert there <= height, f"{module} imports {found}, which is above it"
        sides = {name.partition(".")[0], other.partition(".")[0]} & set(APART)
        assert len(sides) < 2, f"{module} imports {found} of another process"


def circles() -> list[list[str]]:
    """Modules that import each other, directly or not (Tarjan's algorithm)."""
    edges = {module: ours(module) for module in MODULES}
    order: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(module: str) -> None:
        order[module] = low[module] = len(order)
        stack.append(module)
        for other in sorted(edges[module]):
            if other not in order:
                visit(other)
            if other in stack:
                low[module] = min(low[module], low[other])
        if low[module] == order[module]:
            at = stack.index(module)
            circle, stack[at:] = stack[at:], []
            if len(circle) > 1:
                found.append(circle)

    for module in edges:
        if module not in order:
            visit(module)
    return found


def test_no_modules_import_each_other() -> None:
    assert circles() == []


FLAT = 16
"""Files that may lie beside the rooms."""


def test_few_files_are_beside_the_rooms() -> None:
    flat = [path.name for path in PACKAGE.glob("*.py")]
    assert len(flat) <= FLAT, sorted(flat)


LONGEST = 450
TABLES = {"uvicorn.settings.declared", "uvicorn.main"}
"""Long by their nature: one line or more for each option."""


@pytest.mark.parametrize("module", [module for module in MODULES if module not in TABLES])
def test_a_module_can_be_read_in_one_sitting(module: str) -> None:
    assert len(MODULES[module].read_text().splitlines()) <= LONGEST


@pytest.mark.parametrize("module", modules_of(*DOORS))
def test_a_door_is_nothing_but_names(module: str) -> None:
    body = ast.parse(MODULES[module].read_text()).body[1:]
    assert all(isinstance(node, (ast.Import, ast.ImportFrom, ast.Assign)) for node in body)
    assert not [name for name in MODULES if not within(name, DOORS) and any(within(i, DOORS) for i in imports(name))]


@pytest.mark.parametrize("module", [module for module in IN_ROOMS if room_of(module)[0] == 0])
def test_the_lowest_rooms_need_the_standard_library_only(module: str) -> None:
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
    if module == "uvicorn.supervisor.spawner":  # the kernel's part that forks
        banned.remove("os.fork")
    assert not banned & calls(module)


@pytest.mark.parametrize("module", [m for m in modules_of("uvicorn.supervisor") if m != "uvicorn.supervisor.kernel"])
def test_only_the_kernel_reaps_and_spawns(module: str) -> None:
    assert not {"uvicorn.process.reaping", "uvicorn.supervisor.spawner"} & set(imports(module))


@pytest.mark.parametrize(
    "module",
    [
        m
        for m in MODULES
        if ".codec_" in m or m.rpartition(".")[2] in ("reader", "request", "request_head", "request_line")
    ],
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


@pytest.mark.parametrize("module", modules_of("uvicorn.worker.http"))
def test_what_every_version_shares_knows_no_wire(module: str) -> None:
    above = ("uvicorn.worker.http1", "uvicorn.worker.websockets")
    assert not [found for found in imports(module) if "codec" in found or within(found, above)]


@pytest.mark.parametrize("name", ["response", "framing", "request_line", "request_head", "unread"])
def test_the_wire_of_http1_knows_no_loop(name: str) -> None:
    assert "asyncio" not in {found.split(".")[0] for found in imports(f"uvicorn.worker.http1.{name}")}


@pytest.mark.parametrize(
    "module", ["uvicorn.worker.drain", "uvicorn.worker.http1.request_head", "uvicorn.supervisor.policy"]
)
def test_time_is_an_argument(module: str) -> None:
    assert not [call for call in calls(module) if call.startswith("time.")]


@pytest.mark.parametrize("name", ["session", "frames", "wire", "codec", "handshake", "deflate"])
def test_a_websocket_session_knows_no_transport(name: str) -> None:
    """The same session runs over a connection of HTTP/1.1 and over a stream of HTTP/2: it knows its `wire` alone."""
    banned = ("uvicorn.worker.http1", "uvicorn.worker.transport", "uvicorn.worker.websockets.protocol")
    assert not [found for found in imports(f"uvicorn.worker.websockets.{name}") if within(found, banned)]


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


def test_nothing_of_ours_goes_through_a_door() -> None:
    for module in MODULES:
        assert not [name for name in imports(module) if within(name, DOORS)], module
