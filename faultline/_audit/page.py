"""An audit as one HTML file: no scripts, nothing that is loaded, two maps of verdicts, and every conversation.

Rules: each cell is a link with its verdict in words; what color says, words say too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeAlias

from faultline._audit.document import document, platforms, said, slug
from faultline._audit.observed import Observation
from faultline._audit.outcomes import Call, Left
from faultline._audit.sequence import figures
from faultline._audit.verdicts import FINE, VERDICTS, listed
from faultline._core.counts import counted
from faultline._core.points import POINTS

if TYPE_CHECKING:
    from faultline._audit.result import Audit, AuditCase

DRAWN = 3  # attempts of a case
WARNS = ("leaked", "unexpected", "inconsistent", "hammered", "ignored Retry-After")
TITLE = "faultline audit"
Group: TypeAlias = tuple[str, str]  # a row and a column of a map


def page(audit: Audit) -> str:
    """The page."""
    breaks = [case for case in audit.results if case.row.case.fault.break_ is not None]
    others = [case for case in audit.results if case.row.case.fault.break_ is None]
    body = [
        f"<h1>What <code>{said(audit.target)}</code> does when the network fails</h1>",
        f'<p class="soft">{said(audit.summary)}. {said(platforms())}.</p>',
        counts(audit),
        "<h2 id='breaks'>Breaks, by point and verb</h2>",
        heat_map(breaks, "Each cell leads to its cases. Rows are points of the conversation.", by_point),
        "<h2 id='others'>Answers, certificates and conditions</h2>",
        heat_map(others, "Each cell leads to its cases. Rows are modes.", by_tls),
        found(audit),
        "<h2 id='cases'>Cases</h2>",
        *(section(name, cases) for name, cases in grouped(breaks, by_point).items()),
        *(section(name, cases) for name, cases in grouped(others, by_tls).items()),
    ]
    return document(f"{TITLE}: {audit.target}", body, '<a class="skip" href="#found">Skip to what was found</a>')


def shade(verdict: str) -> str:
    """The class of a verdict, which has its color."""
    if verdict in FINE:
        return "good" if verdict == "handled" else "none"
    return "warn" if verdict in WARNS else "bad"


def mark(verdict: str) -> str:
    """A verdict in its color."""
    return f'<span class="mark {shade(verdict)}">{verdict}</span>'


def counts(audit: Audit) -> str:
    """How many cases have each verdict."""
    items = "".join(f"<li>{mark(verdict)} {count}</li>" for verdict, count in audit.counts.items())
    return f'<ul class="counts">{items}</ul>'


def found(audit: Audit) -> str:
    """What was found, each with a link to its case."""
    items = []
    for case in audit.found():
        link = f"<a href='#{anchor(case)}'><code>{said(str(case.row))}</code></a>"
        items += [f"<li>{mark(each.verdict)} {link}: {said(each.reason)}</li>" for each in case.findings]
    listing = f"<ul class='found'>{''.join(items)}</ul>" if items else "<p>Nothing.</p>"
    return f"<h2 id='found'>Found</h2>{listing}"


def anchor(case: AuditCase) -> str:
    """The anchor of a case."""
    return slug(str(case.row))


# --- the maps --------------------------------------------------------------------------------------------------------


def by_point(case: AuditCase) -> Group:
    """A break by its point and its mode."""
    return case.point, case.mode


def by_tls(case: AuditCase) -> Group:
    """Another case by its mode, and by whether it is in TLS."""
    return case.mode, "in TLS" if case.tls else "without TLS"


def grouped(cases: Sequence[AuditCase], key: Callable[[AuditCase], Group]) -> dict[Group, list[AuditCase]]:
    """The cases of each cell."""
    groups: dict[Group, list[AuditCase]] = {}
    for case in cases:
        groups.setdefault(key(case), []).append(case)
    return groups


def heat_map(cases: Sequence[AuditCase], caption: str, key: Callable[[AuditCase], Group]) -> str:
    """A table of cells, each with the most serious verdict of its cases."""
    groups = grouped(cases, key)
    if not groups:
        return "<p>No cases.</p>"
    rows, columns = (list(dict.fromkeys(name[place] for name in groups)) for place in (0, 1))
    columns.sort(key="in TLS".__eq__)
    rows.sort(key=lambda row: [*POINTS, row].index(row))
    head = "".join(f'<th scope="col">{said(column)}</th>' for column in columns)
    lines = []
    for row in rows:
        cells = "".join(cell(row, column, groups.get((row, column), [])) for column in columns)
        lines.append(f'<tr><th scope="row">{said(row)}</th>{cells}</tr>')
    return (
        f'<p class="soft">{said(caption)}</p><div class="wide" tabindex="0" role="region" aria-label="{said(caption)}">'
        f"<table><thead><tr><td></td>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table></div>"
    )


def cell(row: str, column: str, cases: list[AuditCase]) -> str:
    """A cell: its most serious verdict, and how many of its cases have it."""
    if not cases:
        return '<td><span class="empty">-</span></td>'
    worst = min((case.verdict for case in cases), key=VERDICTS.index)
    of = f"{sum(case.verdict == worst for case in cases)} of {len(cases)}"
    return f"<td><a class='{shade(worst)}' href='#{slug(f'{row} {column}')}'>{worst}<br>{of}</a></td>"


# --- the cases -------------------------------------------------------------------------------------------------------


def section(name: Group, cases: list[AuditCase]) -> str:
    """The cases of a cell."""
    head = f"<h3 id='{slug(' '.join(name))}'>{said(name[0])}: {said(name[1])}</h3>"
    return head + "".join(details(case) for case in cases)


def details(case: AuditCase) -> str:
    """A case with its findings, its calls and its conversation."""
    summary = f"<summary>{mark(case.verdict)} <code>{said(str(case.row))}</code></summary>"
    reasons = "".join(f"<p>{mark(finding.verdict)} {said(finding.reason)}</p>" for finding in case.findings)
    told = "".join(map(observed, case.runs[:1]))
    return f"<details id='{anchor(case)}'>{summary}<div>{reasons}{told}</div></details>"


def observed(seen: Observation) -> str:
    """What was seen of a client: its calls, and the first of its attempts as they went."""
    calls = "".join(f"<dt>call {number}</dt><dd>{call_of(call)}</dd>" for number, call in enumerate(seen.calls, 1))
    tries = counted(len(seen.attempts), "attempt") + ("" if seen.is_counted else ", as far as they were seen")
    return f"<dl>{calls}<dt>server</dt><dd>{tries}</dd></dl>{figures(seen.attempts, DRAWN)}"


def call_of(call: Call) -> str:
    """A call in a line."""
    cause = f", because of {call.cause}" if call.cause not in ("", call.what) else ""
    detail = f": {call.detail}" if call.detail else ""
    left = "" if call.left == Left() else f"; left behind: {listed(call.left)}"
    return said(f"{call.outcome} {call.what}".rstrip() + f"{cause}{detail}, after {call.seconds:.2f} s{left}")
