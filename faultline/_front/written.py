"""The public function `faultline.plan`: a plan from its text, which is read and never run as Python.

Rules: only calls of modes, of plans and of steps, `&`, literals and the names that the caller gives are read. Every
other text is a `ParameterError`, whoever made it.
"""

from __future__ import annotations

import re
import shlex

from faultline._core.calls import explained
from faultline._core.errors import ParameterError
from faultline._core.plan import Plan
from faultline._core.planning import checked_plan
from faultline._core.said import abbreviated
from faultline._front.reader import MOST_CHARACTERS, Reader

EXPECTED = (
    "expected a plan as Python or as the command writes it, such as reset(after_bytes=17) or reset --after-bytes 17"
)


@explained
def plan(text: str, **names: object) -> Plan:
    """Read a plan from its text: its `repr`, or the words of the command line.

    `plan(repr(x)) == x` for every fault of the catalogue. The text is parsed and never run as Python, so it may come
    from a file, from an environment variable, or from a program in another language.

    .. versionadded:: 0.1

    Args:
        text: the text, such as `sequence(refuse(), ok())`, or `reset --then ok`; at most 10,000 characters.
        names: the objects that the text names, such as `gate` in `stall(until=gate)`.

    Returns:
        The plan.

    Raises:
        ParameterError: the text is no plan, or has a mode or a value that its mode does not take.

    Example:
        >>> import faultline
        >>> faultline.plan("latency(0.2) & reset(after_bytes=17)")
        latency(0.2) & reset(after_bytes=17)
        >>> faultline.plan("reset --after-bytes 17 --then ok")
        sequence(reset(after_bytes=17), ok())
    """
    if not isinstance(text, str) or not text.strip():
        raise ParameterError(f"plan={abbreviated(text)}: {EXPECTED}.")
    if len(text) > MOST_CHARACTERS:
        raise ParameterError(f"plan={abbreviated(text)}: expected at most {MOST_CHARACTERS:,} characters.")
    is_call = re.match(r"\s*[A-Za-z_]\w*\s*\(", text)
    return checked_plan(Reader(text, names).plan() if is_call else typed(text))


def typed(text: str) -> Plan:
    """The plan of words as the command line has them.

    Raises:
        ParameterError: the words are no plan of the command.
    """
    from faultline._front.options import add_mode_options, named, plan_of
    from faultline._front.parser import Parser, UsageError

    try:
        words = ["serve", "--mode", *shlex.split(text)]
        named(words[2])  # at once, because a parser takes time
        parser = Parser(prog="faultline serve", add_help=False)
        chosen = add_mode_options(parser, words, "serve", required=True)
        return plan_of(chosen, parser.parse_args(words[1:]))
    except UsageError as error:
        raise ParameterError(f"plan={abbreviated(text)}: {error}") from None
    except ValueError as error:  # of shlex, about a quote that nothing closes
        if isinstance(error, ParameterError):
            raise
        raise ParameterError(f"plan={abbreviated(text)}: {EXPECTED} ({error}).") from None
