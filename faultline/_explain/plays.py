"""What clients raise when a fault is played to them: the table that a test plays, row by row, against each client.

Rules: a row holds what a run has shown. No client is imported here; a class is named by the path that users write.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from faultline._core.fault import Fault
from faultline._core.points import POINTS, Point

CLIENTS = ("http.client", "urllib3", "requests", "httpx", "aiohttp")


@dataclass(frozen=True)
class Play:
    """A fault, and what each client raises when it meets the fault.

    Attributes:
        plan: the fault as users write it.
        cause: the error of the system or of Python's own library, which the other clients wrap.
        detail: its errno, its OpenSSL reason or its verify code; empty if it has none.
        raised: the class that each client of `CLIENTS` raises, in their order, or two with `or` where either can come
            first; empty for a client that raises nothing.
        tls: whether the server speaks TLS though the fault doesn't need it.
        uploads: whether the request has a body of several MiB.
        hiding: the clients whose exception need not hold the cause.
    """

    plan: str
    cause: str
    detail: str
    raised: tuple[str, str, str, str, str]
    tls: bool = False
    uploads: bool = False
    hiding: tuple[str, ...] = ()

    @property
    def fault(self) -> Fault:
        """The fault, made from its text."""
        return fault_of(self.plan)

    @property
    def point(self) -> Point:
        """The point of a conversation where the client meets the fault."""
        return point_of(self.fault)

    @property
    def keeping(self) -> tuple[str, ...]:
        """The clients under whose exception `faultline.raises` finds the cause; httpx and aiohttp parse HTTP alone."""
        own = ("httpx", "aiohttp") if self.cause.startswith("http.client.") else ()
        raising = (client for client, _ in self.by_client()) if self.cause else ()
        return tuple(client for client in raising if client not in (*own, *self.hiding))

    def by_client(self) -> Iterator[tuple[str, str]]:
        """Each client that raises something, with the class that it raises."""
        return ((client, name) for client, name in zip(CLIENTS, self.raised, strict=True) if name)


@cache
def fault_of(plan: str) -> Fault:
    """The fault of a call of one mode."""
    import ast

    from faultline.modes._catalogue import find

    call = ast.parse(plan, mode="eval").body
    assert isinstance(call, ast.Call)
    assert isinstance(call.func, ast.Name)
    named = {each.arg: ast.literal_eval(each.value) for each in call.keywords if each.arg}
    return find(call.func.id).function(*map(ast.literal_eval, call.args), **named)


def point_of(fault: Fault) -> Point:
    """The point of a fault: an answer is met at `response`."""
    if fault.is_of_lookup:
        return "lookup"
    if fault.break_ is not None and fault.break_.at in POINTS:
        return fault.break_.at
    return "handshake" if fault.is_of_tls else "response"


# The classes that the clients raise, where several rows have them.
U, R, H, A = "urllib3.exceptions.", "requests.exceptions.", "httpx.", "aiohttp."
GAI = ("socket.gaierror", f"{U}NameResolutionError", f"{R}ConnectionError", f"{H}ConnectError")
DNS = (*GAI, f"{A}ClientConnectorDNSError")
ABORTED = (f"{U}ProtocolError", f"{R}ConnectionError")
RST = ("ConnectionResetError", *ABORTED, f"{H}ReadError", f"{A}ClientOSError")
UPLOADING = (*ABORTED, f"{H}RemoteProtocolError", f"{A}ClientOSError or {A}ServerDisconnectedError")
GONE = ("http.client.RemoteDisconnected", *ABORTED, f"{H}RemoteProtocolError", f"{A}ServerDisconnectedError")
SILENT = ("TimeoutError", f"{U}ReadTimeoutError", f"{R}ReadTimeout", f"{H}ReadTimeout", f"{A}SocketTimeoutError")
OF_TLS = (f"{U}SSLError", f"{R}SSLError", f"{H}ConnectError")
CERT = ("ssl.SSLCertVerificationError", *OF_TLS, f"{A}ClientConnectorCertificateError")
SSL = ("ssl.SSLError", *OF_TLS, f"{A}ClientConnectorSSLError")
BAD_HTTP = (*ABORTED, f"{H}RemoteProtocolError", f"{A}ClientResponseError")
CUT = (f"{U}ProtocolError", f"{R}ChunkedEncodingError", f"{H}RemoteProtocolError", f"{A}ClientPayloadError")
MORE = ("ssl.SSLError", f"{U}SSLError", f"{R}SSLError", f"{H}ReadError", f"{A}ClientOSError")
GZIP = ("", f"{U}DecodeError", f"{R}ContentDecodingError", f"{H}DecodingError", f"{A}ClientPayloadError")
VERIFY = {  # the certificate that is wrong, and the verify code of OpenSSL
    "expired": 10,
    "not_yet_valid": 9,
    "self_signed": 18,
    "untrusted_root": 20,
    "missing_intermediate": 20,
    "wrong_usage": 26,
    "name_constraints": 47,
    "wrong_host": 64,
    "weak_key": 66,
    "sha1_signature": 68,
}
# Alerts that OpenSSL has another reason for than their name and a prefix; None is a reason without a name.
REASONS = {
    "missing_extension": "TLSV13_ALERT_MISSING_EXTENSION",
    "certificate_required": "TLSV13_ALERT_CERTIFICATE_REQUIRED",
    "unsupported_extension": "TLSV1_UNSUPPORTED_EXTENSION",
    "unrecognized_name": "TLSV1_UNRECOGNIZED_NAME",
    "no_renegotiation": "NO_RENEGOTIATION",
    "no_application_protocol": "",
}
OLDEST = (  # those of SSL 3.0, which OpenSSL still names after it
    *("bad_certificate", "bad_record_mac", "certificate_expired", "certificate_revoked", "certificate_unknown"),
    *("decompression_failure", "handshake_failure", "illegal_parameter", "no_certificate", "unexpected_message"),
    "unsupported_certificate",
)


def reason_of(alert: str) -> str:
    """The reason that OpenSSL has for an alert of the other side; empty where Python's ssl names none."""
    return REASONS.get(alert, f"{'SSLV3' if alert in OLDEST else 'TLSV1'}_ALERT_{alert.upper()}")


ALERTS = (
    *("handshake_failure", "internal_error", "protocol_version", "unrecognized_name", "unknown_ca", "access_denied"),
    *("bad_certificate", "certificate_unknown", "certificate_expired", "certificate_revoked", "insufficient_security"),
    *("unsupported_certificate", "decode_error", "decrypt_error", "bad_record_mac", "illegal_parameter"),
    *("record_overflow", "unexpected_message", "inappropriate_fallback", "missing_extension", "unsupported_extension"),
    "no_application_protocol",
)
PLAYS: tuple[Play, ...] = (
    Play("nxdomain()", "socket.gaierror", "-2", DNS),
    Play("servfail()", "socket.gaierror", "-3", DNS),
    Play("no_address()", "socket.gaierror", "-5", DNS),
    Play(
        "refuse()",
        "ConnectionRefusedError",
        "111",
        (
            *("ConnectionRefusedError", f"{U}NewConnectionError", f"{R}ConnectionError"),
            *(f"{H}ConnectError", f"{A}ClientConnectorError"),
        ),
    ),
    Play(
        "blackhole()",
        "TimeoutError",
        "",
        (
            *("TimeoutError", f"{U}ConnectTimeoutError", f"{R}ConnectTimeout"),
            *(f"{H}ConnectTimeout", f"{A}ConnectionTimeoutError"),
        ),
    ),
    Play(
        "unreachable()",
        "OSError",
        "101",
        (
            *("OSError", f"{U}NewConnectionError", f"{R}ConnectionError"),
            *(f"{H}ConnectError", f"{A}ClientConnectorError"),
        ),
    ),
    Play("reset(at='accept')", "ConnectionResetError", "104", RST),
    Play("close(at='accept')", "http.client.RemoteDisconnected", "", GONE),
    Play("stall(at='accept')", "TimeoutError", "", SILENT),
    Play(
        "reset(at='handshake')",
        "ConnectionResetError",
        "104",
        ("ConnectionResetError", *ABORTED, f"{H}ConnectError", f"{A}ClientConnectorError"),
        tls=True,
    ),
    Play(
        "close(at='handshake')",
        "ssl.SSLEOFError",
        "UNEXPECTED_EOF_WHILE_READING",
        ("ssl.SSLEOFError", *OF_TLS, f"{A}ClientConnectorError"),
        tls=True,
        hiding=("aiohttp",),
    ),
    Play(
        "stall(at='handshake')",
        "TimeoutError",
        "",
        (
            *("TimeoutError", f"{U}ReadTimeoutError", f"{R}ReadTimeout"),
            *(f"{H}ConnectTimeout", f"{A}ConnectionTimeoutError"),
        ),
        tls=True,
    ),
    *(
        Play(f"bad_cert({kind!r})", "ssl.SSLCertVerificationError", f"verify code {code}", CERT)
        for kind, code in VERIFY.items()
    ),
    Play("bad_cert('many_sans')", "ssl.SSLError", "EXCESSIVE_MESSAGE_SIZE", SSL),
    Play("bad_tls('plain_http')", "ssl.SSLError", "WRONG_VERSION_NUMBER", SSL),
    Play("bad_tls('garbage')", "ssl.SSLError", "WRONG_VERSION_NUMBER", SSL),
    *(Play(f"bad_tls('alert', alert={alert!r})", "ssl.SSLError", reason_of(alert), SSL) for alert in ALERTS),
    Play("bad_tls('alert', alert='close_notify')", "ssl.SSLZeroReturnError", "", ("ssl.SSLZeroReturnError", *SSL[1:])),
    Play("bad_tls('only_version')", "ssl.SSLError", "TLSV1_ALERT_PROTOCOL_VERSION", SSL),
    Play("bad_tls('no_shared_cipher')", "ssl.SSLError", "SSLV3_ALERT_HANDSHAKE_FAILURE", SSL),
    Play("bad_tls('client_cert_required')", "ssl.SSLError", "TLSV13_ALERT_CERTIFICATE_REQUIRED", MORE),
    Play("bad_tls('plaintext_midway', after_bytes=20)", "ssl.SSLError", "WRONG_VERSION_NUMBER", MORE),
    Play(
        "reset(at='request', after_bytes=65536)",
        "ConnectionResetError",
        "104",
        ("ConnectionResetError", *UPLOADING),
        uploads=True,
        hiding=("urllib3", "requests", "httpx", "aiohttp"),
    ),
    Play(
        "close(at='request', after_bytes=65536)",
        "BrokenPipeError",
        "32",
        ("BrokenPipeError", *UPLOADING),
        uploads=True,
        hiding=("urllib3", "requests", "httpx", "aiohttp"),
    ),
    Play(
        "stall(at='request', after_bytes=65536)",
        "TimeoutError",
        "",
        ("TimeoutError", *ABORTED, f"{H}WriteTimeout", ""),
        uploads=True,
    ),
    Play("reset()", "ConnectionResetError", "104", RST),
    Play(
        "reset(after_bytes=100)",
        "ConnectionResetError",
        "104",
        (
            *("ConnectionResetError", f"{U}ProtocolError", f"{R}ChunkedEncodingError"),
            *(f"{H}ReadError", f"{A}ClientPayloadError"),
        ),
        hiding=("aiohttp",),
    ),
    Play("close()", "http.client.RemoteDisconnected", "", GONE),
    Play("close(after_bytes=10)", "http.client.BadStatusLine", "", ("http.client.BadStatusLine", *GONE[1:])),
    Play("close(after_bytes=100)", "http.client.IncompleteRead", "", ("http.client.IncompleteRead", *CUT)),
    Play("stall()", "TimeoutError", "", SILENT),
    Play(
        "stall(after_bytes=100)",
        "TimeoutError",
        "",
        (SILENT[0], SILENT[1], f"{R}ConnectionError", *SILENT[3:]),
    ),
    Play("malformed('length_long')", "http.client.IncompleteRead", "", ("http.client.IncompleteRead", *CUT)),
    Play("malformed('chunk_cut')", "http.client.IncompleteRead", "", ("http.client.IncompleteRead", *CUT)),
    Play(
        "malformed('chunk_size_not_hex')",
        "http.client.IncompleteRead",
        "",
        ("http.client.IncompleteRead", *CUT[:3], f"{A}ClientResponseError"),
    ),
    Play(
        "malformed('length_conflicting')",
        "",
        "",
        ("", f"{U}InvalidHeader", f"{R}InvalidHeader", f"{H}RemoteProtocolError", f"{A}ClientResponseError"),
    ),
    Play("malformed('status_garbage')", "http.client.BadStatusLine", "", ("http.client.BadStatusLine", *BAD_HTTP)),
    Play("malformed('other_protocol')", "http.client.BadStatusLine", "", ("http.client.BadStatusLine", *BAD_HTTP)),
    Play(
        "malformed('wrong_version')",
        "http.client.UnknownProtocol",
        "",
        ("http.client.UnknownProtocol", *ABORTED, "", f"{A}ClientResponseError"),
    ),
    Play("malformed('header_line_long')", "http.client.LineTooLong", "", ("http.client.LineTooLong", *BAD_HTTP)),
    Play("malformed('headers_many')", "http.client.HTTPException", "", ("http.client.HTTPException", *BAD_HTTP)),
    Play("malformed('gzip_plain')", "zlib.error", "", GZIP),
    Play("redirect('loop')", "", "", ("", "", f"{R}TooManyRedirects", "", f"{A}TooManyRedirects")),
    Play(
        "redirect('invalid_url')",
        "",
        "",
        (
            *("", f"{U}LocationParseError", f"{R}InvalidURL", f"{H}RemoteProtocolError"),
            f"{A}InvalidUrlRedirectClientError",
        ),
    ),
)
BY_PLAN: dict[str, Play] = {play.plan: play for play in PLAYS}


def played(cause: str, detail: str = "") -> tuple[Play, ...]:
    """The plays that this error of the system or of Python's library comes of; without a detail, those of any."""
    return tuple(play for play in PLAYS if play.cause == cause and detail in ("", play.detail))


def raising(name: str) -> tuple[Play, ...]:
    """The plays in which a client raises this class."""
    return tuple(play for play in PLAYS if any(name in each.split(" or ") for each in play.raised))
