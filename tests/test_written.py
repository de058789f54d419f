"""A plan is read from its text, and every other text is a `ParameterError` and nothing else."""

from __future__ import annotations

import random
import re
import string

import pytest
from support import EXAMPLES
from support.tables import each_row

import faultline as fl
from faultline import Gate, ParameterError, plan
from faultline._core import script
from faultline.modes._catalogue import cases, modes
from faultline.modes.lookups import SERVER

PLANS = [
    fl.latency(0.2) & fl.reset(after_bytes=17),
    fl.sequence(fl.refuse(), fl.ok(b"hello"), per="connection"),
    fl.cycle(fl.ok(), fl.sometimes(0.3, fl.stall(for_seconds=1.5))),
    fl.sometimes(0.5, fl.reset(), otherwise=fl.status(503)),
    fl.script(fl.send(b"220 hi\r\n"), fl.receive_until(b"\r\n"), fl.reset()),
    fl.reset(on=re.compile(b"x+")),
    fl.script(
        fl.send(b"220 hi\r\n"),
        fl.reply({b"DATA": (fl.send(b"354\r\n"), fl.reset()), re.compile(b"^(QUIT|BYE)"): fl.close()}),
    ),
    fl.script(fl.reply({b"\0": ()}, otherwise=(fl.send(b"x"), fl.hold(1)), reading=fl.receive_prefixed(2))),
    fl.latency(0.2) & fl.by_path({"/pay": fl.sequence(fl.status(503), fl.ok(b"paid " * 3)), "/*": fl.cycle(fl.ok())}),
    fl.by_path({"/a": fl.by_path({"/a?b=1": fl.sometimes(0.5, fl.reset())})}),
    fl.ok(headers=[("X-One", "1"), ("X-Two", "2")]),
    fl.ok(headers={"X-One": "1"}),
    fl.ok(b"loading ... 10 bytes..."),
]
WORDS = {
    "reset": fl.reset(),
    "reset --after-bytes 17": fl.reset(after_bytes=17),
    "status --code 503 --then ok": fl.sequence(fl.status(503), fl.ok()),
    "reset --then 'status --code 503' --then ok": fl.sequence(fl.reset(), fl.status(503), fl.ok()),
    "ok --path '/pay status --code 503' --path '/pay ok' --then reset": fl.by_path(
        {"*": fl.sequence(fl.ok(), fl.reset()), "/pay": fl.sequence(fl.status(503), fl.ok())}
    ),
    "ok --max-connections 2 --beyond 'stall --at accept'": fl.max_connections(2, beyond=fl.stall(at="accept")),
    "refuse --for-seconds 1 --then ok": fl.sequence(fl.refuse(for_seconds=1), fl.ok()),
}
REFUSED = {
    "": "expected a plan as Python or as the command writes it",
    "reset(after_bytes=-1)": "after_bytes=-1: expected a whole number of bytes, 0 or more.",
    "rezet()": "expected a mode, a plan or a step instead of rezet. Did you mean 'reset'?",
    "rezet": "no mode 'rezet'. Did you mean 'reset'?",
    "__import__('os').system('true')": "expected no __import__('os').system('true') in it",
    "__import__('os')": "instead of __import__",
    "reset(": "('(' was never closed)",
    "reset(after_kb=1e999)": "expected after_bytes=inf, not after_kb",
    "sequence(True)": "sequence(…)=True: expected faults such as reset() or ok().",
    "stall(until=gate)": "; write 'gate' for a text, or hand an object over: plan(text, gate=gate)",
    "sequence(reset)": "write reset()",
    "reset(after_bytes=1+1)": "expected no 1 + 1 in it",
    "reset(*[1])": "expected no * in a call",
    "reset(**{'after_bytes': 1})": "expected no * in a call",
    repr(fl.ok(b"a" * 60)): "of which a report leaves out the middle",
    repr(fl.ok(headers={"X-One": "a" * 60})): "of which a report leaves out the middle",
    "reset(after_bytes=1, after_bytes=2)": "expected each name once in reset(after_bytes=1, after_bytes=2)",
    "ok(headers={['X-One']: '1'})": "expected no {['X-One']: '1'} in it",
    "reset(on=re.compile(b'('))": "expected a pattern of bytes in re.compile(…)",
    "reset(on=re.compile('x'))": "expected a pattern of bytes in re.compile(…)",
    "ok({**{}})": "expected no",
    "reset() & 3": "expected two faults",
    "hold() & respond()": "expected two faults around &, not ",
    "1 & 2": "no mode '1'",
    "send(b'x')": "expected a fault such as reset() or ok()",
    "reset --bogus 3": "no option --bogus. See `faultline serve --mode reset --help`.",
    "reset 'unclosed": "No closing quotation",
    "reset(on=b'\\d')": "invalid escape sequence",
    "ok(" + "(" * 60 + ")" * 61: "expected at most 50 brackets open at once",
    " & ".join(["ok()"] * 1_400): "expected",
    "a" * 10_001: "expected at most 10,000 characters",
    "status(" + "9" * 5_000 + ")": "expected",
}


@each_row("fault", [case.fault for case in cases()] + PLANS)
def test_text_of_a_plan_is_read_as_that_plan(fault):
    read = plan(repr(fault), server=SERVER)

    assert read == fault
    assert repr(read) == repr(fault)


@each_row("words", WORDS)
def test_words_of_the_command_are_read_as_the_command_reads_them(words):
    assert plan(words) == WORDS[words]


def test_name_in_the_text_is_an_object_that_the_caller_gives():
    gate = Gate()

    assert plan("stall(until=gate)", gate=gate) == fl.stall(until=gate)


@each_row("text", REFUSED)
def test_text_that_is_no_plan_has_a_clear_error(text):
    with pytest.raises(ParameterError, match=re.escape(REFUSED[text])) as caught:
        plan(text)
    assert len(str(caught.value)) < 1_000
    assert "\n" not in str(caught.value)


@each_row("text", [None, 3, b"reset()", ["reset()"]])
def test_value_that_is_no_text_has_a_clear_error(text):
    with pytest.raises(ParameterError, match="expected a plan as Python or as the command writes it"):
        plan(text)


LITERALS = ["1", "-1", "0.5", "1e999", "-1e999", "9" * 400, "'x'", "b'x'", "b''", "True", "None", "()", "[]", "{1: 2}"]
LITERALS += [
    "{'a': b'b'}",
    "('a', 'b')",
    "[('a', 'b')]",
    "[[1]]",
    "'\\x00'",
    "re.compile(b'x*')",
    "'handshake'",
    "'idle'",
]


def random_call(chance, depth):
    """A call of a mode, a plan or a step, with arguments and names that some of them have."""

    def value():
        return random_call(chance, depth - 1) if depth and chance.random() < 0.4 else chance.choice(LITERALS)

    arguments = [value() for _ in range(chance.choice([0, 0, 1, 1, 2, 3]))]
    arguments += [f"{chance.choice(NAMES)}={value()}" for _ in range(chance.choice([0, 0, 1, 1, 2]))]
    call = f"{chance.choice(FUNCTIONS)}({', '.join(arguments)})"
    return f"{call} & {random_call(chance, depth - 1)}" if depth and chance.random() < 0.2 else call


def random_text(chance):
    """Pieces of what plans are built of, so that many are nearly one."""
    return "".join(chance.choice(PIECES) for _ in range(chance.randint(1, 8)))


FUNCTIONS = [*modes(), "sequence", "cycle", "sometimes", *script.__all__]
NAMES = ["per", "seed", "otherwise", *(each.name for mode in modes().values() for each in mode.parameters)]
PIECES = [*(repr(case.fault) for case in cases()), *"()[]{},=&-.*'\"\\#\n\0", *string.ascii_letters, "b'", "1e999"]
PIECES += [
    "sequence(",
    "re.compile(",
    "after_bytes=",
    "__class__",
    "9" * 30,
    "0_0",
    "é",
    "\ud800",
    "for x in",
    "f'{1}'",
]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::faultline.FaultlineWarning")  # of a time in milliseconds
@pytest.mark.parametrize("make", [random_text, lambda chance: random_call(chance, 2)], ids=["texts", "calls"])
def test_random_texts_are_plans_or_parameter_errors(make):
    chance, read = random.Random(13), 0
    for _ in range(EXAMPLES or 5_000):
        text = make(chance)
        try:
            plan(text)
            read += 1
        except ParameterError as error:
            assert str(error)  # noqa: PT017 - either outcome is right
    assert read > 30
