"""Proxies that are no relay as toxiproxy has it: with TLS, servers, proxies of HTTP and SOCKS, and DNS servers."""

from __future__ import annotations

import contextlib
import ssl
import urllib.error
import urllib.request

import pytest
from support import GET, PATIENCE_SECONDS, read_until, to_end
from support.control import Client, dialled, fetched, refuses

from faultline import control, ok, root_cause, serve

SHAPES = {
    "relay": {"upstream": "127.0.0.1:1", "tls": True},
    "server": {"kind": "server"},
    "server with TLS": {"kind": "server", "tls": True},
    "http-proxy": {"kind": "http-proxy"},
    "socks-proxy": {"kind": "socks-proxy", "upstream": "127.0.0.1:1"},
}


def made(ask, name="it", **given):
    """A new proxy."""
    asked = ask("POST", "/proxies", {"name": name, **given})
    assert asked.status == 201, asked
    return asked.data


def plays(ask, plan, name="it"):
    """Have a proxy play a plan."""
    asked = ask("POST", f"/proxies/{name}/toxics", {"type": "fault", "attributes": {"plan": plan}})
    assert asked.status == 200, asked


@pytest.fixture
def trusting(ask):
    """A client that trusts the CA of the API."""
    context = ssl.create_default_context(cadata=ask("GET", "/ca").body.decode())
    return urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context))


def reason_of(opener, url):
    """What a client meets at a URL."""
    try:
        return opener.open(url, timeout=PATIENCE_SECONDS).read()
    except urllib.error.HTTPError as error:
        return error.code
    except OSError as error:
        return getattr(root_cause(error), "verify_message", None) or type(root_cause(error)).__name__


@pytest.mark.parametrize("tls", [True, "terminate"])
def test_a_relay_with_tls_shows_a_bad_certificate(ask, web, trusting, tls):
    url = made(ask, upstream=web, tls=tls)["url"]
    met = [reason_of(trusting, url)]
    for plan in ("bad_cert('expired')", "bad_cert('self_signed')", "reset(at='handshake')"):
        plays(ask, plan)
        met.append(reason_of(trusting, url))
        ask("DELETE", "/proxies/it/toxics/fault_downstream")

    assert met == [b"hello", "certificate has expired", "self-signed certificate", "ConnectionResetError"]
    assert url.startswith("https://127.0.0.1:")


def test_a_relay_may_pass_tls_through_to_an_upstream_that_speaks_it(ask, trusting):
    with serve(ok(b"secret"), tls=True) as real:
        through = made(ask, "a", upstream=real.hostport, tls="through")
        ended = made(ask, "b", upstream=real.url, tls="terminate")

        assert "tls" not in through
        assert reason_of(trusting, f"https://{through['listen']}") == b"secret"
        assert reason_of(trusting, ended["url"]) == b"secret"


def test_a_server_answers_by_itself(ask, trusting):
    it = made(ask, kind="server")
    met = [reason_of(trusting, it["url"])]
    plays(ask, "sequence(status(503), reset(after_bytes=17), ok(b'hi'))")
    ask("POST", "/proxies/it/toxics", {"type": "latency", "attributes": {"latency": 1}})
    met += [reason_of(trusting, it["url"]) for _ in range(3)]

    assert met == [b"ok\n", 503, "ConnectionResetError", b"hi"]


def test_a_server_answers_by_the_path_and_a_stage_that_is_edited_keeps_the_count(ask, trusting):
    url = made(ask, kind="server")["url"]
    plays(ask, "by_path({'/pay': sequence(status(503), ok(b'paid')), '/*': ok(b'hi')})")
    met = [reason_of(trusting, f"{url}/pay")]
    ask("POST", "/proxies/it/toxics", {"name": "slow", "type": "latency", "attributes": {"latency": 1}})
    met += [reason_of(trusting, f"{url}/pay") for _ in range(2)]
    ask("POST", "/proxies/it/toxics/slow", {"attributes": {"latency": 2}})
    met += [reason_of(trusting, f"{url}/pay"), reason_of(trusting, f"{url}/")]

    assert met == [503, b"paid", b"paid", b"paid", b"hi"]


def test_a_server_with_tls_has_the_terms_and_certificates_of_faults(ask, trusting):
    url = made(ask, kind="server", tls=True)["url"]
    plays(ask, "sequence(bad_cert('wrong_host'), bad_tls('only_version', version='1.3'), ok(b'hi'))")

    assert "is not valid for" in reason_of(trusting, url)
    assert [reason_of(trusting, url), reason_of(trusting, url)] == [b"ok\n", b"hi"]


def test_a_server_may_ask_for_a_certificate(ask, faultline_control):
    it = made(ask, kind="server", tls="mutual")
    context = ssl.create_default_context(cafile=it["ca_file"])
    context.load_cert_chain(it["client_cert_file"])
    with urllib.request.urlopen(it["url"], context=context) as answer:
        assert answer.read() == b"ok\n"

    (attempt,) = faultline_control.proxies["it"].attempts
    assert attempt.tls is not None


def test_an_http_proxy_refuses_and_connects(ask, web):
    it = made(ask, kind="http-proxy")
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({"http": it["url"]}))
    plays(ask, "sequence(status(407), ok())")

    assert [reason_of(opener, f"http://{web}/"), reason_of(opener, f"http://{web}/")] == [407, b"hello"]


def test_an_http_proxy_may_lead_everybody_to_one_upstream(ask, web):
    it = made(ask, kind="http-proxy", upstream=web)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({"http": it["url"]}))

    assert reason_of(opener, "http://api.example.com/") == b"hello"


def test_a_socks_proxy_refuses_and_connects(ask, web):
    it = made(ask, kind="socks-proxy", upstream=web)
    plays(ask, "sequence(socks_refusal('connection_refused'), ok())")
    replies = []
    for _ in range(2):
        with dialled(it) as client:
            client.sendall(bytes((5, 1, 0, 5, 1, 0, 1, 127, 0, 0, 1, 0, 80)))
            replies.append(read_until(client, b"\x05\x00\x05") + client.recv(1))
            if len(replies) == 2:
                client.sendall(GET)
                assert b"hello" in to_end(client)[0]

    assert replies == [b"\x05\x00\x05\x05", b"\x05\x00\x05\x00"]
    assert it["url"].startswith("socks5h://127.0.0.1:")


@pytest.fixture
def look_up():
    """A function that asks a DNS server for a name."""
    resolver = pytest.importorskip("dns.resolver")

    def asked(server):
        client = resolver.Resolver(configure=False)
        client.nameservers, client.port = [server.host], server.port
        try:
            return [str(each) for each in client.resolve("api.example.com", lifetime=PATIENCE_SECONDS)]
        except Exception as error:  # noqa: BLE001 - its class is the answer
            return type(error).__name__

    return asked


def test_a_dns_server_plays_faults_of_lookups(ask, faultline_control, look_up):
    it = made(ask, kind="dns")
    server = faultline_control.dns_servers["it"]
    met = [look_up(server)]
    plays(ask, "sequence(nxdomain(), resolves_to('127.0.0.9'))")
    met += [look_up(server), look_up(server)]
    off = ask("POST", "/proxies/it", {"enabled": False}).data
    met.append(look_up(server))
    ask("POST", "/reset")
    met.append(look_up(server))

    assert met == [["127.0.0.1"], "NXDOMAIN", ["127.0.0.9"], "NoNameservers", ["127.0.0.1"]]
    assert it["url"] == f"dns://{it['listen']}"
    assert off["enabled"] is False
    ledger = ask("GET", "/proxies/it/attempts").data
    assert [attempt["fault"] for attempt in ledger["attempts"]][:3] == [
        "ok()",
        "nxdomain()",
        "resolves_to('127.0.0.9')",
    ]
    assert [*faultline_control.proxies] == []
    assert ask("DELETE", "/proxies/it").status == 204


def test_toxicity_of_a_lookup_is_the_part_of_the_lookups(ask, faultline_control, look_up):
    made(ask, kind="dns")
    ask("POST", "/proxies/it/toxics", {"type": "fault", "toxicity": 0, "attributes": {"plan": "nxdomain()"}})

    assert look_up(faultline_control.dns_servers["it"]) == ["127.0.0.1"]


@pytest.mark.parametrize("shape", SHAPES)
def test_a_proxy_of_any_shape_is_closed_moved_kept_and_deleted(ask, shape):
    it = made(ask, **SHAPES[shape])
    off = ask("POST", "/proxies/it", it | {"enabled": False}).data
    assert refuses(off)
    on = ask("POST", "/proxies/it", {"enabled": True}).data
    assert on == it
    assert not refuses(on)
    assert ask("POST", "/populate", [it]).data == {"proxies": [it]}
    moved = ask("POST", "/proxies/it", {"listen": "127.0.0.1:0"}).data
    assert moved["listen"] != it["listen"]
    assert {**moved, "listen": "", "url": ""} == {**it, "listen": "", "url": ""}
    assert ask("DELETE", "/proxies/it").status == 204
    assert refuses(moved)


def test_populate_replaces_a_proxy_of_another_shape(ask, own_port):
    it = made(ask, kind="server", tls=True, listen=f"127.0.0.1:{own_port}")
    plain = ask("POST", "/populate", [{"name": "it", "kind": "server", "listen": it["listen"]}]).data["proxies"]

    assert plain[0] | {"url": it["url"].replace("https", "http")} == plain[0]
    assert fetched(plain[0]) == (b"ok\n", "FIN")


@pytest.mark.parametrize("plan", ["stall()", "stall(at='accept')"])
def test_a_silence_of_a_server_ends_when_its_toxic_goes(ask, faultline_control, plan):
    it = made(ask, kind="server")
    plays(ask, plan)
    with dialled(it) as client:
        client.sendall(GET)
        faultline_control.proxies["it"].wait_for_attempts(1, at="strike")
        ask("DELETE", "/proxies/it/toxics/fault_downstream")

        assert to_end(client)[0].endswith(b"ok\n")


TLS = 'expected true, false or "mutual" for proxy.tls, not '
WRONG = [
    ({"kind": "http"}, "kind='http': expected 'relay', 'server', 'http-proxy', 'socks-proxy' or 'dns'; did you mean"),
    ({"kind": "xyz"}, "kind='xyz': expected 'relay', 'server', 'http-proxy', 'socks-proxy' or 'dns'"),
    ({"kind": 7}, "bad request body: expected a text for proxy.kind, not 7"),
    ({"kind": "relay"}, "missing required field: upstream"),
    (
        {"kind": "server", "upstream": "127.0.0.1:1"},
        'upstream=\'127.0.0.1:1\': expected none with "kind": "server", which answers by itself; leave it out.',
    ),
    ({"kind": "dns", "tls": True}, "tls=true: expected false with kind='dns', which speaks no TLS."),
    ({"kind": "socks-proxy", "tls": "mutual"}, "tls=\"mutual\": expected false with kind='socks-proxy', which"),
    ({"kind": "server", "tls": 3}, f"bad request body: {TLS}3"),
    ({"kind": "server", "tls": "yes"}, f"bad request body: {TLS}'yes'"),
]


@pytest.mark.measured
@pytest.mark.parametrize(("given", "why"), WRONG)
def test_a_wrong_shape_is_refused_in_words(ask, given, why):
    asked = ask("POST", "/proxies", {"name": "it", **given})

    assert (asked.status, asked.data["error"][: len(why)]) == (400, why)
    assert ask("GET", "/proxies").data == {}


def test_a_shape_is_kept_for_good(ask):
    made(ask, kind="server", tls=True)
    rows = [
        (
            {"kind": "relay"},
            'expected "kind": "server", "tls": true, which a proxy keeps; delete it, and make another.',
        ),
        ({"tls": False}, 'expected "kind": "server", "tls": true, which a proxy keeps; delete it, and make another.'),
        ({"upstream": "127.0.0.1:1"}, 'upstream=\'127.0.0.1:1\': expected none with "kind": "server", "tls": true, '),
    ]
    asked = [ask("POST", "/proxies/it", given) for given, _ in rows]

    assert [(a.status, a.data["error"][: len(why)]) for a, (_, why) in zip(asked, rows, strict=True)] == [
        (400, why) for _, why in rows
    ]


def test_a_toxic_that_a_shape_can_t_play_is_refused_by_its_name(ask, look_up):
    made(ask, "it", kind="server")
    made(ask, "names", kind="dns")
    limit = ask("POST", "/proxies/it/toxics", {"type": "limit_data", "attributes": {"bytes": 5}})
    slow = ask("POST", "/proxies/names/toxics", {"type": "latency", "attributes": {"latency": 5}})
    pause = ask("POST", "/proxies/names/pause")

    relay = 'to the response; it takes a proxy with "kind": "relay".'
    assert [each.data["error"] for each in (limit, slow, pause)] == [
        f"toxic 'limit_data_downstream': limit_data(bytes=5): a server does not apply limit data {relay}",
        f"toxic 'latency_downstream': latency(latency=5, jitter=0): a DNS server does not apply latency {relay}",
        "pause: expected a proxy with connections; one of the kind dns answers lookups.",
    ]
    assert ask("GET", "/proxies/it/toxics").data == []


def test_a_server_that_can_t_start_again_has_no_url(ask, web):
    made(ask, kind="server", tls=True)
    assert ask("POST", "/proxies/it", {"listen": web}).status == 500
    it = ask("GET", "/proxies/it").data

    assert ("url" in it, it["enabled"], it["kind"]) == (False, False, "server")


def test_metrics_know_proxies_of_every_shape(look_up):
    with control(metrics=True) as api, contextlib.closing(Client(api)) as ask:
        it = made(ask, kind="server")
        made(ask, "names", kind="dns")
        assert fetched(it)[0] == b"ok\n"
        assert b'proxy="names"' in ask("GET", "/metrics").body
