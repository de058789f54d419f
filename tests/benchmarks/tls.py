"""The row of TLS: what the first server with TLS costs in a process that has imported ssl, trustme and cryptography."""

from __future__ import annotations

import time


def first(column):
    """How much longer the first TLS server takes than a plain one, or a certificate and a context by hand."""
    import ssl

    import cryptography.x509.ocsp  # noqa: F401 - what is measured has no need to import it
    import trustme

    import faultline as fl

    def by_hand():
        authority = trustme.CA(key_type=trustme.KeyType.ECDSA)
        certificate = authority.issue_cert("localhost", key_type=trustme.KeyType.ECDSA)
        certificate.configure_cert(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))

    fl.serve(fl.ok()).close()
    if column == "kernel":
        return {"tls": milliseconds(by_hand)}
    plain = milliseconds(lambda: fl.serve(fl.ok()).close())
    return {"tls": milliseconds(lambda: fl.serve(fl.ok(), tls=True).close()) - plain}


def milliseconds(work):
    """How long it takes, once."""
    began = time.perf_counter()
    work()
    return (time.perf_counter() - began) * 1000
