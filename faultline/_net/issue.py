"""Issues certificates from recipes: by trustme where that is enough, otherwise by cryptography's x509 builder.

Rules: no TLS contexts and no files. Each certificate is issued once per process, because keys take time; keys are
elliptic unless the recipe names another kind.
"""

from __future__ import annotations

import datetime
import functools
import hashlib
import ipaddress
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ParamSpec, TypeAlias, TypeVar

import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa, utils
from cryptography.x509 import ocsp
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from faultline._core import clock
from faultline._core.certificates import DAY_SECONDS, Certificate, Key
from faultline._core.fork import in_forked_child

P = ParamSpec("P")
T = TypeVar("T")
PrivateKey: TypeAlias = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey

PEM = serialization.Encoding.PEM
PUBLIC_EXPONENT = 65_537
# The fields that trustme supports; a recipe with other fields set needs the x509 builder.
PLAIN = ("kind", "names", "least_names", "from_seconds", "until_seconds", "from_connection", "is_fault")

# Without the lock, two threads that need the first certificate at once would make two CAs.
_making = threading.RLock()


@in_forked_child
def _forget() -> None:
    """Replace the lock in a forked child, where the thread that holds it doesn't exist."""
    global _making  # noqa: PLW0603 - there is one lock per process
    _making = threading.RLock()


def once(function: Callable[P, T]) -> Callable[P, T]:
    """Call a function once for each set of arguments, in one thread and by the true clock, and keep its value."""
    made: dict[Any, T] = {}

    @functools.wraps(function)
    def locked(*args: P.args, **kwargs: P.kwargs) -> T:
        called = args, tuple(sorted(kwargs.items()))
        if called not in made:
            with _making:
                if called not in made:
                    with clock.true_datetime():
                        made[called] = function(*args, **kwargs)
        return made[called]

    return locked


@dataclass(frozen=True)
class Signer:
    """A CA: its certificate, its key, and the certificates between it and the root."""

    certificate: x509.Certificate
    key: PrivateKey
    chain: tuple[x509.Certificate, ...] = ()


@once
def authority(name: str) -> trustme.CA:
    """The CA of this name: clients are to trust the CA "trusted"."""
    return trustme.CA(key_type=trustme.KeyType.ECDSA, organization_name=f"faultline {name}")


@once
def signer(issuer: str) -> Signer:
    """The CA behind an issuer's name; intermediate CAs are signed by the CA that clients trust."""
    if issuer in ("trusted", "unknown"):
        ca = authority(issuer)
        return Signer(certificate_of(ca.cert_pem.bytes()), key_of(ca.private_key_pem.bytes()))
    above = signer("trusted" if issuer in ("constrained", "upper") else "upper")
    key = make_key("P-256")
    builder = unsigned(Certificate(subject=f"faultline {issuer}", usage="authority"), key, above)
    if issuer == "constrained":
        builder = builder.add_extension(x509.NameConstraints([x509.DNSName("elsewhere.invalid")], None), critical=True)
    certificate = builder.sign(above.key, hashes.SHA256())
    return Signer(certificate, key, (certificate, *above.chain))


@once
def issued(recipe: Certificate, host: str) -> tuple[bytes, ...]:
    """The key, the server's certificate and the other certificates that are sent, each as PEM."""
    names = recipe.names or tuple(dict.fromkeys(("localhost", "127.0.0.1", "::1", host)))
    names += tuple(f"host-{number:05}.invalid" for number in range(len(names), recipe.least_names))
    recipe = replace(recipe, names=names)
    plain = Certificate(**{name: getattr(recipe, name) for name in PLAIN})
    if (
        recipe == replace(plain, issuer=recipe.issuer)
        and recipe.issuer in ("trusted", "unknown")
        and fits_trustme(names)
    ):
        begin, end = validity(recipe)
        leaf = authority(recipe.issuer).issue_cert(
            *names, not_before=begin, not_after=end, key_type=trustme.KeyType.ECDSA
        )
        return leaf.private_key_pem.bytes(), leaf.cert_chain_pems[0].bytes()
    return built(recipe)


def fits_trustme(names: tuple[str, ...]) -> bool:
    """Whether trustme can issue for these names: it encodes each as a domain name, which `*` isn't, and slowly."""
    return "*" not in names and len(names) < 100  # noqa: PLR2004 - hundreds take milliseconds


def built(recipe: Certificate) -> tuple[bytes, ...]:
    """As `issued`, for a recipe that trustme can't issue."""
    key = make_key(recipe.key)
    by = None if recipe.issuer == "itself" else signer(recipe.issuer)
    certificate = unsigned(recipe, key, by).sign(key if by is None else by.key, hashes.SHA256())
    leaf = certificate.public_bytes(PEM)
    if recipe.digest == "SHA-1":
        assert by is not None
        leaf = signed_with_sha1(certificate, by.key)
    if recipe.is_revoked:
        revoked_serials.append(certificate.serial_number)
    sent = {"whole": by.chain if by else (), "leaf": (), "reversed": by.chain[::-1] if by else ()}[recipe.chain]
    return (pem_of(key), leaf, *(c.public_bytes(PEM) for c in sent))


def unsigned(recipe: Certificate, key: PrivateKey, by: Signer | None) -> x509.CertificateBuilder:
    """A certificate that is complete except for its signature."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, recipe.subject)] if recipe.subject else [])
    begin, end = validity(recipe)
    of_authority = recipe.usage == "authority"
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(by.certificate.subject if by else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(end)
        .add_extension(x509.BasicConstraints(ca=of_authority, path_length=None), critical=True)
        .add_extension(key_usage(of_authority=of_authority), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key((by.key if by else key).public_key()), critical=False
        )
    )
    if not of_authority:
        server, client = ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH
        purpose = x509.ExtendedKeyUsage([server if recipe.usage == "server" else client])
        builder = builder.add_extension(purpose, critical=False)
    if recipe.names and recipe.has_names:
        names = x509.SubjectAlternativeName([alternative_name(name) for name in recipe.names])
        builder = builder.add_extension(names, critical=False)
    return builder


def validity(recipe: Certificate) -> tuple[datetime.datetime, datetime.datetime]:
    """The times from which and until which the certificate is valid."""
    now = clock.today()
    return tuple(now + datetime.timedelta(seconds=s) for s in (recipe.from_seconds, recipe.until_seconds))  # type: ignore[return-value]


def key_usage(*, of_authority: bool) -> x509.KeyUsage:
    """The key usage extension: the key may sign handshakes, or certificates and revocation lists."""
    return x509.KeyUsage(
        digital_signature=not of_authority,
        key_cert_sign=of_authority,
        crl_sign=of_authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def alternative_name(name: str) -> x509.GeneralName:
    """An address or a host name in the form of a certificate."""
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def certificate_of(pem: bytes) -> x509.Certificate:
    """A certificate from PEM."""
    return x509.load_pem_x509_certificate(pem)


def common_name(der: bytes) -> str:
    """The common name in a certificate; empty if it has none, or can't be read."""
    try:
        names = x509.load_der_x509_certificate(der).subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    except ValueError:
        return ""
    return str(names[0].value) if names else ""


def facts_of(der: bytes) -> tuple[str, str, datetime.datetime]:
    """The subject, the issuer and the last moment of a certificate."""
    certificate = x509.load_der_x509_certificate(der)
    names = (certificate.subject.rfc4514_string(), certificate.issuer.rfc4514_string())
    return (*names, certificate.not_valid_after_utc)


def key_of(pem: bytes) -> PrivateKey:
    """A private key from PEM."""
    key = serialization.load_pem_private_key(pem, None)
    assert isinstance(key, (ec.EllipticCurvePrivateKey, ed25519.Ed25519PrivateKey, rsa.RSAPrivateKey))
    return key


def pem_of(key: PrivateKey) -> bytes:
    """A private key as PEM."""
    return key.private_bytes(PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


# --- revocation ------------------------------------------------------------------------------------------------------

revoked_serials: list[int] = []


def revocation_list() -> bytes:
    """The revocation list of the trusted CA, as PEM: every certificate issued as revoked so far."""
    now, by = clock.today(), signer("trusted")
    day = datetime.timedelta(seconds=DAY_SECONDS)
    builder = x509.CertificateRevocationListBuilder().issuer_name(by.certificate.subject)
    builder = builder.last_update(now - day).next_update(now + 30 * day)
    for serial in revoked_serials:
        revoked = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(now - day).build()
        builder = builder.add_revoked_certificate(revoked)
    identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(by.key.public_key())
    builder = builder.add_extension(identifier, critical=False).add_extension(
        x509.CRLNumber(len(revoked_serials) + 1), critical=False
    )
    return builder.sign(by.key, hashes.SHA256()).public_bytes(PEM)


def revocation_answer(leaf: bytes) -> bytes:
    """An OCSP response that calls this certificate of the trusted CA revoked, in DER (RFC 6960)."""
    now, by = clock.today(), signer("trusted")
    day = datetime.timedelta(seconds=DAY_SECONDS)
    builder = ocsp.OCSPResponseBuilder().add_response(
        cert=certificate_of(leaf),
        issuer=by.certificate,
        algorithm=hashes.SHA256(),
        cert_status=ocsp.OCSPCertStatus.REVOKED,
        this_update=now - day,
        next_update=now + 30 * day,
        revocation_time=now - day,
        revocation_reason=None,
    )
    builder = builder.responder_id(ocsp.OCSPResponderEncoding.HASH, by.certificate)
    return builder.sign(by.key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


# --- weak keys and signatures ----------------------------------------------------------------------------------------


def make_key(kind: Key) -> PrivateKey:
    """A key of this kind; elliptic keys are made each time, because that is quick."""
    if kind == "RSA-1024":
        return rsa_1024()
    if kind == "RSA-8192":
        return rsa_8192()
    if kind == "Ed25519":
        return ed25519.Ed25519PrivateKey.generate()
    return ec.generate_private_key(ec.SECP256R1())


@once
def rsa_1024() -> rsa.RSAPrivateKey:
    """An RSA key of 1024 bits, which clients reject as too short."""
    return rsa.generate_private_key(PUBLIC_EXPONENT, 1024)  # noqa: S505 - a weak key is wanted


@once
def rsa_8192() -> rsa.RSAPrivateKey:
    """An RSA key of 8192 bits that takes milliseconds, not seconds, because its primes are public.

    They are the 4096-bit primes of RFC 3526, 5 and RFC 7919, A.3, computed by the formulas there.
    """
    frame = 2**4096 - 2**4032 - 1
    p = frame + 2**64 * (pi_times_two_to(3966) + 240_904)
    q = frame + 2**64 * (e_times_two_to(3966) + 5_736_041)
    d = pow(PUBLIC_EXPONENT, -1, (p - 1) * (q - 1))
    public = rsa.RSAPublicNumbers(PUBLIC_EXPONENT, p * q)
    dmp1, dmq1, iqmp = rsa.rsa_crt_dmp1(d, p), rsa.rsa_crt_dmq1(d, q), rsa.rsa_crt_iqmp(p, q)
    return rsa.RSAPrivateNumbers(p, q, d, dmp1, dmq1, iqmp, public).private_key(unsafe_skip_rsa_key_validation=True)


GUARD_BITS = 64


def pi_times_two_to(bits: int) -> int:
    """Pi times 2**bits, by Machin's formula, in whole numbers."""
    one = 1 << (bits + GUARD_BITS)

    def arctangent_of_inverse(x: int) -> int:
        power = total = one // x
        for n in range(3, 2 * bits, 2):
            power //= -x * x
            total += power // n
        return total

    return (4 * (4 * arctangent_of_inverse(5) - arctangent_of_inverse(239))) >> GUARD_BITS


def e_times_two_to(bits: int) -> int:
    """Euler's number times 2**bits, by its series, in whole numbers."""
    term = total = 1 << (bits + GUARD_BITS)
    for n in range(1, bits):
        term //= n
        total += term
    return total >> GUARD_BITS


# AlgorithmIdentifier of ecdsa-with-SHA256 and of ecdsa-with-SHA1, in DER (RFC 3279, 2.2.3; RFC 5758, 3.2)
WITH_SHA256 = bytes.fromhex("300a06082a8648ce3d040302")
WITH_SHA1 = bytes.fromhex("300906072a8648ce3d0401")


def signed_with_sha1(certificate: x509.Certificate, key: PrivateKey) -> bytes:
    """The certificate with a SHA-1 signature, which cryptography refuses to make."""
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    content = certificate.tbs_certificate_bytes[4:].replace(WITH_SHA256, WITH_SHA1, 1)
    signed = der(0x30, content)
    digest = hashlib.sha1(signed, usedforsecurity=False).digest()
    signature = key.sign(digest, ec.ECDSA(utils.Prehashed(hashes.SHA1())))  # noqa: S303 - a weak digest is wanted
    whole = der(0x30, signed + WITH_SHA1 + der(0x03, b"\0" + signature))
    return x509.load_der_x509_certificate(whole).public_bytes(PEM)


def der(tag: int, content: bytes) -> bytes:
    """A value in DER: tag, length, content (X.690, 8.1)."""
    size = len(content)
    length = bytes([size]) if size < 0x80 else b"\x82" + size.to_bytes(2, "big")  # noqa: PLR2004 - the short form
    return bytes([tag]) + length + content
