"""Import the public names of a package when they are first used.

The imports under `if TYPE_CHECKING:` in the package are the only list of its names.
"""

from __future__ import annotations

import functools
import importlib
import pkgutil
from types import ModuleType
from typing import Any


def public(package: str, name: str) -> Any:
    """The value of a public name, or the sorted names for `__all__`.

    Raises:
        AttributeError: the package has no such name.
    """
    if name == "__all__":
        return sorted(named(package).keys() | starred(package).keys())
    home = named(package).get(name)
    if home is None and not name.startswith("_"):
        home = starred(package).get(name)
    if home is None:
        raise AttributeError(f"module {package!r} has no attribute {name!r}")
    return getattr(importlib.import_module(home), name)


@functools.cache
def named(package: str) -> dict[str, str]:
    """The module of each name that is imported by its name."""
    return {name: home for name, home in imports_of(package) if name != "*"}


@functools.cache
def starred(package: str) -> dict[str, str]:
    """The module of each name that is imported by a star; its module has to be imported to know the names."""
    homes = [importlib.import_module(home) for name, home in imports_of(package) if name == "*"]
    return {
        name: home.__name__
        for home in homes
        for name, value in vars(home).items()
        if not name.startswith("_") and not isinstance(value, ModuleType)
    }


@functools.cache
def imports_of(package: str) -> tuple[tuple[str, str], ...]:
    """The names that a package imports for type checkers, each with its module."""
    import ast  # imported here, so that importing the package doesn't load it

    source = pkgutil.get_data(package, "__init__.py")  # pytest's loader gives data, but no source
    blocks = [node for node in ast.parse(source or b"").body if isinstance(node, ast.If)]
    statements = [node for block in blocks for node in block.body if isinstance(node, ast.ImportFrom)]
    return tuple((alias.name, str(node.module)) for node in statements for alias in node.names)
