"""What urllib3 1.26 does otherwise than 2, alone and inside requests; `tox -e urllib3v1` runs these."""

from __future__ import annotations

import pytest
import requests
import urllib3
from support import urllib3_1
from support.tables import each_row

from faultline import bad_cert, close, ok, raises

pytestmark = pytest.mark.skipif(not urllib3_1.IS_HERE, reason="urllib3 2 is installed")


def pool(**options):
    return urllib3.PoolManager(timeout=10, retries=False, **options)


def in_pieces(url):
    return b"".join(pool().request("GET", url, preload_content=False).stream(16))


@each_row("get", [lambda url: requests.get(url, timeout=10).content, in_pieces])
def test_a_body_that_is_cut_passes_for_a_whole_one_if_it_is_read_in_pieces(faultline, get):
    server = faultline.serve(close(after_body_bytes=60), answer=ok(b"x" * 100))

    assert get(server.url) == b"x" * 60
    assert server.attempts[0].struck is not None


def test_a_context_that_checks_names_takes_no_address_and_the_file_of_the_ca_does(faultline):
    server = faultline.serve(ok(b"well"), tls=True)

    with pytest.raises(ValueError, match="check_hostname requires server_hostname"):
        pool(ssl_context=server.client_context()).request("GET", server.url)

    by_name = pool(ssl_context=server.client_context(), server_hostname="localhost")
    assert by_name.request("GET", server.url).data == b"well"
    assert pool(ca_certs=server.ca_file).request("GET", server.url).data == b"well"
    assert requests.get(server.url, verify=server.ca_file, timeout=10).content == b"well"


def test_a_certificate_of_another_host_is_an_error_of_urllib3_itself(faultline):
    server = faultline.serve(bad_cert("wrong_host"), strict=False)

    with raises(urllib3.util.ssl_match_hostname.CertificateError) as caught:
        requests.get(server.url, verify=server.ca_file, timeout=10)

    assert type(caught.value) is requests.exceptions.SSLError
