"""The scripts of `faultline completion`: each shell, as far as it is here, completes commands, options and values."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from faultline._front.command import main

LINES = [  # what is typed, some of what is offered, and what is not
    ("", {"serve", "relay", "audit", "completion"}, {"--mode"}),
    ("comp", {"completion"}, {"serve"}),
    ("completion ", {"bash", "zsh", "fish"}, set()),
    ("serve --mode re", {"reset", "refuse", "redirect"}, {"stall"}),
    ("serve --p", {"--port", "--path"}, {"--kind"}),
    ("serve --mode bad-cert --k", {"--kind"}, set()),
    ("serve --mode bad-cert --kind exp", {"expired"}, {"wrong_host"}),
    ("serve --mode reset --k", set(), {"--kind"}),
    ("relay --starttls p", {"postgres"}, {"smtp"}),
]
BASH = """
source {script}
COMP_WORDS=({words})
COMP_CWORD={place}
_faultline
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
ZSH = """
compdef() {{ :; }}
compadd() {{ shift; print -l -- "$@"; }}
_files() {{ :; }}
source {script}
words=({words})
CURRENT={place}
_faultline
"""


@pytest.fixture(params=["bash", "zsh", "fish"])
def complete(request, tmp_path, capsys):
    """A function that gives what a shell offers at the end of a line."""
    assert main(["completion", request.param]) == 0
    shell = shutil.which(request.param)
    if shell is None:
        pytest.skip(f"{request.param} is not installed")
    script = tmp_path / "script"
    script.write_text(capsys.readouterr().out, "utf-8")

    def completed(line):
        words = f"faultline {line}".split(" ")
        if request.param == "fish":
            code = f"source {script}; complete -C 'faultline {line}'"
        else:
            quoted = " ".join(f"'{word}'" for word in words)
            place = len(words) - (request.param == "bash")
            code = (BASH if request.param == "bash" else ZSH).format(script=script, words=quoted, place=place)
        off = {"bash": ["--norc"], "zsh": ["-f"], "fish": ["--no-config"]}[request.param]
        run = subprocess.run([shell, *off, "-c", code], capture_output=True, encoding="utf-8", check=False)
        assert run.stderr == ""
        found = {each.partition("\t")[0] for each in run.stdout.splitlines()}
        return {each for each in found if each.startswith(words[-1])}  # zsh itself leaves out the others

    return completed


@pytest.mark.slow
@pytest.mark.measured
def test_a_shell_offers_what_may_follow(complete):
    for line, offered, not_offered in LINES:
        found = complete(line)
        assert (line, offered - found, not_offered & found) == (line, set(), set())


def test_an_unknown_shell_is_a_mistake(capsys):
    assert main(["completion", "tcsh"]) == 2
    assert "tcsh" in capsys.readouterr().err
