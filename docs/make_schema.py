"""Print docs/ledger.schema.json from the classes: `python docs/make_schema.py > docs/ledger.schema.json`."""

import inspect
import json
import re
from dataclasses import fields, is_dataclass
from types import NoneType
from typing import Any, Literal, get_args, get_origin, get_type_hints

from faultline._core.attempts import Attempt
from faultline._core.fault import Fault
from faultline._core.plain import JSON_VERSION
from faultline._core.promises import Key, Strike

BYTES = "One character for each byte: Latin-1."
PLAIN: dict[Any, dict[str, Any]] = {
    bool: {"type": "boolean"},
    bytes: {"type": "string", "contentEncoding": "latin-1"},
    float: {"type": "number"},
    int: {"type": "integer"},
    str: {"type": "string"},
    Fault: {"type": "string"},
    Key: {"type": "string"},
    NoneType: {"type": "null"},
}
LEFT_OUT = {Strike: {"origin", "also"}, Attempt: {"pieces", "missing_bytes"}}
MORE: dict[type, dict[str, Any]] = {Attempt: {"struck": Strike | None}}


def schema_of(kind: Any) -> dict[str, Any]:
    """The schema of a type."""
    if kind in PLAIN:
        return PLAIN[kind]
    if is_dataclass(kind) and isinstance(kind, type):
        return {"$ref": f"#/$defs/{kind.__name__}"}
    if get_origin(kind) is Literal:
        return {"enum": list(get_args(kind))}
    if get_origin(kind) is tuple:
        first, *rest = get_args(kind)
        if rest == [...]:
            return {"type": "array", "items": schema_of(first)}
        return {"type": "array", "prefixItems": [schema_of(each) for each in (first, *rest)], "items": False}
    return {"anyOf": [schema_of(each) for each in get_args(kind)]}


def described(record: type) -> dict[str, str]:
    """The texts of a record's attributes, and of its properties, from their docstrings."""
    _, _, listed = (inspect.getdoc(record) or "").partition("Attributes:\n")
    entries = re.findall(r"(?m)^    (\w+): ((?:.*\n?)(?: {5,}.*\n?)*)", listed)
    texts = {name: " ".join(text.split()) for name, text in entries}
    for name in MORE.get(record, {}):
        texts[name] = (inspect.getdoc(getattr(record, name)) or "").partition("\n")[0]
    return texts


def object_of(record: type) -> dict[str, Any]:
    """The schema of a record as an object with all of its fields."""
    hints = {field.name: get_type_hints(record)[field.name] for field in fields(record)} | MORE.get(record, {})
    texts = described(record)
    properties = {
        name: {"description": texts[name], **schema_of(hint)}
        for name, hint in hints.items()
        if name not in LEFT_OUT.get(record, set())
    }
    return {
        "description": (inspect.getdoc(record) or "").partition("\n")[0],
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def records_from(record: type) -> dict[str, type]:
    """This record and all records in its fields, by their names."""
    found, ahead = {}, [record]
    while ahead:
        kind = ahead.pop()
        if is_dataclass(kind) and isinstance(kind, type) and kind not in PLAIN:
            if kind.__name__ not in found:
                found[kind.__name__] = kind
                left_out = LEFT_OUT.get(kind, set())
                ahead += [get_type_hints(kind)[f.name] for f in fields(kind) if f.name not in left_out]
        else:
            ahead += get_args(kind)
    return {name: kind for name, kind in sorted(found.items()) if name != "Origin"}


SCHEMA = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "The ledger of a faultline server",
    "description": f"What `server.ledger.to_json()` returns. Bytes are text. {BYTES}",
    "type": "object",
    "properties": {
        "version": {"description": "The version of this form.", "const": JSON_VERSION},
        "dropped": {"description": "How many early attempts the ledger no longer has.", "type": "integer"},
        "attempts": {"type": "array", "items": {"$ref": "#/$defs/Attempt"}},
    },
    "required": ["version", "dropped", "attempts"],
    "additionalProperties": False,
    "$defs": {name: object_of(kind) for name, kind in records_from(Attempt).items()},
}
print(json.dumps(SCHEMA, indent=2))
