"""TLS contexts and the files of the test CA, made at run time so that no certificate can expire in a repository.

Rules: contexts are kept per certificate, terms and host; keys are in memory only, also those in files for users; this
module is imported when the first TLS server starts, because trustme imports cryptography.
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
from faultline._net import system
from faultline._net.issue import authority, issued, once, revocation_list, revoked_serials
from faultline._net.tls import ServerContext, tell_messages

VERSIONS = {
    "1.0": ssl.TLSVersion.TLSv1,
    "1.1": ssl.TLSVersion.TLSv1_1,
    "1.2": ssl.TLSVersion.TLSv1_2,
    "1.3": ssl.TLSVersion.TLSv1_3,
}
# Old versions and small keys need level 0 (SSL_CTX_set_security_level(3)); the client decides what it accepts.
ANYTHING = "DEFAULT:@SECLEVEL=0"
NULL_CIPHER = "ECDHE-ECDSA-NULL-SHA:@SECLEVEL=0"
CLIENT = Certificate("client", names=("client.invalid",), subject="faultline client", usage="client")


# --- contexts --------------------------------------------------------------------------------------------------------


@once
def server_context(certificate: Certificate, terms: Terms, host: str) -> ServerContext:
    """A server context with this certificate, issued for this host, and with these terms."""
    if certificate.staples or terms.needs_pyopenssl:
        from faultline._net.openssl import Context

        return Context(certificate, terms, host)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    if terms.protocols:
        context.set_alpn_protocols(terms.protocols)
    tell_messages(context)
    if certificate.key != "P-256" or certificate.digest != "SHA-256" or terms.version is not None:
        context.set_ciphers(ANYTHING)
    if terms.ciphers == "null":
        context.set_ciphers(NULL_CIPHER)
    if terms.version is not None or terms.ciphers == "null":
        speak_only(context, terms.version or "1.2")  # the ciphers of TLS 1.3 can't be chosen
    if terms.client != "ignored":
        context.verify_mode = ssl.CERT_REQUIRED
        authority("trusted" if terms.client == "required" else "unknown").configure_trust(context)
    load(context, b"".join(issued(certificate, host)))
    return context


def speak_only(context: ssl.SSLContext, version: str) -> None:
    """Allow only one version of TLS."""
    with warnings.catch_warnings():  # 1.0 and 1.1 are deprecated, and wanted here
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = context.maximum_version = VERSIONS[version]


def client_context(*, certificate: bool = False) -> ssl.SSLContext:
    """A client context that verifies the server and trusts only the test CA; with a client certificate, or without."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2  # CPython's default, which some distributions change
    authority("trusted").configure_trust(context)
    if certificate:
        context.load_cert_chain(client_cert_file())
    return context


def upstream_context(pem: bytes, protocols: tuple[str, ...]) -> ssl.SSLContext:
    """A client context that accepts any certificate, offers these protocols, and shows the certificate in `pem`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if protocols:
        context.set_alpn_protocols(protocols)
    if pem:
        load(context, pem)
    return context


def load(context: ssl.SSLContext, pem: bytes) -> None:
    """Load a key and a chain into a context; Python's ssl reads them only from a file."""
    with system.temporary("key", pem) as path:
        context.load_cert_chain(path, password="")  # or OpenSSL asks at the terminal


# --- files -----------------------------------------------------------------------------------------------------------


@once
def ca_file() -> str:
    """The path of the CA's certificate as PEM."""
    return private_file("ca", authority("trusted").cert_pem.bytes())


@once
def client_cert_file() -> str:
    """The path of one PEM file with a client's key and its certificate, issued by the CA."""
    return private_file("client", b"".join(issued(CLIENT, "")))


def crl_file() -> str:
    """The path of the CA's current revocation list as PEM."""
    return crl_file_of(len(revoked_serials))


@once
def crl_file_of(_count: int) -> str:
    """The path of the revocation list with this number of certificates."""
    return private_file("crl", revocation_list())


def private_file(name: str, pem: bytes) -> str:
    """Make a file that only this user can read (mode 0600), and that is gone when the process is; return its path."""
    folder = Path(tempfile.gettempdir())
    remove_stale(folder)
    path, owner = system.file_with(folder, name, pem), os.getpid()

    def remove() -> None:
        if os.getpid() == owner:  # a forked child doesn't remove its parent's file
            with contextlib.suppress(FileNotFoundError):
                path.unlink()

    atexit.register(remove)
    if (util := sys.modules.get("multiprocessing.util")) is not None:  # children of multiprocessing skip `atexit`
        util.Finalize(None, remove, exitpriority=0)
    return str(path)


def remove_stale(folder: Path) -> None:
    """Remove the files of processes that a signal has ended."""
    for path in folder.glob("faultline-*.pem"):
        system.forget_stale(path)
