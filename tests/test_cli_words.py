"""The words of the command: what it lists and explains, what it says of a mistake, and where it can't say anything."""

from __future__ import annotations

import contextlib
import errno
import io
import json
import os
import re
import shlex
import sys
from pathlib import Path
from typing import get_args

import pytest
from support.tables import each_row

from faultline import __version__, bad_dns, dns_server, no_address, nxdomain, ok, serve, servfail
from faultline._core.check import plain
from faultline._front import command, mistakes
from faultline._front.command import main
from faultline._front.commands import parser_of
from faultline._front.completion import commands_in
from faultline._front.ended import Ended
from faultline._front.listing import HEADINGS, option_name, options_of
from faultline._front.mistakes import OWN, right_line
from faultline._front.options import named
from faultline._front.parser import Parser, UsageError
from faultline._front.served import add_proxy_options, add_relay_options, add_serve_options
from faultline.modes._catalogue import modes


@pytest.fixture
def told(capsys):
    """A function that runs the command with some words: its exit status, what it prints, and what it complains of."""

    def run(words):
        try:
            code = main(shlex.split(words))
        except SystemExit as ended:
            code = ended.code
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return run


def choices(parameter):
    """The words that a parameter can be; of another kind of parameter none."""
    return [str(word) for word in get_args(plain(parameter.annotation)[0]) if isinstance(word, (str, int))]


# --- the list of modes -----------------------------------------------------------------------------------------------


def test_version_is_printed(told):
    assert told("--version") == (0, f"faultline {__version__}\n", "")


def test_modes_are_listed_by_point_with_their_options_and_choices(told, monkeypatch):
    monkeypatch.setenv("COLUMNS", "500")  # a summary is one line
    code, listed, _ = told("modes")
    headings = re.findall(r"^\S.*$", listed, re.MULTILINE)
    mute = []
    for entry in modes().values():
        own = re.split(r"\n(?=\w|  \w)", listed.partition(f"\n  {option_name(entry.name)} ")[2])[0]
        needed = {word for p in options_of(entry) for word in (option_name(p.name), *choices(p))}
        mute += [(entry.name, word) for word in needed if word not in re.split(r"[\s,{}:]+|--(?:no-)?", own)]
        mute += [entry.name] * (entry.summary not in own)

    assert (code, mute) == (0, [])
    assert headings == [heading for heading in HEADINGS.values() if heading in headings]
    assert [heading.partition(" ")[0] for heading in headings] == [
        *("lookup", "connect", "handshake", "response", "conditions", "answers", "proxies", "datagrams", "WebSocket"),
        "HTTP/2",
    ]


def test_lookups_are_listed_with_what_each_does(told, monkeypatch):
    monkeypatch.setenv("COLUMNS", "110")
    lines = told("modes")[1].splitlines()
    listed = lines[lines.index("lookup (a DNS server)") + 1 : lines.index("connect")]

    assert [line.split()[0] for line in listed if line[2] != " "] == [
        *("addresses", "bad-dns", "no-address", "nxdomain", "resolves-to", "servfail", "slow-resolve")
    ]
    assert [line.strip() for line in listed if line[2] == " "] == [
        "--first {dead_first,blackhole_first,ipv6_first}",
        "The mode is for tests alone: its `server` is an object of the test.",
        "--kind {refused,silence,truncated,wrong_id,garbage,cname_loop,flapping}",
        "--server ADDRESS",
        "--delay-seconds SECONDS",
    ]


@pytest.mark.parametrize("columns", [60, 80, 100, 200])
def test_list_of_modes_is_as_wide_as_the_terminal(columns, told, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(columns))
    lines = told("modes")[1].splitlines()

    assert [line for line in lines if len(line) > columns or line != line.rstrip()] == []


@each_row("name", ["reset", "ok", "bad-cert", "no_address"])
def test_one_mode_can_be_listed_by_its_name(name, told):
    listed = re.findall(r"^  (\S+)", told(f"modes {name}")[1], re.MULTILINE)

    assert listed == [name.replace("_", "-")]


def test_words_choose_among_the_modes(told):
    data = json.loads(told("modes lookup --json")[1])

    assert {entry["name"] for entry in data} >= {"nxdomain", "servfail", "slow-resolve"}
    assert [set(entry) for entry in data] == [{"name", "group", "summary", "options", "cases"}] * len(data)


def test_json_of_all_modes_is_the_catalogue(told):
    assert [e["name"] for e in json.loads(told("modes --json")[1])] == [option_name(name) for name in modes()]


@pytest.mark.parametrize(("variable", "has_color"), [("FORCE_COLOR", True), ("NO_COLOR", False)])
def test_colors_follow_the_environment(variable, has_color, told, monkeypatch):
    for name in ("FORCE_COLOR", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(variable, "1")

    assert ("\x1b[" in told("modes reset")[1]) == has_color


# --- help ------------------------------------------------------------------------------------------------------------


@each_row("words", ["", "serve ", "relay ", "modes "])
def test_help_is_printed(told, words):
    code, text, complaint = told(f"{words}--help")

    assert (code, complaint) == (0, "")
    assert text.startswith(f"usage: faultline {words}")


@pytest.mark.parametrize("name", modes())
def test_help_of_a_mode_has_its_options_and_fits_a_terminal(told, monkeypatch, name):
    monkeypatch.setenv("COLUMNS", "100")
    code, text, _ = told(f"serve --mode {option_name(name)} --help")
    own = " ".join(text.split()).partition(f" options of {option_name(name)}: {modes()[name].summary} ")[2] + " "
    offered, options = set(re.split(r"[\s,{}:]+", own)), options_of(modes()[name])
    needed = {f"--{option_name(p.name)}" for p in options} | {word for p in options for word in choices(p)}

    assert (code, max(map(len, text.splitlines())) <= 100) == (0, True)
    assert text.startswith("usage: faultline serve [-h] --mode NAME ")
    assert f" options of {option_name(name)}: {modes()[name].summary} " in " ".join(text.split()) + " "
    assert needed - offered == set()
    assert [p.text for p in options if p.text not in own] == []


def test_help_of_bad_tls_says_which_parameter_belongs_to_which_kind(told, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    text = " ".join(told("serve --mode bad-tls --help")[1].split())

    for words in (
        "--alert ALERT for kind=alert: the name of the alert in RFC 8446 (default: handshake_failure); one of: ",
        "one of: close_notify, ",
        "--version {1.0,1.1,1.2,1.3} for kind=only_version: the only version (default: 1.0)",
        "--after-bytes BYTES for kind=plaintext_midway: let this number of bytes of the response pass first",
        "--every-seconds SECONDS for kind=slow_handshake: the time between two bytes (default: 0.01)",
    ):
        assert words in text


@pytest.mark.parametrize(("word", "is_there"), [("bad-dns", True), ("dns-refused", False)])
def test_help_has_the_options_that_the_word_leaves_open(told, word, is_there):
    text = told(f"serve --mode {word} --help")[1]

    assert "options of bad-dns:" in text
    assert ("--kind" in text) is is_there


@each_row(
    ("word", "fault"),
    [
        *(("dns-nxdomain", nxdomain()), ("dns-servfail", servfail())),
        *((word, no_address()) for word in ("no_address", "dns_no_address", "dns-no_address", "dns-no-address")),
        *(("dns-refused", bad_dns("refused")), ("dns-wrong-id", bad_dns("wrong_id"))),
    ],
)
def test_mode_may_be_spelled_as_in_python_or_as_it_was_before(word, fault):
    entry, arguments = named(word)

    assert entry.function(**arguments) == fault


# --- mistakes --------------------------------------------------------------------------------------------------------

TCP = "expected serve(…), relay(…), http_proxy(…) or socks_proxy(…)"
CODES = "301, 302, 303, 307, 308"
REFUSED = {
    "": "the following arguments are required: COMMAND. See `faultline --help`.",
    "sevre": "no command 'sevre'. Commands: serve, relay, ",
    "sweep": "no command 'sweep', which is for tests: from faultline import sweep. See `faultline --help`.\n",
    "modes zzz": "modes zzz: expected words that a mode has.",
    "modes econnreset": "modes econnreset: expected words that a mode has. Did you mean 'reset'?\n",
    "serve": "the following arguments are required: --mode. See `faultline serve --help`.",
    "serve --mode": "argument --mode: expected one argument. See `faultline serve --help`.",
    "serve --mode malfromed": f"no mode 'malfromed'. Did you mean 'malformed'? Modes: {', '.join(modes())}.",
    "serve --mode bad-crt": "no mode 'bad-crt'. Did you mean 'bad_cert'? Modes: ",
    "serve --mode ok --at accept": "no option --at. See `faultline serve --mode ok --help`.",
    "serve --mode reset extra": "'extra': expected an option before it. See `faultline serve --mode reset --help`.\n",
    "serve --mode reset -- x": "'x': expected an option before it. See `faultline serve --mode reset --help`.",
    "completion bash zsh": "'zsh': expected no further word. See `faultline completion --help`.",
    "probe x y": "'y': expected an option before it. See `faultline probe --help`.",
    "serve --mode ok --then 'ok 5'": "'5': expected an option before it. See `faultline serve --mode ok --help`.",
    "serve --mode ok --mode ok": "--mode is given twice: expected --then for the mode of the next attempt. See ",
    # a value of an option
    "serve --mode reset --port 70000": "port=70000: expected a whole number, from 0 to 65535.",
    "serve --mode nxdomain --port 70000": "port=70000: expected a whole number, from 0 to 65535.",
    "serve --mode duplicated --port 70000": "port=70000: expected a whole number, from 0 to 65535.",
    "serve --mode reset --port http": "port='http': expected a whole number.",
    "serve --mode reset --host a.test": "host='a.test': expected an IP address of this machine, or ",
    "serve --mode reset --host 192.0.2.1 --allow-remote": "host='192.0.2.1': expected an address of this machine",
    "serve --mode nxdomain --host 192.0.2.1": "host='192.0.2.1': expected an address ",
    "serve --mode reset --after-bytes -1": "after_bytes=-1: expected a whole number of bytes, 0 or more.",
    "serve --mode reset --after-bytes x": "after_bytes='x': expected a whole number.",
    "serve --mode reset --after-bytes 1.5kB": "after_bytes='1.5kB': expected a whole number; write 1500.",
    "serve --mode reset --after-bytes 1.5": "after_bytes='1.5': expected a whole number.\n",
    "serve --mode reset --after-seconds 50ms": "after_seconds='50ms': expected a number; write 0.05.",
    "serve --mode stall --for-seconds soon": "for_seconds='soon': expected a number.",
    "serve --mode reset --at respons": "at='respons': expected one of 'accept', 'handshake', 'request', ",
    "serve --mode malformed --kind chunk-cut": "kind='chunk-cut': expected one of 'length_short', ",
    "serve --mode sse --break rest": "break_='rest': expected one of 'close', 'reset', ",
    "serve --mode redirect --code 310": f"code=310: expected one of {CODES}.",
    "serve --mode redirect --code moved": f"code='moved': expected one of {CODES}.",
    "serve --mode ok --headers X-Test": "headers=['X-Test']: expected 'NAME: VALUE'.",
    # a value that begins with a dash
    "serve --mode raw --data -x": "argument --data: expected one argument, and '-x' begins with a dash; write --data",
    "serve --mode raw --data '-\\0'": "argument --data: expected one argument, and '-\\\\0' begins with a dash; write ",
    "serve --mode raw --data --": "argument --data: expected one argument, and '--' begins with a dash; write --data=",
    "serve --mode raw --data --json": "argument --data: expected one argument. See `faultline serve --mode raw --h",
    "serve --mode ok --then 'raw --data -x'": "argument --data: expected one argument, and '-x' begins with a dash; ",
    "audit --command -x": "argument --command: expected one argument, and '-x' begins with a dash; write --com",
    # an option that lacks
    "serve --mode latency": "mode latency needs --seconds SECONDS.",
    "serve --mode status": "mode status needs --code NUMBER.",
    "serve --mode raw": "mode raw needs --data TEXT.",
    "serve --mode socks-refusal": "mode socks-refusal needs --kind KIND.",
    "serve --mode addresses": "mode addresses is for tests alone: its `server` is an object of the test.",
    "serve --mode addresses --server 127.0.0.1:1": "no option --server. See `faultline serve --mode addresses --help`.",
    "serve --mode nxdomain --then addresses": "mode addresses is for tests alone: its `server` is an object ",
    # modes that don't go together
    "serve --mode duplicated --tls": "duplicated(): expected no --tls with it; it takes a UDP server.",
    "serve --mode duplicated --alpn h2": "duplicated(): expected no --alpn with it; it takes a UDP server.",
    "serve --mode ok --alpn h2": "alpn=('h2',): expected tls=True beside it, because ALPN is a part of TLS.",
    "relay --upstream 127.0.0.1:9 --starttls smtp": "starttls='smtp': expected tls='terminate' beside it.",
    "relay --upstream 127.0.0.1:9 --starttls pop3": "--starttls='pop3': expected one of 'postgres', ",
    "relay --upstream 127.0.0.1:9 --upstream-key x": "--upstream-key: expected --upstream-cert with it.",
    "relay --upstream 127.0.0.1:9 --upstream-cert x": "upstream_cert is given: expected an upstream with TLS, ",
    "serve --mode ok --then dns-refused --tls": "sequence(ok(), bad_dns('refused')): expected no --tls with it; ",
    "serve --mode reordered": (
        "reordered(): expected another mode with --then, such as ok, because its answer is sent after the next answer."
    ),
    "serve --mode duplicated --then reordered": "reordered(): expected another mode with --then, such as ok, ",
    "serve --mode nxdomain --then ok --then duplicated": (
        "[nxdomain(), ok(), duplicated()]: expected modes of one kind of server, but nxdomain() takes a DNS server"
    ),
    "serve --mode nxdomain --then reset": f"reset(): {TCP}; a DNS server ",
    "serve --mode reset --then nxdomain": f"reset(): {TCP}; a DNS server ",
    "serve --mode duplicated --then close": f"close(): {TCP}; a UDP server ",
    "serve --mode refuse --then ok": "[refuse(), ok()]: expected --for-seconds with a mode that strikes at 'connect' ",
    "serve --mode refuse --then duplicated": "plan=sequence(refuse(), duplicated()): expected refuse() alone or",
    # --then
    "serve --mode ok --then refsue": "no mode 'refsue'. Did you mean 'refuse'? Modes: ",
    "serve --mode ok --then ''": "no mode ''.",
    "serve --mode ok --then status": "mode status needs --code NUMBER. In --then the options go after the name, in ",
    "serve --mode ok --then 'status --code x'": "code='x': expected a whole number.",
    "serve --mode ok --then 'status --bogus 503'": "no option --bogus. See `faultline serve --mode status --help`.",
    """serve --mode ok --then "status --code '5" """: '--then="status --code \'5": expected the name of a mode, ',
    # --path, --max-connections, --beyond
    "serve --mode ok --path /pay": "--path='/pay': expected a path and a mode after it, such as '/pay status --code ",
    "serve --mode ok --path 'pay ok'": "--path='pay ok': expected a path and a mode after it, such as '/pay status ",
    "serve --mode ok --path '* reset'": "--path='* reset': expected a path and a mode after it, such as '/pay status",
    """serve --mode ok --path "/a raw --data '5" """: '--path="raw --data \'5": expected the name of a mode, such as ',
    "serve --mode ok --path '/pay status'": "mode status needs --code NUMBER. In --path the options go after the name",
    "serve --mode refuse --path '/pay ok'": "plans['*']=refuse(): expected a fault at 'request' or later, because",
    "serve --mode ok --max-connections 1": "--max-connections and --beyond: expected both of them, or neither.",
    "serve --mode ok --beyond refuse": "--max-connections and --beyond: expected both of them, or neither.",
    "serve --mode ok --beyond refuse --max-connections x": "max_connections='x': expected a whole number.",
    "serve --mode ok --beyond refsue --max-connections 1": "no mode 'refsue'. Did you mean 'refuse'? Modes: ",
    # other kinds of server
    "serve --mode ok --unix /nowhere/x": "unix='/nowhere/x': expected a path in an existing folder",
    "serve --mode ok --unix /tmp/x --port 80": "port=80: expected no port beside unix, because a Unix ",
    "serve --mode ok --unix ''": "unix='': expected True, False or a path.",
    "serve --mode nxdomain --alpn ''": "nxdomain(): expected no --alpn with it; it takes a DNS server.",
    "serve --mode ok --unix /tmp/x --udp": "ok(): expected no --unix with it; it takes a UDP server.",
    "serve --mode ok --udp --tls": "ok(): expected no --tls with it; it takes a UDP server.",
    "serve --mode reset --udp": f"reset(): {TCP}; a UDP server ",
    "proxy --mode nxdomain": "nxdomain(): expected `faultline serve`, since this mode needs a DNS server.",
    "proxy --socks --tls": "--socks: expected no --tls with it; a SOCKS proxy speaks none itself.",
    "proxy --socks http": "--socks='http': expected one of 'socks4', ",
    "proxy --auth user": "auth=('user', ''): expected a name without a colon and a password, such as ('user', ",
    "proxy --upstream 10.1.1.1:80": "to='10.1.1.1:80': expected a server on this machine: ",
    "proxy --socks --mode status --code 403": "status(403): expected serve(…), relay(…) or http_proxy(…); a SOCKS ",
    # the older spelling of lookups
    "serve --mode dns-nxdomin": "no mode 'dns-nxdomin'. Did you mean 'nxdomain'? Modes: ",
    "serve --mode dns-": "no mode 'dns-'. Did you mean 'nxdomain'? Modes: ",
    "serve --mode dns-reset": "no mode 'dns-reset'.",
    "serve --mode dns-slow": "mode slow-resolve needs --delay-seconds SECONDS.",
    "serve --mode dns-bad-dns": "mode bad-dns needs --kind {refused,silence,truncated,wrong_id,garbage,",
    # relays
    "relay": "the following arguments are required: --upstream",
    "relay --upstream 10.1.1.1:80": "upstream='10.1.1.1:80': expected a server on this machine",
    "relay --upstream 127.0.0.1:9 --listen x": "port='x': expected a whole number.",
    "relay --upstream 127.0.0.1:9 --mode bad-cert": "bad_cert('expired'): expected relay(…, tls='terminate'); a relay ",
    "relay --upstream 127.0.0.1:9 --mode reset --then nxdomain": (
        "sequence(reset(), nxdomain()): expected `faultline serve`, since this mode needs a DNS server."
    ),
    # the file of the CA
    "serve --mode ok --ca-file x.pem": "ca_file='x.pem': expected --tls with it, because only TLS has a CA.",
    "serve --mode nxdomain --ca-file x.pem": "ca_file='x.pem': expected --tls with it, because only TLS has a CA.",
    "serve --mode ok --tls --ca-file /nowhere/x": "ca_file='/nowhere/x': expected a path to write to (No such",
}


@pytest.mark.slow
@pytest.mark.measured
@each_row("words", REFUSED)
def test_mistake_is_one_line_and_exit_status_2(told, words):
    code, printed, complaint = told(words)

    assert (code, printed, complaint.count("\n")) == (2, "", 1)
    assert complaint.startswith(f"faultline: {REFUSED[words]}")


@pytest.mark.parametrize(("start", "mode"), [(lambda: serve(ok()), "reset"), (dns_server, "nxdomain")])
def test_busy_port_is_one_line_and_exit_status_2(told, start, mode):
    with start() as server:
        port = server.port
        said = f"port={port}: expected a free port, but 127.0.0.1:{port} is in use; choose another or 0."

        assert told(f"serve --mode {mode} --port {port}") == (2, "", f"faultline: {said}\n")


def test_dns_server_takes_dnspython_and_says_so_in_one_line(told, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda *_: None)

    said = 'faultline: dns_server() needs dnspython; run `pip install "pytest-faultline[dns]"`.\n'
    assert told("serve --mode nxdomain") == (2, "", said)


# --- the command line to type instead --------------------------------------------------------------------------------

MEANT = {
    "": "serve --mode reset",
    "--mode reset": "serve --mode reset",
    "--mode reset --at idle": "serve --mode reset --at idle",
    "--upstream 127.0.0.1:9 --mode reset": "relay --mode reset --upstream 127.0.0.1:9",
    "reset": "serve --mode reset",
    "reset --at idle": "serve --mode reset --at idle",
    "bad_cert": "serve --mode bad_cert",
    "serve": "serve --mode reset",
    "serve reset": "serve --mode reset",
    "serve reset --after-bytes 5": "serve --mode reset --after-bytes 5",
    "serve 'reset()'": "serve --mode reset",
    "sevre --mode reset": "serve --mode reset",
    "run --mode reset": "serve --mode reset",
    "mode": "modes",
    "porxy": "proxy",
    "proxy --mode rest --socks": "proxy --mode reset --socks",
    "proxy --mode reset --tls mtls": "proxy --mode reset --tls mutual",
    "proxy --mode socks-refusal": "proxy --mode socks-refusal --kind general_failure",
    "serve --mode rest --udp": "serve --mode reset --udp",
    "list": "modes",
    "relay": "relay --upstream 127.0.0.1:5432",
    "relay --mode reset": "relay --upstream 127.0.0.1:5432 --mode reset",
    "relay --upstream 127.0.0.1:9 --mode nxdomain": "serve --mode nxdomain",
    "relay --upstream 127.0.0.1:9 --mode dns-slow --delay-seconds 1": "serve --mode dns-slow --delay-seconds 1",
    "serve --mode nxdomain --tls": "serve --mode nxdomain",
    "serve --mode throttle 100": "serve --mode throttle --bytes-per-second 100",
    "serve latency 0.5 --json": "serve --mode latency --seconds 0.5 --json",
    "serve --mode status 404": "serve --mode status --code 404",
    "serve --mode bad-cert self_signed": "serve --mode bad-cert --kind self_signed",
    "serve --mode reset 100": "serve --mode reset --after-bytes 100",
    "serve --mode reset 0.5": "serve --mode reset --after-seconds 0.5",
    "serve --mode reset --json -- 2kb": "serve --mode reset --json --after-bytes 2000",
    "serve --mode stall 2s": "serve --mode stall --for-seconds 2",
    "serve --mode latency 0.05 10ms": "serve --mode latency --seconds 0.05 --jitter-seconds 0.01",
    "serve --mode stall --for-seconds 50ms": "serve --mode stall --for-seconds 0.05",
    "serve --mode ok hello": "serve --mode ok --body hello",
    "serve --mode raw hello": "serve --mode raw --data hello",
    "serve --mode reset ok": "serve --mode reset --then ok",
    "serve --mode reset --mode ok": "serve --mode reset --then ok",
    "serve reset ok": "serve --mode reset --then ok",
    "serve --mode bad-cert expird": "serve --mode bad-cert --kind expired",
    "serve 8080": "serve --mode reset --port 8080",
    "proxy 8080": "proxy --port 8080",
    "serve --mode reset 127.0.0.1:8080": "serve --mode reset --host 127.0.0.1 --port 8080",
    "proxy [::1]:80": "proxy --host ::1 --port 80",
    "relay 5432": "relay --upstream 127.0.0.1:5432",
    "relay http://127.0.0.1:80 --mode reset": "relay --mode reset --upstream http://127.0.0.1:80",
    "relay --upstream 127.0.0.1:9 localhost:80": "relay --upstream 127.0.0.1:9 --listen localhost:80",
    "serve --mode 'reset(after_bytes=17)'": "serve --mode reset --after-bytes 17",
    r"""serve 'status(503, retry_after=3)' --port 80""": "serve --mode status --code 503 --retry-after 3 --port 80",
    r"""serve --mode='raw(b"\r\n")'""": r"serve --mode raw --data '\r\n'",
    "serve --mode 'half_close(at=\"idle\")'": "serve --mode half-close --at idle",
    "serve --mode reset:17": "serve --mode reset --after-bytes 17",
    "serve --mode=reset,ok": "serve --mode reset --then ok",
    "serve --mode rest": "serve --mode reset",
    "serve --mode rest --tls --alpn h2": "serve --mode reset --tls --alpn h2",
    "serve --mode reset --then rwa": "serve --mode reset --then 'raw --data '\"'\"'220 mail.invalid ESMTP'\"'\"''",
    "serve --mode timeout": "serve --mode stall",
    "serve --mode connect-timeout": "serve --mode blackhole",
    "serve --mode truncated": "serve --mode malformed --kind length_short",
    "serve --mode reset --then status": "serve --mode reset --then 'status --code 503'",
    "serve --mode reset --then rest": "serve --mode reset --then reset",
    "serve --mode refuse --then ok": "serve --mode refuse --then ok --for-seconds 1",
    "serve --mode status": "serve --mode status --code 503",
    "serve --mode status --status 404": "serve --mode status --code 404",
    "serve --mode latency --ms 50": "serve --mode latency --seconds 0.05",
    "serve --mode stall --timeout 5": "serve --mode stall --for-seconds 5",
    "serve --mod reset --prot 80": "serve --mode reset --port 80",
    "serve --mode=reset --after_byts=7": "serve --mode reset --after-bytes 7",
    "relay --upstrem 127.0.0.1:9 --jso": "relay --upstream 127.0.0.1:9 --json",
    "serve --mode reset --after 10": "serve --mode reset --after-bytes 10",
    "serve --mode reset --after-ms=10": "serve --mode reset --after-seconds 0.01",
    "serve --mode reset --at body": "serve --mode reset --at response",
    "serve --mode reset --tls mtls": "serve --mode reset --tls mutual",
    "serve --mode reset --tls maybe": "serve --mode reset --tls",
    "serve --mode raw --data -x": "serve --mode raw --data=-x",
    "relay --upstream=-x --mode reset --json=1": "relay --mode reset --upstream=-x --json",
    "serve --mode reset --json=1": "serve --mode reset --json",
    "serve --mode malformed --kind chunked": "serve --mode malformed --kind chunk_cut",
}
UNKNOWN = [
    "zzz",
    "modes zzz",
    "serve zzz",
    "serve --mode reset --bogus",
    "serve --mode reset extra",
    "serve --mode reset --after-bytes -1",
    "serve --mode reset 5 seconds",
    "serve --mode status 503 504",
    "serve --mode reset --host ::1 127.0.0.1:80",
    "serve --mode 'stall(until=gate)'",
    "serve --mode 'stall(forever=True)'",
    "serve --mode 'reset() & ok()'",
    "serve --mode 'ok(headers={1: 2})'",
    """serve --mode 'ok(headers={"A": "b"})'""",
    "serve --mode 'ok() & reset(after_bytes=1)'",
    "relay --upstream 127.0.0.1:9 70000",
    "proxy x",
    "serve --mode latency fast",
    "serve --mode status 4.5",
    "serve --mode close --fin-first",
    "serve --mode addresses",
    "serve --mode reset --port http",
    "serve --mode -x --tls",
    "serve --mode reset --then zzz",
    "serve --mode latency --ms fast",
]


@pytest.mark.measured
@pytest.mark.parametrize("words", MEANT)
def test_mistake_is_answered_with_the_command_line_to_type_which_is_right(words, told, monkeypatch):
    started = []
    code, _, complaint = told(words)
    for name in ("run_server", "run_relay", "run_proxy"):
        monkeypatch.setattr(command, name, lambda *given: started.append(given))
    line = MEANT[words]

    assert code == 2
    assert complaint.endswith(f" Type: faultline {line}\n")
    assert (told(line)[0], len(started)) == (0, 0 if line == "modes" else 1)
    assert right_line(shlex.split(line)) in ("", f"faultline {line}") or line.startswith("relay")


@each_row(
    "words", ["serve --port 80 --mode reset", "serve --mode=bad_cert", "relay --mode reset --upstream=127.0.0.1:9"]
)
def test_right_line_is_left_as_it_is(words):
    assert right_line(shlex.split(words)) == ""


def test_mistake_that_is_not_understood_is_answered_with_no_line(told):
    answers = {words: told(words) for words in UNKNOWN}

    assert [words for words, (code, _, said) in answers.items() if code != 2 or "Type:" in said] == []


TOP = parser_of(["serve", "--mode", "reset"])[0]
COMMANDS = commands_in(TOP)


def test_no_command_takes_a_part_of_an_option_or_a_mistyped_one_and_each_names_the_whole():
    """The last letter is left out, or the first two change places."""
    for begin, parser in {"": TOP, **COMMANDS}.items():
        for option in (name for name in parser._option_string_actions if name.startswith("--")):
            for word in {option[:-1], f"--{option[3]}{option[2]}{option[4:]}" if option[4:] else option[:-1]}:
                hint = rf"Did you mean (--.* or |--.*, )?{option}(, --.*| or --.*)?\? See `faultline .*--help`\.$"
                with pytest.raises(UsageError, match=f"^no option {word}. {hint}"):
                    TOP.parse_args([*begin.split(), word])


@each_row("command_name", [*COMMANDS])
def test_help_of_each_command_begins_with_what_it_does_and_has_examples_that_are_right(command_name, told, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    code, printed, _ = told(f"{command_name} --help")
    examples = re.findall(r"^  (faultline .+?)(?: > .*|  +#.*)?$", printed, re.MULTILINE)

    assert code == 0
    assert re.search(r"\n\n[A-Z].*\.\n\n(positional|options)", printed, re.DOTALL)
    assert examples or command_name == "control"
    for example in examples:
        words = shlex.split(example)[1:]
        assert parser_of(words)[0].parse_args(words).command == command_name


def test_each_command_is_tried_for_parts_of_options():
    assert COMMANDS.keys() == {*mistakes.COMMANDS, "completion"}


@each_row(
    "words, text",
    [
        (
            "serve --mode reset -port 4",
            "no option -port. Did you mean --port? See `faultline serve --mode reset --help`.",
        ),
        ("serve --mode reset --port_number=4", "no option --port_number. Did you mean --port?"),
        ("probe x --timeot 3", "no option --timeot. Did you mean --timeout-seconds? See `faultline probe --help`."),
        ("serve --mode reset --ca_file x", "no option --ca_file. Did you mean --ca-file?"),
        ("--verson modes", "no option --verson. Did you mean --version? See `faultline --help`."),
        ("completion --x", "no option --x. See `faultline completion --help`."),
    ],
)
def test_option_that_is_not_known_is_named_with_the_nearest(words, text, told):
    assert told(words)[2].startswith(f"faultline: {text}")


# --- output that can't be written ------------------------------------------------------------------------------------


@contextlib.contextmanager
def output(kind):
    """Standard output that nobody reads, that has no room, or that was closed."""
    stream = None
    if kind == "full":
        stream = Path("/dev/full").open("w", encoding="utf-8")  # noqa: SIM115 - closed as `sys.stdout` below
    elif kind == "unread":
        read, write = os.pipe()
        os.close(read)
        stream = os.fdopen(write, "w", encoding="utf-8")
    with contextlib.redirect_stdout(stream):
        yield
        sys.stdout.close()


FULL = "faultline: standard output: expected a place to write to (No space left on device).\n"


@pytest.mark.slow
@pytest.mark.measured
@each_row("words", ["modes", "modes --json", "--version", "serve --mode ok --help", "serve --mode ok"])
@each_row(("kind", "code", "complaint"), [("unread", 0, ""), ("full", 1, FULL), ("closed", 0, "")])
def test_output_that_can_not_be_written_is_no_traceback(words, kind, code, complaint, capsys):
    ended = Ended()
    ended.put(None)  # a server without output has no other end here
    with output(kind), contextlib.closing(ended):
        try:
            got = main(words.split(), lambda: contextlib.nullcontext(ended))
        except SystemExit as leaving:
            got = leaving.code

    assert (got, capsys.readouterr().err) == (code, complaint)


@pytest.mark.parametrize("stream", [None, io.StringIO()], ids=["closed", "full"])
def test_complaint_that_can_not_be_written_is_no_traceback(stream, monkeypatch):
    def fails(_):
        raise OSError(errno.ENOSPC, "no room")

    if stream is not None:
        stream.write = fails
    monkeypatch.setattr(sys, "stderr", stream)

    assert main(["serve", "--mode", "rest"]) == 2


def test_error_of_another_kind_is_raised(monkeypatch):
    def fails(*_):
        raise ConnectionAbortedError(errno.ECONNABORTED, "not of the output")

    monkeypatch.setattr(command, "run", fails)
    with pytest.raises(ConnectionAbortedError):
        main(["modes"])


@each_row("command, add", [("serve", add_serve_options), ("relay", add_relay_options), ("proxy", add_proxy_options)])
def test_corrections_know_every_option_of_a_command(command, add):
    parser = Parser(add_help=False)
    add(parser, [])
    takes = {name: action.nargs is None for action in parser._actions for name in action.option_strings}

    assert {name: bool(value) for name, value in OWN[command].items()} == {
        name: value for name, value in takes.items() if name not in ("--mode", "--then")
    }
