"""Certificates: each is wrong in exactly one way, and the test CA's file is private and goes away."""

from __future__ import annotations

import ssl
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography import x509

from faultline import _certs
from faultline._parts import Certificate
from faultline.modes.certificates import DEFECTS

NO_CHECK_TIME = 0x200000  # X509_V_FLAG_NO_CHECK_TIME, openssl/x509_vfy.h


def shake_hands(client_context, certificate, *, name="localhost", host="127.0.0.1"):
    """A TLS handshake in memory; the client's session."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = client_context.wrap_bio(to_client, to_server, server_hostname=name)
    server = _certs.server_context(certificate, host).wrap_bio(to_server, to_client, server_side=True)
    waiting = [client, server]
    while waiting:
        side = waiting.pop(0)
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            waiting.append(side)
    return client


def refusal(certificate, *, name="localhost", context=None):
    with pytest.raises(ssl.SSLCertVerificationError) as raised:
        shake_hands(context or _certs.client_context(), certificate, name=name)

    assert type(raised.value) is ssl.SSLCertVerificationError
    return raised.value.verify_code


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1", "::1", "127.0.0.9"])
def test_healthy_certificate_is_right_for_every_name_of_the_server(name):
    client = shake_hands(_certs.client_context(), Certificate(), name=name, host="127.0.0.9")

    assert client.getpeercert()["subjectAltName"] == (
        ("DNS", "localhost"),
        ("IP Address", "127.0.0.1"),
        ("IP Address", "0:0:0:0:0:0:0:1"),
        ("IP Address", "127.0.0.9"),
    )


def test_healthy_certificate_is_wrong_for_another_name():
    assert refusal(Certificate(), name="example.org") == 62


def test_client_that_does_not_know_the_test_ca_refuses_it():
    assert refusal(Certificate(), context=ssl.create_default_context()) == 20


@pytest.mark.parametrize(
    ("kind", "name", "code"),
    [
        ("expired", "localhost", 10),
        ("not_yet_valid", "localhost", 9),
        ("wrong_host", "localhost", 62),
        ("wrong_host", "127.0.0.1", 64),
        ("self_signed", "localhost", 18),
        ("untrusted_root", "localhost", 20),
    ],
)
def test_defect_has_its_own_verify_code(kind, name, code):
    assert refusal(DEFECTS[kind], name=name) == code


def test_every_defect_has_a_verify_code_above():
    assert set(DEFECTS) == {"expired", "not_yet_valid", "wrong_host", "self_signed", "untrusted_root"}


def unverifying():
    context = _certs.client_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


@pytest.mark.parametrize("kind", DEFECTS)
def test_client_that_does_not_verify_lets_every_defect_through(kind):
    assert shake_hands(unverifying(), DEFECTS[kind]).version() == "TLSv1.3"


@pytest.mark.parametrize("kind", ["expired", "not_yet_valid"])
def test_certificate_of_the_wrong_time_is_right_but_for_the_time(kind):
    context = _certs.client_context()
    context.verify_flags |= NO_CHECK_TIME

    assert shake_hands(context, DEFECTS[kind]).version() == "TLSv1.3"


def test_certificate_of_the_wrong_host_is_right_but_for_the_host():
    context = _certs.client_context()
    context.check_hostname = False

    assert shake_hands(context, DEFECTS["wrong_host"]).version() == "TLSv1.3"
    assert shake_hands(_certs.client_context(), DEFECTS["wrong_host"], name="wrong-host.invalid").version() == "TLSv1.3"


def test_certificate_of_an_untrusted_root_is_right_where_that_root_is_trusted():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    _certs.authority("unknown").configure_trust(context)

    assert shake_hands(context, DEFECTS["untrusted_root"]).version() == "TLSv1.3"


def test_self_signed_certificate_is_right_where_it_is_trusted_itself():
    shown = shake_hands(unverifying(), DEFECTS["self_signed"]).getpeercert(binary_form=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=shown)

    assert shake_hands(context, DEFECTS["self_signed"]).version() == "TLSv1.3"


def test_self_signed_certificate_names_hosts_and_addresses():
    shown = shake_hands(unverifying(), DEFECTS["self_signed"]).getpeercert(binary_form=True)
    named = x509.load_der_x509_certificate(shown).extensions.get_extension_for_class(x509.SubjectAlternativeName)

    assert named.value.get_values_for_type(x509.DNSName) == ["localhost"]
    assert list(map(str, named.value.get_values_for_type(x509.IPAddress))) == ["127.0.0.1", "::1"]


def test_server_contexts_are_kept_per_certificate_and_host():
    context = _certs.server_context(Certificate(), "127.0.0.1")

    assert _certs.server_context(Certificate(), "127.0.0.1") is context
    assert _certs.server_context(Certificate(), "127.0.0.2") is not context
    assert _certs.server_context(DEFECTS["expired"], "127.0.0.1") is not context


def test_client_contexts_are_each_the_clients_own():
    assert _certs.client_context() is not _certs.client_context()


def test_authorities_are_kept_by_name():
    assert _certs.authority("trusted") is _certs.authority("trusted")
    assert _certs.authority("trusted") is not _certs.authority("unknown")


def test_ca_file_is_the_same_every_time():
    assert _certs.ca_file() == _certs.ca_file()


def test_ca_file_can_be_read_by_its_owner_only():
    assert stat.S_IMODE(Path(_certs.ca_file()).stat().st_mode) == 0o600


def test_ca_file_is_all_a_client_has_to_trust():
    context = ssl.create_default_context(cafile=_certs.ca_file())

    assert Path(_certs.ca_file()).read_bytes() == _certs.authority("trusted").cert_pem.bytes()
    assert shake_hands(context, Certificate()).version() == "TLSv1.3"


def run(program):
    """What a program of its own process prints, which begins with the path of its CA file."""
    program = f"from faultline._certs import ca_file\nimport os, sys\nprint(ca_file(), flush=True)\n{program}"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    path, *printed = done.stdout.splitlines()
    return Path(path), printed


def test_ca_file_is_gone_when_the_process_has_ended():
    path, printed = run("print(os.path.exists(ca_file()))")

    assert printed == ["True"]
    assert not path.exists()


def test_forked_child_leaves_the_ca_file_alone_when_it_ends():
    path, printed = run(
        "if child := os.fork():\n"
        "    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), os.path.exists(ca_file()))\n"
        "else:\n"
        "    sys.exit(7)\n"
    )

    assert printed == ["7 True"]
    assert not path.exists()


def test_ca_file_that_somebody_removed_is_no_error_at_exit():
    path, _ = run("os.unlink(ca_file())")

    assert not path.exists()
