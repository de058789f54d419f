"""The events of two well-known APIs of language models, as data for `sse`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, TypeAlias

from faultline._core.calls import explained
from faultline._core.check import whole

Event: TypeAlias = str | Mapping[str, Any]
WORD = re.compile(r"\w+|\s+|[^\w\s]+")


@explained
def openai_chunks(text: str = "Hello there!", *, model: str = "gpt-test") -> tuple[Event, ...]:
    """The events of a chat completion that streams, as the API of OpenAI sends them, for `sse`.

    The role comes first, then each word of the text in a chunk of its own, then the reason of the end, then `[DONE]`.

    .. versionadded:: 0.1

    Args:
        text: what the model says.
        model: the name of the model.

    Example:
        >>> from faultline import openai_chunks, sse
        >>> fault = sse(openai_chunks("Hello there!"), break_="reset", every_seconds=0.01)
    """
    head = {"id": "chatcmpl-faultline", "object": "chat.completion.chunk", "created": 0, "model": model}

    def piece(delta: Mapping[str, str], reason: str | None = None) -> Event:
        return {"data": {**head, "choices": [{"index": 0, "delta": delta, "finish_reason": reason}]}}

    words = [piece({"content": word}) for word in WORD.findall(text)]
    return (piece({"role": "assistant", "content": ""}), *words, piece({}, "stop"), "[DONE]")


@explained
def anthropic_events(
    text: str = "Hello there!", *, model: str = "claude-test", overloaded_after: int | None = None
) -> tuple[Event, ...]:
    """The events of a message that streams, as the API of Anthropic sends them, for `sse`.

    .. versionadded:: 0.1

    Args:
        text: what the model says; each word is a delta of its own.
        model: the name of the model.
        overloaded_after: after how many deltas the event `error` of the kind `overloaded_error` ends the stream.
            Default: never.

    Raises:
        ParameterError: `overloaded_after` is below 0, or more than the text has deltas.

    Example:
        >>> from faultline import anthropic_events, sse
        >>> fault = sse(anthropic_events("Hello there!", overloaded_after=1), break_="none")
    """
    usage = {"input_tokens": 1, "output_tokens": 1}
    message = {"id": "msg_faultline", "type": "message", "role": "assistant", "model": model, "content": []}
    deltas: list[dict[str, Any]] = [
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": word}}
        for word in WORD.findall(text)
    ]
    begin: list[dict[str, Any]] = [
        {"type": "message_start", "message": {**message, "stop_reason": None, "stop_sequence": None, "usage": usage}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "ping"},
    ]
    end: list[dict[str, Any]] = [
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": None}, "usage": usage},
        {"type": "message_stop"},
    ]
    if overloaded_after is not None:
        count = whole("overloaded_after", overloaded_after, " of deltas", 0, len(deltas))
        deltas = deltas[:count]
        end = [{"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}]
    return tuple({"event": data["type"], "data": data} for data in (*begin, *deltas, *end))
