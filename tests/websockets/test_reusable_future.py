"""What `receive` waits on, and tasks that are cancelled while they wait for it."""

from __future__ import annotations

import asyncio

import pytest

from uvicorn.worker.websockets.reusable_future import ReusableFuture

pytestmark = pytest.mark.usefixtures("loop_factory")


class Waiters:
    """Tasks that wait, each on the first future that nobody has, as `receive` does."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.first = ReusableFuture(self.loop)
        self.ended: dict[str, str] = {}

    async def wait(self, name: str) -> None:
        future = self.first
        while future.taken:
            future = future.following()
        try:
            await future
        except asyncio.CancelledError:
            self.ended[name] = "cancelled"
            raise
        self.ended[name] = "woken"

    async def begin(self, *names: str) -> list[asyncio.Task[None]]:
        tasks = [self.loop.create_task(self.wait(name)) for name in names]
        await asyncio.sleep(0)
        return tasks

    def wake(self) -> None:
        """As data from the transport does: not from a task."""
        self.loop.call_soon(self.first.wake)

    async def settle(self) -> None:
        for _ in range(5):
            await asyncio.sleep(0)


async def test_a_message_for_one_while_another_is_cancelled() -> None:
    waiters = Waiters()
    (one,) = await waiters.begin("one")
    waiters.loop.create_task(waiters.wait("other"))
    waiters.wake()
    one.cancel()  # it hears of that after the other has begun to wait, and after the message
    await waiters.settle()
    waiters.wake()
    await waiters.settle()
    assert waiters.ended == {"one": "cancelled", "other": "woken"}


@pytest.mark.parametrize("times", [1, 2, 3])
async def test_one_may_be_cancelled_as_often_as_one_likes(times: int) -> None:
    waiters = Waiters()
    (one,) = await waiters.begin("one")
    other = waiters.loop.create_task(waiters.wait("other"))

    def again() -> None:
        for _ in range(times):
            one.cancel()

    waiters.loop.call_soon(again)
    one.cancel()
    await waiters.settle()
    assert waiters.ended == {"one": "cancelled"} and not other.done()
    waiters.wake()
    await waiters.settle()
    assert waiters.ended == {"one": "cancelled", "other": "woken"}


async def test_one_that_was_woken_is_cancelled_before_it_runs() -> None:
    waiters = Waiters()
    (one,) = await waiters.begin("one")
    other = waiters.loop.create_task(waiters.wait("other"))
    waiters.loop.call_soon(one.cancel)
    waiters.first.wake()  # from this task: it is resumed in the next turn, after the other has begun to wait
    await waiters.settle()
    assert one.cancelled() and not other.done()
    waiters.wake()
    await waiters.settle()
    assert waiters.ended["other"] == "woken"


async def test_all_that_wait_are_woken() -> None:
    waiters = Waiters()
    await waiters.begin("one", "two", "three")
    waiters.wake()
    await waiters.settle()
    assert waiters.ended == {"one": "woken", "two": "woken", "three": "woken"}
