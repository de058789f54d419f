"""Content: the protocol of a conversation, and the first bytes of a turn as words for a reader.

Rules: a guess by the first bytes. Nothing else depends on it, and bytes that fit no protocol are shown as they are.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from faultline._core.alerts import NAME_OF
from faultline._core.counts import counted
from faultline._core.frame_words import websocket

if TYPE_CHECKING:
    from faultline._core.attempts import Attempt
    from faultline._core.turns import Turn

# The protocols by the client's first bytes, in the order in which they are tried.
FIRST_BYTES: tuple[tuple[str, re.Pattern[bytes]], ...] = (
    ("HTTP/2", re.compile(rb"PRI \* HTTP/2\.0\r\n")),
    ("HTTP/1.0", re.compile(rb"[A-Z-]{1,32} \S+ HTTP/1\.0\r?\n")),
    ("HTTP/1.1", re.compile(rb"[A-Z-]{1,32} (?:\S+ HTTP/1\.[1-9]\r?\n|[/*h]\S{40,}$)")),
    ("TLS", re.compile(rb"\x16\x03[\x00-\x04]")),
    ("Redis", re.compile(rb"\*\d+\r\n\$\d+\r\n")),
    ("PostgreSQL", re.compile(rb"\0\0..(?:\0\x03\0[\0-\x02]|\x04\xd2\x16[\x2e-\x30])", re.DOTALL)),
    ("SSH", re.compile(rb"SSH-[12]")),
    ("SMTP", re.compile(rb"(?:EHLO|HELO|LHLO) ", re.IGNORECASE)),
    ("AMQP", re.compile(rb"AMQP[\0-\x09]")),
    ("MQTT", re.compile(rb"\x10.{1,4}\0[\x04\x06]MQ", re.DOTALL)),
)
GREETING = re.compile(rb"...\0\x0a\d", re.DOTALL)  # a server of MySQL speaks first
SOCKS = re.compile(rb"\x05[\x01-\x08]|\x04[\x01\x02]")


SWITCHES = re.compile(rb"HTTP/1\.1 101 ")  # to WebSocket, in all that is in use: RFC 9110, 15.2.2
SCHEMES = {
    "WebSocket": "ws",
    "HTTP/1.0": "http", "HTTP/1.1": "http", "HTTP/2": "http", "Redis": "redis", "PostgreSQL": "postgresql",
    "SSH": "ssh", "SMTP": "smtp", "AMQP": "amqp", "MQTT": "mqtt", "MySQL": "mysql", "TLS": "tls",
}  # fmt: skip
SECURE = {"ws": "wss", "http": "https", "redis": "rediss", "smtp": "smtps", "amqp": "amqps", "mqtt": "mqtts"}


def scheme_of(attempts: Sequence[Attempt], usual: str) -> str:
    """The scheme of a URL for what these attempts speak, such as `redis`; `usual` if they have said nothing."""
    spoken = next((attempt for attempt in attempts if attempt.turns), None)
    if spoken is None:
        return usual
    scheme = SCHEMES.get(inner_protocol(spoken), "tcp")
    is_secure = spoken.tls is not None and spoken.tls.version
    return SECURE.get(scheme, scheme) if is_secure else scheme


def protocol_of(attempt: Attempt) -> str:
    """The protocol of an attempt, such as `HTTP/1.1 in TLSv1.3`; empty if it is not known."""
    name = inner_protocol(attempt)
    version = attempt.tls.version if attempt.tls is not None else ""
    if version and name != "TLS":
        return f"{name} in {version}" if name else version
    return name


def inner_protocol(attempt: Attempt) -> str:
    """The protocol of the application bytes, by the first turn of each side."""
    if attempt.point == "lookup" or attempt.stream is not None:
        return "HTTP/2" if attempt.stream is not None else "DNS" if attempt.turns else ""
    method = attempt.request.method if attempt.request else ""
    if method.startswith("SOCKS"):
        return method
    first = {turn.by: turn for turn in reversed(attempt.turns)}
    said = first["client"].begins if "client" in first else b""
    known = next((name for name, pattern in FIRST_BYTES if pattern.match(said)), "")
    if "server" in first and SWITCHES.match(first["server"].begins):
        return "WebSocket"
    if known or not attempt.turns:
        return known
    if SOCKS.match(said) and len(said) == 2 + said[1]:
        return "SOCKS5"
    begins = attempt.turns[0].begins
    return "MySQL" if GREETING.match(begins) else "SSH" if begins.startswith(b"SSH-") else ""


def words(turn: Turn, protocol: str) -> str:
    """The first bytes of a turn in words: the messages of a protocol, or the first line."""
    read = READERS.get(protocol.partition(" ")[0])
    if turn.begins[:2] == b"\x16\x03":
        read = tls_records
    said = ", ".join(once_each(read(turn.begins, is_client=turn.by == "client"))) if read else ""
    return said or first_line(turn.begins)


def once_each(names: Iterator[str]) -> list[str]:
    """Names without those that are empty or repeat the name before."""
    kept: list[str] = []
    for name in names:
        if name and kept[-1:] != [name]:
            kept.append(name)
    return kept


def first_line(data: bytes) -> str:
    """The first line that is not empty, with escapes for bytes that are not printable ASCII."""
    return plain(data.lstrip(b"\r\n").partition(b"\n")[0].rstrip(b"\r"))


def plain(data: bytes) -> str:
    """Bytes as text, with escapes for bytes that are not printable ASCII."""
    return data.decode("latin-1").encode("unicode_escape").decode("ascii")


# --- protocols -------------------------------------------------------------------------------------------------------


def redis(data: bytes, *, is_client: bool) -> Iterator[str]:  # noqa: ARG001 - both sides speak alike
    """The commands and replies of RESP, without the lengths of their strings."""
    parts: list[str] = []
    expected = 0
    while data:
        line, _, data = data.partition(b"\r\n")
        kind = line[:1]
        if kind == b"*" or (not expected and parts):
            yield " ".join(parts)
            parts = []
        if kind == b"*":
            expected = int(line[1:]) if line[1:].isdigit() else 0
            parts.append(plain(line))
            continue
        if kind == b"$" and line[1:].isdigit():
            text, data = plain(data[: int(line[1:])]), data[int(line[1:]) + 2 :]
            parts += [text] if expected else [plain(line), text]
        else:
            parts.append(plain(line))
        expected = max(0, expected - 1)
    yield " ".join(parts)


STARTUPS = {196608: "StartupMessage", 80877102: "CancelRequest", 80877103: "SSLRequest", 80877104: "GSSENCRequest"}
OF_CLIENT = {
    "B": "Bind", "C": "Close", "D": "Describe", "E": "Execute", "F": "FunctionCall", "H": "Flush", "P": "Parse",
    "Q": "Query", "S": "Sync", "X": "Terminate", "c": "CopyDone", "d": "CopyData", "f": "CopyFail", "p": "Password",
}  # fmt: skip
OF_SERVER = {
    "1": "ParseComplete", "2": "BindComplete", "3": "CloseComplete", "A": "NotificationResponse",
    "C": "CommandComplete", "D": "DataRow", "E": "ErrorResponse", "G": "CopyInResponse", "H": "CopyOutResponse",
    "I": "EmptyQueryResponse", "K": "BackendKeyData", "N": "NoticeResponse", "R": "Authentication",
    "S": "ParameterStatus", "T": "RowDescription", "Z": "ReadyForQuery", "c": "CopyDone", "d": "CopyData",
    "n": "NoData", "s": "PortalSuspended", "t": "ParameterDescription",
}  # fmt: skip
# The text of a message is the string of this number in it.
TEXT_AT = {"Query": 0, "Parse": 1, "CommandComplete": 0}


def postgresql(data: bytes, *, is_client: bool) -> Iterator[str]:
    """The messages of PostgreSQL's protocol 3, with the text of queries, tags and errors."""
    if not is_client and len(data) == 1:
        yield {b"S": "TLS accepted", b"N": "TLS refused"}.get(data, "")
        return
    if is_client and data[:1] == b"\0":
        length, code = int.from_bytes(data[:4], "big"), int.from_bytes(data[4:8], "big")
        fields = data[8:length].split(b"\0") if code == min(STARTUPS) else []
        pairs = [
            f"{plain(name)}={plain(value)}" for name, value in zip(fields[::2], fields[1::2], strict=False) if name
        ]
        yield " ".join([STARTUPS.get(code, ""), *pairs])
        data = data[length:]
    while data:
        name = (OF_CLIENT if is_client else OF_SERVER).get(chr(data[0]), "")
        end = 1 + int.from_bytes(data[1:5], "big")
        body, data = data[5:end], data[max(end, 5) :]
        if not name:
            return
        yield " ".join(filter(None, [name, text_of(name, body)]))


def text_of(name: str, body: bytes) -> str:
    """The text in a message of PostgreSQL; empty if it has none."""
    strings = body.split(b"\0")
    if name == "ErrorResponse":
        return plain(next((field[1:] for field in strings if field[:1] == b"M"), b""))
    at = TEXT_AT.get(name)
    return plain(strings[at]) if at is not None and at < len(strings) else ""


RECORDS = {20: "ChangeCipherSpec", 21: "alert", 22: "handshake", 23: "application data"}
HANDSHAKES = {1: "ClientHello", 2: "ServerHello", 4: "NewSessionTicket", 11: "Certificate", 14: "ServerHelloDone"}
ALERT_BYTES = 2


def tls_records(data: bytes, *, is_client: bool) -> Iterator[str]:  # noqa: ARG001 - both sides speak alike
    """The records of TLS, with the name of a message or an alert that is not encrypted."""
    while len(data) > 5 and data[1:2] == b"\x03" and data[0] in RECORDS:  # noqa: PLR2004 - the head of a record
        name, length = RECORDS[data[0]], int.from_bytes(data[3:5], "big")
        body, data = data[5 : 5 + length], data[5 + length :]
        if name == "handshake":
            name = HANDSHAKES.get(body[0], name)
        elif name == "alert" and length == ALERT_BYTES:
            name = f"alert {NAME_OF.get(body[-1], body[-1])}"
        yield name


PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
FRAMES = (
    "DATA", "HEADERS", "PRIORITY", "RST_STREAM", "SETTINGS", "PUSH_PROMISE", "PING", "GOAWAY", "WINDOW_UPDATE",
    "CONTINUATION",
)  # fmt: skip
FRAME_HEAD_BYTES = 9


def http2(data: bytes, *, is_client: bool) -> Iterator[str]:  # noqa: ARG001 - both sides speak alike
    """The frames of HTTP/2, after the client's preface."""
    if data.startswith(PREFACE):
        yield "preface"
        data = data[len(PREFACE) :]
    while len(data) >= FRAME_HEAD_BYTES and data[3] < len(FRAMES):
        yield FRAMES[data[3]]
        data = data[FRAME_HEAD_BYTES + int.from_bytes(data[:3], "big") :]


METHODS = {0: "no password", 1: "GSSAPI", 2: "name and password", 255: "none"}
COMMANDS = {1: "CONNECT", 2: "BIND", 3: "UDP ASSOCIATE"}
IPV4, NAME, IPV6 = 1, 3, 4


def socks5(data: bytes, *, is_client: bool) -> Iterator[str]:
    """The messages of SOCKS 5 (RFC 1928), which may come together."""
    if data[:1] == b"\x05" and len(data) > 1 and not has_address(data):
        methods = data[2 : 2 + data[1]] if is_client else data[1:2]
        names = ", ".join(METHODS.get(method, str(method)) for method in methods)
        yield f"methods: {names}" if is_client else f"method: {names}"
        data = data[2 + len(methods) :] if is_client else data[2:]
    if has_address(data):
        host = plain(data[5 : 5 + data[4]]) if data[3] == NAME else ""
        if is_client:
            yield f"{COMMANDS.get(data[1], data[1])} {host}".rstrip()
        else:
            yield f"refused ({data[1]})" if data[1] else "granted"


def has_address(data: bytes) -> bool:
    """Whether this is a request or a reply of SOCKS 5, which has an address."""
    head = data[:4]
    return len(data) > len(head) + 2 and head[0] == 5 and head[2] == 0 and head[3] in (IPV4, NAME, IPV6)  # noqa: PLR2004


DNS_HEAD_BYTES = 12
DNS_TYPES = {1: "A", 2: "NS", 5: "CNAME", 6: "SOA", 12: "PTR", 15: "MX", 16: "TXT", 28: "AAAA", 33: "SRV", 65: "HTTPS"}
DNS_CODES = {1: "FORMERR", 2: "SERVFAIL", 3: "NXDOMAIN", 4: "NOTIMP", 5: "REFUSED"}


def dns(data: bytes, *, is_client: bool) -> Iterator[str]:
    """The type and the name of a query of DNS, and the code or the number of answers of a response (RFC 1035, 4.1)."""
    if len(data) < DNS_HEAD_BYTES:
        return
    if not is_client:
        code, answers = data[3] & 15, int.from_bytes(data[6:8], "big")
        yield DNS_CODES.get(code, f"code {code}") if code else counted(answers, "answer")
        return
    labels, rest = [], data[DNS_HEAD_BYTES:]
    while rest and rest[0]:
        labels.append(plain(rest[1 : 1 + rest[0]]))
        rest = rest[1 + rest[0] :]
    kind = int.from_bytes(rest[1:3], "big")  # 0 if the name is longer than what is kept of a turn
    yield f"{DNS_TYPES.get(kind, f'TYPE{kind}') if kind else 'query'} {'.'.join(labels)}"


READERS: dict[str, Callable[..., Iterator[str]]] = {
    "DNS": dns,
    "HTTP/2": http2,
    "PostgreSQL": postgresql,
    "Redis": redis,
    "SOCKS5": socks5,
    "TLS": tls_records,
    "WebSocket": websocket,
}
