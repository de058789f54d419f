"""The test CA as users hold it: what to trust, and what to show. Nothing is made before it is asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import ssl

# What OpenSSL, requests and curl read; httpx, urllib3 and urllib come to OpenSSL's.
VARIABLES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")


class Environment(Protocol):
    """What can set a variable for a while: pytest's `monkeypatch`."""

    def setenv(self, name: str, value: str) -> None:
        """Set it until the end of the test."""


class Authority:
    """The test CA, one per process: it signs what servers show, and clients are to trust it."""

    @property
    def ca_file(self) -> str:
        """The path of its certificate as PEM; the file is private, and gone at exit."""
        from faultline._net import contexts

        return contexts.ca_file()

    @property
    def crl_file(self) -> str:
        """The path of its revocation list as PEM: all certificates of `bad_cert("revoked")` until now."""
        from faultline._net import contexts

        return contexts.crl_file()

    @property
    def client_cert_file(self) -> str:
        """The path of a client's key and certificate as PEM, in one file."""
        from faultline._net import contexts

        return contexts.client_cert_file()

    def client_context(self, *, certificate: bool = False) -> ssl.SSLContext:
        """A new client context that verifies, and trusts this CA and nothing else.

        With `certificate=True` it shows the certificate in `client_cert_file` to a server that asks for one.
        """
        from faultline._net import contexts

        return contexts.client_context(certificate=certificate)

    def trust(self, monkeypatch: Environment) -> None:
        """Have clients trust it that take what to trust from the environment.

        It sets `SSL_CERT_FILE` (OpenSSL, and with it urllib, urllib3, httpx), `REQUESTS_CA_BUNDLE` and
        `CURL_CA_BUNDLE` until the end of the test. A client that has made its context already keeps what it
        trusts: aiohttp makes its own when it is imported, so give it `ssl=server.client_context()`; and from Python
        3.12 on `urllib.request.urlopen` keeps that of its first request (`install_opener(None)` forgets it).

        Example:
            def test_url_is_hard_coded(faultline, monkeypatch):
                server = faultline.serve(reset(), tls=True)
                server.trust(monkeypatch)
        """
        for name in VARIABLES:
            monkeypatch.setenv(name, self.ca_file)


AUTHORITY = Authority()
