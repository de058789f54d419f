"""Check the two distributions in a folder: `python tests/packages/installed.py FOLDER`.

Their contents, the metadata of the wheel, and the wheel in environments of its own: alone, where it runs the first
example of the documentation, and with each extra alone.
"""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
import tarfile
import tempfile
import venv
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

TOP = Path(__file__).parent.parent.parent
EXTRAS = TOP / "tests/packages/extras.py"
IN_WHEEL = ["faultline/__init__.py", "faultline/py.typed", "faultline/_audit/report.css", "faultline/pytest_plugin.py"]
IN_SDIST = [
    "pyproject.toml",
    "tox.ini",
    "LICENSE",
    "docs/conf.py",
    "docs/diagrams/reset.svg",
    "tests/conftest.py",
    "news/README.md",
]
PAGES = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md", "RELEASING.md"]
ENTRY_POINTS = ["[console_scripts]\nfaultline = ", "[pytest11]\nfaultline = faultline.pytest_plugin"]


def main(folder: Path) -> None:
    """Check both distributions."""
    (wheel,), (sdist,) = folder.glob("*.whl"), folder.glob("*.tar.gz")
    (version,) = re.findall('__version__ = "(.+)"', (TOP / "faultline/_version.py").read_text("utf-8"))
    check_wheel(wheel, version)
    check_sdist(sdist)
    with tempfile.TemporaryDirectory() as place:
        check_installed(wheel, version, Path(place))
        with ThreadPoolExecutor(os.cpu_count()) as threads:
            list(threads.map(lambda extra: check_extra(wheel, extra, Path(place)), extras_of(wheel)))
    print(f"{wheel.name} and {sdist.name} are complete, and the wheel works")


def extras_of(wheel: Path) -> list[str]:
    """The extras that the metadata of the wheel names."""
    with zipfile.ZipFile(wheel) as file:
        (metadata,) = (file.read(name).decode() for name in file.namelist() if name.endswith("/METADATA"))
    return re.findall(r"^Provides-Extra: (.+)$", metadata, re.MULTILINE)


def check_wheel(wheel: Path, version: str) -> None:
    """The wheel has the package and nothing else."""
    with zipfile.ZipFile(wheel) as file:
        names = file.namelist()
        info = f"pytest_faultline-{version}.dist-info/"
        metadata, points = (file.read(f"{info}{name}").decode() for name in ("METADATA", "entry_points.txt"))
    assert [name for name in names if not name.startswith(("faultline/", info))] == []
    assert [name for name in names if not name.startswith(info) and not name.endswith((".py", ".css", ".typed"))] == []
    assert [name for name in IN_WHEEL if name not in names] == []
    assert [text for text in ENTRY_POINTS if text not in points] == []
    assert [n for n in ("Documentation", "Source", "Changelog") if f"Project-URL: {n}, https://" not in metadata] == []
    assert "](docs/" not in metadata  # the description is shown where there are no files


def check_sdist(sdist: Path) -> None:
    """The sdist has what its tests and its documentation need, and nothing that a run has left."""
    with tarfile.open(sdist) as file:
        names = {name.partition("/")[2] for name in file.getnames()}
    assert [name for name in [*IN_SDIST, *PAGES] if name not in names] == []
    assert [name for name in names if re.search(r"__pycache__|\.pyc$|\.venv|\.tox|\.git/", name)] == []


def check_installed(wheel: Path, version: str, place: Path) -> None:
    """The wheel installs alone, and runs the first example that users meet, its command and its module."""
    python = environment(place / "alone", f"{wheel}")
    for command in ([python.with_name("faultline")], [python, "-m", "faultline"]):
        assert subprocess.check_output([*command, "--version"], text=True) == f"faultline {version}\n"
    code = re.findall(r"```python\n(.*?)```", (TOP / "docs/install.md").read_text("utf-8"), re.DOTALL)
    run_tests(python, place / "first", "\n".join(code))
    run_tests(python, place / "of none", EXTRAS.read_text("utf-8"))


def check_extra(wheel: Path, extra: str, place: Path) -> None:
    """The wheel with one extra has all that this is for, and says what to install for the others."""
    python = environment(place / f"with {extra}", f"{wheel}[{extra}]")
    subprocess.run([python, "-c", "import faultline"], check=True)
    run_tests(python, place / f"of {extra}", EXTRAS.read_text("utf-8"), extra)


def environment(folder: Path, wheel: str) -> Path:
    """Python in an environment of its own, with a wheel and what it depends on.

    Where this environment has no pip, uv has made it, and makes the others too, in a tenth of the time.
    """
    has_pip = importlib.util.find_spec("pip") is not None
    venv.create(folder, with_pip=has_pip)
    python = folder / "bin/python"
    pip = [python, "-m", "pip"] if has_pip else ["uv", "pip"]
    which = [] if has_pip else ["--python", python]
    subprocess.run([*pip, "install", "--quiet", *which, wheel], check=True)
    subprocess.run([*pip, "check", *which], check=True, capture_output=True)
    return python


def run_tests(python: Path, folder: Path, code: str, extra: str = "") -> None:
    """These tests pass, and nothing warns."""
    folder.mkdir()
    (folder / "test_it.py").write_text(code, "utf-8")
    command = [python, "-X", "dev", "-W", "error", "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    ran = subprocess.run(
        command, cwd=folder, check=False, capture_output=True, text=True, env=os.environ | {"EXTRA": extra}
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    print(f"{extra or 'no extra'}: {ran.stdout.splitlines()[-1]}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
