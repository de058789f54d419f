"""Many proxies and many toxics: nothing is lost, reordered or left behind."""

from __future__ import annotations

import contextlib

import pytest
from support import PATIENCE_SECONDS, accepted, address_of, in_thread, nothing_left, read
from support.control import Client, dialled, fetched

from faultline import close, control, ok, serve

TOXICS = ("latency", "bandwidth", "slicer", "noop", "slow_close")
ATTRIBUTES = {"latency": 1, "rate": 100_000, "average_size": 500, "size_variation": 100, "delay": 1}


@pytest.mark.slow
def test_a_thousand_toxics_come_and_go_while_bytes_flow(web, listener):  # with a server, the limit has its thread
    listener.settimeout(PATIENCE_SECONDS)
    chunks = [number.to_bytes(8, "big") * 100 for number in range(2000)]
    received = []
    with nothing_left(), control() as api, contextlib.closing(Client(api)) as ask:
        made = ask.make("line", address_of(listener))
        with (
            dialled(made) as client,
            accepted(listener) as server,
            in_thread(lambda: received.append(read(client))),
        ):
            for number in range(0, 2000, 2):
                kind = TOXICS[number // 2 % len(TOXICS)]
                server.sendall(chunks[number])
                added = ask("POST", "/proxies/line/toxics", {"type": kind, "name": "it", "attributes": ATTRIBUTES})
                server.sendall(chunks[number + 1])
                assert (added.status, ask("DELETE", "/proxies/line/toxics/it").status) == (200, 204)
            server.close()
        assert len(api.proxies["line"]._plans) == 1

    assert received[0] == b"".join(chunks)


@pytest.mark.slow
def test_a_thousand_proxies_are_made_used_and_ended(web):
    with nothing_left(), control() as api, contextlib.closing(Client(api)) as ask:
        made = ask("POST", "/populate", [{"name": f"p{n}", "upstream": web} for n in range(1000)]).data["proxies"]
        assert len({proxy["listen"] for proxy in made}) == 1000
        assert [fetched(proxy) for proxy in made[::100]] == [(b"hello", "FIN")] * 10
        assert ask("POST", "/populate", made).data["proxies"] == made
        assert ask("POST", "/reset").status == 204
        for proxy in made[::2]:
            assert ask("DELETE", f"/proxies/{proxy['name']}").status == 204
        assert len(ask("GET", "/proxies").data) == 500


def test_a_server_that_nobody_guards_keeps_its_present_plan_alone():
    with serve(ok(), strict=False) as unguarded, serve(ok()) as guarded:
        for server in (unguarded, guarded):
            server.become(close())
            server.become(ok())

        assert (len(unguarded._plans), len(guarded._plans)) == (1, 3)
        guarded._strict = False
