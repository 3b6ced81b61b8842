"""The program that compares us with the other package: what it finds and writes; and a first use of it, in a small way.

Here Starlette under one parser is compared with Starlette under the other. `tests/system/test_compatibility.py` is the
real comparison.
"""

from __future__ import annotations

import importlib.util
import os
import re
import sys
from pathlib import Path

import pytest

from compatibility import (
    cases,
    catalogue,
    comparing,
    document,
    environments,
    frameworks,
    own,
    programs,
    suites,
    terminal,
)
from compatibility.__main__ import SECTIONS
from programs import PACKAGE

ROOT = Path(__file__).resolve().parents[1]


def test_only_what_changes_by_itself_is_the_same() -> None:
    theirs = [{"status": "200", "date": "Wed, 25 Nov 2026 14:45:58 GMT", "body": '0{"sid":"AAAAAAAAAAAAAAAAAAAA"}'}]
    ours = [{"status": "200", "date": "Wed, 25 Nov 2026 14:46:09 GMT", "body": '0{"sid":"BBBBBBBBBBBBBBBBBBBB"}'}]
    assert list(comparing.differences("f", "c", theirs, ours)) == []
    ours[0]["status"] = "500"
    ours.append({"end": "closed"})
    found = list(comparing.differences("f", "c", theirs, ours))
    assert [(one.where, one.theirs, one.ours) for one in found] == [
        ("1 status", "200", "500"),
        ("2 end", "–", "closed"),
    ]


def test_a_decision_explains_what_it_says_and_no_more() -> None:
    decision = comparing.Decision("what", "why", where=r"\d status", theirs="200", ours="204", case="requests: .*")
    meant = comparing.Difference("f", "requests: GET", "1 status", "200", "204")
    others = [
        comparing.Difference("f", "errors: GET", "1 status", "200", "204"),
        comparing.Difference("f", "requests: GET", "1 body", "200", "204"),
        comparing.Difference("f", "requests: GET", "1 status", "200", "2040"),
    ]
    assert comparing.sort_out([meant, *others], [decision]) == (others, {decision: [meant]})


def test_a_section_is_replaced_and_nothing_else() -> None:
    text = "# A\n\n<!-- one -->\nold\n<!-- /one -->\n\n<!-- two -->\nkept\n<!-- /two -->\n"
    new = document.replace(text, document.Section("one", "new \\1"))
    assert new == text.replace("old\n", "\nnew \\1\n\n")
    assert document.replace(new, document.Section("one", "new \\1")) == new
    with pytest.raises(ValueError, match="three"):
        document.replace(text, document.Section("three", ""))


def test_the_document_has_every_section() -> None:
    text = (ROOT / "docs" / "compatibility.md").read_text(encoding="utf-8")
    for name in SECTIONS:
        document.replace(text, document.Section(name, ""))


def test_the_outcomes_of_a_suite_are_read(tmp_path: Path) -> None:
    cases = '<testcase classname="a" name="1"/><testcase classname="a" name="2"><failure/></testcase>'
    cases += (
        '<testcase classname="a" name="3"><skipped/></testcase><testcase classname="a" name="4"><error/></testcase>'
    )
    (tmp_path / "report.xml").write_text(f"<testsuites><testsuite>{cases}</testsuite></testsuites>")
    theirs = suites.Outcome(dict(suites.outcomes(tmp_path / "report.xml")), 1, "")
    assert str(theirs) == "1 passed, 2 failed, 1 skipped"
    assert suites.worse(theirs, suites.Outcome({"a::2": "passed"}, 1, "")) == ["a::1"]
    assert suites.worse(theirs, theirs) == []


SERVED = """
async def app(scope, receive, send):
    assert scope["type"] == "http"
    await send({"type": "http.response.start", "status": 200})
    await send({"type": "http.response.body", "body": b"answer: one"})
"""
LINGERS = """
import http.server
import os
import subprocess
import sys


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"answer: one")


pause = [sys.executable, "-c", "import signal; signal.pause()"]
left = subprocess.Popen(pause, start_new_session=True)
with open("left", "w") as file:
    file.write(str(left.pid))
server = http.server.HTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler)
while True:
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        if len(sys.argv) == 1:
            os._exit(0)
        print("not yet", flush=True)
"""
linux = pytest.mark.skipif(sys.platform != "linux", reason="processes are found in /proc")


def examined(source: str, *command: str, reloads: tuple[str, ...] = ()) -> programs.Outcome:
    """The outcome of a program: its source, the words that start it, and those that start it where it reloads."""
    program = catalogue.Program(
        "toy",
        ("toy",),
        ("python", *command),
        visit=lambda visitor: visitor.get("/"),
        files={"app.py": source},
        reloads=reloads,
        environment={"PYTHONPATH": PACKAGE},
    )
    return programs.examine(program, environments.Environment(Path(sys.prefix)))


@linux
def test_a_program_is_started_visited_changed_and_ended() -> None:
    command = ("-m", "uvicorn", "app:app", "--port", "{port}")
    outcome = examined(SERVED, *command, reloads=("python", *command, "--reload"))
    assert outcome.steps == {"start": "", "serve": "", "reload": "", "Ctrl-C": ""}, outcome.output
    assert outcome.codes == [0, 0]
    assert "^C" in outcome.output


@linux
def test_a_process_that_a_program_leaves_behind_is_found_and_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "LEAVE", 2.0)
    outcome = examined(LINGERS, "app.py")
    assert "signal.pause()" in outcome.steps.pop("Ctrl-C")
    assert outcome.steps == {"start": "", "serve": ""}
    assert [one for one in terminal.running().values() if "signal.pause()" in one.command] == []


@linux
def test_a_program_that_goes_on_after_ctrl_c_fails_and_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "LEAVE", 2.0)
    outcome = examined(LINGERS, "app.py", "stays")
    assert outcome.steps["Ctrl-C"] == "still runs 2 s after Ctrl-C"
    assert "not yet" in outcome.output


@linux
def test_a_program_that_ends_at_once_says_with_what() -> None:
    outcome = examined("raise SystemExit(7)", "app.py")
    assert (outcome.steps, outcome.codes) == ({"start": "it ended with 7"}, [7])


def test_a_step_passes_or_has_its_reason() -> None:
    program = catalogue.Program("toy", ("toy==1.*",), ("toy",), lambda visitor: "", reasons={"reload": "it has none"})
    theirs = programs.Outcome({"start": "", "serve": "", "Ctrl-C": ""}, [0], "")
    ours = programs.Outcome({"start": "", "serve": "silence"}, [3], "Traceback (most recent call last):")
    cells = [programs.cell(program, step, theirs, ours) for step in programs.STEPS]
    assert cells == ["passes", "fails: silence", "it has none", "fails: not tried"]
    assert programs.faults(program, theirs, ours) == [
        "toy: serve: silence; with the other package: passes",
        "toy: Ctrl-C: not tried; with the other package: passes",
    ]
    assert programs.faults(program, theirs, theirs) == []
    assert programs.remarks(program, theirs, ours) == [
        "toy: exit codes [0] there, [3] here",
        "toy: writes a traceback with ours alone",
    ]
    assert programs.remarks(program, ours, theirs)[0] == "toy: serve: with the other package: silence"


def test_every_program_has_what_its_steps_need() -> None:
    for program in catalogue.PROGRAMS:
        assert bool(program.reloads) != ("reload" in program.reasons), program.name
        if program.reloads:
            assert catalogue.BEFORE in program.files[program.changed], program.name
    names = {program.package for program in catalogue.PROGRAMS}
    wanted = "nicegui solara litellm mlflow datasette gradio marimo streamlit prefect mcp fastmcp litestar bentoml"
    assert names == set(wanted.split())


def test_a_test_that_fails_is_explained_by_its_name() -> None:
    reason = suites.Reason("tests.a", r"one two_\w+", "decided")
    assert [reason.covers(f"tests.{name}") for name in ("a::test_one", "a::test_one[x]", "a::test_two_b[y]")] == [
        True
    ] * 3
    assert not [name for name in ("a::test_one_more", "b::test_one", "a::test_two") if reason.covers(f"tests.{name}")]
    suite = suites.Suite("a", "1", (), meant=(reason,))
    theirs = suites.Outcome(
        dict.fromkeys(["tests.a::test_one[1]", "tests.a::test_three", "tests.a::x"], "passed"), 1, ""
    )
    ours = suites.Outcome({"tests.a::test_one[1]": "failed", "tests.a::x": "passed"}, 1, "")
    assert suites.explained(suite, theirs, ours) == ({reason: ["tests.a::test_one[1]"]}, ["tests.a::test_three"])


def test_the_document_gives_the_reasons_of_the_table_and_the_tests_that_pass() -> None:
    """What was written is of the reasons that are there: nobody edits it by hand."""
    text = (ROOT / "docs" / "compatibility.md").read_text(encoding="utf-8")
    rows = document.rows(text, "own")
    assert {row[2] for row in rows} <= {reason.why for reason in own.REASONS}
    found = re.search(r"Of (\d+) tests that pass with uvicorn 0\.54\.0 here, (\d+) pass", text)
    assert found is not None
    counted, kept = int(found[1]), int(found[2])
    assert kept >= own.LEAST and kept + sum(int(row[1]) for row in rows) == counted


def test_of_a_source_distribution_only_tests_are_unpacked() -> None:
    wanted = suites._is_wanted
    assert wanted("a-1/tests/b/c.py") and wanted("a-1/pyproject.toml")
    assert not [name for name in ("a-1/a/tests.py", "a-1/src/a/b.py", "a-1/a/tests/c.py") if wanted(name)]


@pytest.mark.skipif(sys.platform == "win32", reason="the notes are datagrams between processes")
def test_starlette_answers_the_same_under_both_parsers() -> None:
    pytest.importorskip("httptools")
    forms = importlib.util.find_spec("python_multipart") is not None
    asked = [case for case in cases.cases_of("starlette") if forms or case.kind not in ("forms", "uploads")]
    path = os.pathsep.join([PACKAGE, str(ROOT / "compatibility" / "apps")])
    seen = [
        frameworks.accounts(
            frameworks.boot(Path(sys.executable), "starlette", ("--http", http), PYTHONPATH=path), asked, 1
        )
        for http in ("httptools", "h11")
    ]
    for name in seen[0]:
        assert list(comparing.differences("starlette", name, seen[0][name], seen[1][name])) == []
    assert len(seen[0]) > 40
    assert [name for name, account in seen[0].items() if any("failed" in fact for fact in account)] == []
    assert seen[0]["server-sent events: the client leaves"][1] == {"note": "events ended"}
    assert seen[0]["disconnects: noticed while the application works"][1] == {"note": "heard http.disconnect True"}
    assert seen[0]["shutdown"] == [{"note": "shutdown"}, {"exit code": "0"}]
