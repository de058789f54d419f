"""Modes that strike in TLS: wrong terms of the handshake, and wrong bytes in it and after it."""

from typing import Annotated, Literal

from faultline._core.alerts import AlertName
from faultline._core.alerts import alert as alert_record
from faultline._core.answers import Answer
from faultline._core.breaks import Break, Trigger
from faultline._core.certificates import Terms, Version
from faultline._core.check import rejected
from faultline._core.conditions import Drip
from faultline._core.fault import Fault
from faultline._core.steps import Close, Renegotiate, Send
from faultline.modes._registry import case, mode

__all__ = ["bad_tls"]

Kind = Literal[
    "plain_http",
    "garbage",
    "alert",
    "only_version",
    "no_shared_cipher",
    "alpn_mismatch",
    "alpn_unoffered",
    "client_cert_required",
    "client_cert_rejected",
    "no_close_notify",
    "plaintext_midway",
    "renegotiate",
    "slow_handshake",
]

# The response of a server that gets TLS on its port for plain HTTP.
BODY = b"The plain HTTP port was spoken to in TLS.\n"
HEAD = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n"
PLAIN_HTTP = HEAD % len(BODY) + BODY
GARBAGE = bytes(range(255, 191, -1))


def sent_instead(data: bytes) -> Fault:
    """A fault that sends these bytes instead of the ServerHello, and then FIN."""
    return Fault(Break("handshake", (Send(data, below_tls=True), Close())))


# The kinds without a parameter.
FIXED: dict[str, Fault] = {
    "plain_http": sent_instead(PLAIN_HTTP),
    "garbage": sent_instead(GARBAGE),
    "no_shared_cipher": Fault(terms=Terms("no_shared_cipher", ciphers="null", is_fault=True)),
    "alpn_mismatch": Fault(terms=Terms("alpn_mismatch", refuses_protocols=True, is_fault=True)),
    "alpn_unoffered": Fault(terms=Terms("alpn_unoffered", picks_unoffered=True, is_fault=True)),
    "client_cert_required": Fault(terms=Terms("client_cert_required", client="required", is_fault=True)),
    "client_cert_rejected": Fault(terms=Terms("client_cert_rejected", client="rejected", is_fault=True)),
    "no_close_notify": Fault(Break("response", (Close(False),), Trigger(at_end=True)), answer=Answer(ends=True)),
    "renegotiate": Fault(Break("response", (Renegotiate(),)), terms=Terms("renegotiate", renegotiates=True)),
}
# The kind that a parameter is for.
BELONGS = {
    "alert": "alert",
    "version": "only_version",
    "after_bytes": "plaintext_midway",
    "every_seconds": "slow_handshake",
}


@mode(
    case("SSLError", "reason WRONG_VERSION_NUMBER", kind="plain_http"),
    case("SSLError", "reason WRONG_VERSION_NUMBER", kind="garbage"),
    case("SSLError", "alert handshake_failure", kind="alert"),
    case("SSLError", "alert internal_error", kind="alert", alert="internal_error"),
    case("SSLError", "alert protocol_version", kind="only_version"),
    case("the response", "in that version", kind="only_version", version="1.2"),
    case("SSLError", "alert handshake_failure", kind="no_shared_cipher"),
    case("the response", "a client that offers protocols: alert no_application_protocol", kind="alpn_mismatch"),
    case("SSLError", "alert certificate_required; in TLS 1.2 handshake_failure", kind="client_cert_required"),
    case(
        "SSLError",
        "alert certificate_required; with a certificate unknown_ca",
        kind="client_cert_rejected",
    ),
    case("end of stream", "with suppress_ragged_eofs=False SSLEOFError", kind="no_close_notify"),
    case("SSLError", "reason WRONG_VERSION_NUMBER or RECORD_LAYER_FAILURE", kind="plaintext_midway", after_bytes=20),
    case("the response", "after a second handshake", kind="renegotiate"),
    case("the response", kind="slow_handshake", every_seconds=0.0001),
)
def bad_tls(
    kind: Annotated[Kind, "what is wrong with TLS; the certificate is right"] = "alert",
    *,
    alert: Annotated[
        AlertName | None, "for kind=alert: the name of the alert in RFC 8446 (default: handshake_failure)"
    ] = None,
    version: Annotated[Version | None, "for kind=only_version: the only version (default: 1.0)"] = None,
    after_bytes: Annotated[int, "for kind=plaintext_midway: let this number of bytes of the response pass first"] = 0,
    every_seconds: Annotated[
        float | None, "for kind=slow_handshake: the time between two bytes (default: 0.01)"
    ] = None,
) -> Fault:
    """Speak TLS wrongly, or on terms that the client can't meet.

    The client's handshake fails with `ssl.SSLError`. Its `reason`, or its text if Python has no reason, names OpenSSL's
    reason or the alert that it got. The alert `close_notify` is the end of the stream, and the end follows
    `user_canceled`. The server speaks TLS also without `tls=True`.

    - `plain_http`, `garbage`, `alert`: sent instead of the ServerHello, then FIN.
    - `only_version`: any client that has the version gets its response. 1.0 and 1.1 are off in OpenSSL's clients
      unless they lower `minimum_version` and the security level.
      A client of 1.1 or 1.2 alone and of security level 0 refuses by itself (`UNSUPPORTED_PROTOCOL`).
    - `no_shared_cipher`: TLS 1.2, and a cipher without encryption that no client offers; a client that has
      TLS 1.3 alone gets the alert `protocol_version`.
    - `alpn_mismatch`: refuses a client that offers protocols (RFC 7301, 3.2), and serves a client that offers none.
    - `alpn_unoffered`: a client that offers protocols is told that `http/1.0` was agreed, which it did not offer
      (`faultline` if it did). OpenSSL 3.0.19 refuses (reason `BAD_EXTENSION`), and so do Python and Node on it; OpenSSL
      3.2.1 and GnuTLS 3.7 go on, and get the response. It needs pyOpenSSL, as `renegotiate` does.
    - `client_cert_required` serves a client with a certificate of the test CA (`server.client_cert_file`),
      `client_cert_rejected` serves no client. In TLS 1.3 the client gets the alert when it reads, not in its handshake.
    - `no_close_notify`: a body without a length, whose end is a FIN without close_notify, as a truncation
      attack looks (RFC 8446, 6.1). `plaintext_midway`: bytes that are no TLS between its records, then FIN.
    - `renegotiate`: TLS 1.2, and a new handshake before the response (RFC 5246, 7.4.1.1), which a client may refuse.
      Python's ssl can't renegotiate, so the server then speaks TLS by pyOpenSSL, from `pytest-faultline[openssl]`.
    - `slow_handshake`: the server's records byte by byte. `drip`, `throttle`, `latency` and `corrupt` with
      `direction="handshake"` have more options.

    .. versionadded:: 0.1

    Raises:
        ParameterError: a parameter belongs to another kind.

    Example:
        >>> import faultline, urllib.request
        >>> with faultline.serve(faultline.bad_tls("alert", alert="access_denied")) as server:
        ...     urllib.request.urlopen(server.url, context=server.client_context())
        Traceback (most recent call last):
        urllib.error.URLError: <urlopen error [SSL: TLSV1_ALERT_ACCESS_DENIED] tlsv1 alert access denied ...>
    """
    given = {"alert": alert, "version": version, "after_bytes": after_bytes or None, "every_seconds": every_seconds}
    for name, value in given.items():
        if value is not None and kind != BELONGS[name]:
            raise rejected(name, value, f"no {name} with kind={kind!r}; write kind={BELONGS[name]!r}")
    match kind:
        case "alert":
            return sent_instead(alert_record(alert or "handshake_failure"))
        case "only_version":
            return Fault(terms=Terms("only_version", version=version or "1.0", is_fault=True))
        case "plaintext_midway":
            return Fault(Break("response", (Send(PLAIN_HTTP, below_tls=True), Close(False)), Trigger(after_bytes)))
        case "slow_handshake":
            return Fault(
                conditions=(
                    Drip(
                        chunk_bytes=1,
                        every_seconds=0.01 if every_seconds is None else every_seconds,
                        direction="handshake",
                    ),
                )
            )
        case _:
            return FIXED[kind]
