"""The JSON of a ledger: its schema is made from the classes, and what servers write fits it."""

from __future__ import annotations

import json
import runpy
import socket
from pathlib import Path

from support.tables import each_row

from faultline import bad_cert, dns_server, nxdomain, ok, refuse, reset, sequence, stall, udp

DOCS = Path(__file__).parent.parent / "docs"
SCHEMA = json.loads((DOCS / "ledger.schema.json").read_text("utf-8"))
TYPES = {"object": dict, "array": list, "string": str, "boolean": bool, "null": type(None)}


def fits(value, schema):  # noqa: PLR0911 - one for each word of a schema
    """Whether a value fits a schema, of which only the words are known that ours has."""
    if "$ref" in schema:
        return fits(value, SCHEMA["$defs"][schema["$ref"].rpartition("/")[2]])
    if "anyOf" in schema:
        return any(fits(value, each) for each in schema["anyOf"])
    if "enum" in schema or "const" in schema:
        return value in schema.get("enum", [schema.get("const")])
    if schema["type"] in ("integer", "number"):
        return type(value) is int or (schema["type"] == "number" and type(value) is float)
    if not isinstance(value, TYPES[schema["type"]]):
        return False
    if schema["type"] == "object":
        properties = schema["properties"]
        return set(value) == set(properties) and all(fits(value[name], properties[name]) for name in properties)
    if schema["type"] == "array" and "prefixItems" in schema:
        items = schema["prefixItems"]
        return len(value) == len(items) and all(map(fits, value, items))
    return schema["type"] != "array" or all(fits(each, schema["items"]) for each in value)


def test_schema_is_made_from_the_classes(capsys):
    runpy.run_path(str(DOCS / "make_schema.py"))

    assert capsys.readouterr().out == (DOCS / "ledger.schema.json").read_text("utf-8")


def test_every_field_is_described():
    for record in SCHEMA["$defs"].values():
        assert record["required"] == list(record["properties"])
        assert all(field["description"] for field in record["properties"].values())


def ask(server, *, tls=False):
    context = server.client_context() if tls else None
    try:
        with socket.create_connection(server.address, 10) as raw:
            client = context.wrap_socket(raw, server_hostname="wrong.invalid") if context else raw
            client.settimeout(0.05)
            client.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nConnection: close\r\n\r\n\xff\0")
            while client.recv(100):
                pass
            client.close()
    except OSError:
        pass


@each_row(
    ("plan", "options"),
    [
        (ok(b"\xff\0"), {}),
        (reset(after_bytes=3), {}),
        (sequence(refuse(), reset()), {}),
        (stall(), {}),
        (bad_cert("expired"), {}),
        (ok(), {"tls": "mutual"}),
    ],
)
def test_ledger_of_a_server_fits_the_schema(faultline, plan, options):
    server = faultline.serve(plan, strict=False, **options)
    for _ in range(2):
        ask(server, tls=server.url.startswith("https"))
    server.wait_for_attempts(2, at="end")
    data = json.loads(server.ledger.to_json())

    assert fits(data, SCHEMA)
    assert len(data["attempts"]) == 2


def test_ledgers_of_datagrams_and_lookups_fit_the_schema():
    with udp(ok(b"\xff")) as server, dns_server(nxdomain(), strict=False) as names:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.settimeout(10)
            client.sendto(b"\0", server.address)
            client.recv(100)
            client.sendto(b"\0\1\1\0\0\1\0\0\0\0\0\0\1x\0\0\1\0\1", names.address)
            client.recv(100)
        for each in (server, names):
            data = json.loads(each.ledger.to_json())
            assert fits(data, SCHEMA)
            assert len(data["attempts"]) == 1


@each_row(
    "change",
    [
        lambda data: data.pop("version"),
        lambda data: data.update(version=2),
        lambda data: data.update(more=1),
        lambda data: data["attempts"][0].update(note=None),
        lambda data: data["attempts"][0]["turns"][0].update(by="nobody"),
        lambda data: data["attempts"][0]["request"]["headers"].append(["a"]),
        lambda data: data["attempts"][0].update(number=True),
    ],
)
def test_what_does_not_fit_is_told(faultline, change):
    server = faultline.serve(ok())
    ask(server)
    server.wait_for_attempts(1, at="end")
    data = json.loads(server.ledger.to_json())
    change(data)

    assert not fits(data, SCHEMA)
