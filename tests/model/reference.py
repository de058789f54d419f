"""A second account of what a client meets and of what the ledger says, in plain Python and without faultline's engine.

The client's bytes come in one after the other, and each conversation goes on until it waits for more of them.
"""

from __future__ import annotations

from model.values import HEALTHY, Asked, Fault, When
from model.world import Entry, Origin, World

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class Connection:
    """A connection to a server that speaks HTTP."""

    def __init__(self, world: World, number: int) -> None:
        self.world, self.number = world, number
        self.unread, self.coming = b"", []  # of the client
        self.heard, self.seen, self.is_notified = b"", "", False  # by the client
        self.shook_bytes = 0  # of a handshake that breaks
        self.gone = ""  # how the client has ended its own direction
        self.listens = True  # whether the client is still there
        self.is_secure = self.is_vague = self.has_spoken = False
        self.phase = self.accept
        self.held: str | None = None  # "for ever" or "gate", while it is held at a break
        self.open(*world.deal())

    def open(self, fault: Fault | When, origin: Origin | None) -> None:
        """Begin an attempt."""
        self.entry = Entry(self.number, fault, origin)
        self.world.entries.append(self.entry)
        self.at = 0  # how much of the request was read
        self.began_behind = bool(self.unread)
        self.arm(fault)

    def arm(self, fault: Fault) -> None:
        self.fault, self.brk = fault, fault.brk
        self.passed, self.messages, self.speaker = b"", 1, ""

    # --- what clients and tests do ---------------------------------------------------------------------------------

    def say(self, asked: tuple[Asked, ...], data: bytes) -> None:
        """The client sends bytes, which begin these requests."""
        self.coming += asked
        self.unread += data
        self.run()

    def leave(self, how: str, *, listens: bool = False) -> None:
        """The client ends its direction, or both."""
        self.gone, self.listens = how, listens
        if how == "RST":
            self.unread = b""
        if self.entry.ended is None and not listens and self.held:
            self.depart()
        self.run()

    def open_gate(self) -> None:
        if self.held == "gate":
            self.held = None
            self.run()

    def end_by_test(self, how: str) -> None:
        """The test ends the connection: by RST, by FIN, or with the server."""
        if self.entry.ended is not None:
            return
        self.is_vague = bool(self.entry.ahead or (self.unread and self.world.tls))  # what lies unread brings RST
        self.entry.ahead = max(self.entry.ahead, len(self.unread))
        self.entry.end("server", how)
        was_seen = self.seen
        if how == "RST" or (how == "stop" and (self.unread or self.is_hello_unread)):
            self.seen = f"{was_seen} RST".strip()
        elif not was_seen:
            self.seen, self.is_notified = "FIN", how == "FIN" and self.is_secure
        self.unread = b""

    def change(self, *, open_too: bool) -> None:
        """The plan has changed."""
        if self.entry.point == "idle" and not self.world.upcoming[0].can_follow(self.fault):
            self.entry.end("server", "FIN")
            self.seen, self.is_vague = self.seen or "FIN", bool(self.unread)
        elif open_too:
            fault, origin = self.world.deal()
            self.entry.meet(fault, origin)
            self.arm(fault)
            self.choose()
            if self.entry.point == "idle":
                self.run()

    # --- the conversation ------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Go on as far as possible."""
        goes_on = True
        while goes_on and self.entry.ended is None and not self.held:
            goes_on = self.phase()

    def accept(self) -> bool:
        if self.is_armed("accept"):
            self.strike(0)
            return True
        self.phase = self.shake if self.world.tls else self.receive
        self.entry.point = "handshake" if self.world.tls else "request"
        return True

    def shake(self) -> bool:
        """The handshake of TLS, which clients begin at once."""
        if self.is_armed("handshake"):
            self.shook_bytes = self.brk.after_bytes
            self.strike(self.brk.after_bytes)
            return True
        self.is_secure, self.phase, self.entry.point = True, self.receive, "request"
        return True

    def receive(self) -> bool:
        """Read a request."""
        is_read = bool(self.coming) and self.at == len(self.coming[0].message)  # and a break has struck right behind it
        if not self.unread and not is_read:
            return bool(self.gone) and self.depart()
        asked, entry = self.coming[0], self.entry
        if self.is_armed("request"):
            piece = self.unread[: len(asked.message) - self.at]
            cut = self.brk.cut(self.passed, piece, self.messages)
            if cut is not None:
                self.take(cut)
                exact = self.brk.on is None and self.brk.after_messages is None and not self.began_behind
                entry.ahead = 0 if exact else len(self.unread)
                self.strike(len(self.passed))
                return True
        had, waits = self.at, asked.expects and self.at + len(self.unread) < len(asked.message)
        self.take(len(asked.message) - self.at)
        is_at_body = waits and had < asked.head_bytes == self.at
        answer = self.fault.answer or self.world.answer
        if is_at_body and answer.status >= 300:
            return self.respond(Asked(asked.message, asked.method, b"", keeps=False))
        if is_at_body:
            self.heard += CONTINUE
            entry.sent += len(CONTINUE)
        if self.at == len(asked.message):
            self.coming.pop(0)
            return self.respond(asked)
        return True

    def take(self, count: int) -> None:
        """Read so many bytes."""
        data, self.unread = self.unread[:count], self.unread[count:]
        self.speaker = "client" if data else self.speaker
        self.passed, self.at = self.passed + data, self.at + len(data)
        self.entry.received += len(data)

    def respond(self, asked: Asked) -> bool:
        """Send the response."""
        self.entry.asked, self.entry.point = asked, "response"
        self.entry.ahead = len(self.unread)
        self.choose()
        self.passed, self.is_past, self.told_bytes, self.phase = b"", False, 0, self.answer_now
        if self.is_armed("response") and self.brk.cut(b"", b"", 0) is not None:
            self.strike(0)
        return True

    def answer_now(self) -> bool:
        """Make the response, which no later edit changes."""
        self.answer, asked = self.fault.answer, self.entry.asked
        answer = self.answer or self.world.answer
        ends = not self.is_armed("idle") and self.world.plan.per == "attempt" and not self.may_follow()
        self.keeps = asked.keeps and not answer.raw and not ends
        self.rest, self.phase = answer.to(asked, keeps=self.keeps), self.send
        return True

    def choose(self) -> None:
        """Choose a fault by the request, once that is known."""
        if isinstance(self.fault, When) and self.entry.asked is not None:
            is_so = self.entry.asked.method == self.fault.method
            plan, at, branch = self.entry.origin
            self.entry.origin = plan, at, branch + ("1" if is_so else "2")
            self.entry.fault = self.fault.fault if is_so else self.fault.otherwise
            self.arm(self.entry.fault)

    def may_follow(self) -> bool:
        fault, _ = self.world.upcoming
        return fault.can_follow(self.fault) or (fault == self.fault and fault.brk.at == "idle")

    def send(self) -> bool:
        """Send what is left of the response, up to a break."""
        if self.answer is not None and self.answer.is_fault and not self.is_past:
            self.entry.strike("answer", "response", 0)
        searches = self.is_armed("response") and bool(self.rest or not self.is_past)
        cut = self.brk.cut(self.passed, self.rest, 1) if searches else None
        self.tell(self.rest[:cut])
        self.rest = b"" if cut is None else self.rest[cut:]
        if cut is not None:
            self.is_past = True
            self.strike(self.told_bytes)
        else:
            self.phase = self.idle if self.keeps else self.close
            self.entry.point = "idle" if self.keeps else "response"
        return True

    def tell(self, data: bytes) -> None:
        self.speaker = "server" if data else self.speaker
        self.passed += data
        self.told_bytes += len(data)  # of this response, also before a live edit
        self.heard += data
        self.entry.sent += len(data)

    def idle(self) -> bool:
        """Wait for the next request on a kept connection."""
        if self.is_armed("idle"):
            self.strike(0)
            return True
        if not self.unread:
            return bool(self.gone) and self.depart()
        self.entry.ahead = 0
        self.entry.end()
        if self.world.plan.per == "connection":
            self.open(self.fault, self.entry.origin)
        elif self.may_follow():
            self.open(*self.world.deal())
        else:
            self.open(HEALTHY, None)
        self.phase, self.entry.point = self.receive, "request"
        return True

    def close(self) -> bool:
        self.seen, self.is_notified = "FIN", self.is_secure
        self.entry.end("server", "FIN")
        return False

    def drain(self) -> bool:
        """Read to the end, after a FIN."""
        if self.is_secure or not self.world.tls:
            self.take(len(self.unread))
        self.unread = b""
        return bool(self.gone) and self.depart()

    def depart(self) -> bool:
        """The client has ended the connection."""
        self.entry.end("client", self.gone)
        if self.listens:
            self.seen, self.is_notified = self.seen or "FIN", self.is_secure
        return False

    @property
    def is_hello_unread(self) -> bool:
        return self.world.tls and self.phase == self.accept

    @property
    def may_speak(self) -> bool:
        """Whether the client may send application bytes."""
        return self.is_secure or not self.world.tls

    @property
    def drains(self) -> bool:
        """Whether the server still reads, after its own FIN."""
        return self.phase == self.drain and self.entry.ended is None

    # --- breaks ----------------------------------------------------------------------------------------------------

    def is_armed(self, point: str) -> bool:
        return self.brk is not None and self.brk.at == point

    def strike(self, after_bytes: int) -> None:
        """The break strikes."""
        brk, self.brk = self.brk, None
        self.entry.strike("break", brk.at, after_bytes)
        self.entry.verb = brk.verb
        if brk.verb in ("reset", "reset after FIN"):
            self.seen = "RST" if brk.verb == "reset" else "FIN RST"
            self.is_notified = self.is_secure and brk.verb != "reset"
            self.entry.end("server", "RST")
        elif brk.verb == "close":
            self.close()
        elif brk.verb == "half_close":
            self.seen, self.is_notified, self.phase = "FIN", self.is_secure, self.drain
        elif brk.verb == "inject":
            self.heard += b"injected"
            self.entry.sent += len(b"injected")
        elif not (brk.verb == "hold" and self.world.is_gate_open):
            self.held = "gate" if brk.verb == "hold" else "for ever"
