"""Modes that strike in the TLS handshake through the certificate, each wrong in exactly one way."""

from dataclasses import replace
from typing import Annotated, Literal

from faultline._core.certificates import DAY_SECONDS, Certificate
from faultline._core.check import rejected
from faultline._core.fault import Fault
from faultline.modes._registry import case, mode

__all__ = ["bad_cert"]

Defect = Literal[
    "expired",
    "not_yet_valid",
    "wrong_host",
    "ip_mismatch",
    "wildcard_too_broad",
    "no_san",
    "no_subject",
    "self_signed",
    "untrusted_root",
    "missing_intermediate",
    "reversed_chain",
    "name_constraints",
    "ca_as_leaf",
    "wrong_usage",
    "weak_key",
    "sha1_signature",
    "revoked",
    "many_sans",
    "rsa_8192",
    "pinned_changed",
]

DEFECTS: dict[str, Certificate] = {
    c.kind: replace(c, is_fault=True)
    for c in (
        Certificate("expired", from_seconds=-30 * DAY_SECONDS, until_seconds=-DAY_SECONDS),
        Certificate("not_yet_valid", from_seconds=DAY_SECONDS),
        Certificate("wrong_host", names=("wrong-host.invalid",)),
        Certificate("ip_mismatch", names=("localhost", "192.0.2.1")),  # an address of documentation, RFC 5737
        Certificate("wildcard_too_broad", names=("*", "*.localhost", "*.invalid")),
        Certificate("no_san", subject="localhost", has_names=False),
        Certificate("no_subject", subject=None),
        Certificate("self_signed", issuer="itself"),
        Certificate("untrusted_root", issuer="unknown"),
        Certificate("missing_intermediate", issuer="intermediate", chain="leaf"),
        Certificate("reversed_chain", issuer="intermediate", chain="reversed"),
        Certificate("name_constraints", issuer="constrained"),
        Certificate("ca_as_leaf", usage="authority", key="Ed25519"),
        Certificate("wrong_usage", usage="client"),
        Certificate("weak_key", key="RSA-1024"),
        Certificate("sha1_signature", digest="SHA-1"),
        Certificate("revoked", is_revoked=True),
        Certificate("many_sans", least_names=10_000),
        Certificate("rsa_8192", key="RSA-8192"),
        Certificate("pinned_changed", from_connection=2),
    )
}


@mode(
    case("SSLCertVerificationError", "verify code 10", kind="expired"),
    case("SSLCertVerificationError", "verify code 9", kind="not_yet_valid"),
    case("SSLCertVerificationError", "verify code 64; by name 62", kind="wrong_host"),
    case("SSLCertVerificationError", "verify code 64; by the name localhost it is right", kind="ip_mismatch"),
    case("SSLCertVerificationError", "verify code 64; by name 62", kind="wildcard_too_broad"),
    case(
        "SSLCertVerificationError",
        "verify code 64; by name accepted, with hostname_checks_common_name=False 62",
        kind="no_san",
    ),
    case("the response", "accepted; with VERIFY_X509_STRICT verify code 88", kind="no_subject"),
    case("SSLCertVerificationError", "verify code 18", kind="self_signed"),
    case("SSLCertVerificationError", "verify code 20", kind="untrusted_root"),
    case("SSLCertVerificationError", "verify code 20", kind="missing_intermediate"),
    case("the response", "accepted; OpenSSL has no setting that rejects it, GnuTLS has", kind="reversed_chain"),
    case("SSLCertVerificationError", "verify code 47", kind="name_constraints"),
    case("SSLCertVerificationError", "verify code 26", kind="ca_as_leaf"),
    case("SSLCertVerificationError", "verify code 26", kind="wrong_usage"),
    case("SSLCertVerificationError", "verify code 66", kind="weak_key"),
    case("SSLCertVerificationError", "verify code 68", kind="sha1_signature"),
    case("the response", "accepted; with VERIFY_CRL_CHECK_LEAF and server.crl_file verify code 23", kind="revoked"),
    case("the response", "accepted; a client that asks for an OCSP answer gets it", kind="revoked", staple=True),
    case("SSLError", "reason EXCESSIVE_MESSAGE_SIZE", kind="many_sans"),
    case("the response", "accepted; without RSA ciphers alert handshake_failure", kind="rsa_8192"),
    case("the response", "valid, and from the second connection on another one", kind="pinned_changed"),
)
def bad_cert(
    kind: Annotated[Defect, "what is wrong with the certificate; the rest is right"] = "expired",
    *,
    staple: Annotated[
        bool, "for kind=revoked: staple an OCSP answer that the certificate is revoked; needs pyOpenSSL"
    ] = False,
) -> Fault:
    """Show a certificate that is wrong in exactly one way.

    The test's CA is in `server.ca_file`, the names and addresses of the server are in the certificate, and the keys
    are elliptic (P-256): nothing else is wrong. A client that verifies fails the handshake with
    `ssl.SSLCertVerificationError`, whose `verify_code` is in the table (X509_STORE_CTX_get_error(3)), as for a
    client that connects to `server.url` with Python's defaults. The server speaks TLS also without `tls=True`.

    - `wildcard_too_broad` is for `*`, `*.localhost` and `*.invalid`: a wildcard has to leave two labels (`valid_star`).
    - `no_san` has the name `localhost` as its common name, and no alternative name. Python checks common names of
      hosts, urllib3 doesn't, and addresses have to be alternative names (RFC 9110, 4.3.4).
    - `no_subject` has an empty subject, and alternative names that are not critical (RFC 5280, 4.2.1.6). Contexts of
      `ssl.create_default_context()` reject it from Python 3.13 on.
    - `missing_intermediate`, `reversed_chain`: two intermediates; neither is sent, or both in the wrong order.
    - `ca_as_leaf` has a key that signs certificates and no handshakes; it is Ed25519, because OpenSSL's server would
      not use such an ECDSA key in TLS 1.2.
    - `name_constraints`: an intermediate that may sign for another domain only. `wrong_usage`: for clients only.
    - `many_sans`: 10,000 names, more than the 100 KiB that OpenSSL takes (SSL_CTX_set_max_cert_list(3)).
    - `rsa_8192` makes the server sign for some 40 ms, in the loop that serves all servers of the process.
    - `revoked` is revoked in `server.crl_file`. With `staple` a client that asks for it in its handshake gets an OCSP
      answer that says so (RFC 6066, 8). Python's ssl can't staple, so the server then speaks TLS by pyOpenSSL, from
      `pytest-faultline[openssl]`, and it takes a client with pyOpenSSL to ask.
    - `pinned_changed` shows the healthy certificate on the first connection of the server, and another valid
      certificate with another key from the second connection on.

    .. versionadded:: 0.1

    Raises:
        ParameterError: `staple` is set with a kind other than `revoked`.

    Example:
        >>> import faultline, urllib.request
        >>> with faultline.serve(faultline.bad_cert("expired")) as server:
        ...     urllib.request.urlopen(server.url, context=server.client_context())
        Traceback (most recent call last):
        urllib.error.URLError: <urlopen error [SSL: CERTIFICATE_VERIFY_FAILED] ...>
    """
    if staple and kind != "revoked":
        raise rejected("staple", staple, f"False with kind={kind!r}; write kind='revoked'")
    return Fault(certificate=replace(DEFECTS[kind], staples=staple))
