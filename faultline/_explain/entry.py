"""What is said of one error: its names, its meaning, its causes, and the faults that reproduce it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from faultline._core.points import POINTS, Point
from faultline._explain.plays import BY_PLAN, Play, played, raising

Group = Literal[
    "certificates",
    "alerts of TLS",
    "TLS",
    "names and addresses",
    "the operating system",
    "http.client and urllib",
    "urllib3",
    "requests",
    "httpx",
    "aiohttp",
]
GROUPS: tuple[Group, ...] = get_args(Group)  # the most exact first: an error is told of by its innermost cause
OF_CLIENTS = ("urllib3", "requests", "httpx", "aiohttp")


@dataclass(frozen=True)
class Entry:
    """An error that a client meets.

    Attributes:
        name: its usual name: the path of a class, an errno, a reason of OpenSSL, or the words of a verify error.
        means: what it says, in a sentence or two.
        causes: what brings it about in production, the most frequent cause first.
        also: its other names.
        messages: the words that its texts have, by which people look it up.
        cause: the class and the detail by which the plays have it; a class of a client is found by its name.
        main: the plan that shows it best; the first of its plays if it is empty.
        points: where it can happen though no play shows it.
        instead: how to get it where no mode plays it.
        members: the names of the errors that it stands for.
        example: the name of the code that handles it.
    """

    name: str
    group: Group
    means: str
    causes: tuple[str, ...] = ()
    also: tuple[str, ...] = ()
    messages: tuple[str, ...] = ()
    cause: tuple[str, str] | None = None
    main: str = ""
    points: tuple[Point, ...] = ()
    instead: str = ""
    members: tuple[str, ...] = ()
    example: str = ""

    @property
    def plays(self) -> tuple[Play, ...]:
        """The faults that lead to it, the best example first."""
        found = raising(self.name) if self.group in OF_CLIENTS else played(*(self.cause or (self.name, "")))
        first = (BY_PLAN[self.main],) if self.main else ()
        return (*first, *(play for play in found if play not in first))

    @property
    def met_at(self) -> tuple[Point, ...]:
        """The points of a conversation where it can happen, in their order."""
        known = {play.point for play in self.plays} | {*self.points}
        return tuple(point for point in POINTS if point in known)


@dataclass(frozen=True)
class Example:
    """Code that handles an error, and the call that shows it.

    Attributes:
        code: the code, which defines a function.
        call: an expression with `server`, a server that plays `plan`.
        plan: the plan.
        gives: the value of the call, as `repr` shows it.
        tls: whether the server speaks TLS.
    """

    code: str
    call: str
    plan: str
    gives: str
    tls: bool = False
