"""Certificates: each is wrong in exactly one way, clients say which, and the files of the test CA are private."""

from __future__ import annotations

import asyncio
import ctypes
import functools
import hashlib
import os
import re
import shutil
import socket
import ssl
import stat
import subprocess
import sys
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, replace
from itertools import product
from multiprocessing import util
from pathlib import Path

import aiohttp
import pytest
import urllib3
from cryptography import x509
from cryptography.x509.oid import NameOID
from support import by_turns
from support.tables import each_row

from faultline import bad_cert, ok, raises
from faultline._core.certificates import Certificate, Terms
from faultline._core.fault import Fault
from faultline._net import contexts, issue
from faultline._net.authority import AUTHORITY
from faultline.modes.certificates import DEFECTS

pytestmark = pytest.mark.leaves_open

NO_CHECK_TIME = 0x200000  # X509_V_FLAG_NO_CHECK_TIME, openssl/x509_vfy.h
VERSIONS = {"TLSv1.2": ssl.TLSVersion.TLSv1_2, "TLSv1.3": ssl.TLSVersion.TLSv1_3}
NAMES = ("localhost", "127.0.0.1")
GET = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"

# What a client sees that trusts the CA and has no settings of its own, by NAMES: OpenSSL's verify code, its reason
# where it has no code, or None where it accepts.
SEEN = {
    "expired": (10, 10),
    "not_yet_valid": (9, 9),
    "wrong_host": (62, 64),
    "ip_mismatch": (None, 64),
    "wildcard_too_broad": (62, 64),
    "no_san": (None, 64),
    "no_subject": (None, None),
    "self_signed": (18, 18),
    "untrusted_root": (20, 20),
    "missing_intermediate": (20, 20),
    "reversed_chain": (None, None),
    "name_constraints": (47, 47),
    "ca_as_leaf": (26, 26),
    "wrong_usage": (26, 26),
    "weak_key": (66, 66),
    "sha1_signature": (68, 68),
    "revoked": (None, None),
    "many_sans": ("EXCESSIVE_MESSAGE_SIZE", "EXCESSIVE_MESSAGE_SIZE"),
    "rsa_8192": (None, None),
    "pinned_changed": (None, None),
}
# The fields of each recipe that are wrong: with the healthy value in them, all is right.
WRONG = {
    "expired": {"until_seconds"},
    "not_yet_valid": {"from_seconds"},
    "wrong_host": {"names"},
    "ip_mismatch": {"names"},
    "wildcard_too_broad": {"names"},
    "no_san": {"has_names"},
    "no_subject": {"subject"},
    "self_signed": {"issuer"},
    "untrusted_root": {"issuer"},
    "missing_intermediate": {"chain"},
    "reversed_chain": {"chain"},
    "name_constraints": {"issuer"},
    "ca_as_leaf": {"usage", "key"},
    "wrong_usage": {"usage"},
    "weak_key": {"key"},
    "sha1_signature": {"digest"},
    "revoked": {"is_revoked"},
    "many_sans": {"least_names"},
    "rsa_8192": {"key"},
    "pinned_changed": {"from_connection"},
}
# What differs from the healthy recipe too, and is right: the time of which the end alone makes it expired, the common
# name that is not to count, the intermediates that are sent wrongly.
BESIDES = {
    "expired": {"from_seconds"},
    "no_san": {"subject"},
    "missing_intermediate": {"issuer"},
    "reversed_chain": {"issuer"},
}


def mended(kind):
    """The recipe of this kind with the healthy value where it is wrong."""
    return replace(DEFECTS[kind], **{name: getattr(Certificate(), name) for name in WRONG[kind]})


# --- clients: each takes whoever hands out the CA, a server or AUTHORITY -------------------------------------------


def defaults(ca):
    return ca.client_context()


def strict(ca):
    context = ca.client_context()
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    return context


def alternative_names_only(ca):
    context = ca.client_context()
    context.hostname_checks_common_name = False
    return context


def revocation(ca):
    context = ca.client_context()
    context.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF
    context.load_verify_locations(ca.crl_file)
    return context


def no_rsa(ca):
    context = ca.client_context()
    context.set_ciphers("ECDHE+ECDSA")
    return context


def unverifying(ca):
    context = ca.client_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def rows():
    """Kind, client, name, version of TLS, and what that client then sees."""
    for (kind, seen), version in product(SEEN.items(), VERSIONS):
        yield from ((kind, defaults, name, version, saw or version) for name, saw in zip(NAMES, seen, strict=True))
    for name, version in product(NAMES, VERSIONS):
        yield "no_subject", strict, name, version, 88
        yield "revoked", revocation, name, version, 23
        if version == "TLSv1.2":  # its ciphers say what signs; those of TLS 1.3 don't
            yield "rsa_8192", no_rsa, name, version, "HANDSHAKE_FAILURE"
    for version in VERSIONS:
        yield "no_san", alternative_names_only, "localhost", version, 62


def rows_of(kind):
    """The rows of a kind by client, name and version: what the client sees."""
    return {(client, name, version): saw for of, client, name, version, saw in rows() if of == kind}


each_kind = pytest.mark.parametrize("kind", DEFECTS)


@pytest.fixture
def version(request):
    """A version of TLS."""
    return by_turns(request, *VERSIONS)


def only(context, version):
    """The same context, for this version of TLS."""
    context.maximum_version = context.minimum_version = VERSIONS[version]
    return context


def seen(error):
    """OpenSSL's verify code; where it has none, its reason, which of an alert is the alert's name."""
    return getattr(error, "verify_code", None) or error.reason.rpartition("ALERT_")[2]


def shake_hands(client_context, certificate, *, name="localhost", host="127.0.0.1"):
    """A TLS handshake in memory; the client's session."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = client_context.wrap_bio(to_client, to_server, server_hostname=name)
    server = contexts.server_context(certificate, Terms(), host).wrap_bio(to_server, to_client, server_side=True)
    for side in (client, server) * 3:
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            continue
        except ssl.SSLError:
            if side is client:  # the server has sent its alert
                raise
    client.do_handshake()  # which says that it is through
    return client


def outcome(client_context, certificate, **where):
    """What a client sees of a handshake in memory: the version, or what it says against it."""
    try:
        return shake_hands(client_context, certificate, **where).version()
    except ssl.SSLError as error:
        return seen(error)


def connected(server, context, name="127.0.0.1"):
    """A client's socket, connected; wrapped before, because wrap_socket() leaks a connected socket that was reset."""
    client = context.wrap_socket(socket.socket(), server_hostname=name)
    client.settimeout(10)
    try:
        client.connect(server.address)
    except BaseException:
        client.close()
        raise
    return client


def fetched(client):
    """The whole of the response to one request."""
    client.sendall(GET)
    return b"".join(iter(lambda: client.recv(65_536), b""))


# --- every kind ------------------------------------------------------------------------------------------------------


def test_tables_above_are_about_every_kind():
    assert set(SEEN) == set(WRONG) == set(DEFECTS)
    assert len(DEFECTS) == 20


def test_recipe_differs_from_the_healthy_one_in_what_is_wrong_and_in_what_that_takes():
    for kind, recipe in DEFECTS.items():
        differs = {f.name for f in fields(Certificate) if getattr(recipe, f.name) != f.default}

        assert (kind, differs) == (kind, {"kind", "is_fault"} | WRONG[kind] | BESIDES.get(kind, set()))


@pytest.mark.unmeasured
@each_kind
def test_client_sees_the_one_defect_and_nothing_else(faultline, kind):
    saw, received, points = {}, {}, {}
    for row in rows_of(kind):
        client, name, version = row
        server = faultline.serve(bad_cert(kind) & ok(b"hello"), strict=kind not in ("pinned_changed", "rsa_8192"))
        try:
            with connected(server, only(client(server), version), name) as connection:
                received[row], saw[row] = fetched(connection)[-9:], connection.version()
        except ssl.SSLError as error:
            saw[row] = seen(error)
        points[row] = [attempt.point for attempt in server.attempts]

    accepted = {row for row in saw if saw[row] == row[2]}
    assert saw == rows_of(kind)
    assert received == dict.fromkeys(accepted, b"\r\n\r\nhello")
    assert points == {row: ["response" if row in accepted else "handshake"] for row in saw}


@pytest.mark.slow
@pytest.mark.measured
@pytest.mark.everywhere
@each_kind
def test_mending_the_one_defect_satisfies_the_client_that_refused_it(kind):
    refused = {row: saw for row, saw in rows_of(kind).items() if saw not in VERSIONS}
    for recipe in (DEFECTS[kind], mended(kind)):  # issued first, for the list of what is revoked by now
        contexts.server_context(recipe, Terms(), "127.0.0.1")
    of = {row: only(row[0](AUTHORITY), row[2]) for row in refused}

    assert {row: outcome(of[row], DEFECTS[kind], name=row[1]) for row in refused} == refused
    assert {row: outcome(of[row], mended(kind), name=row[1]) for row in refused} == {row: row[2] for row in refused}


@pytest.mark.parametrize(
    ("issuer", "client"),
    [
        (issuer, client)
        for issuer in ("trusted", "intermediate")
        for client in (defaults, strict, alternative_names_only, no_rsa, revocation)
        if (issuer, client) != ("intermediate", revocation)  # the list is the root's, and it has none
    ],
)
def test_healthy_certificate_satisfies_every_client(issuer, client, version):
    context = only(client(AUTHORITY), version)

    assert [outcome(context, Certificate(issuer=issuer), name=name) for name in NAMES] == [version] * 2


@pytest.mark.slow
@pytest.mark.everywhere
@each_kind
def test_strict_client_has_nothing_else_against_it(kind):
    codes = (88, 88) if kind == "no_subject" else SEEN[kind]

    assert [outcome(strict(AUTHORITY), DEFECTS[kind], name=n) for n in NAMES] == [code or "TLSv1.3" for code in codes]
    assert [outcome(strict(AUTHORITY), mended(kind), name=name) for name in NAMES] == ["TLSv1.3"] * 2


@pytest.mark.slow
def test_client_that_does_not_verify_lets_it_through(version):
    refused = {"many_sans"}
    if version == "TLSv1.2":  # there OpenSSL signs with no elliptic key of a CA, and takes none, if it verifies or not
        refused.add("ca_as_leaf")
    context = only(unverifying(AUTHORITY), version)
    saw = {kind: outcome(context, DEFECTS[kind]) for kind in DEFECTS if kind not in refused}

    assert saw == dict.fromkeys(saw, version)


@pytest.mark.slow
def test_client_that_does_not_verify_can_not_take_ten_thousand_names_either():
    assert outcome(unverifying(AUTHORITY), DEFECTS["many_sans"]) == "EXCESSIVE_MESSAGE_SIZE"


# --- what it takes besides mending it --------------------------------------------------------------------------------


@each_row("kind", ["expired", "not_yet_valid"])
def test_certificate_of_the_wrong_time_is_right_but_for_the_time(kind):
    context = defaults(AUTHORITY)
    context.verify_flags |= NO_CHECK_TIME

    assert outcome(context, DEFECTS[kind]) == "TLSv1.3"


def test_certificate_of_the_wrong_host_is_right_for_that_host():
    assert outcome(defaults(AUTHORITY), DEFECTS["wrong_host"], name="wrong-host.invalid") == "TLSv1.3"


def test_certificate_of_the_wrong_address_is_right_for_that_address():
    assert outcome(defaults(AUTHORITY), DEFECTS["ip_mismatch"], name="192.0.2.1") == "TLSv1.3"


@each_row(
    ("wildcard", "name", "saw"),
    [
        ("*", "localhost", 62),
        ("*.localhost", "a.localhost", 62),
        ("*.invalid", "a.invalid", 62),
        ("*.a.localhost", "b.a.localhost", "TLSv1.3"),
        ("*.a.invalid", "b.a.invalid", "TLSv1.3"),
    ],
)
def test_wildcard_has_to_leave_two_labels(wildcard, name, saw):
    recipe = replace(DEFECTS["wildcard_too_broad"], names=(wildcard,))

    assert outcome(defaults(AUTHORITY), recipe, name=name) == saw


@each_row("name", ["localhost", "a.localhost", "a.invalid"])
def test_wildcards_of_the_kind_are_too_broad_for_what_they_would_cover(name):
    assert outcome(defaults(AUTHORITY), DEFECTS["wildcard_too_broad"], name=name) == 62


def test_certificate_of_an_untrusted_root_is_right_where_that_root_is_trusted():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    contexts.authority("unknown").configure_trust(context)

    assert outcome(context, DEFECTS["untrusted_root"]) == "TLSv1.3"


def test_self_signed_certificate_is_right_where_it_is_trusted_itself():
    shown = shake_hands(unverifying(AUTHORITY), DEFECTS["self_signed"]).getpeercert(binary_form=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=shown)

    assert outcome(context, DEFECTS["self_signed"]) == "TLSv1.3"


def test_missing_intermediates_are_all_that_is_missing():
    context = defaults(AUTHORITY)
    for sent in contexts.issued(mended("missing_intermediate"), "127.0.0.1")[2:]:
        context.load_verify_locations(cadata=sent.decode("ascii"))

    assert outcome(context, DEFECTS["missing_intermediate"]) == "TLSv1.3"


def test_intermediate_without_name_constraints_may_sign_for_the_server():
    assert outcome(defaults(AUTHORITY), replace(DEFECTS["name_constraints"], issuer="intermediate")) == "TLSv1.3"


def test_intermediate_with_name_constraints_may_sign_for_the_domain_they_name():
    recipe = replace(DEFECTS["name_constraints"], names=("a.elsewhere.invalid",))

    assert outcome(defaults(AUTHORITY), recipe, name="a.elsewhere.invalid") == "TLSv1.3"


def test_name_constraints_are_critical_as_they_have_to_be():
    """RFC 5280, 4.2.1.10."""
    intermediate = x509.load_pem_x509_certificate(contexts.issued(DEFECTS["name_constraints"], "127.0.0.1")[2])

    assert intermediate.extensions.get_extension_for_class(x509.NameConstraints).critical


@pytest.mark.parametrize("kind", ["weak_key", "sha1_signature"])
def test_client_of_security_level_0_takes_what_is_weak(kind, version):
    context = only(defaults(AUTHORITY), version)
    context.set_ciphers("DEFAULT:@SECLEVEL=0")

    assert outcome(context, DEFECTS[kind]) == version


def test_certificate_for_clients_is_right_where_a_client_shows_it(faultline, version):
    server = faultline.serve(ok(b"hello"), tls="mutual")
    context = only(server.client_context(), version)
    contexts.load(context, b"".join(contexts.issued(DEFECTS["wrong_usage"], "127.0.0.1")))
    with connected(server, context) as client:
        assert fetched(client).endswith(b"\r\n\r\nhello")


def test_defaults_of_python_3_13_are_strict_and_refuse_an_empty_subject(faultline):
    server = faultline.serve(bad_cert("no_subject"))
    try:
        with connected(server, ssl.create_default_context(cafile=server.ca_file)) as client:
            outcome = client.version()
            fetched(client)
    except ssl.SSLError as error:
        outcome = seen(error)

    assert outcome == (88 if sys.version_info >= (3, 13) else "TLSv1.3")  # gh-107361


@each_row("issuer", ["trusted", "intermediate"])
def test_default_context_of_python_takes_the_healthy_certificate(issuer):
    context = ssl.create_default_context(cafile=AUTHORITY.ca_file)

    assert outcome(context, Certificate(issuer=issuer), name="127.0.0.1") == "TLSv1.3"


@pytest.mark.slow
def test_ten_thousand_names_are_more_than_the_100_kib_that_a_client_takes_of_a_chain():
    _, leaf = contexts.issued(DEFECTS["many_sans"], "127.0.0.1")
    fewer = replace(DEFECTS["many_sans"], least_names=4_000)
    _, smaller = contexts.issued(fewer, "127.0.0.1")

    listed = x509.load_pem_x509_certificate(leaf).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert len(set(listed)) == 10_000
    assert len(ssl.PEM_cert_to_DER_cert(leaf.decode("ascii"))) > 100 * 1024
    assert len(ssl.PEM_cert_to_DER_cert(smaller.decode("ascii"))) < 100 * 1024
    assert outcome(defaults(AUTHORITY), fewer) == "TLSv1.3"


# --- the order of a chain --------------------------------------------------------------------------------------------


def chain_of(connection):
    """The certificates that the server has sent, in their order, as DER."""
    if sys.version_info >= (3, 13):
        return connection.get_unverified_chain()
    return [ssl.PEM_cert_to_DER_cert(c.public_bytes()) for c in connection._sslobj.get_unverified_chain()]


def common_names(chain):
    certificates = map(x509.load_der_x509_certificate, chain)
    return [c.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value for c in certificates]


@pytest.mark.parametrize(
    ("recipe", "sent"),
    [
        (DEFECTS["reversed_chain"], ["faultline", "faultline upper", "faultline intermediate"]),
        (mended("reversed_chain"), ["faultline", "faultline intermediate", "faultline upper"]),
        (DEFECTS["missing_intermediate"], ["faultline"]),
        (mended("missing_intermediate"), ["faultline", "faultline intermediate", "faultline upper"]),
        (DEFECTS["name_constraints"], ["faultline", "faultline constrained"]),
    ],
    ids=["reversed", "reversed mended", "missing", "missing mended", "constrained"],
)
def test_chain_is_sent_in_the_order_of_its_kind(faultline, recipe, sent, version):
    server = faultline.serve(Fault(certificate=recipe))
    with connected(server, only(unverifying(server), version)) as client:
        chain = chain_of(client)
        fetched(client)

    assert common_names(chain) == sent


UNSORTED_IS_WRONG = 1 << 11  # GNUTLS_VERIFY_DO_NOT_ALLOW_UNSORTED_CHAIN, gnutls/x509.h
INVALID, SIGNER_NOT_FOUND = 1 << 1, 1 << 6  # GNUTLS_CERT_…, gnutls/gnutls.h


class Datum(ctypes.Structure):
    """`gnutls_datum_t`."""

    _fields_ = (("data", ctypes.c_char_p), ("size", ctypes.c_uint))


@functools.cache
def gnutls():
    try:
        return ctypes.CDLL("libgnutls.so.30")
    except OSError as error:
        pytest.skip(f"needs GnuTLS: {error}")


def call(function, *arguments):
    """A function of GnuTLS that says by 0 or more that all is well."""
    code = function(*arguments)
    assert code >= 0, f"{function.__name__}: {code}"


def gnutls_certificates(chain):
    certificates = (ctypes.c_void_p * len(chain))()
    for i, der in enumerate(chain):
        certificate = ctypes.c_void_p()
        call(gnutls().gnutls_x509_crt_init, ctypes.byref(certificate))
        call(gnutls().gnutls_x509_crt_import, certificate, ctypes.byref(Datum(der, len(der))), 0)  # 0: as DER
        certificates[i] = certificate
    return certificates


def gnutls_says(chain, flags):
    """What GnuTLS has against a chain whose root is the test CA, as a sum of GNUTLS_CERT_…; 0 is nothing."""
    root = gnutls_certificates([ssl.PEM_cert_to_DER_cert(Path(AUTHORITY.ca_file).read_text(encoding="ascii"))])
    certificates = gnutls_certificates(chain)
    trusted, status = ctypes.c_void_p(), ctypes.c_uint(~0)
    call(gnutls().gnutls_x509_trust_list_init, ctypes.byref(trusted), 0)
    call(gnutls().gnutls_x509_trust_list_add_cas, trusted, root, 1, 0)
    try:
        verify = gnutls().gnutls_x509_trust_list_verify_crt
        call(verify, trusted, certificates, len(chain), flags, ctypes.byref(status), None)
    finally:
        gnutls().gnutls_x509_trust_list_deinit(trusted, 1)  # 1: with its certificates
        for certificate in certificates:
            gnutls().gnutls_x509_crt_deinit(ctypes.c_void_p(certificate))
    return status.value


@each_row(
    ("recipe", "flags", "says"),
    [
        (DEFECTS["reversed_chain"], 0, 0),
        (DEFECTS["reversed_chain"], UNSORTED_IS_WRONG, INVALID | SIGNER_NOT_FOUND),
        (mended("reversed_chain"), UNSORTED_IS_WRONG, 0),
        (DEFECTS["missing_intermediate"], 0, INVALID | SIGNER_NOT_FOUND),
        (Certificate(), UNSORTED_IS_WRONG, 0),
    ],
)
def test_gnutls_refuses_a_reversed_chain_where_it_is_told_to(faultline, recipe, flags, says):
    gnutls()
    server = faultline.serve(Fault(certificate=recipe), strict=False)
    with connected(server, unverifying(server)) as client:
        chain = chain_of(client)
        fetched(client)

    assert gnutls_says(chain, flags) == says


# --- a certificate that changes --------------------------------------------------------------------------------------


def shown(server, version="TLSv1.3"):
    """The certificate that a verifying client accepts on one more connection."""
    with connected(server, only(server.client_context(), version)) as client:
        certificate = client.getpeercert(binary_form=True)
        fetched(client)
    return certificate


def test_client_that_pins_the_first_certificate_misses_it_from_the_second_connection_on(faultline, version):
    server = faultline.serve(bad_cert("pinned_changed"))
    healthy = faultline.serve(ok(), tls=True, strict=False)

    first, second, third = (shown(server, version) for _ in range(3))

    assert first == shown(healthy, version)
    assert second == third
    assert key_in(first) != key_in(second)


def leaf_of(recipe, host="127.0.0.1"):
    """The certificate that a server on this host shows, as DER."""
    return ssl.PEM_cert_to_DER_cert(contexts.issued(recipe, host)[1].decode("ascii"))


def key_in(der):
    return x509.load_der_x509_certificate(der).public_key().public_numbers()


def test_client_that_pins_the_first_certificate_keeps_it_where_it_does_not_change(faultline):
    server = faultline.serve(Fault(certificate=mended("pinned_changed")))

    assert shown(server) == shown(server)


def test_urllib3_that_pins_the_first_certificate_refuses_the_second(faultline):
    server = faultline.serve(bad_cert("pinned_changed") & ok(b"hello"))
    pin = hashlib.sha256(leaf_of(Certificate())).hexdigest()
    with urllib3.PoolManager(ca_certs=server.ca_file, assert_fingerprint=pin, timeout=10, retries=False) as pool:
        first = pool.request("GET", server.url).data
        with pytest.raises(urllib3.exceptions.SSLError, match="Fingerprints did not match") as caught:
            pool.request("GET", server.url)

    assert first == b"hello"
    assert type(caught.value) is urllib3.exceptions.SSLError
    assert [a.connection for a in server.attempts] == [1, 2]


async def fetched_by_aiohttp(server, pin):
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as session,
            session.get(server.url, ssl=aiohttp.Fingerprint(pin)) as response,
        ):
            return await response.read()
    finally:  # aiohttp closes what it refuses in the background; one descriptor is the loop's own
        while len(asyncio.get_running_loop()._selector.get_map()) > 1:  # noqa: ASYNC110 - there is no event for that
            await asyncio.sleep(0)


def test_aiohttp_that_pins_the_first_certificate_refuses_the_second(faultline):
    server = faultline.serve(bad_cert("pinned_changed") & ok(b"hello"))
    pin, other = (hashlib.sha256(leaf_of(recipe)).digest() for recipe in (Certificate(), DEFECTS["pinned_changed"]))
    first = asyncio.run(fetched_by_aiohttp(server, pin))
    with raises(aiohttp.ServerFingerprintMismatch) as caught:
        asyncio.run(fetched_by_aiohttp(server, pin))

    assert first == b"hello"
    assert (caught.value.expected, caught.value.got) == (pin, other)


# --- contexts --------------------------------------------------------------------------------------------------------


def test_server_contexts_are_kept_per_certificate_terms_and_host():
    context = contexts.server_context(Certificate(), Terms(), "127.0.0.1")

    assert contexts.server_context(Certificate(), Terms(), "127.0.0.1") is context
    assert contexts.server_context(Certificate(), Terms(), "127.0.0.2") is not context
    assert contexts.server_context(Certificate(), Terms("mutual", client="required"), "127.0.0.1") is not context
    assert contexts.server_context(DEFECTS["expired"], Terms(), "127.0.0.1") is not context


def test_servers_of_one_host_show_the_same_certificate(faultline):
    first, second = (faultline.serve(bad_cert("no_subject")) for _ in range(2))

    assert shown(first) == shown(second)


def test_two_threads_get_the_same_context_though_both_are_the_first():
    together = threading.Barrier(2, timeout=10)

    def make():
        together.wait()
        return contexts.server_context(DEFECTS["self_signed"], Terms(), "127.0.0.31")

    with ThreadPoolExecutor(2) as pool:
        one, other = pool.submit(make), pool.submit(make)

    assert one.result() is other.result()


def test_client_contexts_are_each_the_clients_own():
    assert contexts.client_context() is not contexts.client_context()


@pytest.mark.slow
def test_client_that_does_not_know_the_test_ca_refuses_it():
    assert outcome(ssl.create_default_context(), Certificate()) == 20


@pytest.mark.slow
def test_nothing_is_left_in_the_temporary_directory_after_contexts_were_made(monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    for recipe in (Certificate(), *DEFECTS.values()):
        contexts.server_context(recipe, Terms(), "127.0.0.32")

    assert list(tmp_path.iterdir()) == []


class Witness:
    """What `load` takes for a context: it looks at the file of the key while that is there."""

    def load_cert_chain(self, path, password):  # noqa: ARG002 - so that nobody is asked for one
        self.path, self.mode, self.content = (
            Path(path),
            stat.S_IMODE(Path(path).stat().st_mode),
            Path(path).read_bytes(),
        )


def test_file_of_a_key_is_private_while_it_is_there_and_gone_afterwards():
    witness = Witness()
    contexts.load(witness, b"a key")

    assert (witness.mode, witness.content) == (0o600, b"a key")
    assert not witness.path.exists()


def test_file_of_a_key_is_gone_after_a_context_has_refused_it(monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with pytest.raises(ssl.SSLError):
        contexts.load(contexts.client_context(), b"no key")

    assert list(tmp_path.iterdir()) == []


# --- files -----------------------------------------------------------------------------------------------------------

FILES = (contexts.ca_file, contexts.crl_file, contexts.client_cert_file)


@each_row("file", FILES)
def test_file_is_the_same_every_time(file):
    assert file() == file()


@each_row("file", FILES)
def test_file_can_be_read_by_its_owner_only(file):
    assert stat.S_IMODE(Path(file()).stat().st_mode) == 0o600


def test_ca_file_is_all_a_client_has_to_trust():
    context = ssl.create_default_context(cafile=contexts.ca_file())

    assert Path(contexts.ca_file()).read_bytes() == contexts.authority("trusted").cert_pem.bytes()
    assert outcome(context, Certificate()) == "TLSv1.3"


def revoked_in(file):
    return {revoked.serial_number for revoked in x509.load_pem_x509_crl(Path(file).read_bytes())}


def test_list_of_what_is_revoked_grows_when_something_more_is(faultline):
    first = faultline.serve(bad_cert("revoked"), strict=False)
    before = first.crl_file
    second = faultline.serve(bad_cert("revoked"), host="127.0.0.33", strict=False)
    after = second.crl_file
    serials = [
        x509.load_der_x509_certificate(leaf_of(DEFECTS["revoked"], s.host)).serial_number for s in (first, second)
    ]

    assert before != after == first.crl_file
    assert serials[0] in revoked_in(before)
    assert revoked_in(after) == revoked_in(before) | {serials[1]}
    assert serials[1] not in revoked_in(before)


def handed_over(server):
    return server.client_context(certificate=True)


def loaded_from_the_file(server):
    context = ssl.create_default_context(cafile=server.ca_file)
    context.load_cert_chain(server.client_cert_file)
    return context


@pytest.mark.parametrize("client", [handed_over, loaded_from_the_file])
def test_client_certificate_is_accepted_by_a_server_that_demands_one(faultline, client, version):
    server = faultline.serve(ok(b"hello"), tls="mutual")
    with connected(server, only(client(server), version)) as connection:
        received = fetched(connection)

    assert received.endswith(b"\r\n\r\nhello")
    assert server.attempts[0].tls.client == "faultline client"


@pytest.mark.parametrize(
    ("version", "alert"), [("TLSv1.2", "HANDSHAKE_FAILURE"), ("TLSv1.3", "TLSV13_ALERT_CERTIFICATE_REQUIRED")]
)
def test_client_without_a_certificate_is_refused_there(faultline, version, alert):
    server = faultline.serve(ok(b"hello"), tls="mutual")
    with pytest.raises(ssl.SSLError) as raised, connected(server, only(server.client_context(), version)) as client:
        fetched(client)  # in TLS 1.3 the client's handshake is over before the server has seen its certificate

    assert seen(raised.value) == alert.rpartition("ALERT_")[2]


# --- processes of their own ------------------------------------------------------------------------------------------


FORKS = """
import os, sys
from faultline._net.contexts import ca_file, client_cert_file, crl_file
files = [ca_file(), client_cert_file(), crl_file()]
print(*files, flush=True)
if child := os.fork():
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), *map(os.path.exists, files))
    os.unlink(files[2])
else:
    sys.exit(7)
"""


@pytest.mark.slow
@pytest.mark.measured
def test_files_are_gone_when_the_process_has_ended_but_not_when_a_forked_child_has():
    done = subprocess.run([sys.executable, "-W", "error", "-c", FORKS], capture_output=True, text=True, check=True)
    files, seen_by_parent = (line.split() for line in done.stdout.splitlines())

    assert len(set(files)) == 3
    assert seen_by_parent == ["7", "True", "True", "True"]
    assert [Path(file).exists() for file in files] == [False, False, False]
    assert done.stderr == ""  # though one of them had been removed by then


@each_row(("version", "name"), [("1.0", "TLSv1"), ("1.1", "TLSv1_1")])
def test_contexts_of_old_versions_make_no_warning(version, name):
    context = contexts.server_context(Certificate(), Terms("only_version", version=version), "127.0.0.34")

    assert (context.minimum_version.name, context.maximum_version.name) == (name, name)


# --- the repository --------------------------------------------------------------------------------------------------

TREE = Path(__file__).parents[1]
PEM_HEADER = re.compile(rb"-{5}BEGIN [A-Z0-9 ]*(KEY|CERTIFICATE|CRL|REQUEST|PARAMETERS)-{5}\s+[A-Za-z0-9+/=]{16}")


def files_of_the_repository():
    """What is kept, or would be with the next commit; all files that are not hidden where there is no repository."""
    if (TREE / ".git").exists() and (git := shutil.which("git")) is not None:
        command = [git, "-C", str(TREE), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        listed = subprocess.run(command, capture_output=True, check=False)
        if listed.returncode == 0:  # git may refuse the repository of another user
            return [TREE / os.fsdecode(name) for name in listed.stdout.split(b"\0") if name]
    hidden = (".", "__pycache__", "build", "dist")
    return [f for f in TREE.rglob("*") if not any(part.startswith(hidden) for part in f.relative_to(TREE).parts)]


def holds_key_or_certificate(content):
    """Whether it is PEM somewhere, or DER as a whole: a sequence (0x30) as long as the file says (X.690, 8.1)."""
    long_form = content[:2] == b"\x30\x82" and int.from_bytes(content[2:4], "big") == len(content) - 4
    short_form = content[:1] == b"\x30" and len(content) > 2 and content[1] == len(content) - 2
    return bool(PEM_HEADER.search(content)) or long_form or short_form


@pytest.mark.slow
def test_no_key_or_certificate_is_in_the_repository():
    files = [file for file in files_of_the_repository() if file.is_file()]

    assert TREE / "pyproject.toml" in files
    assert [file for file in files if holds_key_or_certificate(file.read_bytes())] == []


@each_row("file", FILES)
def test_search_for_keys_and_certificates_would_find_them(file):
    assert holds_key_or_certificate(b"something else\n" + Path(file()).read_bytes())


@each_row("recipe", [Certificate(), DEFECTS["weak_key"], DEFECTS["rsa_8192"]])
def test_search_for_certificates_would_find_them_as_der(recipe):
    assert holds_key_or_certificate(leaf_of(recipe))


def test_file_is_the_business_of_multiprocessing_where_that_is_loaded():
    before = set(util._finalizer_registry)
    path = Path(contexts.private_file("test", b"nothing"))
    (added,) = set(util._finalizer_registry) - before
    util._finalizer_registry[added]()

    assert not path.exists()


@pytest.mark.slow
def test_child_of_multiprocessing_takes_its_file_with_it():
    program = (
        "import multiprocessing as m\n"
        "def f(q):\n"
        "    from faultline._net import contexts\n"
        "    q.put(contexts.ca_file())\n"
        "context = m.get_context('fork')\n"
        "queue = context.SimpleQueue()\n"
        "child = context.Process(target=f, args=(queue,))\n"
        "child.start(); print(queue.get()); child.join()\n"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    path = Path(run.stdout.strip())
    assert path.name.startswith("faultline-ca-")
    assert not path.exists()


@pytest.mark.slow
def test_process_that_a_signal_ends_leaves_no_key_and_the_next_removes_its_links(tmp_path):
    program = (
        "import os, signal\n"
        "from faultline._net.contexts import ca_file, client_cert_file, crl_file\n"
        "print(ca_file(), crl_file(), client_cert_file(), flush=True)\n"
    )
    environment = {**os.environ, "TMPDIR": str(tmp_path)}

    def run_and_end(how):
        command = [sys.executable, "-c", f"{program}{how}"]
        return subprocess.run(command, capture_output=True, text=True, check=False, env=environment).stdout.split()

    paths = run_and_end("os.kill(os.getpid(), signal.SIGKILL)")
    assert len(paths) == 3
    assert not any(map(os.path.exists, paths))
    assert not any(path.is_file() for path in tmp_path.iterdir())

    run_and_end("")
    assert list(tmp_path.iterdir()) == []


def test_link_that_can_not_be_followed_is_not_taken_for_that_of_a_process_that_has_ended(tmp_path):
    """As one to the file of a process with more rights, or in another user namespace: EACCES there, ELOOP here."""
    loop, gone = tmp_path / "faultline-ca-1.pem", tmp_path / "faultline-ca-2.pem"
    loop.symlink_to(loop)
    gone.symlink_to(tmp_path / "nothing")

    contexts.remove_stale(tmp_path)

    assert list(tmp_path.iterdir()) == [loop]


class MadeMeanwhile:
    """What is asked for; another thread makes it between the two looks for it, the second of which is in the lock."""

    def __init__(self, ask):
        self.ask, self.looks = ask, 0

    def __hash__(self):
        self.looks += 1
        if self.looks == 2:
            self.ask(self)
        return 1


def test_what_another_thread_has_made_meanwhile_is_not_made_again():
    made = []
    kept = issue.once(lambda asked: made.append(asked) or len(made))

    assert kept(MadeMeanwhile(kept)) == 1
    assert len(made) == 1
