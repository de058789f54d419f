"""Two coroutines in one task: when one ends, the other is cancelled; a cancelled task ends both."""

from __future__ import annotations

import asyncio
import gc
import weakref

import pytest
from support.tables import each_row

from faultline._engine.racing import Lane, Race, until_done


async def quick(value=None):
    return value


async def soon(turns, value=None):
    for _ in range(turns):
        await asyncio.sleep(0)
    return value


async def fails(turns=0):
    await soon(turns)
    raise ValueError


async def never(seen):
    seen.append("begun")
    try:
        await asyncio.get_running_loop().create_future()
    finally:
        seen.append("ended")


async def raced(first, second):
    lanes = Lane(first), Lane(second)
    await Race(*lanes)
    return [lane.result() if lane.is_over else "not over" for lane in lanes]


@each_row(
    "first, second, found",
    [
        (lambda: quick(1), lambda: soon(0, 2), [1, "not over"]),
        (lambda: soon(2, 1), lambda: quick(2), ["not over", 2]),
        (lambda: soon(2, 1), lambda: soon(5, 2), [1, "not over"]),
        (lambda: soon(5, 1), lambda: soon(2, 2), ["not over", 2]),
        (lambda: soon(3, 1), lambda: soon(3, 2), [1, 2]),
    ],
)
def test_the_first_that_ends_ends_the_race(first, second, found):
    async def main():
        return await raced(first(), second())

    assert asyncio.run(main()) == found


def test_a_second_that_is_not_needed_is_not_begun():
    seen = []

    async def main():
        return await raced(quick(1), never(seen))

    assert asyncio.run(main()) == [1, "not over"]
    assert seen == []


def test_the_other_is_ended_before_the_race_is_over():
    seen = []

    async def main():
        await raced(soon(2), never(seen))
        assert seen == ["begun", "ended"]

    asyncio.run(main())


def test_an_event_between_lets_one_go_on_and_the_other_wait():
    async def main():
        future = asyncio.get_running_loop().create_future()
        task = asyncio.create_task(raced(until_done(future), soon(1000)))
        await soon(10)
        assert not task.done()
        future.set_result(None)
        return await task

    assert asyncio.run(main()) == [None, "not over"]


def test_a_long_wait_is_watched_once_however_often_the_other_goes_on():
    async def main():
        future = asyncio.get_running_loop().create_future()
        await raced(until_done(future), soon(50))
        return len(future._callbacks)

    assert asyncio.run(main()) == 1


def test_a_race_that_is_over_is_gone_without_the_garbage_collector():
    gone = []

    async def main():
        lanes = Lane(asyncio.get_running_loop().create_future().__await__()), Lane(soon(3))
        race = Race(*lanes)
        weakref.finalize(race, gone.append, True)
        await race

    gc.disable()  # as it is among all tests
    asyncio.run(main())
    assert gone == [True]


@each_row("turns", [0, 2])
def test_an_error_is_raised_by_the_result_and_kept_by_nothing(turns):
    async def main():
        lane = Lane(fails(turns))
        await Race(lane, Lane(never([])))
        assert lane.is_over
        with pytest.raises(ValueError, match=r"^$") as raised:
            lane.result()
        return raised.value

    error = asyncio.run(main())
    error.__traceback__ = None
    assert not [each for each in gc.get_referrers(error) if isinstance(each, Lane)]


def test_a_cancelled_race_ends_both():
    seen = []

    async def main():
        task = asyncio.create_task(raced(never(seen), never(seen)))
        await soon(3)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert seen == ["begun"] * 2 + ["ended"] * 2


def test_what_waits_in_its_end_is_a_mistake():
    async def stays():
        try:
            await soon(5)
        finally:
            await soon(5)

    async def main():
        await raced(stays(), soon(2))

    with pytest.raises(AssertionError, match=r"^None$"):
        asyncio.run(main())
