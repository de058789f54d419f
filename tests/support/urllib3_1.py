"""What tests of urllib3 2 say with urllib3 1.26; tests/clients/test_urllib3_1.py says what 1.26 does instead."""

from __future__ import annotations

from fnmatch import fnmatchcase

import urllib3

IS_HERE = urllib3.__version__.startswith("1.")

BY_ADDRESS = "urllib3 1.26 can't use a context that checks names for a server that it knows by address"
OWN_CHECK = "urllib3 1.26 checks the name of a server itself, with an error that is none of ssl"
UNTOLD = "urllib3 1.26 doesn't tell that a body that is read in pieces is shorter than Content-Length"
NEW = "urllib3 1.26 has no such function, or another text"

# The tests, by the names of their files and their own, with `*` for any text.
TESTS: dict[str, str] = {
    "clients/test_extras.py::test_a_body_that_is_cut_says_what_is_missing": UNTOLD,
    "clients/test_requests_tree.py::test_header_with_a_line_break_in_it_arrives_without_and_can_be_sent_back": NEW,
    "proxies/test_http_proxy.py::test_a_bad_certificate_of_the_proxy_itself_is_an_error_of_the_proxy": BY_ADDRESS,
    "proxies/test_http_proxy.py::test_a_proxy_leads_to_the_origin?tls?": BY_ADDRESS,
    "proxies/test_http_proxy.py::test_a_proxy_that_breaks_while_it_fetches": UNTOLD,
    "proxies/test_http_proxy.py::test_a_proxy_that_is_busy_once_is_asked_again": BY_ADDRESS,
    "proxies/test_http_proxy.py::test_a_proxy_that_speaks_tls": BY_ADDRESS,
    "proxies/test_socks_proxy.py::test_the_certificate_is_checked_by_the_name_that_the_client_asks_for": OWN_CHECK,
    "relay/test_http_servers.py::test_bytes_are_counted_inside_tls": UNTOLD,
    "relay/test_http_servers.py::test_requests_says_that_a_download_was_cut?close?": UNTOLD,
    "scenarios/test_headers.py::test_s038_fin_before_the_blank_line": NEW,
    "scenarios/test_tls.py::test_s075_certificate_for_another_host?127.0.0.1-64?": BY_ADDRESS,
    "scenarios/test_tls.py::test_s088_plain_http_where_the_client_speaks_tls_to_its_proxy*": BY_ADDRESS,
    "scenarios/test_tls.py::test_s095_another_thread_shuts_the_connection_down": NEW,
    "scenarios/test_tls.py::test_s097_bad_certificate_of_the_proxy_itself*": BY_ADDRESS,
}


def reason_of(nodeid: str) -> str:
    """Why a test is skipped; empty if it is not."""
    name = nodeid.removeprefix("tests/")
    return next((why for pattern, why in TESTS.items() if IS_HERE and fnmatchcase(name, pattern)), "")
