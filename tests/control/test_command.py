"""`faultline control`: what it prints, what it reads, and how it ends."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import signal
import socket
import subprocess
import sys
from types import SimpleNamespace

import pytest
from support import PATIENCE_SECONDS
from support.command import running
from support.control import Client, fetched

from faultline import control
from faultline._front.command import main
from faultline._front.control import config


def api_of(line):
    """Where the API is that the first line tells of."""
    return SimpleNamespace(host="127.0.0.1", port=int(re.search(r"http://127\.0\.0\.1:(\d+)", line)[1]))


def test_each_attempt_is_told_with_its_proxy(web):
    with running("control --port 0 --seed 3") as command:
        first = command.line()
        with contextlib.closing(Client(api_of(first))) as ask:
            made = ask.make("web", web)
            assert fetched(made)[0] == b"hello"
            told = command.line()
        status, rest = command.stop()

    url = f"http://127.0.0.1:{api_of(first).port}"
    assert first == f"control API on {url} (proxies: 0) - try: curl {url}/proxies - Ctrl-C stops"
    assert told.startswith("web: #1: ok() reached")
    assert (status, [re.sub(r"\d+\.\d s", "… s", line) for line in rest]) == (0, ["stopped after … s"])


def test_what_the_end_has_ended_is_told_too_and_as_json(tmp_path, listener):
    port = listener.getsockname()[1]
    file = tmp_path / "proxies.json"
    file.write_text(json.dumps([{"name": "web", "upstream": f"localhost:{port}"}]))
    with running(f"control --port 0 --metrics --json --config {file}") as command:
        first = json.loads(command.line())
        with contextlib.closing(Client(api_of(first["url"]))) as ask:
            made = ask("GET", "/proxies").data["web"]
            assert ask("GET", "/metrics").status == 200
        host, _, port = made["listen"].rpartition(":")
        with socket.create_connection((host, int(port)), PATIENCE_SECONDS):
            listener.accept()[0].close()
            _, rest = command.stop()

    assert (first["event"], first["try"]) == ("listening", f"curl {first['url']}/proxies")
    attempt, stopped = map(json.loads, rest)
    assert (attempt["event"], attempt["proxy"], attempt["number"], stopped) == (
        "attempt",
        "web",
        1,
        {"event": "stopped"},
    )


GOOD = '[[proxies]]\nname = "a"\nlisten = "127.0.0.1:0"\nupstream = "127.0.0.1:1"\nenabled = false\n'
ELSEWHERE = "upstream='192.0.2.1:80': expected a server on this machine; --allow-remote allows others"
JSON = """[
  {
    "name": "a",
    "upstream": "127.0.0.1:1",
    "toxics": [
      {"type": "latency", "attributes": {"latency": 5}},
      {
        "type": "fault",
        "attributes": {
          "plan": "reset()"
        }
      }
    ]
  },
  {"name": "b", "listen": "localhost:19801",
   "upstream": "127.0.0.1:1", "enabled": false}
]"""
TOML = """
# proxies
[[proxies]]
name = "a"
upstream = "127.0.0.1:1"

  [[proxies.toxics]]
  type = "latency"
  attributes = { latency = 5 }

  [[proxies.toxics]]
  type = "fault"
  [proxies.toxics.attributes]
  plan = "reset()"

[[proxies]]
name = "b"
listen = "localhost:19801"
upstream = "127.0.0.1:1"
enabled = false
"""
WHERE = "expected host:port, such as 127.0.0.1:8080"
CHANGES = [  # what of both files is another, the lines in JSON and in TOML, and what is wrong
    (("127.0.0.1:1", "192.0.2.1:80"), (4, 5), ELSEWHERE),
    (("localhost:19801", "x"), (15, 18), f"listen='x': {WHERE}"),
    (("localhost:19801", "0.0.0.0:19801"), (15, 18), "listen='0.0.0.0:19801': expected an address that only this"),
    (("false", "7"), (16, 20), "bad request body: expected true or false for proxy.enabled, not 7"),
    (('"b"', '""'), (15, 17), "missing required field: name"),
    (('"b"', '"a"'), (15, 17), "name='a' is that of the proxy in line 3 too"),
    (("enabled", "enable"), (16, 20), "unknown key 'enable'; did you mean enabled?\n"),
    (("enabled", "colour"), (16, 20), "unknown key 'colour'; a proxy has name, listen, upstream, enabled, kind, "),
    (('"fault"', '"faults"'), (8, 12), "invalid toxic type; type='faults': did you mean 'fault'? Types: latency, "),
    (("reset()", "rset()"), (10, 14), "toxic 'fault_downstream': attributes.plan='rset()': expected a mode, a plan "),
    (("plan", "plam"), (10, 14), "unknown key 'plam'; did you mean plan?\n"),
    (('"reset()"', "3"), (10, 14), "bad request body: expected a text for attributes.plan, not 3"),
    (("5", '"5"'), (6, 9), "bad request body: expected a whole number for attributes.latency, not '5'"),
]


@pytest.mark.measured
@pytest.mark.parametrize("kind", ["json", "toml"])
@pytest.mark.parametrize("row", CHANGES)
def test_a_wrong_value_is_told_with_its_own_line(tmp_path, capsys, row, kind):
    change, at, why = row
    if kind == "toml":
        pytest.importorskip("tomllib" if sys.version_info >= (3, 11) else "tomli")
    path = tmp_path / f"x.{kind}"
    text = JSON if kind == "json" else TOML
    path.write_text(text.replace(*change, 1))
    line = at[kind == "toml"]

    assert main(["control", "--port", "0", "--config", str(path)]) == 2
    if kind == "toml":
        why = why.replace("in line 3", "in line 4")
    begin = f"faultline: --config {path}, line {line}: {why}"
    assert capsys.readouterr().err[: len(begin)] == begin


@pytest.mark.parametrize("kind", ["json", "toml"])
def test_toxics_of_a_file_are_those_of_its_proxies(tmp_path, kind):
    if kind == "toml":
        pytest.importorskip("tomllib" if sys.version_info >= (3, 11) else "tomli")
    path = tmp_path / f"x.{kind}"
    path.write_text("\ufeff" * (kind == "json") + (JSON if kind == "json" else TOML).replace("localhost:19801", ":0"))
    with control() as api, contextlib.closing(Client(api)) as ask:
        config.populate(str(path), api)
        made = ask("GET", "/proxies").data

    assert [toxic["type"] for toxic in made["a"]["toxics"]] == ["latency", "fault"]
    assert made["a"]["toxics"][1]["attributes"] == {"plan": "reset()"}
    assert (made["b"]["toxics"], made["b"]["enabled"]) == ([], False)


CONFIGS = [
    ("x.json", "", "line 1: expected a JSON array of proxies, the file is empty"),
    ("x.json", "\ufeff \n", "line 2: expected a JSON array of proxies, the file is empty"),
    ("x.json", "\n{}", "line 2: expected a JSON array of proxies, not '{}'"),
    ("x.json", "[", "line 1: Expecting value"),
    ("x.json", '[\n {"name": "a",\n  "upstream" "b"}]', "line 3: Expecting ':' delimiter"),
    ("x.json", '[\n{"name": "a", "upstream": "localhost:1"}\n\n{}]', "line 4: expected , or ] after a proxy"),
    ("x.json", '[\n{"name": "a", "upstream": "localhost:1"},\n\n{}]', "line 4: missing required field: name"),
    ("x.json", "[\n[NaN]]", "line 2: NaN is no number"),
    ("x.json", "[\n" + "[" * 100_000, "line 2: expected fewer brackets open at once"),
    ("x.json", "[\n1]", "line 2: bad request body: expected an object for proxy, not 1"),
    ("x.json", '[{"name": "a",\n"upstream": "192.0.2.1:80"}]', f"line 2: {ELSEWHERE}"),
    (
        "x.json",
        '[{"name": "a", "upstream": "localhost:1",\n"toxics": {}}]',
        "line 2: expected a list of toxics, not {}",
    ),
    (
        "x.json",
        '[{"name": "a", "upstream": "localhost:1", "toxics": [\n7]}]',
        "line 2: bad request body: expected an object for toxic, not 7",
    ),
    (
        "x.json",
        '[{"name": "a", "upstream": "localhost:1", "toxics": [{"type": "noop",\n"attributes": {"x": 1}}]}]',
        "line 2: unknown key 'x'; the type noop has no attributes",
    ),
    (
        "x.json",
        '[{"name": "a", "listen": ":19802", "upstream": "127.0.0.1:1"},\n{"name": "b",\n"listen": "localhost:19802"}]',
        "line 3: listen='localhost:19802' is that of the proxy in line 1 too",
    ),
    (
        "x.json",
        '[{"name": "a", "upstream": "localhost:1", "toxics": [{"type": "latency",\n"attributes": {"latency": '
        + "[" * 500
        + "]" * 500
        + "}}]}]",
        "line 2: bad request body: expected a whole number for attributes.latency, not [[",
    ),
    ("x.toml", "", "line 1: expected tables [[proxies]], the file has none"),
    ("x.toml", "[[proxies]]\nname = ", "line 2: Invalid value"),
    ("x.toml", "[[proxies]]\nname = x\n", "line 2: Invalid value"),
    ("x.toml", "\nx = 1", "line 2: expected tables [[proxies]], not x"),
    ("x.toml", "proxies = 1", "line 1: expected tables [[proxies]], not proxies"),
    ("x.toml", f"{GOOD}\n [[proxies]]\nname = 'b'\n", "line 7: missing required field: upstream"),
    ("x.toml", "proxies = [\n{name = 'a'}]", "line 1: missing required field: upstream"),
    ("x.toml", "proxies = [\n{name = 'a', upstream = 'x'}]", "line 2: upstream='x': expected host:port"),
]  # fmt: skip


@pytest.mark.measured
@pytest.mark.parametrize(("name", "text", "why"), CONFIGS)
def test_a_wrong_file_is_told_with_its_line(tmp_path, capsys, name, text, why):
    if name.endswith(".toml"):
        pytest.importorskip("tomllib" if sys.version_info >= (3, 11) else "tomli")
    path = tmp_path / name
    path.write_text(text)

    assert main(["control", "--port", "0", "--config", str(path)]) == 2
    out, err = capsys.readouterr()
    begin = f"faultline: --config {path}, {why}"
    assert (out, err[: len(begin)], err.count("\n")) == ("", begin, 1)


def test_a_file_that_can_t_be_read_is_told(tmp_path, capsys):
    odd = tmp_path / "x.json"
    odd.write_bytes(b"\xff")
    paths = ["/nowhere/x.json", str(odd)]

    assert [main(["control", "--port", "0", "--config", path]) for path in paths] == [2, 2]
    told = capsys.readouterr().err.splitlines()
    assert told[0] == "faultline: --config /nowhere/x.json: No such file or directory."
    assert told[1].startswith(f"faultline: --config {odd}: 'utf-8' codec can't decode byte 0xff")


@pytest.mark.parametrize("text", ["[]", "[ ]\n", '[{"NAME": "a", "upstream": "127.0.0.1:1", "enabled": null}, ]'])
def test_a_file_of_json_may_have_no_proxies_or_a_comma_too_many(tmp_path, text):
    path = tmp_path / "x.json"
    path.write_text(text)

    assert len(config.entries_of(str(path))) == text.count("NAME")


def test_toml_has_the_same_content(tmp_path):
    pytest.importorskip("tomllib" if sys.version_info >= (3, 11) else "tomli")
    path = tmp_path / "x.toml"
    path.write_text(GOOD)

    given = {"name": "a", "listen": "127.0.0.1:0", "upstream": "127.0.0.1:1", "enabled": False}
    assert [entry.given for entry in config.entries_of(str(path))] == [given]


def test_a_python_that_can_t_read_toml_says_so(tmp_path, monkeypatch):
    path = tmp_path / "x.toml"
    path.write_text(GOOD)
    monkeypatch.setitem(sys.modules, "tomllib", None)
    monkeypatch.setitem(sys.modules, "tomli", None)

    with pytest.raises(config.ConfigError, match=r"expected Python 3\.11 or the package tomli to read TOML"):
        config.entries_of(str(path))


def test_a_wrong_option_is_one_line(capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        rows = {
            f"--port {port}": f"port={port}: expected a free port, but 127.0.0.1:{port} is in use; choose another "
            "or 0.",
            "--port x": "port='x': expected a whole number.",
            "--port 0 --seed x": "seed='x': expected a whole number.",
            "--port 0 --seed -1": "seed=-1: expected a whole number, 0 or more.",
            "--host 0.0.0.0": "host='0.0.0.0': expected an address that only this machine can reach, such as "
            "'127.0.0.1'; allow_remote=True (--allow-remote) lets other machines connect.",
            "--host here": "host='here': expected an IP address of this machine, or 'localhost'.",
        }
        ends = {words: (main(["control", *words.split()]), *capsys.readouterr()) for words in rows}

    assert ends == {words: (2, "", f"faultline: {why}\n") for words, why in rows.items()}


@pytest.mark.slow
def test_the_example_of_the_help_does_what_it_says(capsys, web, own_port):
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    with pytest.raises(SystemExit):
        main(["control", "--help"])
    lines = re.findall(r"(?m)^  (curl .*?)\s*(?:# .*)?$", capsys.readouterr().out)
    assert len(lines) == 7
    with control() as api:
        places = {"localhost:8474": api.hostport, "127.0.0.1:8080": web}
        places |= {f"{host}:8081": f"{host}:{own_port}" for host in ("127.0.0.1", "localhost")}
        lines = [re.sub("|".join(places), lambda found: places[found[0]], line) for line in lines]
        ends = [subprocess.run(["bash", "-c", f"{line} -sS"], capture_output=True, check=False) for line in lines]

    assert [end.returncode for end in ends] == [0, 0, 0, 0, 0, 56, 0]
    assert ends[2].stdout == b"hello"
    assert json.loads(ends[6].stdout)["attempts"][1]["fault"] == "reset(after_bytes=17)"


def test_the_command_is_meant_by_a_slip(capsys):
    assert main(["controls"]) == 2
    assert capsys.readouterr().err.endswith(" Type: faultline control\n")


@pytest.mark.slow
def test_a_signal_ends_it_with_code_0():
    with (
        subprocess.Popen(
            [sys.executable, "-m", "faultline", "control", "--port", "0"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process,
        contextlib.closing(Client(api_of(process.stdout.readline()))) as ask,
    ):
        assert ask("GET", "/proxies") == (200, {})
        process.send_signal(signal.SIGINT)
        printed, complaint = process.communicate(timeout=PATIENCE_SECONDS)

    assert (process.returncode, complaint, printed[:14]) == (0, "", "stopped after ")
