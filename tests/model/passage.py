"""The reference of relays and proxies: what passes between a client and a server behind them."""

from __future__ import annotations

from model.reference import Connection
from model.values import Asked, Fault

CONNECT = Asked(b"CONNECT real.test:80 HTTP/1.1\r\nHost: real.test:80\r\n\r\n", "CONNECT")
ESTABLISHED = b"HTTP/1.1 200 Connection established\r\n\r\n"


class Relayed(Connection):
    """A connection that a relay passes on to a healthy server."""

    side = ""  # that has spoken last
    first = ""  # the side that has finished first
    is_tunnel = False

    def shake(self) -> bool:
        """The handshake of TLS, or none, and then the connect to the server."""
        if self.is_armed("handshake"):
            return super().shake()
        self.is_secure = self.world.tls
        return self.dial()

    def run(self) -> None:
        super().run()
        if self.held and self.phase == self.carry:
            self.entry.ahead = max(self.entry.ahead, len(self.unread))  # a read that has begun goes on

    def accept(self) -> bool:
        if self.is_armed("accept") or self.world.tls:
            return super().accept()
        return self.dial()

    def dial(self) -> bool:
        self.upstream = self.world.behind.connect(Connection)
        self.upstream.run()
        self.taken = 0  # of what the server has said
        self.phase, self.entry.point = self.carry, "request"
        return True

    def arm(self, fault: Fault) -> None:
        super().arm(fault)
        self.messages = 0

    def speaks(self, side: str, point: str) -> None:
        """One side says something: a message is all that it says until the other side does."""
        if self.side != side and self.brk is not None and self.brk.at == point:
            self.messages += 1
        self.side = side
        self.speaker = side
        self.entry.point = "tunnel" if self.is_tunnel else point

    def carry(self) -> bool:
        """Pass on what either side has said, and then its end."""
        return self.carry_to_server() or self.carry_to_client() or self.carry_ends()

    def carry_to_server(self) -> bool:
        if not self.unread:
            return False
        count, is_armed = len(self.unread), self.is_armed("request")
        if not (is_armed and self.brk.on is None and self.brk.after_messages is None and self.brk.after_bytes == 0):
            self.speaks("client", "request")
        cut = self.brk.cut(self.passed, self.unread, self.messages) if is_armed else None
        if cut is not None and self.brk.on is None and self.brk.after_messages is None:
            count = cut  # no more is read
        after_bytes, messages = len(self.passed) + (cut or 0), is_armed and self.brk.after_messages is not None
        data = self.unread[:count]
        self.unread = self.unread[count:]
        self.passed += data if is_armed else b""
        self.entry.received += len(data)
        if cut is None:
            self.pass_on(data)
            return True
        self.waiting = data if messages else b""
        self.pass_on(b"" if messages else data)
        self.strike(after_bytes)
        return True

    def pass_on(self, data: bytes) -> None:
        """Send the server bytes of the client."""
        self.upstream.say(tuple(self.coming), data)
        self.coming = []

    def carry_to_client(self) -> bool:
        data = self.upstream.heard[self.taken :]
        if self.waiting:  # of the client, since a break that has let it go on
            self.pass_on(self.waiting)
            self.waiting = b""
            return True
        if not data:
            return False
        self.speaks("server", "tunnel" if self.is_armed("tunnel") else "response")
        cut = None
        if (self.is_armed("response") or self.is_armed("tunnel")) and not self.is_past:
            cut = self.brk.cut(self.passed, data, self.messages)
        told = data[:cut]
        self.taken += len(told)
        self.passed += told if self.is_armed("response") or self.is_armed("tunnel") else b""
        self.heard += told
        self.entry.sent += len(told)
        if cut is not None:
            self.strike(len(self.passed))
        return True

    def carry_ends(self) -> bool:
        up = self.upstream
        if self.gone == "RST":
            return self.depart()
        if up.seen:
            self.first = self.first or "upstream"
        if self.gone and not up.gone:
            self.first = self.first or "client"
            up.leave("FIN", listens=True)
        if up.seen and not self.seen:
            self.seen, self.is_notified = "FIN", self.is_secure
        if self.gone and self.seen:
            self.entry.end(self.first, "FIN")
        return False

    is_past = False
    waiting = b""

    def strike(self, after_bytes: int) -> None:
        if self.brk.verb == "half_close" and self.phase == self.carry:
            self.upstream.leave("FIN", listens=True)
        super().strike(after_bytes)


class Tunnelled(Relayed):
    """A connection through an HTTP proxy."""

    def dial(self) -> bool:
        self.phase, self.entry.point = self.receive, "request"
        return True

    def receive(self) -> bool:
        self.messages = 1
        return super().receive()

    def take(self, count: int) -> None:
        passed = self.passed
        super().take(count)
        if not self.is_armed("request"):
            self.passed = passed

    def respond(self, asked: Asked) -> bool:
        """Open the tunnel, unless the fault has an answer."""
        self.entry.asked = Asked(asked.message, asked.method)
        self.entry.point = "response"
        self.side = self.speaker = "client"
        self.keeps, self.is_past, self.told_bytes, self.answer = False, False, 0, self.fault.answer
        self.rest = ESTABLISHED if self.answer is None else self.answer.to(asked, keeps=False)
        if not self.is_armed("request"):
            self.passed, self.messages = b"", 0
        self.phase = self.send
        if self.is_armed("response") and self.brk.cut(b"", b"", 0) is not None:
            self.strike(0)
        return True

    def send(self) -> bool:
        """Send the response, and open the tunnel after it."""
        if self.answer is not None:
            return super().send()
        if self.rest:
            self.speaks("server", "response")
            searches = self.is_armed("response")
            cut = self.brk.cut(self.passed, self.rest, self.messages) if searches else None
            told = self.rest[:cut]
            self.rest = self.rest[len(told) :]
            self.passed += told if searches else b""
            self.heard += told
            self.entry.sent += len(told)
            if cut is not None:
                self.strike(len(self.passed))
            return True
        super().dial()
        self.entry.point = "tunnel"
        self.side, self.is_tunnel = "", True
        if self.is_armed("tunnel") and self.brk.cut(b"", b"", 0) is not None:
            self.strike(0)
        return True
