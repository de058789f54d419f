"""What the documentation says is run, or made by a run."""

import ast
import contextlib
import importlib
import os
import pathlib
import pkgutil
import re
import runpy
import shutil
import subprocess
import sys
import typing

import pytest
import requests  # noqa: F401 - so that every inner run has the same one
from support.command import running

import faultline
from faultline._audit.verdicts import VERDICTS
from faultline._core import script, websocket
from faultline._front.command import main
from faultline.modes._catalogue import modes

TOP = pathlib.Path(__file__).parent.parent
ABOVE = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md", "RELEASING.md"]
PAGES = [*ABOVE, *sorted(f"docs/{p.name}" for p in TOP.glob("docs/*.md"))]
FOR_CONTRIBUTORS = ["CONTRIBUTING.md", "docs/architecture.md", "docs/how-it-works.md"]


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (TOP / page).read_text("utf-8"), re.DOTALL)


@pytest.fixture
def run_python_of(pytester, monkeypatch):
    """A function that runs the Python of a page by pytest, in this process."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")

    def ran(page):
        pytester.makepyfile("\n".join(blocks(page, "python")))
        return pytester.runpytest_inprocess("-p", "timeout", "-p", "faultline", "--tb=native")

    return ran


@pytest.mark.slow
def test_the_python_of_the_readme_passes(run_python_of):
    run_python_of("README.md").assert_outcomes(passed=1)


@pytest.mark.slow
@pytest.mark.measured
def test_the_python_of_the_tutorial_does_what_the_page_says(run_python_of):
    result = run_python_of("docs/tutorial.md")

    outcomes = result.parseoutcomes()
    assert outcomes["failed"] > 0
    errors = [line for line in result.outlines if line.startswith("ERROR ")]
    assert [line for line in errors if "at='idle'" not in line] == []  # this client may leave before an idle strike
    failed = {line.split("::")[1].partition("[")[0] for line in result.outlines if line.startswith("FAILED")}
    assert failed == {"test_fetch_raises_nothing_but_its_own_error"}
    assert any("struck at 'response'" in line for line in result.outlines)


@pytest.mark.slow
def test_the_python_of_the_page_around_the_connection_passes(run_python_of):
    run_python_of("docs/around-the-connection.md").assert_outcomes(passed=17)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("page", "count"),
    [
        ("streaming", 11),
        ("relays", 8),
        ("websocket", 15),
        ("http2", 15),
        ("strategies", 5),
        ("sweep", 6),
        ("recording", 5),
    ],
)
def test_the_python_of_a_page_passes(run_python_of, page, count):
    run_python_of(f"docs/{page}.md").assert_outcomes(passed=count)


@pytest.mark.slow
def test_the_python_of_the_page_on_audits_passes(pytester, monkeypatch):
    """In a process that forks faster than the one of all tests."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    pytester.makepyfile("\n".join(blocks("docs/audit.md", "python")))

    pytester.runpytest_subprocess("-p", "timeout", "-p", "faultline").assert_outcomes(passed=2)


TASKS = [
    "index",
    "install",
    "points",
    "connection-errors",
    "retries",
    "timeouts",
    "pools",
    "tls",
    "async",
    "leaks",
    "own-protocol",
    "uploads",
    "ci",
    "unittest",
    "parallel",
    "from-mocks",
    "from-hand-written-servers",
]
RUN_BY_OTHERS = {"databases", "first-test", "modes", "other-languages", "steps"}  # the docstrings of modes and of steps
OF_ASYNC = ("-p", "anyio", "-p", "asyncio", "-o", "asyncio_default_fixture_loop_scope=function")


@pytest.mark.slow
def test_the_python_of_every_page_on_a_task_passes(pytester, monkeypatch):
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    for page in TASKS:
        pytester.makepyfile(**{f"test_{page.replace('-', '_')}": "\n".join(blocks(f"docs/{page}.md", "python"))})
    result = pytester.runpytest_inprocess("-p", "timeout", "-p", "faultline", *OF_ASYNC, "--tb=native", "-v")

    passed = {line.partition(".py::")[0] for line in result.outlines if " PASSED " in line}
    assert passed == {f"test_{page.replace('-', '_')}" for page in TASKS}
    assert {*result.parseoutcomes()} & {"failed", "errors", "error"} == set()


def test_each_row_of_a_table_of_the_guide_has_an_example_of_its_name():
    page, python = prose("docs/connection-errors.md"), "\n".join(blocks("docs/connection-errors.md", "python"))
    tables = re.findall(r"(?m)^\|.*\|\n\|[-|]+\|\n((?:\|.*\|\n)+)", page)
    rows = [row.split(" | ") for table in tables for row in table.splitlines()]
    names = [row[0].strip("| ").replace("`", "") for row in rows]
    classes = re.findall("`(\\w+Error|\\w*Timeout)`", "".join(map(str, rows[-7:])))

    assert (len(tables), len(rows)) == (4, 31)
    assert [name for name in names if f'"{name}"' not in python] == []
    assert [name for name in classes if f'"{name}"' not in python] == []


def test_no_page_has_python_that_no_test_runs():
    here = pathlib.Path(__file__).read_text("utf-8")
    pages = {path.stem for path in TOP.glob("docs/*.md") if blocks(f"docs/{path.name}", "python")}

    assert {
        page for page in pages - RUN_BY_OTHERS if f'"{page}"' not in here and f"docs/{page}.md" not in here
    } == set()


@pytest.mark.slow
def test_the_first_test_fails_as_the_page_says(run_python_of):
    result = run_python_of("docs/first-test.md")

    failed = [line.split("::")[1].partition(" ")[0] for line in result.outlines if line.startswith("FAILED")]
    cases = ["refuse()", "close(after_bytes=80)", "stall()"]
    assert failed == [f"test_fetch_survives_the_network[{case}]" for case in cases]
    assert result.parseoutcomes()["passed"] == 6


@pytest.mark.slow
def test_the_output_on_the_page_on_audits_is_what_the_command_prints(capsys):
    (console,) = [b for b in blocks("docs/audit.md", "console") if "handled" in b]
    line, *expected = console.rstrip().splitlines()
    assert main(line.removeprefix("$ faultline ").split()) == 0

    assert sorted(map(timeless, capsys.readouterr().out.splitlines())) == sorted(map(timeless, expected))


def test_the_output_on_the_page_on_probes_is_what_the_command_prints(capsys):
    (console,) = blocks("docs/probe.md", "console")
    _, *expected = console.rstrip().splitlines()
    with faultline.serve(faultline.reset()) as server:
        assert main(["probe", f"{server.url}/"]) == 1

    printed = capsys.readouterr().out.splitlines()
    assert [shape(timeless(line)) for line in printed] == [shape(timeless(line)) for line in expected]


@pytest.mark.slow
def test_each_bug_of_the_walk_is_found_for_the_reason_on_the_page(run_python_of):
    result = run_python_of("docs/walk.md")

    table = re.findall(r"(?m)^\| `(test_\w+)` \| `(.+?)`", (TOP / "docs/walk.md").read_text("utf-8"))
    # pytest 8.0 writes a class as Python does.
    told = re.sub(r"DID NOT RAISE <class '(?:\w+\.)*(\w+)'>", r"DID NOT RAISE \1", result.stdout.str())
    assert [test for test, _ in table] == re.findall(r"(?m)^FAILED .*::(\w+)", told)
    assert result.parseoutcomes() == {"failed": len(table)}
    texts = [(why, re.escape(why).replace("…", ".*").replace(r"0\.01.*", r"0\.\d+")) for _, why in table]
    assert [why for why, text in texts if not re.search(text, told)] == []


def test_each_question_of_the_walk_is_answered_in_two_clicks():
    pages = "".join(re.findall(r"```\{toctree\}(.*?)```", (TOP / "docs/index.md").read_text("utf-8"), re.DOTALL))
    rows = re.findall(
        r"(?m)^\| [^|]*\? \| \[.*?\]\((.*?)\.md\) \| (?:\[.*\]\((.*?)\.md#.*\) )?\|$", prose("docs/walk.md")
    )

    assert len(rows) > 10
    assert [row for row in rows if row[1] not in ("", row[0])] == []  # the second click is on the same page
    assert [page for page, _ in rows if not re.search(rf"(?m)(^|<){page}>?$", pages)] == []


def timeless(line: str) -> str:
    """The line without its times."""
    return re.sub(r"\d+\.\d+ s", "*", line)


def test_the_page_on_audits_has_every_verdict():
    assert re.findall(r"(?m)^\| `([^`]+)` \| ", (TOP / "docs/audit.md").read_text("utf-8")) == list(VERDICTS)


def test_the_output_in_the_readme_is_what_the_command_prints():
    (console,) = [b for b in blocks("README.md", "console") if "serve" in b and "pip" not in b]
    line, *expected = console.rstrip().splitlines()
    curl = shutil.which("curl")
    if curl is None:
        pytest.skip("curl is not installed")
    with running(re.sub(r"--port \d+", "--port 0", line.partition("faultline ")[2])) as command:
        first = command.line()
        url = re.search(r"http://[\d.:]+", first)
        assert url is not None
        subprocess.run([curl, "-s", url[0] + "/"], check=False)
        printed = [first, command.line(), *command.stop()[1]]

    assert [shape(line) for line in printed] == [shape(line) for line in expected]


def shape(line: str) -> str:
    """The line with what differs from run to run taken out: ports, times, and how long curl's own name is."""
    return re.sub(r":\d{4,5}|\d+\.\d+ s|received \d+", "*", line.strip())


def test_the_set_up_commands_of_the_readme_are_those_that_ci_runs():
    ci = (TOP / ".ci/run").read_text("utf-8")
    (commands,) = [b for b in blocks("README.md", "console") if "pip" in b]

    for command in commands.replace("$ ", "").split("&&"):
        words = command.split("\n")[0].strip().removeprefix("python -m ")
        assert words.replace("pip install", "pip install --quiet") in ci or words in ci


def test_the_page_of_modes_is_made_from_the_catalogue(capsys):
    runpy.run_path(str(TOP / "docs/make_modes.py"))

    assert capsys.readouterr().out == (TOP / "docs/modes.md").read_text("utf-8")


@pytest.mark.slow
def test_the_page_of_steps_has_every_step_and_what_clients_see_of_it(capsys):
    namespace = runpy.run_path(str(TOP / "docs/make_steps.py"))
    namespace["main"]()

    page = capsys.readouterr().out
    steps = {"receive_all", "reply", *script.__all__, *websocket.__all__}
    assert page == (TOP / "docs/steps.md").read_text("utf-8")
    assert "versionadded" not in page
    assert set(re.findall("(?m)^### `(.*)`$", page)) == {*namespace["EXAMPLES"]} == steps


# --- names and links -------------------------------------------------------------------------------------------------


def prose(page: str) -> str:
    """A page without its blocks of code."""
    return re.sub(r"```.*?```", "", (TOP / page).read_text("utf-8"), flags=re.DOTALL)


def words_in_code(page: str) -> list[str]:
    """The words that a page shows as code, within its sentences."""
    return [word for code in re.findall(r"`([^`]+)`", prose(page)) for word in code.split()]


def anchors(page: pathlib.Path) -> set[str]:
    """The anchors that the headings of a page get: in lower case, without signs, with hyphens for blanks."""
    headings = re.findall(r"^#+ (.+)$", page.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}


def missing(page: str, link: str) -> bool:
    """Whether a link leads nowhere: to no file of the project, or to no heading of its page."""
    path, _, anchor = link.partition("#")
    target = (TOP / page).parent / path if path else TOP / page
    return not target.exists() or bool(anchor and anchor not in anchors(target))


@pytest.mark.parametrize("page", PAGES)
def test_every_relative_link_leads_to_a_file_and_a_heading(page):
    links = [link for link in re.findall(r"\]\(([^)\s]+)\)", prose(page)) if "://" not in link]

    assert [link for link in links if missing(page, link)] == []


@pytest.mark.parametrize("page", FOR_CONTRIBUTORS)
def test_every_file_and_folder_that_a_page_names_exists(page):
    named = [word for word in words_in_code(page) if re.fullmatch(r"[\w./-]+(/|\.py|\.md|\.toml|\.ini)", word)]

    assert len(named) > 10
    assert [word for word in named if not any((top / word).exists() for top in (TOP, TOP / "faultline"))] == []


def test_every_class_and_method_that_the_pages_for_contributors_name_exists():
    words = [word for page in FOR_CONTRIBUTORS for word in words_in_code(page)]
    named = {word for word in words if re.fullmatch(r"([A-Z][a-z]+)+(\.\w+)?", word)}
    names = [m.name for m in pkgutil.walk_packages(faultline.__path__, "faultline.") if m.name[-2:] != "__"]
    modules = [vars(importlib.import_module(name)) for name in names]

    def exists(word: str) -> bool:
        owner, _, member = word.partition(".")
        owners = [module[owner] for module in modules if owner in module]
        return any(hasattr(owner, member) for owner in owners) if member else bool(owners)

    assert len(named) > 20
    assert [word for word in sorted(named) if not exists(word)] == []


def test_every_environment_and_group_that_the_page_for_contributors_names_exists():
    page = (TOP / "CONTRIBUTING.md").read_text("utf-8")
    tox, project = ((TOP / name).read_text("utf-8") for name in ("tox.ini", "pyproject.toml"))
    numbers = re.search(r"testenv:py\{([\d,]+)\}", tox)
    assert numbers is not None
    environments = {"py", *re.findall(r"\[testenv:(\w+)\]", tox), *(f"py{n}" for n in numbers[1].split(","))}

    assert set(re.findall(r"tox -e (\w+)", page)) - environments == set()
    assert [group for group in re.findall(r"--group (\w+)", page) if f"\n{group} = [" not in project] == []


# --- the first change ------------------------------------------------------------------------------------------------


MADE = """
import pytest, runpy, sys
assert not pytest.main(sys.argv[2:])
page, sys.argv[1:] = sys.argv[1], ["modes"]
try:
    runpy.run_module("faultline", run_name="__main__")
except SystemExit as end:
    assert not end.code
runpy.run_path(page)
"""


@pytest.fixture
def changed(tmp_path):
    """A copy of the package with the change that the page for contributors makes."""
    shutil.copytree(TOP / "faultline", tmp_path / "faultline", ignore=shutil.ignore_patterns("__pycache__"))
    (mode,) = blocks("CONTRIBUTING.md", "python")
    module = tmp_path / "faultline/modes/breaks.py"
    code = module.read_text("utf-8").replace("__all__ = [", '__all__ = ["late_close", ')
    module.write_text(f"{code}\n\n{mode}", "utf-8")
    return tmp_path


@pytest.mark.slow
def test_first_change_of_the_page_for_contributors_works(changed):
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("COVERAGE", "PYTEST"))}
    environment |= {"PYTHONPATH": str(changed), "PYTHONDONTWRITEBYTECODE": "1", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    plugins = ["-p", "timeout", "-p", "asyncio", "-p", "faultline", "-p", "no:cacheprovider"]
    tests = [TOP / f"tests/test_{name}.py" for name in ("contract", "docstrings")]
    made = subprocess.run(
        [sys.executable, "-c", MADE, TOP / "docs/make_modes.py", "-q", *plugins, "-k", "late_close", *tests],
        cwd=changed,
        env=environment,
        stdout=subprocess.PIPE,
        check=True,
        encoding="utf-8",
    ).stdout

    passed = re.search(r"(\d+) passed", made)
    assert passed is not None
    assert int(passed[1]) >= 2 * 2 + 1  # two cases, each with TLS and without, and the example
    assert "\n  late-close       Send no response: " in made
    assert "\n### `late_close`\n" in made


MADE_OR_PAST = {"CHANGELOG.md", *(f"docs/{page}.md" for page in ("modes", "errors", "reference", "atlas"))}
WRITTEN = [page for page in PAGES if page not in MADE_OR_PAST]


@pytest.mark.slow
def test_each_call_in_the_sentences_of_a_page_is_accepted():
    names = {name: getattr(faultline, name) for name in faultline.__all__} | {"gate": faultline.Gate()}
    known = {*names} - {
        name for name in names if hasattr(faultline.Faultline, name)
    }  # without those that start servers
    trees = []
    for code in {code for page in WRITTEN for code in re.findall(r"`([^`]+)`", prose(page)) if "…" not in code}:
        with contextlib.suppress(SyntaxError):
            trees.append(ast.parse(code, mode="eval"))
    calls = [node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Call)]
    complete = {
        ast.unparse(call)
        for call in calls
        if call.args + call.keywords and {node.id for node in ast.walk(call) if isinstance(node, ast.Name)} <= known
    }

    assert len(complete) > 100
    for call in sorted(complete):
        eval(call, names)


def test_each_kind_that_a_sentence_names_is_one():
    found = [
        (mode, kind)
        for page in WRITTEN
        for mode, words in re.findall(r"`(\w+)\(kind\)`([^.]*)\.", prose(page))
        for kind in re.findall("`([a-z_]+)`", words)
    ]

    assert len(found) > 10
    assert [(mode, kind) for mode, kind in found if kind not in kinds_of(mode)] == []


def kinds_of(mode: str) -> tuple[str, ...]:
    """The values that the parameter `kind` of a mode takes."""
    return typing.get_args(typing.get_type_hints(modes()[mode].function)["kind"])
