"""The errors: one base class, each also the builtin error that it is, all under the name users import."""

from __future__ import annotations

import pickle

from support.tables import each_row

import faultline
from faultline._core import errors

BUILTINS = {
    "CallError": TypeError,
    "ConflictError": ValueError,
    "FaultlineError": Exception,
    "FaultlineWarning": UserWarning,
    "LeakError": AssertionError,
    "NotStruckError": AssertionError,
    "OutsideError": RuntimeError,
    "ParameterError": ValueError,
    "PortError": OSError,
    "ServerError": RuntimeError,
    "SweepError": AssertionError,
    "UnknownModeError": ValueError,
    "UnsupportedError": NotImplementedError,
    "WaitError": TimeoutError,
}


def test_every_error_is_accounted_for():
    assert sorted(BUILTINS) == errors.__all__


@each_row("name", errors.__all__)
def test_error_is_caught_by_its_base_class_and_by_its_builtin(name):
    error = getattr(errors, name)

    assert issubclass(error, (errors.FaultlineError, Warning))
    assert issubclass(error, BUILTINS[name])


@each_row("name", ["CallError", "ConflictError", "UnknownModeError"])
def test_error_about_a_value_is_a_parameter_error(name):
    assert issubclass(getattr(errors, name), errors.ParameterError)


@each_row("name", errors.__all__)
def test_traceback_names_the_error_as_users_import_it(name):
    error = getattr(errors, name)

    assert (error.__module__, error.__qualname__) == ("faultline", name)
    assert getattr(faultline, name) is error


@each_row("name", errors.__all__)
def test_error_says_its_message_and_nothing_else(name):
    assert str(getattr(errors, name)("port=0: expected more.")) == "port=0: expected more."


@each_row("name", errors.__all__)
def test_error_can_travel_between_processes(name):
    error = getattr(errors, name)("port=0: expected more.")
    arrived = pickle.loads(pickle.dumps(error))

    assert (type(arrived), str(arrived)) == (type(error), str(error))


@each_row("name", errors.__all__)
def test_error_says_what_it_means_in_its_docstring(name):
    assert getattr(errors, name).__doc__.partition("\n")[0].endswith(".")
