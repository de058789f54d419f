"""What holds for each kind of server is tested once, with a fixture that starts such servers and dials them."""

from __future__ import annotations

import contextlib
import socket

import pytest
from support.kinds import IPV6, Site, each_kind


@pytest.fixture(params=each_kind())
def site(request):
    """Each kind of server."""
    if request.param == IPV6 and not socket.has_dualstack_ipv6():
        pytest.skip("needs IPv6")
    with contextlib.ExitStack() as stack:
        yield Site(request.param, stack)
