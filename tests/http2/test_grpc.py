"""gRPC on a server of HTTP/2, against grpcio: statuses, wrong answers, retries, keepalive, and a real server behind."""

from __future__ import annotations

import json
from concurrent import futures
from pathlib import Path

import grpc
import pytest

from faultline import (
    FaultlineError,
    bad_grpc,
    bad_http2,
    close,
    goaway,
    grpc_ok,
    grpc_status,
    http2_settings,
    ok,
    partition,
    relay,
    reset,
    rst_stream,
    sequence,
    serve,
    stall,
    status,
    throttle,
)
from faultline.modes.grpc import NUMBERS

METHOD = "/pkg.Service/Method"
OWN = (("grpc.use_local_subchannel_pool", 1),)
HI = grpc_ok((b"hi",))
DOWN = grpc_status("UNAVAILABLE")
TLS = pytest.mark.parametrize("tls", [False, True], ids=["plain", "TLS"])


def channel(server, options=()):
    """A channel of its own, in TLS if the server speaks it."""
    if server.url.startswith("https"):
        trusted = grpc.ssl_channel_credentials(Path(server.ca_file).read_bytes())
        return grpc.secure_channel(f"localhost:{server.port}", trusted, options=(*OWN, *options))
    return grpc.insecure_channel(f"127.0.0.1:{server.port}", options=(*OWN, *options))


def outcome(server, options=(), *, streams=False, timeout=10, **more):
    """What a call gets: the message, or all messages of a stream, or the name of the status."""
    with channel(server, options) as opened:
        try:
            if not streams:
                return opened.unary_unary(METHOD)(b"ask", timeout=timeout, **more)
            return [*opened.unary_stream(METHOD)(b"ask", timeout=timeout, **more)]
        except grpc.RpcError as error:
            return error.code().name


@pytest.mark.slow
def test_each_status_with_its_message_and_its_details():
    told = "é 100% \n"
    for tls in (False, True):
        with serve(ok(), http2=True, tls=tls) as server, channel(server) as opened:
            call = opened.unary_unary(METHOD)
            for name in NUMBERS:
                if name == "OK":
                    continue
                for messages in ((), (b"first",)):
                    fault = grpc_status(
                        name, message=told, details=b"\x08\x0d", messages=messages, trailers={"x-more": "1"}
                    )
                    server.become(fault)
                    with pytest.raises(grpc.RpcError) as raised:
                        call(b"ask", timeout=10)
                    error = raised.value
                    assert (error.code().name, error.details()) == (name, told)
                    assert dict(error.trailing_metadata()) == {"grpc-status-details-bin": b"\x08\x0d", "x-more": "1"}
            server.become(grpc_status("OK", messages=(b"fine",)))
            assert call(b"ask", timeout=10) == b"fine"
        asked = server.attempts[-1].request
        assert (asked.method, asked.target, asked.body) == ("POST", METHOD, b"\0\0\0\0\x03ask")
        assert {attempt.connection for attempt in server.attempts} == {1}


# The fault, and what a call of one message and one of many get.
OUTCOMES = [
    (HI, b"hi", [b"hi"]),
    (grpc_ok((b"one", b"", b"three"), every_seconds=0.001), None, [b"one", b"", b"three"]),
    (grpc_ok(headers={"x-initial": "1"}), b"", [b""]),
    (throttle(10_000) & HI, b"hi", [b"hi"]),
    (stall(after_body_bytes=0, for_seconds=0.01) & HI, b"hi", [b"hi"]),  # a slow first message
    (grpc_ok((b"0123456789",)) & rst_stream("INTERNAL_ERROR", after_body_bytes=8), "INTERNAL", "INTERNAL"),
    (rst_stream("CANCEL"), "CANCELLED", "CANCELLED"),
    (rst_stream("REFUSED_STREAM"), "UNAVAILABLE", "UNAVAILABLE"),
    (rst_stream("ENHANCE_YOUR_CALM"), "RESOURCE_EXHAUSTED", "RESOURCE_EXHAUSTED"),
    (HI & close(after_body_bytes=5), "UNAVAILABLE", "UNAVAILABLE"),
    (HI & reset(after_body_bytes=5), "UNAVAILABLE", "UNAVAILABLE"),
    (goaway("INTERNAL_ERROR"), "UNAVAILABLE", "UNAVAILABLE"),
    (status(503), "UNAVAILABLE", "UNAVAILABLE"),
    (status(401), "UNAUTHENTICATED", "UNAUTHENTICATED"),
    (bad_grpc("trailers_missing"), "UNKNOWN", "UNKNOWN"),
    (bad_grpc("status_missing"), "UNKNOWN", "UNKNOWN"),
    (bad_grpc("status_unknown"), "UNKNOWN", "UNKNOWN"),
    (bad_grpc("message_cut"), None, []),  # grpcio loses it in silence
    (bad_grpc("message_endless"), "RESOURCE_EXHAUSTED", "RESOURCE_EXHAUSTED"),
    (bad_grpc("message_missing"), None, []),
    (bad_grpc("message_compressed"), "INTERNAL", "INTERNAL"),
    (bad_grpc("content_type"), "UNKNOWN", "UNKNOWN"),
]


@pytest.mark.slow
@pytest.mark.measured
def test_what_a_client_makes_of_each_fault():
    got = []
    for fault, _, _ in OUTCOMES:
        with serve(fault, http2=True) as server:
            one = None if len(getattr(fault.answer, "chunks", ())) > 2 else outcome(server)
            got.append((fault, one, outcome(server, streams=True)))
        assert all(attempt.stream for attempt in server.attempts)
    assert got == OUTCOMES


@pytest.mark.slow
def test_a_second_message_and_silence_last_until_the_deadline():
    for fault in (bad_grpc("message_twice"), stall(), http2_settings(max_streams=0)):
        with serve(fault, http2=True) as server:
            assert outcome(server, timeout=0.5) == "DEADLINE_EXCEEDED"


def retrying(times):
    policy = {"maxAttempts": times, "initialBackoff": "0.01s", "maxBackoff": "0.01s", "backoffMultiplier": 1}
    config = {"methodConfig": [{"name": [{}], "retryPolicy": {**policy, "retryableStatusCodes": ["UNAVAILABLE"]}}]}
    return (("grpc.service_config", json.dumps(config)),)


# The plan, the attempts that the policy allows, what the call gets, and how many attempts there are.
RETRIES = [
    (sequence(DOWN, DOWN, HI), 3, b"hi", 3),
    (DOWN, 3, "UNAVAILABLE", 3),
    (sequence(rst_stream("REFUSED_STREAM"), HI), 3, b"hi", 2),
    (sequence(reset(), HI), 3, b"hi", 2),
    (sequence(goaway(last_stream=0), HI), 1, b"hi", 2),  # by itself: the server has not processed it
    (sequence(grpc_status("UNAVAILABLE", messages=(b"x",)), HI), 3, "UNAVAILABLE", 1),  # a message has come
    (sequence(HI & reset(after_body_bytes=3), HI), 3, "UNAVAILABLE", 1),
    (sequence(grpc_status("INTERNAL"), HI), 3, "INTERNAL", 1),
]


@TLS
@pytest.mark.slow
def test_the_retry_policy_of_the_service_config_is_seen_in_the_attempts(tls):
    for plan, times, got, attempts in RETRIES:
        with serve(plan, http2=True, tls=tls, strict=False) as server:
            assert (outcome(server, retrying(times) if times > 1 else ()), len(server.attempts)) == (got, attempts), (
                plan
            )


@TLS
@pytest.mark.slow
def test_a_call_may_wait_for_a_server_that_is_ready(tls):
    soon = (("grpc.initial_reconnect_backoff_ms", 100), ("grpc.min_reconnect_backoff_ms", 1000))
    for waits, got in ((False, "UNAVAILABLE"), (True, b"hi")):
        with serve(sequence(reset(at="accept"), HI), http2=True, tls=tls) as server:
            assert outcome(server, soon, wait_for_ready=waits) == got


KEEPALIVE = tuple(
    (f"grpc.{name}", 100) for name in ("keepalive_time_ms", "keepalive_timeout_ms", "http2.ping_timeout_ms")
)


@TLS
@pytest.mark.slow
def test_keepalive_notices_a_silent_peer(tls):
    more = (*KEEPALIVE, ("grpc.http2.max_pings_without_data", 0))
    with serve(stall() & bad_http2("ping_unanswered"), http2=True, tls=tls) as server:
        assert outcome(server, more) == "UNAVAILABLE"  # and not DEADLINE_EXCEEDED
    assert [str(strike.part) for strike in server.attempts[0].strikes] == ["break", "http2"]
    with serve(stall(), http2=True, tls=tls) as server:  # its PINGs are answered
        assert outcome(server, more, timeout=0.5) == "DEADLINE_EXCEEDED"


@TLS
@pytest.mark.slow
@pytest.mark.usefixtures("needs_filter")
def test_keepalive_notices_a_partition(tls):
    with serve(partition(), http2=True, tls=tls) as server:
        assert outcome(server, KEEPALIVE) == "UNAVAILABLE"


@pytest.mark.asyncio
async def test_the_client_of_asyncio():
    with serve(sequence(DOWN, HI), http2=True) as server:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}", options=OWN) as opened:
            call = opened.unary_unary(METHOD)
            with pytest.raises(grpc.aio.AioRpcError) as raised:
                await call(b"ask", timeout=10)
            assert raised.value.code() == grpc.StatusCode.UNAVAILABLE
            assert await call(b"ask", timeout=10) == b"hi"


class Handler(grpc.GenericRpcHandler):
    def service(self, _details):
        return grpc.unary_unary_rpc_method_handler(lambda request, _context: request + b" back")


@pytest.fixture(scope="module")
def real():
    """The address of a server of grpcio."""
    server = grpc.server(futures.ThreadPoolExecutor(1))
    server.add_generic_rpc_handlers((Handler(),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}"
    server.stop(None).wait()


@pytest.mark.slow
def test_a_relay_in_front_of_a_real_server(real):
    for plan, got in [
        (None, b"ask back"),
        (reset(on=b"ask"), "UNAVAILABLE"),
        (reset(after_bytes=100), "UNAVAILABLE"),
        (stall(on=b"ask"), "DEADLINE_EXCEEDED"),
    ]:
        for how in ({}, {"tls": "terminate", "alpn": ("h2",)}):  # grpcio insists on h2
            with relay(real, plan, **how) as server:
                assert outcome(server, timeout=0.5) == got, (plan, how)


def test_what_is_no_message_is_refused():
    for call in (
        lambda: grpc_ok(b"one"),
        lambda: grpc_ok(("one",)),
        lambda: grpc_status("OK", messages=b"one"),
        lambda: grpc_status("OK", messages=None),
        lambda: grpc_status("OK", messages=b""),
    ):
        with pytest.raises(FaultlineError, match=r"messages=.*: expected a tuple of bytes[.;]"):
            call()
    with pytest.raises(FaultlineError, match=r"message='\\ud800': expected text that UTF-8 can encode\."):
        grpc_status("UNAVAILABLE", message="\ud800")
    for wrong in ({"a b": "1"}, {"x": "1\n"}):
        with pytest.raises(FaultlineError, match=r"^trailers=.*: expected names and values as text without"):
            grpc_status("UNAVAILABLE", trailers=wrong)
        with pytest.raises(FaultlineError, match=r"^trailers=.*: expected names and values as text without"):
            ok(trailers=wrong)
    with pytest.raises(
        FaultlineError,
        match=r"^trailers=5: expected a mapping, or pairs of name and value, such as {'X-Name': 'value'}\.",
    ):
        ok(trailers=5)
    with pytest.raises(FaultlineError, match="Did you mean 'UNAVAILABLE'"):
        grpc_status("UNAVAILABLE_")
    with pytest.raises(FaultlineError, match=r"expected serve\(…, http2=True\); only HTTP/2 has"):
        serve(HI)
