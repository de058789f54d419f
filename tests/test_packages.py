"""The distribution: what else has its import name, and what the files that publish it say."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from importlib.metadata import Distribution, distributions
from itertools import chain
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

FROM_BEFORE = 172  # the lines of 0.1.0 that were written before there were fragments
TOP = Path(__file__).parent.parent
PROJECT = tomllib.loads((TOP / "pyproject.toml").read_text("utf-8"))


def others_with_our_name(installed: Iterable[Distribution]) -> set[str]:
    """The other distributions with an import package `faultline`, of which pip overwrites one by the other."""
    having = (each for each in installed if any(file.parts[0] == "faultline" for file in each.files or ()))
    return {each.metadata["Name"] for each in having} - {"pytest-faultline"}


@pytest.mark.slow
def test_no_other_distribution_here_has_a_package_of_our_name():
    found = others_with_our_name(distributions())

    assert found == set(), f"uninstall {', '.join(found)}: it has an import package `faultline` too"


def test_another_distribution_with_a_package_of_our_name_is_found(tmp_path):
    info = tmp_path / "faultline-9.9.dist-info"
    for folder in (info, tmp_path / "faultline"):
        folder.mkdir()
    (tmp_path / "faultline/__init__.py").touch()  # files that are not there are left out
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: faultline\nVersion: 9.9\n")
    (info / "RECORD").write_text("faultline/__init__.py,,\nfaultline-9.9.dist-info/METADATA,,\n")

    assert others_with_our_name(distributions(path=[str(tmp_path)])) == {"faultline"}


def test_classifiers_are_the_versions_that_environments_try():
    versions = [re.search(r":: 3\.(\d+)$", each) for each in PROJECT["project"]["classifiers"]]
    minors = {int(version[1]) for version in versions if version}
    tried = re.search(r"testenv:py\{([\d,]+)\}", (TOP / "tox.ini").read_text("utf-8"))

    assert tried is not None
    assert {f"3{minor}" for minor in minors} <= {*tried[1].split(",")}
    assert PROJECT["project"]["requires-python"] == f">=3.{min(minors)}"


def test_lowest_versions_are_those_that_an_environment_tries():
    project, pins = PROJECT["project"], re.findall(r"([\w-]+)==([\d.]+)", (TOP / "tox.ini").read_text("utf-8"))
    tried = {name: Version(version) for name, version in pins}
    declared = [Requirement(r) for r in chain(project["dependencies"], *project["optional-dependencies"].values())]
    lowest = {each.name: Version(str(each.specifier).removeprefix(">=")) for each in declared}

    assert {name: tried.get(name) for name in lowest} == lowest


def test_workflow_runs_environments_and_versions_that_there_are():
    workflow, tox = ((TOP / name).read_text("utf-8") for name in (".github/workflows/tests.yml", "tox.ini"))
    pythons, environments = re.findall(r"^ +(?:python|env): \[(.+)\]$", workflow, re.MULTILINE)
    minors = re.findall(r'"3\.(\d+)"', pythons)
    named = re.findall(r"^\[testenv:(\w*)(?:\{(.+)\})?\]$", tox, re.MULTILINE)
    there = {f"{stem}{factor}" for stem, factors in named for factor in factors.split(",")}

    assert {f"py3{minor}" for minor in minors} == {env for env in there if re.fullmatch(r"py3\d+", env)}
    assert {*environments.split(", ")} <= there
    assert {f'"3.{minor}"' for minor in minors} >= {*re.findall(r'python(?:-version)?: ("3\.\d+")', workflow)}
    assert len(re.findall(r"run: tox ", workflow)) == len(
        re.findall("tox --skip-missing-interpreters false -e", workflow)
    )
    assert re.findall(r"bash (\S+)$", workflow, re.MULTILINE) == [".ci/run"]


def test_hooks_before_a_commit_need_no_network():
    hooks = (TOP / ".pre-commit-config.yaml").read_text("utf-8")

    assert re.findall(r"repo: (\S+)", hooks) == ["local"]
    assert {*re.findall(r"entry: (\S+)", hooks)} == {".venv/bin/python"}
    assert "additional_dependencies" not in hooks


def test_fragments_of_news_have_a_kind_that_the_changelog_has():
    kinds = {each["directory"] for each in PROJECT["tool"]["towncrier"]["type"]}
    names = [path.name for path in (TOP / "news").iterdir() if path.name != "README.md"]

    assert [name for name in names if not re.fullmatch(rf"\+?[\w-]+\.({'|'.join(kinds)})\.md", name)] == []
    texts = [(TOP / "news" / name).read_text("utf-8") for name in names]
    assert [text for text in texts if not re.match(r"[^\s*-].*\.\n$", text)] == []  # the bullet is the template's


def test_changelog_gets_no_line_by_hand():
    changelog = (TOP / "CHANGELOG.md").read_text("utf-8")
    assert PROJECT["tool"]["towncrier"]["start_string"].strip() in changelog

    by_hand = changelog.partition("\n## 0.1.0 (unreleased)\n")[2]
    assert len(re.findall("^- ", by_hand, re.MULTILINE)) <= FROM_BEFORE, "write a file in news/ (news/README.md)"
