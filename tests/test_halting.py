"""A coroutine that can be halted where it waits: what comes meanwhile is kept for it."""

from __future__ import annotations

import asyncio

import pytest
from support.tables import each_row

from faultline._engine.halting import Halting


async def turns():
    """Let everything happen that can."""
    for _ in range(5):
        await asyncio.sleep(0)


@pytest.fixture
def halted():
    """A function that plays a scene: what a coroutine has seen that waits for a future, and its task."""

    def play(scene):
        async def main():
            future, seen = asyncio.get_running_loop().create_future(), []

            async def waits():
                try:
                    seen.append(await future)
                except (ValueError, asyncio.CancelledError) as error:
                    seen.append(type(error))
                    await asyncio.sleep(0)  # what has to be done at the end may wait too
                    seen.append("end")
                    raise

            halting = Halting(waits())

            async def run():
                await halting

            task = asyncio.create_task(run())
            await turns()
            await scene(halting, future, task, seen)

        asyncio.run(main())

    return play


@each_row(
    "happens, sees", [(lambda f: f.set_result(1), [1]), (lambda f: f.set_exception(ValueError()), [ValueError, "end"])]
)
def test_an_event_waits_for_the_end_of_the_halt(halted, happens, sees):
    async def scene(halting, future, task, seen):
        halting.halt()
        happens(future)
        await turns()
        assert seen == []
        halting.go_on()
        await asyncio.gather(task, return_exceptions=True)
        assert seen == sees

    halted(scene)


def test_without_a_halt_nothing_waits(halted):
    async def scene(_halting, future, task, seen):
        future.set_result(1)
        await task
        assert seen == [1]

    halted(scene)


def test_a_halt_that_is_over_before_the_event_changes_nothing(halted):
    async def scene(halting, future, task, seen):
        halting.halt()
        halting.go_on()
        future.set_result(1)
        await task
        assert seen == [1]

    halted(scene)


@each_row("has_event", [False, True])
def test_cancelling_ends_it_though_it_is_halted(halted, has_event):
    async def scene(halting, future, task, seen):
        halting.halt()
        if has_event:
            future.set_result(1)
            await turns()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert seen == [asyncio.CancelledError, "end"]
        assert task.cancelled()

    halted(scene)
