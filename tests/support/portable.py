"""What tests of Linux itself say with the portable implementation, which `FAULTLINE_PLATFORM=portable` chooses.

A test that meets an `UnsupportedError` of the portable implementation is skipped with its reason. A test of what is
different, and is no error, has its reason here.
"""

from __future__ import annotations

from fnmatch import fnmatchcase

from faultline import UnsupportedError
from faultline._net.system import LACKS, is_linux, portable

UNREAD = "the end of a client behind unread bytes is seen by Linux alone"
HALF_CLOSED = "a client that has only finished sending counts as gone"
READ = "whether a client has read, only Linux tells"
ARRIVED = "what has arrived only Linux and macOS tell"
PACKETS = "raw sockets get a copy of each SYN on Linux alone"
HELD = "whether a program still holds its socket only Linux tells"
FILES = "files in memory are of Linux alone"
FREED = "a socket that the loop waits for is free at once on Linux alone"
AUDIT, FILTER, LOOPBACK = (portable.LACKS[what] for what in ("processes", "packet filter", "loopback range"))
REASONS = (UNREAD, HALF_CLOSED, READ, ARRIVED, PACKETS, HELD, FILES, FREED)

# The tests, by the names of their files and their own, with `*` for any text.
TESTS: dict[str, str] = {
    "audit/test_command.py::*": AUDIT,
    "audit/test_processes.py::*": AUDIT,
    "audit/test_targets.py::*": AUDIT,
    "kinds/test_controls.py::test_controls_never_wait_for_a_client_so_that_its_loop_may_call_them": ARRIVED,
    "kinds/test_leaving.py::test_a_client_is_seen_leaving_however_much_of_what_it_said_lies_unread": UNREAD,
    "kinds/test_leaving.py::test_nothing_strikes_a_client_that_has_left*": HALF_CLOSED,
    "kinds/test_leaving.py::test_silence_goes_on_for_a_client_that_has_finished_sending_until_it_leaves*": HALF_CLOSED,
    "kinds/test_leaving.py::test_what_comes_after_a_wait_is_delivered_to_a_client_that_has_finished*": HALF_CLOSED,
    "model/test_model.py::*": HALF_CLOSED,
    "proxies/test_tunnels.py::test_a_half_close_passes_through_and_the_other_way_stays_open*": HALF_CLOSED,
    "relay/test_breaks.py::test_a_stall_lets_nothing_pass_in_either_direction_until_the_client_leaves": UNREAD,
    "relay/test_chain.py::test_conditions_come_and_go_on_a_live_connection_and_lose_nothing": HALF_CLOSED,
    "relay/test_controls.py::test_all_that_is_said_while_somebody_pauses_and_resumes_arrives": HALF_CLOSED,
    "relay/test_ends.py::test_ends_of_both_sides_are_in_the_ledger_in_their_order?client-*": HALF_CLOSED,
    "relay/test_ends.py::test_side_that_has_finished_is_in_the_ledger_while_the_other_goes_on*": HALF_CLOSED,
    "relay/test_http_servers.py::test_download_of_a_gigabyte_is_cut_at_the_exact_byte*": ARRIVED,
    "relay/test_http_relay.py::test_client_may_finish_sending_before_an_upstream_that_*": HALF_CLOSED,
    "relay/test_leaving.py::test_a_relay_passes_the_end_of_one_direction_on_and_the_other_goes_on": HALF_CLOSED,
    "relay/test_passing.py::test_a_client_that_half_closes_right_after_the_gate_has_opened_*": HALF_CLOSED,
    "relay/test_passing.py::test_a_client_that_has_said_all_before_the_upstream_is_reached_*": HALF_CLOSED,
    "relay/test_passing.py::test_a_client_that_only_listens_hears_the_upstream_to_its_end*": HALF_CLOSED,
    "relay/test_passing.py::test_a_half_close_is_passed_on_and_the_other_direction_goes_on?client-*": HALF_CLOSED,
    "relay/test_passing.py::test_a_reset_after_a_half_close_is_still_a_reset?client-*": HALF_CLOSED,
    "relay/test_passing.py::test_an_echo_of_a_big_body_is_no_deadlock_for_a_client_that_reads_meanwhile": HALF_CLOSED,
    "relay/test_passing.py::test_ones_that_do_not_read_block_each_other_after_a_bounded_number_*": HALF_CLOSED,
    "relay/test_passing.py::test_what_an_upstream_said_before_its_reset_arrives_at_a_client_that_reads_late": ARRIVED,
    "relay/test_postgres.py::test_connect_timeout_of_asyncpg": UNREAD,
    "relay/test_tls.py::test_a_client_that_half_closes_first_gets_the_answer_of_an_upstream_in_tls": HALF_CLOSED,
    "relay/test_transparency.py::*": HALF_CLOSED,
    "scenarios/test_accept.py::test_s012_nobody_answers_the_handshake": UNREAD,
    "scenarios/test_accept.py::test_s012_nobody_answers_the_proxy_request": UNREAD,
    "scenarios/test_accept.py::test_s016_first_connection_is_ignored_and_the_second_answers": UNREAD,
    "sweep/test_sweep.py::test_pairs_may_be_of_two_relays": READ,
    "test_by_path.py::test_guard_names_the_path_whose_plan_was_never_met": HALF_CLOSED,
    "test_certs.py::test_link_that_can_not_be_followed_is_not_taken_for_that_*": FILES,
    "test_certs.py::test_process_that_a_signal_ends_leaves_no_key_and_the_next_removes_its_links": FILES,
    "test_cli.py::test_lookup_is_answered_as_the_words_say": LOOPBACK,
    "test_conditions.py::test_requests_that_wait_before_the_end_of_their_client_are_answered": HALF_CLOSED,
    "test_conditions.py::test_user_who_may_not_filter_is_told_so_when_the_server_starts": FILTER,
    "test_content.py::test_both_directions_are_changed_at_once_whoever_finishes_first?client-*": HALF_CLOSED,
    "test_content.py::test_injected_bytes_stand_exactly_where_they_are_planned*": HALF_CLOSED,
    "test_contract.py::test_client_sees_what_the_case_promises_and_the_ledger_says_so?*stall*": UNREAD,
    "test_docs.py::test_each_bug_of_the_walk_is_found_*": LOOPBACK,
    "test_docs.py::test_the_python_of_a_page_passes?audit-*": AUDIT,
    "test_docs.py::test_the_python_of_every_page_on_a_task_passes": AUDIT,
    "test_docs.py::test_the_python_of_the_page_on_audits_passes": AUDIT,
    "test_docs.py::test_the_python_of_the_page_around_the_connection_passes": LOOPBACK,
    "test_docs.py::test_the_output_on_the_page_on_audits_is_what_the_command_prints": AUDIT,
    "test_docs.py::test_the_page_of_steps_has_every_step_and_what_clients_see_of_it": HALF_CLOSED,
    "test_door.py::test_black_hole_of_a_client_in_c_is_counted": PACKETS,
    "test_exact_bytes.py::test_break_does_not_wait_for_an_acknowledgement*": ARRIVED,
    "test_exact_bytes.py::test_break_of_a_relay_does_not_wait_for_an_acknowledgement_*": ARRIVED,
    "test_exact_bytes.py::test_client_that_reads_late_still_gets_every_byte": ARRIVED,
    "test_exact_bytes.py::test_rst_waits_until_a_late_client_has_read": READ,
    "test_grid.py::test_client_and_ledger_see_the_verb_at_its_point?*stall*": UNREAD,
    "test_leaks.py::test_client_that_has_ended_tls_only_is_a_leak": HELD,
    "test_leaks.py::test_client_that_left_where_no_packet_passes_is_no_leak*": UNREAD,
    "test_leaks.py::test_connection_that_the_server_ended_is_a_leak_until_*": HELD,
    "test_leaks.py::test_leak_whose_attempts_are_no_longer_kept_is_named_by_its_number": HELD,
    "test_leaks.py::test_too_many_clients_of_ended_connections_are_forgotten_the_oldest_first": HELD,
    "test_listener.py::test_server_that_nobody_has_used_stops_though_the_loop_is_busy*": FREED,
    "test_packets.py::test_ledger_of_a_random_conversation_is_what_was_captured*": HALF_CLOSED,
    "test_parked.py::test_client_of_a_stalled_connection*": UNREAD,
    "test_parked.py::test_controls_leave_a_stalled_connection_as_it_is*": UNREAD,
    "test_peers.py::*": HELD,
    "test_reply.py::test_guard_asks_for_the_branches_that_are_faults_and_for_no_other": HALF_CLOSED,
    "test_wire.py::test_a_client_reads_what_was_sent_before_a_rst*": READ,
    "test_wire.py::test_a_client_that_has_left_is_not_waited_for*": READ,
    "test_wire.py::test_a_client_that_has_read_or_spoken_has_looked_at_its_connect*": READ,
    "test_wire.py::test_a_client_that_has_spoken_is_ready_for_a_rst": READ,
    "test_wire.py::test_a_client_that_reads_nothing_is_not_waited_for": READ,
    "test_wire.py::test_a_client_that_says_and_reads_nothing_gets_its_time_once*": READ,
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
