"""Clients that were written for toxiproxy, unchanged: those of Python and Node, and curl."""

from __future__ import annotations

import json
import shutil
import subprocess
import warnings
from pathlib import Path

import pytest
from support import PATIENCE_SECONDS
from support.control import fetched, refuses

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of the packages that it is made with
    import toxiproxy
    from toxiproxy.api import APIConsumer
    from toxiproxy.exceptions import InvalidToxic, NotFound, ProxyExists

HERE = Path(__file__).parent
TOXICS = [
    ("latency", {"latency": 20, "jitter": 5}),
    ("bandwidth", {"rate": 1000}),
    ("slow_close", {"delay": 1}),
    ("timeout", {"timeout": 0}),
    ("reset_peer", {"timeout": 1}),
    ("slicer", {"average_size": 64, "size_variation": 32, "delay": 10}),
    ("limit_data", {"bytes": 10}),
    ("packet_loss", {"loss_rate": 0.5, "correlation": 0.25}),
    ("noop", {}),
    ("fault", {"plan": "reset(after_bytes=17)"}),
]


# --- Python ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def server(faultline_control, monkeypatch):
    """The client's own object for the API."""
    monkeypatch.setattr(APIConsumer, "host", faultline_control.host)
    monkeypatch.setattr(APIConsumer, "port", faultline_control.port)
    return toxiproxy.Toxiproxy()


@pytest.mark.slow
def test_the_client_of_python_makes_and_breaks_proxies(server, web):
    assert server.running()
    assert json.loads(server.version()) == {"version": "2.12.0"}
    proxy = server.create(name="web", upstream=web)
    with pytest.raises(ProxyExists):
        server.create(name="web", upstream=web)
    assert fetched(vars(proxy)) == (b"hello", "FIN")
    with proxy.down():
        assert refuses(vars(proxy))
        assert server.get_proxy("web").enabled is False
    for kind, attributes in TOXICS:
        proxy.add_toxic(type=kind, attributes=attributes)
    with pytest.raises(InvalidToxic):
        proxy.add_toxic(type="nonsense")
    with pytest.raises(ProxyExists):
        proxy.add_toxic(type="noop")
    assert {toxic.type: toxic.attributes for toxic in proxy.toxics().values()} == dict(TOXICS)
    assert proxy.get_toxic("latency_downstream").toxicity == 1
    assert all(proxy.destroy_toxic(f"{kind}_downstream") for kind, _ in TOXICS[1:])
    with pytest.raises(NotFound):
        proxy.destroy_toxic("noop_downstream")
    assert server.reset()
    assert proxy.toxics() == {}
    made = server.populate(
        [
            {"name": "web", "upstream": web, "listen": proxy.listen},
            {"name": "b", "upstream": web, "listen": "localhost:0"},
        ]
    )
    assert [each.name for each in made] == ["b"]
    assert sorted(server.proxies()) == ["b", "web"]
    server.destroy_all()

    assert server.proxies() == {}


# --- Node ------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_client_of_node_makes_and_breaks_proxies(node, faultline_control, web, other_web):
    given = {"url": faultline_control.url, "web": web, "other": other_web, "toxics": TOXICS}
    ran = subprocess.run(
        [node, HERE / "node_client.js", json.dumps(given)],
        cwd=HERE,
        capture_output=True,
        text=True,
        timeout=3 * PATIENCE_SECONDS,
        check=False,
    )

    assert (ran.returncode, ran.stderr) == (0, "")
    assert json.loads(ran.stdout) == {
        "version": '{"version":"2.12.0"}\n',
        "hello": "hello",
        "off": "ECONNREFUSED",
        "toxics": dict(TOXICS),
        "updated": {"latency": 7, "jitter": 5},
        "reset": "ECONNRESET",
        "errors": [404, 409, 400, 400, 404],
        "populated": ["b", "c"],
        "all": ["b", "c", "web"],
        "left": ["b", "c"],
    }


# --- curl, as toxiproxy-cli and the client of Ruby ask ---------------------------------------------------------------


@pytest.fixture
def curl(faultline_control):
    """A function that asks by curl."""
    found = shutil.which("curl")
    if found is None:
        pytest.skip("curl is not installed")

    def ask(method, path, *data):
        words = [found, "-sS", "-X", method, "-w", "\n%{http_code}", f"{faultline_control.url}{path}"]
        for each in data:
            words += ["-d", each if isinstance(each, str) else json.dumps(each)]
        printed = subprocess.run(words, capture_output=True, text=True, check=True, timeout=3 * PATIENCE_SECONDS).stdout
        body, _, status = printed.rpartition("\n")
        return int(status), json.loads(body) if body else None

    return ask


@pytest.mark.slow
def test_the_requests_of_the_command_line_work(curl, web):
    _, made = curl(
        "POST", "/proxies", {"name": "web", "listen": "localhost:0", "upstream": web, "enabled": True, "toxics": None}
    )
    assert curl("GET", "/proxies/web") == (200, made)
    toggled = curl("POST", "/proxies/web", made | {"enabled": False})
    assert toggled == (200, made | {"enabled": False})
    curl("POST", "/proxies/web", toggled[1] | {"enabled": True})
    toxic = {"name": "slow", "type": "latency", "stream": "upstream", "toxicity": 0.25, "attributes": {"latency": 9.0}}

    assert curl("POST", "/proxies/web/toxics", toxic)[0] == 400  # a float, which toxiproxy-cli never sends for it
    toxic["attributes"]["latency"] = 9
    assert curl("POST", "/proxies/web/toxics", toxic)[1]["attributes"] == {"latency": 9, "jitter": 0}
    changed = curl("PATCH", "/proxies/web/toxics/slow", {"name": "slow", "attributes": {"jitter": 2}})[1]
    assert (changed["attributes"], changed["toxicity"]) == ({"latency": 9, "jitter": 2}, 0.25)
    assert curl("DELETE", "/proxies/web/toxics/slow") == (204, None)
    assert curl("GET", "/proxies/web") == (200, made)


@pytest.mark.slow
def test_the_requests_of_ruby_work(curl, web):
    assert curl("GET", "/version") == (200, {"version": "2.12.0"})
    given = [{"name": "web", "upstream": web, "listen": None, "enabled": None}]
    _, made = curl("POST", "/populate", given)
    assert curl("PATCH", "/proxies/web", {"enabled": False})[1]["enabled"] is False
    assert curl("POST", "/reset", "{}") == (204, None)

    assert curl("GET", "/proxies") == (200, {"web": made["proxies"][0]})
    assert curl("DELETE", "/proxies/web") == (204, None)
