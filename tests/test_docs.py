"""What the documentation says is run, or made by a run."""

import pathlib
import re
import shutil
import subprocess
import sys

import pytest
import requests  # noqa: F401 - so that every inner run has the same one

TOP = pathlib.Path(__file__).parent.parent


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (TOP / page).read_text("utf-8"), re.DOTALL)


def test_the_python_of_the_readme_passes(pytester):
    pytester.makepyfile("\n".join(blocks("README.md", "python")))

    pytester.runpytest("-p", "no:randomly", "-p", "no:asyncio").assert_outcomes(passed=4)


def test_the_python_of_the_tutorial_does_what_the_page_says(pytester):
    pytester.makepyfile("\n".join(blocks("docs/tutorial.md", "python")))
    result = pytester.runpytest("-p", "no:randomly", "-p", "no:asyncio", "--tb=short")

    outcomes = result.parseoutcomes()
    assert outcomes["failed"] > 0
    assert "errors" not in outcomes
    failed = {line.split("::")[1].partition("[")[0] for line in result.outlines if line.startswith("FAILED")}
    assert failed == {"test_fetch_raises_nothing_but_its_own_error"}
    assert any("struck at 'response'" in line for line in result.outlines)


def test_the_python_of_the_page_around_the_connection_passes(pytester):
    pytester.makepyfile("\n".join(blocks("docs/around-the-connection.md", "python")))

    pytester.runpytest("-p", "no:randomly", "-p", "no:asyncio", "--tb=short").assert_outcomes(passed=16)


def test_the_output_in_the_readme_is_what_the_command_prints():
    (console,) = [b for b in blocks("README.md", "console") if "serve" in b and "pip" not in b]
    command, listening, attempt, stopped = console.rstrip().splitlines()
    curl = shutil.which("curl")
    if curl is None:
        pytest.skip("curl is not installed")
    words = command.split()[2:]
    words[words.index("--port") + 1] = "0"
    with subprocess.Popen([sys.executable, "-m", "faultline", *words], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        url = re.search(r"http://[\d.:]+", first)
        assert url is not None
        subprocess.run([curl, "-s", url[0] + "/"], check=False)
        second = process.stdout.readline()
        process.terminate()
        third = process.stdout.readline()

    assert [shape(line) for line in (first, second, third)] == [shape(x) for x in (listening, attempt, stopped)]


def shape(line: str) -> str:
    """The line with what differs from run to run taken out: ports, times, and how long curl's own name is."""
    return re.sub(r":\d{4,5}|\d+\.\d+ s|received \d+", "*", line.strip())


def test_the_set_up_commands_of_the_readme_are_those_that_ci_runs():
    ci = (TOP / ".ci/run").read_text("utf-8")
    (commands,) = [b for b in blocks("README.md", "console") if "pip" in b]

    for command in commands.replace("$ ", "").split("&&"):
        words = command.split("\n")[0].strip().removeprefix("python -m ")
        assert words.replace("pip install", "pip install --quiet") in ci or words in ci


def test_the_page_of_modes_is_made_from_the_catalogue():
    made = subprocess.run(
        [sys.executable, TOP / "docs/make_modes.py"], capture_output=True, text=True, check=True, encoding="utf-8"
    ).stdout

    assert made == (TOP / "docs/modes.md").read_text("utf-8")
