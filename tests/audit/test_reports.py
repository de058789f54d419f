"""An audit as a table, as JUnit's XML, as an HTML page, and beside an earlier one."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from xml.etree import ElementTree as ET

import pytest
from support.tables import each_row

from faultline import Audit, AuditCase, FaultlineError, Finding
from faultline._audit.cases import Row
from faultline._audit.clean import clean
from faultline._audit.document import slug
from faultline._audit.junit import junit
from faultline._audit.observed import Observation
from faultline._audit.outcomes import Call, Left
from faultline._audit.page import page
from faultline._audit.sarif import place_of, sarif
from faultline._audit.sequence import MOST_ROWS, Canvas, draw, sequence
from faultline._audit.table import line, table
from faultline._audit.verdicts import FINE, VERDICTS
from faultline._core.attempts import Attempt
from faultline._core.drawing import Line
from faultline._core.ends import End
from faultline._core.promises import Strike
from faultline._core.turns import Turn
from faultline.modes._catalogue import cases

CASES = {str(case): case for case in cases()}
NASTY = "\x00<script>alert('1')</script>&\x1b[31m\u202e\ud800"


def result(name, *verdicts, tls=False, runs=()):
    """A case of an audit with these verdicts."""
    findings = tuple(Finding(verdict, f"why it is {verdict}.") for verdict in verdicts)
    return AuditCase(Row(CASES[name], tls), findings, runs)


def attempt(number=1, **given):
    """An attempt that was reset while it was answered."""
    fault = CASES["reset(after_bytes=10)"].fault
    turns = (Turn("client", 0.1, 40, b"GET / HTTP/1.1\r\n"), Turn("server", 0.2, 10, b"HTTP/1.1 2"))
    strikes, ends = (Strike("response", 10, 0.3),), (End("server", "RST", 0.3),)
    return Attempt(number, number, fault, "response", 0.1, turns=turns, strikes=strikes, ends=ends, **given)


def observation(name="reset(after_bytes=10)", *, attempts=1, **given):
    """What was seen of a client that says what it should not."""
    call = Call("raised", "Error", NASTY, "OSError", left=Left(sockets=1), seconds=1.5)
    return Observation(CASES[name], calls=(call,), attempts=tuple(map(attempt, range(attempts))), **given)


@pytest.fixture
def audit():
    """An audit in which something was found."""
    results = (
        result("refuse()", "handled"),
        result("refuse()", "not run", tls=True),
        result("reset(after_bytes=10)", "swallowed", "leaked", runs=(observation(attempts=5),)),
        result("bad_cert('expired')", "accepted a bad certificate", tls=True),
        result("status(503)", "hammered", runs=(observation("status(503)", is_counted=False),)),
    )
    return Audit(f"client {NASTY}", results, 2.5)


# --- the object, and the table ---------------------------------------------------------------------------------------


def test_an_audit_says_what_was_found(audit):
    assert [case.case for case in audit.found()] == ["reset(after_bytes=10)", "bad_cert('expired')", "status(503)"]
    assert [case.case for case in audit.found("leaked", "hung")] == ["reset(after_bytes=10)"]
    assert [*audit.counts] == ["accepted a bad certificate", "swallowed", "hammered", "leaked", "not run", "handled"]
    assert str(audit).splitlines()[0] == "reset(after_bytes=10): swallowed: why it is swallowed."
    assert (audit.results[1].tls, audit.results[1].mode, audit.results[1].point) == (True, "refuse", "connect")


def test_an_audit_that_was_stopped_says_so():
    assert Audit("client", (), 1.0, is_whole=False).summary == "0 cases in 1.0 s before it was stopped: nothing"


def test_the_table_counts_verdicts_by_point(audit):
    lines = table(audit, 80)

    assert line(audit.results[0]) == "handled: refuse(): why it is handled."
    assert lines[:4] == [
        "swallowed: reset(after_bytes=10)",
        "    why it is swallowed.",
        "leaked: reset(after_bytes=10)",
        "    why it is leaked.",
    ]
    assert re.fullmatch(r"connect +\. +\. +\. +1 +1", next(row for row in lines if row.startswith("connect")))


def test_what_was_found_is_red_where_colors_are_shown(audit):
    lines = table(audit, 80, color=True)

    assert lines[0] == "\x1b[1;31mswallowed: reset(after_bytes=10)\x1b[0m"
    assert any("\x1b[32m" in row for row in lines)


# --- beside an earlier one -------------------------------------------------------------------------------------------


def test_what_got_worse_and_better_is_said(audit):
    before = Audit(
        "client",
        (
            result("refuse()", "hung"),
            result("refuse()", "hung", tls=True),
            result("reset(after_bytes=10)", "swallowed"),
        ),
    )
    difference = audit.compared_with(before.to_json())

    assert difference.worse == (
        "reset(after_bytes=10): leaked: why it is leaked.",
        "bad_cert('expired') in TLS: accepted a bad certificate: why it is accepted a bad certificate.",
        "status(503): hammered: why it is hammered.",
    )
    assert difference.better == ("refuse(): no longer hung",)
    assert difference.lines[0].startswith("worse: reset")
    assert difference.lines[-1] == "better: refuse(): no longer hung"


def test_an_audit_beside_itself_differs_in_nothing(audit):
    assert audit.compared_with(audit.to_json()).lines == []


@each_row("is_whole", [True, False])
def test_what_the_earlier_audit_did_not_run_got_no_worse(audit, is_whole):
    before = Audit("client", (result("bad_cert('expired')", "not run", tls=True),), is_whole=is_whole)
    difference = audit.compared_with(before.to_json())
    missing = (
        "reset(after_bytes=10): swallowed: why it is swallowed.",
        "reset(after_bytes=10): leaked: why it is leaked.",
        "status(503): hammered: why it is hammered.",
    )
    barred = "bad_cert('expired') in TLS: accepted a bad certificate: why it is accepted a bad certificate."

    assert difference.worse == (missing if is_whole else ())  # of a case that is new
    assert difference.not_run == ((barred,) if is_whole else (*missing[:2], barred, missing[2]))
    assert difference.verdicts == ({"swallowed", "leaked", "hammered"} if is_whole else set())
    assert difference.lines[-1] == f"not run before: {difference.not_run[-1]}"
    assert difference.to_dict()["not_run"] == [*difference.not_run]


@each_row("text", ["", "[" * 100_000, "[]", "{}", '{"version": 2}', '{"version": 1, "results": [{}]}'])
def test_what_is_no_audit_is_refused(text):
    with pytest.raises(FaultlineError, match=r"expected (1\.|an audit as `faultline audit --json` writes it)"):
        Audit("client", ()).compared_with(text)


# --- SARIF -----------------------------------------------------------------------------------------------------------

# What the schema of SARIF 2.1.0 requires of each object, and what code scanning does beside that.
REQUIRED = {
    "": {"version", "runs", "$schema"},
    "run": {"tool", "results"},
    "driver": {"name", "version", "rules"},
    "rule": {"id", "shortDescription", "fullDescription", "help", "defaultConfiguration"},
    "result": {"ruleId", "message", "locations", "partialFingerprints", "level"},
    "invocation": {"executionSuccessful"},
}


def test_sarif_has_what_code_scanning_requires(audit):
    data = json.loads(audit.to_sarif())
    (run,) = data["runs"]
    driver, results, (invocation,) = run["tool"]["driver"], run["results"], run["invocations"]

    parts = {"": [data], "run": [run], "driver": [driver], "rule": driver["rules"], "result": results}
    for name, objects in (parts | {"invocation": [invocation]}).items():
        assert [each for each in objects if REQUIRED[name] - {*each}] == []
    assert data["version"] == "2.1.0"
    assert [(each["ruleId"], each["level"]) for each in results] == [
        ("swallowed", "error"),
        ("leaked", "warning"),
        ("accepted-a-bad-certificate", "error"),
        ("hammered", "warning"),
    ]
    assert {each["ruleId"] for each in results} <= {rule["id"] for rule in driver["rules"]}
    assert [rule["id"] for rule in driver["rules"]] == [
        name.lower().replace(" ", "-") for name in VERDICTS if name not in FINE
    ]
    texts = [each[name]["text"] for each in driver["rules"] for name in ("shortDescription", "fullDescription", "help")]
    assert all(texts)
    assert results[0]["message"]["text"] == "reset(after_bytes=10): swallowed: why it is swallowed."
    assert len({str(each["partialFingerprints"]) for each in results}) == len(results)
    assert "\\u0000" not in audit.to_sarif()
    assert invocation["executionSuccessful"] is True


def test_sarif_has_the_verdicts_that_fail(audit):
    (run,) = sarif(audit, {"leaked", "hung"})["runs"]

    assert [each["ruleId"] for each in run["results"]] == ["leaked"]
    assert [each["id"] for each in run["tool"]["driver"]["rules"]] == ["hung", "leaked"]


@each_row(
    ("target", "place"),
    [
        ("myapp.client:fetch", "myapp/client.py"),
        ("here.client:Client.get", "here/client.py"),
        ("there:get", "src/there/__init__.py"),
        ("curl -sS {url}", "curl"),
        ("/usr/bin/a b", "usr/bin/a"),
        ("./my%client {url}", "./my%25client"),
        ("", "client"),
        ("/", "client"),
    ],
)
def test_the_place_of_a_finding_is_the_file_of_the_client(target, place, tmp_path, monkeypatch):
    for path in ("here/client.py", "src/there/__init__.py"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
    monkeypatch.chdir(tmp_path)

    assert place_of(target) == place


# --- JUnit -----------------------------------------------------------------------------------------------------------


def test_junit_has_a_failure_for_what_was_found(audit):
    (suite,) = ET.fromstring(audit.to_junit())
    failed = {case.get("name"): case.find("failure").get("type") for case in suite if case.find("failure") is not None}

    assert failed == {
        "reset(after_bytes=10)": "swallowed",
        "bad_cert('expired') in TLS": "accepted a bad certificate",
        "status(503)": "hammered",
    }
    assert {name: suite.get(name) for name in ("tests", "failures", "skipped", "errors")} == {
        "tests": "5",
        "failures": "3",
        "skipped": "1",
        "errors": "0",
    }


def test_junit_fails_on_the_verdicts_that_it_is_told(audit):
    (suite,) = ET.fromstring(junit(audit, {"leaked"}))

    assert [failure.text for failure in suite.iter("failure")] == ["leaked: why it is leaked."]


# --- the page --------------------------------------------------------------------------------------------------------


class Read(HTMLParser):
    """A page as its reader meets it."""

    VOID = ("meta", "path")

    def __init__(self, text):
        super().__init__()
        self.open, self.ids, self.links, self.tags, self.attributes, self.text = [], [], [], [], [], ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.tags.append(tag)
        self.attributes += given
        self.ids += [given["id"]] if "id" in given else []
        self.links += [given["href"]] if "href" in given else []
        if tag not in (*self.VOID, "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag, _):
        self.tags.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def test_the_page_is_one_whole_file(audit):
    read = Read(page(audit))

    assert read.open == []
    assert sorted(read.ids) == sorted(set(read.ids))
    assert {link.removeprefix("#") for link in read.links} <= {*read.ids}
    assert not {"script", "link", "img", "iframe", "object"} & {*read.tags}
    assert not {"src", "onclick", "onload", "style"} & {*read.attributes}
    assert "url(" not in page(audit)
    assert "@import" not in page(audit)


def test_each_cell_says_its_verdict_in_words_and_leads_to_its_cases(audit):
    text = audit.to_html()

    assert f"<td><a class='bad' href='#{slug('response reset')}'>swallowed<br>1 of 1</a></td>" in text
    assert f"<td><a class='warn' href='#{slug('status without TLS')}'>hammered<br>1 of 1</a></td>" in text
    assert f"<h3 id='{slug('response reset')}'>response: reset</h3>" in text


def test_what_a_client_says_is_text(audit):
    read = Read(page(audit))

    assert "<script>alert('1')</script>" in read.text
    assert "\\x00" in read.text
    assert not re.search("[\x00\x1b\u202e\ud800]", page(audit))
    page(audit).encode("utf-8")


def test_the_first_attempts_are_drawn_and_the_others_counted(audit):
    text = page(audit)

    assert text.count("<svg ") == 3 + 1
    assert "2 further attempts" in text
    assert "1 attempt, as far as they were seen" in text
    assert "left behind: 1 socket" in text


def test_a_page_without_findings_or_breaks_says_so():
    text = page(Audit("client", (result("status(503)", "handled"),)))

    assert "<p>Nothing.</p>" in text
    assert "<p>No cases.</p>" in text


def test_anchors_differ_where_names_do():
    assert slug("stall()") != slug("stall( )")


def test_a_diagram_has_the_turns_the_strike_and_the_end():
    svg = ET.fromstring(sequence(attempt(), 0.1))
    texts = [each.text for each in svg.iter("text")]

    assert texts == [
        *("client", "server"),
        *("0.000", "connect"),
        *("0.000", "40 bytes: GET / HTTP/1.1"),
        *("0.100", "10 bytes: HTTP/1.1 2"),
        *("0.200", "RST: struck at 'response' after 10 bytes"),
    ]
    assert svg.get("role") == "img"
    assert svg.get("aria-label").startswith("#1: reset(after_bytes=10) struck at 'response'")
    assert svg.find("desc").text.startswith("0.000 s, client: connect; ")


def test_a_line_without_a_side_has_no_arrow_and_a_long_one_few_rows():
    canvas = Canvas([])
    draw(canvas, Line(0.0, "word " * 100))
    rows = [part for part in canvas.parts if 'class="aside"' in part]

    assert len(rows) == MOST_ROWS
    assert rows[-1].endswith("…</text>")
    assert not any("<path" in part for part in canvas.parts)


def test_what_xml_can_not_write_is_escaped():
    assert clean(NASTY).startswith("\\x00<script>")
    assert clean("tab\tand\nline é") == "tab\tand\nline é"


# --- a real one ------------------------------------------------------------------------------------------------------


IN_TLS = ("accept", "handshake", "connect", "request", "idle", "condition")  # answers are the same in it and without


@pytest.mark.slow
def test_a_careful_client_is_clean_in_the_whole_catalogue_and_the_page_is_small_and_whole(audited):
    audits = [
        audited("audit.clients_with_bugs:careful", timeout_seconds=60, **given)
        for given in ({"tls": False}, {"tls": True, "points": IN_TLS})
    ]
    audit = Audit("careful", tuple(result for each in audits for result in each.results))
    text = audit.to_html()

    read = Read(text)
    assert len(text.encode()) < 2_000_000
    assert {link.removeprefix("#") for link in read.links} <= {*read.ids}
    assert sorted(read.ids) == sorted(set(read.ids))
    assert len(audit.results) > 150
    assert audit.found() == (), str(audit)
    json.loads(audit.to_json())
