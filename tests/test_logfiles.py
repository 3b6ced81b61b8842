"""Where log lines go: whole lines, in batches while a flusher is registered, into files that may be moved away."""

from __future__ import annotations

import contextlib
import copy
import http.client
import io
import logging
import logging.config
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from applications import Receive, Scope, Send
from clients import connect
from programs import PACKAGE, Start, run_code
from servers import LoopFactory, serving
from uvicorn.config import Config
from uvicorn.errors import ConfigError
from uvicorn.logging import LOGGING_CONFIG
from uvicorn.logs import files as logfiles
from uvicorn.process import channel

if sys.platform == "win32":
    pytest.skip("files are not moved away while they are open", allow_module_level=True)

ERROR, ACCESS = logging.getLogger("uvicorn.error"), logging.getLogger("uvicorn.access")


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    assert scope["type"] == "http"
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"here"})


def ask(path: str = "/") -> None:
    ACCESS.info('%s - "%s %s HTTP/%s" %d', "1.2.3.4:5", "GET", path, "1.1", 200)


def line(path: str = "/") -> str:
    return f'INFO:     1.2.3.4:5 - "GET {path} HTTP/1.1" 200 OK\n'


Packets = Callable[[pytest.MonkeyPatch], socket.socket]


class Flusher:
    """An object that is registered as a flusher."""


@pytest.fixture
def held() -> Iterator[Flusher]:
    flusher = Flusher()
    logfiles.hold(flusher)
    yield flusher
    logfiles.release(flusher)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "a.log"


@pytest.fixture(autouse=True)
def close_files() -> Iterator[None]:
    yield
    for handler in list(logfiles._handlers):
        handler.close()


# -- into files ------------------------------------------------------------------------------------------------


def test_each_log_goes_to_its_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Config(app, log_file=tmp_path / "e", access_log_file=str(tmp_path / "a"), use_colors=True)
    ERROR.info("hello", extra={"color_message": "\x1b[1mhello"})
    ask()
    assert (tmp_path / "e").read_text() == "INFO:     hello\n"  # a file has no colours
    assert (tmp_path / "a").read_text() == line()
    assert capsys.readouterr() == ("", "")


def test_one_file_leaves_the_other_log_where_it_was(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Config(app, access_log_file=log)
    ERROR.info("hello")
    ask()
    assert capsys.readouterr() == ("", "INFO:     hello\n")
    Config(app, log_file=log)
    ask("/again")
    ERROR.info("hello again")
    assert capsys.readouterr() == (line("/again"), "")
    assert log.read_text() == line() + "INFO:     hello again\n"


def test_what_no_encoding_can_say_is_escaped(log: Path) -> None:
    Config(app, log_file=log)
    ERROR.info("é \udc80")
    assert log.read_text(encoding="utf-8") == "INFO:     é \\udc80\n"


def test_no_access_log_opens_no_file(log: Path) -> None:
    Config(app, access_log=False, access_log_file=log)
    assert not log.exists()


def test_a_record_that_cannot_be_formatted_does_not_raise(
    log: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Config(app, log_file=log)
    monkeypatch.setattr(logging, "raiseExceptions", True)
    ERROR.info("%d", "x")
    assert "Logging error" in capsys.readouterr().err
    assert log.read_text() == ""


@pytest.mark.parametrize(
    ("name", "why"),
    [("missing/a.log", "there is no directory .*/missing"), ("", "Is a directory"), ("fifo", "No such dev")],
)
@pytest.mark.parametrize("option", ["log_file", "access_log_file"])
def test_a_file_that_cannot_be_opened(tmp_path: Path, option: str, name: str, why: str) -> None:
    os.mkfifo(tmp_path / "fifo")  # that nobody reads
    with pytest.raises(ConfigError, match=f"^Cannot open --{option.replace('_', '-')} {tmp_path}.*: {why}"):
        Config(app, **{option: tmp_path / name})  # type: ignore[arg-type]


def test_a_relative_path_survives_a_change_of_the_folder(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(log.parent)
    Config(app, log_file=log.name)
    monkeypatch.chdir("/")
    log.unlink()
    logfiles.reopen()
    ERROR.info("x")
    assert log.read_text() == "INFO:     x\n"


# -- with a configuration of the user's own --------------------------------------------------------------------


def test_only_what_writes_to_a_standard_stream_is_replaced(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own = copy.deepcopy(LOGGING_CONFIG)
    own["formatters"]["default"]["fmt"] = "mine %(message)s"
    own["handlers"]["kept"] = {"class": "logging.StreamHandler", "stream": (stream := io.StringIO())}
    own["handlers"]["default"]["level"] = "WARNING"
    own["loggers"]["uvicorn"]["handlers"] = ["default", "kept"]
    Config(app, log_config=own, log_file=log)
    ERROR.info("quiet")
    ERROR.warning("loud")
    assert log.read_text() == "mine loud\n"
    assert stream.getvalue() == "quiet\nloud\n"
    assert capsys.readouterr() == ("", "")


def test_a_configuration_without_such_a_handler_gets_one(log: Path, tmp_path: Path) -> None:
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logging.getLogger(name).handlers = []
    for _ in range(2):  # the second one replaces the first
        Config(app, log_config=None, log_level="info", log_file=log, access_log_file=tmp_path / "b")
    ERROR.info("x")
    ask()
    assert log.read_text() == "INFO:     x\n"
    assert (tmp_path / "b").read_text() == line()


def test_a_handler_class_of_the_users_stays(log: Path, held: Flusher) -> None:
    own = copy.deepcopy(LOGGING_CONFIG)
    own["handlers"]["access"] = {"formatter": "access", "class": "logging.FileHandler", "filename": str(log)}
    Config(app, log_config=own)
    ask()
    assert log.read_text() == line()
    logging.getLogger("uvicorn.access").handlers[0].close()


def test_it_survives_a_configuration_by_the_application(log: Path, tmp_path: Path, held: Flusher) -> None:
    """dictConfig closes every handler there is, also those that stay where they are."""
    Config(app, log_file=log, access_log_file=tmp_path / "b")
    ask("/1")
    logging.config.dictConfig({"version": 1, "disable_existing_loggers": False})
    assert (tmp_path / "b").read_text() == line("/1")
    ERROR.info("x")
    ask("/2")
    logfiles.release(held)
    assert log.read_text() == "INFO:     x\n"
    assert (tmp_path / "b").read_text() == line("/1") + line("/2")


# -- batches ---------------------------------------------------------------------------------------------------


def test_the_access_log_is_batched_while_somebody_flushes(log: Path, held: Flusher) -> None:
    Config(app, access_log_file=log)
    ask("/0")
    assert log.read_text() == line("/0"), "nothing has come before: the first is written at once"
    ask("/1")
    ask("/2")
    assert log.read_text() == line("/0")
    logfiles.flush()
    assert log.read_text() == line("/0") + line("/1") + line("/2")
    ask("/3")
    assert not log.read_text().endswith(line("/3")), "there were some between two flushes"
    logfiles.flush()
    logfiles.flush()
    ask("/quiet")
    assert log.read_text().endswith(line("/3") + line("/quiet"))
    ask("/3")
    logfiles.release(held)
    assert log.read_text().endswith(line("/3"))
    ask("/4")
    assert log.read_text().endswith(line("/4"))


def test_the_log_is_never_batched(log: Path, held: Flusher) -> None:
    Config(app, log_file=log)
    ERROR.info("x")
    assert log.read_text() == "INFO:     x\n"


def test_logging_shutdown_writes_what_is_pending(log: Path, held: Flusher) -> None:
    Config(app, access_log_file=log)
    ask("/first")
    ask()
    logging.shutdown([lambda: ACCESS.handlers[0]])
    assert log.read_text() == line("/first") + line()


def test_a_flusher_that_is_gone_flushes_no_more(log: Path) -> None:
    flusher = Flusher()
    logfiles.hold(flusher)
    other = Flusher()
    logfiles.hold(other)
    logfiles.release(other)
    Config(app, access_log_file=log)
    ask("/first")
    ask()
    assert log.read_text() == line("/first")
    logfiles.release(flusher)
    assert log.read_text() == line("/first") + line()


@pytest.fixture
def packets() -> Iterator[Packets]:
    """Standard output becomes, when called, a socket that keeps what was written by one write together."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.setblocking(False)
    with ours, theirs, open(os.dup(theirs.fileno()), "w", encoding="utf-8") as stream:

        def become(monkeypatch: pytest.MonkeyPatch) -> socket.socket:
            monkeypatch.setattr(sys, "stdout", stream)
            return ours

        yield become


def everything(sock: socket.socket) -> Iterator[bytes]:
    try:
        while True:
            yield sock.recv(1 << 20)
    except BlockingIOError:
        pass


def test_a_batch_ends_at_a_line_and_fits_into_a_pipe(
    packets: Packets, monkeypatch: pytest.MonkeyPatch, held: Flusher
) -> None:
    sock = packets(monkeypatch)
    Config(app)
    wanted = ""
    for number in range(200):
        ask("/" + "x" * number)
        wanted += line("/" + "x" * number)
    ask("/" + "y" * 9000)
    logfiles.flush()
    found = list(everything(sock))
    assert b"".join(found).decode() == wanted + line("/" + "y" * 9000)
    assert all(one.endswith(b"\n") for one in found)
    assert all(len(one) <= 4096 for one in found[:-1]) and len(found[-1]) > 9000
    assert max(map(len, found[:-1])) > 3500


def test_what_was_printed_comes_first(packets: Packets, monkeypatch: pytest.MonkeyPatch, held: Flusher) -> None:
    sock = packets(monkeypatch)
    Config(app)
    print("printed")
    ask()
    logfiles.flush()
    assert b"".join(everything(sock)).decode() == "printed\n" + line()


def test_a_program_may_give_the_handler_another_stream(
    packets: Packets, monkeypatch: pytest.MonkeyPatch, held: Flusher
) -> None:
    sock = packets(monkeypatch)
    Config(app)
    (handler,) = ACCESS.handlers
    assert isinstance(handler, logging.StreamHandler)
    ask("/1")
    stream = io.StringIO()
    handler.setStream(stream)
    ask("/2")
    logfiles.flush()
    assert b"".join(everything(sock)).decode() == line("/1")
    assert stream.getvalue() == line("/2")


def test_a_terminal_gets_a_line_at_a_time(monkeypatch: pytest.MonkeyPatch, held: Flusher) -> None:
    ours, theirs = os.openpty()
    try:
        with open(theirs, "w") as stream:
            monkeypatch.setattr(sys, "stdout", stream)
            Config(app, use_colors=False)
            ask()
            assert os.read(ours, 1000).decode().replace("\r\n", "\n") == line()
    finally:
        os.close(ours)


def test_a_child_does_not_write_its_parents_lines(log: Path) -> None:
    code = f"""
import logging, os
from uvicorn.logs import files as logfiles
from uvicorn.config import Config
config = Config("x:y", access_log_file={str(log)!r})
logfiles.hold(config)
access = logging.getLogger("uvicorn.access")
access.info("", "a", "GET", "/first", "1.1", 200)
access.info("", "a", "GET", "/parent", "1.1", 200)
child = os.fork()
if not child:
    access.info("", "a", "GET", "/child", "1.1", 200)  # at once: nobody flushes here
    logging.shutdown()
    os._exit(0)
os.waitpid(child, 0)
"""
    code = code.replace('info("", ', """info('%s - "%s %s HTTP/%s" %d', """)
    done = run_code(code)
    assert (done.returncode, done.stderr) == (0, "")
    assert [one.split()[4] for one in log.read_text().splitlines()] == ["/first", "/child", "/parent"]


# -- when writing fails ----------------------------------------------------------------------------------------


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_a_full_disk_is_told_once_and_raises_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    Config(app, log_file="/dev/full")
    ERROR.info("x")
    ERROR.info("y")
    assert capsys.readouterr().err == (
        "uvicorn: Cannot write to --log-file /dev/full: No space left on device. Lines are lost until it works again.\n"
    )


def test_a_torn_line_is_not_glued_to_the_next(log: Path) -> None:
    """The disk takes a part of a line, is full, and has room again."""
    code = f"""
import logging, resource
from uvicorn.config import Config
Config("x:y", log_file={str(log)!r})
log, limits = logging.getLogger("uvicorn.error"), resource.getrlimit(resource.RLIMIT_FSIZE)
log.info("one")
resource.setrlimit(resource.RLIMIT_FSIZE, (20, limits[1]))
log.info("torn")
log.info("lost")
resource.setrlimit(resource.RLIMIT_FSIZE, limits)
log.info("two")
log.info("three")
"""
    done = run_code(code)
    assert log.read_text() == "INFO:     one\nINFO: \nINFO:     two\nINFO:     three\n"
    assert done.stderr.count("\n") == 1 and "File too large. Lines are lost" in done.stderr


def test_a_reader_that_is_gone(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    reader, writer = os.pipe()
    with open(writer, "w") as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        Config(app)
        os.close(reader)
        ask()
        ask()
    assert capsys.readouterr().err.count("Broken pipe. Lines are lost until it works again.\n") == 1


def test_a_closed_standard_output(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    reader, writer = os.pipe()
    stream = open(writer, "w")  # noqa: SIM115  # it is to be closed in the middle
    monkeypatch.setattr(sys, "stdout", stream)
    Config(app)
    stream.close()
    ask()
    os.close(reader)
    assert "I/O operation on closed file" in capsys.readouterr().err


# -- reopening -------------------------------------------------------------------------------------------------


def test_after_a_move_lines_go_to_a_new_file(log: Path, held: Flusher) -> None:
    Config(app, access_log_file=log)
    ask("/1")
    log.rename(old := log.with_suffix(".1"))
    ask("/2")
    assert logfiles.reopen() == f"reopened {log}."
    ask("/3")
    logfiles.flush()
    assert old.read_text() == line("/1") + line("/2")
    assert log.read_text() == line("/3")


def test_the_old_file_stays_when_there_is_no_new_one(tmp_path: Path) -> None:
    (folder := tmp_path / "logs").mkdir()
    Config(app, log_file=folder / "a")
    folder.rename(moved := tmp_path / "moved")
    assert logfiles.reopen() == "no log file could be reopened."
    ERROR.info("x")
    said, x = (moved / "a").read_text().splitlines()
    assert (
        said
        == f"ERROR:    Cannot reopen --log-file {folder}/a: there is no directory {folder}. The old file stays in use."
    )
    assert x == "INFO:     x"
    folder.mkdir()
    assert logfiles.reopen() == f"reopened {folder}/a."


def test_reopening_leaks_no_descriptor(log: Path) -> None:
    Config(app, log_file=log)
    fd = os.dup(0)
    os.close(fd)
    logfiles.reopen()
    again = os.dup(0)
    os.close(again)
    assert fd == again


def test_nothing_to_reopen() -> None:
    assert logfiles.reopen() == "there is no open log file to reopen."


# -- as a server uses it ---------------------------------------------------------------------------------------


async def test_a_line_is_there_with_the_answer_or_after_a_tick(log: Path, loop_factory: LoopFactory) -> None:
    async with serving(app, log_config=LOGGING_CONFIG, access_log_file=log) as server:
        for path in ("/1", "/2"):
            async with connect(server) as client:
                await client.get(path)
                assert f"GET {path} HTTP" in log.read_text(), "nobody has asked since the last tick but one"
                await client.get("/more")
            await server._pulse.beat()
            await server._pulse.beat()
            assert "GET /more HTTP" in log.read_text()
            await server._pulse.beat()


async def test_the_master_asks_for_new_files(log: Path, master: channel.Endpoint, loop_factory: LoopFactory) -> None:
    async with serving(app, log_config=LOGGING_CONFIG, access_log_file=log) as server:
        log.rename(log.with_suffix(".1"))
        master.send(channel.Reopen())
        await server._pulse.beat()
        while not log.exists():
            await server._pulse.beat()


def test_the_message() -> None:
    assert isinstance(channel.decode(channel.encode(channel.Reopen())), channel.Reopen)


# -- nobody reads ----------------------------------------------------------------------------------------------

UNREAD = """
import os
async def app(scope, receive, send):
    assert scope["type"] == "http"
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": str(os.getpid()).encode()})
"""


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="no pipe can be opened anew")
@pytest.mark.parametrize("options", [("--workers", "2"), ("--no-supervise",)])
def test_a_pipe_that_nobody_reads_holds_nothing_up(
    options: tuple[str, ...], start_command: Start, tmp_path: Path
) -> None:
    """Requests are answered, SIGTERM works, lines are whole, long ones too, and dropped lines are counted."""
    (tmp_path / "unread.py").write_text(UNREAD)
    server = start_command("unread:app", "--port", "0", *options)
    port = server.port
    lines = 0
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as client:
        for number in range(600):
            client.request("GET", f"/{number}-" + "x" * (5000 if number % 3 else 100))
            lines += client.getresponse().read() != b""
    assert server.process.stdout is not None
    blocking = os.get_blocking(server.process.stdout.fileno())
    server.expect("-xxx")  # from here on it is read
    assert lines == 600 and blocking
    assert server.end(signal.SIGTERM) == 0
    written = [line for line in server.text.splitlines() if '"GET /' in line]
    assert all(re.fullmatch(r'INFO: +127\.0\.0\.1:\d+ - "GET /\d+-x+ HTTP/1\.1" 200 OK', line) for line in written)
    told = re.findall(r"(\d+) lines were dropped", server.text)
    assert len(written) + sum(map(int, told)) == 600


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="no pipe can be opened anew")
def test_a_term_is_heard_although_nobody_reads(start_command: Start, tmp_path: Path) -> None:
    (tmp_path / "unread.py").write_text(UNREAD)
    reader, writer = os.pipe()
    try:
        server = start_command("unread:app", "--port", "0", "--workers", "2", stdout=subprocess.DEVNULL, stderr=writer)
        until = os.read(reader, 65536)
        while b"ready: 2 workers" not in until:
            until += os.read(reader, 65536)
        os.set_blocking(writer, False)
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(writer, b"x" * 4096)
        os.set_blocking(writer, True)
        server.tell(signal.SIGHUP)
        server.tell(signal.SIGTERM)
        assert server.process.wait(60) == 0
    finally:
        os.close(reader)
        os.close(writer)


def test_above_the_bound_whole_lines_are_dropped_and_those_of_requests_first(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    reader, writer = os.pipe()
    try:
        with open(writer, "w") as stream:
            monkeypatch.setattr(sys, "stdout", stream)
            monkeypatch.setattr(sys, "stderr", stream)
            Config(app)
            for _ in range(3000):
                ask("/" + "a" * 1000)
            for number in range(20):
                ERROR.info("error %d", number)
            text = b""
            os.set_blocking(reader, False)
            for _ in range(2000):
                with contextlib.suppress(BlockingIOError):
                    text += os.read(reader, 65536)
                logfiles.flush()
            said = text.decode()
            assert [f"error {number}\n" in said for number in range(20)] == [True] * 20
            (dropped,) = re.findall(r"(\d+) lines were dropped", said)
            assert int(dropped) + said.count("GET /") == 3000 and 500_000 < len(said) < 2_000_000
    finally:
        os.close(reader)


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="no pipe can be opened anew")
def test_long_lines_of_several_processes_never_mix() -> None:
    code = """
import logging, os, sys
from uvicorn.logs import files as logfiles
from uvicorn.config import Config
Config("x:y")
for _ in range(3):
    if not os.fork():
        break
for size in [10, 9000, 100000, 5000] * 10:
    logging.getLogger("uvicorn.error").info("%s", "abcdefgh"[os.getpid() % 8] * size)
logfiles.finish()
"""
    reader, writer = os.pipe()
    process = subprocess.Popen([sys.executable, "-c", code], stderr=writer, env={**os.environ, "PYTHONPATH": PACKAGE})
    os.close(writer)
    with open(reader, "rb") as pipe:
        lines = pipe.read().decode().splitlines()
    assert process.wait(60) == 0
    written = [line for line in lines if "lines were dropped" not in line]
    assert all(
        re.fullmatch(r"INFO:     ([a-h])\1*", one) and len(one) - 10 in (10, 9000, 100000, 5000) for one in written
    )
    assert len(written) > 40
