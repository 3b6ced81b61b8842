"""How an action of the supervisor reads in a transcript."""

from __future__ import annotations

from uvicorn.supervisor import actions as do


def render(action: do.Action) -> str:
    """One line."""
    match action:
        case do.Spawn(serial, slot, generation):
            return f"spawn {serial} slot {slot} gen {generation}"
        case do.SpawnWatcher():
            return "watch"
        case do.Tell(serial, mode, deadline):
            return f"tell {serial} {mode.value} by {deadline:g}"
        case do.Terminate(serial):
            return f"term {serial}"
        case do.Quit(serial):
            return f"quit {serial}"
        case do.Kill(serial, reason):
            return f"kill {serial}: {reason}"
        case do.DumpStack(serial):
            return f"dump {serial}"
        case do.Ask(serial):
            return f"ask {serial}"
        case do.Interrupt(serial):
            return f"interrupt {serial}"
        case do.ReportStack(serial):
            return f"report {serial}"
        case do.MeasureMemory():
            return "measure memory"
        case do.ReadSettings():
            return "read settings"
        case do.Listen():
            return "listen"
        case do.CloseListeners():
            return "close listeners"
        case do.ReopenLogs():
            return "reopen logs"
        case do.Notify(status, text):
            return f"notify {status.value}: {text}"
        case do.Log(level, text):
            return f"log {level.value}: {text}".replace("\n", " / ")
        case do.Exit(code):
            return f"exit {int(code)}"
