"""Functions of `socket` are replaced while there is a resolver or an interception: in whatever order they end, whatever
others put there, and after errors and forks, everything is as it was.
"""

from __future__ import annotations

import os
import socket
import warnings

import pytest
import requests

from faultline import (
    NotStruckError,
    ServerError,
    intercept,
    nxdomain,
    ok,
    reset,
    resolve,
    resolves_to,
    sequence,
    servfail,
    slow_resolve,
)

NAME = "api.example.com"
HTTP = f"http://{NAME}"
pytestmark = pytest.mark.usefixtures("nothing_is_left_behind")


@pytest.fixture
def everything(functions):
    """A function that tells all that the module and the class have now."""
    return lambda: (functions(), dict(vars(socket.socket)), dict(vars(socket)))


def number_of(name):
    """The number of the error of a lookup, or the address that it finds."""
    try:
        return socket.gethostbyname(name)
    except socket.gaierror as error:
        return error.errno


@pytest.mark.parametrize(
    ("start", "meet"),
    [
        (lambda: resolve(NAME, nxdomain()), lambda: number_of(NAME)),
        (lambda: intercept(HTTP, ok()), lambda: requests.get(HTTP, timeout=10)),
    ],
    ids=["resolve", "intercept"],
)
def test_everything_is_replaced_only_while_there_is_a_resolver_or_an_interception(everything, functions, start, meet):
    before = everything()

    with start():
        during = functions()
        for now, then in zip(during[0] + during[1], before[0][0] + before[0][1], strict=True):
            assert now is not then
        with resolve("another.example.com", slow_resolve(0), strict=False):
            assert functions() == during
        assert functions() == during
        meet()

    assert everything() == before


def raise_it(_endpoint):
    raise KeyError


@pytest.mark.parametrize("start", [lambda: resolve(NAME, nxdomain()), lambda: intercept(HTTP, reset())])
@pytest.mark.parametrize(
    ("happens", "error"),
    [
        (raise_it, KeyError),
        (lambda _endpoint: None, NotStruckError),
        (lambda endpoint: endpoint._errors.append(ValueError("broken")), ServerError),
    ],
    ids=["in the test", "of the guard", "in the server"],
)
def test_everything_is_as_it_was_after_an_error(everything, start, happens, error):
    before = everything()

    with pytest.raises(error), start() as endpoint:
        happens(endpoint)

    assert everything() == before


@pytest.mark.parametrize("first_closed", [0, 1, 2])
def test_resolvers_and_interceptions_are_left_in_any_order(everything, first_closed):
    before = everything()
    overlays = [
        resolve("localhost", resolves_to("127.0.0.1")),
        intercept("http://localhost", ok()),
        resolve("localhost", resolves_to("127.0.0.3")),
    ]
    leads_to = ["127.0.0.1", socket.getaddrinfo("localhost", 80)[0][4][0], "127.0.0.3"]
    overlays[2].close()
    leads_to[1] = socket.gethostbyname("localhost")
    overlays[2] = resolve("localhost", resolves_to("127.0.0.3"))
    assert len({*leads_to}) == 3

    overlays.pop(first_closed).close()
    leads_to.pop(first_closed)
    assert socket.gethostbyname("localhost") == leads_to[1]
    overlays[1].close()
    assert socket.gethostbyname("localhost") == leads_to[0]
    overlays[0].close()

    assert everything() == before


# --- what others put there -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["connect", "connect_ex", "sendto"])
def test_a_connect_of_others_that_was_there_before_is_called_and_is_there_again(monkeypatch, name):
    original = getattr(socket.socket, name)
    seen = []

    def theirs(self, *arguments):
        seen.append(arguments[-1])
        return original(self, *arguments)

    monkeypatch.setattr(socket.socket, name, theirs)

    with intercept(f"tcp://{NAME}:9999", ok()) as server:
        kind = socket.SOCK_DGRAM if name == "sendto" else socket.SOCK_STREAM
        with socket.socket(type=kind) as client:
            client.settimeout(10)
            getattr(client, name)(*([b"x"] if name == "sendto" else []), (NAME, 9999))

    assert seen == [server.address]
    assert vars(socket.socket)[name] is theirs


def told(name):
    return f"theirs: {name}"


def test_a_lookup_of_others_that_was_there_before_is_called_and_is_there_again(monkeypatch):
    monkeypatch.setattr(socket, "gethostbyname", told)

    with resolve(NAME, nxdomain()):
        assert number_of(NAME) == socket.EAI_NONAME
        assert socket.gethostbyname("other.example.com") == "theirs: other.example.com"

    assert socket.gethostbyname is told


def test_what_others_put_there_in_between_stays_as_long_as_they_want(monkeypatch):
    def theirs(self, address):
        raise OSError("theirs")

    with intercept(HTTP, ok()) as server:
        with monkeypatch.context() as patch:
            patch.setattr(socket, "gethostbyname", told)
            patch.setattr(socket.socket, "connect", theirs)
            assert socket.gethostbyname(NAME) == f"theirs: {NAME}"
            with pytest.raises(OSError, match="theirs"):
                socket.create_connection((NAME, 80), timeout=10)
        with socket.create_connection((socket.gethostbyname(NAME), 80), timeout=10) as client:
            assert client.getpeername() == server.address


@pytest.fixture
def stale():
    """What a patch restores that was made while functions were replaced, and undone after it: ours of that time."""
    lookup, connect = socket.gethostbyname, socket.socket.connect
    with pytest.MonkeyPatch.context() as patch:
        with intercept(HTTP, ok(), strict=False):
            patch.setattr(socket, "gethostbyname", told)
            patch.setattr(socket.socket, "connect", connect)
        assert socket.gethostbyname("localhost") == "theirs: localhost"
    yield lookup, connect
    socket.gethostbyname = lookup
    if socket.socket.connect is not connect:
        socket.socket.connect = connect


def test_what_a_patch_restores_afterwards_passes_everything_on(faultline, stale):
    other = faultline.serve(ok())

    assert socket.gethostbyname("localhost") == "127.0.0.1"
    with socket.create_connection(other.address, timeout=10) as client:
        assert client.getpeername() == other.address


def test_what_a_patch_restores_asks_the_next_one_only_once(stale):
    with resolve("localhost", sequence(ok(), nxdomain()), strict=False) as resolver:
        assert number_of("localhost") == "127.0.0.1"
    with intercept(HTTP, ok()) as server, socket.create_connection((NAME, 80), timeout=10) as client:
        assert client.getpeername() == server.address

    assert (len(resolver.attempts), len(server.attempts)) == (1, 1)


def test_the_next_one_takes_away_what_a_patch_has_restored(stale):
    with resolve("localhost", nxdomain(), strict=False):
        pass

    assert (socket.gethostbyname, socket.socket.connect) == stale


def test_a_function_that_others_have_kept_passes_everything_on():
    with resolve("localhost", nxdomain(), strict=False) as resolver:
        ours = socket.gethostbyname

    assert socket.gethostbyname is not ours
    assert ours("localhost") == "127.0.0.1"
    assert resolver.attempts == ()


# --- forks -----------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
def test_a_forked_child_is_without_them_and_has_its_own(everything, functions):
    before = everything()

    with (
        resolve("localhost", nxdomain()) as resolver,
        intercept(HTTP, ok(b"parent")) as server,
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12: forking with threads
        child = os.fork()
        if not child:
            os._exit(is_wrong_in_a_child(before, everything, resolver))
        assert os.waitpid(child, 0)[1] == 0
        assert number_of("localhost") == socket.EAI_NONAME
        assert requests.get(HTTP, timeout=10).content == b"parent"

    assert (len(resolver.attempts), len(server.attempts)) == (1, 1)


def is_wrong_in_a_child(before, everything, resolver):  # pragma: no cover - coverage is not measured in a fork
    """Whether something is left of the parent's, or an own one fails."""
    try:
        good = everything() == before and number_of("localhost") == "127.0.0.1"
        with resolve("localhost", servfail()) as own:
            good = good and number_of("localhost") == socket.EAI_AGAIN and len(own.attempts) == 1
        with intercept(HTTP, ok(b"child")) as own:
            good = good and requests.get(HTTP, timeout=10).content == b"child" and len(own.attempts) == 1
        with pytest.raises(ServerError):
            resolver.close()  # the parent's: nothing else comes of it
        return not (good and everything() == before)
    except BaseException:  # noqa: BLE001 - whatever it is, the child has to end here
        return True
