"""The alerts of TLS by their names in RFC 8446, 6, and RFC 5246, 7.2, with those of older versions."""

from __future__ import annotations

from typing import Literal, get_args

AlertName = Literal[
    "close_notify",
    "unexpected_message",
    "bad_record_mac",
    "decryption_failed",
    "record_overflow",
    "decompression_failure",
    "handshake_failure",
    "no_certificate",
    "bad_certificate",
    "unsupported_certificate",
    "certificate_revoked",
    "certificate_expired",
    "certificate_unknown",
    "illegal_parameter",
    "unknown_ca",
    "access_denied",
    "decode_error",
    "decrypt_error",
    "export_restriction",
    "protocol_version",
    "insufficient_security",
    "internal_error",
    "inappropriate_fallback",
    "user_canceled",
    "no_renegotiation",
    "missing_extension",
    "unsupported_extension",
    "certificate_unobtainable",
    "unrecognized_name",
    "bad_certificate_status_response",
    "bad_certificate_hash_value",
    "unknown_psk_identity",
    "certificate_required",
    "no_application_protocol",
]

# In the order of the names.
CODES = (0, 10, 20, 21, 22, 30, 40, *range(41, 52), 60, 70, 71, 80, 86, 90, 100, *range(109, 117), 120)
CODE_OF: dict[str, int] = dict(zip(get_args(AlertName), CODES, strict=True))
NAME_OF: dict[int, str] = {code: name for name, code in CODE_OF.items()}
WARNINGS = {"close_notify", "user_canceled", "no_renegotiation"}


def alert_in(record: bytes) -> str:
    """The name of the alert in such a record; empty if these bytes are another."""
    return NAME_OF.get(record[-1], "") if record[:1] == b"\x15" and len(record) == len(alert("close_notify")) else ""


def alert(name: str) -> bytes:
    """The record of an alert, as it is sent before there are keys (RFC 8446, 5.1)."""
    level = 1 if name in WARNINGS else 2
    return bytes([21, 3, 3, 0, 2, level, CODE_OF[name]])
