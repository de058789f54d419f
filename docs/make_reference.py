"""Print docs/reference.md from the docstrings: `python docs/make_reference.py > docs/reference.md`."""

import argparse
import contextlib
import inspect
import re
from typing import Any

import faultline
from faultline import pytest_plugin, strategies
from faultline._front.commands import parser_of
from faultline._front.completion import commands_in
from faultline.modes._catalogue import modes

GROUPS = {
    "Starting servers": "serve relay http_proxy socks_proxy intercept resolve dns_server udp control",
    "Auditing a client": "audit Audit AuditCase Finding Difference",
    "Sweeping a scenario": "sweep Sweep SweepRun",
    "Plans": "sequence cycle sometimes when by_path through max_connections plan load",
    "Scripts": "script send receive receive_until receive_prefixed receive_all reply receive_request respond "
    "repeat hold starttls stoptls Gate",
    "WebSockets": "accept send_text send_bytes receive_text receive_bytes receive_close send_ping close_frame "
    "drop cut_frame fragment bad_frame bad_mask ignore_pings",
    "Assertions": "raises root_cause",
    "Servers": "Server UdpServer DnsServer Resolver Proxy UnixServer Interception Control",
    "Values": "Fault Ledger Recording Piece Attempt Request Strike TlsFacts WebSocketFacts Turn",
    "The fixture": "Faultline",
}


SCHEMAS = """\
- [ledger.schema.json](ledger.schema.json) describes what `ledger.to_json()`, `faultline serve --json` and
  `GET /proxies/{p}/attempts` write of attempts: [the ledger as JSON](ledger.md#as-json).
- [recording.schema.json](recording.schema.json) describes what `faultline record --out case.json` and
  `Recording.to_json()` write, and `faultline.load` reads: [recordings](recording.md).
- `faultline modes --json`: an array with `name`, `group`, `summary`, `options` and `cases` of each mode.
- `faultline explain --json`: an object for each error that the words name.
- `faultline probe --json`: an object with the steps and the failure.
- `faultline audit --json`: the audit, which `--baseline` reads again: [reports](audit.md#reports).
"""


def grouped() -> dict[str, list[str]]:
    """The public names in groups; names that belong to no group come under their own heading."""
    groups = {heading: names.split() for heading, names in GROUPS.items()}
    known = {name for names in groups.values() for name in names} | {*modes(), "__version__"}
    rest = [name for name in faultline.__all__ if name not in known]
    errors = [
        name for name in rest if isinstance(kind := getattr(faultline, name), type) and issubclass(kind, Exception)
    ]
    others = [name for name in rest if name not in errors]
    return {**groups, **({"More": others} if others else {}), "Errors and warnings": errors}


def prose(thing: Any) -> str:
    """A docstring without its example and its version, with its sections as lists."""
    text = (inspect.getdoc(thing) or "").partition("\nExample:")[0]
    text = re.sub(r"(?m)^\.\. versionadded::.*\n?", "", text)
    text = re.sub(r"(?m)^(Args|Attributes|Raises|Returns):$", r"**\1**\n", text)
    text = re.sub(r"(?m)^ {4}(\w+): ", r"- `\1`: ", text)
    text = re.sub(r"(?m)^ {8}", "  ", text)
    return re.sub(r"\n{3,}", "\n\n", re.sub(r"(?m)^ {4}(?=\w)", "", text)).strip()


def signature_of(name: str, thing: Any) -> str:
    """A call with the names of its parameters and their defaults."""
    parameters = [
        p.replace(annotation=p.empty) for p in inspect.signature(thing).parameters.values() if p.name != "self"
    ]
    return f"{name}{inspect.Signature(parameters)}"


def is_public(kind: type, name: str) -> bool:
    """Whether a member is for users: it has no underscore, and `_public` has it in each class that has both."""
    owns = [vars(each) for each in kind.__mro__]
    having = [own for own in owns if name in own or name in own.get("__annotations__", {})]
    return not name.startswith("_") and all(name in own.get("_public", (name,)) for own in having)


def members(kind: type) -> dict[str, Any]:
    """The public members of a class that its docstring does not have among the attributes."""
    attributes = (inspect.getdoc(kind) or "").partition("\nAttributes:\n")[2]
    told = re.findall(r"(?m)^ {4}(\w+): ", attributes)
    return {n: inspect.getattr_static(kind, n) for n in dir(kind) if is_public(kind, n) and n not in told}


def entry(name: str, owner: Any = faultline) -> str:
    """One public name: what it is, and its members."""
    thing = getattr(owner, name)
    if not isinstance(thing, type):
        return f"### `{name}`\n\n`{signature_of(name, thing)}`\n\n{prose(thing)}"
    if thing.__name__ != name:
        return f"### `{name}`\n\nAnother name of `{thing.__name__}`, for annotations."
    lines = [f"### `{name}`", "", prose(thing)]
    if not issubclass(thing, Exception) and members(thing):
        lines += ["", *(member(name, n, m) for n, m in members(thing).items())]
    return "\n".join(lines)


def member(owner: str, name: str, thing: Any) -> str:
    """One member of a class in one line."""
    value = getattr(getattr(faultline, owner), name) if not isinstance(thing, property) else thing
    text = " ".join((inspect.getdoc(value) or "").partition("\n\n")[0].split())
    call = signature_of(name, value) if callable(value) and not isinstance(thing, property) else name
    is_field = not callable(value) and not isinstance(thing, property)
    return f"- `.{call}`" if is_field else f"- `.{call}`: {text}"


class Recorder:
    """A parser and a configuration of pytest that keep what the plugin registers."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def getgroup(self, *_: object) -> "Recorder":
        """The recorder itself."""
        return self

    def addoption(self, name: str, **given: Any) -> None:
        """Keep an option."""
        self.lines.append(f"- `{name}{' ' + given['metavar'] if given.get('metavar') else ''}`: {given['help']}.")

    def addini(self, name: str, text: str, **given: Any) -> None:
        """Keep an ini option."""
        self.lines.append(f"- `{name}` (ini option, default `{given.get('default')}`): {text}.")

    def addinivalue_line(self, _: str, line: str) -> None:
        """Keep a marker."""
        self.lines.append(f"- `@pytest.mark.{line.replace(': ', '`: ', 1)}")


def plugin() -> str:
    """The fixtures, the marker and the options of pytest."""
    recorder: Any = Recorder()
    with contextlib.suppress(AttributeError):  # only what comes before the configuration is read
        pytest_plugin.pytest_configure(recorder)
    pytest_plugin.pytest_addoption(recorder)
    fixtures = [f"- `{n}`: {inspect.getdoc(f)}" for n, f in sorted(vars(pytest_plugin).items()) if is_fixture(f)]
    return "\n".join(["### Fixtures", "", *fixtures, "", "### Marker and options", "", *recorder.lines])


def is_fixture(value: object) -> bool:
    """Whether a value is a fixture of pytest."""
    return type(value).__name__ == "FixtureFunctionDefinition" or hasattr(value, "_pytestfixturefunction")


def commands() -> str:
    """The commands with their options, from the parser itself."""
    top, chosen = parser_of([])
    lines = ["- `--version`: print the version.", ""]
    for name, parser in commands_in(top).items():
        lines += [f"### `faultline {name}`", "", f"{capital(summary_of(top, name))}.", ""]
        lines += ["The options of a mode come with `--mode NAME`.", ""] if name in chosen else []
        lines += [option(action) for action in parser._actions if action.dest != "help"]  # noqa: SLF001 - argparse has no public list
        lines.append("")
    return "\n".join(lines).rstrip()


def summary_of(top: argparse.ArgumentParser, command: str) -> str:
    """What the help of the program says of a command."""
    (subparsers,) = (each for each in top._actions if each.dest == "command")  # noqa: SLF001 - as above
    return next(each.help or "" for each in subparsers._choices_actions if each.dest == command)  # noqa: SLF001


def capital(text: str) -> str:
    """A text with a capital letter."""
    return text[:1].upper() + text[1:]


def option(action: argparse.Action) -> str:
    """One option of a command."""
    value = action.metavar or ("{" + ",".join(map(str, action.choices)) + "}" if action.choices else "")
    value = value or ("" if action.nargs == 0 else action.dest.upper())
    text = (action.help or "").replace("%(default)s", str(action.default))
    if not action.option_strings:
        return f"- `[{value}]`: {text}."
    return f"- `{action.option_strings[0]}{f' {value}' if value else ''}`: {text}."


print(
    "# Reference\n\nMade from the docstrings by `docs/make_reference.py`; a test keeps it so. "
    "[The catalogue](modes.md) has the modes."
)
for title, names in grouped().items():
    print(f"\n## {title}\n")
    print("\n\n".join(entry(name) for name in names))
print("\n## Modes\n\n" + ", ".join(f"[`{name}`](modes.md#{name})" for name in modes()) + ".")
print("\n## Strategies of Hypothesis\n\nIn `faultline.strategies`; see [the page on them](strategies.md).\n")
print("\n\n".join(entry(name, strategies) for name in strategies.__all__))
print(f"\n## pytest\n\n{plugin()}")
print(f"\n## The command\n\n{commands()}")
print(f"\n## JSON\n\n{SCHEMAS}")
