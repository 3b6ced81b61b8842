"""The frameworks, each served by both servers in each mode, and whether the answers were the same.

Owns: which frameworks and modes there are, the decisions that explain differences, and the section that is written.
Must not: know bytes or processes. Fails by: what starting a server fails by; differences are a result, not a failure.
"""

from __future__ import annotations

import platform
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from compatibility.cases import Account, Case, cases_of
from compatibility.comparing import Decision, Difference, differences, sort_out
from compatibility.document import Section, table, version_of
from compatibility.environments import Pair, pair
from compatibility.servers import Server, StartFailed

REQUIREMENTS = (
    "starlette==1.10.*",
    "fastapi==0.165.*",
    "python-multipart",
    "django==6.1.*",
    "channels==4.3.*",
    "quart==0.23.*",
    "litestar==2.25.*",
    "python-socketio==5.18.*",
)
"""Quart 0.23 wants Python 3.13."""

FRAMEWORKS = {
    "starlette": ("Starlette", ("starlette",)),
    "fastapi": ("FastAPI", ("fastapi",)),
    "django": ("Django, Channels", ("django", "channels")),
    "quart": ("Quart", ("quart",)),
    "litestar": ("Litestar", ("litestar",)),
    "socketio": ("Socket.IO", ("python-socketio", "python-engineio")),
}
MODES = {
    "httptools": ("--http", "httptools", "--loop", "uvloop"),
    "h11": ("--http", "h11", "--loop", "asyncio"),
    "two workers": ("--workers", "2"),
}
KINDS = (
    "requests",
    "forms",
    "uploads",
    "streams",
    "server-sent events",
    "WebSockets",
    "background tasks",
    "lifespan",
    "errors",
    "disconnects",
)
DECISIONS = (
    Decision(
        "An HTTP/1.0 client that asks for `keep-alive` gets it.",
        "The other server closes after every HTTP/1.0 response. RFC 9112, 9.3, allows both.",
        case="requests: HTTP/1.0 kept alive",
        where="1 connection|2 .*",
    ),
    Decision(
        "A stream to an HTTP/1.0 client ends with the connection.",
        "The other server sends it in chunks, which HTTP/1.0 does not know (RFC 9112, 6.1).",
        case="streams: HTTP/1.0",
        where="1 (transfer-encoding|connection|body|end)",
    ),
    Decision(
        "The authority of an absolute request target is the host, its path the path.",
        "With httptools the other server takes the whole target for the path and finds no route (RFC 9112, 3.2.2).",
        case="requests: absolute target",
        where="1 .*",
    ),
    Decision(
        "A body of one piece and of no announced length gets a Content-Length.",
        "The other server sends it in chunks; a length costs fewer bytes, and clients can show progress.",
        where=r"\d+ (content-length|transfer-encoding)",
        theirs="–|chunked",
        ours=r"\d+|–",
    ),
    Decision(
        "No Content-Length in a 204.",
        "RFC 9110, 8.6, forbids it; the other server passes on what the framework wrote.",
        case="requests: 204",
        where="1 content-length",
        theirs="0",
        ours="–",
    ),
    Decision(
        "`asgi.spec_version` is 2.4.",
        "`send` raises an `OSError` once the client has left, as 2.4 has it; streams end by that, without a task that"
        " listens.",
        case="requests: .*",
        where=r"\d+ x-asgi",
        theirs="spec_version=2.3 version=3.0",
        ours="spec_version=2.4 version=3.0",
    ),
    Decision(
        "The connection goes on after a 500 that the framework has sent itself.",
        "The answer is complete, and so is the request; the other server closes without saying so before.",
        case="errors: before the start",
        where="2 .*",
        theirs="–|closed.*",
    ),
    Decision(
        "Responses that deny a WebSocket have a `Server` field like all others.",
        "The other server leaves it out there.",
        case="WebSockets: .*",
        where="1 server",
        theirs="–",
        ours="uvicorn",
    ),
    Decision(
        "A WebSocket whose application fails is closed with 1011.",
        "The other server drops the connection, which looks like a fault of the network.",
        case="WebSockets: fails after the accept",
        where=r"2 frame \d",
        theirs="closed",
        ours="0x88 1011 ",
    ),
    Decision(
        "A client that is lost without a close frame is 1006.",
        "RFC 6455, 7.1.5. The other server says 1005, which means a close frame without a code.",
        case="WebSockets: the client is lost",
        where=r"\d note",
        theirs="websocket left 1005.*",
        ours="websocket left 1006.*",
    ),
    Decision(
        "Exit code 0 after SIGTERM.",
        "It was asked to stop and has drained. The other server ends by the signal.",
        case="lifespan: shutdown",
        where=r"\d exit code",
        theirs="-15",
        ours="0",
    ),
    Decision(
        "Exit code 3 for an application that cannot be imported.",
        "One code for whatever the application cannot start from. The other server ends with 1 and a traceback.",
        case="lifespan: start-up fails",
        where="1 exit code",
        theirs="1",
        ours="3",
    ),
)
"""All expected differences. One that no longer explains anything is reported."""
NO_LIFESPAN = ("django",)


@dataclass
class Result:
    """What was compared, and where it differed."""

    checks: Counter[tuple[str, str]] = field(default_factory=Counter)
    """How many accounts were compared, by framework and kind."""
    differing: dict[tuple[str, str], set[str]] = field(default_factory=dict)
    left: list[Difference] = field(default_factory=list)
    explained: dict[Decision, list[Difference]] = field(default_factory=dict)

    def compare(self, framework: str, mode: str, case: Case, theirs: Account, ours: Account) -> None:
        self.checks[framework, case.kind] += 1
        found = list(differences(f"{framework} ({mode})", f"{case.kind}: {case.name}", theirs, ours))
        for side, account in (("there", theirs), ("here", ours)):  # equal accounts of a failure prove nothing
            found += [
                Difference(framework, case.name, "failed", side, one["failed"]) for one in account if "failed" in one
            ]
        left, explained = sort_out(found, DECISIONS)
        self.left += left
        for decision, those in explained.items():
            self.explained.setdefault(decision, []).extend(those)
        if left:
            self.differing.setdefault((framework, case.kind), set()).add(f"{mode}, {case.name}")


def boot(python: Path, framework: str, options: Sequence[str], **environment: str) -> Callable[[Path], Server]:
    return lambda folder: Server(python, f"{framework}_app:app", folder, *options, **environment)


def accounts(make: Callable[[Path], Server], cases: Sequence[Case], notes: int) -> dict[str, Account]:
    """What every case saw of one server, which says so many notes when it starts and when it stops."""
    seen: dict[str, Account] = {}
    with tempfile.TemporaryDirectory() as folder, make(Path(folder)) as server:
        seen["start-up"] = [{"note": server.note()} for _ in range(notes)]
        for case in cases:
            try:
                seen[f"{case.kind}: {case.name}"] = case.run(server)
            except (OSError, EOFError, ValueError, KeyError) as error:
                seen[f"{case.kind}: {case.name}"] = [{"failed": f"{type(error).__name__}: {error}"}]
        code = server.stop()
        seen["shutdown"] = [{"note": server.note()} for _ in range(notes)]
        seen["shutdown"].append({"exit code": str(code)})
    return seen


def refusal(make: Callable[[Path], Server]) -> Account:
    """What a server does whose application cannot start."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            with make(Path(folder)):
                return [{"started": "although the application failed"}]
        except StartFailed as failed:
            return [{"exit code": str(failed.code)}]


def examine(framework: str, mode: str, environments: Pair, result: Result) -> None:
    """One framework in one mode: both servers are asked everything, one after the other."""
    options = MODES[mode]
    workers = 2 if mode == "two workers" else 1
    cases = cases_of(framework, workers)
    notes = 0 if framework in NO_LIFESPAN else workers
    theirs, ours = (
        accounts(boot(environment.python, framework, options), cases, notes)
        for environment in (environments.peer, environments.ours)
    )
    for case in cases:
        name = f"{case.kind}: {case.name}"
        result.compare(framework, mode, case, theirs[name], ours[name])
    for name in ("start-up", "shutdown"):
        result.compare(framework, mode, Case("lifespan", name, lambda _: []), theirs[name], ours[name])
    if workers == 1:  # with more, the other server goes on for ever
        failing = Case("lifespan", "start-up fails", lambda _: [])
        theirs_failing, ours_failing = (
            refusal(boot(environment.python, framework, options, COMPATIBILITY_FAIL="1"))
            for environment in (environments.peer, environments.ours)
        )
        result.compare(framework, mode, failing, theirs_failing, ours_failing)


def run(only: Sequence[str] = ()) -> Section:
    environments = pair("frameworks", REQUIREMENTS)
    result = Result()
    for framework in only or FRAMEWORKS:
        for mode in MODES:
            print(f"{framework}, {mode} …", file=sys.stderr)
            examine(framework, mode, environments, result)
    return section(result, environments)


def section(result: Result, environments: Pair) -> Section:
    theirs, ours = environments.peer.versions(), environments.ours.versions()
    rows = []
    for kind in KINDS:
        cells = []
        for framework in FRAMEWORKS:
            asked, differing = result.checks[framework, kind], len(result.differing.get((framework, kind), ()))
            cells.append(f"{asked - differing} of {asked}" if asked else "–")
        rows.append([kind, *cells])
    heads = ["", *(name for name, _ in FRAMEWORKS.values())]
    packages = [" ".join(version_of(package, ours) for package in packages) for _, packages in FRAMEWORKS.values()]
    parts = ", ".join(f"{name} {ours[name]}" for name in ("httptools", "h11", "uvloop", "websockets"))
    python = f"{platform.python_implementation()} {platform.python_version()} on {platform.system()}"
    text = [
        f"Ours is {ours['uvicorn']}, the other {theirs['uvicorn']}; {python}; {parts}.",
        "",
        *table(heads, [["version", *packages], *rows]),
    ]
    if result.explained:
        text += ["", "Differences that are meant, and not counted above:", ""]
        text += table(
            ["what", "why", "seen with"],
            [[one.what, one.why, seen_with(result.explained[one])] for one in DECISIONS if one in result.explained],
        )
    failures = [str(difference) for difference in result.left]
    stale = [
        f"no difference is explained by the decision {one.what!r}" for one in DECISIONS if one not in result.explained
    ]
    return Section("frameworks", "\n".join(text), failures, stale)


def seen_with(those: Sequence[Difference]) -> str:
    names = {difference.framework.partition(" (")[0] for difference in those}
    return ", ".join(FRAMEWORKS[name][0] for name in FRAMEWORKS if name in names)
