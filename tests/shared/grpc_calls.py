"""Calls of examples/grpc/greeter.py by grpcio, as a program: `python grpc_calls.py SCENARIO ADDRESS [AUTHORITY]`.

A process of its own, because grpcio has threads, which a process that forks must not have. It ends with 0 when
everything was as it should be. A scenario that waits for the test reads a line from standard input.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc

SECONDS = 50.0
"""What a call may take before the scenario fails."""
WAITS = {"timeout": SECONDS, "wait_for_ready": True}
ANY_SIZE = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]

Target = Callable[..., grpc.Channel]


def say(line: str) -> None:
    """To the test, in one write."""
    os.write(1, line.encode() + b"\n")


class Greeter:
    """The methods of the service, with text as messages."""

    def __init__(self, channel: grpc.Channel) -> None:
        text: dict[str, Any] = {"request_serializer": str.encode, "response_deserializer": bytes.decode}
        self.hello = channel.unary_unary("/example.Greeter/Hello", **text)
        self.hello_to_all = channel.stream_unary("/example.Greeter/HelloToAll", **text)
        self.count = channel.unary_stream("/example.Greeter/Count", **text)
        self.chat = channel.stream_stream("/example.Greeter/Chat", **text)
        self.wait = channel.unary_unary("/example.Greeter/Wait", **text)
        self.missing = channel.unary_unary("/example.Greeter/Missing", **text)


def status(call: Callable[[], object]) -> tuple[str, str | None]:
    """How a call fails."""
    try:
        answer = call()
        if isinstance(answer, grpc.RpcError):
            list(answer)  # a call that is being answered is its own error
    except grpc.RpcError as error:
        return error.code().name, error.details()
    raise AssertionError("the call has not failed")


class Lines:
    """The messages of a call, one whenever the scenario says it."""

    def __init__(self) -> None:
        self._said = threading.Condition()
        self._lines: list[str | None] = []

    def say(self, line: str | None) -> None:
        with self._said:
            self._lines.append(line)
            self._said.notify()

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        with self._said:
            assert self._said.wait_for(lambda: self._lines, SECONDS)
            line = self._lines.pop(0)
        if line is None:
            raise StopIteration
        return line


def kinds(connect: Target) -> None:
    """Each kind of call, its metadata, and each way to fail."""
    with connect() as channel:
        greeter = Greeter(channel)
        assert greeter.hello("Ada", **WAITS) == "Hello, Ada"
        assert greeter.hello_to_all(iter(["Ada", "Grace"]), **WAITS) == "Hello, Ada, Grace"
        assert list(greeter.count("100", **WAITS)) == [str(number) for number in range(100)]
        lines = Lines()
        answers = greeter.chat(lines, **WAITS)
        for line in ("one", "", "three"):
            lines.say(line)
            assert next(answers) == "You say: " + line  # before the next one is sent
        lines.say(None)
        assert list(answers) == []
        assert answers.code() is grpc.StatusCode.OK
        assert dict(answers.initial_metadata())["server"] == "uvicorn"
        assert status(lambda: greeter.hello("", **WAITS)) == ("INVALID_ARGUMENT", "a name, please")
        assert status(lambda: list(greeter.count("ä", **WAITS)))[0] == "INVALID_ARGUMENT"
        assert status(lambda: greeter.missing("x", **WAITS)) == (
            "UNIMPLEMENTED",
            "There is no method /example.Greeter/Missing",
        )


def large(connect: Target) -> None:
    """Messages above every window, both ways; and one that the service refuses."""
    with connect(ANY_SIZE) as channel:
        greeter = Greeter(channel)
        name = "0123456789abcdef" * (1 << 19)  # 8 MiB
        assert greeter.hello(name, **WAITS) == "Hello, " + name
        assert list(greeter.chat(iter([name, "x", name]), **WAITS)) == ["You say: " + one for one in (name, "x", name)]
        assert len(list(greeter.count("20000", **WAITS))) == 20_000
        assert status(lambda: greeter.hello(name * 3, **WAITS)) == ("RESOURCE_EXHAUSTED", "The message is too large")
        assert greeter.hello("Ada", **WAITS) == "Hello, Ada"


def many(connect: Target) -> None:
    """More at once than a connection may have streams."""
    with connect() as channel:
        greeter = Greeter(channel)
        calls = [greeter.hello.future(str(number), **WAITS) for number in range(500)]
        waiting = [greeter.wait.future("0.01", **WAITS) for _ in range(300)]
        assert [call.result() for call in calls] == [f"Hello, {number}" for number in range(500)]
        assert {call.result() for call in waiting} == {"0.01"}


def deadlines(connect: Target) -> None:
    """Calls that are given up: the others on their connection go on."""
    with connect() as channel:
        greeter = Greeter(channel)
        assert greeter.hello("Ada", **WAITS) == "Hello, Ada"
        assert status(lambda: greeter.wait("1", timeout=0.2))[0] == "DEADLINE_EXCEEDED"
        counting = greeter.count("1000000000", **WAITS)
        assert [next(counting) for _ in range(1000)][-1] == "999"
        counting.cancel()
        assert counting.code() is grpc.StatusCode.CANCELLED
        lines = Lines()
        chatting = greeter.chat(lines, **WAITS)
        lines.say("one")
        assert next(chatting) == "You say: one"
        chatting.cancel()
        lines.say(None)
        assert greeter.hello("Ada", **WAITS) == "Hello, Ada"


def pings(connect: Target) -> None:
    """A client that pings all the time is no flood."""
    options = [
        ("grpc.keepalive_time_ms", 20),
        ("grpc.keepalive_timeout_ms", 20_000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
    ]
    with connect(options) as channel:
        greeter = Greeter(channel)
        for seconds in ("1", "0", "0.5"):
            assert greeter.wait(seconds, **WAITS) == seconds


def idle(connect: Target) -> None:
    """A channel whose connection the server has sent away, again and again: each next call is served."""
    with connect() as channel:
        greeter = Greeter(channel)
        left = threading.Semaphore(0)

        def changed(state: grpc.ChannelConnectivity) -> None:
            if state is grpc.ChannelConnectivity.IDLE:
                left.release()

        assert greeter.hello("Ada", **WAITS) == "Hello, Ada"
        channel.subscribe(changed)
        for number in range(3):
            assert left.acquire(timeout=SECONDS), "the server keeps an idle connection"
            assert greeter.hello(str(number), **WAITS) == f"Hello, {number}"


def busy(connect: Target) -> None:
    """Calls of all kinds without a pause, and streams that are open all the time, until a line comes: none fails."""
    over = threading.Event()
    called = [0] * 4

    def end() -> None:
        sys.stdin.readline()
        over.set()

    def call(number: int) -> None:
        with connect([("grpc.use_local_subchannel_pool", 1)]) as channel:
            greeter = Greeter(channel)
            lines = Lines()
            answers = greeter.chat(lines, **WAITS)
            lines.say("begun")
            assert next(answers) == "You say: begun"
            while not over.is_set():
                assert greeter.hello("Ada", **WAITS) == "Hello, Ada"
                assert list(greeter.count("3", **WAITS)) == ["0", "1", "2"]
                assert greeter.hello_to_all(iter(["a", "b"]), **WAITS) == "Hello, a, b"
                called[number] += 1
                if called[number] == 5:
                    say("calling")
            lines.say("ended")
            assert next(answers) == "You say: ended"
            lines.say(None)
            assert list(answers) == []

    with ThreadPoolExecutor(4) as pool:
        calls = [pool.submit(call, number) for number in range(4)]
        threading.Thread(target=end, daemon=True).start()
        for one in calls:
            one.result()


def begun(connect: Target) -> None:
    """Calls that have begun are finished, whatever the server is told meanwhile."""
    with connect() as channel:
        greeter = Greeter(channel)
        open_calls = []
        for _ in range(20):
            lines = Lines()
            answers = greeter.chat(lines, **WAITS)
            lines.say("begun")
            assert next(answers) == "You say: begun"
            open_calls.append((lines, answers))
        say("begun")
        sys.stdin.readline()
        for lines, answers in open_calls:
            lines.say("ended")
            lines.say(None)
            assert list(answers) == ["You say: ended"]


def refused(connect: Target) -> None:
    """What the server answers in the application's place, as gRPC translates it."""
    with connect() as channel:
        greeter = Greeter(channel)
        code, details = status(lambda: greeter.hello("x" * 2000, **WAITS))
        assert code == "UNKNOWN" and "413" in str(details), (code, details)
        waiting = greeter.wait.future("1", **WAITS)
        lines = Lines()
        answers = greeter.chat(lines, **WAITS)
        lines.say("x")
        code, details = status(lambda: next(answers))
        lines.say(None)
        assert code == "UNAVAILABLE" and "503" in str(details), (code, details)
        assert waiting.result() == "1"


SCENARIOS = {one.__name__: one for one in (kinds, large, many, deadlines, pings, idle, busy, begun, refused)}


def main(scenario: str, address: str, authority: str = "") -> None:
    def connect(options: list[tuple[str, int]] = []) -> grpc.Channel:  # noqa: B006  # nobody changes it
        if not authority:
            return grpc.insecure_channel(address, options)
        return grpc.secure_channel(address, grpc.ssl_channel_credentials(Path(authority).read_bytes()), options)

    SCENARIOS[scenario](connect)


if __name__ == "__main__":
    main(*sys.argv[1:])
