"""Typical code of users, checked by `mypy --strict` and never run: the types of the public surface are a promise."""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
import urllib.request

import pytest
from hypothesis import given

import faultline
from faultline import (
    Attempt,
    Control,
    DnsServer,
    Fault,
    Faultline,
    FaultlineError,
    Gate,
    Interception,
    Ledger,
    NotStruckError,
    ParameterError,
    Piece,
    PortError,
    Proxy,
    Recording,
    Request,
    Resolver,
    Server,
    ServerError,
    Strike,
    Sweep,
    TlsFacts,
    Turn,
    UdpServer,
    UnknownModeError,
    UnsupportedError,
    WaitError,
    addresses,
    bad_cert,
    bad_dns,
    blackhole,
    close,
    corrupt,
    cycle,
    drip,
    duplicated,
    echo,
    half_close,
    hold,
    latency,
    loss,
    no_address,
    nxdomain,
    ok,
    partition,
    raises,
    receive,
    receive_all,
    receive_request,
    receive_until,
    refuse,
    reordered,
    repeat,
    reset,
    resolves_to,
    respond,
    root_cause,
    script,
    send,
    sequence,
    serve,
    servfail,
    slow_resolve,
    socks_refusal,
    sometimes,
    stall,
    starttls,
    status,
    throttle,
    unreachable,
    when,
)
from faultline.pytest_plugin import Faultline as Fixture
from faultline.strategies import conditions, faults, plans


def uses(*_: object) -> None:
    """Whatever a test does with its values."""


def every_mode(gate: Gate) -> list[Fault]:
    return [
        ok(),
        ok(b"hello", status=201, headers={"X-Name": "value"}),
        ok(body=None, headers=(("Set-Cookie", "a=1"), ("Set-Cookie", "b=2"))),
        ok(headers=[("Retry-After", "1")]),
        echo(),
        refuse(),
        refuse(for_seconds=0.5),
        blackhole(for_seconds=1),
        unreachable(),
        reset(),
        reset(at="request", after_bytes=10),
        reset(at="idle", after_seconds=0.1),
        reset(on=b"QUIT", fin_first=True),
        close(at="handshake", close_notify=False),
        close(at="response", on=re.compile(rb"\r\n\r\n")),
        half_close(at="accept"),
        stall(for_seconds=2),
        stall(at="request", until=gate),
        partition(after_bytes=10, for_seconds=0.5),
        bad_cert(),
        bad_cert("self_signed"),
        latency(0.05, jitter_seconds=0.01, direction="both"),
        throttle(1000, direction="request"),
        drip(1, every_seconds=0.2),
        corrupt(at_byte=70),
        corrupt(probability=0.1),
        loss(0.1),
        latency(0.05) & bad_cert("expired"),
    ]


def every_script(gate: Gate) -> Fault:
    smtp = script(send(b"220 hi\r\n"), receive_until(b"\r\n"), starttls(), hold(0.1), hold(until=gate), reset())
    http = script(repeat(receive_request(), respond(), respond(ok(b"x"))), close())
    return smtp if receive(5) == receive(5) else http


def is_payment(request: Request) -> bool:
    return request.method == "POST" and request.target == "/pay" and request.header("accept") is not None


def every_plan() -> None:
    with serve(sequence(refuse(), reset(at="idle"), ok())) as server:
        server.become(cycle(ok(), sometimes(0.3, reset(), otherwise=ok(b"x"), seed=1), per="connection"))
        with server.becoming(when(is_payment, reset(), otherwise=echo())):
            server.become(when(lambda request: request.target == "/", close()))


def every_attribute_of_a_server() -> None:
    server: Server = serve(reset(), tls=True, answer=ok(b"x"), host="::1", port=8080, strict=False)
    host: str = server.host
    port: int = server.port
    address: tuple[str, int] = server.address
    texts: list[str] = [host, server.url, server.hostport, server.ca_file, server.drawing(), repr(server)]
    context: ssl.SSLContext = server.client_context()
    intervals: tuple[float, ...] = server.intervals
    ledger: Ledger = server.ledger
    attempts: tuple[Attempt, ...] = server.wait_for_attempts(1, 5.0, at="response") + server.attempts
    with socket.create_connection((address[0], port), timeout=1) as client:
        context.wrap_socket(client, server_hostname=host).close()
    server.become(ok())
    server.close()
    uses(texts, intervals, ledger.to_json(), attempts)


def every_attribute_of_an_attempt(attempt: Attempt) -> None:
    numbers: tuple[int, int | None, int, int] = (
        attempt.number,
        attempt.connection,
        attempt.received_bytes,
        attempt.sent_bytes,
    )
    times: tuple[float, float | None, float | None] = (
        attempt.started_seconds,
        attempt.ended_seconds,
        attempt.waited_seconds,
    )
    fault: Fault = attempt.fault
    words: tuple[str, str | None, str | None, str] = (attempt.point, attempt.ended_by, attempt.ended_how, attempt.note)
    request: Request | None = attempt.request
    struck: Strike | None = attempt.struck
    tls: TlsFacts | None = attempt.tls
    turns: tuple[Turn, ...] = attempt.turns
    if request is not None:
        asked: tuple[str, str, bytes, int] = (request.method, request.target, request.body, request.body_bytes)
        uses(asked, request.headers[0][0], request.header("host", "none"))
    if struck is not None:
        uses(struck.point, struck.after_bytes + 1, struck.at_seconds + 0.5)
    if tls is not None:
        uses(tls.version, tls.sni, tls.alpn, tls.alert)
    uses(numbers, times, fault == reset(), words, [turn.by for turn in turns], attempt.to_dict()["number"])


def what_is_raised_keeps_its_type() -> None:
    with raises(ConnectionResetError) as reset_:
        urllib.request.urlopen("http://127.0.0.1:1")
    number: int | None = reset_.cause.errno
    with raises((ssl.SSLCertVerificationError,)) as unverified:
        urllib.request.urlopen("https://127.0.0.1:1")
    code: int = unverified.cause.verify_code
    whole: BaseException = unverified.value
    cause: BaseException = root_cause(whole)
    uses(number, code, cause)


def every_error() -> tuple[type[FaultlineError], ...]:
    return (
        faultline.ConflictError,
        NotStruckError,
        ParameterError,
        PortError,
        ServerError,
        UnknownModeError,
        UnsupportedError,
        WaitError,
    )


def test_with_the_fixture(faultline: Faultline) -> None:
    server: Server = faultline.serve(reset(after_bytes=10), tls=False, strict=False)
    assert server.attempts[0].fault == reset(after_bytes=10)


def test_with_a_ready_made_fixture(reset_server: Server) -> None:
    with raises(ConnectionResetError):
        urllib.request.urlopen(reset_server.url)


@pytest.mark.faults(refuse(), stall())
def test_with_each_fault(fault_server: Server) -> None:
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(fault_server.url, timeout=0.1)


async def test_in_async_code(faultline: Faultline, gate: Gate) -> None:
    server = faultline.serve(stall(until=gate))
    reader, writer = await asyncio.open_connection(*server.address)
    gate.open()
    attempts = await asyncio.to_thread(server.wait_for_attempts, 1)
    uses(await reader.read(), writer, gate.is_open, attempts[0].number, faultline)


def test_around_the_connection(faultline: Faultline, monkeypatch: pytest.MonkeyPatch) -> None:
    server = faultline.serve(ok(), unix=True)
    path: str = server.path
    proxy: Proxy = faultline.http_proxy(status(403), to=server, auth=("user", "secret"))
    proxy.use_as_proxy(monkeypatch, no_proxy="localhost")
    url: str = faultline.socks_proxy(socks_refusal("rejected"), scheme="socks4a").proxy_url
    resolver: Resolver = faultline.resolve("api.example.com", nxdomain() & slow_resolve(0.1), strict=False)
    asked: list[str] = [attempt.request.target for attempt in resolver.attempts if attempt.request]
    production: Interception = faultline.intercept("https://api.example.com", reset(), block_others=True)
    found: Fault = addresses("dead_first", production) if asked else resolves_to("127.0.0.1:80")
    name_server: DnsServer = faultline.dns_server(sequence(servfail(), no_address(), bad_dns("truncated"), found))
    datagrams: UdpServer = faultline.udp(sequence(reordered(), duplicated()), answer=ok(b"pong"))
    uses(path, url, name_server.address, datagrams.wait_for_attempts(1))


def test_with_every_starter_of_the_fixture(faultline: Fixture) -> None:
    server: Server = faultline.serve(ok(), isolated=True)
    relays: list[Server] = [faultline.relay(server, reset(), tls="terminate"), faultline.relay("127.0.0.1:80")]
    proxies: list[Proxy] = [faultline.http_proxy(tls=True), faultline.socks_proxy(reset(), scheme="socks4")]
    uses(relays, proxies, faultline.dns_server(), faultline.udp(ok(), port=53))


def test_with_the_modes_of_the_fixture(faultline: Faultline) -> None:
    server: Server = faultline.serve(faultline.sequence(faultline.reset(after_bytes=10), faultline.status(503)))
    gate: Gate = faultline.Gate()
    fault: Fault = faultline.script(faultline.send(b"hi"), faultline.hold(until=gate)) & faultline.latency(0.1)
    with faultline.raises(ConnectionResetError, errno=104) as raised:
        server.become(fault)
    uses(raised.cause.errno)
    faultline.rest()  # type: ignore[attr-defined]
    faultline.reset(after=10)  # type: ignore[call-arg]


async def test_with_waits(faultline: Faultline) -> None:
    server = faultline.serve(reset())
    attempts: tuple[Attempt, ...] = await server.arrived(2, at="end")
    struck: Attempt = server.wait_for_strike(timeout_seconds=5)
    uses(attempts, struck)


def test_sweep(faultline: Faultline) -> None:
    runs: Sweep = faultline.sweep("127.0.0.1:5432", verbs=(reset(), close()), depth=2, max_seconds=60)
    for run in runs:
        with run(expected=(OSError, EOFError)) as server:
            run.returned = server.url
        with run.checks():
            uses(run.number, run.is_untouched)
    texts: list[str] = [runs.table(), runs.report()]
    again = faultline.sweep([ok(), lambda plan: faultline.relay("127.0.0.1:80", plan)], only=[reset(), ok()])
    uses(texts, again, faultline.sweep(5))  # type: ignore[arg-type]


def test_control(faultline: Faultline, faultline_control: Control) -> None:
    where: tuple[str, int, str] = (faultline_control.host, faultline_control.port, faultline_control.url)
    proxies: dict[str, Server] = faultline_control.proxies
    with faultline.control(metrics=True) as api:
        uses(where, proxies, api.hostport)


def test_wrong_calls_are_errors(faultline: Faultline) -> None:
    faultline.control(port="8474")  # type: ignore[arg-type]
    faultline.serve(reset(), prot=80)  # type: ignore[call-arg]
    faultline.serve("reset")  # type: ignore[arg-type]
    faultline.relay()  # type: ignore[call-arg]
    faultline.relay("127.0.0.1:80", tls="maybe")  # type: ignore[arg-type]
    faultline.http_proxy(scheme="http")  # type: ignore[call-arg]
    faultline.socks_proxy(scheme="socks6")  # type: ignore[arg-type]
    faultline.intercept("https://api.example.com")  # type: ignore[call-arg]
    faultline.resolve("api.example.com")  # type: ignore[call-arg]
    faultline.dns_server(port="53")  # type: ignore[arg-type]
    uses(faultline.udp(ok()).url)  # type: ignore[attr-defined]
    uses(faultline.serv)  # type: ignore[attr-defined]


def unknown_names_are_errors() -> None:
    from faultline import refsue  # type: ignore[attr-defined]
    from faultline.modes import rest  # type: ignore[attr-defined]

    uses(faultline.rest, refsue, rest)  # type: ignore[attr-defined]
    uses(faultline.unknown_mode())  # type: ignore[attr-defined]


def what_was_recorded(server: Server, path: str) -> None:
    recording: Recording = server.ledger.recording(mask=[b"secret", re.compile(rb"id=(\d+)")], by="requests")
    pieces: tuple[Piece, ...] | None = server.attempts[0].pieces
    server.ledger.to_pcap(path, port=5432, mask=lambda data: data)
    with serve(server.ledger.to_script(mask=True)) as replayed, serve(faultline.load(path), record=1_000):
        uses(recording.plan, recording.masked, recording.to_json(), pieces, replayed, receive_all())
    server.ledger.to_script(by="connections")  # type: ignore[arg-type]


@given(fault=faults(point="idle", verbs=("reset", stall())), condition=conditions(), plan=plans(max_size=2))
def test_of_hypothesis(fault: Fault, condition: Fault, plan: Fault) -> None:
    uses(fault & condition, plan)


def version() -> str:
    return faultline.__version__
