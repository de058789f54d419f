"""Tests under pytest-socket, which allows 127.0.0.1 alone: test_intercept.py says what they come to."""

import http.client
import socket
import warnings
from contextlib import closing

import pytest
import pytest_socket

from faultline import OutsideError, intercept, nxdomain, ok, refuse, reset, resolve, resolves_to, sequence

NAMES = ("getaddrinfo", "gethostbyname", "gethostbyname_ex", "getnameinfo")


def now():
    return [getattr(socket, name) for name in NAMES]


BEFORE = now()


def fetch():
    with closing(http.client.HTTPConnection("api.example.com", timeout=10)) as client:
        client.request("GET", "/v1")
        with client.getresponse() as response:
            return response.read()


def is_intercepted(faultline):
    faultline.intercept("http://api.example.com", ok(b"mine"))
    assert fetch() == b"mine"


def is_blocked():
    with socket.socket() as client, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(pytest_socket.SocketConnectBlockedError, match=r"127\.0\.0\.2"):
            client.connect(("127.0.0.2", 9))


class TestAllowed:
    def test_resolved(self, faultline):
        server = faultline.serve(ok(b"mine"))
        faultline.resolve("api.example.com", resolves_to(server))
        assert fetch() == b"mine"

    def test_others_are_blocked_by_pytest_socket(self, faultline):
        is_intercepted(faultline)
        is_blocked()

    def test_others_are_blocked_by_both(self, faultline):
        faultline.intercept("http://api.example.com", ok(), block_others=True, strict=False)
        with socket.socket() as client, pytest.raises(OutsideError, match=r"192\.0\.2\.1"):
            client.connect(("192.0.2.1", 9))

    def test_faults(self, faultline):
        server = faultline.intercept("http://api.example.com", sequence(refuse(), reset()))
        with pytest.raises(ConnectionRefusedError):
            fetch()
        with pytest.raises(ConnectionResetError):
            fetch()
        assert [a.struck.point for a in server.attempts] == ["connect", "response"]

    def test_its_guard_is_there_again_after_ours(self):
        theirs = socket.socket.connect
        with intercept("http://api.example.com", ok(b"mine")):
            assert fetch() == b"mine"
        assert socket.socket.connect is theirs
        assert theirs.__module__ == "pytest_socket"

    def test_nothing_is_left_behind(self):
        assert now() == BEFORE


class TestDisabled:
    @pytest.mark.disable_socket
    def test_no_server(self, faultline):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with pytest.raises(pytest_socket.SocketBlockedError):
                faultline.intercept("http://api.example.com", ok())

    @pytest.mark.disable_socket
    def test_lookups_fail_as_planned(self):
        with resolve("api.example.com", nxdomain()), pytest.raises(socket.gaierror):
            socket.getaddrinfo("api.example.com", 80)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with pytest.raises(pytest_socket.SocketBlockedError):
                socket.getaddrinfo("api.example.com", 80)

    @pytest.mark.enable_socket
    def test_a_test_that_is_enabled(self, faultline):
        is_intercepted(faultline)

    @pytest.mark.usefixtures("socket_enabled")
    def test_a_fixture_that_enables(self, faultline):
        is_intercepted(faultline)


@pytest.mark.usefixtures("faultline")
class TestInTurn:
    def is_disabled(self, faultline):
        faultline.resolve("api.example.com", nxdomain())
        with pytest.raises(socket.gaierror):
            socket.getaddrinfo("api.example.com", 80)
        with pytest.raises(socket.gaierror):
            socket.gethostbyname("api.example.com")

    @pytest.mark.disable_socket
    def test_disabled_by_a_marker(self, faultline):
        self.is_disabled(faultline)

    def test_next(self):
        assert now() == BEFORE

    @pytest.mark.usefixtures("socket_disabled")
    def test_disabled_by_a_fixture(self, faultline):
        self.is_disabled(faultline)

    def test_after_it(self):
        assert now() == BEFORE

    @pytest.mark.allow_hosts(["127.0.0.1"])
    def test_one_host_is_allowed(self, faultline):
        is_intercepted(faultline)
        is_blocked()

    def test_at_last(self):
        assert now() == BEFORE
