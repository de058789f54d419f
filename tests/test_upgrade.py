"""The clear text before TLS inside a protocol: the same outcome, however its bytes are split."""

from __future__ import annotations

import pytest

from faultline._engine.starttls import UPGRADES
from faultline._net.mail import LONGEST_LINE_BYTES, Smtp

EHLO, OFFER, SMALL = b"EHLO me\r\n", b"250-mx\r\n250 STARTTLS\r\n", b"250 mx\r\n"
ASK, READY = b"STARTTLS\r\n", b"220 2.0.0 Ready to start TLS\r\n"
SSL_REQUEST = bytes.fromhex("0000000804d2162f")
ENDLESS = b"x" * (LONGEST_LINE_BYTES + 1)
BOTH, RELAY_ALONE, NOBODY, OPEN = (True, True, True), (True, False, True), (False, False, True), (False, False, False)

# What the upstream ("<") and the client (">") say in turn; what each gets; who speaks TLS, and whether it is over.
TALKS = {
    "SMTP, both": (
        "smtp",
        [("<", b"220 mx\r\n"), (">", EHLO), ("<", OFFER), (">", ASK), ("<", b"220 go\r\n")],
        (b"220 mx\r\n" + OFFER + b"220 go\r\n", EHLO + ASK, *BOTH),
    ),
    "SMTP, no offer": (
        "smtp",
        [("<", b"220 mx\r\n"), (">", EHLO), ("<", SMALL), (">", ASK)],
        (b"220 mx\r\n250-mx\r\n250 STARTTLS\r\n" + READY, EHLO, *RELAY_ALONE),
    ),
    "SMTP, no offer, and the command before has no reply yet": (
        "smtp",
        [("<", b"220 mx\r\n"), (">", EHLO), ("<", SMALL), (">", b"NOOP\r\n" + ASK), ("<", b"250 done\r\n")],
        (b"220 mx\r\n250-mx\r\n250 STARTTLS\r\n250 done\r\n" + READY, EHLO + b"NOOP\r\n", *RELAY_ALONE),
    ),
    "SMTP, words behind the client's request and the server's reply": (
        "smtp",
        [("<", b"220 mx\r\n"), (">", b"\r\n"), ("<", b"500\r\n"), (">", ASK + EHLO), ("<", b"220 go\r\n250 more\r\n")],
        (b"220 mx\r\n500\r\n220 go\r\n250 more\r\n", b"\r\n" + ASK, *BOTH),
    ),
    "SMTP, no TLS": (
        "smtp",
        [("<", b"220 mx\r\n"), (">", EHLO), ("<", OFFER), (">", b"mail from:<a@b>\r\n")],
        (b"220 mx\r\n" + OFFER, EHLO + b"mail from:<a@b>\r\n", *NOBODY),
    ),
    "SMTP, no TLS, and commands that come together (RFC 2920)": (
        "smtp",
        [("<", b"220 mx\r\n"), (">", b"MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA")],
        (b"220 mx\r\n", b"MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA", *NOBODY),
    ),
    "SMTP, a refusal": (
        "smtp",
        [("<", b"220 mx\r\n"), (">", ASK), ("<", b"454 not now\r\n")],
        (b"220 mx\r\n454 not now\r\n", ASK, *OPEN),
    ),
    "SMTP, no line": (
        "smtp",
        [("<", ENDLESS)],
        (ENDLESS, b"", *NOBODY),
    ),
    "IMAP, both": (
        "imap",
        [("<", b"* OK [CAPABILITY IMAP4rev1 STARTTLS] hi\r\n"), (">", b"a STARTTLS\r\n"), ("<", b"* x\r\na OK go\r\n")],
        (b"* OK [CAPABILITY IMAP4rev1 STARTTLS] hi\r\n* x\r\na OK go\r\n", b"a STARTTLS\r\n", *BOTH),
    ),
    "IMAP, no offer": (
        "imap",
        [
            ("<", b"* OK hi\r\n"),
            (">", b"a CAPABILITY\r\n"),
            ("<", b"* capability x\r\na OK\r\n"),
            (">", b"b starttls\r\n"),
        ],
        (
            b"* OK hi\r\n* capability STARTTLS x\r\na OK\r\nb OK Begin TLS negotiation now\r\n",
            b"a CAPABILITY\r\n",
            *RELAY_ALONE,
        ),
    ),
    "IMAP, a refusal": (
        "imap",
        [("<", b"* OK hi\r\n"), (">", b"a STARTTLS\r\n"), ("<", b"a NO\r\n")],
        (b"* OK hi\r\na NO\r\n", b"a STARTTLS\r\n", *OPEN),
    ),
    "IMAP, no TLS": (
        "imap",
        [("<", b"* OK hi\r\n"), (">", b"\r\n"), (">", b"a LOGIN me x\r\nb SELECT y\r\n")],
        (b"* OK hi\r\n", b"\r\na LOGIN me x\r\nb SELECT y\r\n", *NOBODY),
    ),
    "PostgreSQL, both": ("postgres", [(">", SSL_REQUEST), ("<", b"S")], (b"S", SSL_REQUEST, *BOTH)),
    "MySQL, another protocol": ("mysql", [("<", b"\x02\0\0\0\x09\0")], (b"\x02\0\0\0\x09\0", b"", *NOBODY)),
    "MySQL, nothing": ("mysql", [("<", b"\0\0\0\0")], (b"\0\0\0\0", b"", *NOBODY)),
}


def outcome(upgrade, said, size):
    for side, data in said:
        say = upgrade.upstream_says if side == "<" else upgrade.client_says
        for at in range(0, len(data), size):
            if upgrade.hears_client or side == "<":  # the relay leaves what it is not to hear
                say(data[at : at + size])
    return (
        upgrade.to_client,
        upgrade.to_upstream,
        upgrade.client_speaks_tls,
        upgrade.upstream_speaks_tls,
        upgrade.is_over,
    )


@pytest.mark.measured
@pytest.mark.parametrize("size", [1, 7, 100_000])
@pytest.mark.parametrize("talk", TALKS)
def test_talk_has_the_same_outcome_however_it_is_split(talk, size):
    protocol, said, awaited = TALKS[talk]

    assert outcome(UPGRADES[protocol](), said, 20_000 if "no line" in talk and size < 100 else size) == awaited


@pytest.mark.parametrize(
    ("protocol", "asks", "refuses"), [("smtp", ASK, b"220 mx\r\n454 no\r\n"), ("imap", b"a STARTTLS\r\n", b"a NO\r\n")]
)
def test_commands_that_came_with_a_request_for_tls_pass_once_it_is_refused(protocol, asks, refuses):
    upgrade = UPGRADES[protocol]()
    upgrade.client_says(asks + b"b NOOP\r\nc ")
    assert upgrade.to_upstream == asks
    upgrade.upstream_says(refuses)
    assert upgrade.to_upstream == asks + b"b NOOP\r\n"
    upgrade.client_says(b"NOOP\r\n")
    assert upgrade.to_upstream == asks + b"b NOOP\r\nc NOOP\r\n"


def test_replies_that_nobody_asked_for_pass():
    upgrade = Smtp()
    upgrade.upstream_says(b"220 mx\r\n421 bye\r\n")

    assert (upgrade.to_client, upgrade.is_over) == (b"220 mx\r\n421 bye\r\n", False)
