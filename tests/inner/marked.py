"""Marked tests: test_pytest_plugin.py looks at their parameters."""

import pytest

from faultline import bad_cert, ok, refuse, reset

POINTS = ["connect", "accept", "handshake", "request", "response", "idle"]
WORDS = [
    {},
    *({"point": point} for point in POINTS),
    *({"tls": tls} for tls in (True, False)),
    *({"http": http} | words for words in ({}, {"tls": False}, {"point": "response"}) for http in (None, True, False)),
]


def marked(mark):
    @mark
    def test(fault_server):
        pass

    return test


test_faults = marked(
    pytest.mark.faults(refuse(), reset(at="idle"), bad_cert("expired"), reset(after_bytes=10) & ok(b"x"))
)
globals().update({f"test_{words}": marked(pytest.mark.faults(**words)) for words in WORDS})
