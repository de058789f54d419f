"""The command line starts proxies, and servers of Unix sockets and datagrams; plans by path and by connection too."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request

import pytest
from support.command import running
from support.tables import each_row

import faultline


def fetch(url, proxy=None, path="/"):
    """The status and the body that a URL gives, through a proxy or without one."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({"http": proxy} if proxy else {}))
    try:
        with opener.open(url + path, timeout=10) as response:
            return response.status, response.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def test_an_http_proxy_plays_its_mode_and_then_leads_to_the_server():
    words = "proxy --mode status --code 407 --then ok --auth me:secret"
    with faultline.serve(faultline.ok(b"origin")) as origin, running(words) as command:
        line = command.line()
        proxy = re.search(r"http://me:secret@[\d.:]+", line)[0]
        met = [fetch(origin.url, proxy) for _ in range(2)]
        code, rest = command.stop()

    assert line.endswith(f"try: curl -v --proxy {proxy} http://localhost/ - Ctrl-C stops")
    assert met == [(407, b"407 Proxy Authentication Required\n"), (200, b"origin")]
    assert (code, len(rest), rest[-1].partition(": ")[2]) == (0, 3, "2 attempts, 1 struck")


def test_a_proxy_leads_all_clients_to_its_upstream_over_tls():
    with faultline.serve(faultline.ok()) as origin, running(f"proxy --upstream {origin.hostport} --tls") as command:
        line = command.line()

    assert re.search(r"curl -v --proxy-cacert \S+ --proxy https://127.0.0.1:\d+ http://localhost/", line)


@each_row(("words", "scheme", "reply"), [("--socks socks4", "socks4", 90), ("--socks", "socks5h", 5)])
def test_a_socks_proxy_replies(words, scheme, reply):
    with faultline.serve(faultline.ok()) as origin, running(f"proxy {words}") as command:
        host, port = re.search(rf"{scheme}://([\d.]+):(\d+)", command.line()).groups()
        with socket.create_connection((host, int(port)), 10) as client:
            if reply == 90:
                client.sendall(bytes((4, 1, *origin.port.to_bytes(2, "big"), 127, 0, 0, 1, 0)))
                assert client.recv(2, socket.MSG_WAITALL)[1] == reply
            else:
                client.sendall(bytes((5, 1, 0)))
                assert client.recv(2, socket.MSG_WAITALL)[0] == reply


def test_a_refusal_of_socks_is_a_socks_proxy():
    with running("proxy --mode socks-refusal --kind general_failure") as command:
        assert "on socks5h://" in command.line()


def test_a_server_listens_on_a_unix_socket(tmp_path):
    with running(f"serve --mode ok --body hi --unix {tmp_path}/s") as command:
        line = command.line()
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(10)
            client.connect(f"{tmp_path}/s")
            client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            heard = client.recv(1000)

    assert heard.endswith(b"hi")
    assert f"on {tmp_path}/s - try: curl -v --unix-socket {tmp_path}/s http://localhost/ " in line


@each_row(("words", "heard"), [("--mode ok", b"ping"), ("--mode raw --data pong", b"pong")])
def test_a_server_answers_datagrams(words, heard):
    with running(f"serve {words} --udp") as command:
        host, port = re.search(r"on ([\d.]+):(\d+), UDP", command.line()).groups()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.settimeout(10)
            client.sendto(b"ping", (host, int(port)))
            assert client.recv(100) == heard


def test_a_path_has_a_plan_of_its_own_and_connections_have_a_limit():
    paths = "--path '/pay status --code 503' --path '/pay ok --body paid'"
    with running(f"serve --mode ok {paths} --max-connections 1 --beyond 'reset --at accept'") as command:
        url = re.search(r"on (http://[\d.:]+)", command.line())[1]
        met = [fetch(url, path=path)[0] for path in ("/pay", "/", "/pay?x", "/pay")]
        host, port = url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), 10) as first:
            first.sendall(b"GET /")
            with pytest.raises(OSError):
                fetch(url)

    assert met == [503, 200, 200, 200]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "number"),
    [
        ("proxy --socks", signal.SIGTERM),
        ("serve --mode ok --udp", signal.SIGINT),
        ("serve --mode ok --unix {}/s", signal.SIGTERM),
    ],
)
def test_a_server_of_its_own_process_ends_by_a_signal(words, number, tmp_path):
    with subprocess.Popen(
        [sys.executable, "-m", "faultline", *words.format(tmp_path).split()],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert "Ctrl-C stops" in process.stdout.readline()
        process.send_signal(number)
        out, complaints = process.communicate(timeout=30)

    assert (process.returncode, complaints) == (0, "")
    assert out.startswith("stopped after ")
    assert [*tmp_path.iterdir()] == []  # the socket is removed
