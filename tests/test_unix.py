"""Servers on Unix sockets: the same faults, what the kernel makes of them there, and what is left behind."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import http.client
import itertools
import os
import socket
import stat
import struct
import tempfile
import threading
import traceback
from pathlib import Path

import aiohttp
import httpx
import pytest
from aiohttp.client_exceptions import UnixClientConnectorError
from support import KEPT_GET, SILENCE_SECONDS, accepted, address_of, in_thread, read
from support.tables import each_row

from faultline import (
    ParameterError,
    PortError,
    UnixServer,
    blackhole,
    close,
    cycle,
    duplicated,
    echo,
    loss,
    nxdomain,
    ok,
    partition,
    raises,
    raw,
    refuse,
    relay,
    reset,
    root_cause,
    sequence,
    serve,
    stall,
    unreachable,
)
from faultline._core.steps import Refuse
from faultline._net import sockets, system
from faultline._servers.listener import UnixListener
from faultline._servers.loop import background

pytestmark = [pytest.mark.timeout(60), pytest.mark.leaves_open]
GONE = ConnectionResetError, errno.ECONNRESET


def heard(client):
    """All that comes, and the error in which it ends, if it does."""
    said = b""
    try:
        while data := client.recv(65_536):
            said += data
    except OSError as error:
        return said, type(error), error.errno
    return (said,)


def refused(server):
    """With which number a connect fails."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(10)
        number = client.connect_ex(server.path)
    assert number
    return number


def ends(server):
    """What the ledger says of each attempt."""
    return [(a.struck and a.struck.point, a.sent_bytes, a.ended_by, a.ended_how) for a in server.attempts]


def names_in(folder):
    """What is in a folder."""
    return [each.name for each in Path(folder).iterdir()]


# --- what faults are here --------------------------------------------------------------------------------------------


@each_row(
    ("fault", "said", "end"),
    [
        (reset(), 0, GONE),
        (reset(after_bytes=20), 20, GONE),
        (reset(at="request"), 0, GONE),
        (reset(at="request", after_bytes=3), 0, GONE),
        (reset(at="request", on=b"Host"), 0, GONE),
        (ok(b"x" * 3000) & reset(after_bytes=3000), 3000, GONE),
        (close(), 0, ()),
        (close(after_bytes=20), 20, ()),
        (close(at="request", after_bytes=3), 0, ()),
        (raw(b"no HTTP at all"), 14, ()),
    ],
)
def test_a_connection_ends_as_planned_after_what_was_said(dial, fault, said, end):
    with serve(fault, unix=True) as server:
        told, *error = heard(dial(server, KEPT_GET))

        assert (len(told), tuple(error)) == (said, end)
        how = "RST" if end else "FIN"
        assert ends(server) == [(fault.break_.at if fault.break_ else "response", said, "server", how)]


@each_row("fault", [reset(at="accept"), close(at="accept")])
def test_who_has_said_nothing_when_it_is_reset_at_accept_sees_the_end_and_then_a_broken_pipe(dial, fault):
    with serve(fault, unix=True) as server:
        client = dial(server)
        server.wait_for_attempts(1, at="end")
        assert client.recv(10) == b""
        if fault == reset(at="accept"):
            with pytest.raises(BrokenPipeError):
                client.sendall(KEPT_GET)

        assert ends(server)[0][0] == "accept"


def test_who_has_said_something_before_it_is_accepted_is_reset_at_accept():
    with serve(reset(at="accept"), unix=True) as server, socket.socket(socket.AF_UNIX) as client:
        client.settimeout(10)
        background().call(lambda: (client.connect(server.path), client.sendall(KEPT_GET)))  # before it can accept
        assert heard(client) == (b"", *GONE)


def test_a_request_is_unread_at_idle_so_that_a_reset_is_one(dial):
    with serve(ok(b"hello") & reset(at="idle"), unix=True) as server:
        told, *error = heard(dial(server, KEPT_GET))

        assert told.endswith(b"hello")
        assert tuple(error) == GONE
        assert ends(server) == [("idle", len(told), "server", "RST")]


def test_nothing_is_unread_after_some_time_at_idle_so_that_a_reset_is_the_end(dial):
    with serve(ok(b"hello") & reset(at="idle", after_seconds=0.05), unix=True) as server:
        (told,) = heard(dial(server, KEPT_GET))

        assert told.endswith(b"hello")
        assert ends(server) == [("idle", len(told), "server", "RST")]


def test_a_kept_connection_that_is_closed_at_idle_is_at_its_end(dial):
    with serve(ok(b"hello") & close(at="idle"), unix=True) as server:
        (told,) = heard(dial(server, KEPT_GET))

        assert told.endswith(b"hello")
        assert ends(server) == [("idle", len(told), "server", "FIN")]


def test_a_client_whose_request_nobody_reads_can_t_go_on_sending(dial):
    with serve(stall(at="request"), unix=True) as server:
        client = dial(server)
        client.settimeout(0.05)
        with pytest.raises(TimeoutError):
            client.sendall(bytes(8 << 20))

        assert server.attempts[0].struck.point == "request"


# --- the door --------------------------------------------------------------------------------------------------------


@each_row(
    ("fault", "number", "how"),
    [
        (refuse(), errno.ECONNREFUSED, "RST"),
        (unreachable(), errno.ENOENT, "no route"),
        (blackhole(), errno.EAGAIN, "silence"),
    ],
)
def test_a_closed_door_has_the_kernel_s_own_error_and_every_knock_is_counted(fault, number, how):
    with serve(fault, unix=True) as server:
        assert Path(server.path).exists() is (number != errno.ENOENT)
        assert [refused(server) for _ in range(3)] == [number] * 3

        assert ends(server) == [("connect", 0, "server", how)] * 3
        assert {a.connection for a in server.attempts} == {None}


def test_a_file_that_refuses_is_a_socket_that_nobody_listens_on():
    with serve(refuse(), unix=True, strict=False) as server:
        assert Path(server.path).is_socket()
        assert names_in(Path(server.path).parent) == ["socket"]
        with pytest.raises(OSError, match="in use"), socket.socket(socket.AF_UNIX) as other:
            other.bind(server.path)


def test_a_connect_that_blocks_waits_at_a_black_hole_and_one_that_doesn_t_is_told_to_try_again():
    came = []

    def knock(path):
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(path)
            client.settimeout(10)
            client.sendall(KEPT_GET)
            came.append(client.recv(15))

    with serve(blackhole(), unix=True) as server:
        waiting = threading.Thread(target=knock, args=(server.path,), daemon=True)
        waiting.start()
        server.wait_for_attempts(1, at="connect")
        waiting.join(SILENCE_SECONDS)
        assert waiting.is_alive()
        with socket.socket(socket.AF_UNIX) as client:
            client.setblocking(False)
            assert client.connect_ex(server.path) == errno.EAGAIN
        server.become(ok())
        waiting.join(10)

        assert came == [b"HTTP/1.1 200 OK"]
        assert [(a.fault, a.ended_how) for a in server.attempts[:2]] == [(blackhole(), "silence")] * 2
        assert server.attempts[2].fault == ok()


def test_a_connect_that_may_take_so_long_is_told_to_try_again_after_that():
    with serve(blackhole(), unix=True) as server, socket.socket(socket.AF_UNIX) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", 0, 50_000))
        with pytest.raises(BlockingIOError):
            client.connect(server.path)

        assert ends(server) == [("connect", 0, "server", "silence")]


def test_who_waits_at_a_black_hole_that_is_closed_is_refused():
    came = []

    def knock(path):
        with socket.socket(socket.AF_UNIX) as client:
            came.append(client.connect_ex(path))

    with serve(blackhole(), unix=True) as server:
        waiting = threading.Thread(target=knock, args=(server.path,), daemon=True)
        waiting.start()
        server.wait_for_attempts(1, at="connect")
        waiting.join(SILENCE_SECONDS)
        assert waiting.is_alive()
    waiting.join(10)
    assert came in ([errno.ECONNREFUSED], [errno.ENOENT])


def test_a_plan_of_all_doors_is_met_in_order():
    plan = cycle(ok(b"hello"), refuse(), blackhole(), reset())
    with serve(plan, unix=True) as server:
        for _ in range(2):
            assert by_http_client(server) == b"hello"
            assert refused(server) == errno.ECONNREFUSED
            assert refused(server) == errno.EAGAIN
            with pytest.raises(ConnectionResetError):
                by_http_client(server)

        assert [a.fault for a in server.attempts] == [ok(b"hello"), refuse(), blackhole(), reset()] * 2


def test_a_knock_at_another_spelling_of_the_path_is_counted_too(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with serve(sequence(refuse(), refuse(), refuse(), ok()), unix="socket") as server:
        for path in ("socket", "./socket", os.fsencode(server.path)):
            with socket.socket(socket.AF_UNIX) as client:
                assert client.connect_ex(path) == errno.ECONNREFUSED

        assert [a.fault for a in server.attempts] == [refuse()] * 3


def test_a_knock_at_another_path_is_none(tmp_path):
    with serve(sequence(refuse(), ok()), unix=True, strict=False) as server, socket.socket(socket.AF_UNIX) as client:
        assert client.connect_ex(str(tmp_path / "other")) == errno.ENOENT
        assert client.connect_ex("\0abstract") == errno.ECONNREFUSED

        assert server.attempts == ()


DOORS = {
    "open": (ok(b"hello"), None),
    "refuse": (refuse(), errno.ECONNREFUSED),
    "blackhole": (blackhole(), errno.EAGAIN),
    "unreachable": (unreachable(), errno.ENOENT),
}


def test_a_door_becomes_any_other():
    with serve(ok(b"hello"), unix=True, strict=False) as server:
        names = [name for pair in itertools.product(DOORS, DOORS) for name in pair]
        for name in names:
            fault, number = DOORS[name]
            server.become(fault)
            if number is None:
                assert by_http_client(server) == b"hello"
            else:
                assert refused(server) == number

        assert [a.fault for a in server.attempts] == [DOORS[name][0] for name in names]


@pytest.mark.slow
def test_there_is_no_moment_without_a_file_while_the_door_changes():
    with serve(ok(), unix=True, strict=False) as server:
        looked, over = [], threading.Event()

        def look():
            while not over.is_set():
                looked.append(os.path.exists(server.path))  # noqa: PTH110 - it is stat(2), with little around it

        with in_thread(look):
            for fault in (refuse(), ok(), blackhole()) * 60:
                server.become(fault)
            over.set()

        assert len(looked) > 10
        assert all(looked)
        assert names_in(Path(server.path).parent) == ["socket"]


def test_a_black_hole_lets_nobody_in_from_its_first_moment(monkeypatch):
    """The first moment is right behind the rename."""
    with serve(refuse(), unix=True, strict=False) as server:
        met, replace = [], os.replace

        def replace_and_knock(*paths):
            replace(*paths)
            with socket.socket(socket.AF_UNIX) as client:
                client.setblocking(False)
                met.append(client.connect_ex(server.path))

        monkeypatch.setattr(os, "replace", replace_and_knock)
        server.become(blackhole())

        assert met == [errno.EAGAIN]


def test_an_open_connection_outlives_its_door(dial):
    with serve(ok(b"hello"), unix=True, strict=False) as server:
        client = dial(server, KEPT_GET)
        assert client.recv(12) == b"HTTP/1.1 200"
        server.become(stall())
        server.become(ok(b"hello"))
        client.sendall(KEPT_GET)
        said = b""
        while said.count(b"hello") < 2:
            said += client.recv(1000)


# --- controls --------------------------------------------------------------------------------------------------------


@each_row(
    ("control", "data", "end"),
    [
        ("reset_all", KEPT_GET, (b"", *GONE)),
        ("reset_all", b"", (b"",)),
        ("close_all", b"GET", (b"",)),
        ("close_all", KEPT_GET, (b"",)),
        ("close_all", b"", (b"",)),
    ],
)
def test_all_open_connections_end_at_once_and_a_reset_is_one_only_with_something_unread(dial, control, data, end):
    with serve(stall(), unix=True, strict=False) as server:
        clients = [dial(server, data) for _ in range(3)]
        server.wait_for_attempts(3, at="response" if data == KEPT_GET else "accept")
        assert getattr(server, control)() == 3
        assert [heard(client) for client in clients] == [end] * 3
        assert getattr(server, control)() == 0

        assert {(a.ended_by, a.ended_how) for a in server.attempts} == {
            ("server", "RST" if control == "reset_all" else "FIN")
        }


# --- clients ---------------------------------------------------------------------------------------------------------


class UnixConnection(http.client.HTTPConnection):
    """http.client over a Unix socket, as everybody writes it."""

    def __init__(self, path):
        super().__init__("localhost", timeout=10)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        try:
            self.sock.connect(self.path)
        except OSError:
            self.sock.close()
            raise


def by_http_client(server):
    with contextlib.closing(UnixConnection(server.path)) as client:
        client.request("GET", "/")
        with client.getresponse() as response:
            return response.read()


def by_httpx(server):
    try:
        with httpx.Client(transport=httpx.HTTPTransport(uds=server.path, verify=False), timeout=10) as client:
            return client.get("http://localhost/").content
    except httpx.ConnectError as error:
        close_sockets_of(error)
        raise


def close_sockets_of(error):
    """Close what httpcore leaves open if a connect to a path fails."""
    while error is not None:
        for frame, _ in traceback.walk_tb(error.__traceback__):
            if isinstance(sock := frame.f_locals.get("sock"), socket.socket):
                sock.close()
        error = error.__cause__ or error.__context__


def by_aiohttp(server):
    async def ask():
        connector = aiohttp.UnixConnector(server.path)
        timeout = aiohttp.ClientTimeout(10)
        async with (
            aiohttp.ClientSession(connector=connector, timeout=timeout) as session,
            session.get("http://localhost/") as response,
        ):
            return await response.read()

    return asyncio.run(ask())


# The client's own class for what the kernel says: at a reset, at a refusal, and where there is no file.
CLIENTS = {
    by_http_client: (ConnectionResetError, ConnectionRefusedError, FileNotFoundError),
    by_httpx: (httpx.ReadError, httpx.ConnectError, httpx.ConnectError),
    by_aiohttp: (aiohttp.ClientOSError, UnixClientConnectorError, UnixClientConnectorError),
}


@each_row("by", CLIENTS)
def test_a_client_calls_it_by_its_own_name_and_the_cause_is_the_kernel_s(by):
    with serve(ok(b"hello"), unix=True) as server:
        assert by(server) == b"hello"
        for fault, which, cause in (
            (reset(), 0, ConnectionResetError),
            (refuse(), 1, ConnectionRefusedError),
            (unreachable(), 2, FileNotFoundError),
        ):
            server.become(fault)
            with raises(cause) as caught:
                by(server)

            assert type(caught.value) is CLIENTS[by][which]
            assert type(root_cause(caught.value)) is cause
            assert server.attempts[-1].struck.point == ("connect" if which else "response")


@pytest.mark.slow
@pytest.mark.everywhere
def test_a_unix_server_is_the_upstream_of_a_relay():
    with serve(ok(b"hello"), unix=True) as real, relay(real) as server:
        with httpx.Client(timeout=10, verify=False) as client:
            assert client.get(server.url).content == b"hello"
        assert len(real.attempts) == 1

        real.become(refuse())
        with httpx.Client(timeout=10, verify=False) as client, pytest.raises(httpx.HTTPError):
            client.get(server.url)


# --- what the kernel does --------------------------------------------------------------------------------------------


@pytest.fixture
def pair():
    one, two = socket.socketpair()
    with one, two:
        one.settimeout(10)
        yield one, two


def test_kernel_closing_with_something_unread_is_a_reset_to_the_other(pair):
    client, server = pair
    client.sendall(b"unread")
    server.close()

    assert heard(client) == (b"", *GONE)
    with pytest.raises(BrokenPipeError):
        client.sendall(b"more")


def test_kernel_closing_with_nothing_unread_is_the_end_whatever_so_linger_says(pair):
    client, server = pair
    client.sendall(b"read")
    assert server.recv(10) == b"read"
    sockets.arm_rst(server)
    server.close()

    assert heard(client) == (b"",)


def test_kernel_delivers_what_was_said_before_it_tells_of_the_reset(pair):
    client, server = pair
    client.sendall(b"unread")
    server.sendall(b"said")
    server.close()

    assert heard(client) == (b"said", *GONE)


def test_kernel_what_is_only_peeked_at_is_unread(pair):
    client, server = pair
    client.sendall(b"seen")
    assert server.recv(10, socket.MSG_PEEK) == b"seen"
    server.close()

    assert heard(client) == (b"", *GONE)


def test_kernel_a_listener_that_is_closed_resets_who_waits_in_its_queue(tmp_path):
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as client:
        listener.bind(str(tmp_path / "socket"))
        listener.listen(1)
        client.settimeout(10)
        client.connect(listener.getsockname())
        listener.close()

        assert heard(client)[0] == b""


def test_kernel_a_file_moved_over_another_has_connects_meet_the_new_one(tmp_path):
    old, new = tmp_path / "socket", tmp_path / "next"
    with socket.socket(socket.AF_UNIX) as one, socket.socket(socket.AF_UNIX) as two:
        one.bind(str(old))
        one.listen(1)
        two.bind(str(new))
        two.listen(1)
        two.setblocking(False)
        new.replace(old)
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(old))
            two.accept()[0].close()


def test_kernel_a_queue_of_no_length_takes_one(tmp_path):
    path = str(tmp_path / "socket")
    with contextlib.ExitStack() as sockets:
        listener, *clients = [sockets.enter_context(socket.socket(socket.AF_UNIX)) for _ in range(4)]
        listener.bind(path)
        listener.listen(0)
        for client in clients:
            client.setblocking(False)
        assert [client.connect_ex(path) for client in clients] == [0, errno.EAGAIN, errno.EAGAIN]


def test_data_is_delivered_before_the_reset(dial):
    body = os.urandom(100_000)
    with serve(ok(body) & reset(after_bytes=100_000), unix=True) as server:
        client = dial(server, KEPT_GET)
        server.wait_for_attempts(1, at="response")
        told, *error = heard(client)

        assert (len(told), tuple(error)) == (100_000, GONE)
        assert ends(server) == [("response", 100_000, "server", "RST")]


# --- what is left behind ---------------------------------------------------------------------------------------------


def test_a_folder_of_its_own_is_for_this_user_alone():
    with serve(ok(), unix=True) as server:
        folder = Path(server.path).parent
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert not folder.exists()


def test_a_path_that_was_asked_for_is_free_again_and_its_folder_stays(tmp_path):
    path = str(tmp_path / "my socket é")
    for plan in (ok(), refuse(), blackhole(), unreachable(), ok()):
        with serve(plan, unix=path, strict=False) as server:
            assert server.path == path
            assert names_in(tmp_path) == ([] if plan == unreachable() else ["my socket é"])
        assert names_in(tmp_path) == []


def test_a_relative_path_is_one_of_the_folder_at_the_start(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with serve(ok(b"hello"), unix="mine") as server:
        monkeypatch.chdir("/")
        assert server.path == str(tmp_path / "mine")
        assert by_http_client(server) == b"hello"
    assert names_in(tmp_path) == []


def test_a_file_that_somebody_has_removed_is_no_error_at_the_end():
    with serve(ok(b"hello"), unix=True) as server:
        assert by_http_client(server) == b"hello"
        Path(server.path).unlink()
    assert not Path(server.path).parent.exists()


def test_a_server_that_can_t_be_made_leaves_no_folder(monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    for plan, options in ((nxdomain(), {}), (duplicated(), {}), (3, {}), (ok(), {"tls": 1}), (ok(), {"strict": 0})):
        with pytest.raises(ParameterError):
            serve(plan, unix=True, **options)
        assert names_in(tmp_path) == []


# --- what it says ----------------------------------------------------------------------------------------------------


def test_where_it_is():
    with serve(ok(), unix=True) as server:
        assert isinstance(server, UnixServer)
        assert server.hostport == server.path
        assert server.url == f"http+unix://{server.path.replace('/', '%2F')}"
        assert repr(server) == f"<Server {server.url} ok()>"
        assert server.drawing().startswith(f"{server.url} ok()\n")


@each_row("name", ["address", "host", "port"])
def test_it_has_no_address_and_says_what_to_use(name):
    with serve(ok(), unix=True) as server:
        with pytest.raises((ParameterError, AttributeError)) as caught:
            getattr(server, name)

        assert str(caught.value) == (
            f".{name} of the server at {server.path}: expected .path; a Unix socket has no host and no port."
        )
        assert not hasattr(server, name)


ONLY_A_PATH = "beside unix, because a Unix socket has only a path"


@each_row(
    ("plan", "options", "message"),
    [
        (loss(0.1), {}, "loss(0.1): expected serve(…) without unix; a Unix socket has no packets to drop."),
        (partition(), {}, "partition(): expected serve(…) without unix; a Unix socket has no packets to drop."),
        (ok(), {"host": "127.0.0.2"}, f"host='127.0.0.2': expected no host {ONLY_A_PATH}."),
        (ok(), {"port": 8080}, f"port=8080: expected no port {ONLY_A_PATH}."),
        *(
            (ok(), {"unix": unix}, f"unix={unix!r}: expected True, False or a path.")
            for unix in (1, 0, "", None, b"path", 3.0, Path("/tmp/path"))
        ),
        (ok(), {"unix": "/tmp/a\0b"}, "unix='/tmp/a\\x00b': expected a path without a zero byte."),
    ],
)
def test_what_means_nothing_for_a_path_is_refused(plan, options, message):
    with pytest.raises(ParameterError) as caught:
        serve(plan, **{"unix": True, **options})

    assert str(caught.value) == message


def test_a_path_is_no_longer_than_a_socket_has_room_for(tmp_path):
    room = system.PATH_BYTES - 7 - len(os.fsencode(str(tmp_path))) - 1
    if room < 1:
        pytest.skip("the folder for tests has too long a name")
    with serve(ok(b"hello"), unix=str(tmp_path / ("x" * room))) as server:
        assert by_http_client(server) == b"hello"
        server.become(refuse())
        assert refused(server) == errno.ECONNREFUSED
    long = str(tmp_path / ("x" * (room + 1)))
    with pytest.raises(ParameterError) as caught:
        serve(ok(), unix=long)

    assert str(caught.value) == (
        f"unix={long!r}: expected a path of at most {system.PATH_BYTES - 7} bytes, the limit of a Unix socket."
    )
    assert names_in(tmp_path) == []


@each_row("kind", ["file", "folder", "socket", "dangling link"])
def test_what_is_there_already_is_left_alone(tmp_path_factory, kind):
    path = (tmp_path := tmp_path_factory.mktemp("here")) / "taken"
    with contextlib.ExitStack() as held:
        if kind == "file":
            path.write_text("precious")
        elif kind == "folder":
            path.mkdir()
        elif kind == "socket":
            held.enter_context(socket.socket(socket.AF_UNIX)).bind(str(path))
        else:
            path.symlink_to(tmp_path / "nowhere")
        with pytest.raises(PortError) as caught:
            serve(ok(), unix=str(path))

    expected = "expected a path that doesn't exist yet; remove the file, or use unix=True."
    assert str(caught.value) == f"unix={str(path)!r}: {expected}"
    assert names_in(tmp_path) == ["taken"]


def test_files_beside_the_socket_are_left_alone(tmp_path):
    (tmp_path / "socket~").write_text("an editor's copy")
    with serve(ok(), unix=str(tmp_path / "socket"), strict=False) as server:
        server.become(refuse())
    assert names_in(tmp_path) == ["socket~"]


def test_a_folder_that_isn_t_there_is_an_error(tmp_path):
    path = str(tmp_path / "missing" / "socket")
    with pytest.raises(PortError) as caught:
        serve(ok(), unix=path)

    assert str(caught.value) == f"unix={path!r}: expected a path in an existing folder that this user may write to."


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written_to_is_an_error(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(PortError, match="expected a path in an existing folder that this user may write to"):
        serve(ok(), unix=str(tmp_path / "socket"))


def test_a_folder_that_takes_no_files_is_an_error():
    with pytest.raises(PortError, match=r"expected a (path for a Unix socket|path in an existing folder)"):
        serve(ok(), unix="/proc/faultline")  # os.access says that root may write there


RESETS = [
    reset(),
    reset(after_bytes=10),
    reset(on=b"Host"),
    reset(at="request", after_bytes=5),
    reset(at="idle", after_seconds=0.02),
    reset(at="response", after_seconds=0.02),
]


@each_row("fault", RESETS)
def test_a_relay_resets_its_client_though_it_has_read_all_that_it_said(faultline, dial, fault):
    server = faultline.relay(faultline.serve(ok(b"hello")), fault, unix=True)
    assert heard(dial(server, KEPT_GET))[1:] == GONE


@pytest.mark.slow
@pytest.mark.measured
@pytest.mark.parametrize("size", [4608, 65_536])
def test_a_client_with_a_small_buffer_is_not_blocked_by_the_byte_that_waits_for_a_reset(faultline, size):
    """A sender that is blocked gets room when a quarter of its buffer is taken (`unix_writable`)."""
    body = b"x" * 3 * size
    head = b"POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body)
    server = faultline.relay(faultline.serve(echo()), reset(on=b"never"), unix=True, strict=False)
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(30)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, size // 2)  # the kernel doubles it
        client.connect(server.path)
        client.sendall(head + body)
        (received,) = heard(client)
    assert received.partition(b"\r\n\r\n")[2] == body


@each_row(
    "plan",
    [ok(), close(at="response", on=b"never"), close(at="request", on=b"never"), reset(on=b"never")],
)
def test_relay_passes_every_byte_once(faultline, dial, plan):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = faultline.relay(address_of(listener), plan, unix=True, strict=False)
        client = dial(server)
        with accepted(listener) as upstream:
            client.sendall(b"first;")
            said = read(upstream, 6)
            upstream.sendall(b"answer;")
            assert read(client, 7) == b"answer;"
            client.sendall(b"second;")
            client.shutdown(socket.SHUT_WR)
            said += read(upstream)

    assert said == b"first;second;"
    assert server.attempts[0].received_bytes == len(said)


@each_row("fault", [reset(), reset(after_bytes=10), reset(on=b"Host")])
def test_a_relay_resets_a_client_that_has_finished_sending(faultline, dial, fault):
    client = dial(faultline.relay(faultline.serve(ok(b"hello")), fault, unix=True), KEPT_GET)
    client.shutdown(socket.SHUT_WR)
    assert heard(client)[1:] == GONE


def test_a_client_that_connects_while_the_plan_changes_is_served():
    """Whoever connects to the old socket after its queue was emptied would be dropped with it."""
    listener = UnixListener("/tmp/" + os.urandom(8).hex(), None)
    accepted = []
    try:
        background().call(
            lambda: listener.start(background().loop, lambda client, _: accepted.append(client), print, print)
        )
        with contextlib.closing(socket.socket(socket.AF_UNIX)) as client:

            def change():
                client.connect(listener.path)  # before the loop could accept it
                listener.set_step(Refuse())

            background().call(change)
            background().settle()
            assert [sock.getpeername() for sock in accepted] == [client.getsockname()]
    finally:
        background().call(listener.close)
        for sock in accepted:
            sock.close()
