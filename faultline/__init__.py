"""Real local sockets that misbehave on purpose, so that a client's error handling runs in its tests.

Each name is imported when it is first used: having the package installed costs a test run nothing. The imports below
are the only list of public names.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from faultline._audit.baseline import Difference as Difference
    from faultline._audit.given import audit as audit
    from faultline._audit.result import Audit as Audit
    from faultline._audit.result import AuditCase as AuditCase
    from faultline._audit.verdicts import Finding as Finding
    from faultline._core.attempts import Attempt as Attempt
    from faultline._core.attempts import Request as Request
    from faultline._core.causes import raises as raises
    from faultline._core.causes import root_cause as root_cause
    from faultline._core.computed import answer as answer
    from faultline._core.ends import End as End
    from faultline._core.errors import CallError as CallError
    from faultline._core.errors import ConflictError as ConflictError
    from faultline._core.errors import FaultlineError as FaultlineError
    from faultline._core.errors import FaultlineWarning as FaultlineWarning
    from faultline._core.errors import LeakError as LeakError
    from faultline._core.errors import NotStruckError as NotStruckError
    from faultline._core.errors import OutsideError as OutsideError
    from faultline._core.errors import ParameterError as ParameterError
    from faultline._core.errors import PortError as PortError
    from faultline._core.errors import ServerError as ServerError
    from faultline._core.errors import SweepError as SweepError
    from faultline._core.errors import UnknownModeError as UnknownModeError
    from faultline._core.errors import UnsupportedError as UnsupportedError
    from faultline._core.errors import WaitError as WaitError
    from faultline._core.fault import Fault as Fault
    from faultline._core.gate import Gate as Gate
    from faultline._core.ledger import Ledger as Ledger
    from faultline._core.llm_events import anthropic_events as anthropic_events
    from faultline._core.llm_events import openai_chunks as openai_chunks
    from faultline._core.paths import by_path as by_path
    from faultline._core.pieces import Piece as Piece
    from faultline._core.planning import cycle as cycle
    from faultline._core.planning import max_connections as max_connections
    from faultline._core.planning import sequence as sequence
    from faultline._core.planning import sometimes as sometimes
    from faultline._core.planning import through as through
    from faultline._core.planning import when as when
    from faultline._core.promises import Strike as Strike
    from faultline._core.recording import Recording as Recording
    from faultline._core.replies import receive_all as receive_all
    from faultline._core.replies import reply as reply
    from faultline._core.script import hold as hold
    from faultline._core.script import receive as receive
    from faultline._core.script import receive_prefixed as receive_prefixed
    from faultline._core.script import receive_request as receive_request
    from faultline._core.script import receive_until as receive_until
    from faultline._core.script import repeat as repeat
    from faultline._core.script import respond as respond
    from faultline._core.script import script as script
    from faultline._core.script import send as send
    from faultline._core.script import starttls as starttls
    from faultline._core.script import stoptls as stoptls
    from faultline._core.tls_facts import TlsFacts as TlsFacts
    from faultline._core.turns import Pause as Pause
    from faultline._core.turns import Turn as Turn
    from faultline._core.websocket import accept as accept
    from faultline._core.websocket import bad_frame as bad_frame
    from faultline._core.websocket import bad_mask as bad_mask
    from faultline._core.websocket import close_frame as close_frame
    from faultline._core.websocket import cut_frame as cut_frame
    from faultline._core.websocket import drop as drop
    from faultline._core.websocket import fragment as fragment
    from faultline._core.websocket import ignore_pings as ignore_pings
    from faultline._core.websocket import receive_bytes as receive_bytes
    from faultline._core.websocket import receive_close as receive_close
    from faultline._core.websocket import receive_text as receive_text
    from faultline._core.websocket import send_bytes as send_bytes
    from faultline._core.websocket import send_ping as send_ping
    from faultline._core.websocket import send_text as send_text
    from faultline._core.websocket_facts import WebSocketFacts as WebSocketFacts
    from faultline._front.control.start import Control as Control
    from faultline._front.control.start import control as control
    from faultline._front.recorded import load as load
    from faultline._front.starters import Faultline as Faultline
    from faultline._front.written import plan as plan
    from faultline._servers.dns import DnsServer as DnsServer
    from faultline._servers.dns import dns_server as dns_server
    from faultline._servers.names.intercept import intercept as intercept
    from faultline._servers.names.resolver import Resolver as Resolver
    from faultline._servers.names.resolver import resolve as resolve
    from faultline._servers.proxies import http_proxy as http_proxy
    from faultline._servers.proxies import socks_proxy as socks_proxy
    from faultline._servers.server import Interception as Interception
    from faultline._servers.server import Proxy as Proxy
    from faultline._servers.server import Server as Server
    from faultline._servers.server import UnixServer as UnixServer
    from faultline._servers.start import relay as relay
    from faultline._servers.start import serve as serve
    from faultline._servers.udp import UdpServer as UdpServer
    from faultline._servers.udp import udp as udp
    from faultline._sweep.run import SweepRun as SweepRun
    from faultline._sweep.sweep import Sweep as Sweep
    from faultline._sweep.sweep import sweep as sweep
    from faultline._version import __version__ as __version__
    from faultline.modes import *  # noqa: F403
else:  # hidden from type checkers, for which every name would exist

    def __getattr__(name: str) -> object:
        from faultline._core.late import public

        value = globals()[name] = public(__name__, name)  # asked for once
        return value

    def __dir__() -> list[str]:
        return [*__getattr__("__all__"), "__all__"]
