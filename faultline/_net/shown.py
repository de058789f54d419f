"""The certificate that a relay shows to its upstream, as the PEM of a key and a chain."""

from __future__ import annotations

import os
import ssl
from pathlib import Path
from typing import Any, TypeAlias

from faultline._core.check import rejected

PathLike: TypeAlias = str | os.PathLike[str]
# A PEM file with key and certificate, a certificate file and a key file, or a `LeafCert` of trustme.
Shown: TypeAlias = PathLike | tuple[PathLike, PathLike] | Any
FORMS = "the path of a PEM file with a certificate and its key, a pair of their paths, or a LeafCert of trustme"


def shown_pem(given: Shown) -> bytes:
    """The key and the chain of a client's certificate, once OpenSSL has read them.

    Raises:
        ParameterError: it is no such certificate, a file can't be read, or the key is encrypted or another's.
    """
    from faultline._net.contexts import load  # imports cryptography

    try:
        pem = pem_of(given)
        load(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), pem)
    except OSError as error:  # an SSLError is one too
        why = f"OpenSSL says {error.reason or error}" if isinstance(error, ssl.SSLError) else str(error)
        raise rejected("upstream_cert", given, f"{FORMS}; {why}") from None
    return pem


def pem_of(given: Shown) -> bytes:
    """The PEM of what was given.

    Raises:
        ParameterError: it is no certificate in any of the forms.
        OSError: a file can't be read.
    """
    blob = getattr(given, "private_key_and_cert_chain_pem", None)
    if blob is not None:
        return bytes(blob.bytes())
    paths = given if isinstance(given, tuple) else (given,)
    if not 0 < len(paths) < 3 or not all(isinstance(path, (str, os.PathLike)) for path in paths):  # noqa: PLR2004
        raise rejected("upstream_cert", given, FORMS)
    return b"\n".join(Path(path).read_bytes() for path in paths)
