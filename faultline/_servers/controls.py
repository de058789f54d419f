"""What a test does to the connections of a server while they are open.

Rules of this room: everything happens in the loop's thread, and has happened when the call returns.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable

from faultline._engine.conversation import Conversation
from faultline._net import sockets
from faultline._servers.listener import Door
from faultline._servers.loop import Background


class Controls(ABC):
    """The live controls of a server."""

    _is_paused = False
    _is_partitioned = False

    _background: Background
    _door: Door
    _conversations: dict[Conversation, None]
    _closed: bool

    @abstractmethod
    def _set_door(self) -> None:
        """Have the door as it should be now."""

    def _to_each(
        self,
        act: Callable[[Conversation], None],
        *,
        ends: bool = False,
        paused: bool | None = None,
        partitioned: bool | None = None,
    ) -> int:
        """Do this to every open connection, and say how many there were; `ends` waits for their ends."""

        async def acted() -> int:
            if self._closed:
                return 0
            self._door.drain()  # who came before is open too
            self._is_paused = self._is_paused if paused is None else paused
            self._is_partitioned = self._is_partitioned if partitioned is None else partitioned
            conversations = [c for c in self._conversations if c.is_open]
            for conversation in conversations:
                act(conversation)
            self._set_door()
            if ends and conversations:
                await asyncio.wait([conversation.task for conversation in conversations])
            return len(conversations)

        return self._background.run(acted())

    def reset_all(self) -> int:
        """Send RST on every open connection, now; how many there were. Later ones are served as planned."""
        return self._to_each(Conversation.reset, ends=True)

    def close_all(self) -> int:
        """Send FIN on every open connection, now; how many there were. Later ones are served as planned."""
        return self._to_each(Conversation.close, ends=True)

    def pause(self) -> int:
        """Let no byte pass on any connection, open or later, until `resume`; how many are open.

        What clients send is acknowledged as far as the kernel's buffers reach, and then blocks.
        """
        return self._to_each(Conversation.pause, paused=True)

    def resume(self) -> int:
        """Let bytes pass again, none of which was lost; how many connections are open."""
        return self._to_each(Conversation.resume, paused=False)

    def partition(self) -> int:
        """Let all packets vanish, of open connections and of SYNs, until `heal`; how many connections are open.

        Raises:
            UnsupportedError: it takes the socket filter, and so CAP_NET_ADMIN.
        """
        sockets.check_filter()
        return self._to_each(Conversation.partition, partitioned=True)

    def heal(self) -> int:
        """Let packets pass again; TCP repeats what was lost. How many connections are open."""
        return self._to_each(Conversation.heal, partitioned=False)
