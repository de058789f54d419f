"""The table of points, and the types that name them."""

from __future__ import annotations

from typing import get_args

from support.tables import each_row

from faultline import reset
from faultline._core.points import DATA_POINTS, FACTS, OPEN_POINTS, POINTS, TABLE, Point, has_come_to, is_before


def test_table_has_a_row_for_each_point_in_order():
    assert tuple(row.point for row in TABLE) == POINTS == get_args(Point)


def test_points_of_an_open_connection_are_those_that_the_table_says():
    assert tuple(row.point for row in TABLE if row.is_connected) == OPEN_POINTS


def test_points_of_data_are_those_that_the_table_says():
    assert tuple(row.point for row in TABLE if row.hears) == DATA_POINTS


@each_row(
    ("question", "points"),
    [
        ("counts_bytes", {"handshake", "request", "response", "tunnel"}),
        ("is_of_tls", {"handshake"}),
        ("is_opening", {"connect", "accept", "handshake"}),
        ("is_at_servers", {*POINTS} - {"lookup", "tunnel"}),
        ("is_exchange", {"request", "response"}),
    ],
)
def test_table_answers(question, points):
    assert {point for point in POINTS if getattr(FACTS[point], question)} == points


def test_whoever_says_data_is_one_of_the_two_sides():
    assert {FACTS[point].speaks for point in DATA_POINTS} == {"client", "server"}


def test_order_is_that_of_the_table():
    assert is_before("accept", "request")
    assert not is_before("request", "request")
    assert not is_before("idle", "response")


def test_attempt_has_come_to_its_point_and_to_those_before():
    assert [point for point in POINTS if has_come_to("request", point)] == [
        "lookup",
        "connect",
        "accept",
        "handshake",
        "request",
    ]


def test_lookup_has_come_to_its_only_point_whatever_is_asked():
    assert all(has_come_to("lookup", point) for point in POINTS)


def test_a_break_begins_at_its_point():
    assert [reset(at=point).break_.begins_at for point in OPEN_POINTS] == list(OPEN_POINTS)
