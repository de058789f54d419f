"""Tests that fail at first: test_beside.py says what they come to with pytest-rerunfailures."""

import socket

import pytest

from faultline import refuse, reset

runs = []


def meet(server):
    with socket.create_connection(server.address, 10) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        client.recv(1)


def test_each_run_has_a_server_of_its_own(faultline):
    server = faultline.serve(faultline.reset())
    with pytest.raises(ConnectionResetError):
        meet(server)
    runs.append(server)
    assert [len(each.attempts) for each in runs] == [1] * len(runs)
    assert [each.is_open for each in runs] == [False] * (len(runs) - 1) + [True]
    assert len(runs) == 2


@pytest.mark.faults(refuse(), reset())
def test_each_fault_is_tried_again(fault_server, request):
    with pytest.raises(ConnectionError):
        meet(fault_server)
    assert request.node.execution_count == 2


def test_guard_is_asked_in_each_run(faultline, request):
    server = faultline.serve(faultline.reset())
    if request.node.execution_count == 2:
        with pytest.raises(ConnectionResetError):
            meet(server)
