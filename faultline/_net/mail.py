"""SMTP and IMAP before TLS: lines of text, and the command STARTTLS."""

from __future__ import annotations

import re
from abc import abstractmethod

from faultline._net.upgrade import Upgrade

LONGEST_LINE_BYTES = 65_536  # what is longer is no line of such a protocol, and passes as it is


class Lines(Upgrade):
    """A protocol of lines, in which the client asks for TLS with a command."""

    def __init__(self) -> None:
        super().__init__()
        self._of_client = self._of_upstream = b""
        self.offers: bool | None = None  # whether the upstream offers TLS, if it has said what it offers

    def client_says(self, data: bytes) -> None:
        self._of_client += data
        self._take_commands()
        self._pass_rest()

    def upstream_says(self, data: bytes) -> None:
        *lines, self._of_upstream = (self._of_upstream + data).split(b"\n")
        for line in lines:
            self.line(line + b"\n")
        self._take_commands()
        self._pass_rest()

    def _take_commands(self) -> None:
        """Take the lines of the client, up to a line that asks for TLS: its reply decides about the lines after it."""
        while self.hears_client and not self.is_over and b"\n" in self._of_client:
            line, _, self._of_client = self._of_client.partition(b"\n")
            self.command(line + b"\n")

    def _pass_rest(self) -> None:
        """Pass what is no line."""
        if self.client_speaks_tls:  # what follows the request in the clear is discarded: RFC 3207, 4.2
            self._of_client = b""
        too_long = max(len(self._of_client), len(self._of_upstream)) > LONGEST_LINE_BYTES
        self.is_over = self.is_over or too_long
        if self.is_over:
            self.to_upstream, self._of_client = self.to_upstream + self._of_client, b""
            self.to_client, self._of_upstream = self.to_client + self._of_upstream, b""

    @abstractmethod
    def command(self, line: bytes) -> None:
        """Take a line of the client."""

    @abstractmethod
    def line(self, line: bytes) -> None:
        """Take a line of the upstream."""


class Smtp(Lines):
    """SMTP: STARTTLS (RFC 3207) after EHLO, before AUTH and MAIL. Every line of the client has one reply."""

    def __init__(self) -> None:
        super().__init__()
        self._awaited = ["greeting"]  # the commands that have no reply yet
        self._has_offer = False  # in this reply to EHLO

    def command(self, line: bytes) -> None:
        verb = line.split(None, 1)[0].upper().decode("latin-1") if line.strip() else ""
        if verb == "STARTTLS":
            self.hears_client = False
            if self.offers is False:
                self._awaited.append("STARTTLS here")
                self._answer()
                return
        self.to_upstream += line
        self._awaited.append(verb)
        self.is_over = verb in ("AUTH", "MAIL")

    def line(self, line: bytes) -> None:
        command, is_last = self._awaited[0] if self._awaited else "", line[3:4] != b"-"
        if command == "EHLO" and line.startswith(b"250"):
            self._has_offer = self._has_offer or line[4:].strip().upper() == b"STARTTLS"
            if is_last:
                line = line if self._has_offer else line[:3] + b"-" + line[4:] + b"250 STARTTLS\r\n"
                self.offers, self._has_offer = self._has_offer, False
        self.to_client += line
        if is_last:
            self._awaited = self._awaited[1:]
            if command == "STARTTLS":
                self.hears_client = True
                if line.startswith(b"220"):
                    self.agree(upstream=True)
            self._answer()

    def _answer(self) -> None:
        """Answer STARTTLS for an upstream that has none, once the commands before have their replies."""
        if self._awaited[:1] == ["STARTTLS here"]:
            self.to_client += b"220 2.0.0 Ready to start TLS\r\n"
            self.agree(upstream=False)


class Imap(Lines):
    """IMAP: STARTTLS (RFC 9051, 6.2.1) before LOGIN and AUTHENTICATE."""

    CAPABILITY = re.compile(rb"(?i)((?:^\* |\[)CAPABILITY)((?: [^\]\r\n]*)?)")

    def __init__(self) -> None:
        super().__init__()
        self._tag = b""  # of STARTTLS, while its reply is awaited

    def command(self, line: bytes) -> None:
        tag, verb = (*line.split(None, 2), b"", b"")[:2]
        verb = verb.strip().upper()
        if verb == b"STARTTLS" and self.offers is False:
            self.hears_client = False
            self.to_client += tag + b" OK Begin TLS negotiation now\r\n"
            self.agree(upstream=False)
            return
        if verb == b"STARTTLS":
            self.hears_client, self._tag = False, tag
        self.to_upstream += line
        self.is_over = verb in (b"LOGIN", b"AUTHENTICATE")

    def line(self, line: bytes) -> None:
        found = self.CAPABILITY.search(line)
        if found is not None:
            self.offers = b"STARTTLS" in found[2].upper().split()
            if not self.offers:
                line = line[: found.end(1)] + b" STARTTLS" + line[found.end(1) :]
        self.to_client += line
        if self._tag and line.split(None, 1)[:1] == [self._tag]:
            self.hears_client, self._tag = True, b""
            if line.split()[1:2] == [b"OK"]:
                self.agree(upstream=True)
