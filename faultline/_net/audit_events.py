"""Calls a function at an audit event of Python (sys.addaudithook, PEP 578), and runs no line of Python at the others.

An audit hook in Python lets other threads run between the lines of what raised the event, whatever that is. Python
3.10 and 3.11 don't expect it while a trace function is set: a second thread that starts in that moment, as clients
do under coverage, ends with `RuntimeError: Cannot install a trace function while another trace function is being
installed`. So the hook consists of two functions in C. An attribute that has a name of an event and a setter is a
call at this event; any other name is set as an attribute of the object and removed again at once. What remains is rare:
while any hook is there, `sys.settrace` creates an object, which can start a garbage collection and its finalizers.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from typing import Any


def call_at(event: str, function: Callable[..., object]) -> partial[None]:
    """Call `function` with the arguments of each audit event of this name, from now on: a hook can't be removed.

    Returns the hook, which is traced if it gets the attribute `__cantrace__`.
    """

    def called(_: object, args: tuple[Any, ...]) -> None:
        function(*args)

    names = type("Names", (), {event: property(fset=called)})()
    hook = partial(setattr, names)
    sys.addaudithook(hook)
    sys.addaudithook(vars(names).pop)
    return hook
