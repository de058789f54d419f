"""Print docs/errors.md from the texts of `faultline explain`: `python docs/make_errors.py > docs/errors.md`."""

import re
from collections.abc import Iterator

from faultline._explain.entry import GROUPS, Entry, Group
from faultline._explain.examples import EXAMPLES
from faultline._explain.find import ENTRIES
from faultline._explain.plays import CLIENTS, PLAYS
from faultline._front.explaining import ORDER, call_of, command_of, numbers_of

INTRODUCTION = """\
# Every error, by name, number and text

Each error of the network that a Python client meets: what it says, what causes it in production, how to reproduce it
in a test, what http.client, urllib3, requests, httpx and aiohttp make of it, and how to handle it. `faultline explain`
prints the same in a terminal, by a name, a number (`faultline explain 111`) or a text as it was printed
(`faultline explain "Max retries exceeded"`).

Made from the texts of that command by `docs/make_errors.py`. A test plays every row of [the table](#the-table) to every
client, and runs every piece of code.
"""
RANKED = 3  # plays of an error that are named


def name_in_heading(entry: Entry) -> str:
    """The name of an error as its heading has it, with its errno."""
    is_plain = entry.group in {"the operating system", "names and addresses", "TLS"}
    names = [entry.name, *(each for each in entry.also if is_plain and re.fullmatch("[A-Z_]+", each))]
    return ", ".join(dict.fromkeys(names))


def as_code(classes: str) -> str:
    """The name of a class as code, or of two with `or`."""
    return " or ".join(f"`{name}`" for name in classes.split(" or "))


def section(entry: Entry) -> Iterator[str]:
    """What is said of an error."""
    yield f"\n### {name_in_heading(entry)}\n"
    others = [*(name for name in entry.also if name not in name_in_heading(entry).split(", ")), *numbers_of(entry)]
    if others:
        yield f"Also: {', '.join(f'`{name}`' for name in others)}.\n"
    if entry.messages:
        yield f"Texts: {', '.join(f'“{text}”' for text in entry.messages)}.\n"
    yield f"{entry.means}\n"
    if entry.causes:
        yield "In production:\n"
        yield from (f"- {cause}" for cause in entry.causes)
        yield ""
    if entry.members:
        yield f"Its kinds: {', '.join(f'`{name}`' for name in entry.members)}.\n"
    if entry.met_at:
        yield f"Where in a conversation: {', '.join(f'`{point}`' for point in entry.met_at)}.\n"
    if entry.plays:
        first, *rest = entry.plays
        yield f"Reproduce it: `{call_of(first)}`, or `{command_of(first.fault, tls=first.tls)}`."
        yield f"Then {', '.join(f'{client} raises {as_code(name)}' for client, name in first.by_client())}.\n"
        if rest:
            named = ", ".join(f"`{play.plan}`" for play in rest[:RANKED])
            more = f" and {len(rest) - RANKED} more in [the table](#the-table)" if len(rest) > RANKED else ""
            yield f"Also by {named}{more}.\n"
    elif entry.instead:
        yield f"{'' if entry.instead.startswith('No mode') else 'Reproduce it: '}{entry.instead}\n"
    yield f"Handle it as in [{TITLES[entry.example]}](#{TITLES[entry.example].lower().replace(' ', '-')})."


TITLES = {
    "refused": "Try a connect again",
    "reset": "Repeat a GET",
    "upload": "An upload that nobody reads",
    "timeout": "Tell a timeout from the rest",
    "unreachable": "Tell errnos apart",
    "lookup": "A lookup that may work later",
    "certificate": "A certificate that is not accepted",
    "tls": "A handshake that fails",
    "cut": "A body that is cut",
    "protocol": "What is not HTTP",
    "urllib": "All of urllib",
    "urllib3": "All of urllib3",
    "requests": "All of requests",
    "httpx": "All of httpx",
    "aiohttp": "All of aiohttp",
}


def of_group(group: Group) -> Iterator[str]:
    """The section of a group."""
    yield f"\n## {group[0].upper()}{group[1:]}"
    for entry in ENTRIES:
        if entry.group == group:
            yield from section(entry)


def table() -> Iterator[str]:
    """What clients raise in each play."""
    yield "\n## The table\n"
    yield "Each client as plain as can be, with a timeout and without retries. `TLS`: the server has `tls=True`."
    yield "`upload`: the request has a body of 8 MiB. An empty cell is a normal return, or in an upload no end.\n"
    yield f"| fault | the error under it | {' | '.join(CLIENTS)} |"
    yield f"|{'---|' * (len(CLIENTS) + 2)}"
    for play in PLAYS:
        marks = ", TLS" * play.tls + ", upload" * play.uploads
        cause = " ".join(filter(None, [play.cause, play.detail]))
        cells = [as_code(cell) if cell else "" for cell in play.raised]
        yield f"| `{play.plan}`{marks} | {cause} | {' | '.join(cells)} |"


assert {*ORDER} == {*GROUPS}
print(INTRODUCTION, end="")
for each in ORDER:
    print("\n".join(of_group(each)))
print("\n## Code\n")
print("Each piece was run against the fault that it is for.")
for name, example in EXAMPLES.items():
    print(f"\n### {TITLES[name]}\n\nShown with `{example.plan}`:\n\n```py\n{example.code}\n```")
print("\n".join(table()))
