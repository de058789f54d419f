"""Tests in a random order, with `random` seeded before each: test_beside.py says what they come to."""

import random
import urllib.request

import pytest

from faultline import ok, refuse, reset, sometimes


def fetch(server):
    with urllib.request.urlopen(server.url, timeout=10) as response:
        return response.read().decode()


@pytest.mark.parametrize("number", range(8))
def test_choices(number, faultline):
    state = random.getstate()
    server = faultline.serve(sometimes(0.5, ok(b"a"), otherwise=ok(b"b")), strict=False)
    print("dealt", "".join(fetch(server) for _ in range(20)))
    assert random.getstate() == state


@pytest.mark.faults(refuse(), reset())
def test_marked(fault_server):
    with pytest.raises(OSError):
        fetch(fault_server)
