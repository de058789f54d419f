"""Modes of conditions: how the bytes travel while nothing breaks."""

from __future__ import annotations

from typing import Annotated, Literal

from faultline._core.check import rejected, whole
from faultline._core.conditions import Corrupt, Drip, Drop, Duplicate, Latency, Loss, Throttle
from faultline._core.errors import ParameterError
from faultline._core.fault import Fault
from faultline._core.plan import checked_probability
from faultline.modes._registry import case, mode

__all__ = ["corrupt", "drip", "drop_bytes", "duplicate", "latency", "loss", "throttle"]

Whose = Annotated[
    Literal["request", "response", "both", "handshake"], "the sender of the bytes; handshake: the server, in TLS"
]


@mode(case("the response", seconds=0.01))
def latency(
    seconds: Annotated[float, "the delay of the bytes"],
    *,
    jitter_seconds: Annotated[float, "the most that the delay varies, more or less, at random"] = 0.0,
    direction: Whose = "response",
) -> Fault:
    """Delay bytes, once for each turn of the conversation.

    .. versionadded:: 0.1

    Example:
        >>> from faultline import latency, ok
        >>> latency(0.05, jitter_seconds=0.01) & ok()
        latency(0.05, jitter_seconds=0.01) & ok()
    """
    return Fault(conditions=(Latency(direction, seconds, jitter_seconds),))


@mode(case("the response", bytes_per_second=10_000))
def throttle(
    bytes_per_second: Annotated[int, "the rate"],
    *,
    direction: Whose = "response",
) -> Fault:
    """Deliver bytes at a rate, in pieces of about 20 ms, by absolute deadlines that don't drift.

    .. versionadded:: 0.1

    Example:
        >>> from faultline import throttle
        >>> throttle(1000)
        throttle(1000)
    """
    whole("bytes_per_second", bytes_per_second, "", 1)
    return Fault(conditions=(Throttle(direction, bytes_per_second),))


@mode(case("the response", chunk_bytes=20, every_seconds=0.01))
def drip(
    chunk_bytes: Annotated[int, "the size of a piece"] = 1,
    *,
    every_seconds: Annotated[float, "from piece to piece"] = 0.1,
    direction: Whose = "response",
) -> Fault:
    """Deliver bytes piece by piece, by absolute deadlines that don't drift.

    A client whose timeout is per read never times out, however long the response takes.

    .. versionadded:: 0.1

    Example:
        >>> from faultline import drip
        >>> drip(1, every_seconds=0.2)
        drip(1, every_seconds=0.2)
    """
    whole("chunk_bytes", chunk_bytes, " of bytes", 1)
    return Fault(conditions=(Drip(direction, chunk_bytes, every_seconds),))


@mode(case("the response", at_byte=65))
def corrupt(
    *,
    at_byte: Annotated[int | None, "flip the lowest bit of this byte, counted from 0"] = None,
    probability: Annotated[float, "or flip that of each byte with this probability"] = 0.0,
    direction: Whose = "response",
) -> Fault:
    """Change bytes on their way, but not their number; with TLS, the bytes inside it.

    .. versionadded:: 0.1

    Example:
        >>> from faultline import corrupt
        >>> corrupt(at_byte=65)
        corrupt(at_byte=65)
    """
    checked_probability("probability", probability)
    if at_byte is not None:
        whole("at_byte", at_byte, "", 0)
    if (at_byte is None) == (probability == 0):
        raise ParameterError(f"at_byte={at_byte}, probability={probability}: expected one of the two.")
    return Fault(conditions=(Corrupt(direction, at_byte, probability),))


@mode(case("the response", at_byte=50))
def drop_bytes(
    count_bytes: Annotated[int, "how many bytes"] = 1,
    *,
    at_byte: Annotated[int, "from this byte on, counted from 0"] = 0,
    direction: Whose = "response",
) -> Fault:
    """Leave bytes out, as if they had never been sent; with TLS, the bytes inside it.

    .. versionadded:: 0.1

    Example:
        >>> from faultline import drop_bytes
        >>> drop_bytes(4, at_byte=100)
        drop_bytes(4, at_byte=100)
    """
    whole("count_bytes", count_bytes, " of bytes", 1)
    whole("at_byte", at_byte, "", 0)
    return Fault(conditions=(Drop(direction, at_byte, count_bytes),))


@mode(case("the response", at_byte=66))
def duplicate(
    count_bytes: Annotated[int, "how many bytes"] = 1,
    *,
    at_byte: Annotated[int, "from this byte on, counted from 0"] = 0,
    direction: Whose = "response",
) -> Fault:
    """Deliver bytes twice, one copy after the other; with TLS, the bytes inside it.

    .. versionadded:: 0.1

    Example:
        >>> from faultline import duplicate
        >>> duplicate(4, at_byte=100)
        duplicate(4, at_byte=100)
    """
    whole("count_bytes", count_bytes, " of bytes", 1)
    whole("at_byte", at_byte, "", 0)
    return Fault(conditions=(Duplicate(direction, at_byte, count_bytes),))


@mode(case("the response", probability=0.1))
def loss(probability: Annotated[float, "the probability for each packet"]) -> Fault:
    """Drop packets from the client, data and acknowledgements, so that TCP has to send them again.

    The kernel draws the random numbers (SKF_AD_RANDOM, linux/filter.h), so no seed reproduces the loss. Needs the
    socket filter, which takes CAP_NET_ADMIN; without it `serve` raises `UnsupportedError`.

    .. versionadded:: 0.1

    Example:
        >>> from faultline import loss
        >>> loss(0.1)
        loss(0.1)
    """
    if not 0 < checked_probability("probability", probability) < 1:
        raise rejected(
            "probability",
            probability,
            "a probability between 0 and 1; partition() or blackhole() drops everything",
        )
    return Fault(conditions=(Loss("request", probability),))
