"""Sweeps find faults of clients that have been published, or that many programs have, and pass those without them."""

from __future__ import annotations

import contextlib
import re
from collections import Counter

import httpcore
import pytest
import urllib3
from urllib3.exceptions import HTTPError

from faultline import SweepError, answer, close, http_proxy, ok, reset, serve, status, sweep


def found_by(error):
    """The breaks that a sweep has failed at, without their verbs."""
    return re.findall(r"(?m)^\d+ +\w+\(\) at (.*?) \(request .*\)  .*\S  +(?!not reached)\S.*$", str(error))


# --- a pool that retries a POST --------------------------------------------------------------------------------------


def swept_orders(retries):
    orders = Counter()

    def order(request):
        orders[request.target] += 1
        return ok(b"ordered")

    with serve(answer(order)) as shop:
        runs = sweep(shop.hostport, verbs=[reset(), close()], idle_seconds=30)
        for run in runs:
            orders.clear()
            with run(expected=HTTPError) as server, urllib3.PoolManager(retries=retries, timeout=10) as pool:
                for number in range(2):
                    pool.request("POST", f"{server.url}/orders/{number}", body=b"")
            with run.checks():
                assert max(orders.values(), default=0) <= 1
    return runs.table()


@pytest.mark.slow
def test_pool_that_retries_a_post_orders_twice():
    with pytest.raises(SweepError) as raised:
        swept_orders(urllib3.Retry(2, allowed_methods=None, backoff_factor=0))

    assert {*found_by(raised.value)} == {
        f"POST /orders/{number} HTTP/1.1: {place}"
        for number in range(2)
        for place in ("arrived, its answer lost", "in the middle of its answer")
    }


@pytest.mark.slow
def test_pool_that_retries_no_post_orders_once():
    assert " 0 failed" in swept_orders(urllib3.Retry(2, backoff_factor=0))


# --- an upload in parts ----------------------------------------------------------------------------------------------


class Bucket:
    """A store of objects that are uploaded in parts, in the manner of S3: an upload is over when it is completed."""

    def __init__(self):
        self.uploads, self.objects = {}, {}

    def __call__(self, request):
        path, _, query = request.target.partition("?")
        if query == "uploads":
            name = str(len(self.uploads) + len(self.objects))
            self.uploads[name] = {}
            return ok(name.encode())
        if request.method == "HEAD":
            return ok(b"") if path in self.objects else status(404)
        number, _, name = query.partition("&")
        if name not in self.uploads:
            return status(404)
        if number:
            self.uploads[name][number] = request.body
        else:
            parts = self.uploads.pop(name)
            self.objects[path] = b"".join(parts[number] for number in sorted(parts))
        return ok(b"")


class UploadError(Exception):
    """The upload has failed, and nothing is stored."""


def call(pool, method, url, body=b""):
    """Call, once more if the connection breaks: each call can be repeated, as far as its author thinks."""
    with contextlib.suppress(HTTPError):
        return pool.request(method, url, body=body, retries=False)
    return pool.request(method, url, body=body, retries=False)


def upload(pool, url, *, looks):
    """Upload two parts; `looks` whether the object is there if the upload is not."""
    name = call(pool, "POST", f"{url}?uploads").data.decode()
    for number, part in enumerate((b"one ", b"two")):
        call(pool, "PUT", f"{url}?{number}&{name}", part)
    if call(pool, "POST", f"{url}?&{name}").status != 200 and not (looks and call(pool, "HEAD", url).status == 200):
        raise UploadError


def swept_uploads(*, looks):
    bucket = Bucket()
    with serve(answer(bucket)) as store:
        runs = sweep(store.hostport, verbs=[reset()], idle_seconds=30)
        for run in runs:
            bucket.__init__()
            failed = False
            with run(expected=HTTPError) as server, urllib3.PoolManager(timeout=10) as pool:
                try:
                    upload(pool, f"{server.url}/photo", looks=looks)
                except UploadError:
                    failed = True
            with run.checks():
                assert bucket.objects == ({} if failed else {"/photo": b"one two"})
    return runs.table()


@pytest.mark.slow
def test_upload_that_completes_unheard_is_said_to_have_failed():
    with pytest.raises(SweepError) as raised:
        swept_uploads(looks=False)

    assert found_by(raised.value) == [
        "POST /photo?&0 HTTP/1.1: arrived, its answer lost",
        "POST /photo?&0 HTTP/1.1: in the middle of its answer",
    ]


@pytest.mark.slow
def test_upload_that_looks_for_its_object_tells_the_truth():
    assert " 0 failed" in swept_uploads(looks=True)


# --- a published bug -------------------------------------------------------------------------------------------------


def swept_tunnel():
    with serve(ok(b"hello"), tls=True) as origin, http_proxy() as proxy:
        trust = origin.client_context()
        for run in sweep(proxy, verbs=[reset()], idle_seconds=30):
            with (
                run(expected=httpcore.RemoteProtocolError) as relay,
                httpcore.HTTPProxy(relay.url, ssl_context=trust, max_connections=1) as pool,
            ):
                with contextlib.suppress(httpcore.NetworkError, httpcore.RemoteProtocolError):
                    pool.request("GET", origin.url)
                pool.request("GET", origin.url, extensions={"timeout": {"pool": 0.3}})


@pytest.mark.slow
def test_tunnel_whose_tls_fails_keeps_its_place_in_the_pool_for_ever():
    """Published as https://github.com/encode/httpcore/pull/1049; httpcore 1.0.9 has it."""
    if httpcore.__version__ != "1.0.9":
        pytest.skip("a later httpcore may be without it")
    with pytest.raises(SweepError) as raised:
        swept_tunnel()
    failed = found_by(raised.value)

    assert [place for place in failed if place.startswith("CONNECT") and "right after" not in place] == []
    assert {place for place in failed if place.startswith("ClientHello")} >= {
        "ClientHello: before it arrives",
        "ClientHello: arrived, its answer lost",
    }
    assert set(re.findall(r"(?m)^\d+ .* +(\w+)$", str(raised.value).partition("\n\n")[0])) >= {"PoolTimeout"}
