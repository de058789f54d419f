"""What tests of Linux itself say with the portable implementation, which `FAULTLINE_PLATFORM=portable` chooses.

A test that meets an `UnsupportedError` of the portable implementation is skipped with its reason. A test of what is
different, and is no error, has its reason here.
"""

from __future__ import annotations

from fnmatch import fnmatchcase

from faultline import UnsupportedError
from faultline._net.system import LACKS, is_linux

UNREAD = "the end of a client behind unread bytes is seen by Linux alone"
HALF_CLOSED = "a client that has only finished sending counts as one that has left"
READ = "whether a client has read, only Linux tells"
ARRIVED = "what has arrived only Linux and macOS tell"
PACKETS = "raw sockets get a copy of each SYN on Linux alone"
HELD = "whether a program still holds its socket only Linux tells"
AUDIT = "faultline audit needs pidfd_open(2), prctl(2) and /proc, which only Linux has"
REASONS = (UNREAD, HALF_CLOSED, READ, ARRIVED, PACKETS, HELD)

# The tests, by the names of their files and their own, with `*` for any text.
TESTS: dict[str, str] = {
    "audit/test_targets.py::test_wrong_words_get_a_line": AUDIT,
    "kinds/test_leaving.py::test_a_client_is_seen_leaving_however_much_of_what_it_said_lies_unread": UNREAD,
    "kinds/test_leaving.py::test_nothing_strikes_a_client_that_has_left*": HALF_CLOSED,
    "relay/test_ends.py::test_ends_of_both_sides_are_in_the_ledger_in_their_order?client-*": HALF_CLOSED,
    "relay/test_leaving.py::test_a_relay_passes_the_end_of_one_direction_on_and_the_other_goes_on": HALF_CLOSED,
    "relay/test_passing.py::test_a_client_that_only_listens_hears_the_upstream_to_its_end*": HALF_CLOSED,
    "relay/test_passing.py::test_a_half_close_is_passed_on_and_the_other_direction_goes_on?client-*": HALF_CLOSED,
    "relay/test_passing.py::test_a_reset_after_a_half_close_is_still_a_reset?client-*": HALF_CLOSED,
    "relay/test_postgres.py::test_connect_timeout_of_asyncpg": UNREAD,
    "scenarios/test_accept.py::test_s012_nobody_answers_the_handshake": UNREAD,
    "test_by_path.py::test_guard_names_the_path_whose_plan_was_never_met": HALF_CLOSED,
    "test_conditions.py::test_requests_that_wait_before_the_end_of_their_client_are_answered": HALF_CLOSED,
    "test_docs.py::test_the_page_of_steps_has_every_step_and_what_clients_see_of_it": HALF_CLOSED,
    "test_door.py::test_black_hole_of_a_client_in_c_is_counted": PACKETS,
    "test_exact_bytes.py::test_break_does_not_wait_for_an_acknowledgement*": ARRIVED,
    "test_exact_bytes.py::test_client_that_reads_late_still_gets_every_byte": ARRIVED,
    "test_exact_bytes.py::test_rst_waits_until_a_late_client_has_read": READ,
    "test_leaks.py::test_client_that_has_ended_tls_only_is_a_leak": HELD,
    "test_leaks.py::test_client_that_left_where_no_packet_passes_is_no_leak*": UNREAD,
    "test_leaks.py::test_leak_whose_attempts_are_no_longer_kept_is_named_by_its_number": HELD,
    "test_parked.py::test_controls_leave_a_stalled_connection_as_it_is*": UNREAD,
    "test_peers.py::*": HELD,
    "test_reply.py::test_guard_asks_for_the_branches_that_are_faults_and_for_no_other": HALF_CLOSED,
    "test_wire.py::test_a_client_reads_what_was_sent_before_a_rst*": READ,
    "test_wire.py::test_a_client_that_has_left_is_not_waited_for*": READ,
    "test_wire.py::test_a_client_that_has_read_or_spoken_has_looked_at_its_connect*": READ,
    "test_wire.py::test_a_client_that_has_spoken_is_ready_for_a_rst": READ,
    "test_wire.py::test_a_client_that_reads_nothing_is_not_waited_for": READ,
    "test_wire.py::test_client_is_seen_to_leave_though_nobody_reads?close-FIN-unread?": UNREAD,
    "test_wire.py::test_client_that_stays_is_no_news?True?": HALF_CLOSED,
    "test_wire.py::test_fin_that_was_read_is_no_news_but_the_rst_after_it_is": HALF_CLOSED,
    "test_wire.py::test_rst_after_all_was_acknowledged_takes_nothing_away": ARRIVED,
    "test_wire.py::test_waiting_for_acknowledgements_ends_when_the_client_resets": ARRIVED,
    "test_wire.py::test_watching_reads_nothing": UNREAD,
}


def lacking(error: BaseException) -> str:
    """What the portable implementation lacks, if this error says that; empty for other errors, and on Linux."""
    text = str(error).removesuffix(".")
    return text if isinstance(error, UnsupportedError) and not is_linux() and text in LACKS.values() else ""


def reason_of(nodeid: str) -> str:
    """Why a test is skipped with the portable implementation; empty if it is not, and on Linux."""
    if is_linux():
        return ""
    return next((why for names, why in TESTS.items() if fnmatchcase(nodeid, f"*{names}")), "")
