"""Clients that use requests, which is loaded once before they are forked."""

from __future__ import annotations

import requests


def default(url):
    """It waits for ever."""
    return requests.get(url)


def with_a_timeout(url):
    """It waits for each read."""
    return requests.get(url, timeout=0.3)
