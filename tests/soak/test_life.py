"""Servers that are started, talked to, changed and stopped in any order raise nothing, and leave nothing behind."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test
from support import EXAMPLES

from soak.life import Life, held


@pytest.mark.slow
def test_servers_outlive_whatever_comes_in_any_order_and_leave_nothing():
    run_state_machine_as_test(Life, settings=settings(max_examples=1, stateful_step_count=5))  # what is made once
    before = held()

    run_state_machine_as_test(Life, settings=settings(max_examples=EXAMPLES or 5, stateful_step_count=15))

    assert held() == before
