"""Targets that can't be audited get one clear line; those that do harm are contained."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
import threading

import pytest
from audit import clients_with_bugs as clients
from support.tables import each_row

import faultline
from faultline import FaultlineError, ParameterError
from faultline._audit import left
from faultline._audit.calling import raised, returned, value_of
from faultline._audit.target import Command, Target

HERE = "audit.clients_with_bugs"


def complaint(*args, **kwargs):
    """The line that says what is wrong."""
    with pytest.raises(FaultlineError) as caught:
        faultline.audit(*args, modes=("ok",), tls=False, **kwargs)
    text = str(caught.value)
    assert "\n" not in text
    return text


@each_row(
    "given, expected",
    [
        (
            {"target": print, "command": "curl {url}"},
            "command='curl {url}': expected either a target or a command.",
        ),
        ({"factory": True}, "factory=True: expected a target, whose call makes the callable."),
        ({"tls": "yes"}, "tls='yes': expected True or False."),
    ],
)
def test_values_that_do_not_go_together_are_refused(given, expected):
    with pytest.raises(ParameterError) as caught:
        faultline.audit(**given)
    assert str(caught.value) == expected


@pytest.mark.slow
@pytest.mark.measured
@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("no_such_module:get", "'no_such_module:get' can't be imported: ModuleNotFoundError: No module named "),
        (f"{HERE}:NOT_CALLABLE", f"{HERE}:NOT_CALLABLE: expected something to call with the URL; it is str."),
        ("audit.ends_at_once:get", "audit.ends_at_once:get: the process ended while it was imported."),
    ],
)
def test_a_target_that_cannot_be_called_gets_a_line(target, expected):
    assert complaint(target).startswith(expected)


@pytest.mark.slow
@pytest.mark.measured
def test_a_client_that_does_not_connect_gets_a_line():
    assert complaint(lambda _: None).endswith(
        ": expected the client to connect to the server of its URL; it returned None without a connection."
    )


@pytest.mark.slow
@pytest.mark.measured
def test_a_client_that_hangs_anyway_is_told_of_the_threads_that_it_has_not():
    text = complaint(lambda _: threading.Event().wait(), timeout_seconds=0.2)

    assert text.endswith("; it hung (its process has none of the threads that its import has started).")


@pytest.mark.slow
def test_an_import_that_fails_in_several_lines_gets_one(tmp_path, monkeypatch):
    (tmp_path / "fails_in_lines.py").write_text("raise RuntimeError('no DB_URL\\nset it')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    assert complaint("fails_in_lines:get").endswith("can't be imported: RuntimeError: no DB_URL set it")


@pytest.mark.slow
def test_a_client_that_fails_anyway_gets_a_line():
    text = complaint(f"{HERE}:fails_anyway")

    assert text == (
        f"{HERE}:fails_anyway: expected it to return from a healthy server; it raised RuntimeError (out of order)."
    )


@each_row(
    "given, expected",
    [
        ({"target": "os.path"}, "'os.path': expected package.module:callable."),
        ({"command": "curl"}, "--command 'curl': expected {url} in it, or {host} and {port}."),
        ({"command": "curl '{url}"}, '--command "curl \'{url}": expected words as a shell has them (No closing quota'),
        ({"command": "no-such {url}"}, "--command 'no-such {url}': expected a program that can be run; 'no-such' is "),
        ({"target": print, "points": ("nowhere",)}, "points='nowhere': expected one of "),
        ({"target": print, "modes": ("nothing",)}, "no mode 'nothing'."),
        ({"target": print, "protocol": "udp"}, "protocol='udp': expected "),
        ({"target": print, "runs": 0}, "runs=0: expected "),
        ({"target": print, "timeout_seconds": -1}, "timeout_seconds=-1: expected "),
        (
            {"target": print, "points": ("idle",), "modes": ("refuse",)},
            "points=('idle',): expected filters that leave ",
        ),
        ({"target": print, "expect": "ValueError"}, "expect='ValueError': expected "),
    ],
)
def test_wrong_words_get_a_line(given, expected):
    with pytest.raises(FaultlineError) as caught:
        faultline.audit(**given)

    assert str(caught.value).startswith(expected)


# --- what is contained -----------------------------------------------------------------------------------------------


def healthy(client, audit=faultline.audit, **given):
    """The first case of an audit in which nothing breaks."""
    return audit(client, modes=("ok",), points=("answer",), tls=False, **given).results[0]


@pytest.mark.slow
def test_what_a_client_prints_is_counted_and_thrown_away(audited, capfd):
    case = healthy(f"{HERE}:prints", audited, timeout_seconds=60)

    assert case.verdict == "handled"
    assert case.to_dict()["output_bytes"] == 2 * 20 << 20  # two calls
    assert capfd.readouterr() == ("", "")


@pytest.mark.slow
def test_no_process_is_left_behind():
    before = left.descendants(os.getpid())
    case = healthy(f"{HERE}:forks")

    assert case.reason == "it left behind 2 programs more than usual."
    assert left.descendants(os.getpid()) - before == set()


@pytest.mark.slow
def test_a_closure_can_be_audited():
    seen = []

    def client(url):
        seen.append(url)
        return clients.careful(url)

    (case,) = faultline.audit(client, modes=("refuse",), tls=False).results
    assert case.verdict == "handled"
    assert seen == []  # its process has ended


@pytest.mark.slow
def test_only_what_is_expected_is_handled(audited):
    audit = audited(
        f"{HERE}:checked",
        modes=("refuse", "reset"),
        points=("connect", "response"),
        tls=False,
        expect=ConnectionRefusedError,
    )

    assert {case.mode: case.verdict for case in audit.results if case.case in ("refuse()", "reset()")} == {
        "refuse": "handled",
        "reset": "unexpected",
    }


@pytest.mark.slow
def test_an_exception_is_named_by_its_path():
    audit = faultline.audit(f"{HERE}:careful", modes=("refuse",), tls=False, expect=clients.GaveUpError)

    assert audit.found() == ()


# --- a client without HTTP, and programs -----------------------------------------------------------------------------


@pytest.mark.slow
def test_a_client_without_http_can_come_out_clean(audited):
    audit = audited(f"{HERE}:careful_line", protocol="tcp", tls=False, timeout_seconds=60)

    assert audit.found() == (), str(audit)
    assert len(audit.results) > 30


@pytest.mark.slow
def test_a_command_is_run_with_the_url(tmp_path):
    script = tmp_path / "client.py"
    script.write_text(
        "import sys, urllib.request\n"
        "try: print(urllib.request.urlopen(sys.argv[1], timeout=1).read())\n"
        "except OSError as error: sys.exit(f'client: {error}')\n"
    )
    audit = faultline.audit(command=f"{sys.executable} {script} {{url}}", modes=("refuse", "ok"), tls=False)
    cases = {case.case: case.to_dict()["calls"][0] for case in audit.results}

    assert cases["refuse()"]["what"] == "exit status 1"
    assert cases["refuse()"]["detail"] == "client: <urlopen error [Errno 111] Connection refused>"
    assert cases["ok()"]["what"] == "exit status 0, 8 bytes"
    assert audit.found("hung", "crashed") == ()


NODE = """
fetch(process.argv[1], {signal: AbortSignal.timeout(500)})
  .then(response => response.text()).catch(error => { console.error(`${error}`); process.exit(1); })
"""
PROGRAMS = {
    "curl": "curl -sS --max-time 0.5 {url}",
    "wget": "wget -q -O - --timeout=0.5 --tries=1 {url}",
    "node": f"node -e {shlex.quote(NODE)} {{url}}",
}


@pytest.mark.slow
@pytest.mark.parametrize("program", PROGRAMS)
def test_programs_of_other_languages_are_audited(program):
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed")
    audit = faultline.audit(
        command=PROGRAMS[program],
        modes=("refuse", "half_close", "blackhole"),
        points=("connect", "response"),  # what it says of an answer is learned first, of a server where nothing breaks
        tls=False,
        timeout_seconds=20,
    )

    assert audit.found("hung", "crashed", "leaked") == (), str(audit)
    assert {case.case for case in audit.results if case.verdict == "handled"} >= {"refuse()", "half_close()"}


@each_row(
    "program, expected",
    [
        ("print('ok')", ("returned", "exit status 0, 3 bytes", "")),
        ("import sys; print('why', file=sys.stderr); sys.exit(7)", ("raised", "exit status 7", "why")),
        ("import os; os.kill(os.getpid(), 9)", ("crashed", "SIGKILL", "")),
        ("import os; os.close(1); os.close(2); sum(range(10**6))", ("returned", "exit status 0, 0 bytes", "")),
    ],
)
def test_how_a_command_ends_is_its_outcome(program, expected):
    printed = Command(f'{sys.executable} -c "{program}" {{port}}')("http://127.0.0.1:80")
    call = returned(value_of(printed))

    assert (call.outcome, call.what, call.detail) == expected


@pytest.mark.slow
@pytest.mark.measured
def test_a_command_that_leaves_one_that_holds_its_output_ends_all_the_same(tmp_path):
    script = tmp_path / "client.py"
    script.write_text("import socket, sys\nsocket.create_connection(('127.0.0.1', sys.argv[1]))\n")
    client = f"{sys.executable} {script} {{port}}"
    case = healthy(None, command=f"sh -c 'sleep 60 & {client}; echo {{host}} {{hostport}}'")

    assert case.reason == "it left behind 1 program more than usual."
    assert case.to_dict()["calls"][0]["what"] == "exit status 0, 26 bytes"


# --- values and exceptions -------------------------------------------------------------------------------------------


class Response:
    """A response of some client."""

    status_code = 201

    def __init__(self, **attributes):
        vars(self).update(attributes)


class Unread:
    """A response that is to be read."""

    status = 200
    is_closed = False

    def read(self):
        return "text"

    def close(self):
        self.is_closed = True


@each_row(
    "value, expected",
    [
        (None, "None"),
        (b"four", "4 bytes"),
        ("four", "4 characters"),
        (Response(content=b"one"), "201, 3 bytes"),
        (Response(data=b"one"), "201, 3 bytes"),
        (Response(body=b"x"), "201, 1 byte"),
        ([1, 2], "[1, 2]"),
        (Unread(), "200, 4 characters"),
    ],
)
def test_a_value_is_told_in_short(value, expected):
    assert value_of(value).what == expected


def test_a_response_that_was_read_is_closed():
    response = Unread()
    value_of(response)

    assert response.is_closed


def test_values_without_content_differ_only_by_what_they_show():
    assert value_of(object()).digest == value_of(object()).digest
    assert value_of([1]).digest != value_of([2]).digest


def test_an_exception_has_its_cause_and_whether_it_is_expected():
    error = RuntimeError("x" * 1000)
    error.__cause__ = ConnectionResetError(104, "reset")

    call = raised(error, (OSError,))
    assert (call.what, call.cause, call.is_expected) == ("RuntimeError", "ConnectionResetError", False)
    assert len(call.detail) == 300


def test_a_target_is_named_as_it_was_given():
    assert str(Target()) == "urllib.request.urlopen(url, timeout=1)"
    assert str(Target("a.b:c")) == "a.b:c"
    assert str(Target(command="curl {url}")) == "curl {url}"
    assert str(Target(given=clients.careful)).endswith("clients_with_bugs:careful")
