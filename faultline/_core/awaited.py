"""Counts the messages that pass, and the bytes of the message in which a break strikes."""

from __future__ import annotations

from faultline._core.breaks import Trigger


class Awaited:
    """The message that a trigger waits for: the strike is before it, or after a number of its bytes.

    A message has a key where several go on at the same time, as the streams of HTTP/2 do.
    """

    __slots__ = ("_after_bytes", "_after_messages", "_begun", "_key", "_left_bytes")

    def __init__(self, trigger: Trigger) -> None:
        self._after_messages, self._after_bytes = trigger.after_messages, trigger.after_bytes
        self._begun = 0  # messages
        self._left_bytes: int | None = None  # of the message, before the strike; `None` while another message passes
        self._key = 0

    @property
    def is_next(self) -> bool:
        """Whether the break strikes before the message that has begun now."""
        after = self._after_messages
        return after is not None and not self._after_bytes and self._begun > after

    def begins(self, key: int = 0) -> bool:
        """Take note that a message begins; return whether the break strikes before it."""
        self._begun += 1
        if key == self._key:
            self._left_bytes = None
        if self._after_bytes and self._begun - 1 == self._after_messages:
            self._key, self._left_bytes = key, self._after_bytes
        return self.is_next

    def pass_bytes(self, count_bytes: int, key: int = 0) -> int | None:
        """Take note that bytes of a message pass; return how many of them pass if the break strikes among them."""
        if self._left_bytes is None or key != self._key:
            return None
        left = self._left_bytes
        self._left_bytes -= count_bytes
        return left if left <= count_bytes else None

    def ends(self, key: int = 0) -> None:
        """Take note that a message has ended."""
        if key == self._key:
            self._left_bytes = None
