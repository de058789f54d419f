"""Scenarios for the model: the values are made once and drawn whole, which costs little."""

from __future__ import annotations

from itertools import product

from hypothesis import strategies as st

from model.passage import CONNECT
from model.stage import SERVED, Become, Connect, EndAll, Leave, OpenGate, Say, SayRest, Scenario
from model.values import METHODS, Answer, Asked, Break, Fault, Plan, Sometimes, When

# --- requests --------------------------------------------------------------------------------------------------------


def asked(method, body, framing, ends, *, expects=False):
    """A request, framed by length or in chunks, which ends the connection in one of three ways or not at all."""
    fields = ["Host: localhost"] + ["Connection: close"] * (ends == "field")
    fields += ["Expect: 100-continue"] * expects
    fields.append("Transfer-Encoding: chunked" if framing == "chunks" else f"Content-Length: {len(body)}")
    framed, half = body, len(body) // 2
    if framing == "chunks":
        pieces = filter(None, (body[:half], body[half:]))
        framed = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
    head = "\r\n".join([f"{method} /{len(body)} HTTP/{'1.0' if ends == 'version' else '1.1'}", *fields]) + "\r\n\r\n"
    return Asked(head.encode() + framed, method, body, keeps=not ends, expects=expects)


BODIES = (b"", b"hello", b"any body\r\n\r\n\0\xff")
KEPT = tuple(asked(*each, "") for each in product(METHODS, BODIES, ("length", "chunks")))
LAST = tuple(asked(*each, "field") for each in product(METHODS, BODIES, ("length", "chunks")))
OLD = tuple(asked(method, body, "length", "version") for method, body in product(METHODS, BODIES))
WAITING = tuple(asked("POST", body, "length", ends, expects=True) for body, ends in product(BODIES[1:], ("", "field")))

kept = st.sampled_from(KEPT)
any_asked = st.sampled_from(KEPT + LAST + OLD)
waiting = st.sampled_from(WAITING)

# --- faults ----------------------------------------------------------------------------------------------------------

VERBS = ("close", "reset", "reset after FIN", "half_close", "stall", "hold")  # the simplest first
COUNTS = (1, 4, 5, 16, 17, 18, 35, 50, 60, 68, 90, 120)
SAID = {"request": (b"Host", b"\r\n\r\n", b"HTTP/1.1", b"body"), "response": (b"HTTP", b"Length", b"\r\n\r\n", b"erv")}
ANSWERS = (
    Answer(b"hello"),
    Answer(b""),
    Answer(b"made", 201),
    Answer(b"", 204),
    Answer(echoes=True),
    Answer(b"gone\n", 404),
    Answer(b"busy\n", 503),
    Answer(b"220 mail.invalid ESMTP\r\n", raw=True),
)


def breaks(at, *, counts_messages=False):
    """All breaks at a point."""
    verbs = (*VERBS, "inject") if at == "response" else VERBS
    if at == "connect":
        return (Break("refuse", at),)
    found = [Break(verb, at) for verb in verbs]
    if at == "handshake":
        return (*found, *(Break(verb, at, count) for verb in verbs for count in (1, 20, 100)))
    if at in ("request", "response", "tunnel"):
        found += [Break(verb, at, count) for verb in verbs for count in COUNTS]
        markers = (*SAID.get(at, SAID["response"]), b"never said")
        found += [Break(verb, at, on=marker) for verb in verbs for marker in markers]
    if counts_messages:
        found += [Break(verb, at, after_messages=count) for verb in verbs for count in (0, 1)] * 3
    return tuple(found)


def fits(brk, answer):
    """Whether a server takes the two together: the response is long enough, and the connection kept for `idle`."""
    if brk.at == "response":
        return brk.after_bytes <= len((answer or SERVED).to(Asked(b""), keeps=False))
    return brk.at == "idle" and not (answer is not None and answer.raw)


DATA, LATE = ("request", "response", "tunnel"), ("response", "idle")


def broken(at, *, is_passed=False):
    """The faults with a break at a point, by their verbs; only a server has answers of its own."""
    found = {}
    for brk in breaks(at, counts_messages=is_passed and at in DATA):
        answers = (None,) if is_passed or at not in LATE else (None, None, None, *ANSWERS)
        found.setdefault(brk.verb, []).extend(
            Fault(brk, a) for a in answers if is_passed or at not in LATE or fits(brk, a)
        )
    return {verb: st.sampled_from(faults) for verb, faults in found.items()}


broken_at = {
    at: st.one_of(*broken(at).values()) for at in ("connect", "accept", "handshake", "request", "response", "idle")
}
healthy = st.sampled_from([Fault(), *(Fault(None, answer) for answer in ANSWERS)])
late_faults = st.one_of(healthy, healthy, broken_at["response"], broken_at["idle"])
faults = st.one_of(late_faults, late_faults, *(broken_at[at] for at in ("connect", "accept", "request")))

# --- plans -----------------------------------------------------------------------------------------------------------


def plans(entry):
    whens = st.builds(When, st.sampled_from(METHODS[:3]), late_faults, late_faults)
    chances = st.builds(Sometimes, st.sampled_from((0.0, 0.5, 1.0)), entry, entry, st.integers(0, 9))
    attempts = st.lists(st.one_of(entry, entry, entry, whens, chances), min_size=1, max_size=4).map(tuple)
    alike = st.lists(st.one_of(entry, entry, whens), min_size=1, max_size=3).map(tuple)
    kinds = st.sampled_from(("sequence", "cycle"))
    return st.builds(Plan, attempts, kinds) | st.builds(Plan, alike, kinds, st.just("connection"))


before_opening = st.one_of(healthy, broken_at["idle"])
opening = st.one_of(broken_at["connect"], broken_at["accept"])
opened_anew = st.tuples(before_opening, before_opening, opening, healthy).map(Plan)
any_plan, late_plan = st.one_of(plans(faults), plans(faults), opened_anew), plans(late_faults)

# --- what happens ----------------------------------------------------------------------------------------------------

pieces = st.lists(st.integers(1, 400), max_size=3).map(tuple)
kept_back = st.integers(1, 80)
leaving = st.sampled_from([Leave(0), Leave(0, "RST"), Leave(0, listens=True)])
nothing = st.just(())
meanwhile = st.sampled_from(
    [(), (OpenGate(),), *((Leave(0, *how),) for how in ((), ("RST",), ("FIN", True)))]
    + [(EndAll(how),) for how in ("RST", "FIN", "stop")]
)
batches = st.builds(lambda batch, last: (*batch, last), st.lists(kept, max_size=2), any_asked)
said = st.one_of(
    st.builds(lambda batch, cuts: (Say(0, batch, cuts),), batches, pieces),
    st.builds(lambda one, without: (Say(0, (one,), (), without), SayRest(0)), any_asked | waiting, kept_back),
    st.builds(lambda one: (Say(0, (one,)),), waiting),
)


def one_client(fault, kinds, before=nothing):
    """A client that says something up to three times; at any time it leaves, or the test does something."""

    def scenario(fault, kind_and_tls, begins, says, at, extra, opens, leaves):  # noqa: PLR0917 - what is drawn
        kind, tls = kind_and_tls
        tls = tls or (fault.brk is not None and fault.brk.at == "handshake")
        marker = fault.brk.on if fault.brk is not None and fault.brk.at == "request" else None
        if marker and at % 2:  # a break that looks for bytes meets a request that is cut in them
            one = says[0][0].asked[0]
            says = [(Say(0, (one,), (), len(one.message.partition(marker[:-1])[2])), SayRest(0)), *says[1:]]
        actions = [Connect(), *begins, *(action for each in says for action in each)]
        at = 1 + at % len(actions)
        actions[at:at] = extra
        actions += [OpenGate()] * opens
        return Scenario(Plan((fault,)), (*actions, leaves), tls, kind)

    says, positions, opens = st.lists(said, min_size=1, max_size=3), st.integers(0, 9), st.booleans()
    return st.builds(scenario, fault, kinds, before, says, positions, meanwhile, opens, leaving)


def cell(kind, at):
    """The conversations of one client with a kind of server that breaks at a point, by the verbs of the breaks."""
    kinds = st.sampled_from([(kind, False), (kind, False), (kind, True)])
    first = st.sampled_from([(Say(0, (CONNECT,), (), count), SayRest(0)) for count in (0, 0, 5, 30)])
    begins = first if kind == "proxy" else nothing
    by_verb = broken(at, is_passed=kind != "server") if at else {"healthy": healthy}
    return {verb: one_client(fault, kinds, begins) for verb, fault in by_verb.items()}


SERVER = ("", "accept", "handshake", "request", "response", "idle")
CELLS = [("server", at) for at in SERVER] + [("relay", at) for at in DATA[:2]] + [("proxy", at) for at in DATA]

clients = st.integers(0, 2)
ends = st.sampled_from(("FIN", "RST"))
action = st.one_of(
    st.just(Connect()),
    *[
        st.builds(
            lambda client, batch, last: Say(client, (*batch, last)), clients, st.lists(kept, max_size=1), any_asked
        )
    ]
    * 4,
    st.builds(lambda client, one, without: Say(client, (one,), (), without), clients, any_asked | waiting, kept_back),
    st.builds(SayRest, clients),
    st.builds(Leave, clients, ends),
    st.builds(lambda client: Leave(client, listens=True), clients),
    st.just(OpenGate()),
    st.builds(Become, any_plan),
    st.builds(lambda plan: Become(plan, open_too=True), late_plan),
    st.builds(EndAll, ends),
)
attempts = st.builds(
    lambda plan, actions, tls: Scenario(plan, (Connect(), Connect(), *actions), tls),
    any_plan,
    st.lists(action, min_size=4, max_size=14),
    st.sampled_from((False, False, False, True)),
)
