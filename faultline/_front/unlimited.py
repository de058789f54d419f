"""Whether a test has no time limit of its own, and could have one."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest


def is_unlimited(item: pytest.Item) -> bool:
    """Whether neither a test nor its run has a timeout, and pytest-timeout is loaded."""
    config = item.config
    return has_pytest_timeout(config) and not has_timeout(config) and item.get_closest_marker("timeout") is None


def has_pytest_timeout(config: pytest.Config) -> bool:
    """Whether pytest-timeout is loaded, by the name of its entry point or, with `-p`, of its module."""
    return any(config.pluginmanager.hasplugin(name) for name in ("timeout", "pytest_timeout"))


def has_timeout(config: pytest.Config) -> bool:
    """Whether the run sets a timeout for all tests."""
    given = config.getoption("timeout", None)
    return given is not None or bool(config.getini("timeout") or os.environ.get("PYTEST_TIMEOUT"))
