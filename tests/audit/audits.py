"""Audits in a small process, which has nothing else to do: `support.small` calls this."""

from __future__ import annotations

import gc
import os
from importlib import import_module

import faultline

AT_ONCE = 8  # clients of a test, beside those of the other tests: one that starves looks as if it hung


def audit(name=None, *, environment=(), **given):
    """`faultline.audit` of a callable, which is here by the name of its module and its own."""
    os.environ.update(environment)
    module, _, function = (name or "").partition(":")
    target = getattr(import_module(module), function) if module else None
    gc.freeze()  # a fork would copy each page whose objects it counts
    return faultline.audit(target, jobs=AT_ONCE, **given)
