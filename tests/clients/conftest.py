"""What the tests with real clients share."""

import pytest


@pytest.fixture
def last_attempt():
    """The last attempt in short: its fault, where that struck, who ended it, and what was asked."""

    def told(server):
        attempt = server.attempts[-1]
        asked = attempt.request and f"{attempt.request.method} {attempt.request.target}"
        return attempt.fault, attempt.struck.point, attempt.ended_by, asked

    return told


@pytest.fixture(params=["expired", "not_yet_valid", "wrong_host", "self_signed", "untrusted_root"])
def kind(request):
    """Each kind of bad certificate in turn."""
    return request.param
