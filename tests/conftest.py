"""What all tests share."""

from __future__ import annotations

import importlib

from faultline import _arrivals

pytest_plugins = ["pytester"]

# pytester puts sys.modules back after an inner run: what is loaded before it is the same inside and after.
for name in ("_certs", "_cli", "_server", "modes"):
    importlib.import_module(f"faultline.{name}")

# Python traces an audit hook only if it asks for that (sys.addaudithook); coverage needs it.
_arrivals._hook.__cantrace__ = True
