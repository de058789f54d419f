"""Certificates, made at run time so that none can expire in a repository.

Rules of this room: one test CA per process; elliptic keys, because an RSA key takes 60 ms; contexts are kept per
certificate and host. Imported when the first TLS server starts: trustme brings cryptography.
"""

from __future__ import annotations

import atexit
import contextlib
import datetime
import functools
import ipaddress
import os
import ssl
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec, TypeVar

import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from faultline._parts import Certificate
from faultline._tls import remember_name

P = ParamSpec("P")
T = TypeVar("T")

# Two threads that need the first certificate at once must not make two CAs.
_making = threading.RLock()


def once(function: Callable[P, T]) -> Callable[P, T]:
    """Remember what a function returned, and call it in one thread only."""
    cached = functools.cache(function)

    @functools.wraps(function)
    def locked(*args: P.args, **kwargs: P.kwargs) -> T:
        with _making:
            return cached(*args, **kwargs)  # type: ignore[arg-type] # the arguments are hashable values

    return locked


@once
def authority(name: str) -> trustme.CA:
    """The CA that clients are told to trust, or another one."""
    return trustme.CA(key_type=trustme.KeyType.ECDSA, organization_name=f"faultline {name}")


@once
def ca_file() -> str:
    """The path of the CA's certificate as PEM, in a private file that is gone at exit."""
    handle, path = tempfile.mkstemp(prefix="faultline-ca-", suffix=".pem")
    with os.fdopen(handle, "wb") as file:
        file.write(authority("trusted").cert_pem.bytes())
    owner = os.getpid()

    def remove() -> None:
        if os.getpid() == owner:  # a forked child leaves its parent's file alone
            with contextlib.suppress(FileNotFoundError):
                Path(path).unlink()

    atexit.register(remove)
    return path


def client_context() -> ssl.SSLContext:
    """A verifying client context that trusts the test CA and nothing else."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority("trusted").configure_trust(context)
    return context


@once
def server_context(certificate: Certificate, host: str) -> ssl.SSLContext:
    """A server context that shows this certificate for a server on this host."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_alpn_protocols(["http/1.1"])
    context.sni_callback = remember_name
    names = certificate.names or tuple(dict.fromkeys(("localhost", "127.0.0.1", "::1", host)))
    now = datetime.datetime.now(datetime.timezone.utc)
    begin = now + datetime.timedelta(seconds=certificate.from_seconds)
    end = now + datetime.timedelta(seconds=certificate.until_seconds)
    if certificate.issuer == "itself":
        load(context, self_signed(names, begin, end))
    else:
        authority(certificate.issuer).issue_cert(
            *names, not_before=begin, not_after=end, key_type=trustme.KeyType.ECDSA
        ).configure_cert(context)
    return context


def self_signed(names: tuple[str, ...], begin: datetime.datetime, end: datetime.datetime) -> bytes:
    """A leaf that signs itself, key and certificate as PEM; trustme issues none such."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "faultline self-signed")])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(end)
        .add_extension(x509.SubjectAlternativeName([alternative_name(n) for n in names]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    )
    pem = serialization.Encoding.PEM
    return key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()) + builder.sign(
        key, hashes.SHA256()
    ).public_bytes(pem)


def alternative_name(name: str) -> x509.GeneralName:
    """An address or a host name, as a certificate lists it."""
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def load(context: ssl.SSLContext, pem: bytes) -> None:
    """Give a context its key and chain; Python's ssl reads them from a file only."""
    with tempfile.NamedTemporaryFile(prefix="faultline-") as file:  # created with mode 0600
        file.write(pem)
        file.flush()
        context.load_cert_chain(file.name)
