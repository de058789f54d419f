"""What all tests share."""

from __future__ import annotations

import importlib

pytest_plugins = ["pytester"]

# pytester puts sys.modules back after an inner run: what is loaded before it is the same inside and after.
for name in ("_certs", "_cli", "_server", "modes"):
    importlib.import_module(f"faultline.{name}")
