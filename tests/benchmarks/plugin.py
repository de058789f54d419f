"""The row of pytest's plugin: CPU time that a run of pytest without tests takes longer with it."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

RUNS = 10
EMPTY = "empty_plugin"


def cpu_ms(plugins, folder):
    """The CPU time of a run of pytest, in milliseconds."""
    words = [word for name in plugins for word in ("-p", name)]
    own = {
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        "PYTEST_ADDOPTS": "",
        "PYTHONPATH": f"{os.environ.get('PYTHONPATH', '')}:{folder}",
        "PYTHONPYCACHEPREFIX": f"{folder}/compiled",
        "PYTHONDONTWRITEBYTECODE": "",
    }
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *words],
        cwd=folder,
        env={**os.environ, **own},
        capture_output=True,
        check=False,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime) * 1000


def plugin(column):
    """What the plugin adds to pytest with pytest-timeout; in the column of the kernel, an empty plugin."""
    name = EMPTY if column == "kernel" else "faultline"
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, f"{EMPTY}.py").write_text("def pytest_configure(config):\n    pass\n")
        cpu_ms(["timeout", name], folder)  # compiles everything
        return {"plugin": [cpu_ms(["timeout", name], folder) - cpu_ms(["timeout"], folder) for _ in range(RUNS)]}
