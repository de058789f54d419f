"""Who has left a relay, and who has only finished sending: the other side goes on."""

from __future__ import annotations

import socket

import pytest
from support import GET, ending, to_end
from support.tables import each_row

from faultline import Gate, latency, ok, receive_until, script, send, stall

LATE_REQUEST, LATE_RESPONSE = latency(30, direction="request"), latency(30, direction="response")


@pytest.mark.parametrize("after_bytes", [0, 10, 50_000])
def test_a_relay_that_stalls_delivers_the_rest_of_the_stream_to_a_client_that_finished_meanwhile(
    faultline, dial, after_bytes
):
    gate, body = Gate(), bytes(1_000_000)
    server = faultline.relay(faultline.serve(ok(body)), stall(at="response", after_bytes=after_bytes, until=gate))
    client = dial(server, GET)
    server.wait_for_strike()
    client.shutdown(socket.SHUT_WR)
    gate.open()

    assert to_end(client)[0].endswith(body)


def test_a_relay_passes_the_end_of_one_direction_on_and_the_other_goes_on(faultline, dial):
    late = script(receive_until(b"bye"), stall(for_seconds=0.05), send(b"and you"))
    client = dial(faultline.relay(faultline.serve(late)), b"bye")
    client.shutdown(socket.SHUT_WR)

    assert to_end(client) == (b"and you", "FIN")


@each_row("upstream", [ok(), stall()])
@each_row("plan", [None, LATE_REQUEST, LATE_RESPONSE])
def test_a_client_is_seen_leaving_while_the_upstream_or_its_bytes_wait(faultline, dial, plan, upstream):
    real = faultline.serve(upstream, strict=False)
    server = faultline.relay(real, plan, strict=False)
    client, is_answered = dial(server, GET), (plan, upstream) == (None, ok())
    server.wait_for_attempts(1, at="request")
    if is_answered:
        to_end(client)
    client.close()

    (attempt,) = server.wait_for_attempts(1, at="end")
    assert ending(attempt) == ("upstream" if is_answered else "client", "FIN")
    if plan != LATE_REQUEST:
        real.wait_for_attempts(1, at="end")


@pytest.mark.slow
@pytest.mark.parametrize("plan", [latency(0.1), latency(0.1, direction="request")], ids=repr)
def test_what_a_client_said_before_it_left_still_goes_on(faultline, dial, plan):
    real = faultline.serve(ok())
    server = faultline.relay(real, plan)
    client = dial(server, GET)
    server.wait_for_attempts(1, at="request")
    client.close()

    assert real.wait_for_attempts(1, at="response")[0].request.method == "GET"
    assert server.attempts[0].ended_by == "client"
