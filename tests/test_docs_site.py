"""The documentation site: no page is left out of its contents. `tox -e docs` builds it, and looks at its links."""

from __future__ import annotations

import contextlib
import re
import runpy
import shlex
from collections import Counter
from pathlib import Path

import pytest

import faultline
from faultline._core.points import TABLE
from faultline._front.commands import parser_of
from faultline._front.options import plan_of
from faultline._front.parser import Parser
from faultline._front.served import add_serve_options
from faultline.modes._catalogue import modes

DOCS = Path(__file__).parent.parent / "docs"


def test_each_page_is_once_in_the_contents_of_the_site():
    text = "\n".join(path.read_text("utf-8") for path in DOCS.glob("*.md"))
    trees = re.findall(r"```\{toctree\}\n(?::[^\n]*\n)*(.*?)```", text, re.DOTALL)
    listed = Counter(re.sub(".*<(.*)>", r"\1", line) for lines in trees for line in lines.splitlines() if line)
    pages = {path.stem for path in DOCS.glob("*.md")} - {"index"}

    assert pages - {*listed} == set(), "add the page to a list in docs/index.md"
    assert listed - Counter(pages) == Counter()


def test_each_mode_is_drawn():
    drawn = {path.stem for path in (DOCS / "diagrams").glob("*.svg")}

    assert {*modes()} - drawn == set(), "run: python docs/make_diagrams.py MODE, and then make docs/modes.md"
    assert drawn - {*modes()} == {"points"}
    assert {*re.findall(r"\]\(diagrams/(\w+)\.svg\)", (DOCS / "modes.md").read_text("utf-8"))} == {*modes()}


@pytest.mark.slow
def test_a_run_of_each_mode_goes_as_it_is_drawn():
    script = runpy.run_path(str(DOCS / "make_diagrams.py"))
    kept = {name: (DOCS / f"diagrams/{name}.svg").read_text("utf-8") for name in modes()}
    came = {name: svg for name, svg in script["drawn"]() if name not in ("loss", "goaway")}  # left to chance, to a race

    assert len(came) > 40
    assert {n: script["to_strike"](svg) for n, svg in came.items()} == {n: script["to_strike"](kept[n]) for n in came}


def test_the_lines_of_each_mode_start_what_they_say():
    page = (DOCS / "modes.md").read_text("utf-8")
    calls, commands = (re.findall(rf"(?m)^- {kind}: `(.*)`\.$", page) for kind in ("In a test", "By hand"))
    names = {name: getattr(faultline, name) for name in faultline.__all__} | {"faultline": faultline}
    with faultline.serve(faultline.ok()) as server:
        for call in calls:
            with contextlib.suppress(faultline.UnsupportedError):
                unchecked = call.replace("faultline.serve(", "faultline.serve(strict=False, plan=")
                eval(unchecked, {**names, "server": server}).close()
    for command in commands:
        words = shlex.split(command)[1:]
        options = Parser()
        assert plan_of(add_serve_options(options, words), options.parse_args(words[1:]), reads_files=True)

    assert (len(calls), len(commands)) == (len(modes()), len(modes()) - 1)  # a mode takes a server of the test


def test_the_picture_of_the_points_is_made_by_its_script(capsys):
    runpy.run_path(str(DOCS / "make_points.py"))

    assert capsys.readouterr().out == (DOCS / "diagrams/points.svg").read_text("utf-8")
    points = [row.point for row in TABLE if row.is_at_servers]
    assert [point for point in points if f">{point}<" not in (DOCS / "diagrams/points.svg").read_text("utf-8")] == []


SITE = "https://pytest-faultline.readthedocs.io/en/latest/"


def test_the_readme_is_short_and_leads_to_pages_of_the_site():
    readme = (DOCS.parent / "README.md").read_text("utf-8")
    links = re.findall(r"\]\(([^)\s]+)\)", readme)
    pages = [link.removeprefix(SITE).partition("#")[0] for link in links]

    assert len(readme.splitlines()) < 100
    assert [link for link in links if not link.startswith(SITE)] == [], "the README is shown where the pages are not"
    pictures = [page for page in pages if page.endswith(".svg")]
    assert pictures == ["badge-python.svg", "badge-license.svg", "points.svg"]
    assert [page for page in pages if not (DOCS / page.replace(".html", ".md")).exists() and page not in pictures] == []
    assert SITE.rpartition("/en/")[0] in (DOCS.parent / "pyproject.toml").read_text("utf-8")


def test_badges_of_the_readme_say_what_the_package_says():
    script = runpy.run_path(str(DOCS / "make_badges.py"))
    readme = (DOCS.parent / "README.md").read_text("utf-8")
    words = script["said"]()

    for name, said in words.items():
        assert (DOCS / f"site/{name}.svg").read_text("utf-8") == script["badge"](*said), (
            "run: python docs/make_badges.py"
        )
    assert f"![Python {words['badge-python'][1]}]" in readme
    assert f"![License: {words['badge-license'][1]}]" in readme


GLOSSARY = "SYN RST FIN ALPN point break condition plan strike ledger guard attempt gate promise relay script trigger"


def test_the_glossary_has_each_word_that_the_pages_use():
    page = (DOCS / "glossary.md").read_text("utf-8")

    assert [word for word in GLOSSARY.split() if f"\n## {word}\n" not in page] == []


@pytest.mark.slow
def test_each_command_on_a_page_is_one():
    pages = {path.stem: path.read_text("utf-8") for path in [*DOCS.glob("*.md"), DOCS.parent / "README.md"]}
    lines = re.findall(r"(?m)^\$ faultline (.+)$", "\n".join(pages.values()))
    lines += re.findall(r"`faultline ([a-z]+ .+?)`", pages["command"])
    for line in lines:
        words = shlex.split(re.split(" > | 2>| # ", line)[0])
        if "--help" not in words:
            assert parser_of(words)[0].parse_args(words).command == words[0]
    assert len(lines) > 20


def test_each_page_that_the_search_prefers_or_puts_last_exists():
    script = (DOCS / "site/scorer.js").read_text("utf-8")
    pages = re.findall(r'"?([\w-]+)"?: -?\d', re.sub("(?s).*MORE = {(.*?)};.*", r"\1", script))

    assert len(pages) > 20
    assert [page for page in pages if not (DOCS / f"{page}.md").exists()] == []


def test_pages_of_the_top_folder_link_only_to_pages_that_the_site_has():
    above = ("CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md", "RELEASING.md")
    links = [
        (page, link)
        for page in above
        for link in re.findall(r"\]\(([^)\s#]+)[^)]*\)", (DOCS.parent / page).read_text("utf-8"))
    ]

    assert [
        each for each in links if "://" not in each[1] and not each[1].startswith("docs/") and each[1] not in above
    ] == []
