"""Every kind of server with its capabilities, and the check of a plan against them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from faultline._core import frames
from faultline._core import steps as do
from faultline._core.answers import Answer, AsUsual, SocksRefusal, Through
from faultline._core.branching import Reply
from faultline._core.capabilities import Capabilities, Here, Key, Why, lacks
from faultline._core.conditions import (
    ByChunk,
    Condition,
    Corrupt,
    Direction,
    Edit,
    Latency,
    Loss,
    Pace,
    SlowClose,
    Swallowing,
    Trickle,
)
from faultline._core.errors import ParameterError
from faultline._core.fault import Fault
from faultline._core.http2 import Http2Answer
from faultline._core.lookups import Found, FoundLast
from faultline._core.plan import Limited, Per, Plan, faults_of, per_of
from faultline._core.points import FACTS, Point
from faultline._core.scripted import Script, WebSocketPlan
from faultline._core.streams import GoAway, RstStream
from faultline._core.toxics import Toxic

# --- parts that several kinds share ----------------------------------------------------------------------------------

PACKETS = frozenset({do.Partition})
ENDS = frozenset({do.Reset, do.Close, do.HalfClose, do.ReceiveAll, do.Hold}) | PACKETS
OF_TLS = frozenset({do.Send, do.Renegotiate})  # a break sends bytes only below TLS
SECONDS = frozenset({"after_seconds"})
TIMES = SECONDS | {"until"}
BYTES = TIMES | {"after_bytes"}
WORDS = BYTES | {"on"}
MESSAGES = WORDS | {"after_messages"}
BODIES, REQUESTED = frozenset({"after_body_bytes"}), frozenset({"after_requests"})

DOOR: dict[Point, Here] = {"connect": Here(frozenset({do.Refuse, do.Vanish, do.NoRoute}))}
OPENING: dict[Point, Here] = DOOR | {
    "accept": Here(ENDS, TIMES),
    "handshake": Here(ENDS | {do.Send}, BYTES),
}
SAID = ENDS | OF_TLS | {do.Inject}
HTTP: dict[Point, Here] = OPENING | {
    "request": Here(ENDS, WORDS | BODIES | REQUESTED),
    "response": Here(SAID, WORDS | BODIES | REQUESTED | {"at_end"}),
    "idle": Here(ENDS, TIMES | REQUESTED),
}
OF_STREAM = frozenset({RstStream, GoAway})
OF_HTTP2: dict[Point, Here] = OPENING | {
    "request": Here(ENDS | OF_STREAM, WORDS | BODIES | REQUESTED),
    "response": Here((SAID | OF_STREAM) - {do.Renegotiate}, WORDS | BODIES | REQUESTED | {"at_end"}),
    "idle": Here(ENDS | {GoAway}, TIMES | REQUESTED),
}
RELAYED: dict[Point, Here] = OPENING | {
    "request": Here(ENDS | {do.Inject}, MESSAGES | BODIES),
    "response": Here(SAID - {do.Renegotiate}, MESSAGES | BODIES, with_answer=frozenset({"at_end"})),
    "idle": Here(ENDS, TIMES | REQUESTED, SECONDS),
}
PROXIED: dict[Point, Here] = OPENING | {
    "request": Here(ENDS, MESSAGES),
    "response": Here(SAID, MESSAGES | BODIES, with_answer=frozenset({"at_end"})),
    "tunnel": Here(ENDS | {do.Inject}, MESSAGES),
}
SPOKEN: dict[Point, Here] = {  # of a script
    "connect": Here(frozenset({do.Refuse, do.Vanish})),  # with for_seconds the script follows
    "accept": Here(ENDS, TIMES),
    "handshake": Here(ENDS, BYTES),
    "request": Here(ENDS, MESSAGES),
    "response": Here(SAID, MESSAGES),
    "idle": Here(ENDS, TIMES),
}
SCRIPTED: dict[Point, Here] = SPOKEN | {  # of a script that may have steps of HTTP
    "request": Here(ENDS, MESSAGES | BODIES | REQUESTED),
    "response": Here(SAID, MESSAGES | BODIES | REQUESTED),
    "idle": Here(ENDS, TIMES | REQUESTED),
}
SAYING = frozenset({do.Send, do.Receive, do.ReceiveUntil, do.ReceivePrefixed, do.Repeat, Reply, do.Inject})
LINES = ENDS | SAYING | {do.Planned, do.StartTls, do.StopTls}
REQUESTS = frozenset({do.ReceiveRequest, do.Respond})
FRAMES = frozenset(
    {
        *(frames.Accept, frames.SendText, frames.SendBytes, frames.SendPing, frames.EchoMessages, frames.CloseFrame),
        *(frames.ReceiveText, frames.ReceiveBytes, frames.ReceiveClose),
        *(frames.IgnorePings, frames.CutFrame, frames.Fragment, frames.BadFrame, frames.BadMask, frames.Drop),
    }
)

SIDES: frozenset[Direction] = frozenset({"request", "response", "both", "handshake"})
STREAM: dict[type[Condition], frozenset[Direction]] = {
    **dict.fromkeys((Latency, Pace, Corrupt, Edit), SIDES),
    SlowClose: SIDES - {"handshake"},  # which has no end of its own
    Swallowing: SIDES - {"handshake", "both"},
    **dict.fromkeys((Trickle, ByChunk), frozenset[Direction]()),  # they need the head of a response
    Loss: frozenset({"request"}),
}
RESPONSE: frozenset[Direction] = frozenset({"response"})
RESPONSES: dict[type[Condition], frozenset[Direction]] = dict.fromkeys((Trickle, ByChunk), RESPONSE)
STREAMED_BODY: dict[type[Condition], frozenset[Direction]] = {ByChunk: RESPONSE}
TOXICS: dict[type[Condition], frozenset[Direction]] = {Toxic: frozenset({"request", "response"})}
LOOKUP: frozenset[Direction] = frozenset({"lookup"})
PER_CONNECTION: frozenset[Per] = frozenset({"attempt", "connection"})

NAMES: tuple[Key, ...] = ("lookup", Found, FoundLast)
STREAMED: dict[Key, Why] = {
    **dict.fromkeys(NAMES, Why("clients come here after the lookup")),
    do.Twice: Why("a stream keeps its order"),
    do.Behind: Why("a stream keeps its order"),
    do.Inject: Why("only a relay passes the request on"),
    "after_requests": Why("a server of HTTP counts them", "after_messages"),
}
UNFRAMED = Why("a script or a WebSocket has no frames of HTTP/2", "an answer such as ok(…) beside it")
IN_HTTP2 = Why("only HTTP/2 has streams and frames", "serve(…, http2=True)")
AT_SERVER: dict[Key, Why] = STREAMED | {
    **dict.fromkeys((RstStream, GoAway, Http2Answer, "http2"), IN_HTTP2),
    "after_messages": Why("in HTTP each message is an attempt", "a relay, a script, or sequence(…)"),
}
ANSWERED = Why("in a relay the upstream answers")
AT_RELAY: dict[Key, Why] = STREAMED | {
    Script: ANSWERED,
    WebSocketPlan: ANSWERED,
    "after_requests": Why("a relay counts requests only at 'idle'", "after_messages"),
    "after_seconds": Why("a relay takes silence for 'idle'", "after_seconds above 0, such as 1"),
    "tls": Why("a relay that passes TLS through speaks no TLS itself"),
    do.Renegotiate: Why("a relay reads from its client at any time, also during a handshake"),
}
AT_PROXY: dict[Key, Why] = STREAMED | {
    "idle": Why("a proxy keeps no connection for another request", "at='tunnel'"),
    "after_requests": Why("a proxy keeps no connection for another request", "sequence(…)"),
}
BEGUN: dict[Key, Why] = {
    "starttls": Why("the script begins TLS by itself", "tls=False"),
    "tls": Why("the server was started without TLS", "tls=True"),
}


def without(points: Mapping[Point, Here], steps: frozenset[type]) -> dict[Point, Here]:
    """The same points, without these steps."""
    return {point: replace(here, does=here.does - steps) for point, here in points.items()}


def in_plain(points: Mapping[Point, Here]) -> dict[Point, Here]:
    """The same points of a conversation without TLS."""
    return without({point: here for point, here in points.items() if not FACTS[point].is_of_tls}, OF_TLS)


def on_unix(kind: Capabilities) -> Capabilities:
    """The same kind on a Unix socket: it has no packets that could be dropped."""
    why = Why("a Unix socket has no packets to drop", instead=f"{kind.written} without unix")
    return replace(
        kind,
        name=f"{kind.name} on a Unix socket",
        written=kind.written.replace(")", ", unix=True)"),
        points=without(kind.points, PACKETS),
        conditions={condition: sides for condition, sides in kind.conditions.items() if condition is not Loss},
        in_script=kind.in_script - PACKETS,
        in_script_points=without(kind.in_script_points, PACKETS),
        why={**kind.why, **dict.fromkeys((do.Partition, Loss), why)},
    )


# --- the kinds -------------------------------------------------------------------------------------------------------

SERVER = Capabilities(
    name="a server",
    written="serve(…)",
    talk="http1",
    points=HTTP,
    answers=frozenset({AsUsual, Answer, Script, WebSocketPlan}),
    conditions=STREAM | RESPONSES,
    in_script=LINES | REQUESTS | FRAMES,
    in_script_points=SCRIPTED,
    tls="if needed",
    chooses=True,
    per=PER_CONNECTION,
    why=AT_SERVER | BEGUN,
)
UNIX = on_unix(SERVER)
HTTP2 = replace(
    SERVER,
    name="a server of HTTP/2",
    written="serve(…, http2=True)",
    talk="http2",
    points=OF_HTTP2,
    answers=SERVER.answers | {Http2Answer},
    conditions=dict.fromkeys((Latency, Pace), SIDES) | {Trickle: frozenset(), ByChunk: RESPONSE, Loss: STREAM[Loss]},
    speaks_http2=True,
    why={**SERVER.why, **dict.fromkeys((RstStream, GoAway), UNFRAMED)},
)
INTERCEPTED_HTTPS = replace(
    SERVER, name="a server at https", written="intercept('https://…', …)", tls="always", why=AT_SERVER
)
INTERCEPTED_HTTP = replace(
    SERVER,
    name="a server at http",
    written="intercept('http://…', …)",
    points=in_plain(HTTP),
    in_script_points=without(SCRIPTED, OF_TLS),
    tls="never",
    why=AT_SERVER,
)
RELAY = Capabilities(
    name="a relay that passes TLS through",
    written="relay(…)",
    talk="relayed",
    points=in_plain(RELAYED),
    answers=frozenset({AsUsual, Answer, Through}),
    chooses=True,
    conditions={condition: sides - {"handshake"} for condition, sides in STREAM.items()} | STREAMED_BODY | TOXICS,
    per=PER_CONNECTION,
    why=AT_RELAY,
)
UNREAD = Why("the relay can't read the TLS that it passes through", "tls='terminate'")
BLIND_RELAY = replace(  # in front of an upstream that speaks TLS
    RELAY, answers=frozenset({AsUsual, Through}), chooses=False, why=AT_RELAY | {Answer: UNREAD, "choice": UNREAD}
)
TERMINATING_RELAY = replace(
    RELAY,
    name="a relay that terminates TLS",
    written="relay(…, tls='terminate')",
    points=RELAYED,
    conditions=STREAM | STREAMED_BODY | TOXICS,
    tls="always",
)
HTTP_PROXY = Capabilities(
    name="an HTTP proxy",
    written="http_proxy(…)",
    talk="http_proxy",
    points=PROXIED,
    answers=frozenset({AsUsual, Answer, Script}),
    conditions=STREAM | RESPONSES,
    in_script=LINES | REQUESTS,
    in_script_points=SCRIPTED,
    tls="if needed",
    chooses=True,
    per=PER_CONNECTION,
    why=AT_PROXY | BEGUN,
)
SOCKS_PROXY = Capabilities(
    name="a SOCKS proxy",
    written="socks_proxy(…)",
    talk="socks_proxy",
    points=in_plain(PROXIED | {"response": Here(SAID, MESSAGES)}),
    answers=frozenset({AsUsual, SocksRefusal, Script}),
    conditions=STREAM,
    in_script=LINES,
    in_script_points=without(SPOKEN, OF_TLS),
    per=PER_CONNECTION,
    why={**AT_PROXY, Answer: Why("a SOCKS proxy refuses with socks_refusal(…), not in HTTP")},
)
UDP = Capabilities(
    name="a UDP server",
    written="udp(…)",
    points={
        "connect": Here(frozenset({do.Refuse, do.Vanish})),
        "response": Here(frozenset({do.Twice, do.Behind})),
    },
    answers=frozenset({AsUsual, Answer}),
    conditions={**dict.fromkeys((Latency, Corrupt, Edit), RESPONSE), Loss: frozenset({"request"})},
    says_bytes_alone=True,
)
DNS = Capabilities(
    name="a DNS server",
    written="dns_server(…)",
    points={"lookup": Here(frozenset({do.NoName, do.WrongAnswer}))},
    answers=frozenset({AsUsual, Found}),
    conditions={Latency: LOOKUP},
)
RESOLVER = Capabilities(
    name="a resolver",
    written="resolve(name, …)",
    points={"lookup": Here(frozenset({do.NoName}))},
    answers=frozenset({AsUsual, Found, FoundLast}),
    conditions={Latency: LOOKUP},
    why={do.WrongAnswer: Why("only a DNS server can send this answer")},
)
KINDS: tuple[Capabilities, ...] = (
    SERVER,
    UNIX,
    RELAY,
    TERMINATING_RELAY,
    HTTP_PROXY,
    SOCKS_PROXY,
    INTERCEPTED_HTTPS,
    INTERCEPTED_HTTP,
    UDP,
    RESOLVER,
    DNS,
)


# --- the check -------------------------------------------------------------------------------------------------------


def settled(kind: Capabilities, plan: Plan, default: Answer, *, tls: bool) -> Capabilities:
    """The capabilities of a server that is started with TLS, if asked for or needed, or without."""
    if kind.tls != "if needed":
        return kind
    needs_tls = default.needs_tls or any(fault.needs_tls for fault in faults_of(plan))
    return kind.in_tls if tls or needs_tls else kind.in_plain


def check_plan(plan: Plan, can: Capabilities) -> None:
    """Check that a kind of server plays every fault of a plan.

    Raises:
        ParameterError: a fault has a part that the kind does not play, or the plan is by connection and the kind has
            no connections.
    """
    for fault in faults_of(plan):
        check(fault, can)
    if isinstance(plan, Limited) and "connection" not in can.per:
        raise ParameterError(f"{plan!r}: expected a server with connections; {can.name} has none to count.")
    if per_of(plan) not in can.per:
        raise ParameterError(f"per={per_of(plan)!r}: expected per='attempt'; {can.name} has no connections to deal to.")


def check(fault: Fault, can: Capabilities) -> None:
    """Check that a kind of server plays a fault.

    Raises:
        ParameterError: the fault has a part that the kind does not play; the message names the kinds that do, or the
            call or the option to use.
    """
    for key, sentence in lacks(fault, can):
        why = can.why.get(key, Why(sentence))
        raise ParameterError(f"{fault!r}: expected {why.instead or others(fault, can)}; {why.reason}.")


def others(fault: Fault, can: Capabilities) -> str:
    """The kinds of server that play a fault: the first with the same starter, or the first of each starter."""
    known = [kind for kind in KINDS if kind.plays(fault)] or [HTTP2] * HTTP2.plays(fault)
    kin = [kind.written for kind in known if kind.starter == can.starter]
    if kin:
        return kin[0]
    first = {kind.starter: kind.written for kind in reversed(known) if kind.starter != "intercept"}
    if not first:
        return "a fault that some kind of server can play"
    *most, last = reversed(first.values())
    return f"{', '.join(most)} or {last}" if most else last
