"""The words that were meant by a call of Python, a number or an address on a command line.

Rules: words in, words out; what is not understood is an empty list.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from faultline._core.calls import likeliest
from faultline._core.check import measured
from faultline._core.errors import FaultlineError
from faultline._core.fault import Fault
from faultline._front.escapes import with_value, word_of
from faultline._front.listing import option_name
from faultline._front.reader import Reader
from faultline.modes._registry import Mode

CALL = re.compile(r"[A-Za-z_]\w*\(.*\S.*\)")  # with arguments
ADDRESS = re.compile(r"(\[[0-9a-f:]+\]|localhost|[0-9.]+\.[0-9.]+):([0-9]+)")
WRITTEN = (int, float, str, bytes)  # what an option can say


def separate(words: list[str]) -> list[str]:
    """The words, with a mode and what is joined to it as words of their own: `reset(after_bytes=17)`, `reset:17`."""
    found: list[str] = []
    for word in words:
        value = word.removeprefix("--mode=")
        if value != word:
            found.append("--mode")
        before = found[-1] if found else ""
        is_mode = before == "--mode"
        if CALL.fullmatch(value) and (is_mode or not before.startswith("--")):
            found += of_call(value) or [value]
        elif is_mode:
            found += re.split(r"[,:=]", value)
        else:
            found.append(word)
    return found


def of_call(text: str) -> list[str]:
    """The words of a call such as `reset(after_bytes=17)`: the mode and its options."""
    try:
        fault = Reader(text, {}).plan()
    except FaultlineError:
        return []
    if not isinstance(fault, Fault) or len(fault.said) != 1:
        return []
    call = fault.said[0]
    words = [option_name(call.mode)]
    for name, value in call.arguments:
        if value is False or not isinstance(value, WRITTEN):
            return []
        option = f"--{option_name(name)}"
        text = word_of(value) if isinstance(value, bytes) else str(value)
        words += [option] if value is True else with_value(option, text)
    return words


def of_number(mode: Mode, word: str, given: Iterable[str]) -> list[str]:
    """The option that a number is most likely for, such as `--after-bytes 100` or `--for-seconds 2`.

    Args:
        mode: the mode whose option it is.
        word: the number, with its unit or without.
        given: the parameters that other words give.
    """
    value: int | float
    if word.isdecimal():
        value = int(word)
    elif text := measured(word, "seconds"):
        value, word = float(text), text
    elif text := measured(word, "bytes"):
        value = int(float(text))
        word = str(value)
    else:
        return []
    name = likeliest(mode.function, value, given)
    return [f"--{option_name(name)}", word] if name.endswith(("seconds", "bytes")) else []


def of_address(command: str, word: str, given: Iterable[str]) -> list[str]:
    """The options that an address is for: those of the upstream or of the server's own place."""
    found = ADDRESS.fullmatch(word)
    if command == "relay":
        if "--upstream" not in given:
            port = word.isdecimal() and 0 < int(word[:6]) <= 65_535  # noqa: PLR2004 - the largest port
            return ["--upstream", f"127.0.0.1:{word}" if port else word] if port or found or "://" in word else []
        return ["--listen", word] if found and "--listen" not in given else []
    if not found or {"--host", "--port"} & {*given}:
        return []
    return ["--host", found[1].strip("[]"), "--port", found[2]]
