"""A relay that answers some requests by itself, and passes the others on to its upstream, byte for byte."""

from __future__ import annotations

import collections
import concurrent.futures
import contextlib
import http.client
import select
import socket
import threading

import pytest
import urllib3
from support import PATIENCE_SECONDS, accepted, address_of, ending, in_thread, leave_by_rst, read, read_until, to_end
from support.tables import each_row

from faultline import (
    NotStruckError,
    ParameterError,
    answer,
    by_path,
    close,
    cycle,
    echo,
    latency,
    ok,
    raises,
    redirect,
    refuse,
    relay,
    reset,
    sequence,
    serve,
    sse,
    stall,
    status,
    throttle,
    through,
    when,
)
from faultline._core.fault import Fault
from faultline._core.toxics import LimitData

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
CLOSING = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nhi"
IN_BYTES = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
MINE_BYTES = 106  # of a whole response to `status(503)`
UNAVAILABLE = sequence(status(503), through())
POST = b"POST /up HTTP/1.1\r\nhost: x\r\n"
CHUNKED = POST + b"transfer-encoding: chunked\r\n\r\n3;a=b\r\nabc\r\n0\r\nX-Trailer: y\r\n\r\n"


@contextlib.contextmanager
def keeping(server):
    """A client that keeps its connection: a function that asks, and returns status and body."""
    client = http.client.HTTPConnection(*server.address, timeout=PATIENCE_SECONDS)

    def ask(method="GET", path="/", body=None):
        client.request(method, path, body)
        response = client.getresponse()
        return response.status, response.read()

    try:
        yield ask
    finally:
        client.close()


@pytest.fixture
def passing(faultline, listener, dial):
    """A function that sends the first request through a relay that could answer; the server and both ends."""
    with contextlib.ExitStack() as stack:

        def joined(said, plan=None):
            server = faultline.relay(address_of(listener), plan or cycle(through(), status(503)), strict=False)
            client = dial(server)
            client.sendall(said)
            return server, client, stack.enter_context(accepted(listener))

        yield joined


# --- answers of the relay among those of the upstream ----------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"isolated": True}], ids=str)
def test_answers_of_the_relay_and_of_the_upstream_share_a_connection(faultline, options):
    real = faultline.serve(ok(b"real"))
    plan = cycle(status(503), through(), ok(b"mine"), latency(0.01), echo(), ok())
    server = faultline.relay(real, plan, **options)
    with keeping(server) as ask:
        got = [ask("POST", f"/{number}", b"x" * 100_000) for number in range(7)]

    mine = (503, b"503 Service Unavailable\n")
    assert got == [mine, (200, b"real"), (200, b"mine"), (200, b"real"), (200, b"x" * 100_000), (200, b"real"), mine]
    assert {attempt.connection for attempt in (*server.attempts, *real.attempts)} == {1}
    assert [a.request.target for a in real.attempts] == ["/1", "/3", "/5"]
    assert [(a.request.target, a.request.body_bytes) for a in server.attempts] == [(f"/{n}", 100_000) for n in range(7)]
    assert [a.fault for a in server.attempts][:2] == [status(503), through()]


@each_row(
    ("fault", "seen"),
    [
        (redirect("to_nowhere"), (302, b"")),
        (sse(("one",)), http.client.IncompleteRead),
        (sse(("one", "two"), break_="none", every_seconds=0.01), (200, b"data: one\n\ndata: two\n\n")),
        (answer(lambda request: ok(request.target.encode())), (200, b"/path")),
        (status(413), (413, b"413 Content Too Large\n")),
        (ok(b"slow") & throttle(1000), (200, b"slow")),
    ],
)
def test_any_answer_is_one_of_a_relay(faultline, listener, fault, seen):
    with keeping(faultline.relay(address_of(listener), fault)) as ask:
        if isinstance(seen, type):
            with pytest.raises(seen):
                ask("POST", "/path", b"body")
        else:
            assert ask("POST", "/path", b"body") == seen


def test_upstream_is_not_needed_for_an_answer_of_the_relay(faultline):
    with socket.create_server(("127.0.0.1", 0)) as sock:
        nobody = address_of(sock)
    server = faultline.relay(nobody, UNAVAILABLE, on_upstream_failure="close")
    with keeping(server) as ask:
        assert ask()[0] == 503
        with pytest.raises(http.client.RemoteDisconnected):
            ask()
    assert "could not be reached" in server.attempts[1].note


def test_relay_that_terminates_tls_reads_requests_in_it(faultline):
    real = faultline.serve(ok(b"real"), tls=True)
    server = faultline.relay(real, UNAVAILABLE, tls="terminate")
    client = http.client.HTTPSConnection(*server.address, timeout=10, context=server.client_context())
    with contextlib.closing(client):
        got = []
        for _ in range(2):
            client.request("GET", "/")
            response = client.getresponse()
            got.append((response.status, response.read()))
    assert got == [(503, b"503 Service Unavailable\n"), (200, b"real")]


def test_plan_that_a_test_changes_to_answers_is_met_by_later_connections(faultline):
    server = faultline.relay(faultline.serve(ok(b"real")))
    with keeping(server) as ask:
        assert ask() == (200, b"real")
    server.become(status(503))
    with keeping(server) as ask:
        assert ask()[0] == 503


def test_next_fault_that_needs_a_new_connection_gets_one(faultline):
    server = faultline.relay(faultline.serve(ok(b"real")), sequence(ok(b"mine"), through(), refuse(), ok()))
    with keeping(server) as ask:
        assert [ask(), ask()] == [(200, b"mine"), (200, b"real")]
        server.wait_for_attempts(2, at="end")  # by FIN
    with keeping(server) as ask, raises(ConnectionRefusedError):
        ask()
    with keeping(server) as ask:
        assert ask() == (200, b"real")


# --- choices by the request ------------------------------------------------------------------------------------------


def test_requests_choose_what_the_relay_does(faultline):
    real = faultline.serve(ok(b"real"))
    plan = by_path(
        {
            "/pay": sequence(status(503), reset(after_bytes=10), through()),
            "/up": sequence(close(at="request", after_body_bytes=5), through()),
            "/slow": latency(0.01),
            "/*": through(),
        }
    )
    server = faultline.relay(real, plan)
    seen = []
    for path in ("/pay", "/pay", "/pay", "/up", "/up", "/slow", "/else"):
        with keeping(server) as ask:
            try:
                seen.append(ask("POST", path, b"x" * 1000))
            except OSError as error:
                seen.append(type(error))

    assert (seen[0][0], seen[1]) == (503, ConnectionResetError)
    assert issubclass(seen[3], OSError)
    assert [seen[2], *seen[4:]] == [(200, b"real")] * 4
    assert [a.struck and (a.struck.point, a.struck.after_bytes) for a in server.attempts][1] == ("response", 10)
    assert server.attempts[3].struck.point == "request"


def test_condition_sees_the_head_before_the_body_has_come(passing):
    server, client, upstream = passing(
        POST + b"content-length: 5\r\n\r\n", when(lambda request: request.method == "POST", through() & latency(0.001))
    )
    assert read(upstream, len(POST) + 21) == POST + b"content-length: 5\r\n\r\n"
    client.sendall(b"hello")
    assert read(upstream, 5) == b"hello"
    upstream.sendall(IN_BYTES)
    assert read(client, len(IN_BYTES)) == IN_BYTES
    assert [strike.part.kind for strike in server.attempts[0].strikes] == ["condition"]


def test_client_that_leaves_within_the_head_has_asked_nothing(faultline, listener, dial):
    server = faultline.relay(address_of(listener), when(lambda _: True, status(503)), strict=False)
    dial(server, b"GET / HT").close()
    (attempt,) = server.wait_for_attempts(1, at="end")
    assert (attempt.note, attempt.ended_by) == ("the client left in the middle of the head of its request", "client")


def test_guard_says_what_was_asked(faultline):
    real = faultline.serve(ok())
    with (
        pytest.raises(NotStruckError, match=r"No request matched; there was GET /\."),
        relay(real, when(lambda request: request.target == "/pay", status(503))) as server,
        keeping(server) as ask,
    ):
        ask()


# --- what passes, passes as it is ------------------------------------------------------------------------------------

EXCHANGES = {
    "lengths": (POST + b"Content-Length: 3\r\n\r\nabc", IN_BYTES),
    "chunks": (CHUNKED, b"HTTP/1.1 200 fine\r\ntransfer-encoding: chunked\r\n\r\n1;x\r\na\r\n0\r\nT: v\r\n\r\n"),
    "HEAD": (b"HEAD / HTTP/1.1\r\nHost: x\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n"),
    "no content": (GET, b"HTTP/1.1 204 \r\nDate:  x\r\n\r\n"),
    "interim": (GET, b"HTTP/1.1 103 Early Hints\r\nLink: y\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n" + IN_BYTES),
    "upgrade that is not taken": (b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", IN_BYTES),
}


@pytest.mark.parametrize("piece", [1, 7, 100_000])
@each_row("exchange", EXCHANGES)
def test_exchange_passes_byte_for_byte_and_the_connection_goes_on(passing, exchange, piece):
    said, heard = EXCHANGES[exchange]
    server, client, upstream = passing(said)
    assert read(upstream, len(said)) == said
    for at in range(0, len(heard), piece):
        upstream.sendall(heard[at : at + piece])
    assert read(client, len(heard)) == heard

    client.sendall(GET)
    assert read(client, 12) == b"HTTP/1.1 503"
    assert [a.request.method for a in server.attempts] == [said.split()[0].decode(), "GET"]
    assert (server.attempts[0].received_bytes, server.attempts[0].sent_bytes) == (len(said), len(heard))


def test_requests_that_come_together_are_served_in_order(passing):
    first, second = CHUNKED, POST + b"Content-Length: 2\r\n\r\nhi"
    server, client, upstream = passing(first + second + GET, sequence(through(), status(503), through()))
    assert read(upstream, len(first)) == first
    upstream.sendall(IN_BYTES)
    assert read(client, len(IN_BYTES) + 12) == IN_BYTES + b"HTTP/1.1 503"
    assert read(upstream, len(GET)) == GET
    upstream.sendall(IN_BYTES)
    assert read(client, MINE_BYTES - 12 + len(IN_BYTES)).endswith(IN_BYTES)
    assert [a.received_bytes for a in server.attempts] == [len(first), len(second), len(GET)]


def test_upstream_decides_on_a_body_that_is_announced(passing):
    head = POST + b"Content-Length: 3\r\nExpect: 100-continue\r\n\r\n"
    _, client, upstream = passing(head)
    assert read(upstream, len(head)) == head
    upstream.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
    assert read(client, 25) == b"HTTP/1.1 100 Continue\r\n\r\n"
    client.sendall(b"abc")
    assert read(upstream, 3) == b"abc"
    upstream.sendall(IN_BYTES)
    assert read(client, len(IN_BYTES)) == IN_BYTES


def test_relay_refuses_a_body_that_is_announced(faultline, listener, dial):
    client = dial(faultline.relay(address_of(listener), by_path({"/up": status(413), "/*": through()}), strict=False))
    client.sendall(POST + b"Content-Length: 3\r\nExpect: 100-continue\r\n\r\n")
    assert to_end(client)[0].startswith(b"HTTP/1.1 413 ")


@each_row(
    ("head", "answered"),
    [
        (
            b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: echo\r\nConnection: Upgrade\r\n\r\n",
            b"HTTP/1.1 101 Switching\r\n\r\n",
        ),
        (b"CONNECT a.test:443 HTTP/1.1\r\nHost: a.test:443\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n"),
    ],
)
def test_after_an_upgrade_bytes_pass_and_breaks_strike(passing, head, answered):
    server, client, upstream = passing(head, when(lambda _: True, reset(at="response", on=b"stop")))
    assert read(upstream, len(head)) == head
    upstream.sendall(answered + b"first")
    assert read(client, len(answered) + 5) == answered + b"first"
    client.sendall(b"\x00any\r\n\r\n")
    assert read(upstream, 8) == b"\x00any\r\n\r\n"
    upstream.sendall(b"no stop")
    assert to_end(client) == (b"no stop", "RST")
    assert server.attempts[0].struck.point == "response"


@each_row(
    ("head", "answered"),
    [
        (b"CONNECT a.test:443 HTTP/1.1\r\nHost: a.test:443\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n"),
        (b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n", b"HTTP/1.1 101 Yes\r\n\r\n"),
        (GET, b"SSH-2.0-x\r\n"),
    ],
)
def test_bytes_that_came_with_the_head_pass_once_the_bytes_are_no_http(passing, head, answered):
    server, client, upstream = passing(head + b"early", cycle(reset(at="request", on=b"rly+later"), status(503)))
    assert read(upstream, len(head)) == head
    upstream.sendall(answered)
    assert read(client, len(answered)) == answered
    assert read(upstream, 5) == b"early"
    client.sendall(b"+later")
    assert to_end(client) == (b"", "RST")
    assert server.attempts[0].received_bytes == len(head) + 11


@each_row("answered", [IN_BYTES, b"HTTP/1.1 204 \r\n\r\n", CLOSING])
def test_bytes_behind_a_response_pass_too(passing, answered):
    _, client, upstream = passing(GET)
    assert read(upstream, len(GET)) == GET
    upstream.sendall(answered + b"extra")
    assert read(client, len(answered) + 5) == answered + b"extra"
    client.sendall(b"more")
    assert read(upstream, 4) == b"more"


@pytest.mark.slow
@pytest.mark.measured
def test_upload_is_whole_although_its_response_is_no_http(passing, listener):
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    _, client, upstream = passing(POST)
    assert read(upstream, len(POST)) == POST
    body = bytes(range(250)) * 80_000
    said = memoryview(b"Content-Length: %d\r\n\r\n%b" % (len(body), body))
    sent_bytes = 0
    while select.select([], [client], [], 0.05)[1]:  # until no one takes more: the relay is in the middle of a piece
        sent_bytes += client.send(said[sent_bytes : sent_bytes + 50_000])
    assert sent_bytes < len(said)
    upstream.sendall(b"SSH-2.0-x\r\n")
    assert read(client, 11) == b"SSH-2.0-x\r\n"
    with in_thread(client.sendall, said[sent_bytes:]):
        assert read(upstream, len(said)) == said


@each_row(
    ("said", "answered"),
    [
        (b"EHLO me\r\n", b"250 hi\r\n"),
        (GET, b"SSH-2.0-x\r\n"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", IN_BYTES),
    ],
)
def test_what_is_no_http_passes_too(passing, said, answered):
    _, client, upstream = passing(said)
    assert read(upstream, len(said)) == said
    for _ in range(2):
        upstream.sendall(answered)
        assert read(client, len(answered)) == answered
        client.sendall(b"\0more")
        assert read(upstream, 5) == b"\0more"


def test_upstream_may_speak_first(faultline, listener, dial):
    client = dial(faultline.relay(address_of(listener), cycle(through(), status(503)), strict=False))
    with accepted(listener) as upstream:
        upstream.sendall(b"220 hi\r\n")
        assert read(client, 8) == b"220 hi\r\n"
        client.sendall(b"QUIT\r\n")
        assert read(upstream, 6) == b"QUIT\r\n"


@each_row("said", [b"", POST])
def test_client_may_finish_sending_before_an_upstream_that_speaks_no_http_has_said_all(faultline, listener, dial, said):
    client = dial(faultline.relay(address_of(listener), cycle(through(), status(503)), strict=False))
    with accepted(listener) as upstream:
        client.sendall(said)
        assert read(upstream, len(said)) == said
        upstream.sendall(b"220 hi\r\n")
        assert read(client, 8) == b"220 hi\r\n"
        client.shutdown(socket.SHUT_WR)
        assert to_end(upstream) == (b"", "FIN")
        upstream.sendall(b"221 bye\r\n")
        assert read(client, 9) == b"221 bye\r\n"


# --- ends ------------------------------------------------------------------------------------------------------------


@each_row(
    ("answered", "leave", "end"),
    [
        (b"HTTP/1.0 200 OK\r\n\r\nto the end", socket.socket.close, "FIN"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\ncut", socket.socket.close, "FIN"),
        (b"", socket.socket.close, "FIN"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\ncut", leave_by_rst, "RST"),
    ],
)
def test_end_of_the_upstream_within_its_response_is_that_of_the_client(passing, answered, leave, end):
    server, client, upstream = passing(GET)
    assert read(upstream, len(GET)) == GET
    upstream.sendall(answered)
    assert read(client, len(answered)) == answered
    leave(upstream)
    assert to_end(client) == (b"", end)
    assert ending(server.wait_for_attempts(1, at="end")[0]) == ("upstream", end)


def test_response_that_closes_ends_the_connection(passing):
    _, client, upstream = passing(GET)
    assert read(upstream, len(GET)) == GET  # a response to no request is bytes that pass
    upstream.sendall(CLOSING)
    assert to_end(client) == (CLOSING, "FIN")


def test_early_response_ends_an_upload(passing):
    head = POST + b"Content-Length: 100\r\n\r\n"
    refusal = b"HTTP/1.1 413 Content Too Large\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
    _, client, upstream = passing(head)
    assert read(upstream, len(head)) == head
    upstream.sendall(refusal)
    assert to_end(client)[0] == refusal


def test_early_response_that_keeps_the_connection_waits_for_the_rest_of_the_upload(passing):
    head = POST + b"Content-Length: 3\r\n\r\n"
    _, client, upstream = passing(head)
    assert read(upstream, len(head)) == head
    upstream.sendall(IN_BYTES)
    assert read(client, len(IN_BYTES)) == IN_BYTES
    client.sendall(b"abc" + GET)
    assert read(upstream, 3) == b"abc"
    assert read(client, 12) == b"HTTP/1.1 503"


def test_upload_to_an_upstream_that_has_gone_ends_as_it_has(passing):
    server, client, upstream = passing(POST + b"Content-Length: 9000000\r\n\r\n")
    read(upstream, 10)
    leave_by_rst(upstream)
    with contextlib.suppress(OSError):
        client.sendall(b"x" * 8_000_000)
    assert ending(server.wait_for_attempts(1, at="end")[0]) == ("upstream", "RST")


def test_upstream_that_closes_between_requests_is_reached_again(faultline, listener):
    server = faultline.relay(address_of(listener), cycle(through(), ok(b"mine")))
    has_closed = threading.Event()

    def serve_twice():
        for _ in range(2):
            with accepted(listener) as upstream:
                assert read_until(upstream, b"\r\n\r\n").startswith(b"GET ")  # all of it: otherwise the close is a RST
                upstream.sendall(IN_BYTES)
            has_closed.set()

    with in_thread(serve_twice), keeping(server) as ask:
        assert [ask(), ask()] == [(200, b"hello"), (200, b"mine")]
        assert has_closed.wait(PATIENCE_SECONDS)
        assert ask() == (200, b"hello")


@each_row(("leave", "end"), [(socket.socket.close, "FIN"), (leave_by_rst, "RST")])
def test_client_that_leaves_takes_its_upstream_with_it(passing, leave, end):
    server, client, upstream = passing(GET)
    assert read(upstream, len(GET)) == GET
    leave(client)
    assert to_end(upstream) == (b"", end)
    assert ending(server.wait_for_attempts(1, at="end")[0]) == ("client", end)


@each_row(
    ("fault", "passed", "seen"),
    [
        (reset(at="request", after_bytes=10), 10, (b"", "RST")),
        (close(at="request", on=b"hello"), len(POST) + 26, (b"", "FIN")),
        (stall(at="request", after_bytes=len(POST) + 3, for_seconds=0.01), len(POST) + 26, (CLOSING, "FIN")),
        (reset(after_bytes=4), len(POST) + 26, (b"HTTP", "RST")),
        (reset(at="request"), 0, (b"", "RST")),
        (by_path({"/up": reset(at="request")}), 0, (b"", "RST")),
    ],
)
def test_break_strikes_among_the_bytes_that_pass(passing, fault, passed, seen):
    said = POST + b"Content-Length: 5\r\n\r\nhello"
    assert len(said) == len(POST) + 26
    server, client, upstream = passing(said, sequence(fault, status(503)))
    assert read(upstream, passed) == said[:passed]
    if passed:  # an upstream that speaks before is passed on at once
        with contextlib.suppress(OSError):
            upstream.sendall(CLOSING)
    assert to_end(client) == seen
    assert to_end(upstream)[0] == b""  # which gets no more than that
    assert server.attempts[0].struck.point == server.attempts[0].fault.break_.at


def test_client_that_leaves_within_its_request_has_left(passing):
    server, client, upstream = passing(POST + b"Content-Length: 5\r\n\r\nhe")
    client.shutdown(socket.SHUT_WR)
    assert read(upstream, len(POST) + 23) == POST + b"Content-Length: 5\r\n\r\nhe"
    assert to_end(client) == to_end(upstream) == (b"", "FIN")
    assert ending(server.wait_for_attempts(1, at="end")[0]) == ("client", "FIN")


def test_condition_that_ends_the_connection_ends_both(passing):
    cut = Fault(conditions=(LimitData(count_bytes=4, direction="response"),))
    _, client, upstream = passing(GET, cycle(cut, status(503)))
    assert read(upstream, len(GET)) == GET
    upstream.sendall(IN_BYTES)
    assert to_end(client) == (b"HTTP", "FIN")
    assert to_end(upstream)[0] == b""


def test_idle_breaks_in_silence_between_two_requests(faultline):
    real = faultline.serve(ok(b"real"))
    server = faultline.relay(real, sequence(ok(b"mine"), close(at="idle", after_seconds=0.01), ok(b"again")))
    with keeping(server) as ask:
        assert [ask(), ask()] == [(200, b"mine"), (200, b"real")]
        server.wait_for_attempts(2, at="end")
    with keeping(server) as ask:
        assert ask() == (200, b"again")
    assert server.attempts[1].struck.point == "idle"


def test_server_has_nothing_to_pass_a_request_on_to():
    with pytest.raises(ParameterError) as caught:
        serve(sequence(status(503), through()))
    assert str(caught.value).startswith("through(): expected relay(…); a server has no upstream.")


@pytest.mark.slow
@pytest.mark.parametrize("tls", ["through", "terminate"])
def test_many_clients_of_a_pool_get_each_fault_exactly_as_often_as_planned(faultline, tls):
    body, chunk = b"x" * 100_000, b"x" * 1000
    real = faultline.serve(ok(chunks=(chunk,) * 100))
    plan = cycle(
        through(), status(503), ok(b"mine"), reset(after_bytes=5), latency(0.001), close(at="request", on=b"/")
    )
    server = faultline.relay(real, plan, tls=tls)
    url = server.url.replace("127.0.0.1", "localhost")

    def ask(number):
        try:
            response = pool.request(("GET", "POST")[number % 2], f"{url}/", body=(None, body)[number % 2])
        except urllib3.exceptions.ProtocolError:
            return "broken"
        return {body: "real", b"mine": "mine", b"503 Service Unavailable\n": "refused"}[response.data]

    with (
        urllib3.PoolManager(ca_certs=server.ca_file, maxsize=8, retries=False, timeout=PATIENCE_SECONDS) as pool,
        concurrent.futures.ThreadPoolExecutor(8) as threads,
    ):
        got = collections.Counter(threads.map(ask, range(120)))
    assert got == {"real": 40, "mine": 20, "refused": 20, "broken": 40}
