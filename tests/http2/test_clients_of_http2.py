"""What clients make of each fault of HTTP/2: a client by hand on h2, httpx, curl and Node; and what the ledger has."""

from __future__ import annotations

import itertools
import json
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import get_args

import httpx
import pytest
from h2.exceptions import H2Error
from support.raw_http2 import Raw, frames_of

from faultline import bad_http2, close, goaway, http2_settings, ok, reset, rst_stream, serve, stall
from faultline.modes.http2 import Kind

BODY = b"twenty bytes of body"
PATIENCE_SECONDS = 30
BRIEF_SECONDS = 1.5  # after which a client gives up that gets silence
pytestmark = pytest.mark.slow
# The fault; the frames but SETTINGS, with the bytes of one that is cut; the last event or the error of h2; how the
# connection goes on or ends; the strike; and what httpx, curl and Node make of it.
TABLE = [
    (bad_http2("ping_unanswered"), "HEADERS DATA*2", "StreamEnded", "silence", None, "200 20", "whole", "200 20"),
    (
        bad_http2("settings_unanswered"),
        "HEADERS DATA*2",
        "StreamEnded",
        "silence",
        ("request", 0),
        "200 20",
        "whole",
        "200 20",
    ),
    (
        bad_http2("settings_missing"),
        "HEADERS DATA*2",
        "StreamEnded",
        "silence",
        ("request", 0),
        "200 20",
        "fails",
        "stream ERR_HTTP2_ERROR 0",
    ),
    (
        bad_http2("settings_invalid"),
        "HEADERS DATA*2",
        "InvalidSettingsValueError",
        "silence",
        ("response", 0),
        "ProtocolError",
        "fails",
        "stream ERR_HTTP2_ERROR 0",
    ),
    (
        bad_http2("settings_flood"),
        "HEADERS DATA*2",
        "StreamEnded",
        "silence",
        ("response", 0),
        "200 20",
        "fails",
        "stream ERR_HTTP2_ERROR 0",
    ),
    (
        bad_http2("ping_flood"),
        "PING*10000 HEADERS DATA*2",
        "StreamEnded",
        "silence",
        ("response", 0),
        "200 20",
        "fails",
        "stream ERR_HTTP2_ERROR 0",
    ),
    (
        bad_http2("http1_response"),
        " +78",
        "SettingsAcknowledged",
        "FIN",
        ("response", 0),
        "ProtocolError",
        "fails",
        "silence  0",
    ),
    (
        bad_http2("frame_cut"),
        "HEADERS +19",
        "ResponseReceived",
        "FIN",
        ("response", 0),
        "ProtocolError",
        "fails",
        "closed 10",
    ),
    (
        bad_http2("frame_illegal"),
        "DATA HEADERS DATA*2",
        "ProtocolError",
        "silence",
        ("response", 0),
        "ProtocolError",
        "fails",
        "silence  0",
    ),
    (
        bad_http2("frame_oversized"),
        "HEADERS DATA",
        "FrameTooLargeError",
        "silence",
        ("response", 0),
        "ProtocolError",
        "fails",
        "silence 200 0",
    ),
    (
        bad_http2("hpack_garbage"),
        "HEADERS",
        "ProtocolError",
        "silence",
        ("response", 0),
        "ProtocolError",
        "fails",
        "silence  0",
    ),
    (
        bad_http2("continuation_flood"),
        "HEADERS CONTINUATION*1000",
        "ProtocolError",
        "FIN",
        ("response", 0),
        "ProtocolError",
        "fails",
        "stream ERR_HTTP2_ERROR 0",
    ),
    (
        bad_http2("headers_too_large"),
        "HEADERS CONTINUATION*10",
        "DenialOfServiceError",
        "silence",
        ("response", 0),
        "ProtocolError",
        "fails",
        "stream ERR_HTTP2_STREAM_ERROR 0",
    ),
    (
        bad_http2("status_missing"),
        "HEADERS DATA",
        "ProtocolError",
        "silence",
        ("response", 0),
        "200 20",
        "fails",
        "stream ERR_HTTP2_STREAM_ERROR 0",
    ),
    (
        bad_http2("header_uppercase"),
        "HEADERS DATA",
        "ProtocolError",
        "silence",
        ("response", 0),
        "200 20",
        "fails",
        "stream ERR_HTTP2_STREAM_ERROR 0",
    ),
    (
        bad_http2("connection_header"),
        "HEADERS DATA",
        "ProtocolError",
        "silence",
        ("response", 0),
        "200 20",
        "fails",
        "stream ERR_HTTP2_STREAM_ERROR 0",
    ),
    (
        bad_http2("data_first"),
        "DATA HEADERS DATA*2",
        "ProtocolError",
        "silence",
        ("response", 0),
        "ProtocolError",
        "fails",
        "silence  0",
    ),
    (
        bad_http2("data_after_end"),
        "HEADERS DATA*3",
        "StreamEnded",
        "silence",
        ("response", 0),
        "200 20",
        "whole",
        "200 20",
    ),
    (
        bad_http2("stream_unopened"),
        "HEADERS*2 DATA*2",
        "ProtocolError",
        "silence",
        ("response", 0),
        "ProtocolError",
        "fails",
        "stream ERR_HTTP2_ERROR 0",
    ),
    (
        bad_http2("push"),
        "PUSH_PROMISE HEADERS DATA*2",
        "StreamEnded",
        "silence",
        ("response", 0),
        "ProtocolError",
        "fails",
        "200 20",
    ),
    (
        bad_http2("window_zero"),
        "WINDOW_UPDATE HEADERS DATA*2",
        "ProtocolError",
        "silence",
        ("response", 0),
        "ProtocolError",
        "fails",
        "stream ERR_HTTP2_ERROR 0",
    ),
    (
        bad_http2("window_overflow"),
        "WINDOW_UPDATE*2 HEADERS DATA*2",
        "FlowControlError",
        "silence",
        ("response", 0),
        "ProtocolError",
        "fails",
        "stream ERR_HTTP2_ERROR 0",
    ),
    (reset(), "", "SettingsAcknowledged", "RST", ("response", 0), "ReadError", "fails", "stream ECONNRESET 0"),
    (
        reset(after_bytes=10),
        " +10",
        "SettingsAcknowledged",
        "RST",
        ("response", 10),
        "ReadError",
        "fails",
        "stream ECONNRESET 0",
    ),
    (
        close(after_body_bytes=7),
        "HEADERS DATA",
        "DataReceived",
        "FIN",
        ("response", 39),
        "ProtocolError",
        "fails",
        "closed 7",
    ),
    (
        stall(after_body_bytes=7),
        "HEADERS DATA",
        "DataReceived",
        "silence",
        ("response", 39),
        "ReadTimeout",
        "fails",
        "silence 200 7",
    ),
    (
        rst_stream("REFUSED_STREAM"),
        "RST_STREAM",
        "StreamReset",
        "silence",
        ("response", 0),
        "ProtocolError",
        "fails",
        "stream ERR_HTTP2_STREAM_ERROR 0",
    ),
    (
        rst_stream("CANCEL", after_body_bytes=7),
        "HEADERS DATA RST_STREAM",
        "StreamReset",
        "silence",
        ("response", 39),
        "ProtocolError",
        "fails",
        "200 7",
    ),
    (
        rst_stream("NO_ERROR", after_body_bytes=7),
        "HEADERS DATA RST_STREAM",
        "StreamReset",
        "silence",
        ("response", 39),
        "ProtocolError",
        "fails",
        "200 7",
    ),
    (
        goaway("NO_ERROR"),
        "GOAWAY HEADERS DATA*2",
        "ProtocolError",
        "FIN",
        ("response", 0),
        "ProtocolError",
        "whole",
        "200 20",
    ),
    (
        goaway("NO_ERROR", after_body_bytes=7),
        "HEADERS DATA GOAWAY DATA*2",
        "ProtocolError",
        "FIN",
        ("response", 39),
        "ProtocolError",
        "whole",
        "200 20",
    ),
    (
        goaway("NO_ERROR", last_stream=0),
        "GOAWAY",
        "ConnectionTerminated",
        "FIN",
        ("response", 0),
        "ProtocolError",
        "fails",
        "stream ERR_HTTP2_STREAM_ERROR 0",
    ),
    (
        goaway("INTERNAL_ERROR"),
        "GOAWAY",
        "ConnectionTerminated",
        "FIN",
        ("response", 0),
        "ProtocolError",
        "fails",
        "stream ERR_HTTP2_SESSION_ERROR 0",
    ),
    (
        http2_settings(max_streams=0),
        "RST_STREAM",
        "StreamReset",
        "silence",
        ("request", 0),
        "ProtocolError",
        "fails",
        "stream ERR_HTTP2_STREAM_ERROR 0",
    ),
    (
        http2_settings(max_frame_bytes=1),
        "HEADERS DATA*2",
        "InvalidSettingsValueError",
        "silence",
        ("request", 0),
        "ProtocolError",
        "fails",
        "stream ERR_HTTP2_ERROR 0",
    ),
    (
        ok(BODY, trailers={"X-Sum": "1"}),
        "HEADERS DATA HEADERS",
        "StreamEnded",
        "silence",
        None,
        "200 20",
        "whole",
        "200 20",
    ),
]
FAULTS = [row[0] for row in TABLE]


@pytest.fixture(scope="module")
def servers():
    """A server for each fault."""
    started = [serve(fault, answer=ok(BODY), http2=True, strict=False) for fault in FAULTS]
    yield started
    for server in started:
        server.close()


def at_once(ask, servers, silent):
    """What a client makes of each server, each in a thread of its own, because those of the silent ones wait."""
    patience = [BRIEF_SECONDS if each else PATIENCE_SECONDS for each in silent]
    with ThreadPoolExecutor(len(servers)) as pool:
        return [*zip(FAULTS, pool.map(ask, servers, patience), strict=True)]


def agrees(got, expected):
    """Check what clients made of the faults, and show the rows that differ."""
    assert [(*row, right) for row, right in zip(got, expected, strict=True) if row[1] != right] == []


def by_hand(server, seconds):
    with Raw(server) as client:
        client.ask()
        client.read_to_end(seconds)
    frames, rest = frames_of(client.raw)
    names = [
        (name, len([*same])) for name, same in itertools.groupby(kind for kind, *_ in frames if kind != "SETTINGS")
    ]
    told = " ".join(name if count == 1 else f"{name}*{count}" for name, count in names)
    try:
        said = type(client.h2.receive_data(client.raw)[-1]).__name__
    except H2Error as error:
        said = type(error).__name__
    return f"{told} +{len(rest)}" if rest else told, said, client.end


def test_the_bytes_on_the_wire_are_those_of_the_fault_and_of_the_ledger():
    started = [serve(fault, answer=ok(BODY), http2=True, strict=False) for fault in FAULTS]
    got = at_once(by_hand, started, [row[3] == "silence" for row in TABLE])
    struck = [server.attempts[0].struck for server in started]
    streams = [server.attempts[0].stream for server in started]
    for server in started:
        server.close()
    agrees(got, [row[1:4] for row in TABLE])
    assert [strike and (strike.point, strike.after_bytes) for strike in struck] == [row[4] for row in TABLE]
    assert {*streams} == {1}
    assert {f"bad_http2({kind!r})" for kind in get_args(Kind)} <= {repr(fault) for fault in FAULTS}


def by_httpx(server, seconds):
    try:
        with httpx.Client(http2=True, http1=False, timeout=seconds, verify=False) as client:
            response = client.get(server.url)
            return f"{response.status_code} {len(response.content)}"
    except (httpx.ProtocolError, H2Error):  # local, remote, or as h2 raises it, by what it reads first
        return "ProtocolError"
    except httpx.TransportError as error:
        return type(error).__name__


def test_httpx(servers):
    expected = [row[5] for row in TABLE]
    agrees(at_once(by_httpx, servers, [each == "ReadTimeout" for each in expected]), expected)


def by_curl(server, seconds):
    command = ["curl", "-s", "--http2-prior-knowledge", "-m", str(seconds), server.url]
    done = subprocess.run(command, capture_output=True, check=False)
    return "whole" if (done.returncode, done.stdout) == (0, BODY) else "fails"


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl")
@pytest.mark.measured
def test_curl(servers):
    agrees(at_once(by_curl, servers, [row[3] == "silence" for row in TABLE]), [row[6] for row in TABLE])


@pytest.mark.skipif(shutil.which("node") is None, reason="there is no Node")
def test_node(servers):
    script, ports = Path(__file__).with_name("node_client.js"), [str(server.port) for server in servers]
    done = subprocess.run(["node", str(script), *ports], capture_output=True, text=True, timeout=60, check=True)
    told = json.loads(done.stdout)
    agrees([(fault, told[port]) for fault, port in zip(FAULTS, ports, strict=True)], [row[7] for row in TABLE])
