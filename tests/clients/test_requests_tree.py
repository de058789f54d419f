"""requests' whole tree of exceptions: each class that a network can cause is provoked, down to its root cause."""

from __future__ import annotations

import http.client
import json
import os
import ssl
import zlib

import pytest
import requests
import urllib3
from requests import exceptions
from requests.adapters import HTTPAdapter
from support import HIDES_EOF
from support.tables import each_row

from faultline import (
    bad_cert,
    bad_tls,
    blackhole,
    close,
    malformed,
    ok,
    raw,
    redirect,
    refuse,
    reset,
    root_cause,
    sequence,
    sse,
    stall,
    status,
    unreachable,
)

PROXIED = "http://origin.invalid/thing"  # the proxy is told the name, and nobody looks it up
TUNNELLED = "https://origin.invalid/thing"
NO_TLS = ssl.SSLZeroReturnError if HIDES_EOF else ssl.SSLEOFError


# How requests is called; each takes a server.


def fetch(server, timeout=10, **options):
    return requests.get(f"{server.url}/thing", timeout=timeout, verify=server.ca_file, **options)


def fetch_in_a_second(server):
    """Fetch with a timeout in which the head of the response comes, however busy the machine is."""
    fetch(server, timeout=1)


def fetch_in_a_moment(server):
    fetch(server, timeout=0.05)


def fetch_and_check(server):
    fetch(server).raise_for_status()


def fetch_json(server):
    fetch(server).json()


def stream_lines(server):
    with fetch(server, stream=True) as response:
        list(response.iter_lines())


def fetch_patiently(server):
    """Fetch by a session that tries again, also after a status of 503."""
    with requests.Session() as session:
        session.mount("http://", HTTPAdapter(max_retries=urllib3.Retry(2, status_forcelist=[503])))
        session.get(f"{server.url}/thing", timeout=10)


def follow_by_hand(server):
    """Follow a redirect as clients do that look at each hop."""
    response = fetch(server, allow_redirects=False)
    requests.get(response.headers["Location"], timeout=10)


def fetch_next_page(server):
    """Follow a Link field (RFC 8288) as clients of paged collections do."""
    response = fetch(server)
    requests.get(response.links["next"]["url"], timeout=10)


def upload_pipe(server):
    """Send a body that can't be sent twice, as the output of a process is."""
    read, write = os.pipe()
    os.write(write, b"said once")
    os.close(write)
    with os.fdopen(read, "rb") as body:
        requests.put(f"{server.url}/thing", data=body, timeout=10)


def by_proxy(server, timeout=10):
    requests.get(PROXIED, proxies={"http": server.url}, timeout=timeout)


def by_proxy_in_a_moment(server):
    by_proxy(server, timeout=0.05)


def by_tunnel(server):
    requests.get(TUNNELLED, proxies={"https": server.url}, timeout=10)


# The class that is raised, the plan, how requests is called, the root cause, and how many attempts that took.
CAUSED = [
    (exceptions.ConnectionError, refuse(), fetch, ConnectionRefusedError, 1),
    (exceptions.ConnectionError, unreachable(), fetch, OSError, 1),
    (exceptions.ConnectionError, reset(at="accept"), fetch, ConnectionResetError, 1),
    (exceptions.ConnectionError, reset(at="handshake"), fetch, ConnectionResetError, 1),
    (exceptions.ConnectionError, reset(), fetch, ConnectionResetError, 1),
    (exceptions.ConnectionError, reset(), fetch_patiently, ConnectionResetError, 3),
    (exceptions.ConnectionError, close(), fetch, http.client.RemoteDisconnected, 1),
    (exceptions.ConnectionError, stall(after_bytes=100), fetch_in_a_second, TimeoutError, 1),  # not ReadTimeout
    (exceptions.ConnectionError, malformed("status_garbage"), fetch, ValueError, 1),
    (exceptions.ConnectionError, malformed("other_protocol"), fetch, http.client.BadStatusLine, 1),
    (exceptions.ConnectionError, malformed("wrong_version"), fetch, http.client.UnknownProtocol, 1),
    (exceptions.ConnectionError, malformed("header_line_long"), fetch, http.client.LineTooLong, 1),
    (exceptions.ConnectionError, malformed("headers_many"), fetch, http.client.HTTPException, 1),
    (exceptions.ConnectionError, redirect("to_nowhere"), fetch, OSError, 1),
    (exceptions.SSLError, bad_cert("expired"), fetch, ssl.SSLCertVerificationError, 1),
    (exceptions.SSLError, bad_tls("alert", alert="access_denied"), fetch, ssl.SSLError, 1),
    (exceptions.SSLError, bad_tls("plain_http"), fetch, ssl.SSLError, 1),
    (exceptions.SSLError, bad_tls("plaintext_midway", after_bytes=100), fetch, ssl.SSLError, 1),  # while it reads
    (exceptions.ConnectTimeout, blackhole(), fetch_in_a_moment, TimeoutError, 1),
    (exceptions.ReadTimeout, stall(), fetch_in_a_moment, TimeoutError, 1),
    (exceptions.ReadTimeout, stall(at="handshake"), fetch_in_a_moment, TimeoutError, 1),  # not ConnectTimeout
    (exceptions.ChunkedEncodingError, malformed("chunk_cut"), fetch, http.client.IncompleteRead, 1),
    (exceptions.ChunkedEncodingError, malformed("chunk_size_not_hex"), fetch, ValueError, 1),
    (exceptions.ChunkedEncodingError, malformed("length_long"), fetch, urllib3.exceptions.IncompleteRead, 1),
    (exceptions.ChunkedEncodingError, reset(after_bytes=100), fetch, ConnectionResetError, 1),
    (exceptions.ChunkedEncodingError, sse(), stream_lines, http.client.IncompleteRead, 1),
    (exceptions.ChunkedEncodingError, malformed("chunk_cut"), fetch_patiently, http.client.IncompleteRead, 1),
    (exceptions.ContentDecodingError, malformed("gzip_plain"), fetch, zlib.error, 1),
    (exceptions.JSONDecodeError, raw(b'HTTP/1.1 200 OK\r\n\r\n{"cut": "he'), fetch_json, json.JSONDecodeError, 1),
    (exceptions.HTTPError, status(404), fetch_and_check, exceptions.HTTPError, 1),
    (exceptions.HTTPError, status(503), fetch_and_check, exceptions.HTTPError, 1),
    (exceptions.RetryError, status(503, retry_after=0), fetch_patiently, urllib3.exceptions.ResponseError, 3),
    (exceptions.TooManyRedirects, redirect("loop"), fetch, exceptions.TooManyRedirects, 31),
    (exceptions.TooManyRedirects, redirect("chain", hops=31), fetch, exceptions.TooManyRedirects, 31),
    (exceptions.InvalidURL, redirect("invalid_url"), fetch, ValueError, 1),
    (exceptions.InvalidURL, redirect(to="http://localhost:70000/"), fetch, ValueError, 1),
    (exceptions.InvalidURL, redirect(to="//:80/"), fetch, urllib3.exceptions.LocationValueError, 1),
    (exceptions.InvalidURL, redirect("invalid_url"), follow_by_hand, urllib3.exceptions.LocationParseError, 1),
    (exceptions.InvalidSchema, redirect(to="ftp://localhost/"), fetch, exceptions.InvalidSchema, 1),
    (exceptions.InvalidSchema, redirect(to="localhost:80/"), fetch, exceptions.InvalidSchema, 1),
    (exceptions.MissingSchema, redirect("loop"), follow_by_hand, exceptions.MissingSchema, 1),
    (exceptions.MissingSchema, ok(headers={"Link": "</2>; rel=next"}), fetch_next_page, exceptions.MissingSchema, 1),
    (exceptions.InvalidHeader, malformed("length_conflicting"), fetch, urllib3.exceptions.InvalidHeader, 1),
    (
        exceptions.InvalidHeader,
        status(503, retry_after="soon"),
        fetch_patiently,
        urllib3.exceptions.InvalidHeader,
        1,
    ),
    (exceptions.UnrewindableBodyError, redirect(code=307), upload_pipe, exceptions.UnrewindableBodyError, 1),
    (exceptions.ProxyError, refuse(), by_proxy, ConnectionRefusedError, 1),
    (exceptions.ProxyError, reset(), by_proxy, ConnectionResetError, 1),
    (exceptions.ProxyError, close(), by_proxy, http.client.RemoteDisconnected, 1),
    (exceptions.ProxyError, blackhole(), by_proxy_in_a_moment, TimeoutError, 1),  # not ConnectTimeout
    (exceptions.ProxyError, refuse(), by_tunnel, ConnectionRefusedError, 1),
    (exceptions.ProxyError, status(407), by_tunnel, OSError, 1),
    (exceptions.ProxyError, status(503), by_tunnel, OSError, 1),
    (exceptions.ConnectionError, reset(), by_tunnel, ConnectionResetError, 1),  # not ProxyError
    (exceptions.SSLError, raw(b"HTTP/1.1 200 OK\r\n\r\n"), by_tunnel, NO_TLS, 1),  # and FIN in the tunnel
]

# The classes that no network causes, and why.
NEVER_CAUSED = {
    exceptions.RequestException: "the base of all: requests raises derived ones",
    exceptions.Timeout: "the base of ConnectTimeout and ReadTimeout: requests raises these",
    exceptions.InvalidJSONError: "raised for what the client itself sends: a value that JSON has no form for",
    exceptions.InvalidProxyURL: "about the proxy that the client itself has configured",
    exceptions.StreamConsumedError: "raised to a client that reads one stream twice",
    exceptions.URLRequired: "exported, and raised nowhere",
}


@pytest.mark.slow
@pytest.mark.everywhere
@pytest.mark.parametrize(
    "row", CAUSED, ids=[f"{kind.__name__}-{plan}-{call.__name__}" for kind, plan, call, *_ in CAUSED]
)
def test_class_is_provoked_with_its_root_cause(faultline, row):
    expected, plan, call, cause, attempts = row
    server = faultline.serve(plan)

    with pytest.raises(exceptions.RequestException) as raised:
        call(server)

    assert type(raised.value) is expected
    assert type(root_cause(raised.value)) is cause
    assert [a.fault for a in server.attempts] == [plan] * attempts


def test_every_class_of_the_tree_is_provoked_or_has_a_reason_not_to_be():
    tree = {
        kind
        for kind in vars(exceptions).values()
        if isinstance(kind, type) and issubclass(kind, exceptions.RequestException)
    }
    caused = {expected for expected, *_ in CAUSED}

    assert caused | set(NEVER_CAUSED) == tree
    assert not caused & set(NEVER_CAUSED)


def test_stream_that_broke_is_at_its_end_when_it_is_read_again(faultline):
    server = faultline.serve(malformed("chunk_cut"))

    with fetch(server, stream=True) as response:
        with pytest.raises(exceptions.ChunkedEncodingError):
            list(response.iter_content(1024))
        assert list(response.iter_content(1024)) == []  # no StreamConsumedError


@each_row(
    ("location", "target"),
    [("again", "/again"), ("/again", "/again"), ("//{host}/again", "/again")],
)
def test_redirect_without_a_scheme_is_completed_and_followed(faultline, location, target):
    plan = redirect(to=location)
    server = faultline.serve(sequence(plan, ok(b"there")))

    assert fetch(server).content == b"there"
    assert [(a.fault, a.request.target) for a in server.attempts] == [(plan, "/thing"), (ok(b"there"), target)]


@each_row(("line_break", "seen"), [("\r\n ", "one two"), ("\r", "one")])
def test_header_with_a_line_break_in_it_arrives_without_and_can_be_sent_back(faultline, line_break, seen):
    tagged = raw(f"HTTP/1.1 200 OK\r\nETag: one{line_break}two\r\nContent-Length: 0\r\n\r\n".encode())
    server = faultline.serve(sequence(tagged, ok()))

    tag = fetch(server).headers["ETag"]
    fetch(server, headers={"If-None-Match": tag})  # no InvalidHeader

    assert tag == seen
    assert server.attempts[-1].request.header("if-none-match") == seen


@each_row(
    ("location", "escaped"),
    [("http://[::1/", ValueError), ("http://.localhost/", urllib3.exceptions.LocationParseError)],
)
def test_redirect_that_is_no_url_may_raise_what_is_not_in_the_tree(faultline, location, escaped):
    server = faultline.serve(redirect(to=location))

    with pytest.raises(escaped) as raised:
        fetch(server)

    assert type(raised.value) is escaped
    assert not isinstance(raised.value, exceptions.RequestException)
    assert len(server.attempts) == 1
