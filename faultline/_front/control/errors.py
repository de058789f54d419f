"""The errors of the API, with the texts and status codes that toxiproxy's clients know.

Rules: no other module knows the status code of an error.
"""

from __future__ import annotations

from collections.abc import Iterable

from faultline._core.words import meant


class ApiError(Exception):
    """A request can't be done.

    Attributes:
        status: the status code of the response.
        text: the text of the error.
        partly: further fields of the response, such as what was done before the error.
    """

    def __init__(self, status: int, text: str, **partly: object) -> None:
        super().__init__(text)
        self.status, self.text, self.partly = status, text, partly


def bad_body(why: str) -> ApiError:
    """The error of a body that is no JSON, or has a value of another type."""
    return ApiError(400, f"bad request body: {why}")


def missing(field: str, number: int | None = None) -> ApiError:
    """The error of a field that is empty or absent; in a list of proxies with the number of the proxy."""
    return ApiError(400, f"missing required field: {field}{'' if number is None else f' at proxy {number}'}")


def invalid_stream() -> ApiError:
    """The error of a stream of another name."""
    return ApiError(400, "stream was invalid, can be either upstream or downstream")


def invalid_type(given: str, known: Iterable[str]) -> ApiError:
    """The error of an unknown type of toxic, whose hint has those that there are."""
    near = [f"did you mean {each!r}? " for each in meant(given, known, {})[:1] if given]
    return ApiError(400, "invalid toxic type", hint=f"type={given!r}: {''.join(near)}Types: {', '.join(known)}.")


def no_proxy() -> ApiError:
    """The error of a proxy that is not there."""
    return ApiError(404, "proxy not found")


def no_toxic() -> ApiError:
    """The error of a toxic that is not there."""
    return ApiError(404, "toxic not found")


def known_proxy() -> ApiError:
    """The error of a second proxy of one name."""
    return ApiError(409, "proxy already exists")


def known_toxic() -> ApiError:
    """The error of a second toxic of one name."""
    return ApiError(409, "toxic already exists")


def not_accepted(why: object) -> ApiError:
    """The error of a value that faultline doesn't accept, such as an upstream on another machine."""
    return ApiError(400, str(why))


def unsupported(why: object) -> ApiError:
    """The error of what this machine or this user can't do."""
    return ApiError(501, str(why))


def not_done(why: object) -> ApiError:
    """Any other error, such as that of the operating system."""
    return ApiError(500, str(why))
