"""What `faultline explain` says: of each error and each mode, at every width, and its code against the faults."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import re
import runpy
import shlex
import socket
import ssl
from pathlib import Path

import pytest
from support.tables import each_row

import faultline
from faultline._core.alerts import CODE_OF
from faultline._core.points import POINTS
from faultline._explain.entry import GROUPS, OF_CLIENTS
from faultline._explain.examples import EXAMPLES
from faultline._explain.find import ENTRIES, found_for
from faultline._explain.plays import PLAYS, reason_of
from faultline._front.command import main
from faultline._front.explaining import command_of, explained
from faultline._front.listing import for_tests, option_name
from faultline._front.options import add_mode_options, arguments_of, called, plan_of
from faultline._front.parser import Parser
from faultline.modes._catalogue import modes

NAMES = [entry.name for entry in ENTRIES]
LONG = "HTTPSConnectionPool(host='h', port=443): Max retries exceeded with url: / (Caused by {})"


@pytest.fixture
def told(capsys):
    """A function that explains words: the exit status, the output and the complaint."""

    def run(*words):
        code = main(["explain", *words])
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return run


# --- the texts -------------------------------------------------------------------------------------------------------


def test_each_name_is_told_of_once_and_every_group_has_some():
    assert len({*NAMES}) == len(NAMES)
    assert {entry.group for entry in ENTRIES} == {*GROUPS}


def test_each_error_says_where_it_happens_and_how_to_get_it_or_what_its_kinds_are():
    vague = [
        entry.name for entry in ENTRIES if not entry.members and not (entry.met_at and (entry.plays or entry.instead))
    ]
    unasked = [(entry.name, name) for entry in ENTRIES for name in entry.members if not found_for(name)]

    assert vague == []
    assert unasked == []


def test_each_error_has_code_and_a_cause_unless_it_is_a_family():
    assert [entry.name for entry in ENTRIES if not entry.causes and not entry.members] == []
    assert [entry.name for entry in ENTRIES if not entry.example] == []


def test_each_cause_that_a_play_has_is_an_error_that_is_told_of():
    causes = {play.cause for play in PLAYS if play.cause}
    raised = {name for play in PLAYS for cell in play.raised for name in cell.split(" or ") if name}

    assert [name for name in sorted(causes | raised) if not found_for(name)] == []


def test_sentences_end_with_a_full_stop():
    texts = [text for entry in ENTRIES for text in (entry.means, *entry.causes, entry.instead) if text]

    assert [text for text in texts if text[-1] not in ".…"] == []


@pytest.mark.parametrize("alert", [alert for alert in CODE_OF if alert not in ("close_notify", "user_canceled")])
def test_reason_of_an_alert_is_what_openssl_says(alert):
    with (
        faultline.serve(faultline.bad_tls("alert", alert=alert)) as server,
        socket.create_connection(server.address, 10) as client,
        pytest.raises(ssl.SSLError) as raised,
    ):
        server.client_context().wrap_socket(client, server_hostname=server.host)

    known = RENAMED.get(alert, reason_of(alert))
    named = known or f"TLSV1_ALERT_{alert.upper()}"  # newer versions of Python have names for more reasons
    assert (raised.value.reason or known) in {known, named}


# Of the alerts that `explain` has no entry for: those whose reason is another, or has no name.
RENAMED = {
    "certificate_unobtainable": "TLSV1_CERTIFICATE_UNOBTAINABLE",
    "bad_certificate_status_response": "TLSV1_BAD_CERTIFICATE_STATUS_RESPONSE",
    "bad_certificate_hash_value": "TLSV1_BAD_CERTIFICATE_HASH_VALUE",
    "unknown_psk_identity": "",
}


def test_a_certificate_for_another_host_has_another_code_by_name():
    with (
        faultline.serve(faultline.bad_cert("wrong_host")) as server,
        socket.create_connection(server.address, 10) as client,
        pytest.raises(ssl.SSLError) as raised,
    ):
        server.client_context().wrap_socket(client, server_hostname="localhost")

    assert raised.value.verify_code == 62
    assert found_for(str(raised.value))[0].name == "Hostname mismatch"


def test_an_address_that_no_machine_has_is_not_available():
    with faultline.serve(faultline.ok(), strict=False) as server, pytest.raises(OSError) as raised:
        socket.create_connection(server.address, 10, source_address=("192.0.2.1", 0))

    assert found_for(str(raised.value.errno))[0].name == "EADDRNOTAVAIL"


# --- the code --------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.all_cases
@pytest.mark.leaves_open
@pytest.mark.parametrize("name", EXAMPLES)
def test_code_handles_the_error(name, monkeypatch):
    example = EXAMPLES[name]
    names = {"asyncio": asyncio}
    exec(compile(example.code, name, "exec"), names)
    plan = faultline.plan(example.plan)
    with contextlib.ExitStack() as stack:
        if name == "lookup":
            stack.enter_context(faultline.resolve("api.example.com", plan))
        else:
            names["server"] = server = stack.enter_context(faultline.serve(plan, tls=example.tls))
            server.trust(monkeypatch)
        value = eval(example.call, names)

    assert repr(value) == example.gives


def test_each_piece_of_code_is_of_an_error():
    assert {entry.example for entry in ENTRIES} == {*EXAMPLES}


# --- what reproduces it ----------------------------------------------------------------------------------------------


@each_row("play", PLAYS)
def test_command_line_serves_the_fault(play):
    _, _, *words = shlex.split(command_of(play.fault, tls=play.tls))
    parser = Parser()
    parser.add_argument("--tls", action="store_true")
    chosen = add_mode_options(parser, ["serve", *words], "serve", required=True)
    options = parser.parse_args(words)

    assert (repr(plan_of(chosen, options)), options.tls) == (repr(play.fault), play.tls)


@each_row("case", [case for mode in modes().values() if not for_tests(mode) for case in mode.cases])
@pytest.mark.slow
@pytest.mark.measured
def test_command_line_has_the_arguments_of_every_case(case):
    _, _, *words = shlex.split(command_of(case.fault))
    parser = Parser()
    chosen = add_mode_options(parser, ["serve", *words], "serve", required=True)

    assert called(chosen.mode, arguments_of(chosen, parser.parse_args(words), reads_files=False)) == case.fault


# --- finding ---------------------------------------------------------------------------------------------------------


@each_row("name", NAMES)
def test_each_error_is_found_by_each_of_its_names(name):
    entry = ENTRIES[NAMES.index(name)]
    for word in (entry.name, *entry.also, *entry.messages):
        assert entry in found_for(word), word
        assert entry in found_for(word.upper()), word
    assert found_for(name)[0] is entry


@each_row(
    "text, name",
    [
        ("111", "ConnectionRefusedError"),
        ("errno 104", "ConnectionResetError"),
        ("[Errno 32] Broken pipe", "BrokenPipeError"),
        ("[Errno 113]", "EHOSTUNREACH"),
        ("-2", "EAI_NONAME"),
        ("socket.gaierror: [Errno -3] Temporary failure in name resolution", "EAI_AGAIN"),
        ("gaierror(-5, 'No address associated with hostname')", "EAI_NODATA"),
        ("SSLError", "ssl.SSLError"),
        ("timeout", "TimeoutError"),
        ("ReadTimeout", "requests.exceptions.ReadTimeout"),
        ("httpx.readtimeout", "httpx.ReadTimeout"),
        ("requests.ConnectTimeout", "requests.exceptions.ConnectTimeout"),
        ("reset by peer", "ConnectionResetError"),
        ("'Max retries exceeded'", "urllib3.exceptions.MaxRetryError"),
        ("Max retries exceeded", "urllib3.exceptions.MaxRetryError"),
        ("Connection aborted", "urllib3.exceptions.ProtocolError"),
        ("('Connection aborted.', ConnectionResetError(104, 'Connection reset by peer'))", "ConnectionResetError"),
        (LONG.format("NewConnectionError('x: [Errno 111] Connection refused')"), "ConnectionRefusedError"),
        (
            LONG.format(
                "SSLError(SSLCertVerificationError(1, '[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: "
                "certificate has expired (_ssl.c:1006)'))"
            ),
            "certificate has expired",
        ),
        ("[SSL: WRONG_VERSION_NUMBER] wrong version number (_ssl.c:1006)", "WRONG_VERSION_NUMBER"),
        ("[SSL] tlsv1 alert no application protocol (_ssl.c:1006)", "tlsv1 alert no application protocol"),
        ("[Errno 113] Connect call failed ('10.0.0.1', 80)", "EHOSTUNREACH"),
        ("certificate verify failed: self signed certificate (_ssl.c:1129)", "self-signed certificate"),
        ("verify code 20", "unable to get local issuer certificate"),
        ("TLSV1_ALERT_HANDSHAKE_FAILURE", "SSLV3_ALERT_HANDSHAKE_FAILURE"),
    ],
)
def test_text_is_told_of_by_its_innermost_cause(text, name):
    assert [entry.name for entry in found_for(text)][:1] == [name]


@each_row("text", ["", "xyz", "an error", "9999", "-99", "reset the router"])
def test_other_texts_mean_nothing(text):
    assert found_for(text) == []


@each_row(
    "words, hint",
    [
        ("ConectionRefusedError", " Did you mean 'ConnectionRefusedError'?"),
        ("httpx.ReadTimeot", " Did you mean 'httpx.ReadTimeout'?"),
        ("blackhol", " Did you mean 'blackhole'?"),
        ("hangup", " Did you mean 'close'?"),
        ("9999", ""),
    ],
)
def test_unknown_word_gets_close_names_and_exit_status_2(words, hint, told):
    code, out, err = told(words)

    assert (code, out) == (2, "")
    assert err.startswith(f"faultline: explain {words}: expected an exception, an errno, ")
    assert err.endswith(f"a text of an error, or a mode.{hint} `faultline explain` lists them.\n")


@each_row("text, shown", [("", "''"), (" ", "' '"), ("\x1b[31m", r"'\x1b[31m'"), ("q" * 5000, "'qqq")])
def test_a_text_that_would_spoil_the_line_is_shown_in_short(text, shown, capsys):
    assert main(["explain", text]) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"faultline: explain {shown}")
    assert len(err) < 500


# --- how it is shown -------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.measured
@pytest.mark.parametrize("width", [40, 80, 200])
def test_lines_are_as_wide_as_the_terminal(width):
    words = [[], *([name] for name in (*NAMES, *modes()))]
    lines = [line for each in words for line in explained(each, width, color=False)]

    assert [line for line in lines if line != line.rstrip()] == []
    if width >= 80:
        assert [line for line in lines if len(line) > width] == []


def test_error_is_told_of_whole(told):
    code, out, _ = told("ECONNREFUSED")

    assert code == 0
    headings = [
        *("In production", "Where in a conversation", "Reproduce it", "What clients raise then", "Handle it"),
    ]
    assert [line for line in out.splitlines() if line in headings] == headings
    assert "\nalso: ECONNREFUSED, errno 111\n" in out
    assert "\n  faultline.serve(refuse())\n  $ faultline serve --mode refuse\n" in out
    assert "\n  requests     requests.exceptions.ConnectionError\n" in out
    assert "\n  faultline.raises(ConnectionRefusedError) finds that class under each of them.\n" in out


@each_row(
    "word, text",
    [
        ("EMFILE", "\nReproduce it\n  No mode gives it: the limit is the client's own."),
        ("BrokenPipeError", "\n  with a request whose body is larger than 64 KiB\n"),
        ("http.client.BadStatusLine", "finds that class under each but httpx and aiohttp."),
        ("httpx.ConnectError", "\n  faultline.serve(bad_cert('expired')): ssl.SSLCertVerificationError verify code"),
        ("requests.TooManyRedirects", "\n  requests  requests.exceptions.TooManyRedirects\n  aiohttp   "),
        ("requests.InvalidHeader", "\n  faultline.serve(malformed('length_conflicting'))\n"),
        ("ConnectionError", "\nThe same words can also mean: urllib3.exceptions.ProtocolError,"),
        ("ConnectionError", "\nIts kinds\n  ConnectionRefusedError, ConnectionResetError,"),
        ("gaierror", '\n  faultline.resolve("api.example.com", nxdomain())\n'),
        ("aiohttp.InvalidUrlRedirectClientError", "aiohttp.InvalidUrlRedirectClientError"),
        ("requests.ConnectionError", " more, which --json has."),
    ],
)
def test_error_has_this_text(word, text, told):
    assert " ".join(text.split()) in " ".join(told(word)[1].split())


@each_row(
    "word, texts",
    [
        ("reset", ["reset (a mode)", "  $ faultline serve --mode reset", "  accept, handshake, request, response,"]),
        ("bad-cert", ["bad-cert (a mode)", "  faultline.serve(bad_cert('expired'))", "  handshake"]),
        ("status(503)", ["status (a mode)", "  $ faultline serve --mode status --code 503"]),
        ("latency", ["latency (a mode)", "What a plain client sees"]),
        ("nxdomain", ['  faultline.resolve("api.example.com", nxdomain())', "  lookup"]),
    ],
)
def test_mode_is_told_of_by_its_own_texts(word, texts, told):
    code, out, _ = told(word)

    assert code == 0
    assert [text for text in texts if f"\n{text}" not in f"\n{out}"] == []
    assert modes()[word.partition("(")[0].replace("-", "_")].summary[:40] in out


def test_list_has_every_error_and_every_mode(told):
    code, out, _ = told()

    assert code == 0
    flat = " ".join(out.split())
    assert [name for name in (*NAMES, *map(option_name, modes())) if name not in flat] == []
    assert re.findall(r"(?m)^\S.*$", out)[:-1] == [
        *("the operating system", "names and addresses", "TLS", "certificates", "alerts of TLS"),
        *("http.client and urllib", *OF_CLIENTS, "modes"),
    ]


def test_headings_are_bold_where_the_terminal_has_colors():
    assert next(iter(explained(["111"], 80, color=True))) == "\x1b[1mConnectionRefusedError\x1b[0m"


def test_json_has_the_same(told):
    (found,) = json.loads(told("--json", "111")[1])
    mode, error = json.loads(told("--json", "reset")[1])[0], json.loads(told("--json", "httpx.ConnectError")[1])[0]
    names = json.loads(told("--json")[1])

    assert (found["name"], found["points"], found["also"]) == (
        *("ConnectionRefusedError", ["connect"], ["ECONNREFUSED", "errno 111"]),
    )
    assert found["plays"][0]["command"] == "faultline serve --mode refuse"
    assert found["plays"][0]["raised"]["httpx"] == "httpx.ConnectError"
    assert (mode["name"], mode["plays"][0]["plan"]) == ("reset", "reset()")
    assert len(error["plays"]) > 40
    assert {name for group in names.values() for name in group} == {*NAMES, *map(option_name, modes())}


def test_points_are_told_of_in_their_order():
    for entry in ENTRIES:
        assert [*entry.met_at] == [point for point in POINTS if point in entry.met_at]


def test_numbers_are_those_of_this_system():
    assert found_for(str(errno.ECONNREFUSED))[0].name == "ConnectionRefusedError"


# --- the page --------------------------------------------------------------------------------------------------------


def test_the_page_of_errors_is_made_from_the_texts(capsys):
    docs = Path(__file__).parent.parent / "docs"
    runpy.run_path(str(docs / "make_errors.py"))

    assert capsys.readouterr().out == (docs / "errors.md").read_text("utf-8")
