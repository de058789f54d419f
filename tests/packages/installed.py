"""Check the two distributions in a folder: `python tests/packages/installed.py FOLDER`.

Their contents, the metadata of the wheel, and the first example of the documentation, run on the wheel in an
environment of its own.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tarfile
import tempfile
import venv
import zipfile
from pathlib import Path

TOP = Path(__file__).parent.parent.parent
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
    print(f"{wheel.name} and {sdist.name} are complete, and the wheel works")


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
    """The wheel installs, and runs the first example that users meet, its command and its module."""
    venv.create(place / "venv", with_pip=True)
    python = place / "venv/bin/python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", wheel], check=True)
    subprocess.run([python, "-m", "pip", "check"], check=True, stdout=subprocess.DEVNULL)
    for command in ([place / "venv/bin/faultline"], [python, "-m", "faultline"]):
        assert subprocess.check_output([*command, "--version"], text=True) == f"faultline {version}\n"
    code = re.findall(r"```python\n(.*?)```", (TOP / "docs/install.md").read_text("utf-8"), re.DOTALL)
    (place / "test_first.py").write_text("\n".join(code), "utf-8")
    ran = subprocess.run([python, "-m", "pytest", "-q"], cwd=place, check=False, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout
    print(ran.stdout.splitlines()[-1])


if __name__ == "__main__":
    main(Path(sys.argv[1]))
