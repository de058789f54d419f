"""What the tests of the control API share."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess

import pytest
from support.control import Client, Curl

from faultline import ok, serve


@pytest.fixture
def ask(faultline_control):
    """A client of an API."""
    with contextlib.closing(Client(faultline_control)) as client:
        yield client


@pytest.fixture(params=["http.client", pytest.param("curl", marks=pytest.mark.slow)])
def each_ask(request, faultline_control):
    """Each of two clients of an API."""
    if request.param == "curl" and shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    of_curl = request.param == "curl"
    client = Curl(faultline_control, shutil.which("curl")) if of_curl else Client(faultline_control)
    with contextlib.closing(client):
        yield client


@pytest.fixture
def web():
    """The address of a server that says hello."""
    with serve(ok(b"hello"), strict=False) as server:
        yield server.hostport


@pytest.fixture
def other_web():
    """The address of a server that says something else."""
    with serve(ok(b"other"), strict=False) as server:
        yield server.hostport


@pytest.fixture
def listener():
    """A server that the test plays itself."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        yield sock


@pytest.fixture(scope="session")
def node():
    """A Node that has the client, by NODE_PATH."""
    found = shutil.which("node")
    if found is None:
        pytest.skip("Node is not installed (apt-get install nodejs)")
    probe = subprocess.run([found, "-e", "require('toxiproxy-node-client')"], cwd="/", capture_output=True, check=False)
    if probe.returncode:
        pytest.skip("npm install toxiproxy-node-client, in a folder that NODE_PATH leads to")
    return found
