"""What the user holds: a server that misbehaves as planned, from start to a bounded stop.

Rules of this room: the port is bound and listening before the constructor returns, so a client may connect at
once. Everything else happens in the background loop; public methods may be called from any other thread.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from itertools import pairwise
from typing import TYPE_CHECKING

from faultline import _net
from faultline._check import rejected, seconds, whole
from faultline._door import Door
from faultline._engine import Conversation, Stage
from faultline._errors import NotStruckError, ParameterError, ServerError
from faultline._fault import Answer, Certificate, Fault
from faultline._guard import unmet
from faultline._http import render
from faultline._ledger import Attempt, Ledger, Request
from faultline._loop import background
from faultline._plan import Dealer, Plan, checked_plan
from faultline._steps import Point

if TYPE_CHECKING:
    import ssl
    from types import TracebackType


class Server:
    """A server on this machine that does to its clients what the plan says.

    Made by `faultline.serve`; a context manager that stops the server, raises what went wrong inside it, and
    fails if a planned fault never struck (`strict=False` leaves that out).
    """

    def __init__(
        self,
        plan: Plan,
        *,
        tls: bool = False,
        answer: Fault | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        strict: bool = True,
        on_end: Callable[[Attempt], None] | None = None,
    ) -> None:
        plan = checked_plan(plan)
        self.host, number = _net.checked_address(host, port)
        self._tls = tls or plan.needs_tls
        self._default = checked_answer(answer)
        self._strict = strict
        self._check_plan(plan)
        self._plan = plan
        self._errors: list[BaseException] = []
        self._conversations: dict[asyncio.Task[None], Conversation] = {}
        self._connections = 0
        self._closed = False
        self.ledger = Ledger(on_end)
        self._dealer = Dealer(plan)
        self._stage = Stage(self._dealer, self.ledger, self._default, self._context if self._tls else None)
        if self._tls:
            self._context(Certificate())  # made now: what can't be made fails here
        self._background = background()
        self._door = Door(self.host, number, self._dealer.upcoming().door)
        self.port = self._door.port
        self._background.loop.call_soon_threadsafe(
            self._door.start, self._background.loop, self._welcome, self._errors.append
        )

    # --- where it is -------------------------------------------------------------------------------------

    @property
    def address(self) -> tuple[str, int]:
        """Host and port for a client on this machine, as `socket.create_connection` takes them."""
        return _net.reachable(self.host), self.port

    @property
    def hostport(self) -> str:
        """`host:port`, with brackets around an IPv6 address."""
        host, port = self.address
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    @property
    def url(self) -> str:
        """`http://host:port` or `https://host:port`, without a path."""
        return f"{'https' if self._tls else 'http'}://{self.hostport}"

    @property
    def ca_file(self) -> str:
        """The path of the test CA's certificate as PEM: what a client has to trust."""
        from faultline import _certs

        return _certs.ca_file()

    def client_context(self) -> ssl.SSLContext:
        """A new client context that verifies, and trusts the test CA and nothing else."""
        from faultline import _certs

        return _certs.client_context()

    # --- what happened -----------------------------------------------------------------------------------

    @property
    def attempts(self) -> tuple[Attempt, ...]:
        """What happened, attempt by attempt: all that a client could have observed is in it."""
        if not self._closed:
            self._background.settle()
        return self.ledger.attempts

    @property
    def intervals(self) -> tuple[float, ...]:
        """Seconds from the beginning of each attempt to the beginning of the next."""
        begins = [a.started_seconds for a in self.attempts]
        return tuple(b - a for a, b in pairwise(begins))

    def wait_for_attempts(
        self, count: int, timeout_seconds: float = 10.0, *, at: Point = "accept"
    ) -> tuple[Attempt, ...]:
        """Wait until so many attempts have begun, or have come to the point `at`.

        Raises:
            WaitError: they have not within `timeout_seconds`.
        """
        whole("count", count, "")
        self.ledger.wait(count, at, seconds("timeout_seconds", timeout_seconds))
        return self.attempts

    # --- what it does ------------------------------------------------------------------------------------

    def become(self, plan: Plan) -> None:
        """Change the plan, on the same port and at once: what begins after this returns meets the new plan.

        An attempt under way keeps its fault. A connection that is idle is closed if the new plan's first fault
        needs a new one.

        Raises:
            ParameterError: no plan, or one that needs TLS on a server without it.
        """
        plan = checked_plan(plan)
        if plan.needs_tls and not self._tls:
            raise ParameterError(f"plan={plan!r}: expected a server with TLS; start it with tls=True.")
        self._check_plan(plan)
        self._open_or_raise()
        self._background.call(lambda: self._change(plan))

    def _change(self, plan: Plan) -> None:
        self._plan = plan
        self._dealer.change(plan)
        upcoming = self._dealer.upcoming()
        self._door.put(upcoming.door)
        if upcoming.needs_new_connection:
            for task, conversation in list(self._conversations.items()):
                if conversation.leave_idle():
                    task.cancel()

    def close(self) -> None:
        """Stop now: the port is free and every connection closed when this returns. Twice is once.

        Raises:
            ServerError: something broke inside the server while it ran.
        """
        if not self._closed:
            self._closed = True
            self._background.run(self._stop())
        self._raise_errors()

    def check_struck(self) -> None:
        """The guard: see that each planned fault that could be seen did strike.

        Raises:
            NotStruckError: one did not; says what happened instead.
        """
        if self._strict and (why := unmet(self._plan, self.attempts, self.hostport)):
            raise NotStruckError(f"{why} (strict=False allows it.)")

    def __enter__(self) -> Server:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
        if error is None:
            self.check_struck()

    def __repr__(self) -> str:
        return f"<Server {self.url} {self._plan!r}{' closed' if self._closed else ''}>"

    # --- in the loop's thread ----------------------------------------------------------------------------

    def _welcome(self, sock: socket.socket) -> None:
        loop = self._background.loop
        self._connections += 1
        wire = _net.Wire(loop, sock, self._background.departures)
        conversation = Conversation(wire, self._stage, self._connections)
        task = loop.create_task(conversation.run())
        self._conversations[task] = conversation
        task.add_done_callback(self._farewell)

    def _farewell(self, task: asyncio.Task[None]) -> None:
        del self._conversations[task]
        if not task.cancelled() and (error := task.exception()) is not None:
            self._errors.append(error)
        if not self._closed:
            self._door.resume()  # descriptors may have run out

    async def _stop(self) -> None:
        self._door.close()
        tasks = list(self._conversations)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    # --- helpers -----------------------------------------------------------------------------------------

    def _context(self, certificate: Certificate) -> ssl.SSLContext:
        from faultline import _certs

        return _certs.server_context(certificate, _net.reachable(self.host))

    def _check_plan(self, plan: Plan) -> None:
        """A break after more bytes than the answer has could never strike.

        Raises:
            ParameterError: names the size of the answer.
        """
        brk = plan.break_
        answer = plan.answer or self._default
        if brk is None or brk.at != "response" or not isinstance(answer, Answer):
            return
        size = len(render(answer.sized(brk.trigger.after_bytes), Request(method="GET"), keep_alive=False))
        if brk.trigger.after_bytes > size and not answer.echoes:
            raise rejected("after_bytes", brk.trigger.after_bytes, f"at most {size}, the bytes of the response")

    def _open_or_raise(self) -> None:
        if self._closed:
            raise ServerError(f"{self!r}: expected an open server; it was closed.")

    def _raise_errors(self) -> None:
        errors, self._errors = self._errors, []
        if errors:
            more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
            raise ServerError(f"the server on {self.hostport} broke: {errors[0]!r}{more}.") from errors[0]


def checked_answer(answer: object) -> Answer:
    """The answer of a server, for attempts whose fault has none of its own.

    Raises:
        ParameterError: anything but a fault that is an answer and nothing else.
    """
    if answer is None:
        return Answer()
    if isinstance(answer, Fault) and answer.is_healthy and isinstance(answer.answer, Answer):
        return answer.answer
    raise rejected("answer", answer, "an answer such as ok(b'…') or echo()")


def serve(
    plan: Plan,
    *,
    tls: bool = False,
    answer: Fault | None = None,
    host: str = "127.0.0.1",
    port: int = 0,
    strict: bool = True,
) -> Server:
    r"""Start a server that does to its clients what the plan says.

    Args:
        plan: a fault such as `reset()`, met by every attempt.
        tls: speak TLS, with a certificate of the test CA; a plan that can only be met in TLS implies it.
        answer: what is said when nothing breaks, for faults without an answer of their own.
        host: the address to bind.
        port: the port to bind; 0 takes a free one.
        strict: whether leaving the server fails when the planned fault never struck.

    Returns:
        The server, listening; use it as a context manager, or `close()` it.

    Raises:
        ParameterError: a value that can't mean anything.
        PortError: the port is taken.

    Example:
        >>> import faultline, socket
        >>> with faultline.serve(faultline.reset(after_bytes=4)) as server:
        ...     with socket.create_connection(server.address) as client:
        ...         client.sendall(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n")
        ...         client.recv(100)
        ...         client.recv(100)
        Traceback (most recent call last):
        ConnectionResetError: [Errno 104] Connection reset by peer
    """
    return Server(plan, tls=tls, answer=answer, host=host, port=port, strict=strict)
