"""Measures one row with one column, in a process of its own: `python one.py ROW COLUMN` prints its values as JSON."""

from __future__ import annotations

import json
import sys

import crowd
import flood
import plugin
import relays
import single
import tls

ROWS = {
    "start": single.start,
    "request": single.request,
    "accepted": crowd.accepted,
    "requested": crowd.requested,
    "delay": single.delay,
    "relay": relays.relay,
    "stream": relays.stream,
    "flood": flood.flood,
    "tls": tls.first,
    "plugin": plugin.plugin,
}

if __name__ == "__main__":
    row, column = sys.argv[1:]
    print(json.dumps(ROWS[row](column)))
