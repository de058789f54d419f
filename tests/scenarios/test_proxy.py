"""Scenarios of the stage proxy: it is reached, and leads nowhere."""

import asyncio

import aiohttp
import httpx
import pytest
import urllib3

from faultline import ok, root_cause, socks_refusal, status

pytestmark = pytest.mark.leaves_open


def asked(proxy):
    return [(a.request.method, a.request.target, a.struck.point, a.sent_bytes) for a in proxy.attempts]


def test_s103_connect_is_answered_by_an_error_status(faultline):
    proxy = faultline.http_proxy(status(501))

    with (
        urllib3.ProxyManager(proxy.proxy_url, timeout=10) as manager,
        pytest.raises(urllib3.exceptions.MaxRetryError) as caught,
    ):
        manager.request("GET", "https://origin.invalid/", retries=0)

    assert type(caught.value.reason) is urllib3.exceptions.ProxyError
    assert str(root_cause(caught.value)) == "Tunnel connection failed: 501 Not Implemented"
    assert [(a.request.method, a.request.target, a.struck.point) for a in proxy.attempts] == [
        ("CONNECT", "origin.invalid:443", "response")
    ]


def test_s103_connect_is_forbidden(faultline):
    proxy = faultline.http_proxy(status(403))

    with (
        httpx.Client(proxy=proxy.proxy_url, timeout=10, verify=False) as client,
        pytest.raises(httpx.ProxyError) as caught,
    ):
        client.get("https://origin.invalid/")

    assert str(caught.value) == "403 Forbidden"
    assert proxy.attempts[0].struck.point == "response"


@pytest.mark.asyncio
async def test_s103_connect_meets_a_bad_gateway(faultline, session):
    proxy = faultline.http_proxy(status(502))

    async with session() as client:
        with pytest.raises(aiohttp.ClientHttpProxyError) as caught:
            await client.get("https://origin.invalid/", proxy=proxy.proxy_url)
    await asyncio.to_thread(proxy.wait_for_attempts, 1, at="end")

    assert (caught.value.status, caught.value.message) == (502, "Bad Gateway")
    assert [(a.request.method, a.struck.point) for a in proxy.attempts] == [("CONNECT", "response")]


@pytest.fixture
def by_socks():
    """A function that asks for a URL through a SOCKS proxy by httpx: the error of the proxy."""
    pytest.importorskip("socksio")

    def ask(proxy):
        with (
            httpx.Client(proxy=proxy.proxy_url, timeout=10, verify=False) as client,
            pytest.raises(httpx.ProxyError) as caught,
        ):
            client.get("http://origin.invalid/")
        return str(caught.value)

    return ask


@pytest.mark.slow
def test_s105_socks_5_accepts_the_method_and_refuses_the_connection(faultline, by_socks):
    proxy = faultline.socks_proxy(socks_refusal("connection_refused"))

    assert by_socks(proxy) == "Proxy Server could not connect: Connection refused."
    assert asked(proxy) == [("SOCKS5", "origin.invalid:80", "response", 12)]
    assert [turn.by for turn in proxy.attempts[0].turns] == ["client", "server"] * 2


@pytest.mark.slow
def test_s106_socks_5_wants_a_method_that_was_not_offered(faultline, by_socks):
    proxy = faultline.socks_proxy(socks_refusal("unoffered_method"))

    said = "Requested NO AUTHENTICATION REQUIRED from proxy server, but got USERNAME/PASSWORD."
    assert by_socks(proxy) == said
    assert [(a.request, a.struck.point, a.sent_bytes) for a in proxy.attempts] == [(None, "response", 2)]


@pytest.mark.slow
def test_s106_socks_5_wants_other_credentials(faultline, by_socks):
    proxy = faultline.socks_proxy(socks_refusal("bad_credentials"), auth=("user", "secret"))

    assert by_socks(proxy) == "Invalid username/password"
    assert [(a.request, a.struck.point, a.sent_bytes) for a in proxy.attempts] == [(None, "response", 4)]
    assert [turn.by for turn in proxy.attempts[0].turns] == ["client", "server"] * 2


@pytest.mark.slow
@pytest.mark.everywhere
def test_s106_socks_5_is_given_the_credentials_of_its_url(faultline):
    pytest.importorskip("socksio")
    origin = faultline.serve(ok(b"in"))
    proxy = faultline.socks_proxy(auth=("user", "secret"), to=origin)

    with httpx.Client(proxy=proxy.proxy_url, timeout=10, verify=False) as client:
        assert client.get("http://origin.invalid/").content == b"in"
