"""The tasks of one connection: any of them may end the conversation."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeAlias

Work: TypeAlias = Callable[[], Coroutine[Any, Any, None]]


class Tasks:
    """Does work in tasks, until one of them raises what ends the conversation."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()
        self._over: asyncio.Future[BaseException] = asyncio.get_running_loop().create_future()
        self._has_stopped = False  # all but the task that ends the conversation

    def spawn(self, work: Work) -> asyncio.Task[None]:
        """Do work in a task; once the connection ends, as when a time is over meanwhile, do none."""
        task = asyncio.get_running_loop().create_task(self._work(work))
        if self._has_stopped:
            task.cancel()
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _work(self, work: Work) -> None:
        try:
            await work()
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # noqa: BLE001 - raised where the conversation is held
            if not self._over.done():
                self._over.set_result(error)

    async def until_over(self) -> BaseException:
        """Wait until a task has raised something, and return it."""
        return await self._over

    def forget(self) -> None:
        """Forget how the conversation has ended, as the traceback of that leads back here."""
        del self._over

    async def stop_others(self) -> None:
        """End all tasks but the present one."""
        self._has_stopped = True
        others = self._tasks - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
