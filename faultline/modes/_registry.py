"""The decorator that makes a function a mode, and the values that describe a mode: cases and parameters.

Rules: a mode is a pure function from its parameters to a `Fault`. Fixtures, command line,
documentation and the contract test follow from the function - its name, its signature, the texts in `Annotated`,
the docstring's first line - and from its cases, so there is no second list of modes.
The modules of modes do without `from __future__ import annotations`: each process would compile those texts.
"""

from __future__ import annotations

import functools
import inspect
import textwrap
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import UnionType
from typing import Annotated, Any, Literal, ParamSpec, Union, get_args, get_origin, get_type_hints

from faultline._core.answers import SocksRefusal
from faultline._core.calls import advised, misfit
from faultline._core.check import parameter, plain
from faultline._core.errors import ParameterError
from faultline._core.fault import Fault
from faultline._core.points import POINTS, Point
from faultline._core.said import Said
from faultline._core.scripted import WebSocketPlan
from faultline._core.words import CHOICES, MODE_NAMES, meant

P = ParamSpec("P")
WIDTH = 112  # of a docstring without its indentation
SECTIONS = (".. versionadded::", "Raises:", "Example:")  # what comes after the parameters in a docstring

# The result for a plain client: an exception by its class name, or what the client reads.
Sees = Literal[
    "the response",
    "end of stream",
    "its messages",
    "an address",
    "an answer",
    "no answer",
    "RST_STREAM",
    "GOAWAY",
    "a protocol error",
    "garbage",
    "a SOCKS refusal",
    "gaierror -2",
    "gaierror -3",
    "gaierror -5",
    "ConnectionRefusedError",
    "ConnectionResetError",
    "BrokenPipeError",
    "TimeoutError",
    "OSError 101",
    "SSLCertVerificationError",
    "SSLError",
]

Place = Point | Literal["condition", "answer"]
ServerKind = Literal["TCP server", "DNS server", "UDP server", "SOCKS proxy", "WebSocket server", "HTTP/2 server"]
Group = Place | ServerKind
OVER_TCP: tuple[ServerKind, ...] = ("TCP server", "WebSocket server", "HTTP/2 server")  # which may speak TLS


def kind_of(fault: Fault) -> ServerKind:
    """The kind of server that plays this fault: a TCP server, unless a part of the fault needs another kind."""
    if fault.is_of_lookup:
        return "DNS server"
    if isinstance(fault.answer, SocksRefusal):
        return "SOCKS proxy"
    if isinstance(fault.answer, WebSocketPlan):
        return "WebSocket server"
    if fault.needs_http2:
        return "HTTP/2 server"
    if fault.fate is not None:
        return "UDP server"
    return "TCP server"


@dataclass(frozen=True)
class Case:
    """A mode with fixed arguments, and the result for a plain client."""

    function: Callable[..., Fault]
    arguments: tuple[tuple[str, Any], ...]
    sees: Sees
    detail: str = ""

    @property
    def mode(self) -> str:
        """The name of the mode."""
        return self.function.__name__

    @property
    def fault(self) -> Fault:
        """The fault of this case."""
        return self.function(**dict(self.arguments))

    @property
    def kind(self) -> ServerKind:
        """The kind of server that plays the fault."""
        return kind_of(self.fault)

    @property
    def point(self) -> Place:
        """The point of the break; without a break, whether the fault is a condition or an answer."""
        fault = self.fault
        if fault.break_ is not None:
            return fault.break_.at
        if fault.is_of_lookup:
            return "lookup"
        if fault.is_of_tls:
            return "handshake"
        return "condition" if fault.conditions and fault.answer is None else "answer"

    def __str__(self) -> str:
        return repr(self.fault)


@dataclass(frozen=True)
class Parameter:
    """One parameter of a mode, as the command line and the documentation need it."""

    name: str
    annotation: Any
    default: Any
    text: str

    @property
    def is_required(self) -> bool:
        """Whether the parameter has no default."""
        return self.default is inspect.Parameter.empty


@dataclass(frozen=True)
class Mode:
    """One entry of the catalogue."""

    name: str
    function: Callable[..., Fault]
    cases: tuple[Case, ...]

    @property
    def summary(self) -> str:
        """The first line of the docstring."""
        return (inspect.getdoc(self.function) or "").partition("\n")[0]

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """The parameters in the order of the signature."""
        hints = hints_of(self.function)
        return tuple(
            Parameter(p.name, hints[p.name], p.default, text_of(hints[p.name]))
            for p in inspect.signature(self.function).parameters.values()
            if p.kind is not p.VAR_POSITIONAL
        )

    @property
    def takes_steps(self) -> bool:
        """Whether the mode takes steps, any number of them."""
        return any(p.kind is p.VAR_POSITIONAL for p in parameters_of(self.function))

    @property
    def kind(self) -> ServerKind:
        """The kind of server that plays the mode."""
        return self.cases[0].kind

    @property
    def group(self) -> Group:
        """The group under which it is listed: the point of its first case, or the server that it needs."""
        return self.cases[0].point if self.kind in ("TCP server", "DNS server") else self.kind


# The modes that are defined so far; importing `_catalogue` defines all of them.
ENTRIES: dict[str, Mode] = {}


def case(sees: Sees, detail: str = "", /, **arguments: Any) -> tuple[Sees, str, Mapping[str, Any]]:
    """A case for `@mode`: its arguments, and the result for a plain client, with its detail."""
    return sees, detail, arguments


def mode(
    *cases: tuple[Sees, str, Mapping[str, Any]],
) -> Callable[[Callable[P, Fault]], Callable[P, Fault]]:
    """Put a function into the catalogue under its own name.

    Its calls are checked by its signature, and its faults keep the text of the call.

    Raises:
        ParameterError: the catalogue has a mode of this name.
    """

    def enter(function: Callable[P, Fault]) -> Callable[P, Fault]:
        name = function.__name__
        if name in ENTRIES:
            raise ParameterError(
                f"mode {name!r} of {function.__module__}: expected a new name; "
                f"{ENTRIES[name].function.__module__} has one of this name."
            )

        def made(*args: P.args, **kwargs: P.kwargs) -> Fault:
            try:
                call = signature_of(function).bind(*args, **kwargs)
            except TypeError:
                raise misfit(function, args, kwargs, str(ENTRIES[name].cases[0])) from None
            hints = hints_of(function)
            for parameter_name in call.arguments:
                check_argument(function, parameter_name, call.arguments, hints[parameter_name])
            return replace(function(*args, **kwargs), said=(said(function, call.arguments),))

        usual = functools.cache(made)  # of the call without arguments

        @functools.wraps(function)
        def checked(*args: P.args, **kwargs: P.kwargs) -> Fault:
            if len(args) == 1 and is_of_a_user(args[0]):  # pytest calls it so if a marker has the function
                raise ParameterError(f"{name}({args[0]!r}): expected a call; in a marker write faults({name}()).")
            return made(*args, **kwargs) if args or kwargs else usual()

        describe(checked, function)
        rows = tuple(Case(checked, tuple(arguments.items()), sees, detail) for sees, detail, arguments in cases)
        MODE_NAMES.append(name)
        ENTRIES[name] = Mode(name, checked, rows)
        return checked

    return enter


def is_of_a_user(value: object) -> bool:
    """Whether a value is a function, and none of this package."""
    return callable(value) and str(getattr(value, "__module__", "")).partition(".")[0] != "faultline"


def describe(checked: Callable[..., Fault], function: Callable[..., Fault]) -> None:
    """Give a mode the docstring and the signature that `help()` shows: each parameter with its text and its type."""
    hints = hints_of(function)
    known = [p for p in parameters_of(function) if p.kind is not p.VAR_POSITIONAL]
    entries = [Parameter(p.name, hints[p.name], p.default, text_of(hints[p.name])) for p in known]
    if entries:
        texts = [f"    {p.name}: {p.text.replace('--', '')}." for p in entries]
        lines = [line for text in texts for line in textwrap.wrap(text, WIDTH, subsequent_indent=" " * 8)]
        prose = inspect.cleandoc(function.__doc__ or "")
        at = min((prose.index(f"\n\n{word}") for word in SECTIONS if f"\n\n{word}" in prose), default=len(prose))
        checked.__doc__ = "\n".join([prose[:at], "", "Args:", *lines]) + prose[at:]
    signature = signature_of(function)
    shown = [p.replace(annotation=without_texts(hints[p.name])) for p in signature.parameters.values()]
    checked.__signature__ = signature.replace(parameters=shown)  # type: ignore[attr-defined] # inspect reads it


def parameters_of(function: Callable[..., Fault]) -> list[inspect.Parameter]:
    """The parameters in the order of the signature."""
    return list(signature_of(function).parameters.values())


def without_texts(annotation: Any) -> Any:
    """A type without the texts in its `Annotated`s."""
    if get_origin(annotation) is Annotated:
        return without_texts(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        return Union[tuple(without_texts(member) for member in get_args(annotation))]  # noqa: UP007 - members are values
    return annotation


def check_argument(function: Callable[..., Fault], name: str, arguments: Mapping[str, object], annotation: Any) -> None:
    """Check one argument of a mode; the error has the call to write, or modes that strike at the point of `at`.

    Raises:
        ParameterError: the value is of another type, is not among the choices, or is out of bounds.
    """
    value = arguments[name]
    try:
        parameter(name, value, annotation)
    except ParameterError as error:
        at = meant(value, POINTS, CHOICES)[:1] if name == "at" and isinstance(value, str) else []
        elsewhere = at and at[0] not in get_args(plain(annotation)[0])
        entries = ENTRIES.values() if elsewhere else ()
        there = {f"{case.mode}()" for entry in entries for case in entry.cases[:1] if case.point in at}
        if not there:
            raise advised(error, function, arguments, name, annotation) from None
        raise ParameterError(f"{error} Modes that strike at {at[0]!r}: {', '.join(sorted(there))}.") from None


@functools.cache
def signature_of(function: Callable[..., Fault]) -> inspect.Signature:
    """The signature, read once."""
    return inspect.signature(function)


@functools.cache
def hints_of(function: Callable[..., Fault]) -> dict[str, Any]:
    """The annotations with their texts, read once."""
    return get_type_hints(function, include_extras=True)


def text_of(annotation: Any) -> str:
    """The text in an `Annotated`, if there is one."""
    if get_origin(annotation) is Annotated:
        return str(get_args(annotation)[1])
    return next((text for inner in get_args(annotation) if (text := text_of(inner))), "")


def said(function: Callable[..., Fault], arguments: Mapping[str, Any]) -> Said:
    """The call as users write it: only keyword-only parameters have a name, and defaults are left out."""
    plain, named = [], []
    for name, default, is_named in defaults_of(function):
        value = arguments.get(name, default)
        if name.startswith("*"):
            plain += [(name, each) for each in arguments.get(name[1:], ())]
        elif is_named:
            named += [(name, value)] if value != default else []
        elif value is not None:
            plain.append((name, value))
    return Said(function.__name__, (*plain, *named), len(plain))


@functools.cache
def defaults_of(function: Callable[..., Fault]) -> tuple[tuple[str, Any, bool], ...]:
    """Each parameter with its default, and whether it is keyword-only; read once, because `inspect` is slow.

    A name begins with a star if the parameter takes all arguments that are left.
    """
    known = parameters_of(function)
    return tuple((f"{'*' * (p.kind is p.VAR_POSITIONAL)}{p.name}", p.default, p.kind is p.KEYWORD_ONLY) for p in known)
