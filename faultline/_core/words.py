"""Other words for the names of faultline, as users write them by mistake, and the names that are meant."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

SECONDS = ("seconds", "for_seconds", "delay_seconds", "timeout_seconds", "every_seconds", "after_seconds")
# The units that users write, in a name or alone: the unit of faultline, and how many of it they are.
UNITS: dict[str, tuple[str, float]] = {
    **dict.fromkeys(("us", "micros", "microseconds"), ("seconds", 1e-6)),
    **dict.fromkeys(("ms", "millis", "milliseconds", "msec"), ("seconds", 1e-3)),
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), ("seconds", 1)),
    **dict.fromkeys(("min", "mins", "minutes"), ("seconds", 60)),
    **dict.fromkeys(("b", "byte", "bytes"), ("bytes", 1)),
    **dict.fromkeys(("kb", "kilobytes"), ("bytes", 1000)),
    **dict.fromkeys(("mb", "megabytes"), ("bytes", 1_000_000)),
    **dict.fromkeys(("kib", "kibibytes"), ("bytes", 1024)),
    **dict.fromkeys(("mib", "mebibytes"), ("bytes", 1_048_576)),
}
# Other words for parameters; the first that a function has is meant.
PARAMETERS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("timeout", "duration", "delay", "wait", "sleep", "time", "pause"), SECONDS),
    **dict.fromkeys(("limit", "deadline", "max_wait"), ("timeout_seconds",)),
    **dict.fromkeys(("interval", "period", "gap", "pace"), ("every_seconds", *SECONDS)),
    **dict.fromkeys(("point", "where", "stage", "phase", "step", "place", "when"), ("at",)),
    **dict.fromkeys(("offset", "position", "index", "start"), ("at_byte", "after_bytes")),
    **dict.fromkeys(("size", "length", "amount"), ("chunk_bytes", "count_bytes", "after_bytes")),
    **dict.fromkeys(
        ("n", "number", "times", "num", "how_many"), ("count", "count_bytes", "after_messages", "lines", "hops")
    ),
    **dict.fromkeys(
        ("pattern", "match", "regex", "marker", "text", "word", "trigger", "after_text"), ("on", "marker", "body")
    ),
    **dict.fromkeys(("content", "payload", "data", "text", "bytes", "message"), ("body", "data", "marker")),
    **dict.fromkeys(("event", "gate", "release", "condition"), ("until", "condition")),
    **dict.fromkeys(("status_code", "code", "http_status"), ("status", "code")),
    **dict.fromkeys(("initial_window_size", "settings_initial_window_size"), ("window_bytes",)),
    **dict.fromkeys(("max_frame_size", "settings_max_frame_size"), ("max_frame_bytes",)),
    **dict.fromkeys(("max_header_list_size", "settings_max_header_list_size"), ("max_header_list_bytes",)),
    **dict.fromkeys(("header_table_size", "settings_header_table_size"), ("header_table_bytes",)),
    **dict.fromkeys(("max_concurrent_streams", "settings_max_concurrent_streams"), ("max_streams",)),
    "status": ("code",),
    "body": ("data", "answer"),
    **dict.fromkeys(("header", "fields", "extra_headers"), ("headers",)),
    **dict.fromkeys(("retry", "backoff"), ("retry_after",)),
    **dict.fromkeys(("rate", "bps", "speed", "bandwidth", "bytes_per_sec", "bytes_per_s"), ("bytes_per_second",)),
    **dict.fromkeys(("p", "prob", "chance", "ratio", "percent", "rate"), ("probability", "bytes_per_second")),
    **dict.fromkeys(("side", "of", "sender", "way", "directions"), ("direction",)),
    **dict.fromkeys(("defect", "type", "reason", "name", "variant", "error"), ("kind",)),
    **dict.fromkeys(("url", "target", "location", "destination"), ("to", "upstream", "url")),
    **dict.fromkeys(("backend", "server", "origin", "address"), ("upstream", "to", "host", "answer")),
    **dict.fromkeys(("ssl", "https", "secure", "certificate", "cert", "mtls"), ("tls", "certificate")),
    **dict.fromkeys(("ip", "interface", "bind", "hostname", "addr"), ("host",)),
    **dict.fromkeys(("path", "socket", "uds", "unix_socket", "socket_path"), ("unix",)),
    **dict.fromkeys(("response", "reply", "default", "healthy"), ("answer",)),
    **dict.fromkeys(("fault", "mode", "faults", "behaviour", "behavior", "script"), ("plan", "fault")),
    **dict.fromkeys(("process", "subprocess", "fork", "separate"), ("isolated",)),
    **dict.fromkeys(("guard", "check", "require"), ("strict",)),
    **dict.fromkeys(("remote", "external"), ("allow_remote",)),
    **dict.fromkeys(("else_", "other", "default_fault"), ("otherwise",)),
    **dict.fromkeys(("random_seed", "rng"), ("seed",)),
    **dict.fromkeys(("user", "credentials", "password", "login"), ("auth",)),
    **dict.fromkeys(("code_errno", "number", "err"), ("errno",)),
    **dict.fromkeys(("existing", "live", "now", "open"), ("open_too",)),
    **dict.fromkeys(("state", "until", "reached"), ("at",)),
}
# Other words for choices; a choice is meant that is one of these, or has one of these in its name.
CHOICES: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(
        ("body", "read", "recv", "receive", "reply", "answer", "download", "headers", "header", "head", "status"),
        ("response",),
    ),
    **dict.fromkeys(("write", "send", "upload", "post", "sending", "client"), ("request",)),
    **dict.fromkeys(("open", "opened", "connected", "connection", "start", "begin", "accepted", "tcp"), ("accept",)),
    **dict.fromkeys(("tls", "ssl", "hello", "client_hello", "server_hello", "certificate", "starttls"), ("handshake",)),
    **dict.fromkeys(
        ("keepalive", "keep_alive", "pool", "pooled", "reuse", "between", "kept", "end_of_response", "after"), ("idle",)
    ),
    **dict.fromkeys(("connect_timeout", "dial", "syn", "connecting", "refused"), ("connect",)),
    **dict.fromkeys(("dns", "resolve", "name", "getaddrinfo"), ("lookup",)),
    **dict.fromkeys(("truncated", "cut", "incomplete", "partial", "short"), ("truncated", "cut", "short")),
    **dict.fromkeys(("length", "content_length", "size"), ("length",)),
    **dict.fromkeys(("chunked", "chunks", "chunk"), ("chunk",)),
    **dict.fromkeys(("compressed", "encoding", "compression"), ("gzip",)),
    **dict.fromkeys(("expire", "outdated", "old", "expiry"), ("expired",)),
    **dict.fromkeys(("hostname", "wrong_name", "mismatch", "host", "hostname_mismatch"), ("wrong_host", "mismatch")),
    **dict.fromkeys(("selfsigned", "self"), ("self_signed",)),
    **dict.fromkeys(("untrusted", "unknown_ca", "untrusted_ca"), ("untrusted_root",)),
    **dict.fromkeys(("both_ways", "all", "duplex"), ("both",)),
    **dict.fromkeys(("server", "down", "from_server"), ("response",)),
    **dict.fromkeys(("up", "from_client"), ("request",)),
    **dict.fromkeys(("fin", "closed", "eof", "end"), ("close", "end")),
    **dict.fromkeys(("rst",), ("reset",)),
    **dict.fromkeys(("hang", "silence", "timeout"), ("stall",)),
    **dict.fromkeys(("done", "closed", "finished"), ("end",)),
    **dict.fromkeys(("struck", "hit"), ("strike",)),
}
MODE_NAMES: list[str] = []  # the names of the modes that are defined so far
# Other words for modes.
MODES: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("timeout", "read_timeout", "hang", "silence", "freeze", "hung", "slow_response"), ("stall",)),
    **dict.fromkeys(("connect_timeout", "connection_timeout", "syn", "drop_syn", "firewall"), ("blackhole",)),
    **dict.fromkeys(("refused", "connection_refused", "econnrefused", "connectionrefusederror"), ("refuse",)),
    **dict.fromkeys(("rst", "econnreset", "connection_reset", "abort", "connectionreseterror"), ("reset",)),
    **dict.fromkeys(("fin", "eof", "disconnect", "hangup", "hang_up", "drop", "end_of_stream"), ("close",)),
    **dict.fromkeys(("broken_pipe", "epipe", "brokenpipeerror"), ("reset",)),
    **dict.fromkeys(("delay", "slow", "lag"), ("latency",)),
    **dict.fromkeys(("bandwidth", "rate", "limit", "rate_limit"), ("throttle",)),
    **dict.fromkeys(("error", "http_error", "500", "503", "404", "429", "server_error"), ("status",)),
    **dict.fromkeys(("certificate", "cert", "expired", "self_signed", "bad_certificate"), ("bad_cert",)),
    **dict.fromkeys(("tls", "ssl", "handshake", "tls_error"), ("bad_tls",)),
    **dict.fromkeys(("truncated", "garbage", "bad_http", "broken", "invalid", "corrupted"), ("malformed",)),
    **dict.fromkeys(("dns", "no_such_host", "unknown_host", "gaierror", "dns_error"), ("nxdomain",)),
    **dict.fromkeys(("healthy", "hello", "answer", "http"), ("ok",)),
    **dict.fromkeys(("network_unreachable", "enetunreach", "no_route"), ("unreachable",)),
    **dict.fromkeys(("flip", "bitflip", "corruption"), ("corrupt",)),
    **dict.fromkeys(("packet_loss", "lossy"), ("loss",)),
    **dict.fromkeys(("slow_headers", "slowloris", "trickle"), ("trickle_headers",)),
    **dict.fromkeys(("ws", "wss", "web_socket", "websockets"), ("websocket",)),
    **dict.fromkeys(("events", "server_sent_events", "stream", "eventsource"), ("sse",)),
}


def plain_word(word: str) -> str:
    """A word in lower case, with underscores."""
    return re.sub(r"[\W_]+", "_", word.lower()).strip("_")


def meant(word: str, known: Iterable[str], others: dict[str, tuple[str, ...]]) -> list[str]:
    """The known names that a word can mean: other words for it, the nearest spelling, or names that contain it."""
    names, plain = list(known), plain_word(word)
    if same := [name for name in names if name.lower() == plain]:
        return same
    for fragment in others.get(plain, ()):
        if found := [name for name in names if name == fragment]:
            return found
    if close := difflib.get_close_matches(word, names, n=1) or difflib.get_close_matches(plain, names, n=1):
        return close
    fragments = (*others.get(plain, ()), *([plain] if len(plain) > 2 else []))  # noqa: PLR2004 - shorter ones are anywhere
    return [name for name in names if any(part in name.lower().split("_") for part in fragments)]


def listed(words: Iterable[str], last: str = "or") -> str:
    """Words as a list in a sentence: `a, b or c`."""
    *first, end = words
    return f"{', '.join(first)} {last} {end}" if first else end
