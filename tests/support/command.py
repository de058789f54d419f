"""The command in a thread of this process, with what it prints as it prints it."""

from __future__ import annotations

import contextlib
import io
import queue
import shlex
from concurrent.futures import ThreadPoolExecutor

from faultline._front.command import main
from faultline._front.ended import Ended
from support import PATIENCE_SECONDS


class Lines:
    """Standard output whose reader gets what was flushed, line by line."""

    def __init__(self):
        self._kept, self._lines = "", queue.SimpleQueue()

    def write(self, text):
        self._kept += text

    def flush(self):
        *lines, self._kept = self._kept.split("\n")
        for line in lines:
            self._lines.put(line)

    def end(self, _):
        self._lines.put("")

    def read(self):
        """The next line; empty behind the last one."""
        return self._lines.get(timeout=PATIENCE_SECONDS)


class Running:
    """A command that runs."""

    def __init__(self, lines, ended, status):
        self.line, self._ended, self._status = lines.read, ended, status

    def stop(self):
        """End the command: its exit status, and the lines since the last that was read."""
        self._ended.put(None)
        return self._status.result(PATIENCE_SECONDS), list(iter(self.line, ""))


@contextlib.contextmanager
def running(words):
    """`faultline` with these words, until the block ends; one at a time, because it prints to `sys.stdout`."""
    lines, complaints = Lines(), io.StringIO()
    with (
        contextlib.closing(Ended()) as ended,
        ThreadPoolExecutor(1) as thread,
        contextlib.redirect_stdout(lines),
        contextlib.redirect_stderr(complaints),
    ):
        status = thread.submit(main, shlex.split(words), lambda: contextlib.nullcontext(ended))
        status.add_done_callback(lines.end)
        try:
            yield Running(lines, ended, status)
        finally:
            ended.put(None)
            status.result(PATIENCE_SECONDS)
    assert complaints.getvalue() == ""
