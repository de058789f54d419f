"""The mode of WebSockets."""

from faultline._core import steps as do
from faultline._core.branching import Reply
from faultline._core.check import rejected
from faultline._core.errors import ParameterError
from faultline._core.fault import Fault
from faultline._core.frames import Accept, CloseFrame, Drop, EchoMessages, IgnorePings, OfWebSocket, ReceiveClose
from faultline._core.said import abbreviated
from faultline._core.script import as_played, unfolded
from faultline._core.scripted import WebSocketPlan
from faultline._core.steps import Step, every
from faultline.modes._registry import case, mode
from faultline.modes.answers import echo

__all__ = ["websocket"]

INSTEAD = {  # of steps that read or write HTTP and bytes
    do.Receive: "receive_text() or receive_bytes()",
    do.ReceiveUntil: "receive_text(…) or receive_bytes(…)",
    do.ReceivePrefixed: "receive_bytes()",
    do.ReceiveRequest: "accept(), before which the request is read",
    Reply: "receive_text(…) and the answer, for each message in its turn",
    do.Respond: "send_text(…), or the answer as a fault of its own",
    do.StartTls: "a server with TLS",
    do.StopTls: "a server without TLS",
}

CLOSES = ((CloseFrame, ReceiveClose), (ReceiveClose, CloseFrame))  # the two close frames, in either order


@mode(case("its messages"))
def websocket(*steps: Step | Fault) -> Fault:
    r"""Speak WebSocket (RFC 6455): accept, then play these steps; without steps, send every message back.

    The steps are `accept`, `send_text`, `send_bytes`, `receive_text`, `receive_bytes`, `send_ping`, `close_frame`,
    `receive_close`, `echo()`, the faults `bad_frame`, `bad_mask`, `cut_frame`, `drop`, `fragment` and `ignore_pings`,
    and as in a script `hold`, `repeat`, `send` for bytes of your own, and the modes `reset()`, `close()`, `stall()`,
    `half_close()` and `partition()`, which send no close frame. After the last step the server sends close 1000, waits
    for the client's close frame, and ends the connection. Whenever the server reads, it answers PINGs and the closing
    handshake.

    A request that asks for no WebSocket gets `426 Upgrade Required`. A WebSocket is one attempt, whose `websocket` has
    its messages and close codes. `on=` looks in the text of its messages, and `after_messages=` counts them. It needs
    wsproto: `pip install "pytest-faultline[websocket]"`.

    .. versionadded:: 0.1

    Raises:
        ParameterError: an argument is no step that a WebSocket has, or a step follows one after which it can't come.

    Example:
        >>> import faultline
        >>> from faultline import close_frame, receive_text, send_text, websocket
        >>> from websockets.sync.client import connect
        >>> with faultline.serve(websocket(receive_text("go"), send_text("one"), close_frame(1012))) as server:
        ...     with connect(server.ws_url, proxy=None) as client:
        ...         client.send("go")
        ...         list(client)
        Traceback (most recent call last):
        websockets.exceptions.ConnectionClosedError: received 1012 (service restart); then sent 1012 (service restart)
    """
    for step in steps:
        if isinstance(step, (str, bytes)):
            right = f"send_{'text' if isinstance(step, str) else 'bytes'}({abbreviated(step)})"
            raise rejected("step", step, f"a step such as send_text('…'), or a mode such as reset(); write {right}")
    own = tuple(EchoMessages() if step == echo() else step for step in steps) or (EchoMessages(),)
    flat = unfolded(own)
    check_steps(flat)
    has_accept = any(isinstance(step, Accept) for step in flat)
    return Fault(answer=WebSocketPlan(flat if has_accept else (Accept(), *flat)))


def check_steps(steps: tuple[Step, ...]) -> None:
    """Check that a WebSocket has these steps, and that each can come where it is.

    Raises:
        ParameterError: a step reads bytes or speaks HTTP; the handshake is accepted twice or late; PINGs are ignored
            twice; or a message follows a close frame, or a frame that is not complete.
    """
    for step in every(steps):
        if type(step) in INSTEAD:
            raise ParameterError(f"{step!r}: expected a step of a WebSocket; write {INSTEAD[type(step)]}.")
    check_drop(steps)
    last: OfWebSocket | None = None  # after which no message can come
    begun = closes = ignores = False
    for step in as_played(steps):
        if not isinstance(step, OfWebSocket) or isinstance(step, Drop):
            continue
        if isinstance(step, Accept) and begun:
            raise ParameterError(f"{step!r}: expected it once, before the first step of the WebSocket.")
        if isinstance(step, IgnorePings) and ignores:
            raise ParameterError(f"{step!r}: expected it once, and outside of a repeat: it stays in force.")
        if last is not None and last.leaves_open:
            raise ParameterError(f"{step!r}: expected no frame after {last!r}, whose frame has no end.")
        if last is not None and (closes or (type(last), type(step)) not in CLOSES):
            raise ParameterError(f"{step!r}: expected no message after {last!r}.")
        begun, closes, ignores = True, last is not None, ignores or isinstance(step, IgnorePings)
        if isinstance(step, (CloseFrame, ReceiveClose)) or step.leaves_open:
            last = step


def check_drop(steps: tuple[Step, ...]) -> None:
    """Check that no close frame is sent before an end without one.

    Raises:
        ParameterError: one is.
    """
    played = [*as_played(steps)]
    step = next((step for step in played if isinstance(step, Drop)), None)
    if step is not None and any(isinstance(each, CloseFrame) for each in played):
        raise ParameterError(f"{step!r}: expected no close frame before it; write close(), which ends at once.")
