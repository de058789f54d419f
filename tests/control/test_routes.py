"""What the API answers: routes, status codes, texts, and what it takes for JSON."""

from __future__ import annotations

import json

import pytest
from support.control import Client, dialled

from faultline import control
from faultline._front.control.routes import ROUTES

A_PROXY = {"name": "web", "listen": "127.0.0.1:0", "upstream": "127.0.0.1:1"}
TOXIC = {"type": "latency", "attributes": {"latency": 5}}
MADE = {
    "attributes": {"latency": 5, "jitter": 0},
    "name": "latency_downstream",
    "type": "latency",
    "stream": "downstream",
    "toxicity": 1,
}


@pytest.fixture
def proxy(ask):
    """A proxy with one toxic."""
    made = ask.make("web", "127.0.0.1:1")
    assert ask("POST", "/proxies/web/toxics", TOXIC) == (200, MADE)
    return made | {"toxics": [MADE]}


def test_each_route_answers_with_its_status_and_its_data(each_ask):
    ask = each_ask
    made = ask.make("web", "127.0.0.1:1")
    toxic = MADE | {"attributes": {"latency": 5, "jitter": 3}, "toxicity": 0.5}
    whole, off = made | {"toxics": [MADE]}, made | {"enabled": False, "toxics": [toxic]}
    where = "/proxies/web/toxics/latency_downstream"
    rows = [
        ("GET", "/version", None, (200, {"version": "2.12.0"})),
        ("GET", "/proxies", None, (200, {"web": made})),
        ("GET", "/proxies?x=1", None, (200, {"web": made})),
        ("GET", "/proxies/web", None, (200, made)),
        ("GET", "/proxies/web/toxics", None, (200, [])),
        ("POST", "/proxies/web/toxics", TOXIC, (200, MADE)),
        ("GET", "/proxies/web", None, (200, whole)),
        ("GET", where, None, (200, MADE)),
        (
            "POST",
            where,
            {"attributes": {"jitter": 3}, "name": "x", "type": "y", "stream": "z"},
            (200, MADE | {"attributes": {"latency": 5, "jitter": 3}}),
        ),
        ("PATCH", where, {"toxicity": 0.5}, (200, toxic)),
        ("GET", "/proxies/web/toxics", None, (200, [toxic])),
        ("POST", "/proxies/web", {"enabled": False}, (200, off)),
        ("PATCH", "/proxies/web", off, (200, off)),
        ("POST", "/proxies/web/pause", None, (200, {"connections": 0})),
        ("POST", "/proxies/web/resume", None, (200, {"connections": 0})),
        ("POST", "/proxies/web/close_all", None, (200, {"connections": 0})),
        ("POST", "/proxies/web/reset_all", None, (200, {"connections": 0})),
        ("POST", "/proxies/web/heal", None, (200, {"connections": 0})),
        ("GET", "/proxies/web/attempts", None, (200, {"version": 1, "dropped": 0, "attempts": []})),
        ("DELETE", where, None, (204, None)),
        ("POST", "/populate", [made], (201, {"proxies": [made | {"enabled": False}]})),
        ("POST", "/reset", "whatever", (204, None)),
        ("GET", "/proxies", None, (200, {"web": made})),
        ("DELETE", "/proxies/web", None, (204, None)),
        ("GET", "/proxies", None, (200, {})),
        ("POST", "/populate", "null", (201, {"proxies": []})),
    ]

    assert [(method, path, ask(method, path, body)) for method, path, body, _ in rows] == [
        (method, path, outcome) for method, path, _, outcome in rows
    ]
    untouched = {
        ("GET", "metrics"),
        ("GET", "events"),
        ("GET", "ca"),
        ("POST", "proxies/*/partition"),
    }  # which have tests of their own
    asked = {
        (method, path.partition("?")[0].replace("latency_downstream", "*").replace("web", "*")[1:])
        for method, path, *_ in rows
    }
    assert {*ROUTES} - untouched - {("POST", "proxies")} == asked


NO_NUMBER = "expected a number for toxic.toxicity, not "
HALF = "expected a whole number for attributes.latency, not 1.5"
NAMED = "latency_downstream"
BAD = "bad request body: "
EOF, PROXIES, TOXICS = "bad request body: EOF", "/proxies", "/proxies/web/toxics"
ONE = "/proxies/web/toxics/latency_downstream"
STREAM = "stream was invalid, can be either upstream or downstream"
ERRORS = [
    ("POST", PROXIES, "", 400, EOF),
    ("POST", PROXIES, " \r\n", 400, EOF),
    ("POST", PROXIES, '{"name": ', 400, "bad request body: unexpected EOF"),
    ("POST", PROXIES, "name", 400, "bad request body: Expecting value at character 1"),
    ("POST", PROXIES, "\ufeff{}".encode(), 400, "bad request body: Expecting value at character 1"),
    ("POST", PROXIES, "[]", 400, "bad request body: expected an object for proxy, not []"),
    ("POST", PROXIES, '{"name": 1}', 400, "bad request body: expected a text for proxy.name, not 1"),
    ("POST", PROXIES, '{"enabled": 1}', 400, "bad request body: expected true or false for proxy.enabled, not 1"),
    ("POST", PROXIES, '{"x": NaN}', 400, "bad request body: NaN is no number"),
    ("POST", PROXIES, {}, 400, "missing required field: name"),
    ("POST", PROXIES, "null", 400, "missing required field: name"),
    ("POST", PROXIES, {"name": ""}, 400, "missing required field: name"),
    ("POST", PROXIES, {"name": "a", "upstream": None}, 400, "missing required field: upstream"),
    ("POST", PROXIES, A_PROXY, 409, "proxy already exists"),
    ("POST", "/populate", {}, 400, "bad request body: expected an array of proxies, not {}"),
    ("POST", "/populate", [1], 400, "bad request body: expected an object for proxy, not 1"),
    ("POST", "/populate", [A_PROXY, {"name": "b"}], 400, "missing required field: upstream at proxy 2"),
    ("POST", "/populate", [{"upstream": "x"}], 400, "missing required field: name at proxy 1"),
    ("GET", "/proxies/none", None, 404, "proxy not found"),
    ("POST", "/proxies/none", "", 404, "proxy not found"),
    ("DELETE", "/proxies/none", None, 404, "proxy not found"),
    ("POST", "/proxies/none/toxics", "", 404, "proxy not found"),
    ("POST", "/proxies/none/pause", "", 404, "proxy not found"),
    ("GET", "/proxies/none/attempts", None, 404, "proxy not found"),
    ("POST", "/proxies/web", "", 400, EOF),
    ("POST", TOXICS, "", 400, EOF),
    ("POST", TOXICS, "null", 400, "invalid toxic type"),
    ("POST", TOXICS, {"type": "x"}, 400, "invalid toxic type"),
    ("POST", TOXICS, {"type": "noop", "stream": "x"}, 400, STREAM),
    ("POST", TOXICS, {"type": "noop", "stream": "upstream", "name": NAMED}, 409, "toxic already exists"),
    ("POST", TOXICS, TOXIC, 409, "toxic already exists"),
    ("POST", TOXICS, {"type": "noop", "attributes": []}, 400, BAD + "expected an object for toxic.attributes, not []"),
    ("POST", TOXICS, {"type": "noop", "toxicity": "1"}, 400, BAD + NO_NUMBER + "'1'"),
    ("POST", TOXICS, {"type": "noop", "toxicity": True}, 400, BAD + NO_NUMBER + "True"),
    ("GET", f"{TOXICS}/none", None, 404, "toxic not found"),
    ("POST", f"{TOXICS}/none", "", 404, "toxic not found"),
    ("DELETE", f"{TOXICS}/none", None, 404, "toxic not found"),
    ("POST", ONE, "", 400, EOF),
    ("PATCH", ONE, {"attributes": {"latency": 1.5}}, 400, BAD + HALF),
]  # fmt: skip


def test_what_can_t_be_done_is_told_as_json_in_plain_text(each_ask, ask, proxy):
    told = [each_ask(method, path, body) for method, path, body, _, _ in ERRORS]

    assert [(a.status, json.loads(a.body.removesuffix(b"\n"))["error"]) for a in told] == [
        (status, text) for *_, status, text in ERRORS
    ]
    assert {json.loads(a.body)["status"] == a.status and a.body[-1:] == b"\n" for a in told} == {True}
    assert {(a.headers["content-type"], a.headers["x-content-type-options"]) for a in told} == {
        ("text/plain; charset=utf-8", "nosniff")
    }
    has_proxies = {path for (_, path, *_), a in zip(ERRORS, told, strict=True) if "proxies" in json.loads(a.body)}
    assert has_proxies == {"/populate"}  # as null, because none was made
    assert ask("GET", "/proxies") == (200, {"web": proxy})


@pytest.mark.parametrize(
    "body",
    ["[" * 100_000, '{"x": ' + "9" * 5000 + "}", b'{"name": "\xff\xfe', '{"a":1}' * 3],
    ids=["deep", "long", "bytes", "three"],
)
def test_odd_bodies_are_refused_in_words(ask, body):
    asked = ask("POST", "/proxies", body)

    assert asked.status == 400
    assert asked.data["error"].startswith(("bad request body: ", "missing required field: name"))


def test_a_body_is_read_leniently(ask):
    rows = [
        '{"NAME": "a", "Upstream": "127.0.0.1:1"}',
        ' \n{"name": "b", "upstream": "127.0.0.1:1", "enabled": null, "listen": null, "colour": {"red": [1, 2]}}',
        '{"name": "c", "upstream": "127.0.0.1:1", "listen": ""} {"name": 1}',
        '{"name": null, "name": "x", "name": "d", "upstream": "127.0.0.1:1"}',
        '{"name": "\\ud800e", "upstream": "127.0.0.1:1", "enabled": false}',
    ]
    made = [ask("POST", "/proxies", row, Content_Type="text/html") for row in rows]

    assert [(a.status, a.data["name"], a.data["enabled"]) for a in made] == [
        (201, "a", True),
        (201, "b", True),
        (201, "c", True),
        (201, "d", True),
        (201, "\ufffde", False),
    ]
    toxics = [
        '{"type": "noop", "stream": "UpStream", "attributes": null, "toxicity": null}',
        '{"Type": "latency", "name": "", "attributes": {"LATENCY": 7, "x": "y"}}',
    ]
    made = [ask("POST", "/proxies/a/toxics", row) for row in toxics]

    assert [(a.status, a.data["name"], a.data["attributes"], a.data["toxicity"]) for a in made] == [
        (200, "noop_upstream", {}, 1),
        (200, "latency_downstream", {"latency": 7, "jitter": 0}, 1),
    ]


def test_other_methods_and_paths_are_refused_as_toxiproxy_does(ask, proxy):
    missing, wrong = (404, b"404 page not found"), (405, b"")
    rows = [
        ("GET", "/", missing),
        ("GET", "/proxies/", missing),
        ("GET", "/proxies/web/toxic", missing),
        ("GET", "/proxies/web/toxics/x/y", missing),
        ("GET", "/metrics", missing),
        ("PUT", "/proxies", wrong),
        ("HEAD", "/proxies", wrong),
        ("PATCH", "/version", wrong),
        ("GET", "/populate", wrong),
        ("DELETE", "/reset", wrong),
        ("PUT", "/proxies/web/toxics/x", wrong),
    ]
    asked = [ask(method, path) for method, path, _ in rows]

    assert [(a.status, a.body.partition(b"\n")[0]) for a in asked] == [expected for *_, expected in rows]
    assert [a.headers["Allow"] for a in asked[5:7]] == ["GET, POST"] * 2


@pytest.mark.parametrize("path", ["/", "/proxy", "/proxies/web/toxic"])
def test_a_wrong_path_is_told_the_routes(ask, path):
    lines = ask("GET", path).body.decode().splitlines()

    assert lines[0] == "404 page not found"
    assert "  GET, POST                /proxies/{proxy}/toxics" in lines
    assert len([line for line in lines if line.startswith("  ")]) == len({path for _, path in ROUTES})


def test_an_unknown_type_is_told_the_types(ask, proxy):
    asked = [ask("POST", "/proxies/web/toxics", {"type": kind}) for kind in ("latncy", "")]

    assert [(a.status, a.data["error"]) for a in asked] == [(400, "invalid toxic type")] * 2
    assert asked[0].data["hint"].startswith("type='latncy': did you mean 'latency'? Types: latency, bandwidth, ")
    assert asked[1].data["hint"].startswith("type='': Types: latency, ")


def test_a_browser_is_sent_away(ask):
    asked = ask("GET", "/version", User_Agent="Mozilla/5.0 (X11; Linux x86_64)")

    assert (asked.status, asked.body) == (403, b"User agent not allowed\n")


def test_each_response_has_a_number_of_its_own(ask, proxy):
    paths = ("/version", "/proxies", "/proxies/web", "/none", "/proxies/none")
    asked = [ask(method, path) for method in ("GET", "DELETE") for path in paths]

    assert len({a.headers["x-toxiproxy-request-id"] for a in asked} - {None}) == len(asked)


def test_types_of_content_are_those_that_clients_know(ask, proxy):
    assert {path: ask("GET", path).headers["content-type"] for path in ("/version", "/proxies", "/nothing")} == {
        "/version": "application/json;charset=utf-8",
        "/proxies": "application/json",
        "/nothing": "text/plain; charset=utf-8",
    }
    assert "content-length" not in ask("POST", "/reset").headers
    assert ask("GET", "/version").body == b'{"version":"2.12.0"}\n'


def test_names_may_have_any_characters(ask):
    for name, path in (("a b", "a%20b"), ("a/b", "a%2Fb"), ("ü", "%C3%BC"), ("x?y", "x%3Fy")):
        made = ask.make(name, "127.0.0.1:1")
        toxic = ask("POST", f"/proxies/{path}/toxics", {"type": "noop", "name": name}).data

        assert ask("GET", f"/proxies/{path}/toxics/{path}") == (200, toxic)
        assert ask("DELETE", f"/proxies/{path}/toxics/{path}") == (204, None)
        assert ask("GET", f"/proxies/{path}") == (200, made)


def test_toxics_of_the_upstream_come_first_each_stream_in_order_of_creation(ask):
    ask.make("web", "127.0.0.1:1")
    for name, stream in (("a", "downstream"), ("b", "upstream"), ("c", "downstream"), ("d", "upstream")):
        ask("POST", "/proxies/web/toxics", {"name": name, "type": "noop", "stream": stream})

    assert [toxic["name"] for toxic in ask("GET", "/proxies/web/toxics").data] == ["b", "d", "a", "c"]
    assert [toxic["name"] for toxic in ask("GET", "/proxies/web").data["toxics"]] == ["b", "d", "a", "c"]


def test_counters_are_live(web):
    with control(metrics=True) as api:
        ask = Client(api)
        made = ask.make('the "web"', web)
        before = ask("GET", "/metrics")
        labels = f'proxy="the \\"web\\"",listener="{made["listen"]}",upstream="{web}"'
        with dialled(made) as client:
            client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            assert client.recv(1) == b"H"
            during = ask("GET", "/metrics").body.decode()
        api.proxies['the "web"'].wait_for_attempts(1, at="end")
        after = ask("GET", "/metrics").body.decode()
        ask("POST", "/proxies/the%20%22web%22", {"listen": web})  # which is in use
        later = ask("GET", "/metrics").body.decode()
        ask.close()

    assert before.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    names = [line.split()[2] for line in during.splitlines() if line.startswith("# TYPE")]
    assert names == ["toxiproxy_proxy_received_bytes_total", "toxiproxy_proxy_sent_bytes_total"]
    assert f'{names[0]}{{direction="upstream",{labels}}} 27' in during.splitlines()
    assert f'{names[0]}{{direction="upstream",{labels}}} 0' in before.body.decode().splitlines()
    assert f'{names[0]}{{direction="upstream",{labels}}} 27' in after.splitlines()
    assert f'{names[0]}{{direction="upstream",{labels.replace(made["listen"], web)}}} 27' in later.splitlines()
