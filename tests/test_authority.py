"""Healthy TLS as users hold it: the session's CA, clients that trust it by the environment, and mutual TLS."""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import shutil
import socket
import ssl
import subprocess
import sys
import textwrap
import urllib.request
from pathlib import Path

import aiohttp
import httpx
import pytest
import requests
import trustme
import urllib3
from support.secured import by_aiohttp, by_http_client, by_httpx, by_streams, by_urllib
from support.tables import each_row

from faultline import NotStruckError, ParameterError, bad_tls, close, ok, raises, serve
from faultline._net.authority import AUTHORITY, VARIABLES

pytestmark = pytest.mark.leaves_open

TIMEOUT = 10
# Without plugins of others, which would be imported anew for each inner run.
ALONE = ("-p", "timeout", "-p", "faultline", "-p", "no:cacheprovider", "--strict-markers", "--strict-config")
CURL = shutil.which("curl") or ""
needs_curl = pytest.mark.skipif(not CURL, reason="needs curl")
NO_CERTIFICATE = "the server ended TLS: peer did not return a certificate"
UNKNOWN_CERTIFICATE = "the server ended TLS: certificate verify failed"


def reason(attempt):
    """Why the server ended TLS, without the alert, which `test_alerts.py` looks at."""
    return re.sub(r" with the alert \w+", "", attempt.note)


# --- clients ---------------------------------------------------------------------------------------------------------


def by_urllib3(url, **options):
    with urllib3.PoolManager(timeout=TIMEOUT, retries=False, **options) as pool:
        return pool.request("GET", url).data


def by_requests(url, **options):
    with requests.get(url, timeout=TIMEOUT, **options) as response:
        return response.content


def by_curl(url, *arguments):
    done = subprocess.run(
        [CURL, "-q", "-sS", "--max-time", str(TIMEOUT), *arguments, url], capture_output=True, check=False
    )
    if done.returncode:
        raise ssl.SSLError(done.returncode, done.stderr.decode())
    return done.stdout


WITHOUT_ARGUMENTS = [
    pytest.param(by_urllib, id="urllib"),
    pytest.param(by_http_client, id="http.client"),
    pytest.param(by_urllib3, id="urllib3"),
    pytest.param(by_requests, id="requests"),
    pytest.param(by_httpx, id="httpx"),
    pytest.param(by_streams, id="asyncio"),
    pytest.param(by_curl, id="curl", marks=needs_curl),
]


def over_socket(server, context):
    """The response to a plain request, and at which call it failed if it did."""
    received, call = b"", "connect"
    try:
        with contextlib.closing(context.wrap_socket(socket.socket(), server_hostname="localhost")) as client:
            client.settimeout(TIMEOUT)
            client.connect(server.address)
            call = "recv"
            client.sendall(b"GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")
            while data := client.recv(65_536):
                received += data
    except ssl.SSLError as error:
        return call, error.reason
    return received.partition(b"\r\n\r\n")[2]


def of_version(context, version):
    context.minimum_version = context.maximum_version = version
    return context


def stranger(server):
    """A client context with a certificate that another CA has signed."""
    context = server.client_context()
    trustme.CA(key_type=trustme.KeyType.ECDSA).issue_cert("stranger.invalid").configure_cert(context)
    return context


# --- the CA ----------------------------------------------------------------------------------------------------------


def test_fixture_is_the_ca_that_servers_hand_out(faultline, faultline_ca):
    server = faultline.serve(ok(), tls=True)

    assert faultline_ca is AUTHORITY
    assert (server.ca_file, server.crl_file, server.client_cert_file) == (
        faultline_ca.ca_file,
        faultline_ca.crl_file,
        faultline_ca.client_cert_file,
    )


def test_context_of_the_fixture_is_enough_for_a_server(faultline, faultline_ca):
    server = faultline.serve(ok(b"hello"), tls=True)

    assert by_urllib(server.url, faultline_ca.client_context()) == b"hello"


def test_ca_file_is_enough_for_a_server(faultline, faultline_ca):
    server = faultline.serve(ok(b"hello"), tls=True)

    assert by_requests(server.url, verify=faultline_ca.ca_file) == b"hello"


def test_contexts_are_each_the_clients_own(faultline_ca):
    assert faultline_ca.client_context() is not faultline_ca.client_context()
    assert faultline_ca.client_context(certificate=True) is not faultline_ca.client_context(certificate=True)


def test_context_trusts_the_test_ca_and_nothing_else(faultline_ca):
    [trusted] = faultline_ca.client_context().get_ca_certs()

    assert trusted["subject"][0] == (("organizationName", "faultline trusted"),)
    assert (
        ssl.PEM_cert_to_DER_cert(Path(faultline_ca.ca_file).read_text())
        == faultline_ca.client_context().get_ca_certs(binary_form=True)[0]
    )


@pytest.mark.parametrize("name", ["ca_file", "crl_file", "client_cert_file"])
def test_files_can_be_read_by_their_owner_only(faultline_ca, name):
    assert Path(getattr(faultline_ca, name)).stat().st_mode & 0o777 == 0o600


# --- trust by the environment ----------------------------------------------------------------------------------------


@pytest.fixture
def untrusting(monkeypatch):
    """Nobody has set the variables, and urllib has made no opener yet."""
    monkeypatch.setattr(urllib.request, "_opener", None)
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    "name",
    [
        *("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "AWS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS", "PIP_CERT"),
        *("GIT_SSL_CAINFO", "CARGO_HTTP_CAINFO", "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH", "npm_config_cafile"),
    ],
)
def test_trust_sets_each_variable_to_the_ca_file(faultline, monkeypatch, untrusting, name):
    monkeypatch.setenv(name, "before.pem")
    server = faultline.serve(ok(), tls=True)

    server.trust(monkeypatch)

    assert os.environ[name] == server.ca_file


def test_child_process_that_reads_node_extra_ca_certs_gets_the_ca(faultline, monkeypatch, untrusting):
    faultline.serve(ok(), tls=True).trust(monkeypatch)
    code = "import os, ssl; c = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT); "
    code += "c.load_verify_locations(os.environ['NODE_EXTRA_CA_CERTS']); print(len(c.get_ca_certs()))"

    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout == b"1\n"


def test_trust_is_taken_back_as_it_was(faultline_ca, monkeypatch, untrusting):
    monkeypatch.setenv("SSL_CERT_FILE", "before.pem")
    with pytest.MonkeyPatch.context() as inner:
        faultline_ca.trust(inner)
        assert os.environ["SSL_CERT_FILE"] == faultline_ca.ca_file

    assert {os.environ.get(name) for name in VARIABLES} == {"before.pem", None}


@pytest.mark.parametrize("fetch", WITHOUT_ARGUMENTS)
def test_client_without_arguments_accepts_the_server_after_trust(faultline, monkeypatch, untrusting, fetch):
    server = faultline.serve(ok(b"hello"), tls=True)
    server.trust(monkeypatch)

    assert fetch(server.url) == b"hello"
    assert [(a.tls.version, a.tls.alert) for a in server.attempts] == [("TLSv1.3", "")]


@pytest.mark.slow
@pytest.mark.everywhere
@pytest.mark.parametrize("fetch", WITHOUT_ARGUMENTS)
def test_client_without_arguments_refuses_the_server_without_trust(faultline, untrusting, fetch):
    server = faultline.serve(ok(b"hello"), tls=True)

    with raises(ssl.SSLError) as raised:
        fetch(server.url)

    assert "unable to get local issuer certificate" in str(raised.value)
    assert [(a.tls.version, a.sent_bytes) for a in server.attempts] == [("TLSv1.3", 0)]


@pytest.mark.parametrize(
    ("fetch", "variable"),
    [
        pytest.param(by_urllib, "SSL_CERT_FILE", id="urllib"),
        pytest.param(by_urllib3, "SSL_CERT_FILE", id="urllib3"),
        pytest.param(by_httpx, "SSL_CERT_FILE", id="httpx"),
        pytest.param(by_requests, "REQUESTS_CA_BUNDLE", id="requests"),
        pytest.param(by_requests, "CURL_CA_BUNDLE", id="requests-curl"),
        pytest.param(by_curl, "CURL_CA_BUNDLE", id="curl", marks=needs_curl),
    ],
)
def test_one_of_the_variables_is_the_one_a_client_reads(faultline, monkeypatch, untrusting, fetch, variable):
    server = faultline.serve(ok(b"hello"), tls=True)
    monkeypatch.setenv(variable, server.ca_file)

    assert fetch(server.url) == b"hello"


def test_aiohttp_keeps_the_context_it_made_when_it_was_imported(faultline, monkeypatch, untrusting):
    server = faultline.serve(ok(b"hello"), tls=True)
    server.trust(monkeypatch)

    with raises(ssl.SSLCertVerificationError) as raised:
        by_aiohttp(server.url)

    assert type(raised.value) is aiohttp.ClientConnectorCertificateError
    assert by_aiohttp(server.url, server.client_context()) == b"hello"


@pytest.mark.slow
def test_urllib_keeps_the_opener_of_its_first_request(faultline, monkeypatch, untrusting):
    server = faultline.serve(ok(b"hello"), tls=True)
    with raises(ssl.SSLCertVerificationError):
        by_urllib(server.url)
    server.trust(monkeypatch)

    if sys.version_info < (3, 12):  # its handler makes a context for each connection
        assert by_urllib(server.url) == b"hello"
    else:  # it has made one when it was made (`HTTPSHandler.__init__`)
        with raises(ssl.SSLCertVerificationError):
            by_urllib(server.url)
    urllib.request.install_opener(None)
    assert by_urllib(server.url) == b"hello"


def test_trusting_a_plain_server_changes_nothing_for_its_clients(faultline, monkeypatch, untrusting):
    server = faultline.serve(ok(b"hello"))

    server.trust(monkeypatch)

    assert by_requests(server.url) == b"hello"


@pytest.fixture
def run(pytester, monkeypatch):
    """A function that runs an inner test file in this process."""
    monkeypatch.delenv("PYTEST_TIMEOUT", raising=False)
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")

    def ran(source):
        pytester.makepyfile(test_inner="import os\nimport pytest\nfrom faultline import ok\n" + textwrap.dedent(source))
        return pytester.runpytest_inprocess(*ALONE)

    return ran


@pytest.mark.slow
def test_trust_ends_with_the_test_even_if_that_raises(run, monkeypatch, untrusting):
    monkeypatch.setenv("CURL_CA_BUNDLE", "before.pem")

    result = run(
        """
        NAMES = "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"

        def test_raises(faultline, monkeypatch):
            server = faultline.serve(ok(), tls=True)
            server.trust(monkeypatch)
            assert {os.environ[name] for name in NAMES} == {server.ca_file}
            raise KeyError("the test itself")

        def test_after():
            assert [os.environ.get(name) for name in NAMES] == [None, None, "before.pem"]
        """
    )

    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["E*KeyError: 'the test itself'"])
    assert [os.environ.get(name) for name in VARIABLES[:3]] == [None, None, "before.pem"]


@pytest.mark.slow
@pytest.mark.measured
def test_fixture_lives_as_long_as_the_session(run):
    result = run(
        """
        @pytest.fixture(scope="session")
        def ca_file(faultline_ca):  # of a session itself, so pytest refuses a shorter scope
            return faultline_ca.ca_file

        @pytest.mark.parametrize("turn", [1, 2])
        def test_each(faultline, faultline_ca, ca_file, turn):
            assert faultline.serve(ok(), tls=True).ca_file == faultline_ca.ca_file == ca_file
        """
    )

    result.assert_outcomes(passed=2)


# --- mutual TLS ------------------------------------------------------------------------------------------------------


@each_row(
    ("version", "call", "alert"),
    [
        (ssl.TLSVersion.TLSv1_2, "connect", "SSLV3_ALERT_HANDSHAKE_FAILURE"),
        (ssl.TLSVersion.TLSv1_3, "recv", "TLSV13_ALERT_CERTIFICATE_REQUIRED"),
    ],
)
def test_mutual_server_refuses_a_client_without_a_certificate(faultline, version, call, alert):
    server = faultline.serve(ok(), tls="mutual")

    assert over_socket(server, of_version(server.client_context(), version)) == (call, alert)

    [attempt] = server.attempts
    assert (reason(attempt), attempt.tls.client, attempt.sent_bytes) == (NO_CERTIFICATE, "", 0)
    assert (attempt.point, attempt.struck) == ("handshake", None)
    assert (attempt.ended_by, attempt.ended_how) == ("server", "FIN")


@each_row(("version", "call"), [(ssl.TLSVersion.TLSv1_2, "connect"), (ssl.TLSVersion.TLSv1_3, "recv")])
def test_mutual_server_refuses_a_certificate_of_another_ca(faultline, version, call):
    server = faultline.serve(ok(), tls="mutual")

    assert over_socket(server, of_version(stranger(server), version)) == (call, "TLSV1_ALERT_UNKNOWN_CA")

    assert [(reason(a), a.tls.client) for a in server.attempts] == [(UNKNOWN_CERTIFICATE, "")]


@each_row("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_mutual_server_answers_a_client_with_a_certificate(faultline, version):
    server = faultline.serve(ok(b"hello"), tls="mutual")

    assert over_socket(server, of_version(server.client_context(certificate=True), version)) == b"hello"

    [attempt] = server.attempts
    assert (attempt.tls.client, attempt.struck, attempt.note) == ("faultline client", None, "")
    assert attempt.tls.version == {ssl.TLSVersion.TLSv1_2: "TLSv1.2", ssl.TLSVersion.TLSv1_3: "TLSv1.3"}[version]


@pytest.mark.parametrize(
    "fetch",
    [
        pytest.param(
            lambda s: by_requests(s.url, cert=s.client_cert_file, verify=s.ca_file),
            id="requests",
        ),
        pytest.param(
            lambda s: by_urllib3(s.url, cert_file=s.client_cert_file, ca_certs=s.ca_file),
            id="urllib3",
        ),
        pytest.param(lambda s: by_urllib(s.url, s.client_context(certificate=True)), id="urllib"),
        pytest.param(lambda s: by_http_client(s.url, s.client_context(certificate=True)), id="http.client"),
        pytest.param(lambda s: by_httpx(s.url, s.client_context(certificate=True)), id="httpx"),
        pytest.param(lambda s: by_aiohttp(s.url, s.client_context(certificate=True)), id="aiohttp"),
        pytest.param(lambda s: by_streams(s.url, s.client_context(certificate=True)), id="asyncio"),
        pytest.param(
            lambda s: by_curl(s.url, "--cert", s.client_cert_file, "--cacert", s.ca_file),
            id="curl",
            marks=needs_curl,
        ),
    ],
)
def test_mutual_server_answers_each_client_that_shows_its_certificate(faultline, fetch):
    server = faultline.serve(ok(b"hello"), tls="mutual")

    assert fetch(server) == b"hello"
    assert [a.tls.client for a in server.attempts] == ["faultline client"]


@pytest.mark.parametrize(
    ("fetch", "kind"),
    [
        pytest.param(lambda s: by_requests(s.url, verify=s.ca_file), requests.exceptions.SSLError, id="requests"),
        pytest.param(lambda s: by_urllib3(s.url, ca_certs=s.ca_file), urllib3.exceptions.SSLError, id="urllib3"),
        pytest.param(lambda s: by_urllib(s.url, s.client_context()), ssl.SSLError, id="urllib"),
        pytest.param(lambda s: by_http_client(s.url, s.client_context()), ssl.SSLError, id="http.client"),
        pytest.param(lambda s: by_httpx(s.url, s.client_context()), httpx.ReadError, id="httpx"),
        pytest.param(lambda s: by_aiohttp(s.url, s.client_context()), aiohttp.ClientOSError, id="aiohttp"),
        pytest.param(lambda s: by_streams(s.url, s.client_context()), ssl.SSLError, id="asyncio"),
        pytest.param(lambda s: by_curl(s.url, "--cacert", s.ca_file), ssl.SSLError, id="curl", marks=needs_curl),
    ],
)
def test_each_client_that_shows_none_meets_the_alert_when_it_reads(faultline, fetch, kind):
    server = faultline.serve(ok(), tls="mutual")

    with raises(ssl.SSLError) as raised:
        fetch(server)

    assert type(raised.value) is kind
    assert "tlsv13 alert certificate required" in str(raised.value)
    assert {(reason(a), a.sent_bytes) for a in server.attempts} == {(NO_CERTIFICATE, 0)}


def test_mutual_server_has_an_address_of_https(faultline):
    server = faultline.serve(ok(), tls="mutual")

    assert server.url == f"https://{server.hostport}"


@each_row(
    ("tls", "said"),
    [
        ("x", "tls='x': expected one of False, True, 'mutual'."),
        ("Mutual", "tls='Mutual': expected one of False, True, 'mutual'. Did you mean 'mutual'?"),
        (None, "tls=None: expected one of False, True, 'mutual'."),
        (1, "tls=1: expected one of False, True, 'mutual'."),
    ],
)
def test_wrong_tls_is_an_error_that_says_what_was_expected(tls, said):
    with pytest.raises(ParameterError) as raised:
        serve(ok(), tls=tls)

    assert type(raised.value) is ParameterError
    assert str(raised.value) == said


def test_break_on_a_mutual_server_strikes_a_client_with_a_certificate(faultline):
    server = faultline.serve(close(), tls="mutual")

    with raises(http.client.RemoteDisconnected):
        by_requests(server.url, cert=server.client_cert_file, verify=server.ca_file)

    assert [(a.struck.point, a.tls.client) for a in server.attempts] == [("response", "faultline client")]


def test_break_that_a_refused_client_never_reached_has_not_struck():
    with pytest.raises(NotStruckError) as raised, serve(close(), tls="mutual") as server:
        over_socket(server, server.client_context())

    assert str(raised.value).startswith("close() never struck: #1: close() reached 'handshake', ")


def test_other_terms_on_a_mutual_server_require_the_certificate_too(faultline):
    server = faultline.serve(bad_tls("only_version", version="1.2"), tls="mutual", strict=False)

    assert over_socket(server, server.client_context()) == ("connect", "SSLV3_ALERT_HANDSHAKE_FAILURE")
    assert over_socket(server, server.client_context(certificate=True)) == b"ok\n"
    assert [(a.tls.version, a.tls.client) for a in server.attempts] == [
        ("TLSv1.2", ""),
        ("TLSv1.2", "faultline client"),
    ]


def test_mutual_server_becomes_bad_and_healthy_again(faultline):
    server = faultline.serve(ok(b"hello"), tls="mutual")
    shown, hidden = server.client_context(certificate=True), server.client_context()
    assert over_socket(server, shown) == b"hello"

    server.become(bad_tls("alert", alert="access_denied"))
    assert over_socket(server, shown) == ("connect", "TLSV1_ALERT_ACCESS_DENIED")
    server.become(bad_tls("client_cert_rejected"))
    assert over_socket(server, shown) == ("recv", "TLSV1_ALERT_UNKNOWN_CA")
    server.become(ok(b"again"))

    assert over_socket(server, shown) == b"again"
    assert over_socket(server, hidden) == ("recv", "TLSV13_ALERT_CERTIFICATE_REQUIRED")
    client = "faultline client"
    assert [a.tls.client for a in server.attempts] == [client, "", client, client, ""]


def test_client_on_a_kept_connection_meets_what_the_mutual_server_has_become(faultline):
    server = faultline.serve(ok(b"hello"), tls="mutual")
    options = {"cert_file": server.client_cert_file, "ca_certs": server.ca_file}
    with urllib3.PoolManager(timeout=TIMEOUT, retries=False, **options) as pool:
        assert pool.request("GET", server.url).data == b"hello"
        server.wait_for_attempts(1, at="idle")
        server.become(bad_tls("client_cert_rejected"))

        with raises(ssl.SSLError) as raised:
            pool.request("GET", server.url)

    assert "tlsv1 alert unknown ca" in str(raised.value)
    assert [a.connection for a in server.attempts] == [1, 2]
