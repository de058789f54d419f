"""A recorded upstream as a value: a script for each connection, which stands alone, and its form in a file.

Rules: what is written is read again by `load` of the same or a later version; nothing in a file is run.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

from faultline._core import steps as do
from faultline._core.attempts import Attempt
from faultline._core.branching import Reply
from faultline._core.calls import explained
from faultline._core.check import choice, flag, nearest, rejected
from faultline._core.counts import counted
from faultline._core.errors import ParameterError
from faultline._core.fault import Fault
from faultline._core.masking import Masker, Masks
from faultline._core.plan import Plan
from faultline._core.planning import sequence
from faultline._core.replay import (
    Conversation,
    Line,
    conversations_of,
    ended,
    lines_by_requests,
    lines_by_turns,
)
from faultline._core.replies import receive_all, reply
from faultline._core.script import receive, receive_prefixed, receive_request, receive_until, script, send, starttls
from faultline._core.words import listed

By: TypeAlias = Literal["turns", "requests"]
VERSION = 1
FORM = "faultline recording"
LAST_BYTE = 0xFF


@dataclass(frozen=True)
class Recording:
    """What an upstream said, as scripts that stand alone.

    .. versionadded:: 0.1

    Attributes:
        scripts: the steps for each connection, in the order in which they were opened.
        tls: whether the server has to speak TLS from the beginning: `serve(plan, tls=True)`.
        masked: what was masked, and how often.
    """

    scripts: tuple[tuple[Line, ...], ...]
    tls: bool = False
    masked: tuple[str, ...] = ()

    @property
    def plan(self) -> Plan:
        """The plan for `serve`: one script, or a sequence with a script for each connection; the last repeats."""
        plans = [plan_of(lines) for lines in self.scripts]
        while len(plans) > 1 and plans[-1] == plans[-2]:
            plans.pop()
        return plans[0] if len(plans) == 1 else sequence(*plans)

    def to_json(self) -> str:
        """The recording as JSON, which `faultline.load` reads; the documentation has recording.schema.json."""
        scripts = [[data_of(line) for line in lines] for lines in self.scripts]
        data = {"form": FORM, "version": VERSION, "tls": self.tls, "masked": [*self.masked], "scripts": scripts}
        return json.dumps(data, indent=1)


def plan_of(lines: tuple[Line, ...]) -> Fault:
    """The plan of one connection: a script, or a fault alone."""
    return lines[0] if len(lines) == 1 and is_at_accept(lines[0]) else script(*lines)  # type: ignore[return-value]


def is_at_accept(line: Line) -> bool:
    """Whether a line is a fault that strikes before anything is said."""
    return isinstance(line, Fault) and line.break_ is not None and line.break_.at == "accept"


@explained
def recording_of(
    attempts: tuple[Attempt, ...], *, record_bytes: int, dropped: int, mask: Masks = False, by: By = "turns"
) -> Recording:
    """The recording of the attempts of a ledger.

    Raises:
        ParameterError: the server did not record, some bytes are missing, or they can't be replayed.
    """
    choice("by", by, get_args(By))
    check_recorded(record_bytes, dropped)
    masker = Masker(mask)
    talks = conversations_of(attempts, masker)
    if not talks:
        through = " through the proxy" if attempts else ""
        raise ParameterError(f"the ledger: expected a connection to make a script of; no client has come{through}.")
    scripts = tuple(map(lines_by_turns, talks)) if by == "turns" else (lines_by_requests(talks),)
    return Recording(scripts, any(talk.tls for talk in talks), masked_in(talks, by))


def check_recorded(record_bytes: int, dropped: int) -> None:
    """Check that a ledger has all bytes of all attempts.

    Raises:
        ParameterError: the server did not record, or attempts were dropped.
    """
    if not record_bytes:
        raise ParameterError("record=False: expected record=True when the server is started; it keeps all bytes.")
    if dropped:
        raise ParameterError(f"the ledger: expected all attempts; {counted(dropped, 'attempt')} were dropped.")


def masked_in(talks: list[Conversation], by: By) -> tuple[str, ...]:
    """What was masked in the bytes that are in a script: those of the server, and by requests those of the client."""
    sides = ("server",) if by == "turns" else ("client", "server")
    found = Counter(
        f"{name}, said by the {turn.by}"
        for talk in talks
        for turn in talk.turns
        if turn.by in sides
        for *_, name in turn.masked.spans
    )
    return tuple(f"{what}: {counted(number, 'time')}" for what, number in found.items())


# --- JSON ------------------------------------------------------------------------------------------------------------


def text_of(marker: bytes | re.Pattern[bytes]) -> Any:
    """Bytes as text, one character for each (Latin-1); a pattern as an object."""
    if isinstance(marker, bytes):
        return marker.decode("latin-1")
    return {"pattern": marker.pattern.decode("latin-1")}


def bytes_of(name: str, text: object) -> bytes:
    """The bytes of a text.

    Raises:
        ParameterError: it is no text, or has a character that is no byte.
    """
    if not isinstance(text, str) or any(ord(character) > LAST_BYTE for character in text):
        raise rejected(name, text, "text with one character for each byte (Latin-1)")
    return text.encode("latin-1")


def marker_of(name: str, text: object) -> bytes | re.Pattern[bytes]:
    """The bytes of a text, or the pattern of an object.

    Raises:
        ParameterError: it is neither.
    """
    if not isinstance(text, Mapping):
        return bytes_of(name, text)
    check_keys(text, name, ("pattern",))
    try:
        return re.compile(bytes_of("pattern", text["pattern"]))
    except re.error as error:
        raise rejected("pattern", text["pattern"], f"a regular expression ({error})") from None


def data_of(line: Line | do.ConnectionStep) -> dict[str, Any]:  # noqa: PLR0911 - one for each step
    """A line of a script as plain data."""
    match line:
        case do.Send():
            return {"step": "send", "data": text_of(line.data)}
        case do.Receive():
            return {"step": "receive", "count_bytes": line.count_bytes}
        case do.ReceiveUntil():
            return {"step": "receive_until", "marker": text_of(line.marker)}
        case do.ReceivePrefixed():
            return {
                "step": "receive_prefixed",
                "length_bytes": line.length_bytes,
                "includes_length": line.includes_length,
            }
        case do.ReceiveRequest():
            return {"step": "receive_request", "head_only": line.head_only}
        case do.StartTls() | do.ReceiveAll() | do.Close():
            return {"step": line.says}
        case Reply():
            branches = [{"key": text_of(key), "steps": [data_of(s) for s in steps]} for key, steps in line.branches]
            return {"step": "reply", "branches": branches, "reading": data_of(line.reading)}
        case do.Planned():
            return {"step": line.said.partition("(")[0]}
        case _:
            assert isinstance(line, Fault)
            assert line.break_ is not None
            at = {"at": "accept"} if is_at_accept(line) else {}
            return {"step": line.said[0].mode, **at}


def line_of(data: object) -> Line:
    """The line of a script from plain data.

    Raises:
        ParameterError: there is no such step, or a value is missing, wrong or unknown.
    """
    name = data.get("step") if isinstance(data, Mapping) else None
    if not isinstance(data, Mapping) or not isinstance(name, str):
        raise rejected("scripts", data, "steps, such as {'step': 'send', 'data': 'hello'}")
    if name not in MADE:
        raise ParameterError(f"step={name!r}: expected one of {', '.join(MADE)}.{nearest(name, MADE)}")
    needed, optional, make = MADE[name]
    check_keys(data, f"step={name!r}", ("step", *needed), optional)
    return make(data)


def check_keys(data: Mapping[str, Any], whose: str, needed: Sequence[str], optional: Sequence[str] = ()) -> None:
    """Check that plain data has these values and no others.

    Raises:
        ParameterError: it has others, or lacks one.
    """
    known = (*needed, *optional)
    for key in data:
        if key not in known:
            named = [name for name in known if name != "step"]
            expected = f"{listed(named, 'and')} alone" if named else "no other value"
            raise ParameterError(f"{whose}, {key}={data[key]!r}: expected {expected}.{nearest(key, known)}")
    if missing := [key for key in needed if key not in data]:
        raise ParameterError(f"{whose}: expected {missing[0]}, which is missing.")


def several(name: str, values: object) -> list[Any]:
    """A list of plain data.

    Raises:
        ParameterError: it is none.
    """
    if not isinstance(values, list):
        raise rejected(name, values, "a list")
    return values


def reply_of(given: Mapping[str, Any]) -> Line:
    """The reply of a script, which answers each message by itself.

    Raises:
        ParameterError: a value is missing, wrong or unknown.
    """
    branches = {}
    for each in several("branches", given["branches"]):
        if not isinstance(each, Mapping):
            raise rejected("branches", each, "a key and its steps")
        check_keys(each, "branches", ("key", "steps"))
        branches[marker_of("key", each["key"])] = tuple(map(line_of, several("steps", each["steps"])))
    return reply(branches, reading=line_of(given["reading"]))  # type: ignore[arg-type] # which checks it


def end_of(given: Mapping[str, Any], *, reset: bool) -> Line:
    """The end of a conversation by the server.

    Raises:
        ParameterError: its place is another than `accept`.
    """
    if "at" in given:
        choice("at", given["at"], ("accept",))
    return ended(given.get("at"), reset=reset)


# The values that each step needs, those that it may have, and how it is made of them.
MADE: dict[str, tuple[tuple[str, ...], tuple[str, ...], Callable[[Mapping[str, Any]], Line]]] = {
    "send": (("data",), (), lambda given: send(bytes_of("data", given["data"]))),
    "receive": (("count_bytes",), (), lambda given: receive(given["count_bytes"])),
    "receive_until": (("marker",), (), lambda given: receive_until(marker_of("marker", given["marker"]))),
    "receive_prefixed": (
        ("length_bytes", "includes_length"),
        (),
        lambda given: receive_prefixed(given["length_bytes"], includes_length=given["includes_length"]),
    ),
    "receive_request": (("head_only",), (), lambda given: receive_request(head_only=given["head_only"])),
    "receive_all": ((), (), lambda _: receive_all()),
    "starttls": ((), (), lambda _: starttls()),
    "reply": (("branches", "reading"), (), reply_of),
    "reset": ((), ("at",), lambda given: end_of(given, reset=True)),
    "close": ((), ("at",), lambda given: end_of(given, reset=False)),
}


def from_json(text: str, where: str) -> Recording:
    """The recording of a text.

    Raises:
        ParameterError: the text is no recording, or is of a later version.
    """
    try:
        return whole_recording(json.loads(text))
    except ParameterError as error:
        raise ParameterError(f"{where}: {error}") from None
    except (ValueError, RecursionError) as error:  # of JSON
        raise ParameterError(f"{where}: expected JSON ({error}).") from None


def whole_recording(data: object) -> Recording:
    """The recording of plain data, with a plan that can be made.

    Raises:
        ParameterError: it is none, it is of a later version, or a value is missing, wrong or unknown.
    """
    if not isinstance(data, dict) or data.get("form") != FORM:
        raise ParameterError("expected a recording of `faultline record --out case.json`.")
    if data.get("version") != VERSION:
        raise ParameterError(f"expected version {VERSION}, not {data.get('version')!r}; update faultline.")
    check_keys(data, "the recording", ("form", "version", "tls", "masked", "scripts"))
    scripts = tuple(tuple(map(line_of, several("scripts", lines))) for lines in several("scripts", data["scripts"]))
    if not scripts:
        raise ParameterError("expected at least one script.")
    masked = several("masked", data["masked"])
    if not all(isinstance(what, str) for what in masked):
        raise rejected("masked", masked, "a list of texts")
    recording = Recording(scripts, flag("tls", data["tls"]), tuple(masked))
    assert recording.plan
    return recording
