"""A client whose results with a real server, and with what was recorded of that, are compared."""

from __future__ import annotations

import faultline
from faultline._core.recording import from_json

TIMES = 10


def replayed(address, client, **options):
    """The results of a client with a real server, and the recording, which gives the same results each time."""
    with faultline.relay(address, record=True, **options) as server:
        said = client(server)
        recording = server.ledger.recording(mask=True)
    again = from_json(recording.to_json(), "here")
    assert again == recording
    assert again.plan == recording.plan

    for _ in range(TIMES):
        with faultline.serve(again.plan, tls=recording.tls) as server:
            assert client(server) == said
            assert [attempt.note for attempt in server.attempts] == [""] * len(server.attempts)
    return said, recording
