"""What goes on between the audit, the process that forks, and the process of a client."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import socket
from pathlib import Path

import pytest
from audit import clients_with_bugs as clients
from support.tables import each_row

import faultline
from faultline import FaultlineError, UnsupportedError
from faultline._audit import forking, fronts, workers
from faultline._audit.calling import Caller, value_of
from faultline._audit.target import Target, named
from faultline._audit.workers import Heard

URL = "http://127.0.0.1:1"


def caller(function, *, is_factory=True):
    """A caller in this process."""
    return Caller(function, is_factory=is_factory, expected=(Exception,))


# --- factories -------------------------------------------------------------------------------------------------------


def test_a_factory_may_make_the_callable_itself():
    made = caller(lambda: lambda url: url)

    assert (made.call(URL).what, made.leave().is_empty) == (f"{len(URL)} characters", True)


def test_a_factory_is_called_once_for_all_calls():
    count = []
    made = caller(lambda: count.append(1) or (lambda url: url))
    made.call(URL)
    made.call(URL)

    assert count == [1]


def test_a_context_of_asyncio_is_entered_and_left_in_one_loop():
    loops = []

    @contextlib.asynccontextmanager
    async def made():
        loops.append(asyncio.get_running_loop())

        async def get(url):
            loops.append(asyncio.get_running_loop())
            return url

        yield get
        loops.append(asyncio.get_running_loop())

    client = caller(made)
    assert client.call(URL).outcome == "returned"
    assert client.leave().is_empty
    assert len(loops) == 3
    assert len(set(loops)) == 1
    assert loops[0].is_closed()


def test_tasks_that_are_left_are_counted_and_cancelled():
    async def client(_):
        asyncio.get_running_loop().create_task(asyncio.sleep(60))

    assert caller(client, is_factory=False).call(URL).left.tasks == 1


@pytest.mark.slow
@pytest.mark.measured
@each_row("is_factory", [False, True])
def test_each_call_of_an_asynchronous_client_may_leave_more(is_factory):
    kept = []

    async def client(_):
        with socket.create_server(("127.0.0.1", 0)) as server:
            kept.append(socket.create_connection(server.getsockname()))
            server.accept()[0].close()
        kept.append(socket.socket(socket.AF_UNIX))
        asyncio.get_running_loop()

    called = caller((lambda: client) if is_factory else client, is_factory=is_factory)
    left = [called.call(URL).left for _ in range(3)]
    assert [(each.sockets, each.close_wait) for each in left] == [(2, 1), (4, 2), (6, 3)]
    assert called.leave().sockets == 6
    while kept:
        kept.pop().close()


def test_a_task_that_ends_by_itself_is_not_left():
    async def parts():
        yield b"one"
        await asyncio.sleep(0)

    async def all_parts():
        async for part in parts():
            yield part

    async def client(_):
        async for part in all_parts():
            assert part
            break  # asyncio closes the generator in a task

    assert caller(client, is_factory=False).call(URL).left.tasks == 0


def test_what_a_generator_yields_is_read():
    async def client(_):
        yield "one "
        yield "two"

    call = caller(client, is_factory=False).call(URL)
    assert (call.outcome, call.what) == ("returned", "7 characters")


def test_an_error_on_leaving_is_not_the_end():
    @contextlib.contextmanager
    def made():
        yield str
        raise RuntimeError

    client = caller(made)
    client.call(URL)

    assert client.leave().is_empty


# --- values ----------------------------------------------------------------------------------------------------------


class Body:
    """A response with a body that is not text."""

    def __init__(self, content, *, is_async=False):
        self.content = None
        if is_async:
            self.read = self.read_async
        else:
            self.read = lambda: content

    async def read_async(self):
        """Never read: its client has."""

    def __repr__(self):
        return "<body>"


@each_row(
    "value, expected",
    [
        (Body(b"two"), "3 bytes"),
        ((part for part in (b"one", b"two")), "6 bytes"),
        ((part for part in (b"one", 2)), "[b'one', 2]"),
        ((part for part in ()), "[]"),
        (Body(object()), "<body>"),
        (Body(b"", is_async=True), "<body>"),
    ],
)
def test_what_can_be_read_is_read(value, expected):
    assert value_of(value).what == expected


# --- what goes wrong in the audit itself -----------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.measured
def test_an_error_of_the_audit_itself_is_told(monkeypatch):
    def fail(*_):
        raise RuntimeError("out of order")

    monkeypatch.setattr(forking, "work", fail)
    with pytest.raises(FaultlineError, match=r"in a process of its own; RuntimeError\('out of order'\)"):
        faultline.audit(clients.careful, modes=("ok",), tls=False)


@pytest.mark.slow
@pytest.mark.measured
def test_a_process_that_ends_in_a_call_has_crashed_whatever_its_status():
    def client(url):
        try:
            return clients.careful(url)
        except clients.GaveUpError:
            os._exit(0)

    audit = faultline.audit(client, modes=("refuse",), tls=False)

    assert [(case.verdict, case.reason) for case in audit.results] == [
        ("crashed", "the process ended in the call: exit status 0.")
    ]


@pytest.mark.slow
@pytest.mark.parametrize("way", ["leaves a thread", "ignores the ends of its children"])
def test_what_an_import_leaves_does_not_stop_the_audit(way, tmp_path, monkeypatch):
    text = {
        "leaves a thread": "import threading\nthreading.Thread(target=threading.Event().wait).start()\n",
        "ignores the ends of its children": "import signal\nsignal.signal(signal.SIGCHLD, signal.SIG_IGN)\n",
    }[way]
    (tmp_path / "leaves_something.py").write_text(f"{text}from audit.clients_with_bugs import careful\n")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{Path(__file__).parents[1]}")

    assert faultline.audit("leaves_something:careful", modes=("refuse",), tls=False).counts == {"handled": 1}


@pytest.mark.slow
def test_a_client_that_computes_is_told_so():
    def client(url):
        try:
            return clients.careful(url)
        except clients.GaveUpError:
            sum(1 for _ in itertools.count())

    (case,) = faultline.audit(client, modes=("refuse",), tls=False, timeout_seconds=1).results

    assert case.reason == "it hangs by itself: it was still computing after 1 s."


@pytest.mark.slow
@pytest.mark.measured
def test_the_end_of_the_process_that_forks_is_told(monkeypatch):
    def send(*_):
        raise BrokenPipeError

    monkeypatch.setattr(socket, "send_fds", send)
    with pytest.raises(FaultlineError, match=r": the process in which it is loaded has ended\.$"):
        faultline.audit(clients.careful, modes=("refuse",), tls=False)


@pytest.mark.slow
@pytest.mark.measured
def test_a_case_that_can_not_be_produced_is_not_run(monkeypatch):
    real = fronts.serve

    def serve(fault, **given):
        if fault == faultline.refuse():
            raise UnsupportedError("refuse() needs another machine.")
        return real(fault, **given)

    monkeypatch.setattr(fronts, "serve", serve)
    audit = faultline.audit(clients.careful, modes=("refuse",), tls=False)

    assert [(case.verdict, case.reason, case.runs) for case in audit.results] == [
        ("not run", "refuse() needs another machine.", ())
    ]
    assert "not run" in audit.to_html()


@pytest.mark.slow
@pytest.mark.measured
def test_an_import_that_takes_too_long_is_told(monkeypatch):
    monkeypatch.setattr(workers, "LOADS_SECONDS", 0.2)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))

    with pytest.raises(FaultlineError, match=r"expected its import to end within 0\.2 s\."):
        faultline.audit("audit.imports_for_ever:get", modes=("ok",), tls=False)


def test_the_end_of_a_process_without_a_word_is_an_exit_status():
    results, theirs = os.pipe()
    output, printed = os.pipe()
    heard = Heard(results, output)
    os.write(printed, b"words")
    os.close(printed)
    os.write(theirs, b'{"begin": 0}\n{"call"')
    os.close(theirs)
    told = []
    while "status" not in (told[-1] if told else {}):
        if (line := heard.next(1)) is not None:
            told.append(line)
    heard.close()
    os.close(results)
    os.close(output)

    assert told == [{"begin": 0}, {"status": 70}]
    assert heard.output_bytes in (0, 5)  # its output may come after its end


# --- names -----------------------------------------------------------------------------------------------------------


def test_a_name_leads_into_a_module():
    assert named("os:path.join", ":") is os.path.join
    assert named("builtins.ValueError", ".") is ValueError


@each_row(
    "name, expected",
    [
        ("no_such_module:x", "'no_such_module:x' can't be imported: ModuleNotFoundError"),
        ("os:nothing", "'os:nothing' can't be imported: AttributeError"),
    ],
)
def test_what_can_not_be_imported_is_told(name, expected):
    with pytest.raises(FaultlineError) as caught:
        named(name, ":")

    assert str(caught.value).startswith(expected)


def test_an_interrupt_while_a_target_is_imported_is_one(monkeypatch):
    def stop(_):
        raise KeyboardInterrupt

    monkeypatch.setattr("importlib.import_module", stop)
    with pytest.raises(KeyboardInterrupt):
        named("a:b", ":")


def test_what_is_loaded_can_be_called_and_names_exceptions():
    client = Target("os:getpid", expected=("builtins.ValueError", KeyError)).loaded()

    assert (client.function, client.expected) == (os.getpid, (ValueError, KeyError))
    with pytest.raises(FaultlineError, match="expected an exception class"):
        Target("os:getpid", expected=("builtins.len",)).loaded()
    with pytest.raises(FaultlineError, match="expected something to call"):
        Target("os:sep").loaded()
    assert Target(expected=(ValueError, "a.B")).named().expected == ("builtins.ValueError", "a.B")
