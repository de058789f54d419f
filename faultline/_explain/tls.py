"""The errors of TLS: reasons of OpenSSL, what is wrong with a certificate, and alerts of the other side."""

from __future__ import annotations

from faultline._explain.entry import Entry
from faultline._explain.plays import reason_of

TLS: tuple[Entry, ...] = (
    Entry(
        "ssl.SSLError",
        "TLS",
        "TLS failed. Its `reason` is the name that OpenSSL has for it; look that up here.",
        also=("SSLError", "ssl.socket_error"),
        members=(
            *("ssl.SSLCertVerificationError", "WRONG_VERSION_NUMBER", "ssl.SSLEOFError"),
            *("SSLV3_ALERT_HANDSHAKE_FAILURE", "TLSV1_ALERT_PROTOCOL_VERSION", "EXCESSIVE_MESSAGE_SIZE"),
        ),
        cause=("", "none"),
        example="tls",
    ),
    Entry(
        "ssl.SSLCertVerificationError",
        "TLS",
        "The client doesn't accept the server's certificate. Its `verify_message` says why, and `verify_code` is the "
        "number of that. No request was sent.",
        (
            "The certificate has expired, is for another name, or is signed by a CA that this client doesn't know.",
            "The server doesn't send its intermediate certificate. Browsers fetch it, Python doesn't.",
            "A proxy of the company opens TLS, and its CA is not in the client's store.",
            "This machine has no CA certificates: Python of python.org on macOS, a slim container.",
        ),
        also=("CERTIFICATE_VERIFY_FAILED", "SSLCertVerificationError", "ssl.CertificateError"),
        messages=("certificate verify failed",),
        main="bad_cert('expired')",
        example="certificate",
    ),
    Entry(
        "WRONG_VERSION_NUMBER",
        "TLS",
        "What the server sent is not TLS. The name misleads: it is seldom about versions.",
        (
            "The port speaks plain HTTP: `https://` in front of a port for `http://`.",
            "The URL of a proxy begins with https:// though the proxy itself speaks no TLS.",
            "Mail, databases and other protocols that begin without TLS and switch later (STARTTLS).",
        ),
        also=("RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG", "HTTP_REQUEST", "UNKNOWN_PROTOCOL"),
        messages=("wrong version number", "record layer failure", "packet length too long", "unknown protocol"),
        cause=("ssl.SSLError", "WRONG_VERSION_NUMBER"),
        example="tls",
    ),
    Entry(
        "ssl.SSLEOFError",
        "TLS",
        "The connection ended in the middle of TLS: FIN came, and TLS had not said that it ends. Some older versions "
        "of Python with OpenSSL 3, such as 3.11.2, raise ssl.SSLZeroReturnError for it.",
        (
            "The server or a middlebox closed during the handshake: a limit, a name that it doesn't serve, a filter.",
            "The port belongs to something that reads TLS as garbage, and hangs up.",
            "Inside a response: the server crashed, or is sloppy and doesn't end TLS in an orderly way.",
        ),
        also=("SSLEOFError", "UNEXPECTED_EOF_WHILE_READING"),
        messages=("EOF occurred in violation of protocol", "unexpected eof while reading"),
        points=("request", "response", "idle"),
        example="tls",
    ),
    Entry(
        "ssl.SSLZeroReturnError",
        "TLS",
        "The other side ended TLS in an orderly way (close_notify) where the client expected more.",
        ("The server refuses the client during the handshake, politely.",),
        also=("SSLZeroReturnError",),
        messages=("TLS/SSL connection has been closed",),
        points=("request", "response", "idle"),
        example="tls",
    ),
    Entry(
        "EXCESSIVE_MESSAGE_SIZE",
        "TLS",
        "A message of the handshake is larger than OpenSSL takes: 100 KiB for a chain of certificates.",
        ("A certificate with thousands of names, or a chain that holds more than it needs.",),
        messages=("excessive message size",),
        cause=("ssl.SSLError", "EXCESSIVE_MESSAGE_SIZE"),
        example="tls",
    ),
    Entry(
        "UNSUPPORTED_PROTOCOL",
        "TLS",
        "The server chose a version of TLS that the client doesn't allow: 1.0 or 1.1, with Python's defaults.",
        ("An old server or appliance.", "A policy of the system (crypto-policies, openssl.cnf)."),
        also=("NO_PROTOCOLS_AVAILABLE", "WRONG_SSL_VERSION"),
        messages=("unsupported protocol", "no protocols available"),
        points=("handshake",),
        instead="bad_tls('only_version') is the near case: that server sends an alert, TLSV1_ALERT_PROTOCOL_VERSION.",
        cause=("ssl.SSLError", "UNSUPPORTED_PROTOCOL"),
        example="tls",
    ),
    Entry(
        "DH_KEY_TOO_SMALL",
        "TLS",
        "The server offers what the client's security level forbids: a short key, or old terms.",
        ("An old server, and a new OpenSSL: its defaults grew from release to release.",),
        also=("EE_KEY_TOO_SMALL", "CA_MD_TOO_WEAK", "UNSAFE_LEGACY_RENEGOTIATION_DISABLED", "BAD_ECPOINT"),
        messages=("dh key too small", "unsafe legacy renegotiation disabled"),
        points=("handshake",),
        instead="bad_cert('weak_key') is the near case: a certificate whose key is too short.",
        cause=("ssl.SSLError", "DH_KEY_TOO_SMALL"),
        example="tls",
    ),
)


def certificate(message: str, code: int, name: str, means: str, *causes: str, main: str = "") -> Entry:
    """The entry of a verify error, by its words and its code."""
    return Entry(
        message,
        "certificates",
        f"{means} Python raises ssl.SSLCertVerificationError with verify code {code}.",
        causes,
        also=(f"verify code {code}", name, f"X509_V_ERR_{name}"),
        messages=(message,),
        cause=("ssl.SSLCertVerificationError", f"verify code {code}"),
        main=f"bad_cert({main!r})" if main else "",
        example="certificate",
    )


CERTIFICATES: tuple[Entry, ...] = (
    certificate(
        "certificate has expired",
        10,
        "CERT_HAS_EXPIRED",
        "The last day of the certificate, or of one above it in the chain, is over.",
        "Nobody renewed it, or the renewed one was never loaded: the server needs a reload.",
        "The clock of the client is wrong.",
        "The server still sends an expired intermediate or cross-signed root.",
    ),
    certificate(
        "certificate is not yet valid",
        9,
        "CERT_NOT_YET_VALID",
        "The first day of the certificate is still to come.",
        "The clock of the client is behind: a machine without a battery, a resumed VM or container host.",
        "The certificate was put into use before its time.",
    ),
    certificate(
        "self-signed certificate",
        18,
        "DEPTH_ZERO_SELF_SIGNED_CERT",
        "The certificate is signed by itself, and is not in the client's store.",
        "A test server, an appliance, the default certificate of a fresh installation.",
        "The request went to another server than was meant: a default host of a load balancer.",
    ),
    certificate(
        "unable to get local issuer certificate",
        20,
        "UNABLE_TO_GET_ISSUER_CERT_LOCALLY",
        "The client finds no CA that it trusts at the end of the chain.",
        "The server doesn't send its intermediate certificate.",
        "The CA is a company's own, or a proxy's that opens TLS, and isn't in the client's store.",
        "The client's store is old or empty: an old certifi, a slim container, python.org's Python on macOS.",
        main="missing_intermediate",
    ),
    Entry(
        "self-signed certificate in certificate chain",
        "certificates",
        "The chain ends at a root that the client doesn't trust, and the server sent that root along. Python raises "
        "ssl.SSLCertVerificationError with verify code 19.",
        ("A proxy of the company that opens TLS; its CA has to be in the client's store.", "A private CA."),
        also=("verify code 19", "SELF_SIGNED_CERT_IN_CHAIN", "X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN"),
        messages=("self-signed certificate in certificate chain", "self signed certificate in certificate chain"),
        cause=("ssl.SSLCertVerificationError", "verify code 19"),
        points=("handshake",),
        instead="bad_cert('untrusted_root') is the near case: the same CA problem, without the root in the chain.",
        example="certificate",
    ),
    certificate(
        "unsuitable certificate purpose",
        26,
        "INVALID_PURPOSE",
        "The certificate may not be used by a server: its extended key usage says otherwise.",
        "A client's certificate, or a CA's, was installed as that of the server.",
        main="wrong_usage",
    ),
    certificate(
        "permitted subtree violation",
        47,
        "PERMITTED_VIOLATION",
        "A CA in the chain may sign for certain names only, and this name is none of them.",
        "A company's intermediate that is limited to its own domains.",
    ),
    Entry(
        "Hostname mismatch",
        "certificates",
        "The certificate is right, and for another name than the client asked for. Python raises "
        "ssl.SSLCertVerificationError with verify code 62.",
        (
            "The wrong name in the URL, or an alias that the certificate doesn't have.",
            "The wrong server answered: a default host, a name without SNI.",
            "A wildcard covers one label: *.example.com is not for a.b.example.com.",
        ),
        also=("verify code 62", "HOSTNAME_MISMATCH", "X509_V_ERR_HOSTNAME_MISMATCH"),
        messages=("Hostname mismatch", "doesn't match"),
        cause=("ssl.SSLCertVerificationError", "verify code 62"),
        points=("handshake",),
        instead="bad_cert('wrong_host'), asked for by a name: https://localhost:PORT. By an address it is code 64.",
        example="certificate",
    ),
    certificate(
        "IP address mismatch",
        64,
        "IP_ADDRESS_MISMATCH",
        "The client asked for an IP address, and the certificate doesn't have that address.",
        "A URL with an IP address: certificates seldom hold addresses.",
    ),
    certificate(
        "EE certificate key too weak",
        66,
        "EE_KEY_TOO_SMALL",
        "The key in the certificate is too short for the client's security level.",
        "An old certificate with 1,024 bits, or an appliance.",
    ),
    certificate(
        "CA signature digest algorithm too weak",
        68,
        "CA_MD_TOO_WEAK",
        "A signature in the chain uses a digest that the client doesn't accept any more, such as SHA-1.",
        "A company's old CA.",
    ),
)


def alert(name: str, means: str, *causes: str, main: str = "") -> Entry:
    """The entry of an alert of the other side, by its name in the standard."""
    plain = name.replace("_", " ")
    reason = reason_of(name)
    oldest = f"sslv3 alert {plain}" if reason.startswith("SSLV3") else f"tlsv1 alert {plain}"
    return Entry(
        reason or f"tlsv1 alert {plain}",
        "alerts of TLS",
        f"The server sent the alert `{name}`: {means}",
        causes,
        also=(name, f"alert {plain}", f"TLSV1_ALERT_{name.upper()}", f"SSLV3_ALERT_{name.upper()}"),
        messages=(oldest, f"tlsv13 alert {plain}", f"alert {plain}"),
        cause=("ssl.SSLError", reason) if reason else ("", "none"),
        main=main or f"bad_tls('alert', alert={name!r})",
        example="tls",
    )


ALERTS: tuple[Entry, ...] = (
    alert(
        "handshake_failure",
        "it found no terms that both sides accept.",
        "No cipher or curve in common: an old server, or a strict one.",
        "In TLS 1.2: the server wants a client certificate and got none.",
        "The name of the host (SNI) is missing or unknown to the server.",
        main="bad_tls('no_shared_cipher')",
    ),
    alert(
        "protocol_version",
        "it doesn't speak a version of TLS that the client offers.",
        "An old server with TLS 1.0 or 1.1 only, or a new server without TLS 1.2 and an old client.",
        main="bad_tls('only_version')",
    ),
    alert(
        "certificate_required",
        "it wants a certificate of the client (mutual TLS), and got none. In TLS 1.3 this arrives after the "
        "handshake, at the first read.",
        "The client's certificate is not configured: `cert=` in requests and httpx, `load_cert_chain` of a context.",
        main="bad_tls('client_cert_required')",
    ),
    alert(
        "internal_error",
        "something failed on its side that has nothing to do with the client.",
        "The name of the host (SNI) has no certificate there: many CDNs say it with this alert.",
        "A mistake in the server's configuration.",
    ),
    alert("unrecognized_name", "it serves no host of this name (SNI).", "A name that isn't set up on that server."),
    alert(
        "unknown_ca",
        "it doesn't know the CA of the client's certificate.",
        "A client certificate of the wrong CA, or without its intermediate.",
    ),
    alert("access_denied", "the client's certificate is valid, and may not connect.", "A rule of the server."),
    alert(
        "bad_certificate",
        "it doesn't accept the client's certificate.",
        "A client certificate that is corrupt or of the wrong kind, or none in TLS 1.2.",
    ),
    alert("certificate_unknown", "it doesn't accept the client's certificate, without a reason.", "As before."),
    alert("certificate_expired", "the client's certificate has expired.", "Nobody renewed it."),
    alert("certificate_revoked", "the client's certificate was revoked.", "Its key got out, or it was replaced."),
    alert("unsupported_certificate", "the client's certificate has a type that it doesn't take.", "A rare key type."),
    alert("insufficient_security", "the client's ciphers are too weak for it.", "An old client, or a strict server."),
    alert(
        "no_application_protocol",
        "it speaks none of the protocols that the client offers (ALPN).",
        "A server for HTTP/2 only, or for another protocol. Python's ssl has no name for this reason.",
    ),
    alert("decode_error", "it could not read a message of the handshake.", "A middlebox, or a mistake in one side."),
    alert("decrypt_error", "a signature or a key of the handshake was wrong.", "A middlebox, or a mistake."),
    alert("bad_record_mac", "a record arrived changed.", "Corruption, or one session used by two threads at once."),
    alert("illegal_parameter", "a field of the handshake has no valid value.", "A mistake in one of the two sides."),
    alert("record_overflow", "a record was too long.", "What was sent is not TLS, or was changed on its way."),
    alert("unexpected_message", "a message came that was not due.", "A mistake, or a middlebox that changes TLS."),
    alert("inappropriate_fallback", "the client tried again with an older version.", "A fallback that isn't needed."),
    alert("missing_extension", "the handshake lacks what TLS 1.3 needs.", "A mistake in the client's TLS."),
    alert("unsupported_extension", "the handshake has what was not asked for.", "A mistake in one of the two sides."),
)
