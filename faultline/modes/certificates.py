"""Modes that strike in the TLS handshake through the certificate, each wrong in exactly one way."""

from __future__ import annotations

from typing import Annotated, Literal

from faultline._catalogue import case, mode
from faultline._fault import Fault
from faultline._parts import DAY_SECONDS, Certificate

__all__ = ["bad_cert"]

Defect = Literal["expired", "not_yet_valid", "wrong_host", "self_signed", "untrusted_root"]

DEFECTS: dict[str, Certificate] = {
    "expired": Certificate("expired", from_seconds=-30 * DAY_SECONDS, until_seconds=-DAY_SECONDS),
    "not_yet_valid": Certificate("not_yet_valid", from_seconds=DAY_SECONDS),
    "wrong_host": Certificate("wrong_host", names=("wrong-host.invalid",)),
    "self_signed": Certificate("self_signed", issuer="itself"),
    "untrusted_root": Certificate("untrusted_root", issuer="unknown"),
}


@mode(*(case("SSLCertVerificationError", kind=kind) for kind in DEFECTS))
def bad_cert(
    kind: Annotated[Defect, "what is wrong with the certificate; all else is right"] = "expired",
) -> Fault:
    """Show a certificate that is wrong in exactly one way.

    A client that verifies fails the handshake with `ssl.SSLCertVerificationError`, whose `verify_code` is 10
    (expired), 9 (not_yet_valid), 62 or 64 (wrong_host, for a name or an address), 18 (self_signed) or 20
    (untrusted_root; see X509_STORE_CTX_get_error(3)). The test's CA is in `server.ca_file`, so that nothing else is
    wrong. The server speaks TLS without being told to.

    Example:
        >>> import faultline, urllib.request
        >>> with faultline.serve(faultline.bad_cert("expired")) as server:
        ...     urllib.request.urlopen(server.url, context=server.client_context())
        Traceback (most recent call last):
        urllib.error.URLError: <urlopen error [SSL: CERTIFICATE_VERIFY_FAILED] ...>
    """
    return Fault(certificate=DEFECTS[kind])
