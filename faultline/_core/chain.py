"""The chain of one direction of a connection: the stages that its bytes pass, in order.

Rules: bytes and ends keep their order. Nothing is computed before it is asked for, so a chain holds little more than
what waits in front of it. The time is a number that the caller gives, and the chain never waits.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from faultline._core.promises import Key
from faultline._core.stages import Cut, End, LatencyStage, Leaving, Stage

if TYPE_CHECKING:
    from faultline._core.conditions import Condition, Direction

HELD_BYTES = 1_048_576  # that wait in front of a chain; then no more is read

Strike: TypeAlias = Callable[[Key, int], None]


class Item(NamedTuple):
    """What travels, and when it comes or leaves."""

    at: float
    what: bytes | End


Pull: TypeAlias = Callable[[], Item | None]


class Link:
    """A stage of a chain, with what is inside it."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.given: deque[Item] = deque()  # by the stage before, or by a stage that is gone; not taken yet
        self._pieces: Iterator[Leaving] = iter(())  # of what was taken last
        self._next: Item | None = None  # to leave
        self._last = 0.0  # when the one before left

    def look(self, pull: Pull) -> Item | None:
        """What leaves next, and when; `pull` gives what comes to the stage."""
        while self._next is None:
            piece = next(self._pieces, None)
            if piece is not None:
                self._next = Item(max(self._last, piece[0]), piece[1])
                break
            item = self.given.popleft() if self.given else pull()
            if item is None:
                return None if self.stage.alarm is None else Item(self.stage.alarm, End(Cut("FIN")))
            at, what = item
            self._pieces = self.stage.finish(what, at) if isinstance(what, End) else self.stage.take(what, at)
        return self._next

    def leave(self, at: float) -> None:
        """Take note that the next item, or the end by the stage's alarm, has left."""
        if self._next is None:
            self.stage.alarm = None
        self._last, self._next = at, None

    def clear(self) -> None:
        """Forget all that is inside."""
        self._pieces, self._next = iter(()), None
        self.given.clear()

    def flushed(self, now: float) -> Iterator[Item]:
        """All that is inside, in order, which leaves now."""
        if self._next is not None:
            yield Item(now, self._next.what)
        for _, piece in self._pieces:
            yield Item(now, piece)
        for item in self.given:
            yield Item(now, item.what)


class Chain:
    """Delays, cuts and changes the bytes of one direction, as its conditions say.

    `strike` is called when a condition first changes something: with its key, and with the number of bytes before it.

    Attributes:
        passed_bytes: how many bytes of its direction have left it, or passed before it was there.
    """

    def __init__(
        self,
        conditions: tuple[Condition, ...],
        direction: Direction,
        chance: Callable[[], random.Random],
        strike: Strike = lambda _key, _after_bytes: None,
        now: float = 0.0,
        *,
        passed_bytes: int = 0,
    ) -> None:
        self._direction, self._chance = direction, chance
        self._waiting: deque[Item] = deque()  # what no stage has taken yet
        self._held_bytes = 0  # of it
        self._out: deque[Item] = deque()  # what has left the last stage, or a stage that is gone
        self._links: list[Link] = []
        self.has_ended = False  # whether an end has been put in
        self.passed_bytes = passed_bytes  # of the direction, those before the chain included
        self.change(conditions, strike, now)

    @property
    def has_bytes(self) -> bool:
        """Whether bytes wait in front of the chain or inside; an end that travels behind them changes nothing."""
        nexts = (link.look(nothing) for link in self._links)
        held = [*self._out, *(item for item in nexts if item is not None), *self._waiting]
        return any(not isinstance(item.what, End) for item in held)

    @property
    def is_plain(self) -> bool:
        """Whether bytes pass as they come, because no condition is left and nothing waits."""
        return not (self._links or self._waiting or self._out)

    @property
    def only_delays(self) -> bool:
        """Whether there are delays alone, which count from when something was said, and not from the piece before."""
        return all(isinstance(link.stage, LatencyStage) for link in self._links)

    def change(self, conditions: tuple[Condition, ...], strike: Strike, now: float) -> None:
        """Have these conditions from now on.

        A stage whose condition is still among them goes on as it was; a stage that is gone gives up what it holds.
        A stage whose condition has other numbers now does both: what it holds leaves, and what comes meets the new
        numbers.
        """
        before, self._links = self._links, []
        heirs: dict[Link, Link] = {}
        for number, condition in enumerate(conditions):
            if condition.on(self._direction):
                link = self._link(condition, before, heirs, now)
                link.stage.strike = partial(strike, Key("condition", number))
                self._links.append(link)
        self._hand_on(before, heirs, now)
        known = [link.stage for link in before]
        passed = self.passed_bytes + sum(len(item.what) for item in self._out if isinstance(item.what, bytes))
        for stage in [link.stage for link in self._links if link.stage not in known]:
            stage.before_bytes = passed

    def _link(self, condition: Condition, before: list[Link], heirs: dict[Link, Link], now: float) -> Link:
        """The link of a condition: its earlier link, a link in its place (which `heirs` gets), or a new link."""
        free = [link for link in before if link not in heirs]
        same = next((link for link in free if link.stage.condition == condition), None)
        if same is not None:
            heirs[same] = same
            return same
        old = named(condition, free)
        link = Link(condition.stage(self._chance) if old is None else old.stage)
        if old is not None:
            heirs[old] = link
            link.stage.follow(condition)
        link.stage.begin(now)
        return link

    def _hand_on(self, before: list[Link], heirs: dict[Link, Link], now: float) -> None:
        """Have what is held by links that are gone, or replaced, leave to the next link that is there."""
        to = self._out
        for link in reversed(before):  # what is nearest to the end leaves first
            heir = heirs.get(link)
            if heir is not link:
                to.extend(link.flushed(now))
            if heir is not None:
                to = heir.given
            elif link.stage.closes and link.stage.acts:
                to.append(Item(now, End(Cut("FIN"))))
        if before and before[0] not in heirs:  # what waits in front of the first stage is held by it
            to.extend(Item(now, item.what) for item in self._waiting)
            self._waiting.clear()
            self._held_bytes = 0

    def turn(self) -> None:
        """Take note that the other side has spoken: what comes now begins a new message."""
        for link in self._links:
            link.stage.turn()

    def put(self, what: bytes | End, at: float) -> None:
        """Take what comes at this time."""
        self._waiting.append(Item(at, what))
        if isinstance(what, End):
            self.has_ended = True
        else:
            self._held_bytes += len(what)

    def clear(self) -> None:
        """Forget all that is inside."""
        for link in self._links:
            link.clear()
        self._waiting.clear()
        self._out.clear()
        self._held_bytes = 0

    def rest(self) -> list[Item]:
        """All that is inside, in order, as if it had just come."""
        inside = [item for link in reversed(self._links) for item in link.flushed(0.0)]
        return [*self._out, *inside, *self._waiting]

    def room_bytes(self, wanted_bytes: int) -> int:
        """How many further bytes to read now: none behind an end, or where a slow flow has enough to do."""
        if self.has_ended:
            return 0
        for link in self._links:
            if link.stage.keeps_waiting and not link.stage.is_buffer:  # it has a piece, and the next in front of it
                return 0 if self._waiting or link.given else link.stage.limit_bytes(wanted_bytes)
            if link.stage.keeps_waiting:
                break
        return min(wanted_bytes, max(0, HELD_BYTES - self._held_bytes))

    def due(self) -> float | None:
        """When something happens next; `None` if the chain is empty."""
        if self._out:
            return self._out[0].at
        items = [link.look(nothing) for link in self._links]
        if self._waiting and (not items or items[0] is None):  # otherwise it waits for what is inside
            items.append(self._waiting[0])
        return min((item.at for item in items if item is not None), default=None)

    def pop(self, now: float) -> bytes | End | None:
        """What leaves the chain next, by now; `None` if nothing does."""
        if not self._out:
            self._advance(now)
        what = self._out.popleft().what if self._out else None
        self.passed_bytes += len(what) if isinstance(what, bytes) else 0
        return what

    def _advance(self, now: float) -> None:
        """Have everything move on that leaves a stage by now; of what leaves the last, one item."""
        for number, link in enumerate(self._links):
            pull = partial(self._take, now) if number == 0 else nothing
            is_last = number == len(self._links) - 1
            while (item := link.look(pull)) is not None and item.at <= now:
                link.leave(item.at)
                (self._out if is_last else self._links[number + 1].given).append(item)
                if is_last:
                    break
        if not self._links and (item := self._take(now)) is not None:
            self._out.append(item)

    def _take(self, now: float) -> Item | None:
        """Take what has come by now and waits in front of the chain."""
        if not self._waiting or self._waiting[0].at > now:
            return None
        item = self._waiting.popleft()
        self._held_bytes -= 0 if isinstance(item.what, End) else len(item.what)
        return item


def nothing() -> None:
    """Nothing comes."""


def named(condition: Condition, links: list[Link]) -> Link | None:
    """The link of a condition of the same kind and name; `None` if the condition has no name."""
    known = (link for link in links if condition.name and type(link.stage.condition) is type(condition))
    return next((link for link in known if link.stage.condition.name == condition.name), None)


def passed(payload: bytes, chain: Chain) -> tuple[bytes, float]:
    """A payload as it leaves a chain, and how much later; a datagram whose bytes are all dropped is an empty one."""
    chain.put(payload, 0.0)
    left, last = b"", 0.0
    while (due := chain.due()) is not None:
        what = chain.pop(due)
        left, last = left + (what if isinstance(what, bytes) else b""), due
    return left, last
