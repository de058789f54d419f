"""Tests in a run without the plugin: test_beside.py says what they come to."""

import socket

import pytest

import faultline


def test_servers_work_without_the_plugin():
    with faultline.serve(faultline.reset()) as server, socket.create_connection(server.address, 10) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        with pytest.raises(ConnectionResetError):
            client.recv(1)


def test_guard_works_without_the_plugin():
    with pytest.raises(faultline.NotStruckError), faultline.serve(faultline.reset()):
        pass


def test_fixture_is_unknown(reset_server):
    pass
