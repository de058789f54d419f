"""What the ledger says of TLS that one side has refused or ended."""

from __future__ import annotations

import re
from dataclasses import replace

from faultline._core.attempts import Entry
from faultline._core.tls_facts import NO_TLS, TlsFacts

# The forms of OpenSSL's reason when the peer has sent an alert; some have the word "alert", and some don't.
ALERT = re.compile(r"(?:(?:sslv3|tlsv1|tlsv13) (?:alert )?|(?:ssl/)?tls alert )(.+)")


def note_rejection(entry: Entry, why: str, *, ours: str, speaks_tls: bool) -> bool:
    """Record why TLS ended: `why` is OpenSSL's reason, and `ours` the alert that the server has sent, or none.

    Returns:
        Whether the client ended it, with an alert.
    """
    match = ALERT.fullmatch(why)
    alert = match[1].replace(" ", "_") if match else ""
    entry.tls = replace(entry.tls or TlsFacts(), alert=alert, server_alert=ours)
    if alert:
        entry.note = f"the client ended TLS with the alert {alert}"
    elif speaks_tls:
        entry.note = f"the server ended TLS{f' with the alert {ours}' if ours else ''}: {why}"
    else:
        entry.note = f"{NO_TLS}: {why}"
    return bool(alert)
