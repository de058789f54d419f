"""The advice of the guard: one sentence that says why a planned fault never struck, and what to do, by its cause."""

from __future__ import annotations

import contextlib
import inspect
import re
import socket
import ssl

import pytest
from support import KEPT_GET as GET
from support import connected
from support.tables import each_row

import faultline as fl
from faultline import NotStruckError, close, ok, relay, reset, serve
from faultline._core.advice import advice as told
from faultline._core.attempts import Attempt, Request
from faultline._core.ends import PARTITIONED, End
from faultline._core.ledger import Ledger
from faultline._core.plan import HEALTHY, branches_of, stamped
from faultline._core.points import POINTS
from faultline._core.promises import BREAK, promises_of
from faultline._core.reasons import REASONS
from faultline._core.tls_facts import NO_CERTIFICATE, TlsFacts
from faultline._core.tls_facts import NO_TLS as NOT_TLS
from faultline._core.turns import Turn
from faultline._core.upstream import UNREACHED
from faultline._core.websocket_facts import WebSocketFacts
from faultline.modes._catalogue import cases, find

HEAD = GET.replace(b"GET", b"HEAD")
SAID = re.compile(r"(?:after \d+\.\d{3} s|still open)(?: \(.*?\))?\. ?(.*) \(strict=False allows it\.\)$")


def tell(server):
    """The advice of the guard about a server that is closed."""
    server._strict = True
    with pytest.raises(NotStruckError) as raised:
        server.check_struck()
    return SAID.search(str(raised.value))[1]


def speak(server, *words, tls=False):
    """Connect, say each of these and hear something after it, and leave."""
    with connected(server) if tls else socket.create_connection(server.address, 10) as client:
        for word in words:
            client.sendall(word)
            with contextlib.suppress(ConnectionResetError):
                client.recv(65_536)


def advice(server, *words, tls=False):
    """The advice of the guard after one client has said this, heard something after each, and left."""
    with server:
        speak(server, *words, tls=tls)
        server.wait_for_attempts(1, at="end")
    return tell(server)


# --- a response without a body ---------------------------------------------------------------------------------------

TO_HEAD = "The response to HEAD has no body, only a head of {} bytes: use GET{}."
NO_CONTENT = fl.script(fl.receive_request(), fl.respond(ok(status=204)))


@each_row(
    ("fault", "expected"),
    [
        (reset(after_bytes=100), TO_HEAD.format(66, ", or after_bytes up to 66")),
        (ok(b"x" * 500) & close(after_bytes=300), TO_HEAD.format(66, ", or after_bytes up to 66")),
        (fl.corrupt(at_byte=70), TO_HEAD.format(64, ", or at_byte below 64")),
        (ok(b"hello") & reset(at="response", on=b"hello"), TO_HEAD.format(64, "")),
        (fl.script(fl.receive_request(), fl.respond(ok(headers={"Content-Length": "9"}))), TO_HEAD.format(64, "")),
        (
            NO_CONTENT & reset(after_bytes=60),
            (
                "The response with status 204 has no body, only a head of 27 bytes: "
                "serve another status, or after_bytes up to 27."
            ),
        ),
    ],
)
def test_response_without_a_body_is_named_with_the_bytes_that_it_has(fault, expected):
    assert advice(serve(fault, strict=False), HEAD if "HEAD" in expected else GET) == expected


def test_response_without_a_body_is_named_behind_a_relay_too():
    with serve(ok()) as upstream:
        server = relay(upstream, close(after_bytes=500), strict=False)

        assert advice(server, HEAD) == TO_HEAD.format(64, ", or after_bytes up to 64")


def test_head_is_no_reason_for_a_strike_that_waits_for_no_body():
    assert advice(serve(reset(at="idle", after_seconds=60), strict=False), HEAD).startswith("The client closed the")


# --- another plan ----------------------------------------------------------------------------------------------------


def test_plan_that_no_attempt_has_met_since_become_is_told_so():
    with serve(ok(), strict=False) as server:
        speak(server, GET)
        speak(server, GET)
        server.become(reset())

    assert tell(server) == "No attempt met this plan since become(…): 2 met the plan before it."


def test_plan_that_no_attempt_has_met_before_the_next_is_told_so():
    with contextlib.closing(serve(ok())) as server:
        speak(server, GET)
        server.become(close())
        server.become(ok(b"x"))
        speak(server, GET)

    assert tell(server) == (
        "No attempt met this plan before the next become(…): 1 met the plan before it, 1 met the plan after it."
    )


def test_attempts_at_another_plan_are_no_reason():
    with serve(ok(), strict=False) as server:
        speak(server, GET)
        server.become(fl.sequence(ok(), reset()))
        speak(server, GET)

    assert tell(server) == "The client made 1 attempt, the plan has 2."


def test_attempts_without_a_plan_are_no_reason():
    plan = stamped(reset(), 0)

    assert told(plan, plan, BREAK, [Attempt(1, 1, HEALTHY, "idle", 0.0)]) == ""


def test_healthy_answer_on_a_kept_connection_is_no_reason():
    plan = stamped(fl.sequence(ok(), fl.refuse()), 0)
    seen = [Attempt(1, 1, plan.entries[0], "idle", 0.0), Attempt(2, 1, HEALTHY, "idle", 0.1)]

    assert told(plan, plan.entries[1], BREAK, seen) == ""


# --- TLS where there is none, and none where there is TLS ------------------------------------------------------------

NO_TLS = "The server speaks TLS, and the client did not: use server.url, which begins with https"
TLS = (
    "The client spoke TLS, and the server does not: use server.url, which begins with http, "
    "or start the server with TLS."
)


@each_row(
    ("server", "expected"),
    [
        (lambda: serve(reset(), tls=True, strict=False), f"{NO_TLS}, or start the server without TLS."),
        (
            lambda: fl.intercept("https://api.example.com", reset(), strict=False),
            f"{NO_TLS}, or start the server without TLS.",
        ),
        (
            lambda: serve(fl.sequence(ok(), reset()), tls=True, strict=False),
            f"{NO_TLS}, or start the server without TLS.",
        ),
        (lambda: serve(fl.bad_cert("expired"), strict=False), f"{NO_TLS}."),
    ],
)
def test_client_without_tls_is_told_the_url(server, expected):
    assert advice(server(), GET) == expected


@each_row(
    "plan",
    [
        fl.status(503),
        close(at="idle"),
        close(on=b"GET"),
        fl.sequence(ok(), reset()),
        fl.when(lambda r: r.target == "/pay", reset()),
        fl.script(fl.receive_until(b"\r\n\r\n"), reset()),
    ],
)
def test_client_that_speaks_tls_to_a_plain_server_is_told_the_url(plan):
    with serve(plan, strict=False) as server:
        client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).wrap_socket(socket.socket(), server_hostname=server.host)
        client.settimeout(0.05)
        with client, contextlib.suppress(OSError):
            client.connect(server.address)
        server.wait_for_attempts(1, at="end")

    assert tell(server) == TLS


@each_row(("fault", "instead"), [(reset(), "at='accept' or a script"), (fl.bad_cert("expired"), "a script")])
def test_client_that_begins_no_tls_is_told_so(fault, instead):
    server = serve(fault, tls=True, strict=False)

    assert advice(server) == (
        f"The client began no TLS: if it waits for the server to speak first, use {instead} with starttls()."
    )


@each_row("said", [[b"NOOP\r\n"], []])
def test_client_that_begins_no_tls_after_starttls_is_told_so(said):
    server = serve(fl.script(fl.receive_until(b"STARTTLS\r\n"), fl.starttls(), reset()), strict=False)
    with server:
        with socket.create_connection(server.address, 10) as client:
            client.sendall(b"STARTTLS\r\n")
            server.wait_for_attempts(1, at="handshake")
            for word in said:
                client.sendall(word)
                client.recv(1)
        server.wait_for_attempts(1, at="end")

    assert tell(server) == "The client began no TLS after starttls()."


def test_client_that_shows_no_certificate_is_told_so():
    with serve(reset(), tls="mutual", strict=False) as server:
        context = ssl.create_default_context(cafile=server.ca_file)
        with (
            contextlib.suppress(OSError),
            socket.create_connection(server.address, 10) as client,
            context.wrap_socket(client, server_hostname=server.host) as secure,
        ):
            secure.recv(1)
        server.wait_for_attempts(1, at="end")

    assert tell(server) == (
        "The client showed no certificate, which tls='mutual' requires: give it server.client_cert_file."
    )


def test_client_that_does_not_trust_the_ca_is_told_so_before_the_attempts_are_counted():
    with serve(fl.sequence(ok(), reset()), tls=True, strict=False) as server:
        client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).wrap_socket(socket.socket(), server_hostname=server.host)
        with client, pytest.raises(ssl.SSLCertVerificationError):
            client.connect(server.address)
        server.wait_for_attempts(1, at="end")

    assert tell(server).startswith("The client does not trust server.ca_file, so it left in the handshake: ")


def test_client_that_does_not_trust_a_wrong_ca_is_no_reason():
    with serve(fl.sequence(fl.bad_cert("untrusted_root"), reset()), strict=False) as server:
        client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).wrap_socket(socket.socket(), server_hostname=server.host)
        with client, pytest.raises(ssl.SSLCertVerificationError):
            client.connect(server.address)
        server.wait_for_attempts(1, at="end")

    assert tell(server) == "The client made 1 attempt, the plan has 2."


# --- relays and proxies ----------------------------------------------------------------------------------------------


def test_client_that_speaks_tls_through_a_relay_to_a_plain_server_is_told_so():
    with serve(ok(b"hello")) as upstream, relay(upstream, reset(at="response", on=b"hi"), strict=False) as server:
        client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).wrap_socket(socket.socket(), server_hostname=server.host)
        with client, pytest.raises(ssl.SSLError):
            client.connect(server.address)
        server.wait_for_attempts(1, at="end")

    assert tell(server) == TLS


def test_upstream_that_is_not_there_is_named():
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        server = relay("{}:{}".format(*nobody.getsockname()), reset(after_bytes=9), strict=False)

        assert advice(server, GET) == "There was no connection to the upstream: is it running?"


def test_target_of_a_tunnel_that_is_not_there_is_named():
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        asked = "CONNECT {0}:{1} HTTP/1.1\r\nHost: {0}:{1}\r\n\r\n".format(*nobody.getsockname())
        server = fl.http_proxy(reset(at="tunnel"), strict=False)

        assert advice(server, asked.encode()) == "There was no connection to the upstream: is it running?"


PROTOCOL = "The client did not speak the protocol of the proxy: use server.proxy_url, which names it."


@each_row(
    ("start", "said", "expected"),
    [
        (fl.socks_proxy, GET, PROTOCOL),
        (fl.socks_proxy, b"\5\1\0", "The client left first."),
        (fl.http_proxy, b"\5\1\0", PROTOCOL),
        (
            fl.http_proxy,
            b"CONNECT 192.0.2.1:80 HTTP/1.1\r\nHost: 192.0.2.1:80\r\n\r\n",
            "The proxy refused to open the tunnel.",
        ),
    ],
)
def test_tunnel_that_was_not_opened_is_explained_by_the_protocol(start, said, expected):
    assert advice(start(reset(at="tunnel"), strict=False), said) == expected


HAS_THEM = "use server.proxy_url, which contains them."
CONNECT = b"CONNECT 127.0.0.1:1 HTTP/1.1\r\nHost: 127.0.0.1:1\r\n%s\r\n"


@each_row(
    ("start", "said", "gave"),
    [
        (fl.http_proxy, [CONNECT % b""], "no"),
        (fl.http_proxy, [CONNECT % b"Proxy-Authorization: Basic eDp5\r\n"], "other"),
        (fl.socks_proxy, [b"\5\1\0"], "no"),
        (fl.socks_proxy, [b"\5\1\2", b"\1\1x\1y"], "other"),
    ],
)
def test_client_without_the_credentials_of_a_proxy_is_told_so(start, said, gave):
    server = start(reset(at="tunnel"), auth=("u", "p"), strict=False)

    assert advice(server, *said) == f"The client gave {gave} credentials: {HAS_THEM}"


def test_client_that_offers_no_method_of_socks_is_not_told_of_credentials():
    server = fl.socks_proxy(reset(at="tunnel"), strict=False)

    assert "credentials" not in advice(server, b"\5\1\1")


@each_row("end", [reset, close])
def test_upstream_that_ended_the_connection_first_is_named(end):
    with serve(end(after_bytes=20)) as upstream:
        server = relay(upstream, reset(at="response", after_bytes=40), strict=False)
        with server:
            with socket.create_connection(server.address, 10) as client, contextlib.suppress(ConnectionResetError):
                client.sendall(GET)
                while client.recv(65_536):
                    pass
            server.wait_for_attempts(1, at="end")

    assert tell(server) == "The upstream ended the connection after 20 bytes: strike after fewer bytes."


# --- bytes that passed in the other direction ------------------------------------------------------------------------


@each_row(
    ("fault", "expected"),
    [
        (
            reset(on=b"200 OK"),
            "b'200 OK' came from the server, and on= searches the bytes of the client here: use at='response'.",
        ),
        (
            reset(at="response", on=re.compile(rb"Host: \w+")),
            r"b'Host: \\w+' came from the client, and on= searches the bytes of the server here: use at='request'.",
        ),
        (
            reset(at="response", on=b"late"),
            "b'late' came from the client, and on= searches the bytes of the server here: use at='request'.",
        ),
    ],
)
def test_words_of_the_other_side_are_named(fault, expected):
    post = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 204\r\n\r\n" + b"." * 200 + b"late"

    assert advice(serve(fault, strict=False), post) == expected


def test_client_that_leaves_in_the_middle_of_the_response_is_not_told_of_words_in_it():
    with serve(reset(at="response", on=b"END"), answer=ok(b"x" * 16_000_000), strict=False) as server:
        with socket.create_connection(server.address, 10) as client:
            client.sendall(GET)
            client.recv(10)  # and leaves bytes unread, so that its end is RST
        server.wait_for_attempts(1, at="end")

    assert tell(server) == "The client left first."


def test_client_that_leaves_in_the_middle_of_the_request_is_not_told_of_words_in_it():
    with serve(reset(on=b"NEEDLE"), strict=False) as server:
        with socket.create_connection(server.address, 10) as client:
            client.sendall(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 50\r\n\r\nabc")
        server.wait_for_attempts(1, at="end")

    assert tell(server) == "The client left first."


# --- a script that waited --------------------------------------------------------------------------------------------

GREETED = (fl.send(b"220 hi\r\n"), fl.receive_until(b"\r\n"), fl.send(b"250 ok\r\n"))


def greet(server, word):
    """Exchange the greetings of the script, say this, and leave."""
    with socket.create_connection(server.address, 10) as client:
        client.settimeout(10)
        client.recv(8, socket.MSG_WAITALL)
        client.sendall(b"EHLO me\r\n")
        client.recv(8, socket.MSG_WAITALL)
        client.sendall(word)
    server.wait_for_attempts(1, at="end")


LEFT = "The client left first, while the script waited for the client."


@each_row(
    ("step", "note"),
    [
        (
            fl.receive_until(b"QUIT"),
            r"the script waited for b'QUIT', and 9 bytes came, the last of them b'MAIL me\r\n'",
        ),
        (
            fl.receive(100),
            r"the script waited for 100 bytes, and 9 bytes came, the last of them b'MAIL me\r\n'",
        ),
    ],
)
def test_bytes_that_a_script_waited_for_in_vain_are_named_and_those_that_came(step, note):
    with serve(fl.script(*GREETED, step, reset()), strict=False) as server:
        greet(server, b"MAIL me\r\n")

    assert tell(server) == LEFT
    assert server.attempts[0].note == note


def test_client_that_sends_nothing_to_a_script_that_waits_is_told_so():
    with serve(fl.script(*GREETED, fl.receive_until(b"QUIT"), reset()), strict=False) as server:
        greet(server, b"")

    assert tell(server) == LEFT
    assert server.attempts[0].note == "the script waited for b'QUIT', and no byte came"


def test_server_that_was_closed_while_its_script_waited_is_told_so():
    with serve(fl.script(*GREETED, reset()), strict=False) as server:
        client = socket.create_connection(server.address, 10)
        server.wait_for_attempts(1, at="request")
    client.close()

    assert tell(server) == "The server was closed first, while the script waited for the client."


# --- controls of the test --------------------------------------------------------------------------------------------

PAUSED = "The test paused the server, which holds all bytes back: call server.resume() before the client gives up."


@pytest.mark.parametrize(
    ("plan", "isolated"),
    [
        (reset(), False),
        (fl.sequence(ok(), reset()), False),
        (fl.script(fl.receive_until(b"\r\n"), fl.send(b"hi"), reset()), False),
        pytest.param(reset(), True, marks=pytest.mark.slow),
    ],
    ids=repr,
)
def test_test_that_held_the_request_back_is_told_so(plan, isolated):
    with serve(plan, strict=False, isolated=isolated) as server:
        server.pause()
        with socket.create_connection(server.address, 10) as client:
            client.sendall(GET)
            server.wait_for_attempts(1)

    assert server.attempts[0].note.startswith("paused by the test")
    assert tell(server) == PAUSED


def test_attempt_that_ends_after_resume_is_not_said_to_be_paused():
    with serve(reset(at="idle", after_seconds=30), strict=False) as server:
        server.pause()
        server.resume()
        speak(server, GET)
        server.wait_for_attempts(1, at="end")

    assert server.attempts[0].note == ""


def test_attempt_that_was_struck_before_it_was_held_is_not_said_to_be_paused():
    with serve(fl.stall()) as server, socket.create_connection(server.address, 10) as client:
        client.sendall(GET)
        server.wait_for_attempts(1, at="strike")
        server.pause()
        server.close()

    assert server.attempts[0].note == ""


@each_row(
    ("note", "kept"),
    [("", PARTITIONED), ("closed by the test", "closed by the test"), ("why", f"{PARTITIONED}; why")],
)
def test_note_of_an_attempt_that_ends_while_the_server_is_held_says_so_first(note, kept):
    ledger = Ledger(held_by_test=PARTITIONED)
    entry = ledger.begin(1, HEALTHY, "request")
    entry.note = note
    ledger.end(entry, "server", "FIN")

    assert ledger.attempts[0].note == kept


def test_test_that_partitioned_the_server_is_told_so():
    plan = stamped(reset(), 0)
    seen = [Attempt(1, 1, plan, "request", 0.0, ended_by="server", ended_how="stop", note=PARTITIONED)]

    assert told(plan, plan, BREAK, seen) == (
        "The test partitioned the server, which drops all packets: call server.heal() before the client gives up."
    )


@each_row(
    ("control", "expected"),
    [
        ("close_all", "The test closed the connection first, by server.close_all()."),
        ("reset_all", "The test reset the connection first, by server.reset_all()."),
    ],
)
def test_test_that_ended_the_connection_before_the_strike_is_told_so(control, expected):
    server = serve(reset(at="request", after_bytes=50), strict=False)
    with server, socket.create_connection(server.address, 10) as client:
        client.sendall(b"GET")
        server.wait_for_attempts(1, at="request")
        getattr(server, control)()

    assert tell(server) == expected


# --- the end of a connection -----------------------------------------------------------------------------------------


def test_client_that_leaves_after_the_response_of_a_relay_is_told_to_keep_its_connection():
    with serve(ok()) as upstream:
        server = relay(upstream, close(at="idle", after_seconds=30), strict=False)

        assert advice(server, GET) == (
            "The client closed the connection after the response: use at='response', "
            "or a client that keeps connections open for 30 s, such as a pool."
        )


def test_upstream_that_ends_the_connection_is_named():
    closing = ok(headers={"Connection": "close"})
    with serve(closing) as upstream, relay(upstream, close(at="idle", after_seconds=30), strict=False) as server:
        with socket.create_connection(server.address, 10) as client:
            client.sendall(GET)
            while client.recv(65_536):
                pass
        server.wait_for_attempts(1, at="end")

    assert tell(server) == (
        "The upstream closed the connection after the response: use at='response', "
        "or a client that keeps connections open for 30 s, such as a pool."
    )


def test_test_that_ends_before_the_time_of_a_fault_is_told_so():
    with serve(reset(at="idle", after_seconds=30), strict=False) as server:
        client = socket.create_connection(server.address, 10)
        client.sendall(GET)
        client.recv(65_536)
        server.wait_for_attempts(1, at="idle")
    client.close()

    assert tell(server) == "The server was closed first, before after_seconds=30 had passed."


@each_row(
    ("fault", "expected"),
    [
        (
            fl.latency(30) & reset(after_bytes=10),
            "The client left first: its timeout may be too short for the latency.",
        ),
        (
            fl.latency(30) & fl.throttle(10) & close(at="response", on=b"200"),
            "The client left first: its timeout may be too short for the latency and the throttle.",
        ),
        (reset(after_bytes=10, after_seconds=30), "The client left first, before after_seconds=30 had passed."),
    ],
)
def test_client_that_leaves_before_the_bytes_is_not_told_of_too_few_bytes(fault, expected):
    with serve(fault, strict=False) as server:
        with socket.create_connection(server.address, 10) as client:
            client.sendall(GET)
            server.wait_for_attempts(1, at="response")
        server.wait_for_attempts(1, at="end")

    assert tell(server) == expected


def test_handshake_that_is_shorter_than_the_fault_waits_for_is_told_so():
    server = serve(reset(at="handshake", after_bytes=100_000), tls=True, strict=False)

    assert advice(server, GET, tls=True) == (
        "The handshake was over before this number of bytes: use a smaller after_bytes."
    )


# --- every sentence about every case ---------------------------------------------------------------------------------

NAMED = re.compile(r"(?<![.\w])([a-z]+(?:_[a-z]+)+|\w+(?==))(?:='(\w+)')?")  # after_bytes, at='accept'
OF_SERVERS = {"tls"}
TURNS = (
    (),
    (Turn("client", 0.0, 40, HEAD), Turn("server", 0.0, 40, b"HTTP/1.1 200 OK\r\n\r\n")),
    (Turn("client", 0.0, 40, GET), Turn("server", 0.0, 40, b"HTTP/1.1 204 No Content\r\n\r\n")),
    (Turn("client", 0.0, 40, b"200 OK"), Turn("server", 0.0, 40, b"Host: SSH-2.0")),
    (Turn("client", 0.0, 40, b"\x16\x03\x01"),),
)
ENDS = (
    {"ended_by": None},
    {"ended_by": "client", "ended_how": "FIN", "tls": TlsFacts()},
    {"ended_by": "client", "ended_how": "FIN", "tls": TlsFacts(alert="unknown_ca")},
    {"ended_by": "server", "ended_how": "FIN", "note": f"{NOT_TLS}: http request"},
    {"ended_by": "server", "ended_how": "stop", "note": f"the server ended TLS: {NO_CERTIFICATE}"},
    {"ended_by": "upstream", "ended_how": "FIN", "note": f"the upstream {UNREACHED}"},
    {"ended_by": "server", "ended_how": "stop", "note": "paused by the test"},
    {"ended_by": "server", "ended_how": "FIN", "note": "closed by the test"},
)
OF_AN_END = {"ended_by": None, "ended_how": None, "tls": None, "note": ""}
CHOICES = {
    "stream": [{"stream": number} for number in (None, 1)],
    "point": [{"point": point} for point in POINTS],
    "received_bytes": [{"received_bytes": count} for count in (0, 40)],
    "sent_bytes": [{"sent_bytes": count} for count in (0, 40)],
    "turns": [{"turns": turns} for turns in TURNS],
    "request": [{"request": request} for request in (None, Request("GET", "/"), Request("HEAD", "/"))],
    "websocket": [{"websocket": facts} for facts in (None, WebSocketFacts(), WebSocketFacts(client_code=1000))],
    "ends": [{"ends": ends} for ends in ((), (End("upstream", "FIN", 0.0),))],
    **{key: [OF_AN_END | end for end in ENDS] for key in OF_AN_END},
}


class UnknownError(Exception):
    """What an attempt is asked for has not been chosen."""


class AnyAttempt:
    """An attempt of which only what was asked for has been chosen."""

    def __init__(self, **chosen):
        vars(self).update(chosen)

    def __getattr__(self, name):
        raise UnknownError(name)


def sentences(fault):
    """Every sentence of every reason about every part of a fault, for attempts of every kind, likely or not."""
    stamp, said = stamped(fault, 0), set()
    ahead = [
        (reason, branch, promise.key, {"connection": 1, "fault": stamp})
        for branch in branches_of(stamp)
        for promise in promises_of(branch)
        for reason in REASONS
    ]
    while ahead:
        reason, branch, part, chosen = ahead.pop()
        try:
            said.add(reason(branch, part, AnyAttempt(**chosen)))
        except UnknownError as unknown:
            ahead += [(reason, branch, part, chosen | choice) for choice in CHOICES[str(unknown)]]
    return said


def takes(mode, name, value):
    """Whether a mode has a parameter, and takes this value for it, if one is given."""
    function = find(mode).function
    if name not in inspect.signature(function).parameters:
        return False
    needed = {p.name: dict(find(mode).cases[0].arguments)[p.name] for p in find(mode).parameters if p.is_required}
    return value is None or bool(function(**needed, **{name: value}))


@pytest.mark.slow
@pytest.mark.measured
def test_advice_names_only_arguments_that_the_mode_has():
    wrong = [
        (str(case), name, value)
        for case in cases()
        for name, value in {match for sentence in sentences(case.fault) for match in NAMED.findall(sentence)}
        if name not in OF_SERVERS and not any(takes(said.mode, name, value or None) for said in case.fault.said)
    ]

    assert wrong == []


def test_advice_names_arguments_at_all():
    named = {match for sentence in sentences(reset(after_bytes=100)) for match in NAMED.findall(sentence)}

    assert named >= {("at", "accept"), ("after_bytes", "")}
