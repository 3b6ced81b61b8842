"""`Multiprocess(config, target=server.run, sockets=[…]).run()` in a program. Real processes."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable

import pytest

from programs import Program, Start

if sys.platform == "win32":
    pytest.skip("there is no master without fork", allow_module_level=True)

PROGRAM = """
import os, sys, threading, uvicorn
from uvicorn.supervisors import Multiprocess

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        for phase in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{phase}.complete"})
        return
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": str(os.getppid()).encode()})

async def fails(scope, receive, send):
    raise RuntimeError("no database")

class Own(uvicorn.Server):
    def run(self, sockets=None):
        print("own run", flush=True)
        super().run(sockets=sockets)

"""


@pytest.fixture
def start(start_program: Start) -> Callable[[str], Program]:
    return lambda source: start_program(PROGRAM + source)


def serves(program: Program) -> None:
    """Wait until clients are accepted: `bind_socket` has said where, and the master logs the rest at level debug."""
    program.serves()
    for _ in range(2):
        program.expect(r"Worker \d \[\d+\] is ready")


NICEGUI = """
config = uvicorn.Config(app, port=0, workers=2, log_level="debug")
server = uvicorn.Server(config=config)
sock = config.bind_socket()
Multiprocess(config, target=server.run, sockets=[sock]).run()
print("run() has returned", sock.fileno(), flush=True)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGQUIT])
def test_nicegui_runs_multiprocess_with_its_socket(start: Callable[[str], Program], number: signal.Signals) -> None:
    program = start(NICEGUI)
    serves(program)
    assert program.get() == str(program.process.pid), "a worker serves, not the program"
    assert program.end(number) == 0
    assert "run() has returned -1" in program.text and "Traceback" not in program.text
    with pytest.raises(ConnectionRefusedError):
        program.get()


def test_a_worker_that_dies_is_replaced_and_term_is_no_crash(start: Callable[[str], Program]) -> None:
    program = start(NICEGUI)
    serves(program)
    worker = int(program.text.rpartition("Started server process [")[2].partition("]")[0])
    os.kill(worker, signal.SIGKILL)
    program.wait_for("Application startup complete")
    assert program.end(signal.SIGTERM) == 0
    assert program.text.count("SIGKILL") == 1 and "Traceback" not in program.text


def test_an_overridden_run_is_what_the_workers_call(start: Callable[[str], Program]) -> None:
    program = start(
        "config = uvicorn.Config(app, port=0, workers=2, log_level='debug')\n"
        "Multiprocess(config, target=Own(config).run, sockets=[]).run()"
    )
    serves(program)
    assert program.end(signal.SIGTERM) == 0
    assert program.text.count("own run") == 2


def test_a_target_that_is_a_function(start: Callable[[str], Program]) -> None:
    """The server that it makes finds the channel: it says that it is ready, and its drain is waited for."""
    program = start(
        "config = uvicorn.Config(app, port=0, workers=2, log_level='debug')\n"
        "def target(sockets):\n"
        "    uvicorn.Server(config).run(sockets=sockets)\n"
        "    os.kill(os.getpid(), 15)  # the master's, when it comes late\n"
        "    print('target is over', flush=True)\n"
        "Multiprocess(config, target, [config.bind_socket()]).run()"
    )
    serves(program)
    assert program.end(signal.SIGTERM) == 0
    assert program.text.count("target is over") == 2, "no signal is raised again in a worker"


@pytest.mark.parametrize(
    "target", ["uvicorn.Server(config).run", "lambda sockets: uvicorn.Server(config).run(sockets)"]
)
def test_an_application_that_cannot_start_is_exit_code_3(start: Callable[[str], Program], target: str) -> None:
    program = start(
        f"config = uvicorn.Config(fails, port=0, workers=2, lifespan='on')\nMultiprocess(config, {target}, []).run()"
    )
    assert program.end() == 3
    assert program.text.count("RuntimeError: no database") == 1, program.text


def test_another_thread_is_refused_with_a_sentence(start: Callable[[str], Program]) -> None:
    program = start(
        "config = uvicorn.Config(app, port=0, workers=2, log_level='debug')\n"
        "master = Multiprocess(config, uvicorn.Server(config).run, [])\n"
        "thread = threading.Thread(target=master.run)\nthread.start()\nthread.join()\n"
    )
    assert program.end() == 0
    assert "must be started in the main thread" in program.text


def test_what_is_inherited_is_said(start: Callable[[str], Program]) -> None:
    program = start("stop = threading.Event()\nthreading.Thread(target=stop.wait, name='poller').start()\n" + NICEGUI)
    serves(program)
    program.tell(signal.SIGTERM)
    program.wait_for(r"run\(\) has returned")
    assert "These threads will not run in the workers: poller." in program.text
    assert "a reload (SIGHUP) starts new workers with the same code" in program.text
