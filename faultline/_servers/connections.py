"""The open connections of one server, and the controls of a test for all of them.

Rules: every method is called in the loop's thread.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterable, Iterator
from typing import Literal, TypeAlias

from faultline._core.attempts import Entry
from faultline._core.dealer import Dealer
from faultline._core.ends import PARTITIONED, PAUSED
from faultline._core.fault import Fault
from faultline._engine.conversation import Conversation
from faultline._engine.service import Service
from faultline._net import ending
from faultline._net.departures import Departures
from faultline._net.wire import Wire
from faultline._servers.clients import Clients
from faultline._servers.lapse import ignore

Control: TypeAlias = Literal["reset_all", "close_all", "pause", "resume", "partition", "heal"]

ACTS: dict[Control, Callable[[Conversation], None]] = {
    "reset_all": Conversation.reset,
    "close_all": Conversation.close,
    "pause": Conversation.pause,
    "resume": Conversation.resume,
    "partition": Conversation.partition,
    "heal": Conversation.heal,
}


class Connections:
    """The conversations under way at one server.

    Attributes:
        is_partitioned: whether SYNs of clients are to be dropped too.
    """

    def __init__(
        self, service: Service, wire: type[Wire], departures: Departures, on_end: Callable[[BaseException | None], None]
    ) -> None:
        self._service: Service | None = service
        self._wire = wire
        self._departures = departures
        self._on_end = on_end
        self._open: dict[Conversation, None] = {}  # in the order of their connects
        self._clients = Clients(departures.peers)
        self._count = 0
        self._is_paused = False
        self.is_partitioned = False

    def __iter__(self) -> Iterator[Conversation]:
        return iter(self._open)

    def accept(self, sock: socket.socket, waited: Entry | None = None) -> None:
        """Begin a conversation on an accepted socket; `waited` is its attempt, if the connect got silence before."""
        if self._service is None:  # the server has stopped
            ending.send_rst(sock)
            return
        loop = self._departures.loop
        self._count += 1
        conversation = Conversation(self._wire(loop, sock, self._departures), self._service, self._count, waited)
        self._open[conversation] = None
        conversation.start(self)
        self._follow_count()
        if self._is_paused:
            conversation.pause()

    @property
    def are_over(self) -> bool:
        """Whether every conversation has ended."""
        return not self._open

    @property
    def held_by_test(self) -> str:
        """By which control the test holds all bytes back; empty if it doesn't."""
        if self.is_partitioned:
            return PARTITIONED
        return PAUSED if self._is_paused else ""

    def remove(self, conversation: Conversation, error: BaseException | None) -> None:
        """Take note that a conversation has ended, with the server's own error or `None`."""
        del self._open[conversation]
        if conversation.client is not None:
            self._clients.add(conversation.number, conversation.client)
        self._clients.trim()
        self._on_end(error)
        self._follow_count()

    def _follow_count(self) -> None:
        """Have the door follow a changed number of connections, if the plan limits it."""
        if self._service is not None and self._service.dealer.is_limited:
            self._service.on_dealt()

    def count(self) -> int:
        """The number of connections whose client has not closed them, but for those beyond the limit of the plan."""
        if self._service is None:
            return 0
        dealer = self._service.dealer
        return sum(each.has_client and not dealer.is_beyond(each.fault) for each in self._open)

    def change(self, dealer: Dealer, upcoming: Fault, *, open_too: bool) -> None:
        """Follow a changed plan: end idle connections that can't meet the next fault.

        With `open_too`, deal a fault of the new plan to the others, in the order of their connects.
        """
        connected = 0  # with a fault of the new plan, and not beyond its limit
        for conversation in self._under_way():
            if not conversation.ends_if_idle(upcoming) and open_too:
                fault = dealer.deal(connected)
                conversation.meet(fault)
                connected += conversation.has_client and not dealer.is_beyond(fault)

    def go_on(self, dealer: Dealer) -> None:
        """Have each connection meet the fault in its place of the changed plan."""
        for conversation in self._under_way():
            conversation.meet(dealer.again(conversation.fault))

    def _under_way(self) -> list[Conversation]:
        """The conversations that no side has ended."""
        return [conversation for conversation in self._open if not conversation.is_over]

    def act(self, control: Control) -> list[Conversation]:
        """Apply a control to every open connection; return the conversations."""
        if control in ("pause", "resume"):
            self._is_paused = control == "pause"
        elif control in ("partition", "heal"):
            self.is_partitioned = control == "partition"
        conversations = [conversation for conversation in self._open if conversation.is_open]
        for conversation in conversations:
            ACTS[control](conversation)
        return conversations

    def still_open(self) -> tuple[int, ...]:
        """The numbers of the connections that the server has not ended."""
        return tuple(conversation.number for conversation in self._open if conversation.is_open)

    def held(self) -> tuple[int, ...]:
        """The numbers of the connections that clients hold."""
        return self._clients.held({each.number: each.sock for each in self._open if each.is_open})

    def cancel(self, *, for_good: bool = False) -> list[Conversation]:
        """Have all conversations end, `for_good` if the server ends too; return those that have not ended yet."""
        for conversation in list(self._open):
            conversation.stop(for_good=for_good)
        return list(self._open)

    async def stop(self) -> None:
        """End all conversations, and forget the server."""
        await ended(self.cancel(for_good=True))
        self.forget()

    def forget(self) -> None:
        """Forget the server, because a cycle would keep the ledger."""
        self._service, self._on_end = None, ignore


async def ended(conversations: Iterable[Conversation]) -> None:
    """Wait until the tasks of conversations have ended; those that were parked have."""
    if tasks := [conversation.task for conversation in conversations if conversation.task is not None]:
        await asyncio.wait(tasks)
