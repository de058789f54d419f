"""Recipes and what is issued by them: one thing differs from the healthy certificate, and keys are made once."""

from __future__ import annotations

import base64
import contextlib
import datetime
import shutil
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509 import ocsp
from cryptography.x509.oid import NameOID
from support.tables import each_row

from faultline._core.certificates import DAY_SECONDS, Certificate
from faultline._net import issue
from faultline.modes.certificates import DEFECTS

HOST = "127.0.0.41"
OWN_NAMES = ["localhost", "127.0.0.1", "::1", HOST]
DAY = datetime.timedelta(seconds=DAY_SECONDS)


def certificates_of(recipe):
    """The server's certificate and what is sent with it."""
    return [x509.load_pem_x509_certificate(pem) for pem in issue.issued(recipe, HOST)[1:]]


def leaf_of(recipe):
    return certificates_of(recipe)[0]


def common_name(name):
    return next((a.value for a in name.get_attributes_for_oid(NameOID.COMMON_NAME)), None)


def extension(certificate, kind):
    with contextlib.suppress(x509.ExtensionNotFound):
        return certificate.extensions.get_extension_for_class(kind).value
    return None


def names_in(certificate):
    return [str(name.value) for name in extension(certificate, x509.SubjectAlternativeName) or ()]


def is_valid_now(certificate):
    now = datetime.datetime.now(datetime.timezone.utc)
    return certificate.not_valid_before_utc < now < certificate.not_valid_after_utc


def revoked_serials():
    return {revoked.serial_number for revoked in x509.load_pem_x509_crl(issue.revocation_list())}


def facts_of(recipe):
    """All that a client could look at."""
    leaf, *chain = certificates_of(recipe)
    key = leaf.public_key()
    return {
        "time": is_valid_now(leaf),
        "names": names_in(leaf),
        "subject": common_name(leaf.subject),
        "issuer": leaf.issuer.rfc4514_string(),
        "chain": [common_name(c.subject) for c in chain],
        "CA": extension(leaf, x509.BasicConstraints).ca,
        "key usage": extension(leaf, x509.KeyUsage),
        "extended key usage": extension(leaf, x509.ExtendedKeyUsage),
        "key": (type(key).__name__, getattr(key, "key_size", None)),
        "digest": leaf.signature_hash_algorithm.name,
        "revoked": leaf.serial_number in revoked_serials(),
        "version": leaf.version,
        "critical": {e.oid.dotted_string for e in leaf.extensions if e.critical},
    }


# The healthy recipe as the builder issues it, not trustme.
HEALTHY = Certificate(subject="healthy")

# What of the facts differs from a healthy certificate's.
DIFFERS = {
    "expired": {"time"},
    "not_yet_valid": {"time"},
    "wrong_host": {"names"},
    "ip_mismatch": {"names"},
    "wildcard_too_broad": {"names"},
    "no_san": {"names"},
    "no_subject": set(),
    "self_signed": {"issuer"},
    "untrusted_root": {"issuer"},
    "missing_intermediate": {"issuer"},
    "reversed_chain": {"issuer", "chain"},
    "name_constraints": {"issuer", "chain"},
    "ca_as_leaf": {"CA", "key", "key usage", "extended key usage"},
    "wrong_usage": {"extended key usage"},
    "weak_key": {"key"},
    "sha1_signature": {"digest"},
    "revoked": {"revoked"},
    "many_sans": {"names"},
    "rsa_8192": {"key"},
    "pinned_changed": set(),
}


@pytest.mark.slow
@each_row("kind", DEFECTS)
def test_certificate_differs_from_a_healthy_one_in_what_its_kind_says(kind):
    recipe = replace(DEFECTS[kind], subject=DEFECTS[kind].subject and "healthy")  # a name of its own: by the builder
    facts, healthy = facts_of(recipe), facts_of(HEALTHY)
    differs = {name for name in facts if facts[name] != healthy[name]} - {"subject"}

    assert differs == DIFFERS[kind]
    assert facts["subject"] == recipe.subject


def test_table_above_is_about_every_kind():
    assert set(DIFFERS) == set(DEFECTS)


@each_row("recipe", [Certificate(), HEALTHY])
def test_healthy_certificate_is_right_in_every_point(recipe):
    facts = facts_of(recipe)

    assert facts["names"] == OWN_NAMES
    assert facts["time"] is True
    assert facts["chain"] == []
    assert facts["CA"] is False
    assert facts["key usage"].digital_signature is True
    assert facts["key usage"].key_cert_sign is False
    assert x509.ExtendedKeyUsageOID.SERVER_AUTH in facts["extended key usage"]
    assert facts["key"] == ("ECPublicKey", 256)
    assert facts["digest"] == "sha256"
    assert facts["revoked"] is False


@each_row(
    ("kind", "names"),
    [
        ("wrong_host", ["wrong-host.invalid"]),
        ("ip_mismatch", ["localhost", "192.0.2.1"]),
        ("wildcard_too_broad", ["*", "*.localhost", "*.invalid"]),
        ("no_san", []),
        ("self_signed", OWN_NAMES),
    ],
)
def test_certificate_has_the_names_of_its_kind(kind, names):
    assert names_in(leaf_of(DEFECTS[kind])) == names


@each_row(("kind", "begin", "end"), [("expired", -30, -1), ("not_yet_valid", 1, 365), ("revoked", -365, 365)])
def test_certificate_is_valid_for_the_days_of_its_kind(kind, begin, end):
    now, leaf = datetime.datetime.now(datetime.timezone.utc), leaf_of(DEFECTS[kind])
    # To the day: it may have been issued some time ago.
    assert (round((leaf.not_valid_before_utc - now) / DAY), round((leaf.not_valid_after_utc - now) / DAY)) == (
        begin,
        end,
    )


@each_row("kind", DEFECTS)
def test_key_is_the_one_in_the_certificate(kind):
    key, leaf, *_ = issue.issued(DEFECTS[kind], HOST)
    public = serialization.load_pem_private_key(key, None, unsafe_skip_rsa_key_validation=True).public_key()

    assert public == x509.load_pem_x509_certificate(leaf).public_key()


@pytest.mark.slow
@each_row("kind", [kind for kind in DEFECTS if kind != "sha1_signature"])
def test_certificate_is_signed_by_its_issuer(kind):
    recipe, leaf = DEFECTS[kind], leaf_of(DEFECTS[kind])
    issuer = leaf if recipe.issuer == "itself" else issue.signer(recipe.issuer).certificate

    leaf.verify_directly_issued_by(issuer)


def test_sha1_signature_is_a_true_signature():
    leaf, ca = leaf_of(DEFECTS["sha1_signature"]), issue.signer("trusted").certificate

    ca.public_key().verify(leaf.signature, leaf.tbs_certificate_bytes, ec.ECDSA(hashes.SHA1()))
    assert leaf.signature_hash_algorithm.name == "sha1"
    assert leaf.issuer == ca.subject


def test_self_signed_certificate_has_the_same_name_as_subject_and_issuer():
    leaf = leaf_of(DEFECTS["self_signed"])

    assert leaf.subject == leaf.issuer == x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "faultline")])


def test_empty_subject_is_empty_and_the_names_are_not_critical():
    leaf = leaf_of(DEFECTS["no_subject"])

    assert list(leaf.subject) == []
    assert leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).critical is False


def test_name_constraints_are_in_the_intermediate_and_critical():
    _, intermediate = certificates_of(DEFECTS["name_constraints"])
    constraints = intermediate.extensions.get_extension_for_class(x509.NameConstraints)

    assert constraints.critical is True
    assert constraints.value.permitted_subtrees == [x509.DNSName("elsewhere.invalid")]
    assert constraints.value.excluded_subtrees is None
    assert intermediate.issuer == issue.signer("trusted").certificate.subject


# --- once ------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@each_row("kind", DEFECTS)
def test_what_is_issued_is_kept_per_recipe_and_host(kind):
    recipe = DEFECTS[kind]

    assert issue.issued(recipe, HOST) is issue.issued(recipe, HOST)
    assert issue.issued(recipe, HOST) is not issue.issued(recipe, "127.0.0.42")


def test_authorities_are_kept_by_name():
    assert issue.authority("trusted") is issue.authority("trusted")
    assert issue.authority("trusted") is not issue.authority("unknown")


@each_row("issuer", ["trusted", "unknown", "upper", "intermediate", "constrained"])
def test_signers_are_kept_by_name(issuer):
    assert issue.signer(issuer) is issue.signer(issuer)


@each_row(("kind", "bits"), [("RSA-1024", 1024), ("RSA-8192", 8192)])
def test_rsa_keys_are_made_once(kind, bits):
    assert issue.make_key(kind) is issue.make_key(kind)
    assert issue.make_key(kind).key_size == bits


def test_elliptic_keys_are_made_anew():
    one, other = issue.make_key("P-256"), issue.make_key("P-256")

    assert one.curve.name == "secp256r1"
    assert one.public_key() != other.public_key()


@pytest.mark.slow
def test_once_calls_a_function_once_though_two_threads_come_at_once():
    calls = []
    inside, together = threading.Barrier(2), threading.Barrier(2, timeout=10)

    @issue.once
    def make(name):
        calls.append(name)
        with contextlib.suppress(threading.BrokenBarrierError):
            inside.wait(timeout=0.2)  # the other thread does not come
        return object()

    def ask():
        together.wait()
        return make("a")

    with ThreadPoolExecutor(2) as pool:
        one, other = pool.submit(ask), pool.submit(ask)

    assert one.result() is other.result()
    assert calls == ["a"]


def test_once_remembers_by_argument():
    @issue.once
    def make(name):
        return [name]

    assert make("a") is make("a")
    assert (make("a"), make("b")) == (["a"], ["b"])


def test_once_may_be_used_within_itself():
    @issue.once
    def count_down(number):
        return [number, *count_down(number - 1)] if number else [0]

    assert count_down(3) == [3, 2, 1, 0]


# --- revocation ------------------------------------------------------------------------------------------------------


def test_revocation_list_is_the_trusted_authority_s_and_valid_now():
    now, ca = datetime.datetime.now(datetime.timezone.utc), issue.signer("trusted").certificate
    crl = x509.load_pem_x509_crl(issue.revocation_list())

    assert crl.is_signature_valid(ca.public_key())
    assert crl.issuer == ca.subject
    assert crl.last_update_utc < now < crl.next_update_utc


def test_revocation_list_has_what_was_issued_as_revoked_and_nothing_else():
    revoked, healthy = leaf_of(DEFECTS["revoked"]), leaf_of(replace(DEFECTS["revoked"], is_revoked=False))

    assert revoked.serial_number in revoked_serials()
    assert healthy.serial_number not in revoked_serials()
    assert revoked_serials() == set(issue.revoked_serials)


def test_revocation_list_grows_with_what_is_issued():
    before = revoked_serials()
    leaf = leaf_of(replace(DEFECTS["revoked"], kind="revoked too"))

    assert revoked_serials() - before == {leaf.serial_number}


def time_of(answer, name):
    """A time that an answer of OCSP has; before cryptography 43 its zone goes without saying."""
    return getattr(answer, f"{name}_utc", None) or getattr(answer, name).replace(tzinfo=datetime.timezone.utc)


def test_revocation_answer_says_that_this_certificate_is_revoked():
    _, pem, *_ = issue.issued(DEFECTS["revoked"], HOST)
    now, ca = datetime.datetime.now(datetime.timezone.utc), issue.signer("trusted").certificate
    answer = ocsp.load_der_ocsp_response(issue.revocation_answer(pem))

    assert answer.response_status is ocsp.OCSPResponseStatus.SUCCESSFUL
    assert answer.certificate_status is ocsp.OCSPCertStatus.REVOKED
    assert answer.serial_number == x509.load_pem_x509_certificate(pem).serial_number
    assert time_of(answer, "revocation_time") < now < time_of(answer, "next_update")
    ca.public_key().verify(answer.signature, answer.tbs_response_bytes, ec.ECDSA(hashes.SHA256()))


# --- the key that everybody knows ------------------------------------------------------------------------------------

# First and last 128 bits as the RFCs print them.
ENDS = {
    "RFC 3526, group 16": ("FFFFFFFF FFFFFFFF C90FDAA2 2168C234", "4DF435C9 34063199 FFFFFFFF FFFFFFFF"),
    "RFC 7919, ffdhe4096": ("FFFFFFFF FFFFFFFF ADF85458 A2BB4A9A", "C68A007E 5E655F6A FFFFFFFF FFFFFFFF"),
}
GROUPS = {"RFC 3526, group 16": "modp_4096", "RFC 7919, ffdhe4096": "ffdhe4096"}


def primes():
    numbers = issue.rsa_8192().private_numbers()
    return dict(zip(GROUPS, (numbers.p, numbers.q), strict=True))


@pytest.mark.parametrize("source", GROUPS)
def test_prime_has_the_ends_that_its_rfc_prints(source):
    digits = f"{primes()[source]:X}"

    assert len(digits) == 1024
    assert (digits[:32], digits[-32:]) == tuple(end.replace(" ", "") for end in ENDS[source])


@pytest.mark.slow
@pytest.mark.parametrize("source", GROUPS)
def test_prime_passes_the_test_of_fermat(source):
    prime = primes()[source]

    assert pow(2, prime - 1, prime) == 1


@pytest.mark.parametrize(("source", "group"), GROUPS.items())
def test_prime_is_the_one_that_openssl_knows(source, group):
    if (openssl := shutil.which("openssl")) is None:
        pytest.skip("needs the command openssl")
    command = [openssl, "genpkey", "-genparam", "-algorithm", "DH", "-pkeyopt", f"group:{group}"]
    printed = subprocess.run(command, capture_output=True, check=False)
    if printed.returncode:
        pytest.skip(f"openssl before 3.0 has no group by name: {printed.stderr.decode()}")

    lines = [line for line in printed.stdout.splitlines() if not line.startswith(b"-")]
    parameters = base64.b64decode(b"".join(lines))
    prime_in_der = b"\x02\x82\x02\x01\0" + primes()[source].to_bytes(512, "big")  # an integer, X.690, 8.3

    assert parameters[4:].startswith(prime_in_der)


def test_rsa_key_of_8192_bits_is_whole():
    key = issue.rsa_8192()
    numbers = key.private_numbers()
    p, q, d = numbers.p, numbers.q, numbers.d

    assert numbers.public_numbers == rsa.RSAPublicNumbers(65_537, p * q)
    assert d * 65_537 % (p - 1) == d * 65_537 % (q - 1) == 1
    assert (numbers.dmp1, numbers.dmq1, numbers.iqmp * q % p) == (d % (p - 1), d % (q - 1), 1)
    assert key.key_size == 8192
