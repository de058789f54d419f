"""TLS contexts and the files of the test CA, made at run time so that none can expire in a repository.

Rules of this room: contexts are kept per certificate, terms and host; files are private and gone at exit. Imported
when the first TLS server starts: trustme brings cryptography.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import ssl
import sys
import tempfile
import warnings
from pathlib import Path

from faultline._core.certificates import Certificate, Terms
from faultline._net.issue import authority, issued, once, revocation_list, revoked_serials
from faultline._net.tls import ServerContext

VERSIONS = {
    "1.0": ssl.TLSVersion.TLSv1,
    "1.1": ssl.TLSVersion.TLSv1_1,
    "1.2": ssl.TLSVersion.TLSv1_2,
    "1.3": ssl.TLSVersion.TLSv1_3,
}
# Old versions and small keys need level 0 (SSL_CTX_set_security_level(3)); what a client takes is its own business.
ANYTHING = "DEFAULT:@SECLEVEL=0"
NULL_CIPHER = "ECDHE-ECDSA-NULL-SHA:@SECLEVEL=0"
CLIENT = Certificate("client", names=("client.invalid",), subject="faultline client", usage="client")


# --- contexts --------------------------------------------------------------------------------------------------------


@once
def server_context(certificate: Certificate, terms: Terms, host: str) -> ServerContext:
    """A server context that shows this certificate for a server on this host, and agrees to these terms."""
    if certificate.staples or terms.renegotiates:
        from faultline._net.openssl import Context

        return Context(certificate, terms, host)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_alpn_protocols(["http/1.1"])
    if certificate.key != "P-256" or certificate.digest != "SHA-256" or terms.version is not None:
        context.set_ciphers(ANYTHING)
    if terms.ciphers == "null":
        context.set_ciphers(NULL_CIPHER)
    if terms.version is not None or terms.ciphers == "null":
        speak_only(context, terms.version or "1.2")  # the ciphers of 1.3 can't be chosen
    if terms.client != "ignored":
        context.verify_mode = ssl.CERT_REQUIRED
        authority("trusted" if terms.client == "required" else "unknown").configure_trust(context)
    load(context, b"".join(issued(certificate, host)))
    return context


def speak_only(context: ssl.SSLContext, version: str) -> None:
    """Agree to one version of TLS and no other."""
    with warnings.catch_warnings():  # that 1.0 and 1.1 are old is the point
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = context.maximum_version = VERSIONS[version]


def client_context(*, certificate: bool = False) -> ssl.SSLContext:
    """A verifying client context that trusts the test CA and nothing else; with a certificate of its own, or not."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2  # CPython's own default, which a distribution's build leaves out
    authority("trusted").configure_trust(context)
    if certificate:
        context.load_cert_chain(client_cert_file())
    return context


def load(context: ssl.SSLContext, pem: bytes) -> None:
    """Give a context its key and chain; Python's ssl reads them from a file only."""
    with tempfile.NamedTemporaryFile(prefix="faultline-") as file:  # created with mode 0600
        file.write(pem)
        file.flush()
        context.load_cert_chain(file.name)


# --- files -----------------------------------------------------------------------------------------------------------


@once
def ca_file() -> str:
    """The path of the CA's certificate as PEM."""
    return private_file("ca", authority("trusted").cert_pem.bytes())


@once
def client_cert_file() -> str:
    """The path of a client's key and certificate as PEM, issued by the CA."""
    return private_file("client", b"".join(issued(CLIENT, "")))


def crl_file() -> str:
    """The path of the CA's revocation list as PEM, as it is now."""
    return crl_file_of(len(revoked_serials))


@once
def crl_file_of(_count: int) -> str:
    """The same, while nothing more is revoked."""
    return private_file("crl", revocation_list())


def private_file(name: str, pem: bytes) -> str:
    """A file that nobody else may read (mode 0600), and that is gone at exit."""
    handle, path = tempfile.mkstemp(prefix=f"faultline-{name}-", suffix=".pem")
    with os.fdopen(handle, "wb") as file:
        file.write(pem)
    owner = os.getpid()

    def remove() -> None:
        if os.getpid() == owner:  # a forked child leaves its parent's file alone
            with contextlib.suppress(FileNotFoundError):
                Path(path).unlink()

    atexit.register(remove)
    if (util := sys.modules.get("multiprocessing.util")) is not None:  # its children end without `atexit`
        util.Finalize(None, remove, exitpriority=0)
    return path
