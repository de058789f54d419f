"""Whatever requests a client sends on one connection, and however it cuts them: answers and byte counts are right."""

from __future__ import annotations

import socket
from dataclasses import dataclass

from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from faultline import echo, ok, serve

steadily = settings(max_examples=60, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
METHODS = ["GET", "HEAD", "POST", "PUT", "DELETE"]
ANSWERS = {"echo": echo(), "ok": ok(b"hello"), "ok without a body": ok(b""), "ok created": ok(b"made", status=201)}


@dataclass(frozen=True)
class Asked:
    """A request: its bytes, and what they mean."""

    method: str
    body: bytes
    message: bytes
    keeps: bool


@st.composite
def requests(draw, *, keeps):
    """A request, framed by length or in chunks."""
    method = draw(st.sampled_from(METHODS))
    body = draw(st.binary(max_size=300) | st.binary(max_size=40).map(lambda data: data * 1000))
    chunked = draw(st.booleans())
    version = b"1.1" if keeps or chunked or draw(st.booleans()) else b"1.0"
    fields = [b"Host: localhost"]
    if not keeps and version == b"1.1":
        fields.append(b"Connection: close")
    if chunked:
        fields.append(b"Transfer-Encoding: chunked")
        framed = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in draw(cut(body)) if piece) + b"0\r\n\r\n"
    else:
        fields.append(b"Content-Length: %d" % len(body))
        framed = body
    head = b"\r\n".join([b"%b /%d HTTP/%b" % (method.encode(), len(body), version), *fields])
    return Asked(method, body, head + b"\r\n\r\n" + framed, keeps)


@st.composite
def cut(draw, data):
    """Pieces of data, cut anywhere."""
    ends = sorted(draw(st.lists(st.integers(0, len(data)), max_size=6)))
    return [data[begin:end] for begin, end in zip([0, *ends], [*ends, len(data)], strict=True)]


@st.composite
def conversations(draw):
    """Requests of which only the last may end the connection, in batches that are sent without waiting for answers."""
    last_keeps = draw(st.booleans())
    count = draw(st.integers(1, 5))
    asked = [draw(requests(keeps=number < count or last_keeps)) for number in range(1, count + 1)]
    batches = [[]]
    for one in asked:
        if batches[-1] and draw(st.booleans()):
            batches.append([])
        batches[-1].append(one)
    return [(batch, draw(cut(b"".join(one.message for one in batch)))) for batch in batches]


def read(client, count):
    """Exactly so many bytes."""
    received = b""
    while len(received) < count:
        data = client.recv(count - len(received))
        assert data, "the response was cut off"
        received += data
    return received


def read_response(client, method):
    """Status, body and size of one response, and whether the connection is kept; HEAD is answered without a body."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += read(client, 1)
    fields = dict(line.split(b": ", 1) for line in head.split(b"\r\n")[1:-2])
    body = read(client, 0 if method == "HEAD" else int(fields[b"Content-Length"]))
    return int(head.split(b" ")[1]), body, len(head) + len(body), fields.get(b"Connection") != b"close"


def answered(answer, one):
    """What the server has to say."""
    body = one.body if answer.answer.echoes else answer.answer.body
    return answer.answer.status, b"" if one.method == "HEAD" else body


@steadily
@given(st.sampled_from(sorted(ANSWERS)), conversations())
def test_every_request_gets_its_answer_and_every_byte_is_counted(name, conversation):
    answer = ANSWERS[name]
    asked = [one for batch, _ in conversation for one in batch]
    event(f"{len(asked)} requests in {len(conversation)} batches")

    with serve(answer) as server:
        with socket.create_connection(server.address, timeout=10) as client:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # each piece travels alone
            responses = []
            for batch, pieces in conversation:
                for piece in pieces:
                    client.sendall(piece)
                responses += [read_response(client, one.method) for one in batch]
            rest = b"" if asked[-1].keeps else client.recv(1)
        attempts = server.attempts

    assert [(status, body) for status, body, _, _ in responses] == [answered(answer, one) for one in asked]
    assert rest == b""
    assert [keeps for *_, keeps in responses] == [one.keeps for one in asked]
    assert [a.sent_bytes for a in attempts] == [size for _, _, size, _ in responses]
    assert [a.received_bytes for a in attempts] == [len(one.message) for one in asked]
    assert [(a.request.method, a.request.body) for a in attempts] == [(one.method, one.body) for one in asked]
    assert [a.request.target for a in attempts] == [f"/{len(one.body)}" for one in asked]
    assert {a.connection for a in attempts} == {1}
    assert [a.ended_by for a in attempts] == [None] * (len(asked) - 1) + ["client" if asked[-1].keeps else "server"]
    assert attempts[-1].ended_how == "FIN"
