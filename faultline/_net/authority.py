"""The test CA as users see it: its files, and a client context that trusts it.

Certificates and files are made when they are first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import ssl

# OpenSSL reads the first, requests the second, curl the third; httpx, urllib3 and urllib use OpenSSL's. Each of the
# others belongs to the client that its name says, and wins over OpenSSL's there.
VARIABLES = (
    "SSL_CERT_FILE",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "AWS_CA_BUNDLE",
    "BUNDLE_SSL_CA_CERT",
    "CARGO_HTTP_CAINFO",
    "CLOUDSDK_CORE_CUSTOM_CA_CERTS_FILE",
    "DENO_CERT",
    "GIT_SSL_CAINFO",
    "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH",
    "HTTPLIB2_CA_CERTS",
    "NODE_EXTRA_CA_CERTS",
    "PIP_CERT",
    "WEBSOCKET_CLIENT_CA_BUNDLE",
    "npm_config_cafile",
)


class Environment(Protocol):
    """An object that sets environment variables until the test ends: pytest's `monkeypatch`."""

    def setenv(self, name: str, value: str) -> None:
        """Set an environment variable until the end of the test."""


class Authority:
    """The test CA, one per process, that signs the certificates of servers and that clients have to trust."""

    @property
    def ca_file(self) -> str:
        """The path of the CA's certificate as PEM; only this user can read the file, which is removed at exit."""
        from faultline._net import contexts

        return contexts.ca_file()

    @property
    def crl_file(self) -> str:
        """The path of the CA's revocation list as PEM: all certificates of `bad_cert("revoked")` so far."""
        from faultline._net import contexts

        return contexts.crl_file()

    @property
    def client_cert_file(self) -> str:
        """The path of one PEM file with a key and a certificate for a client."""
        from faultline._net import contexts

        return contexts.client_cert_file()

    def client_context(self, *, certificate: bool = False) -> ssl.SSLContext:
        """A new client context that verifies the server's certificate and trusts only this CA.

        With `certificate=True` the client shows the certificate in `client_cert_file` to a server that asks for it.
        """
        from faultline._net import contexts

        return contexts.client_context(certificate=certificate)

    def trust(self, monkeypatch: Environment) -> None:
        """Make clients trust this CA if they read the CA file's path from the environment.

        This sets, until the end of the test, `SSL_CERT_FILE` (for OpenSSL, and so for urllib, urllib3 and httpx),
        `REQUESTS_CA_BUNDLE`, `CURL_CA_BUNDLE`, `AWS_CA_BUNDLE` (boto3), `PIP_CERT`, `GIT_SSL_CAINFO`,
        `NODE_EXTRA_CA_CERTS`, and those of Cargo, Deno, gcloud, gRPC, httplib2, npm, Ruby's Bundler and
        websocket-client. Child processes inherit them. A client that already has a TLS context doesn't read them again:
        aiohttp makes its context when it is imported, so pass `ssl=server.client_context()` to it; and from Python
        3.12 on `urllib.request.urlopen` keeps the context of its first request (`install_opener(None)` drops it).

        Args:
            monkeypatch: pytest's fixture of this name.

        Example:
            def test_url_is_hard_coded(faultline, monkeypatch):
                server = faultline.serve(reset(), tls=True)
                server.trust(monkeypatch)
        """
        for name in VARIABLES:
            monkeypatch.setenv(name, self.ca_file)


AUTHORITY = Authority()
