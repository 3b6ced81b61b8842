"""The other package's own test suite, unchanged, with ours in its place: what passes, and why the rest does not.

Its tests come from its source distribution, of which nothing else is unpacked. HTTP/2 and the parser and loop that are
packages of their own (zttp, zuvloop) are not installed, so that their tests skip, and benchmarks are left out. What is
counted is what passes with the other package in the same environment. A test has a time limit, because one that mocks
the master would serve for ever.

Owns: the reasons, by the names of tests. Must not: change a test. A test that fails without a reason is a failure of
this section, by itself as well, and so is a reason for tests that all pass.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace

from compatibility.document import Section, table
from compatibility.environments import Environment, pair
from compatibility.suites import Outcome, Reason, Suite, examine, explained, worse

LEAST = 850
"""Tests that have to pass."""

HTTP = "tests.protocols.test_http"
SOCKETS = "tests.protocols.test_websocket"
PROXIES = "tests.middleware.test_proxy_headers"
MASTER = "tests.supervisors.test_multiprocess"
RELOAD = r"tests.supervisors.test_reload(.TestBaseReload)?"
CLI = "tests.test_cli"
CONFIG = "tests.test_config"
MAIN = "tests.test_main"

REASONS = (
    Reason(
        HTTP,
        "invalid_header_name response_header_splitting partial_response_returned duplicate_start_message",
        "An application that fails before a byte is on the wire is answered 500; there the connection is closed without"
        " an answer.",
    ),
    Reason(
        HTTP,
        "huge_headers_h11protocol_failure huge_headers_httptools_will_pass huge_headers_httptools"
        " huge_headers_h11protocol_failure_with_setting huge_headers_h11_max_incomplete",
        "One limit for both parsers, 64 KiB by default, of line and headers together; above it the answer is 431.",
    ),
    Reason(
        HTTP,
        "message_after_body_complete value_returned",
        "The response is complete, so the connection goes on; the fault is logged all the same.",
    ),
    Reason(HTTP, "max_concurrency", "The limit is of requests in flight, and a limit of 1 lets one through."),
    Reason(
        HTTP,
        "100_continue_sent_when_body_consumed",
        "No 100 Continue to a client that has sent its body already (RFC 9110, 10.1.1).",
    ),
    Reason(HTTP, "scopes", "`asgi.spec_version` is 2.4: `send` raises an `OSError` once the client has left."),
    Reason(HTTP, "httptools_http10_keep_alive_disabled", "HTTP/1.0 clients that ask for keep-alive get it."),
    Reason(
        HTTP,
        "unsupported_ws_upgrade_request_warn_on_auto header_upgrade_is_websocket_depend_not_installed",
        "The warning names the package to install: an extra of that name would install the other server.",
    ),
    Reason(
        SOCKETS,
        "duplicate_handshake asgi_return_value close_transport_on_asgi_return",
        "A WebSocket whose application has failed or returned is closed with 1011 or 1000; there the connection is"
        " dropped, which looks like a fault of the network.",
    ),
    Reason(
        SOCKETS,
        "server_reject_connection_with_invalid_msg server_reject_connection_with_missing_body"
        " server_multiple_websocket_http_response_start_events",
        "An application that fails before a byte of its denial is on the wire is answered 500, not with the status that"
        " it meant to send.",
    ),
    Reason(
        SOCKETS,
        "server_reject_connection_with_body_nolength",
        "A body of one piece gets a Content-Length; there it goes in chunks.",
    ),
    Reason(SOCKETS, "multiple_server_header", "A Server field of the settings replaces ours; there it is one more."),
    Reason(
        SOCKETS,
        "connection_lost_before_handshake_complete",
        "A stop waits for the application's answer to a handshake, within its time; the client of the test does not.",
    ),
    Reason(
        SOCKETS,
        "send_binary_data_to_server_bigger_than_default_on_websockets",
        "Our half is closed behind the close frame, so that the client can read it; aborting then fails in asyncio's"
        " transport, which the client of the test uses.",
        maybe=True,
    ),
    Reason(
        SOCKETS,
        "send_respects_write_backpressure",
        "`send` waits after it has written while the transport is full, not before.",
    ),
    Reason(
        SOCKETS,
        "close_resumes_reads_paused_on_an_unconsumed_message",
        "Reading pauses when `--ws-max-queue` messages wait for the application, not after one.",
    ),
    Reason(
        MASTER,
        r"multiprocess_\w+",
        "The master is another one: it forks, owns the sockets, and has no methods for each signal. What it does is in"
        " this project's own tests.",
    ),
    Reason(
        RELOAD,
        "override_defaults should_watch_cwd should_watch_multiple_dirs",
        "The tests replace parts of the watcher inside, which are others here.",
    ),
    Reason(RELOAD, "reload_when_pattern_matched_file_is_changed", "Patterns work without watchfiles, too."),
    Reason(
        RELOAD,
        "reloader_should_initialize should_reload_when_python_file_in_subdir_is_changed watchfiles_no_changes"
        " should_not_reload_when_dot_file_is_changed",
        "What a test of the master before it has left (a thread, a file that has changed) reaches this one.",
        maybe=True,
    ),
    Reason(
        CLI,
        "cli_call_change_reload_run cli_call_multiprocess_run cli_uds",
        "The tests replace `bind_socket` and the supervisors and look at the calls: the command starts its master"
        " without them.",
    ),
    Reason(CLI, "cli_http2", "`--http2` here needs no `--http zttp`."),
    Reason(
        CLI, "app_dir", "`--app-dir` is put on the import path by who imports the application; the test replaces that."
    ),
    Reason(
        CONFIG,
        r"app_unimportable_module log_config_yaml_missing_pyyaml",
        "A fault that a person has to mend is a sentence and exit code 3 (or a `ConfigError`), whichever exception is"
        " below it.",
    ),
    Reason("tests.test_ssl", r"\w+_requires_ssl_certfile \w+_must_return_ssl_context", "The same, for a context."),
    Reason(CONFIG, "http2_requires_zttp_protocol", "`--http2` here works with every HTTP parser."),
    Reason(
        CONFIG,
        "log_config_default log_config_file",
        "The test replaces the module logging.config and compares the calls: the dictionary of the program is copied"
        " before colours are put in; a file that is not there is said; `--use-colors invalid` is refused.",
    ),
    Reason(
        CONFIG,
        "env_file",
        "WEB_CONCURRENCY=0 is one worker, and `workers` says so; the file that is read is not logged.",
    ),
    Reason(
        CONFIG,
        "reload_dir_is_set reload_includes_exclude_dir_patterns_are_matched warn_when_using_reload_and_workers",
        "What is watched, and that one worker is reloaded, is logged when watching starts, not when settings are made.",
    ),
    Reason(CONFIG, "ws_websockets_emits_deprecation_warning", "`--ws websockets` is the implementation of today here."),
    Reason(
        CONFIG,
        "bind_fd_works_with_reload_or_workers",
        "A descriptor that is no socket which could listen (it is not bound) is refused at the start.",
    ),
    Reason(
        CONFIG,
        "custom_loop__not_importable_custom_loop_setup_function proxy_headers",
        "Another message for the same error; the connection reads the fields of trusted proxies, not a middleware.",
    ),
    Reason("tests.importer.test_importer", r"\w+", "The message says more: which module is missing, and where."),
    Reason(
        PROXIES,
        "forwarded_hosts proxy_headers_trusted_hosts_malformed proxy_headers_x_forwarded_for_port_shapes",
        "Entries of X-Forwarded-For that are no address are not taken for one.",
    ),
    Reason(
        "tests.middleware.test_logging",
        r"running_log_using_\w+",
        "A Unix socket and a descriptor are logged by their address only.",
    ),
    Reason(
        MAIN,
        "run_fails_fast_in_parent_on_bad_app_path run_imports_app_before_starting_event_loop",
        "The application is imported by the server that serves it.",
    ),
    Reason(
        MAIN,
        "run_invalid_app_config_combination run_skips_eager_app_import_with_workers run_multiprocess",
        "An application object can have workers, and a wrong combination is exit code 2; the master is not the"
        " supervisor that the test replaces.",
        maybe=True,
    ),
    Reason(MAIN, "run_match_config_params", "`run` and `Config` have options of ours, by keyword."),
    Reason(MAIN, "deprecated_server_state_from_main", "`uvicorn.main.ServerState` is there without a warning."),
    Reason(
        "tests.test_server",
        "shutdown_on_early_exit_during_startup",
        "Asked to stop while the application starts, the server does not wait for the rest of its startup.",
    ),
)

SUITE = Suite(
    "uvicorn",
    "0.54.0",
    (
        *("pytest>=9.1.1", "pytest-mock==3.15.1", "pytest-timeout==2.4.0"),
        *("trustme==1.2.1", "cryptography>=44.0.3", "httpx2", "a2wsgi==1.10.10", "wsproto==1.3.2"),
    ),
    ("--timeout=20", "--continue-on-collection-errors", "--ignore=tests/benchmarks"),
    meant=REASONS,
)


def rows(theirs: Outcome, ours: Outcome) -> list[list[str]]:
    """Each reason with the tests that it explains."""
    found, _ = explained(SUITE, theirs, ours)
    lines = []
    for reason, names in found.items():
        if names:
            functions = sorted({name.partition("::")[2].partition("[")[0].removeprefix("test_") for name in names})
            lines.append([", ".join(f"`{one}`" for one in functions), str(len(names)), reason.why])
    return lines


def ask_again(theirs: Outcome, ours: Outcome, environment: Environment) -> None:
    """Run by themselves those that no reason explains: what a test has left open fails another one, which is not to
    blame then.
    """
    _, others = explained(SUITE, theirs, ours)
    if others:
        functions = " or ".join(sorted({name.partition("::")[2].partition("[")[0] for name in others}))
        alone = examine(replace(SUITE, arguments=(*SUITE.arguments, "-k", functions)), environment)
        ours.tests.update({name: alone.tests[name] for name in others if name in alone.tests})


def run(only: Sequence[str] = ()) -> Section:
    environments = pair("suite-uvicorn", SUITE.requirements)
    print("uvicorn's own tests, twice …", file=sys.stderr)
    theirs, ours = (examine(SUITE, one) for one in (environments.peer, environments.ours))
    ask_again(theirs, ours, environments.ours)
    lost = set(worse(theirs, ours))
    counted = theirs.count("passed")
    kept = counted - len(lost)
    found, others = explained(SUITE, theirs, ours)
    failures = [f"{name} passes with the other package only" for name in others]
    failures += [f"a reason explains nothing: {one.why}" for one, names in found.items() if not (names or one.maybe)]
    if kept < LEAST:
        failures.append(f"{kept} tests pass, not {LEAST}")
    version = environments.peer.versions()["uvicorn"]
    text = [
        f"Of {counted} tests that pass with uvicorn {version} here, {kept} pass with ours.",
        "",
        *table(["tests", "of them", "why they do not pass"], rows(theirs, ours)),
    ]
    remarks = [ours.output[-6000:]] if others else []
    return Section("own", "\n".join(text), failures, remarks)
