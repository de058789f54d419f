"""Modes of conditions: how the bytes travel while nothing breaks."""

from typing import Annotated, Literal

from faultline._core.check import rejected, whole
from faultline._core.conditions import (
    Corrupt,
    Distribution,
    Drip,
    Drop,
    Duplicate,
    Latency,
    Loss,
    Slicer,
    SlowClose,
    Swallowing,
    Throttle,
)
from faultline._core.errors import ParameterError
from faultline._core.fault import Fault
from faultline._core.planning import checked_probability
from faultline.modes._registry import case, mode

__all__ = [
    "corrupt",
    "drip",
    "drop_bytes",
    "duplicate",
    "latency",
    "loss",
    "one_way",
    "slicer",
    "slow_close",
    "throttle",
]

Whose = Annotated[
    Literal["request", "response", "both", "handshake"],
    "the sender of the bytes; handshake: the server's bytes of the TLS handshake",
]
For = Annotated[float | None, "stop after this time, counted from the first bytes (default: never)"]
FromBody = Annotated[bool, "leave the head of an HTTP message alone, up to its empty line"]


@mode(case("the response", seconds=0.01))
def latency(
    seconds: Annotated[float, "the delay of the bytes"],
    *,
    jitter_seconds: Annotated[float, "how far the delay varies, at random"] = 0.0,
    distribution: Annotated[Distribution, "how the delay varies: evenly, or with a shorter or longer tail"] = "uniform",
    direction: Whose = "response",
    for_seconds: For = None,
) -> Fault:
    """Delay bytes: each arrives this much later than it was sent, and the order stays.

    Two delays add up. `seconds` is the mean. `jitter_seconds` is the farthest from it if the distribution is
    "uniform"; it is the standard deviation of "normal", "lognormal" and "pareto", the last two of which have a long
    tail and never come near 0. A delay that would be negative is none.

    A server's own bytes come when it sends them, so a response in several pieces is late once. What waits in a relay
    takes at most 1 MiB in each direction; then the sender has to wait too.

    .. versionadded:: 0.1

    Example:
        >>> from faultline import latency, ok
        >>> latency(0.05, jitter_seconds=0.01) & ok()
        latency(0.05, jitter_seconds=0.01) & ok()
    """
    if not jitter_seconds and distribution != "uniform":
        raise rejected("jitter_seconds", jitter_seconds, f"more than 0 with distribution={distribution!r}")
    if not seconds and distribution in ("lognormal", "pareto"):
        raise rejected("seconds", seconds, f"a mean above 0 for {distribution!r}; use 'normal' or 'uniform' with 0")
    return Fault(
        conditions=(Latency(seconds, jitter_seconds, distribution, direction=direction, for_seconds=for_seconds),)
    )


@mode(case("the response", bytes_per_second=10_000))
def throttle(
    bytes_per_second: Annotated[int, "the rate"],
    *,
    from_body: FromBody = False,
    direction: Whose = "response",
    for_seconds: For = None,
) -> Fault:
    """Deliver bytes at this rate or slower, in pieces of 20 ms, by absolute deadlines that don't drift.

    Silence earns no credit: what comes after it travels at this rate too.

    .. versionadded:: 0.1

    Example:
        >>> from faultline import throttle
        >>> throttle(1000)
        throttle(1000)
    """
    whole("bytes_per_second", bytes_per_second, "", 1)
    return Fault(conditions=(Throttle(from_body, bytes_per_second, direction=direction, for_seconds=for_seconds),))


@mode(case("the response", chunk_bytes=20, every_seconds=0.01))
def drip(
    chunk_bytes: Annotated[int, "the size of a piece"] = 1,
    *,
    every_seconds: Annotated[float, "the time between two pieces"] = 0.1,
    from_body: FromBody = False,
    direction: Whose = "response",
    for_seconds: For = None,
) -> Fault:
    """Deliver bytes piece by piece, by absolute deadlines that don't drift.

    Silence earns no credit: the pace stays as it is after it. A client whose timeout is per read never times out,
    however long the response takes.

    .. versionadded:: 0.1

    Example:
        >>> from faultline import drip
        >>> drip(1, every_seconds=0.2)
        drip(1, every_seconds=0.2)
    """
    whole("chunk_bytes", chunk_bytes, " of bytes", 1)
    return Fault(
        conditions=(Drip(from_body, chunk_bytes, every_seconds, direction=direction, for_seconds=for_seconds),)
    )


@mode(case("the response", average_bytes=20, variation_bytes=10))
def slicer(
    average_bytes: Annotated[int, "the size of a piece"],
    *,
    variation_bytes: Annotated[int, "how far the size varies, at random"] = 0,
    every_seconds: Annotated[float, "the time between two pieces"] = 0.0,
    direction: Whose = "response",
    for_seconds: For = None,
) -> Fault:
    """Deliver bytes in pieces of about this size, each sent by itself, so that a read gets only some.

    A client that takes one read for one message fails. The kernel may put pieces together again that the client
    doesn't read in time; `every_seconds` keeps them apart.

    .. versionadded:: 0.1

    Example:
        >>> from faultline import slicer
        >>> slicer(10, variation_bytes=5)
        slicer(10, variation_bytes=5)
    """
    whole("average_bytes", average_bytes, " of bytes", 1)
    whole("variation_bytes", variation_bytes, " of bytes", 0, average_bytes)
    made = Slicer(False, average_bytes, variation_bytes, every_seconds, direction=direction, for_seconds=for_seconds)
    return Fault(conditions=(made,))


@mode(case("the response", seconds=0.01))
def slow_close(
    seconds: Annotated[float, "the delay of the end"],
    *,
    direction: Annotated[Literal["request", "response", "both"], "the sender of the end"] = "response",
    for_seconds: For = None,
) -> Fault:
    """Deliver bytes at once, and the end of the stream (FIN) later.

    A client that reads to the end waits, although it has everything. A server in HTTP keeps no connection alive, so
    that each has an end; a relay passes the end on late. A RST comes at once.

    .. versionadded:: 0.1

    Example:
        >>> from faultline import close, slow_close
        >>> slow_close(0.5) & close(after_bytes=10)
        slow_close(0.5) & close(after_bytes=10)
    """
    return Fault(conditions=(SlowClose(seconds, direction=direction, for_seconds=for_seconds),))


@mode(case("TimeoutError"))
def one_way(
    *,
    direction: Annotated[Literal["request", "response"], "the sender whose bytes never arrive"] = "response",
    for_seconds: For = None,
) -> Fault:
    """Swallow the bytes of one side, as a network that carries packets in one direction only does.

    The connection stays open: the sender's bytes are accepted, and nothing of them arrives. What the other side sends
    arrives, and so does the end of either side.

    .. versionadded:: 0.1

    Example:
        >>> from faultline import one_way
        >>> one_way()
        one_way()
    """
    return Fault(conditions=(Swallowing(direction=direction, for_seconds=for_seconds),))


@mode(case("the response", at_byte=65))
def corrupt(
    *,
    at_byte: Annotated[int | None, "flip the lowest bit of this byte, counted from 0"] = None,
    probability: Annotated[float, "flip the lowest bit of each byte with this probability, instead of one byte"] = 0.0,
    direction: Whose = "response",
    for_seconds: For = None,
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
    return Fault(conditions=(Corrupt(at_byte, probability, direction=direction, for_seconds=for_seconds),))


@mode(case("the response", at_byte=50))
def drop_bytes(
    count_bytes: Annotated[int, "the number of bytes"] = 1,
    *,
    at_byte: Annotated[int, "from this byte on, counted from 0"] = 0,
    direction: Whose = "response",
    for_seconds: For = None,
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
    return Fault(conditions=(Drop(at_byte, count_bytes, direction=direction, for_seconds=for_seconds),))


@mode(case("the response", at_byte=66))
def duplicate(
    count_bytes: Annotated[int, "the number of bytes"] = 1,
    *,
    at_byte: Annotated[int, "from this byte on, counted from 0"] = 0,
    direction: Whose = "response",
    for_seconds: For = None,
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
    return Fault(conditions=(Duplicate(at_byte, count_bytes, direction=direction, for_seconds=for_seconds),))


@mode(case("the response", probability=0.1))
def loss(
    probability: Annotated[float, "the probability for each packet"],
    *,
    for_seconds: Annotated[float | None, "stop dropping packets after this time (default: never)"] = None,
) -> Fault:
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
    return Fault(conditions=(Loss(probability, direction="request", for_seconds=for_seconds),))
