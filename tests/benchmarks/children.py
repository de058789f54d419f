"""A client in a process of its own, which is forked before the server starts a thread."""

from __future__ import annotations

import json
import os
import signal
from contextlib import contextmanager


class Child:
    """A process that is told arguments, and answers with a value; each once."""

    def __init__(self, work):
        told, self._telling = os.pipe()
        self._answered, answering = os.pipe()
        self._pid = os.fork()
        if self._pid == 0:
            os.close(self._telling)
            with os.fdopen(told) as reader, os.fdopen(answering, "w") as writer:
                work = work(*json.loads(reader.readline()))
                for value in work if hasattr(work, "__next__") else [work]:
                    writer.write(json.dumps(value) + "\n")
                    writer.flush()
                reader.read()  # until it is killed
        os.close(told)
        os.close(answering)
        self._answers = os.fdopen(self._answered)

    def tell(self, *arguments):
        """Let the child begin."""
        os.write(self._telling, (json.dumps(arguments) + "\n").encode())

    def answer(self):
        """Wait for its next answer."""
        return json.loads(self._answers.readline())

    def end(self):
        """End the child, whatever it does."""
        os.kill(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)
        os.close(self._telling)
        self._answers.close()


@contextmanager
def in_a_child(work):
    """Do this in a process of its own."""
    child = Child(work)
    try:
        yield child
    finally:
        child.end()
