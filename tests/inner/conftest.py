"""Ways to run a test: again, and in a process of its own, which may die."""

import os
import sys
import warnings

import pytest
from _pytest.runner import runtestprotocol


@pytest.hookimpl(wrapper=True)
def pytest_runtestloop(session):
    forked = [item for item in session.items if item.get_closest_marker("forked")]
    session.items[:] = [item for item in session.items if item not in forked]
    result = yield
    for item in forked:
        print("", f"____ {item.name} ____", *in_fork(item), sep="\n")
    return result


def in_fork(item):
    """What a fork says that runs the test, and its exit code."""
    reading, writing = os.pipe()
    sys.stdout.flush()  # or else the fork says it too
    with warnings.catch_warnings():  # Python 3.12 and newer warn of a fork beside threads
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if not child:
        capture = item.config.pluginmanager.getplugin("capturemanager")
        capture.stop_global_capturing()
        os.dup2(writing, 1)
        os.dup2(writing, 2)
        capture.start_global_capturing()
        capture.suspend_global_capture()
        item.config.pluginmanager.register(Printer())
        item.ihook.pytest_runtest_protocol(item=item, nextitem=None)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, errors="replace") as pipe:
        told = pipe.read()
    return told, f"exit code: {os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])}"


class Printer:
    """Prints the reports of a fork."""

    def pytest_runtest_logreport(self, report):
        print(report.when, report.outcome, report.longreprtext, *report.sections, sep="\n", flush=True)


def pytest_runtest_protocol(item, nextitem):
    if item.get_closest_marker("twice"):
        runtestprotocol(item, nextitem=nextitem)
        runtestprotocol(item, nextitem=nextitem)
        return True
    return None
