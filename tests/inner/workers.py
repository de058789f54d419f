"""Tests in a worker of pytest-xdist, which has no terminal and may die: test_workers.py says what they come to."""

import pytest
from limits import by_thread, executor, fetch, over

from faultline import ok, refuse, reset, serve, sometimes, stall
from faultline.pytest_plugin import SEED


def test_client(faultline):
    executor(over(faultline.serve(stall())))


def test_with_block():
    with serve(stall()) as server:
        fetch(over(server))


@by_thread
def test_end(faultline):
    executor(over(faultline.serve(stall())))


@pytest.mark.faults(refuse(), reset())
def test_marked(fault_server):
    with pytest.raises(ConnectionError):
        fetch(fault_server)


def test_unmet(reset_server):
    pass


def test_unseen(faultline):
    faultline.udp(refuse())


def test_chance(faultline, request):
    server = faultline.serve(sometimes(0.5, ok(b"a"), otherwise=ok(b"b")), strict=False)
    assert {fetch(server)[-1:] for _ in range(40)} == {b"a", b"b"}
    print("seed:", request.config.stash[SEED])
