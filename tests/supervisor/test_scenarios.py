"""Transcripts: each file in `scenarios/` opens with what it proves, then says what happens and what is done
about it.

    workers 4 · limits drain 25 hang 30 boot 0 watchdog 0 · code fixed      the settings (before `start`)
    status told · ready told   STATUS lines, or the one that says that all serve, are to be looked at from here on
    listening told             `listen` is to be looked at, and answered by hand
    development                the machine is the one for `--reload`; serial 0 is its watcher
    at 1.5                     the time from here on; a wake-up that was due before it must have been taken
    late at 50                 the same, but the master was asleep
    start · tick · signal HUP · pid 1 1001 · ready 3 · failed 1 3 text · traceback 1 3 text
    drained 2 · exit 2 status 0 · exit 2 signal SIGKILL · no fork 1 text
    beat 1 at 29.5 [flight 3 [requests 10]] · beat 1 held at 29.5 · beat 1 asking at 29.5
    spent 1 text · broken 1 text · memory 1 600000000
    settings read · settings failed text · settings target 3 · settings limits drain 5
    settings both 3 drain 5
    changed a.py b.py
    listening · cannot listen text
    → …                        exactly what is done, in this order (debug lines are left out, and these two mostly)
    wake 31.5 · wake never     what `deadline()` says now
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from transcripts import render
from uvicorn.supervisor import actions as do
from uvicorn.supervisor import events as ev
from uvicorn.supervisor.development import Development
from uvicorn.supervisor.master import Machine
from uvicorn.supervisor.policy import Policy
from uvicorn.supervisor.supervisor import Supervisor

SCENARIOS = sorted((Path(__file__).parent / "scenarios").glob("*.txt"))
STATUS, READY = "notify status", "log INFO: ready: "


def pairwise(words: list[str]) -> Iterator[tuple[str, str]]:
    return zip(words[::2], words[1::2], strict=True)


def beat(
    serial: str, at: str, in_flight: int = 0, requests: int = 0, held: bool = False, asking: bool = False
) -> ev.Event:
    return ev.Heartbeats((ev.Heartbeat(int(serial), float(at), in_flight, requests, held, asking),))


def policy_of(settings: Mapping[str, float | bool]) -> Policy:
    """The defaults, and what the scenario says."""
    assert settings.keys() <= Policy._field_defaults.keys()
    return Policy._make({**Policy._field_defaults, **settings}.values())


def parse_event(words: list[str]) -> ev.Event:
    match words:
        case ["start"]:
            return ev.Started()
        case ["tick"]:
            return ev.Tick()
        case ["signal", name]:
            return ev.SignalReceived(ev.Signal[name])
        case ["pid", serial, pid]:
            return ev.Spawned(int(serial), int(pid))
        case ["ready", serial]:
            return ev.WorkerReady(int(serial))
        case ["failed", serial, code, *text]:
            return ev.WorkerFailed(int(serial), int(code), " ".join(text))
        case ["traceback", serial, code, *text]:
            cause = "Traceback (most recent call last):\n  line 1\n" + " ".join(text)
            return ev.WorkerFailed(int(serial), int(code), cause)
        case ["drained", serial]:
            return ev.WorkerDrained(int(serial))
        case ["exit", serial, "status", code]:
            return ev.WorkerExited(int(serial), int(code))
        case ["exit", serial, "signal", name]:
            return ev.WorkerExited(int(serial), 137, name)
        case ["beat", serial, "at", at]:
            return beat(serial, at)
        case ["beat", serial, "at", at, "flight", count]:
            return beat(serial, at, int(count))
        case ["broken", serial, *text]:
            return ev.WorkerSpent(int(serial), " ".join(text), fault=True)
        case ["spent", serial, *text]:
            return ev.WorkerSpent(int(serial), " ".join(text))
        case ["memory", serial, size]:
            return ev.MemoryMeasured(int(serial), int(size))
        case ["settings", "failed", *text]:
            return ev.SettingsRead(failure=" ".join(text))
        case ["settings", "read"]:
            return ev.SettingsRead()
        case ["settings", "target", count]:
            return ev.SettingsRead(target=int(count))
        case ["settings", "both", count, "drain", seconds]:
            return ev.SettingsRead(policy=Policy(drain=float(seconds), hang=0), target=int(count))
        case ["settings", "limits", *pairs]:
            return ev.SettingsRead(policy=policy_of({k: float(v) for k, v in pairwise(pairs)}))
        case ["beat", serial, "held", "at", at]:
            return beat(serial, at, held=True)
        case ["beat", serial, "asking", "at", at]:
            return beat(serial, at, asking=True)
        case ["changed", *paths]:
            return ev.FilesChanged("WatchFiles", tuple(paths), len(paths))
        case ["beat", serial, "at", at, "flight", count, "requests", requests]:
            return beat(serial, at, int(count), int(requests))
        case ["listening"]:
            return ev.Listened()
        case ["cannot", "listen", *text]:
            return ev.ListenFailed(" ".join(text))
        case ["no", "fork", serial, *text]:
            return ev.SpawnFailed(int(serial), " ".join(text))
    raise AssertionError(f"not understood: {' '.join(words)}")


class Play:
    """One scenario, line by line."""

    def __init__(self) -> None:
        self.now = 0.0
        self.target = 1
        self.settings: dict[str, float | bool] = {}
        self.machine: Machine | None = None
        self.development = False
        self.actual: Iterator[str] = iter(())
        self.hidden = {"log DEBUG", STATUS, READY}
        self.listens = True

    def line(self, line: str) -> None:
        if line.startswith("→"):
            assert next(self.actual, "nothing more") == line[1:].strip()
            return
        words = line.split()
        if words[0] == "wake":
            self.wakes(words[1])
            return
        self.nothing_more()
        match words:
            case ["workers", count]:
                self.target = int(count)
            case ["limits", *pairs]:
                self.settings |= {k: float(v) for k, v in pairwise(pairs)}
            case ["development"]:
                self.development = True
            case ["status", "told"]:
                self.hidden.remove(STATUS)
            case ["ready", "told"]:
                self.hidden.remove(READY)
            case ["listening", "told"]:
                self.listens = False
            case ["code", "fixed"]:
                self.settings["fixed_code"] = True
            case ["at", at]:
                self.moves(float(at), late=False)
            case ["late", "at", at]:
                self.moves(float(at), late=True)
            case _:
                self.happens(parse_event(words))

    def nothing_more(self) -> None:
        assert list(self.actual) == []

    def wakes(self, at: str) -> None:
        assert self.machine is not None
        expected = None if at == "never" else pytest.approx(float(at))
        assert self.machine.deadline() == expected

    def moves(self, at: float, late: bool) -> None:
        due = self.machine.deadline() if self.machine else None
        assert late or due is None or due >= at - 1e-9, f"a tick was due at {due}"
        assert at >= self.now
        self.now = at

    def happens(self, event: ev.Event) -> None:
        if self.machine is None:
            policy = policy_of(self.settings)
            self.machine = Development(policy) if self.development else Supervisor(policy, self.target)
        if isinstance(event, ev.Tick):  # the decimal of a transcript may be a hair before the float
            due = self.machine.deadline()
            self.now = due if due is not None and abs(due - self.now) < 1e-9 else self.now
        actions = self.machine.handle([event], self.now)
        if self.listens and any(isinstance(action, do.Listen) for action in actions):
            actions = [action for action in actions if not isinstance(action, do.Listen)]
            actions += self.machine.handle([ev.Listened()], self.now)
        shown = map(render, actions)
        self.actual = iter([s for s in shown if not s.startswith(tuple(self.hidden))])


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.stem)
def test_scenario(path: Path) -> None:
    play = Play()
    text = path.read_text(encoding="utf-8")
    assert text.startswith("# proves: ")
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip() and not line.startswith("#"):
            try:
                play.line(line.strip())
            except AssertionError as exc:
                raise AssertionError(f"{path.name}:{number}: {line}\n{exc}") from exc
    play.nothing_more()


def test_there_are_many() -> None:
    assert len(SCENARIOS) >= 20
