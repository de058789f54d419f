"""A UDP server: its answers are lost, late, duplicated, out of order or corrupted, or its port is closed.

Each datagram of a client is an attempt, which the fault's answer answers.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from faultline._core import chance
from faultline._core.answers import OK_BODY, Answer
from faultline._core.attempts import Attempt, Entry, Request
from faultline._core.calls import explained
from faultline._core.chain import Chain, passed
from faultline._core.check import rejected
from faultline._core.conditions import Loss
from faultline._core.dealer import Dealer
from faultline._core.errors import ParameterError
from faultline._core.fault import Fault
from faultline._core.hosts import hostport
from faultline._core.kinds import UDP, check_plan
from faultline._core.ledger import Ledger
from faultline._core.plan import Plan, Sequence, entries_of, faults_of
from faultline._core.planning import checked_plan
from faultline._core.promises import ANSWER, BREAK, Key
from faultline._core.steps import Behind, Door, Refuse, Twice, Vanish, is_final
from faultline._net import system
from faultline._net.addresses import checked_address
from faultline._servers.datagrams import Address, Datagrams, Unanswered
from faultline._servers.endpoint import Endpoint
from faultline._servers.lapse import Lapse
from faultline._servers.loop import background

MOST_BYTES = 65_507  # 65,535 without the heads of IPv4 and UDP (RFC 768)
FITTING = f"of at most {MOST_BYTES} bytes"


class UdpServer(Endpoint):
    """A UDP server on this machine that plays a plan to its clients.

    `faultline.udp` returns UDP servers. As a context manager the server stops at the end of the block, raises an error
    that happened inside it, and raises `NotStruckError` if a planned fault never struck (not with `strict=False`).

    .. versionadded:: 0.1

    Attributes:
        host: the IP address that the server is bound to.
        port: the port that the server is bound to.
        ledger: the record of all attempts.
    """

    _name = "UDP server"
    _no_attempt = "no datagram came"

    def __init__(
        self,
        plan: Plan,
        *,
        answer: Fault | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        strict: bool = True,
        allow_remote: bool = False,
        on_end: Callable[[Attempt], None] | None = None,
    ) -> None:
        system.check()
        self.host, number = checked_address(host, port, allow_remote=allow_remote)
        self._default = checked_words(answer)
        super().__init__(plan, strict=strict)
        self._dealer = Dealer(self.plan)
        self._held: list[Callable[[], None]] = []
        self._open: set[Entry] = set()
        self._unanswered = Unanswered()
        self._is_cut_off = False
        self._step: Door | None = None  # the present step of the port
        self._lapse: Lapse | None = None  # the end of a refusal
        self._datagrams = Datagrams(self.host, number)
        self.port = self._datagrams.address[1]
        self._background = background()
        self.ledger = Ledger(on_end)
        self._background.call(self._start, self._break)

    @property
    def address(self) -> tuple[str, int]:
        """Host and port for a client on this machine."""
        return system.reachable(self.host), self.port

    # --- as an endpoint ----------------------------------------------------------------------------------------------

    def _checked(self, plan: object) -> Plan:
        return checked_datagram_plan(plan)

    def _change(self, plan: Plan) -> None:
        def change() -> None:
            self._dealer.change(plan)
            self._set_port()

        self._background.call(change, self._break)

    def _settle(self) -> None:
        self._background.settle()

    def _stop(self) -> None:
        self._settle()  # so that datagrams that have arrived are in the ledger
        self._background.call(self._end)

    def cut_off(self, *, is_cut_off: bool = True) -> None:
        """Answer every waiting client, and every new one, with an empty datagram, which ends its wait."""

        def cut() -> None:
            self._is_cut_off = is_cut_off
            if is_cut_off:
                self._unanswered.end_all()
                self._end_open()

        self._background.call(cut, self._break)

    def _is_unseen(self, door: Door) -> bool:
        """The kernel answers for a closed port, and counts nothing."""
        return isinstance(door, Refuse)

    @property
    def _uncounted(self) -> str:
        refuses = any(isinstance(fault.door, Refuse) for plan in self._plans for fault in faults_of(plan))
        return "; the kernel answers for a closed port, and counts nothing" * refuses

    @property
    def _where(self) -> str:
        return hostport(*self.address)

    @property
    def _title(self) -> str:
        return f"datagrams to {self._where}"

    # --- in the loop's thread ----------------------------------------------------------------------------------------

    def _start(self) -> None:
        self._datagrams.start(self._background.loop, self._on_datagram)
        self._set_port()

    def _break(self, error: BaseException) -> None:
        """Keep an error in a callback, and end everything."""
        self._errors.append(error)
        self._end()

    def _end(self) -> None:
        self._datagrams.close()
        self._end_open()

    def _end_open(self) -> None:
        """End the attempts whose answers are late; they are not sent any more."""
        for entry in self._open:
            self.ledger.end(entry, "server", "stop")
        self._open.clear()

    def _set_port(self, *, anew: bool = False) -> None:
        """Close the port if the next fault refuses, otherwise open it.

        A step equal to the present step begins only anew. Between two refusals the port stays closed, so that no
        datagram comes in.
        """
        self._dealer.pass_open_gates()
        door = self._dealer.upcoming().door
        if door == self._step and not anew:
            return
        self._step = door
        if self._lapse is not None:
            self._lapse.cancel()
        if not isinstance(door, Refuse):
            self._datagrams.open()
            return
        self._datagrams.shut()
        self._lapse = self._datagrams.lapse(door, self._expire)

    def _expire(self) -> None:
        """Go on behind a refusal that is over, and have the port as the next fault wants it."""
        if not self._dealer.following().has_open_gate:
            self._dealer.deal()
        self._set_port(anew=True)

    def _on_datagram(self, data: bytes, address: Address) -> None:
        try:
            self._play(data, address)
        except Exception as error:  # noqa: BLE001 - a bug in faultline must not end the loop
            self._errors.append(error)

    def _play(self, data: bytes, address: Address) -> None:
        if self._is_cut_off:
            self._datagrams.send(b"", address)
            return
        self._unanswered.add(address, partial(self._datagrams.send, b"", address))
        fault = self._dealer.deal()
        self._set_port()  # before the client can observe this attempt
        entry = self.ledger.begin(None, fault, "response")
        entry.says("client", data)
        self.ledger.keep(entry, Request(body=data, body_bytes=len(data)))
        loss = next((c for c in fault.conditions if isinstance(c, Loss)), None)
        vanishes = isinstance(fault.door, Vanish)
        if vanishes or (loss is not None and chance.generator().random() < loss.probability):
            part = Key("condition", fault.conditions.index(loss)) if loss is not None and not vanishes else BREAK
            self.ledger.strike(entry, "connect" if vanishes else "request", 0, part)
            self.ledger.end(entry, "server", "silence")
            return
        condition_strikes = partial(self._condition_strikes, entry)
        payload, wait = passed(
            response_to(data, fault, self._default),
            Chain(fault.conditions, "response", chance.generator, condition_strikes),
        )

        def say() -> None:
            if entry.ended_seconds is not None:  # its client waits no longer
                return
            if fault.break_ is not None:
                self.ledger.strike(entry, "response", 0)
            if fault.http_answer is not None and fault.http_answer.is_fault:
                self.ledger.strike(entry, "response", 0, ANSWER)
            for _ in range(2 if isinstance(fault.fate, Twice) else 1):
                entry.note = self._datagrams.send(payload, address)
                entry.says("server", b"" if entry.note else payload)
            self._unanswered.discard(address)
            self._open.discard(entry)
            self.ledger.end(entry, "server", "silence" if entry.note else "answer")

        self._open.add(entry)
        if isinstance(fault.fate, Behind):
            self._held.append(partial(self._after, wait, say))
        else:
            held, self._held = self._held, []
            self._after(wait, partial(in_turn, [say, *held]))

    def _condition_strikes(self, entry: Entry, part: Key, after_bytes: int) -> None:
        """Record that a condition changes a datagram, for the first time."""
        self.ledger.strike(entry, "response", after_bytes, part)

    def _after(self, seconds: float, function: Callable[[], None]) -> None:
        if seconds:
            self._datagrams.later(seconds, function)
        else:
            function()


def in_turn(functions: list[Callable[[], None]]) -> None:
    """Call one after the other."""
    for function in functions:
        function()


def response_to(data: bytes, fault: Fault, default: Answer) -> bytes:
    """The payload of an answer: the fault's, or the server's if the fault has none."""
    answer = fault.http_answer or default
    if answer.echoes:
        return data
    if answer.raw is not None:
        return answer.raw
    return OK_BODY if answer.body is None else answer.body


def checked_words(answer: Fault | None) -> Answer:
    """The answer of a server to datagrams, for faults without an answer of their own.

    Raises:
        ParameterError: `answer` has more than a payload, or its payload doesn't fit into a datagram.
    """
    if answer is None:
        return Answer(echoes=True)
    if isinstance(answer, Fault) and answer.is_answer and UDP.plays(answer) and fits(answer.http_answer):
        return answer.http_answer or Answer()
    raise rejected("answer", answer, f"ok(b'…'), echo() or raw(b'…') {FITTING}")


def fits(answer: Answer | None) -> bool:
    """Whether a datagram has room for an answer."""
    return answer is None or max(len(answer.raw or b""), len(answer.body or b"")) <= MOST_BYTES


def checked_datagram_plan(plan: object) -> Plan:
    """Check that a UDP server can play a plan, and return the plan.

    Raises:
        ParameterError: a fault needs a connection, or refuses datagrams that the server can't count; or every datagram
            at the end of the plan waits for the answer to the next.
    """
    good = checked_plan(plan)
    check_plan(good, UDP)
    repeated = entries_of(good) if isinstance(good, Sequence) and good.cycles else entries_of(good)[-1:]
    if all(isinstance(entry, Fault) and isinstance(entry.fate, Behind) for entry in repeated):
        raise rejected("plan", plan, "ok() or another fault after reordered(), which waits for its answer")
    faults = faults_of(good)
    for fault in faults:
        door = fault.door
        if not fits(fault.http_answer):
            raise ParameterError(f"{fault!r}: expected an answer {FITTING}; a datagram has no room for more.")
        if isinstance(door, Refuse) and is_final(door) and len(faults) > 1:
            raise rejected("plan", plan, "refuse() alone or refuse(for_seconds=…): refused datagrams are not seen")
        if isinstance(door, Vanish) and not is_final(door):
            name = "until" if door.until is not None else "for_seconds"
            raise rejected(name, getattr(door, name), f"blackhole() without {name}; each datagram is an attempt")
    return good


@explained
def udp(
    plan: Plan,
    *,
    answer: Fault | None = None,
    host: str = "127.0.0.1",
    port: int = 0,
    strict: bool = True,
    allow_remote: bool = False,
) -> UdpServer:
    """Start a UDP server that plays a plan to its clients: each datagram is an attempt.

    `blackhole()` and `loss(probability)` don't answer, `latency(seconds)` answers later, `duplicated()` answers twice,
    `reordered()` answers after the next datagram, and `raw(bytes)` and `corrupt(…)` change the answer. With `refuse()`
    the kernel answers with ICMP port unreachable: the next call of a connected client raises `ConnectionRefusedError`
    (udp(7)).

    .. versionadded:: 0.1

    Args:
        plan: the faults of the datagrams.
        answer: the answer when the fault has no answer of its own, such as `ok(b"pong")`. Default: the client's own
            bytes.
        host: the IP address to bind. An address that other machines can reach, such as `0.0.0.0`, needs `allow_remote`.
        port: the port to bind. Default: a free port.
        strict: whether the end of the `with` block or of the test fails if a planned fault never struck.
        allow_remote: whether other machines may connect.

    Returns:
        The server, which receives at `server.address`. Use it as a context manager, or call `close()`.

    Raises:
        ParameterError: a value is out of its range, a fault of the plan needs a connection, or the plan ends with
            `reordered()`.
        PortError: the port is in use, or the address can't be bound.
        UnsupportedError: the system is Windows.

    Example:
        >>> import faultline, socket
        >>> with faultline.udp(faultline.refuse()) as server, socket.socket(type=socket.SOCK_DGRAM) as client:
        ...     client.connect(server.address)
        ...     client.send(b"ping")
        ...     client.recv(10)
        Traceback (most recent call last):
        ConnectionRefusedError: [Errno 111] Connection refused
    """
    return UdpServer(plan, answer=answer, host=host, port=port, strict=strict, allow_remote=allow_remote)
