"""Print docs/steps.md from the steps of scripts: `python docs/make_steps.py > docs/steps.md`.

Each example is run, and what a client sees is from that run.
"""

import contextlib
import inspect
import re
import socket
import sys

from websockets.exceptions import ConnectionClosed, InvalidMessage
from websockets.sync.client import connect

import faultline
from faultline._core import script, websocket

PATIENCE_SECONDS = 10
# A step: a plan with it, and what the client says; behind STARTTLS the client begins TLS, and a GET is a request.
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\nConnection: close\r\n\r\n"
GO = b"STARTTLS\r\n"
EXAMPLES: dict[str, tuple[str, tuple[bytes, ...]]] = {
    "script": (r'script(send(b"220 hi\r\n"), receive_until(b"\r\n"), reset())', (b"EHLO me\r\n",)),
    "send": (r'script(send(b"220 hi\r\n"))', ()),
    "receive": ('script(receive(4), send(b"got it"))', (b"ping",)),
    "receive_until": (
        r'script(receive_until(re.compile(rb"(?i)quit\r?\n")), send(b"221 bye\r\n"))',
        (b"noop\r\n", b"Quit\n"),
    ),
    "receive_prefixed": ('script(receive_prefixed(2), send(b"got it"))', (b"\x00\x05hello",)),
    "reply": (
        r'script(reply({b"PING": send(b"pong\n"), b"QUIT": (send(b"bye\n"), close())}, otherwise=send(b"what?\n")))',
        (b"PING\r\n", b"SAVE\r\n", b"quit\r\n"),
    ),
    "receive_all": (r'script(send(b"hi\r\n"), receive_all())', (b"discarded",)),
    "receive_request": ("script(receive_request(head_only=True), respond(status(413)))", (POST,)),
    "respond": ('script(receive_request(), respond(ok(b"hello")))', (GET,)),
    "repeat": (r'script(repeat(receive_until(b"\n"), send(b"ok\n")))', (b"one\n", b"two\n")),
    "hold": ('script(receive(1), hold(0.05), send(b"late"))', (b"x",)),
    "starttls": (
        r'script(receive_until(b"\r\n"), send(b"220 go\r\n"), starttls(), receive(4), send(b"in TLS"))',
        (GO, b"ping"),
    ),
    "stoptls": (
        r'script(receive_until(b"\r\n"), send(b"220 go\r\n"), starttls(), receive(4), stoptls(), send(b"plain"))',
        (GO, b"ping"),
    ),
    "accept": ('websocket(accept(subprotocol=None), send_text("hi"))', ()),
    "bad_frame": ('websocket(bad_frame("masked"))', ()),
    "bad_mask": ('websocket(bad_mask("hi"))', ()),
    "close_frame": ('websocket(send_text("hi"), close_frame(1011, "broken"))', ()),
    "cut_frame": ("websocket(cut_frame(5))", ()),
    "drop": ('websocket(send_text("hi"), drop())', ()),
    "fragment": ('websocket(fragment("hel"), close())', ()),
    "ignore_pings": ('websocket(ignore_pings(), receive_text("bye"), send_text("no pong"))', (b"bye",)),
    "receive_bytes": ('websocket(receive_bytes(), send_text("got it"))', (b"\x00\x01",)),
    "receive_close": ('websocket(send_text("hi"), close_frame(1000), receive_close())', ()),
    "receive_text": ('websocket(receive_text("login"), send_text("welcome"))', (b"login",)),
    "send_bytes": (r'websocket(send_bytes(b"\x00\x01"))', ()),
    "send_ping": ('websocket(send_ping(b"1"), send_text("hi"))', ()),
    "send_text": ('websocket(send_text("hi"))', ()),
}
GROUPS = {"Lines, bytes and HTTP": ["script", "reply", "receive_all", *script.__all__], "WebSocket": websocket.__all__}


def entry(name: str) -> str:
    """One step: what it does, its parameters, and an example with what a client sees."""
    function = getattr(faultline, name)
    prose = (inspect.getdoc(function) or "").partition("\nExample:")[0]
    prose = re.sub(r"(?m)^\.\. versionadded::.*\n*", "", prose)
    prose, _, raised = prose.partition("\nRaises:")
    prose, _, told = prose.partition("\nArgs:")
    texts = dict(re.findall(r"(?m)^    (\w+): (.*(?:\n        .*)*)", told))
    lines = [f"### `{name}`", "", prose.strip()]
    rows = [row(p, texts) for p in inspect.signature(function).parameters.values()]
    if rows:
        lines += ["", f"| parameter | default |{' meaning |' * bool(texts)}", f"|---|---|{'---|' * bool(texts)}", *rows]
    plan, said = EXAMPLES[name]
    seen = see_messages(plan, said) if name in websocket.__all__ else see_bytes(plan, said)
    says = f"The client says {', then '.join(f'`{each!r}`' for each in said)}, and sees" if said else "The client sees"
    wrong = " ".join(raised.split())
    lines += ["", "```python", f"serve({plan})", "```", "", f"{says} {seen}."]
    return "\n".join([*lines, "", f"Raises {wrong}"] if wrong else lines)


def row(parameter: inspect.Parameter, texts: dict[str, str]) -> str:
    """A parameter as a row of a table, with its text if the step has texts."""
    star = "*" * (parameter.kind is parameter.VAR_POSITIONAL)
    default = "" if parameter.default is parameter.empty else f"`{parameter.default!r}`"
    text = f" {' '.join(texts.get(parameter.name, '').split())} |" if texts else ""
    return f"| `{star}{parameter.name}` | {default} |{text}"


def see_bytes(plan: str, said: tuple[bytes, ...]) -> str:
    """What a client reads that says this, and how the conversation ends."""
    heard: list[bytes] = []
    with faultline.serve(faultline.plan(plan), strict=False) as server, contextlib.ExitStack() as sockets:
        stream = client = sockets.enter_context(socket.create_connection(server.address, PATIENCE_SECONDS))
        for each in said:
            stream.sendall(each)
            if each == GO:
                heard.append(client.recv(100))
                secure = server.client_context().wrap_socket(client, server_hostname=server.host)
                stream = sockets.enter_context(secure)
        if "stoptls" in plan:
            heard.append(stream.recv(100))
            stream = sockets.enter_context(stream.unwrap())
        elif said != (GO, b"ping"):
            stream.shutdown(socket.SHUT_WR)
        end = "FIN"
        try:
            while data := stream.recv(1000):
                heard.append(data)
        except ConnectionResetError:
            end = "RST"
    words = b"".join(heard)
    return f"`{words!r}`, then {end}" if words else end


def see_messages(plan: str, said: tuple[bytes, ...]) -> str:
    """What a client of WebSocket gets that says this, and how the conversation ends."""
    heard = []
    with faultline.serve(faultline.plan(plan), strict=False) as server:
        try:
            with connect(server.ws_url, open_timeout=PATIENCE_SECONDS, compression=None) as client:
                for each in said:
                    client.send(each if each.startswith(b"\x00") else each.decode())
                while True:
                    heard.append(f"`{client.recv(PATIENCE_SECONDS)!r}`")
        except ConnectionClosed as error:
            end = f"the end with code {error.rcvd.code if error.rcvd else 1006}"
        except InvalidMessage as error:
            end = f"`{error}`"
    return ", then ".join([*heard, end])


def main() -> None:
    """Print the page."""
    print("# The steps of scripts\n")
    print("Made from the docstrings by `docs/make_steps.py`, which runs each example; a test keeps it so.\n")
    print("In a script a mode that breaks an open connection is a step too: `reset()`, `close()`, `half_close()`,")
    print("`stall()`, `partition()`. [The modes](modes.md) have a page of their own.")
    for heading, names in GROUPS.items():
        print(f"\n## {heading}\n")
        print("\n\n".join(entry(name) for name in dict.fromkeys(names)))


if __name__ == "__main__":
    sys.stdout.reconfigure(encoding="utf-8")  # type: ignore[union-attr] # a file, or a terminal
    main()
