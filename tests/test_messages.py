"""A mistake of a user, and the message: the name, the value, what was expected, and what to write instead."""

from __future__ import annotations

import datetime
import inspect
import re
import warnings

import pytest
from support.tables import each_row

import faultline
from faultline import (
    FaultlineError,
    FaultlineWarning,
    ParameterError,
    Server,
    drip,
    hold,
    latency,
    ok,
    refuse,
    reset,
    sequence,
    serve,
    slow_resolve,
    stall,
)
from faultline._core.check import plain
from faultline.modes._catalogue import cases, modes

NAMES = {name: getattr(faultline, name) for name in faultline.__all__} | {"datetime": datetime}
MISTAKES = [
    ("stall(5)", "stall(5): expected for_seconds=5, with its name; write stall(for_seconds=5)."),
    (
        "reset(after=10)",
        "reset(after=10): expected after_bytes=10, after_seconds=10, after_messages=10, after_body_bytes=10 or after_requests=10, not after; write reset(after_bytes=10).",
    ),
    ("latency(ms=50)", "latency(ms=50): expected seconds=0.05, not ms; write latency(seconds=0.05)."),
    ('latency("50ms")', "seconds='50ms': expected a number of seconds, 0 or more; write 0.05."),
    (
        "latency(datetime.timedelta(seconds=2))",
        "seconds=datetime.timedelta(seconds=2): expected a number of seconds, 0 or more; write 2.",
    ),
    ("reset(10)", "reset(10): expected after_bytes=10, with its name; write reset(after_bytes=10)."),
    ("reset(0.5)", "reset(0.5): expected after_seconds=0.5, with its name; write reset(after_seconds=0.5)."),
    ('reset("idle")', "reset('idle'): expected at='idle', with its name; write reset(at='idle')."),
    ('reset(b"QUIT")', "reset(b'QUIT'): expected on=b'QUIT', with its name; write reset(on=b'QUIT')."),
    (
        "stall(Gate())",
        "stall(<Gate closed>): expected until=<Gate closed>, with its name; write stall(until=<Gate closed>).",
    ),
    ("refuse(1)", "refuse(1): expected for_seconds=1, with its name; write refuse(for_seconds=1)."),
    (
        "blackhole(for_ms=500)",
        "blackhole(for_ms=500): expected for_seconds=0.5, not for_ms; write blackhole(for_seconds=0.5).",
    ),
    ('ok("hello")', "body='hello': expected bytes, not str; write ok(b'hello')."),
    ('ok(b"x",201)', "ok(b'x', 201): expected status=201, with its name; write ok(b'x', status=201)."),
    ('ok(b"x",body=b"y")', "ok(b'x', body=b'y'): expected body once; write ok(b'x')."),
    ("status()", "status(): expected code, which has no default; write status(503)."),
    ("status(503,1)", "status(503, 1): expected retry_after=1, with its name; write status(503, retry_after=1)."),
    ("status(status=503)", "status(status=503): expected code=503, not status; write status(code=503)."),
    ('status(code="503")', "code='503': expected int, not str; write status(503)."),
    ("latency()", "latency(): expected seconds, which has no default; write latency(0.01)."),
    (
        "latency(0.1,0.2)",
        "latency(0.1, 0.2): expected jitter_seconds=0.2, with its name; write latency(0.1, jitter_seconds=0.2).",
    ),
    (
        "latency(0.1,jitter=0.2)",
        "latency(0.1, jitter=0.2): expected jitter_seconds=0.2, not jitter; write latency(0.1, jitter_seconds=0.2).",
    ),
    (
        "latency(0.1, jitter_ms=20)",
        "latency(0.1, jitter_ms=20): expected jitter_seconds=0.02, not jitter_ms; write latency(0.1, jitter_seconds=0.02).",
    ),
    ("latency(delay=0.1)", "latency(delay=0.1): expected seconds=0.1, not delay; write latency(seconds=0.1)."),
    (
        "throttle(rate=1000)",
        "throttle(rate=1000): expected bytes_per_second=1000, not rate; write throttle(bytes_per_second=1000).",
    ),
    (
        "throttle(kb=5)",
        "throttle(kb=5): expected bytes_per_second=5000, not kb; write throttle(bytes_per_second=5000).",
    ),
    ("drip(interval=1)", "drip(interval=1): expected every_seconds=1, not interval; write drip(every_seconds=1)."),
    ("drip(size=3)", "drip(size=3): expected chunk_bytes=3, not size; write drip(chunk_bytes=3)."),
    ("corrupt(5)", "corrupt(5): expected at_byte=5, with its name; write corrupt(at_byte=5)."),
    ("corrupt(0.5)", "corrupt(0.5): expected probability=0.5, with its name; write corrupt(probability=0.5)."),
    ("corrupt(p=0.5)", "corrupt(p=0.5): expected probability=0.5, not p; write corrupt(probability=0.5)."),
    ("corrupt(offset=3)", "corrupt(offset=3): expected at_byte=3, not offset; write corrupt(at_byte=3)."),
    (
        'reset(at="body")',
        "at='body': expected one of 'accept', 'handshake', 'request', 'response', 'tunnel', 'idle'. Did you mean 'response'? Write reset(at='response').",
    ),
    (
        'reset(at="read")',
        "at='read': expected one of 'accept', 'handshake', 'request', 'response', 'tunnel', 'idle'. Did you mean 'response'? Write reset(at='response').",
    ),
    (
        'stall(at="connect")',
        "at='connect': expected one of 'accept', 'handshake', 'request', 'response', 'tunnel', 'idle'. Modes that strike at 'connect': blackhole(), refuse(), unreachable().",
    ),
    (
        'reset(at="connect timeout")',
        "at='connect timeout': expected one of 'accept', 'handshake', 'request', 'response', 'tunnel', 'idle'. Modes that strike at 'connect': blackhole(), refuse(), unreachable().",
    ),
    (
        'reset(at="dns")',
        "at='dns': expected one of 'accept', 'handshake', 'request', 'response', 'tunnel', 'idle'. Modes that strike at 'lookup': addresses(), bad_dns(), no_address(), nxdomain(), resolves_to(), servfail(), slow_resolve().",
    ),
    (
        'reset(at="keepalive")',
        "at='keepalive': expected one of 'accept', 'handshake', 'request', 'response', 'tunnel', 'idle'. Did you mean 'idle'? Write reset(at='idle').",
    ),
    (
        'bad_cert("selfsigned")',
        "kind='selfsigned': expected one of 'expired', 'not_yet_valid', 'wrong_host', 'ip_mismatch', 'wildcard_too_broad', 'no_san', 'no_subject', 'self_signed', 'untrusted_root', 'missing_intermediate', 'reversed_chain', 'name_constraints', 'ca_as_leaf', 'wrong_usage', 'weak_key', 'sha1_signature', 'revoked', 'many_sans', 'rsa_8192', 'pinned_changed'. Did you mean 'self_signed'? Write bad_cert('self_signed').",
    ),
    (
        'bad_cert("hostname")',
        "kind='hostname': expected one of 'expired', 'not_yet_valid', 'wrong_host', 'ip_mismatch', 'wildcard_too_broad', 'no_san', 'no_subject', 'self_signed', 'untrusted_root', 'missing_intermediate', 'reversed_chain', 'name_constraints', 'ca_as_leaf', 'wrong_usage', 'weak_key', 'sha1_signature', 'revoked', 'many_sans', 'rsa_8192', 'pinned_changed'. Did you mean 'wrong_host'? Write bad_cert('wrong_host').",
    ),
    (
        "reset(foo=1)",
        "reset(foo=1): expected no foo; reset takes at, after_bytes, after_seconds, after_messages, after_body_bytes, after_requests, on, until and fin_first.",
    ),
    ("echo(1)", "echo(1): expected no arguments; write echo()."),
    ("unreachable(for_seconds=1)", "unreachable(for_seconds=1): expected no arguments; write unreachable()."),
    ("loss(prob=.1)", "loss(prob=0.1): expected probability=0.1, not prob; write loss(probability=0.1)."),
    ("close(timeout=3)", "close(timeout=3): expected after_seconds=3, not timeout; write close(after_seconds=3)."),
    ("stall(timeout=3)", "stall(timeout=3): expected for_seconds=3, not timeout; write stall(for_seconds=3)."),
    ("stall(seconds=3)", "stall(seconds=3): expected for_seconds=3, not seconds; write stall(for_seconds=3)."),
    ("reset(after_kb=3)", "reset(after_kb=3): expected after_bytes=3000, not after_kb; write reset(after_bytes=3000)."),
    (
        "reset(after_ms=30)",
        "reset(after_ms=30): expected after_seconds=0.03, not after_ms; write reset(after_seconds=0.03).",
    ),
    (
        "partition(duration=3)",
        "partition(duration=3): expected for_seconds=3, not duration; write partition(for_seconds=3).",
    ),
    (
        'half_close(point="accept")',
        "half_close(point='accept'): expected at='accept', not point; write half_close(at='accept').",
    ),
    ('raw("x")', "data='x': expected bytes, not str; write raw(b'x')."),
    ('raw(body=b"x")', "raw(body=b'x'): expected data=b'x', not body; write raw(data=b'x')."),
    ("sse(break_=None)", "break_=None: expected one of 'close', 'reset', 'stall', 'none'. Did you mean 'none'?"),
    ('sse("a")', "events='a': expected at least one event, as a tuple of texts or mappings; write ('a',)."),
    ('grpc_ok(b"x")', "messages=b'x': expected a tuple of bytes; write (b'x',)."),
    (
        'reset(on="QUIT")',
        "on='QUIT': expected bytes, or a pattern compiled from bytes; write on=b'QUIT'.",
    ),
    (
        "refuse(times=2, colour=b'')",
        "refuse(times=2, colour=b''): expected no times and no colour; refuse takes for_seconds and until.",
    ),
    (
        'sse(break_="rst")',
        "break_='rst': expected one of 'close', 'reset', 'stall', 'none'. Did you mean 'reset'? Write sse(break_='reset').",
    ),
    (
        "trickle_headers(every=1)",
        "trickle_headers(every=1): expected every_seconds=1, not every; write trickle_headers(every_seconds=1).",
    ),
    (
        'redirect(url="http://x")',
        "redirect(url='http://x'): expected to='http://x', not url; write redirect(to='http://x').",
    ),
    ("nxdomain(1)", "nxdomain(1): expected no arguments; write nxdomain()."),
    ("slow_resolve()", "slow_resolve(): expected delay_seconds, which has no default; write slow_resolve(0.01)."),
    (
        "slow_resolve(delay_ms=100)",
        "slow_resolve(delay_ms=100): expected delay_seconds=0.1, not delay_ms; write slow_resolve(delay_seconds=0.1).",
    ),
    ("resolves_to()", "resolves_to(): expected server, which has no default; write resolves_to('127.0.0.2:8080')."),
    (
        'socks_refusal("refused")',
        "kind='refused': expected one of 'general_failure', 'not_allowed', 'network_unreachable', 'host_unreachable', 'connection_refused', 'ttl_expired', 'command_not_supported', 'address_type_not_supported', 'no_acceptable_method', 'unoffered_method', 'bad_credentials', 'rejected', 'identd_unreachable', 'identd_mismatch', 'garbage'. Did you mean 'connection_refused'? Write socks_refusal('connection_refused').",
    ),
    ("bad_tls(version=1.2)", "version=1.2: expected one of '1.0', '1.1', '1.2', '1.3'; write bad_tls(version='1.2')."),
    (
        'reset(unknown_thing_that_is_long="x")',
        "reset(unknown_thing_that_is_long='x'): expected no unknown_thing_that_is_long; reset takes at, after_bytes, after_seconds, after_messages, after_body_bytes, after_requests, on, until and fin_first.",
    ),
    ('reset(at_="idle")', "reset(at_='idle'): expected at='idle', not at_; write reset(at='idle')."),
    (
        "reset(After_Bytes=3)",
        "reset(After_Bytes=3): expected after_bytes=3, not After_Bytes; write reset(after_bytes=3).",
    ),
    (
        "serve([reset()])",
        "plan=[reset()]: expected a fault such as reset() or ok(), or a plan such as sequence(…); write reset().",
    ),
    (
        "serve([reset(),ok()])",
        "plan=[reset(), ok()]: expected a fault such as reset() or ok(), or a plan such as sequence(…); write sequence(reset(), ok()).",
    ),
    (
        'serve("reset")',
        "plan='reset': expected a fault such as reset() or ok(), or a plan such as sequence(…); write reset().",
    ),
    (
        'serve("timeout")',
        "plan='timeout': expected a fault such as reset() or ok(), or a plan such as sequence(…); write stall().",
    ),
    (
        "serve(reset)",
        "plan=reset: expected a fault such as reset() or ok(), or a plan such as sequence(…); write reset().",
    ),
    ("serve(None)", "plan=None: expected a fault such as reset() or ok(), or a plan such as sequence(…)."),
    (
        "serve(503)",
        "plan=503: expected a fault such as reset() or ok(), or a plan such as sequence(…); write status(503).",
    ),
    (
        'serve(b"x")',
        "plan=b'x': expected a fault such as reset() or ok(), or a plan such as sequence(…); write ok(b'x').",
    ),
    (
        "serve(ConnectionResetError)",
        "plan=ConnectionResetError: expected a fault such as reset() or ok(), or a plan such as sequence(…); write reset().",
    ),
    (
        'serve(send(b"x"))',
        "plan=send(b'x'): expected a fault such as reset() or ok(), or a plan such as sequence(…); write script(send(b'x')).",
    ),
    (
        "serve(drop())",
        "plan=drop(): expected a fault such as reset() or ok(), or a plan such as sequence(…); write websocket(drop()).",
    ),
    (
        "websocket(drop)",
        "step=drop: expected a step such as send(b'…'), or a mode such as reset(); write drop(…).",
    ),
    ('send_ping("x")', "data='x': expected bytes, at most 125; write send_ping(b'x')."),
    (
        "http2_settings(initial_window_size=1)",
        "http2_settings(initial_window_size=1): expected window_bytes=1, not initial_window_size; write http2_settings(window_bytes=1).",
    ),
    (
        "http2_settings(SETTINGS_MAX_FRAME_SIZE=1)",
        "http2_settings(SETTINGS_MAX_FRAME_SIZE=1): expected max_frame_bytes=1, not SETTINGS_MAX_FRAME_SIZE; write http2_settings(max_frame_bytes=1).",
    ),
    ("serve()", "serve(): expected plan, which has no default; write serve(plan=reset())."),
    ("serve(reset(), prot=80)", "serve(reset(), prot=80): expected port=80, not prot; write serve(reset(), port=80)."),
    (
        "serve(reset(), timeout=3)",
        "serve(reset(), timeout=3): expected no timeout; serve takes plan, tls, answer, host, port, strict, isolated, unix, allow_remote, alpn, http2 and record.",
    ),
    ("serve(reset(), True)", "serve(reset(), True): expected tls=True, with its name; write serve(reset(), tls=True)."),
    (
        "serve(reset(), ssl=True)",
        "serve(reset(), ssl=True): expected tls=True, not ssl; write serve(reset(), tls=True).",
    ),
    (
        "serve(reset(), 8080)",
        "serve(reset(), 8080): expected port=8080, with its name; write serve(reset(), port=8080).",
    ),
    ("relay()", "relay(): expected upstream, which has no default; write relay(upstream='127.0.0.1:5432')."),
    (
        'relay("127.0.0.1:80", backend=3)',
        "relay('127.0.0.1:80', backend=3): expected no backend; relay takes upstream, plan, tls, on_upstream_failure, allow_remote, host, port, strict, isolated, unix, alpn, upstream_cert, starttls and record.",
    ),
    (
        "reset() | ok()",
        "reset() | ok(): expected & or a plan; write sequence(reset(), ok()) for one after the other, or sometimes(0.5, reset(), otherwise=ok()) for one of the two.",
    ),
    (
        "reset() + ok()",
        "reset() + ok(): expected & or a plan; write sequence(reset(), ok()) for one after the other, or reset() & ok() for both in one attempt.",
    ),
    ("reset & ok()", "reset & ok(): expected a call; write reset() & ok()."),
    ("reset() & reset", "reset() & reset: expected two faults; write reset() & reset()."),
    ('reset() & "x"', "reset() & 'x': expected two faults."),
    ("reset() >> ok()", "reset() >> ok(): expected a plan; write sequence(reset(), ok())."),
    ("reset()*3", "reset() * 3: expected a plan; write sequence(*[reset()] * 3, ok())."),
    (
        "sequence(reset(),ok()) & latency(.1)",
        "sequence(reset(), ok()) & latency(0.1): expected two faults; write & between faults, inside sequence(…) and the like.",
    ),
    (
        "latency(.1) & sequence(reset(),ok())",
        "latency(0.1) & sequence(reset(), ok()): expected two faults; write & between faults, inside sequence(…) and the like.",
    ),
    (
        "reset | ok()",
        "reset | ok(): expected & or a plan; write sequence(reset(), ok()) for one after the other, or sometimes(0.5, reset(), otherwise=ok()) for one of the two.",
    ),
    (
        "sequence([reset(),ok()])",
        "sequence(…)=[reset(), ok()]: expected faults such as reset() or ok(); write sequence(reset(), ok()).",
    ),
    ("sequence(reset)", "sequence(…)=reset: expected faults such as reset() or ok(); write reset()."),
    ("sequence()", "sequence(): expected at least one fault, such as sequence(reset(), ok())."),
    ('sequence("reset")', "sequence(…)='reset': expected faults such as reset() or ok(); write reset()."),
    (
        "cycle([reset(),ok()])",
        "cycle(…)=[reset(), ok()]: expected faults such as reset() or ok(); write cycle(reset(), ok()).",
    ),
    (
        "sometimes(reset(),0.3)",
        "probability=reset(): expected a probability from 0 to 1; write it first: sometimes(0.5, reset()).",
    ),
    ("sometimes(50, reset())", "probability=50: expected a probability from 0 to 1; write 0.5 for 50 %."),
    ("sometimes(0.3)", "sometimes(0.3): expected fault, which has no default; write sometimes(0.3, fault=reset())."),
    ("sometimes(0.3, reset)", "fault=reset: expected a fault such as reset() or ok(); write reset()."),
    (
        "sometimes(p=0.3, fault=reset())",
        "sometimes(p=0.3, fault=reset()): expected probability=0.3, not p; write sometimes(fault=reset(), probability=0.3).",
    ),
    (
        "when(reset(), lambda r: 1)",
        "condition=reset(): expected a function of a request, such as lambda r: r.target == '/pay'; write it first: when(lambda r: …, reset()).",
    ),
    (
        'script([send(b"x"),reset()])',
        "step=[send(b'x'), reset()]: expected a step such as send(b'…'), or a mode such as reset(); write send(b'x'), reset() without brackets.",
    ),
    ("script(send)", "step=send: expected a step such as send(b'…'), or a mode such as reset(); write send(…)."),
    ('script(b"x")', "step=b'x': expected a step such as send(b'…'), or a mode such as reset(); write send(b'x')."),
    ('script("x")', "step='x': expected a step such as send(b'…'), or a mode such as reset(); write send(b'x')."),
    ('send("x")', "data='x': expected at least one byte, as bytes; write b'x'."),
    ('receive_until("x")', "marker='x': expected at least one byte, as bytes; write b'x'."),
    ('receive(b"x")', "count_bytes=b'x': expected a whole number of bytes, 1 or more."),
    ("receive()", "receive(): expected count_bytes, which has no default; write receive(count_bytes=5)."),
    ("hold(seconds=3)", "hold(seconds=3): expected for_seconds=3, not seconds; write hold(for_seconds=3)."),
    ("hold(ms=3)", "hold(ms=3): expected for_seconds=0.003, not ms; write hold(for_seconds=0.003)."),
    (
        "raises(ConnectionResetError())",
        "expected=ConnectionResetError(): expected an exception class, or a tuple of them; write raises(ConnectionResetError).",
    ),
    (
        'raises("ConnectionResetError")',
        "expected='ConnectionResetError': expected an exception class, or a tuple of them.",
    ),
    ('resolve("x")', "resolve('x'): expected plan, which has no default; write resolve('x', plan=reset())."),
    ("udp()", "udp(): expected plan, which has no default; write udp(plan=reset())."),
    (
        "udp([ok()])",
        "plan=[ok()]: expected a fault such as reset() or ok(), or a plan such as sequence(…); write ok().",
    ),
    (
        'http_proxy("http://x")',
        "plan='http://x': expected a fault such as reset() or ok(), or a plan such as sequence(…).",
    ),
    (
        "socks_proxy(version=5)",
        "socks_proxy(version=5): expected no version; socks_proxy takes plan, to, auth, scheme, host, port, strict, isolated, allow_remote and record.",
    ),
    (
        'intercept("https://a.b")',
        "intercept('https://a.b'): expected plan, which has no default; write intercept('https://a.b', plan=reset()).",
    ),
    (
        "server.wait_for_attempts()",
        "wait_for_attempts(): expected count, which has no default; write wait_for_attempts(count=1).",
    ),
    (
        "server.wait_for_attempts(1, timeout=3)",
        "wait_for_attempts(1, timeout=3): expected timeout_seconds=3, not timeout; write wait_for_attempts(1, timeout_seconds=3).",
    ),
    (
        'server.wait_for_attempts(1, at="finished")',
        "at='finished': expected one of 'lookup', 'connect', 'accept', 'handshake', 'request', 'response', 'tunnel', 'idle', 'strike', 'end', 'client_end', 'server_end', 'upstream_end'. Did you mean 'end'?",
    ),
    (
        "server.become([reset()])",
        "plan=[reset()]: expected a fault such as reset() or ok(), or a plan such as sequence(…); write reset().",
    ),
    ("server.become()", "become(): expected plan, which has no default; write become(plan=reset())."),
    (
        "server.become(ok(), open=True)",
        "become(ok(), open=True): expected open_too=True, not open; write become(ok(), open_too=True).",
    ),
    (
        'server.wait_for_attempts(1, 0.1, "end")',
        "wait_for_attempts(1, 0.1, 'end'): expected at='end', with its name; write wait_for_attempts(1, 0.1, at='end').",
    ),
    (
        "server.become(reset)",
        "plan=reset: expected a fault such as reset() or ok(), or a plan such as sequence(…); write reset().",
    ),
    (
        "server.client_context(cert=True)",
        "client_context(cert=True): expected certificate=True, not cert; write client_context(certificate=True).",
    ),
    ("server.trust()", "trust(): expected monkeypatch, which has no default; write trust(monkeypatch=monkeypatch)."),
]
NEAREST = [
    ("malformed('truncated')", "Did you mean 'length_short', 'chunk_cut', 'header_cut' or 'gzip_cut'?"),
    ("malformed('chunked')", "Did you mean 'chunk_cut'? Write malformed('chunk_cut')."),
    ("bad_cert('selfsigned')", "Did you mean 'self_signed'? Write bad_cert('self_signed')."),
    ("bad_cert('hostname')", "Did you mean 'wrong_host'? Write bad_cert('wrong_host')."),
    ("bad_tls('alrt')", "Did you mean 'alert'? Write bad_tls('alert')."),
    ("bad_dns('truncate')", "Did you mean 'truncated'? Write bad_dns('truncated')."),
    ("rst_stream(8)", "'HTTP_1_1_REQUIRED'; write rst_stream('CANCEL')."),
    ("goaway(code=99)", "'HTTP_1_1_REQUIRED'."),
    ("rst_stream('cancel')", "Did you mean 'CANCEL'? Write rst_stream('CANCEL')."),
    ("rst_stream('refused')", "Write rst_stream('REFUSED_STREAM')."),
    ("grpc_status(14)", "'UNAUTHENTICATED'; write grpc_status('UNAVAILABLE')."),
    ("grpc_status('not-found')", "Did you mean 'NOT_FOUND'? Write grpc_status('NOT_FOUND')."),
    ("socks_refusal('refused')", "Did you mean 'connection_refused'? Write socks_refusal('connection_refused')."),
]


@pytest.fixture
def server():
    """A server for mistakes in its methods."""
    with serve(ok(), strict=False) as server:
        yield server


def message_of(expression, **names):
    with pytest.raises(FaultlineError) as raised:
        eval(expression, NAMES | names)

    assert isinstance(raised.value, ValueError)
    return str(raised.value)


@each_row(("expression", "message"), MISTAKES)
def test_mistake_is_answered_with_what_to_write(expression, message, server):
    assert message_of(expression, server=server) == message


@each_row(("expression", "end"), NEAREST)
def test_word_that_is_no_choice_is_answered_with_the_nearest(expression, end):
    assert end in message_of(expression)


@each_row("name", modes())
def test_every_mode_says_its_name_for_a_keyword_that_it_does_not_have(name):
    function, case = modes()[name].function, modes()[name].cases[0]
    with pytest.raises(TypeError, match=rf"^{name}\(.*no_such_keyword=1\): expected no ") as raised:
        function(**dict(case.arguments), no_such_keyword=1)

    assert isinstance(raised.value, ParameterError)


@each_row("name", [name for name, entry in modes().items() if not entry.takes_steps])
def test_every_mode_says_its_name_for_too_many_values_without_a_name(name):
    function = modes()[name].function
    values = [object()] * (1 + len(inspect.signature(function).parameters))

    with pytest.raises(TypeError, match=rf"^{name}\("):
        function(*values)


UNITS = {"ms": 0.001, "millis": 0.001, "milliseconds": 0.001, "us": 1e-6, "minutes": 60, "sec": 1, "s": 1}


def durations():
    """Each parameter in seconds of a mode, with a call that has its other arguments."""
    for entry in modes().values():
        given = dict(entry.cases[0].arguments)
        for p in entry.parameters:
            if p.name.endswith("_seconds"):
                yield entry.function, p.name, {n: v for n, v in given.items() if n != p.name}


@each_row("unit", UNITS)
@each_row(("function", "name", "others"), [*durations()])
def test_unit_in_a_name_is_converted(function, name, others, unit):
    stem = name.removesuffix("_seconds")
    with pytest.raises(TypeError) as raised:
        function(**others, **{f"{stem}_{unit}": 2})

    assert f"expected {name}={round(2 * UNITS[unit], 9)!r}" in str(raised.value).replace(".0,", ",").replace(".0 ", " ")


@each_row("unit", ["kb", "mb", "kib", "bytes"])
def test_unit_of_bytes_is_converted(unit):
    factor = {"kb": 1000, "mb": 1_000_000, "kib": 1024, "bytes": 1}[unit]

    assert message_of(f"reset({unit}=3)").endswith(f"write reset(after_bytes={3 * factor}).")


def test_error_inside_a_function_is_not_hidden():
    with pytest.raises(TypeError, match="of the user"):
        faultline.script(Broken())


class Broken:
    """An object that can't be shown."""

    def __repr__(self):
        raise TypeError("of the user")


# --- durations that are milliseconds ---------------------------------------------------------------------------------


@each_row(
    ("make", "name"),
    [
        (lambda: latency(500), "seconds=500"),
        (lambda: latency(0.1, jitter_seconds=200), "jitter_seconds=200"),
        (lambda: drip(every_seconds=250), "every_seconds=250"),
        (lambda: stall(for_seconds=1500), "for_seconds=1500"),
        (lambda: refuse(for_seconds=5000), "for_seconds=5000"),
        (lambda: reset(after_seconds=2000), "after_seconds=2000"),
        (lambda: slow_resolve(500), "delay_seconds=500"),
        (lambda: hold(1000), "for_seconds=1000"),
    ],
)
def test_duration_that_nobody_waits_for_warns_that_it_is_seconds(make, name):
    with pytest.warns(FaultlineWarning, match=rf"^{name}: expected seconds, .*; write [\d.]+ for mill") as caught:
        make()

    assert [warning.filename for warning in caught] == [__file__]


@each_row(
    "make",
    [
        lambda: latency(60),
        lambda: latency(20, jitter_seconds=5),
        lambda: drip(1, every_seconds=20),
        lambda: stall(for_seconds=300),
        lambda: refuse(for_seconds=120),
        lambda: reset(at="idle", after_seconds=90),
    ],
)
def test_realistic_duration_does_not_warn(make):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        make()


def test_no_case_of_the_catalogue_warns():
    with warnings.catch_warnings():
        warnings.simplefilter("error")

        assert [case.fault for case in cases()]


def test_long_wait_of_a_test_warns():
    with serve(ok(), strict=False) as server, pytest.warns(FaultlineWarning, match="^timeout_seconds=5000"):
        reset_ = server.wait_for_attempts(0, 5000)

    assert reset_ == ()


@each_row("value", [sequence(ok()), Server])
def test_combined_values_without_a_hint_still_say_what_was_expected(value):
    with pytest.raises(FaultlineError, match="expected two faults"):
        reset() & value


NUMBERS = [
    (mode.function, dict(mode.cases[0].arguments), parameter.name)
    for mode in modes().values()
    for parameter in mode.parameters
    if plain(parameter.annotation)[0] in (int, float)
]


@each_row(("function", "given", "name"), NUMBERS)
def test_number_that_is_text_is_answered_with_the_call_to_write(function, given, name):
    with pytest.raises(ParameterError) as raised:
        function(**given | {name: "3"})

    assert re.search(rf"^{name}='3': expected .*; write {function.__name__}\(.*\b3(\.0)?\b", str(raised.value))


@each_row(
    "start",
    [
        lambda: serve(ok(), port="8080"),
        lambda: serve(ok(), record="8080"),
        lambda: faultline.relay("127.0.0.1:1", port="8080"),
        lambda: faultline.http_proxy(port="8080"),
        lambda: faultline.socks_proxy(port="8080"),
        lambda: faultline.udp(ok(), port="8080"),
        lambda: faultline.dns_server(port="8080"),
        lambda: faultline.control(port="8080"),
        lambda: faultline.control(seed="8080"),
        lambda: faultline.max_connections("8080", beyond=refuse()),
        lambda: faultline.receive("8080"),
        lambda: hold("8080"),
    ],
)
def test_number_that_is_text_is_answered_with_the_number_to_write(start):
    with pytest.raises(ParameterError, match=r"='8080': expected a .*number.*; write 8080\.$"):
        start()
