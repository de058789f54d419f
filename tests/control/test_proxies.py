"""Proxies that clients make, move, close and open again, with bytes through them."""

from __future__ import annotations

import os
import socket

import pytest
from support import PATIENCE_SECONDS, accepted, address_of, is_quiet, read, read_until, to_end
from support.control import Client, dialled, fetched, refuses

from faultline import ServerError, UnsupportedError, control, ok
from faultline._front.control.registry import Registry
from faultline._net import addresses, system

ELSEWHERE = "expected a server on this machine; --allow-remote allows others."


@pytest.fixture
def pair(ask, listener, own_port):
    """Both ends of a connection through a proxy `line`."""
    listener.settimeout(PATIENCE_SECONDS)
    made = ask.make("line", address_of(listener), listen=f"127.0.0.1:{own_port}")
    with dialled(made) as client, accepted(listener) as server:
        yield client, server


def test_a_disabled_proxy_closes_its_connections_and_keeps_its_port(ask, web, pair):
    client, server = pair
    off = ask("POST", "/proxies/line", {"enabled": False}).data

    assert (to_end(client), to_end(server)) == ((b"", "FIN"), (b"", "FIN"))
    assert refuses(off)
    taken = ask("POST", "/proxies", {"name": "thief", "listen": off["listen"], "upstream": web})
    error = f"listen tcp {off['listen']}: bind: address already in use"
    assert taken == (500, {"error": error, "status": 500})
    assert ask("GET", "/proxies").data == {"line": off}
    assert ask("POST", "/proxies/line", {"enabled": True, "upstream": web}).data["listen"] == off["listen"]
    assert fetched(off) == (b"hello", "FIN")


def test_a_proxy_may_begin_disabled(ask, web):
    made = ask.make("web", web, enabled=False)

    assert made["enabled"] is False
    assert refuses(made)
    assert ask("POST", "/proxies/web", {"enabled": True}) == (200, made | {"enabled": True})
    assert fetched(made) == (b"hello", "FIN")


def test_reset_opens_every_proxy_and_removes_every_toxic(ask, web):
    proxies = [ask.make(name, web) for name in "abc"]
    ask("POST", "/proxies/b", {"enabled": False})
    ask("POST", "/proxies/c/toxics", {"type": "fault", "attributes": {"plan": "reset()"}})
    assert [refuses(proxies[1]), fetched(proxies[2])] == [True, (b"", "RST")]

    assert ask("POST", "/reset") == (204, None)
    assert [fetched(proxy) for proxy in proxies] == [(b"hello", "FIN")] * 3
    assert [*ask("GET", "/proxies").data.values()] == proxies


def test_a_deleted_proxy_leaves_its_port_to_others(ask, web, pair):
    made = ask("GET", "/proxies/line").data

    assert ask("DELETE", "/proxies/line") == (204, None)
    assert to_end(pair[0]) == (b"", "FIN")
    assert refuses(made)
    assert fetched(ask.make("another", web, listen=made["listen"])) == (b"hello", "FIN")


def test_a_proxy_that_is_moved_keeps_its_toxics(ask, web, other_web, own_port):
    made = ask.make("web", web)
    toxic = ask("POST", "/proxies/web/toxics", {"type": "noop"}).data
    moved = ask("POST", "/proxies/web", {"listen": f"localhost:{own_port}"}).data
    turned = ask("PATCH", "/proxies/web", {"upstream": other_web}).data

    assert moved == made | {"listen": f"127.0.0.1:{own_port}", "toxics": [toxic]}
    assert refuses(made)
    assert turned == moved | {"upstream": other_web}
    assert fetched(turned) == (b"other", "FIN")


def test_the_same_addresses_in_other_words_move_nothing(ask, web, pair):
    made = ask("GET", "/proxies/line").data
    port = made["listen"].rpartition(":")[2]
    for given in ({"listen": f"localhost:{port}"}, {"listen": f":{port}"}, {"enabled": True}, made, {"listen": ""}):
        assert ask("POST", "/proxies/line", given) == (200, made)
    assert ask("POST", "/populate", [made]) == (201, {"proxies": [made]})
    pair[0].sendall(b"still here")

    assert read(pair[1], 10) == b"still here"


def test_a_proxy_that_can_t_start_again_is_disabled(ask, web):
    made = ask.make("web", web)
    error = f"listen tcp {web}: bind: address already in use"
    broken = made | {"listen": web, "enabled": False}

    assert ask("POST", "/proxies/web", {"listen": web}) == (500, {"error": error, "status": 500})
    assert ask("GET", "/proxies/web") == (200, broken)
    assert ask("POST", "/proxies/web/close_all") == (200, {"connections": 0})
    assert ask("GET", "/proxies/web/attempts") == (409, {"error": "the proxy does not listen", "status": 409})
    assert ask("POST", "/proxies/web/toxics", {"type": "noop"}).status == 200
    assert ask("POST", "/reset") == (500, {"error": error, "status": 500})
    assert ask("POST", "/proxies/web", {"enabled": False}) == (200, broken)
    assert ask("DELETE", "/proxies/web") == (204, None)


def test_populate_keeps_what_is_as_it_should_be_and_replaces_the_rest(ask, web, other_web, pair):
    line = ask("GET", "/proxies/line").data
    ask("POST", "/proxies/line/toxics", {"type": "noop"})
    old = ask.make("old", web)
    ask("POST", "/proxies/old/toxics", {"type": "noop"})
    made = ask("POST", "/populate", [line, old | {"upstream": other_web}, {"name": "new", "upstream": web}]).data

    kept, replaced, new = made["proxies"]
    assert len(kept["toxics"]) == 1
    assert replaced == old | {"upstream": other_web, "toxics": []}
    assert (fetched(replaced), fetched(new)) == ((b"other", "FIN"), (b"hello", "FIN"))
    pair[0].sendall(b"still here")
    assert read(pair[1], 10) == b"still here"


def test_populate_makes_what_comes_before_an_error(ask, web):
    taken = {"name": "taken", "listen": web, "upstream": web}
    error = {"error": f"listen tcp {web}: bind: address already in use", "status": 500}

    assert ask("POST", "/populate", [taken]) == (500, error | {"proxies": None})
    asked = ask("POST", "/populate", [{"name": "good", "upstream": web}, taken, {"name": "late", "upstream": web}])
    made = ask("GET", "/proxies").data
    assert [*made] == ["good"]
    assert asked == (500, error | {"proxies": [made["good"]]})


PLACES = [
    ({"upstream": "192.0.2.1:80"}, f"upstream='192.0.2.1:80': {ELSEWHERE}"),
    ({"upstream": "two.example:80"}, f"upstream='two.example:80': {ELSEWHERE}"),
    ({"upstream": "none.example:80"}, "upstream='none.example': expected a name of this machine"),
    ({"upstream": "nonsense"}, "upstream='nonsense': expected host:port, such as 127.0.0.1:5432, a URL"),
    ({"listen": "nonsense"}, "listen='nonsense': expected host:port, such as 127.0.0.1:8080."),
    ({"listen": "127.0.0.1:http"}, "listen='127.0.0.1:http': expected host:port"),
    ({"listen": "127.0.0.1:65536"}, "listen='127.0.0.1:65536': expected a port from 0 to 65535."),
    ({"listen": "0.0.0.0:0"}, "listen='0.0.0.0:0': expected an address that only this machine can reach"),
    ({"listen": "[::]:0"}, "listen='[::]:0': expected an address that only this machine can reach"),
]
KNOWN = {"here.example": ["127.0.0.1", "::1"], "two.example": ["127.0.0.1", "192.0.2.1"]}


@pytest.fixture
def names(monkeypatch):
    """What a few names are found to be."""

    usual = socket.getaddrinfo

    def found(host, *args, **named):
        if host not in KNOWN:
            return usual(host, *args, **named) if host[0].isdecimal() else unknown()
        return [(None, None, None, "", (address, 0)) for address in KNOWN[host]]

    monkeypatch.setattr(socket, "getaddrinfo", found)


def unknown():
    raise addresses.gaierror("nxdomain")


def test_only_this_machine_is_an_upstream_and_a_client(ask, web, names):
    given = {"name": "web", "upstream": web}
    asked = [ask("POST", "/proxies", given | places) for places, _ in PLACES]

    assert [(a.status, a.data["error"][: len(why)]) for a, (_, why) in zip(asked, PLACES, strict=True)] == [
        (400, why) for _, why in PLACES
    ]
    assert ask("GET", "/proxies") == (200, {})
    made = ask.make("web", f"here.example:{web.rpartition(':')[2]}")
    assert fetched(made) == (b"hello", "FIN")
    moved = ask("POST", "/proxies/web", {"upstream": "192.0.2.1:80"})
    assert (moved.status, ask("GET", "/proxies/web")) == (400, (200, made))


def test_a_name_of_this_machine_is_one_to_listen_on(ask, web, names):
    assert ask.make("web", web, listen="here.example:0")["listen"].startswith("127.0.0.1:")


def test_other_machines_are_reached_if_that_is_allowed(names):
    with control(allow_remote=True) as api:
        ask = Client(api)
        made = ask.make("far", "somewhere.example:80", listen=":0")
        ask.close()

    assert made["listen"].startswith("0.0.0.0:")
    assert made["upstream"] == "somewhere.example:80"


def test_a_proxy_without_an_upstream_closes_its_clients(ask, listener):
    where = address_of(listener)
    made = ask.make("dead", where)
    listener.close()

    assert fetched(made) == (b"", "FIN")


def test_proxies_are_servers_with_a_ledger(ask, faultline_control, web):
    made = ask.make("web", web)
    assert fetched(made)[0] == b"hello"
    server = faultline_control.proxies["web"]

    server.wait_for_attempts(1, at="end")
    assert ask("GET", "/proxies/web/attempts").body.decode() == server.ledger.to_json()
    assert [a.ended_how for a in server.attempts] == ["FIN"]
    assert (server.hostport, server.plan) == (made["listen"], ok())


def test_controls_act_on_open_connections(ask, pair):
    client, server = pair
    paused = ask("POST", "/proxies/line/pause")
    client.sendall(b"a")
    assert is_quiet(server)
    resumed = ask("POST", "/proxies/line/resume")
    assert read(server, 1) == b"a"
    done = [paused, resumed, ask("POST", "/proxies/line/reset_all")]

    assert done == [(200, {"connections": 1})] * 3
    assert to_end(client) == (b"", "RST")


@pytest.mark.slow
def test_a_partition_is_made_if_this_user_may(ask, pair, needs_filter):
    assert ask("POST", "/proxies/line/partition") == (200, {"connections": 1})
    pair[0].sendall(b"a")
    assert is_quiet(pair[1])
    assert ask("POST", "/proxies/line/heal") == (200, {"connections": 1})
    assert read(pair[1], 1) == b"a"


def test_a_partition_that_this_user_may_not_make_is_told(ask, pair, monkeypatch):
    def refuse():
        raise UnsupportedError("run with CAP_NET_ADMIN.")

    monkeypatch.setattr(system, "check_filter", refuse)

    assert ask("POST", "/proxies/line/partition") == (501, {"error": "run with CAP_NET_ADMIN.", "status": 501})


# --- from Python -----------------------------------------------------------------------------------------------------


def test_an_api_says_where_it_is_and_ends_once(own_port):
    api = control(port=own_port)
    assert (api.url, api.hostport) == (f"http://127.0.0.1:{api.port}", f"127.0.0.1:{api.port}")
    assert repr(api) == f"<Control {api.url}>"
    api.close()
    api.close()

    assert repr(api) == f"<Control {api.url} closed>"
    with control(port=api.port) as again:
        assert again.port == api.port


def test_proxies_end_with_their_api(web):
    with control() as api:
        ask = Client(api)
        made = ask.make("web", web)
        server = api.proxies["web"]
        ask.close()

    assert (api.proxies, server.is_open, refuses(made)) == ({}, False, True)


def test_an_error_inside_a_proxy_is_told_by_close(web):
    api = control()
    ask = Client(api)
    ask.make("web", web)
    api.proxies["web"]._errors.append(KeyError("a bug"))
    ask.close()

    with pytest.raises(ServerError, match="broke: KeyError"):
        api.close()


def test_an_error_inside_the_api_is_told_by_close(web, monkeypatch):
    monkeypatch.setattr(Registry, "create", lambda *_: {}["a bug"])
    api = control()
    ask = Client(api)
    assert ask("POST", "/proxies", {}) == (500, {"error": "KeyError('a bug')", "status": 500})
    ask.close()

    with pytest.raises(ServerError, match=r"the control API on .* broke: KeyError"):
        api.close()


def test_a_fork_has_no_api_to_close(monkeypatch):
    with control() as api:
        monkeypatch.setattr(api, "_process_id", 0)
        with pytest.raises(ServerError, match="fork"):
            api.close()
        with pytest.raises(SystemExit), api:
            raise SystemExit
        monkeypatch.undo()


@pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning")
def test_ends_are_sent_and_the_port_is_free_while_a_forked_child_lives(own_port):
    reader, writer = os.pipe()
    begun, begins = os.pipe()
    with control(port=own_port) as api, socket.create_connection((api.host, api.port), PATIENCE_SECONDS) as client:
        client.sendall(b"GET /version HTTP/1.1\r\nHost: x\r\n\r\n")
        read_until(client, b"}\n")
        if not (pid := os.fork()):  # pragma: no cover - coverage isn't measured in a fork
            os.close(writer)
            os.write(begins, b"x")
            os.read(reader, 1)  # until the parent has finished
            os._exit(0)
        os.read(begun, 1)  # a child that has not run yet still has its copies
        api.close()
        assert to_end(client) == (b"", "FIN")
    with control(port=own_port):
        pass
    for end in (writer, reader, begins, begun):
        os.close(end)
    os.waitpid(pid, 0)
