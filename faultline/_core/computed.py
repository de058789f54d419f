"""The public function `answer`: a response that a function makes of the request."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, replace

from faultline._core.answers import Answer, AsUsual
from faultline._core.attempts import Request
from faultline._core.calls import explained
from faultline._core.check import rejected
from faultline._core.fault import Fault
from faultline._core.said import Said


@explained
def answer(function: Callable[[Request], Fault | bytes | str]) -> Fault:
    """Answer with what a function makes of the request.

    The function gets each request once the server has read all of it, in the thread of the servers, so it should be
    quick. It returns a body, or an answer such as `ok(json=…)` or `status(404)`. An error in it ends the connection,
    and raises `ServerError` in the test, with its traceback.

    .. versionadded:: 0.1

    Args:
        function: what makes the answer.

    Raises:
        ParameterError: `function` is not callable, or is async.

    Example:
        >>> import faultline, urllib.request
        >>> with faultline.serve(faultline.answer(lambda request: request.target)) as server:
        ...     urllib.request.urlopen(f"{server.url}/pay").read()
        b'/pay'
    """
    if not callable(function) or inspect.iscoroutinefunction(function):
        raise rejected("function", function, "a function of a request, not async, that returns ok(…), bytes or text")
    label = Said("answer", (("function", function),), 1)
    return Fault(answer=Answer(computes=Computed(function)), said=(label,))


@dataclass(frozen=True)
class Computed:
    """A function of the test, and what it makes of a request as an answer."""

    function: Callable[[Request], Fault | bytes | str]

    def __call__(self, request: Request) -> Answer:
        """The answer to a request.

        Raises:
            ParameterError: the function returned something else.
            Exception: what the function raised.
        """
        made = self.function(request)
        if isinstance(made, (bytes, str)):
            return Answer(body=made.encode() if isinstance(made, str) else made)
        if isinstance(made, Fault) and replace(made, answer=None, said=()) == Fault():
            if isinstance(made.answer, Answer):
                return made.answer
            if isinstance(made.answer, AsUsual):
                return Answer()
        raise rejected("answer", made, "bytes, text or an answer such as ok(json=…), without a break or a condition")
