"""`raises` and `root_cause` find an error behind every kind of link that clients use."""

import asyncio
import contextlib
import errno
import inspect
import socket
import ssl
import sys
import types
import warnings
from http.client import LineTooLong, RemoteDisconnected

import pytest
import websockets.exceptions
from support.tables import each_row

from faultline import ParameterError, raises, root_cause
from faultline._core import causes


class ClientError(Exception):
    """What a client raises; its attributes are given as keywords."""

    def __init__(self, *args, **attributes):
        super().__init__(*args)
        vars(self).update(attributes)


class ClientOSError(OSError):
    """A client's own name for an error of the operating system."""


def caused_by(cause):
    wrapper = ClientError("caused")
    wrapper.__cause__ = cause
    return wrapper


def in_the_context_of(context):
    wrapper = ClientError("in context")
    wrapper.__context__ = context
    return wrapper


def raised_from_none(context):
    wrapper = in_the_context_of(context)
    wrapper.__suppress_context__ = True
    return wrapper


LINKS = {
    "__cause__": caused_by,
    "__context__": in_the_context_of,
    "hidden __context__": raised_from_none,
    "args": lambda error: ClientError("aborted", error),
    "reason": lambda error: ClientError(reason=error),
    "os_error": lambda error: ClientError(os_error=error),
    "exceptions": lambda error: ClientError(exceptions=(ValueError("another"), error)),
    "a list": lambda error: ClientError(exceptions=[error]),
}
needs_groups = pytest.mark.skipif(sys.version_info < (3, 11), reason="exception groups came with Python 3.11")


@pytest.fixture
def rst():
    """A new one for each test: raising an exception changes it."""
    return ConnectionResetError(104, "Connection reset by peer")


@pytest.fixture(params=LINKS.values(), ids=LINKS.keys())
def wrap(request):
    return request.param


def test_root_cause_of_a_plain_error_is_that_error(rst):
    assert root_cause(rst) is rst


def test_root_cause_is_found_behind_each_link(wrap, rst):
    assert root_cause(wrap(rst)) is rst


def test_root_cause_is_found_behind_two_links(wrap, rst):
    assert root_cause(wrap(wrap(rst))) is rst


def test_raises_finds_an_error_behind_each_link(wrap, rst):
    outer = wrap(rst)

    with raises(ConnectionResetError) as raised:
        raise outer

    assert raised.value is outer
    assert raised.cause is rst


def test_raises_finds_what_was_raised_itself(rst):
    with raises(ConnectionResetError) as raised:
        raise rst

    assert raised.value is rst
    assert raised.cause is rst


def test_raises_finds_a_subclass(rst):
    with raises(OSError) as raised:
        raise ClientError(reason=rst)

    assert raised.cause is rst


def test_raises_takes_the_outermost_that_matches(rst):
    outer = ClientError(reason=ClientError(reason=rst))

    with raises(ClientError) as raised:
        raise outer

    assert raised.cause is outer


def test_raises_takes_a_tuple_of_types(rst):
    with raises((ConnectionRefusedError, ConnectionResetError)) as raised:
        raise ClientError(reason=rst)

    assert raised.cause is rst


@needs_groups
def test_error_is_found_in_a_nested_exception_group(rst):
    inner = ExceptionGroup("inner", [ValueError("another"), ClientError(reason=rst)])  # noqa: F821 - Python 3.11
    outer = ExceptionGroup("outer", [KeyError("a third"), inner])  # noqa: F821

    with raises(ConnectionResetError) as raised:
        raise outer

    assert raised.value is outer
    assert raised.cause is rst
    assert root_cause(outer) is rst


@needs_groups
def test_root_cause_of_a_group_without_system_errors_is_its_first_member():
    first = ValueError("first")
    group = ExceptionGroup("group", [first, KeyError("second")])  # noqa: F821

    assert root_cause(group) is first


def test_links_come_in_order_and_context_last():
    cause, reason, os_error, argument, context = (ValueError(str(i)) for i in range(5))
    error = ClientError("text", argument, 3, reason=reason, os_error=os_error)
    error.__cause__, error.__context__ = cause, context

    assert list(causes.links(error)) == [cause, reason, os_error, argument, context]


def test_links_that_are_no_exceptions_are_passed_over():
    error = ClientError("text", 3, None, reason="certificate has expired", os_error=None, exceptions=["text"])

    assert list(causes.links(error)) == []


def test_class_is_no_link():
    assert list(causes.links(ClientError(ValueError, reason=KeyError))) == []


@each_row("count", [2, 3])
def test_circle_is_walked_once(count):
    circle = [ClientError(number) for number in range(count)]
    for error, following in zip(circle, [*circle[1:], circle[0]], strict=True):
        error.reason = following

    assert list(causes.chain(circle[0])) == circle
    assert root_cause(circle[0]) is circle[-1]


def test_error_that_points_to_itself_is_its_own_root():
    error = ClientError("alone")
    error.reason = error

    assert list(causes.chain(error)) == [error]
    assert root_cause(error) is error


def test_chain_goes_depth_first_and_names_each_once():
    shared = ValueError("shared")
    left, right = ClientError("left", reason=shared), ClientError("right", reason=shared)
    top = ClientError(left, right)

    assert list(causes.chain(top)) == [top, left, shared, right]


@pytest.mark.slow
def test_long_chain_is_no_recursion(rst):
    error, before = rst, sys.getrecursionlimit()
    for _ in range(300):
        error = ClientError(reason=error)
    sys.setrecursionlimit(len(inspect.stack(0)) + 200)
    try:
        with raises(ConnectionResetError) as raised:
            raise error
    finally:
        sys.setrecursionlimit(before)

    assert raised.cause is rst


def test_root_cause_is_the_system_error_even_where_a_client_put_more_below_it(rst):
    rst.__context__ = IndexError("pop from an empty deque")

    assert root_cause(ClientError(reason=rst)) is rst


def test_root_cause_is_the_innermost_of_two_system_errors(rst):
    aborted = ConnectionAbortedError("SSL handshake is taking longer than expected")
    aborted.__cause__ = rst

    assert root_cause(ClientError(reason=aborted)) is rst


def test_root_cause_looks_beside_the_first_path(rst):
    assert root_cause(ClientError(ValueError("first"), rst)) is rst


def test_root_cause_prefers_the_first_path(rst):
    timeout = TimeoutError("timed out")

    assert root_cause(ClientError(ClientError(reason=timeout), rst)) is timeout


def test_root_cause_without_a_system_error_is_the_innermost():
    inner = ValueError("innermost")

    assert root_cause(ClientError(reason=ClientError(reason=inner))) is inner


def test_root_cause_is_below_a_client_error_that_derives_from_os_error(rst):
    wrapper = ClientOSError(104, "reset")
    wrapper.__cause__ = rst

    assert root_cause(ClientError(reason=wrapper)) is rst


def test_client_error_that_derives_from_os_error_can_be_the_innermost():
    inner = ClientOSError(104, "reset")

    assert root_cause(ClientError(reason=inner)) is inner


@each_row(
    "error",
    [
        ConnectionRefusedError(111, "refused"),
        OSError(101, "unreachable"),
        TimeoutError("timed out"),
        socket.gaierror(-2, "Name or service not known"),
        ssl.SSLCertVerificationError(1, "expired"),
        ssl.SSLEOFError(8, "EOF"),
    ],
)
def test_system_and_tls_errors_are_roots_whatever_lies_below(error):
    error.__context__ = ValueError("below")

    assert root_cause(ClientError(reason=error)) is error


def test_cancellation_is_no_root_of_a_timeout():
    timeout = ClientError("client timeout")
    timeout.__cause__ = asyncio.CancelledError()

    assert root_cause(timeout) is timeout


def test_cancellation_is_a_root_where_there_is_nothing_else():
    cancelled = asyncio.CancelledError()

    assert root_cause(cancelled) is cancelled


def test_root_cause_tells_equal_errors_apart():
    class EqualError(ClientError):
        def __eq__(self, other):
            return isinstance(other, EqualError)

        __hash__ = None

    inner = EqualError("inner")
    outer = EqualError("outer", reason=inner)

    assert root_cause(outer) is inner


def test_message_says_that_nothing_was_raised():
    with (
        pytest.raises(AssertionError, match=r"^expected ConnectionResetError; nothing was raised\.$"),
        raises(ConnectionResetError),
    ):
        pass


def test_message_names_each_expected_type():
    with (
        pytest.raises(AssertionError, match=r"^expected KeyError or TimeoutError; nothing was raised\.$"),
        raises((KeyError, TimeoutError)),
    ):
        pass


def test_message_says_what_was_raised_instead_and_keeps_it_as_cause(rst):
    other = ClientError("fetch failed", rst)

    with pytest.raises(AssertionError) as caught, raises(ConnectionRefusedError):
        raise other

    assert str(caught.value) == (
        "expected ConnectionRefusedError somewhere in what was raised; it was "
        f"{ClientError.__module__}.ClientError: {other} <- ConnectionResetError: {rst}."
    )
    assert caught.value.__cause__ is other


@each_row("kind", [KeyboardInterrupt, SystemExit, GeneratorExit, asyncio.CancelledError])
def test_what_is_no_exception_passes_through(kind):
    with pytest.raises(kind), raises(ConnectionResetError):
        raise kind


def test_failure_of_the_test_itself_passes_through():
    with pytest.raises(pytest.fail.Exception, match="given up"), raises(ConnectionResetError):
        pytest.fail("given up")


def test_what_is_no_exception_can_be_expected():
    with raises(KeyboardInterrupt) as raised:
        raise KeyboardInterrupt

    assert type(raised.value) is KeyboardInterrupt


@each_row(
    "bad",
    [ConnectionResetError(), "ConnectionResetError", int, None, (), (OSError, int), [OSError]],
)
def test_what_is_no_exception_class_is_rejected(bad):
    with pytest.raises(ParameterError) as caught:
        raises(bad)

    assert str(caught.value).startswith(f"expected={bad!r}: expected an exception class, or a tuple of them")


class AsyncioTimeoutError(Exception):
    """Stands for asyncio.TimeoutError of Python 3.10, which isn't the builtin one."""


@pytest.fixture
def python_3_10(monkeypatch):
    modules = {"asyncio.exceptions": types.SimpleNamespace(TimeoutError=AsyncioTimeoutError)}
    monkeypatch.setattr(causes, "sys", types.SimpleNamespace(version_info=(3, 10, 13), modules=modules))
    return modules


@pytest.mark.parametrize("expected", [TimeoutError, (OSError, TimeoutError)], ids=repr)
def test_timeout_error_means_asyncios_too_on_python_3_10(python_3_10, expected):
    with raises(expected) as raised:
        raise ClientError(reason=AsyncioTimeoutError())

    assert type(raised.cause) is AsyncioTimeoutError


def test_other_types_do_not_mean_asyncios_timeout_on_python_3_10(python_3_10):
    with pytest.raises(AssertionError), raises(ConnectionError):
        raise AsyncioTimeoutError


def test_asyncio_need_not_be_loaded_on_python_3_10(python_3_10):
    python_3_10.clear()

    with raises(TimeoutError) as raised:
        raise ClientError(reason=TimeoutError("timed out"))

    assert type(raised.cause) is TimeoutError


def test_timeout_of_asyncio_is_found_on_every_python():
    async def wait_in_vain():
        await asyncio.wait_for(asyncio.Event().wait(), 0.01)

    with raises(TimeoutError) as raised:
        asyncio.run(wait_in_vain())

    assert type(raised.cause) is asyncio.TimeoutError


# --- attributes that misbehave ---------------------------------------------------------------------------------------

HOLDERS = ["__cause__", "__context__", "exceptions", "reason", "os_error", "errors", "exception", "value", "args"]


class BadList(list):
    """A list that can't be read."""

    def __iter__(self):
        raise RuntimeError("no list")


class Liar:
    """Something that says it is an exception."""

    __class__ = ValueError


def raising(kind):
    def read(_):
        raise kind("not now")

    return read


def warning(kind):
    def read(_):
        warnings.warn("not any more", kind, stacklevel=2)
        return ConnectionResetError(104, "behind a warning")

    return read


MISBEHAVING = {
    "raises an error": raising(ValueError),
    "raises an assertion": raising(AssertionError),
    "raises an attribute error": raising(AttributeError),
    "raises a warning": raising(DeprecationWarning),
    "exits": raising(SystemExit),
    "calls itself": lambda error: error.calls_itself(),
    "is deprecated": warning(DeprecationWarning),
    "warns": warning(UserWarning),
    "is a list that can't be read": lambda _: BadList([ValueError()]),
    "says it is an exception": lambda _: Liar(),
    "lists one that says it is an exception": lambda _: [Liar()],
    "is a class": lambda _: ValueError,
}


def misbehaving(holder, read):
    """A client's exception with such a property."""

    def calls_itself(self):
        return getattr(self, holder)

    return type("Odd", (ClientError,), {holder: property(read), "calls_itself": calls_itself})


FILTERS = ["error", "default"]


@contextlib.contextmanager
def filtered(action):
    """With this filter, no warning comes out."""
    with warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter(action)
        yield
    assert shown == []


@pytest.mark.slow
@each_row("read", MISBEHAVING.values())
@each_row("action", FILTERS)
def test_a_property_that_misbehaves_is_no_link(action, read):
    for holder in HOLDERS:
        rst = ConnectionResetError(104, "Connection reset by peer")
        odd = misbehaving(holder, read)(holder)
        wrapper = ClientError(reason=odd)
        link = BaseException.__cause__ if holder == "__context__" else BaseException.__context__
        link.__set__(odd, rst)  # where it is found all the same
        with filtered(action):
            with raises(ConnectionResetError) as caught:
                raise wrapper
            assert (holder, root_cause(wrapper), caught.cause) == (holder, rst, rst)


@pytest.mark.slow
@each_row("read", MISBEHAVING.values())
@each_row("action", FILTERS)
def test_a_property_that_misbehaves_does_not_hide_what_was_raised(action, read):
    for holder in HOLDERS:
        odd = misbehaving(holder, read)(holder)
        expected = r"^expected TimeoutError somewhere .*; it was .*Odd: "
        with filtered(action):
            assert (holder, type(root_cause(odd))) == (holder, type(odd))
            with pytest.raises(AssertionError, match=expected), raises(TimeoutError):
                raise odd


@each_row("kind", [KeyboardInterrupt, asyncio.CancelledError, pytest.fail.Exception])
def test_an_interrupt_is_not_taken_for_a_property_that_misbehaves(kind):
    for holder in HOLDERS:
        with pytest.raises(kind):
            root_cause(misbehaving(holder, raising(kind))(holder))


def test_a_property_that_behaves_is_a_link(rst):
    held = {holder: [rst] if holder in ("exceptions", "args") else rst for holder in HOLDERS}
    odd = {holder: misbehaving(holder, lambda error: held[str(error)])(holder) for holder in HOLDERS}

    assert [holder for holder in HOLDERS if root_cause(odd[holder]) is not rst] == []


def test_an_attribute_that_is_made_when_it_is_read_is_a_link_unless_that_fails(rst):
    class LazyError(ClientError):
        def __getattr__(self, name):
            if name == "reason":
                return rst
            raise RuntimeError(name)

    assert root_cause(LazyError()) is rst


@each_row("read", [raising(ValueError), raising(SystemExit), warning(UserWarning), lambda _: 5])
def test_an_exception_without_a_readable_text_is_named(read):
    odd = type("Odd", (ClientError,), {"__str__": read})("odd")

    for action in FILTERS:
        expected = r"it was .*Odd: \(no text\)\.$"
        with filtered(action), pytest.raises(AssertionError, match=expected), raises(TimeoutError):
            raise odd


@pytest.mark.parametrize("holder", HOLDERS)
def test_a_property_that_makes_a_new_exception_each_time_is_not_followed_for_ever(holder, monkeypatch):
    monkeypatch.setattr(causes, "MOST", 50)
    odd = misbehaving(holder, lambda error: [type(error)()] if holder == "args" else type(error)())("odd")

    assert type(root_cause(odd)) is type(odd)
    assert len(list(causes.chain(odd))) == 50


def test_a_message_about_a_long_chain_is_short(monkeypatch):
    monkeypatch.setattr(causes, "MOST", 50)
    odd = misbehaving("reason", lambda error: type(error)())("odd")

    with pytest.raises(AssertionError) as caught, raises(TimeoutError):
        raise odd
    assert str(caught.value).count("Odd") == 20
    assert str(caught.value).endswith(" <- ….")


def test_an_end_of_a_websocket_is_looked_through_where_warnings_are_errors():
    closed = websockets.exceptions.ConnectionClosedError(None, None)
    closed.__cause__ = ConnectionResetError(104, "reset")

    with raises(ConnectionResetError):
        raise closed
    assert root_cause(closed) is closed.__cause__


# --- where clients keep the cause ------------------------------------------------------------------------------------

CAUSE = ConnectionResetError(104, "Connection reset by peer")


class HeldError(Exception):
    """An exception of a client that keeps its cause in an attribute."""

    def __init__(self, **held):
        super().__init__("failed")
        vars(self).update(held)


@each_row(
    "error",
    [
        HeldError(errors={("127.0.0.1", 22): CAUSE}),
        HeldError(errors=[CAUSE]),
        HeldError(errors={"a": [("b", CAUSE)]}),
        HeldError(exception=CAUSE),
        HeldError(exceptions=(HeldError(exception=CAUSE),)),
        HeldError(reasons=[HeldError(value=CAUSE)]),
        HeldError(reasons={CAUSE}),
        HeldError(orig=CAUSE),
    ],
)
def test_cause_is_found_where_clients_keep_it(error):
    with raises(ConnectionResetError, errno=errno.ECONNRESET) as raised:
        raise error

    assert raised.cause is root_cause(error) is CAUSE


def test_collection_that_holds_itself_is_left():
    held = []
    held.append(held)

    assert root_cause(error := HeldError(errors=held)) is error


def test_error_number_tells_errors_of_one_class_apart():
    with (
        pytest.raises(AssertionError, match=r"expected OSError with errno 104 \(Connection reset by peer\) somewhere"),
        raises(OSError, errno=104),
    ):
        raise OSError(111, "refused")
    with raises(OSError, errno=104) as raised:
        raise SeveralError([OSError(111, "refused"), OSError(104, "reset")])

    assert raised.cause.errno == 104


class SeveralError(Exception):
    """An exception with several causes."""

    def __init__(self, exceptions):
        super().__init__("several")
        self.exceptions = exceptions


def test_errors_that_asyncio_has_merged_into_a_text_are_explained():
    with (
        pytest.raises(AssertionError, match=r"kept only the texts of their errors: expect OSError, connect to one"),
        raises(ConnectionRefusedError),
    ):
        raise OSError("Multiple exceptions: [Errno 111] Connect call failed, [Errno 111] Connect call failed")

    with raises(OSError):
        raise OSError("Multiple exceptions: [Errno 111] Connect call failed, [Errno 111] Connect call failed")


@each_row("number", ["104", 1.5, True, -1])
def test_error_number_is_a_whole_number(number):
    with pytest.raises(ParameterError, match=r"^errno=.*: expected a whole number, 0 or more"):
        raises(OSError, errno=number)


@pytest.mark.parametrize("low", [RemoteDisconnected("closed without response"), LineTooLong("header line")], ids=repr)
@pytest.mark.parametrize("hides", [True, False])
def test_a_type_error_that_a_client_hides_as_it_tries_again_is_no_cause(hides, low):
    wrapper = caused_by(low)
    wrapper.__cause__.__context__ = TypeError("unexpected keyword argument 'buffering'")
    wrapper.__cause__.__suppress_context__ = hides

    assert type(root_cause(wrapper)) is (type(low) if hides else TypeError)
