"""What trio and asyncio test of scopes and groups, and what became of each case here.

Each case of the files below is *kept* (by the tests named), *changed* (by the tests named, because
treadle means something else), or *left* out. Names are "module: test", without "test_" before the
module. ``test_trio_cases.py`` checks that the tests exist and counts the cases.
"""

from typing import NamedTuple


class Kept(NamedTuple):
    """Tests that show the same."""

    tests: str


class Changed(NamedTuple):
    """Tests of the same situation, and why they expect something else."""

    because: str
    tests: str


class Left(NamedTuple):
    """Why there is nothing to test."""

    because: str


Case = Kept | Changed | Left

RUN = Left("it tests trio.run(), which starts a loop; greenlets need none")
TASKS = Left("it tests the objects of trio's scheduler")
TOKEN = Left("it tests calls into trio's loop from threads; test_hub.py does that")
SYSTEM = Left("there are no system tasks: treadle.spawn() is independent of all groups")
COROUTINE = Left("it tests coroutine objects; greenlets have none")
STRICT = "there is one kind of group: it always raises an ExceptionGroup"

#: trio 0.35.0, trio/_core/_tests/test_run.py
TRIO_RUN: dict[str, Case] = {
    "test_basic": RUN,
    "test_initial_task_error": RUN,
    "test_run_nesting": RUN,
    "test_nursery_warn_use_async_with": Left("there is one kind of with"),
    "test_nursery_main_block_error_basic": Kept("groups: test_the_body_fails"),
    "test_child_crash_basic": Kept("groups: test_a_child_fails"),
    "test_basic_interleave": Kept("groups: test_children_take_turns"),
    "test_task_crash_propagation": Kept("groups: test_a_failure_cancels_the_other_children"),
    "test_main_and_task_both_crash": Kept("groups: test_body_and_child_fail"),
    "test_two_child_crashes": Kept("groups: test_two_children_fail"),
    "test_child_crash_wakes_parent": Kept(
        "groups: test_a_failure_of_a_child_ends_a_wait_of_the_body"
    ),
    "test_reschedule": TASKS,
    "test_current_time": Left("the clock is time.monotonic()"),
    "test_current_time_with_mock_clock": Left("tests/testing/test_clock.py has the virtual clock"),
    "test_current_clock": Left("tests/testing/test_clock.py has the virtual clock"),
    "test_current_task": Left("a greenlet does not tell its group"),
    "test_root_task": TASKS,
    "test_out_of_context": RUN,
    "test_current_statistics": TASKS,
    "test_cancel_scope_repr": Changed(
        "only what a reader needs is fixed: each state reads differently", "scopes: test_reprs"
    ),
    "test_cancel_scope_validation": Changed(
        "two limits at once are a TypeError, as for any wrong arguments; a negative timeout has"
        " passed, because what is left of a time limit may be; there is no relative_deadline",
        "scopes: test_wrong_arguments, test_not_a_number, test_a_negative_timeout_is_over_at_once",
    ),
    "test_cancel_points": Changed(
        "checkpoint() is the only function of its kind: shielded it is checkpoint() in a shield()",
        "scopes: test_the_next_wait_raises_and_the_scope_swallows,"
        " test_every_wait_raises_from_then_on,"
        " test_what_is_pending_when_the_scope_ends_is_not_raised_later",
    ),
    "test_cancel_edge_cases": Kept(
        "scopes: test_a_second_cancel_changes_nothing, test_every_wait_raises_from_then_on"
    ),
    "test_cancel_scope_exceptiongroup_filtering": Changed(
        "a group never raises Cancelled beside failures; a scope takes its own out of groups that"
        " the program makes",
        "groups: test_a_failure_while_the_scope_around_is_cancelled;"
        " scopes: test_it_takes_its_own_out_of_groups,"
        " test_it_leaves_those_of_other_scopes_in_groups,"
        " test_it_finds_its_own_in_groups_of_groups,"
        " test_a_group_of_nothing_else_is_swallowed",
    ),
    "test_precancelled_task": Kept("groups: test_a_child_spawned_into_a_cancelled_group_begins"),
    "test_cancel_shielding": Kept("shields: test_a_shield_may_be_put_up_and_taken_down"),
    "test_cancel_inheritance": Kept("groups: test_it_reaches_all_descendants"),
    "test_cancel_shield_abort": Kept("groups: test_the_scope_of_a_group_may_be_a_shield"),
    "test_basic_timeout": Kept(
        "scopes: test_its_deadline_counts_only_while_it_is_open, test_an_absolute_deadline,"
        " test_it_may_be_moved_into_the_past"
    ),
    "test_cancel_scope_nesting": Kept(
        "scopes: test_two_cancels_at_once_raise_once_in_the_inner_scope,"
        " test_the_inner_scope_does_not_take_what_is_the_outer_ones,"
        " test_what_is_pending_when_the_scope_ends_is_not_raised_later;"
        " shields: test_a_shield_may_be_put_up_and_taken_down"
    ),
    "test_unshield_while_cancel_propagating": Kept(
        "shields: test_putting_a_shield_up_while_a_cancelled_passes"
    ),
    "test_cancel_unbound": Changed(
        "a deadline cancels a scope only while it is open, so it is not asked before",
        "scopes: test_cancelled_before_or_after_it_is_entered, test_it_is_entered_once,"
        " test_it_is_not_entered_again_inside_itself, test_it_is_not_entered_by_two_greenlets,"
        " test_a_scope_that_was_never_entered_leaves_nothing;"
        " shields: test_shield_is_put_up_before_entering",
    ),
    "test_cancel_scope_misnesting_1": Kept("scopes: test_left_while_an_inner_one_is_open"),
    "test_cancel_scope_misnesting_2": Changed(
        "the exit of a group whose scope was left by hand raises a RuntimeError of its own; its"
        " children are cancelled, and that is no failure of theirs",
        "group_edges: test_the_scope_of_a_group_left_by_hand,"
        " test_left_while_an_inner_group_is_open",
    ),
    "test_cancel_scope_misnesting_3": Changed(
        "the scope is cancelled too, so that the mistake is not lost",
        "scopes: test_left_by_a_greenlet_that_never_entered_it",
    ),
    "test_nursery_misnest": Changed(
        "a child that ends inside a group of its own leaves nobody running",
        "group_edges: test_a_child_that_ends_while_a_group_of_its_own_is_open",
    ),
    "test_nursery_nested_child_misnest": Changed(
        "a group left while an inner one is open cancels both",
        "group_edges: test_left_while_an_inner_group_is_open",
    ),
    "test_asyncexitstack_nursery_misnest": Changed(
        "a group entered in one greenlet and left in another cancels its children",
        "group_edges: test_left_in_another_greenlet",
    ),
    "test_asyncexitstack_nursery_misnest_cleanup": Changed(
        "the clean-up of the children runs at once",
        "group_edges: test_left_in_another_greenlet, test_a_generator_that_yields_inside_a_group",
    ),
    "test_timekeeping": Kept("scopes: test_move_on_after; outside: test_a_thread_moves_a_deadline"),
    "test_failed_abort": Changed(
        "waits cannot refuse; those whose effect has happened return first",
        "scopes: test_a_wait_whose_effect_has_happened_returns",
    ),
    "test_broken_abort": TASKS,
    "test_error_in_run_loop": TASKS,
    "test_spawn_system_task": SYSTEM,
    "test_system_task_crash": SYSTEM,
    "test_system_task_crash_ExceptionGroup": SYSTEM,
    "test_system_task_crash_plus_Cancelled": SYSTEM,
    "test_system_task_crash_KeyboardInterrupt": SYSTEM,
    "test_yield_briefly_checks_for_timeout": Kept(
        "scopes: test_a_wait_of_no_time_looks_at_the_clock"
    ),
    "test_exc_info": Changed(
        "greenlets keep what they handle by themselves; only what is raised from outside is tested",
        "shields: test_the_handled_exception_is_that_of_the_greenlet",
    ),
    "test_exc_info_after_throw_suppressed": Kept(
        "shields: test_the_handled_exception_is_that_of_the_greenlet"
    ),
    "test_exception_chaining_after_throw": Kept(
        "shields: test_what_is_raised_in_a_handler_has_its_context"
    ),
    "test_exc_info_after_throw_to_inner_suppressed": Kept(
        "shields: test_the_handled_exception_is_that_of_the_greenlet"
    ),
    "test_exception_chaining_after_throw_to_inner": Kept(
        "shields: test_what_is_raised_in_a_handler_has_its_context"
    ),
    "test_nursery_exception_chaining_doesnt_make_context_loops": Kept(
        "groups: test_no_context_makes_a_loop"
    ),
    "test_TrioToken_identity": TOKEN,
    "test_TrioToken_run_sync_soon_basic": TOKEN,
    "test_TrioToken_run_sync_soon_too_late": TOKEN,
    "test_TrioToken_run_sync_soon_idempotent": TOKEN,
    "test_TrioToken_run_sync_soon_idempotent_requeue": TOKEN,
    "test_TrioToken_run_sync_soon_after_main_crash": TOKEN,
    "test_TrioToken_run_sync_soon_crashes": TOKEN,
    "test_TrioToken_run_sync_soon_FIFO": TOKEN,
    "test_TrioToken_run_sync_soon_starvation_resistance": TOKEN,
    "test_TrioToken_run_sync_soon_threaded_stress_test": TOKEN,
    "test_TrioToken_run_sync_soon_massive_queue": TOKEN,
    "test_TrioToken_run_sync_soon_late_crash": TOKEN,
    "test_slow_abort_basic": Left("a wait has no function of its own that ends it"),
    "test_slow_abort_edge_cases": Left("a wait has no function of its own that ends it"),
    "test_task_tree_introspection": Changed(
        "a group lists its children, and there are no links upward",
        "groups: test_it_counts_and_lists_its_live_children",
    ),
    "test_nursery_closure": Kept(
        "groups: test_it_goes_on_taking_children_while_it_waits,"
        " test_the_last_child_may_spawn_as_it_ends, test_a_group_that_is_over_refuses"
    ),
    "test_spawn_name": Left("greenlets are named by their functions"),
    "test_current_effective_deadline": Left("there is no such function"),
    "test_nice_error_on_bad_calls_to_run_or_spawn": Changed(
        "what is no function is refused", "groups: test_wrong_arguments"
    ),
    "test_calling_asyncio_function_gives_nice_error": COROUTINE,
    "test_asyncio_function_inside_nursery_does_not_explode": COROUTINE,
    "test_trivial_yields": Kept(
        "groups: test_opening_and_closing_a_group_is_no_checkpoint,"
        " test_a_child_that_does_not_wait_in_a_cancelled_scope,"
        " test_a_failure_in_a_cancelled_scope_is_no_cancellation"
    ),
    "test_nursery_start": Changed(
        "started() is a function, not an argument, and does nothing in greenlets that start()"
        " did not start; a start() that is interrupted ends its child",
        "starting: test_it_waits_for_started_and_returns_its_value,"
        " test_a_second_started_is_an_error,"
        " test_a_failure_before_started_is_raised_by_start_alone, test_an_end_before_started,"
        " test_in_a_cancelled_scope, test_started_where_nobody_waits;"
        " groups: test_a_group_that_is_over_refuses, test_wrong_arguments",
    ),
    "test_task_nursery_stack": Left("a greenlet does not list its groups"),
    "test_nursery_start_with_cancelled_nursery": Kept(
        "starting: test_in_another_group_that_is_cancelled"
    ),
    "test_nursery_start_keeps_nursery_open": Kept(
        "starting: test_it_keeps_the_group_open,"
        " test_a_start_that_fails_keeps_the_group_open_until_then"
    ),
    "test_nursery_explicit_exception": Kept("groups: test_the_body_fails"),
    "test_nursery_stop_iteration": Kept("groups: test_stop_iteration"),
    "test_nursery_stop_async_iteration": COROUTINE,
    "test_traceback_frame_removal": Kept(
        "groups: test_a_traceback_begins_with_the_childs_own_stack"
    ),
    "test_contextvar_support": RUN,
    "test_contextvar_multitask": Kept("groups: test_children_have_a_copy_of_the_context"),
    "test_system_task_contexts": SYSTEM,
    "test_Nursery_init": Left("a TaskGroup is made by calling its class"),
    "test_Nursery_private_init": Left("a TaskGroup is made by calling its class"),
    "test_Nursery_subclass": Left("nothing forbids subclasses"),
    "test_CancelScope_subclass": Left("nothing forbids subclasses"),
    "test_sniffio_integration": COROUTINE,
    "test_Task_custom_sleep_data": TASKS,
    "test_permanently_detach_coroutine_object": COROUTINE,
    "test_detach_and_reattach_coroutine_object": COROUTINE,
    "test_detached_coroutine_cancellation": COROUTINE,
    "test_async_function_implemented_in_C": COROUTINE,
    "test_very_deep_cancel_scope_nesting": Kept("scopes: test_very_many_inside_each_other"),
    "test_cancel_scope_deadline_duplicates": Kept("scopes: test_moving_it_often_costs_no_timers"),
    "test_simple_cancel_scope_usage_doesnt_create_cyclic_garbage": Kept(
        "memory: test_cancelling_makes_no_cycles; memory: test_groups_make_no_cycles"
    ),
    "test_cancel_scope_exit_doesnt_create_cyclic_garbage": Kept(
        "memory: test_groups_make_no_cycles"
    ),
    "test_nursery_cancel_doesnt_create_cyclic_garbage": Kept(
        "memory: test_groups_make_no_cycles, test_the_group_dies_with_its_last_reference"
    ),
    "test_locals_destroyed_promptly_on_cancel": Kept(
        "groups: test_locals_of_a_cancelled_child_die_before_the_group_is_over"
    ),
    "test_setting_strict_exception_groups": Changed(
        STRICT, "groups: test_a_child_fails, test_two_children_fail"
    ),
    "test_nursery_collapse": Changed(STRICT, "groups: test_failures_of_inner_and_outer_group"),
    "test_cancel_scope_no_cancellederror": Kept(
        "scopes: test_a_group_without_its_own_is_left_as_it_is"
    ),
    "test_trio_run_strict_before_started": Changed(
        STRICT, "starting: test_a_failure_is_not_wrapped_twice"
    ),
    "test_start_exception_preserves_cause_and_context": Kept(
        "starting: test_a_failure_before_started_keeps_cause_and_context"
    ),
    "test_internal_error_old_nursery_multiple_tasks": Left(
        "a child that start() waits for is in its group from the beginning"
    ),
    "test_ki_protection_doesnt_leave_cyclic_garbage": Kept(
        "memory: test_an_exception_handled_in_a_child_is_gone"
    ),
    "test_context_run_tb_frames": TASKS,
    "test_trio_context_detection": RUN,
}

#: trio 0.35.0, trio/_core/_tests/test_cancelled.py
TRIO_CANCELLED: dict[str, Case] = {
    "test_Cancelled_init": Left("nothing forbids a Cancelled that no scope takes"),
    "test_Cancelled_str": Kept("scopes: test_it_tells_scope_reason_and_source, test_texts"),
    "test_Cancelled_subclass": Left("nothing forbids subclasses"),
    "test_Cancelled_pickle": Changed(
        "a Cancelled has its scope, and a scope means nothing in another process",
        "scopes: test_it_is_not_pickled, test_a_copy_belongs_to_the_same_scope",
    ),
    "test_cancel_reason": Kept(
        "scopes: test_it_tells_scope_reason_and_source,"
        " test_a_deadline_is_a_reason_without_a_source,"
        " test_a_deadline_that_has_passed_when_it_is_set"
    ),
    "test_cancel_reason_nursery": Kept("groups: test_a_failure_cancels_the_other_children"),
    "test_cancel_reason_nursery2": Kept("groups: test_a_failure_cancels_the_other_children"),
    "test_cancel_reason_nursery3": Kept(
        "groups: test_a_failure_of_the_body_cancels_the_children;"
        " starting: test_a_failure_before_started_keeps_cause_and_context"
    ),
    "test_cancel_reason_not_overwritten": Kept("scopes: test_the_first_reason_stays"),
    "test_cancel_reason_not_overwritten_2": Kept("scopes: test_the_first_reason_stays"),
    "test_nested_child_source": Kept("groups: test_a_failure_of_the_body_cancels_the_children"),
    "test_reason_delayed_ki": Changed(
        "KeyboardInterrupt goes on bare",
        "outside: test_an_interrupt_while_a_group_waits_for_its_children",
    ),
}

#: trio 0.35.0, trio/_tests/test_timeouts.py
TRIO_TIMEOUTS: dict[str, Case] = {
    "test_sleep": Kept(
        "scopes: test_zero_is_over_at_the_first_wait,"
        " test_the_next_wait_raises_and_the_scope_swallows"
    ),
    "test_move_on_after": Kept("scopes: test_move_on_after"),
    "test_cannot_wake_sleep_forever": TASKS,
    "test_context_shields_from_outer": Kept(
        "shields: test_limits_that_are_shields, test_a_shield_may_be_put_up_and_taken_down"
    ),
    "test_move_on_after_moves_on_even_if_shielded": Kept(
        "shields: test_a_shield_with_a_time_limit, test_limits_that_are_shields"
    ),
    "test_fail_after_fails_even_if_shielded": Kept(
        "shields: test_fail_after_inside_a_shield, test_limits_that_are_shields"
    ),
    "test_fail": Changed(
        "the exception is TimeoutError; there is no fail_at(): its scope has a deadline to set; and"
        " a cancel() of the scope is no failure",
        "scopes: test_fail_after_raises_timeouterror, test_in_time,"
        " test_fail_after_gives_its_scope, test_fail_after_does_not_fail_for_a_cancel",
    ),
    "test_timeouts_raise_value_error": Changed(
        "a negative time, as what is left of a time limit may be, has passed",
        "scopes: test_not_a_number, test_a_negative_timeout_is_over_at_once",
    ),
    "test_timeout_deadline_on_entry": Kept("scopes: test_the_time_counts_from_entering"),
    "test_invalid_access_unentered": Left("there is no relative_deadline"),
    "test_fail_access_before_entering": Left("trio expects it to fail"),
}

#: CPython 3.15, Lib/test/test_asyncio/test_taskgroups.py
ASYNCIO: dict[str, Case] = {
    "test_taskgroup_01": Kept("groups: test_the_block_ends_after_its_children"),
    "test_taskgroup_02": Kept("groups: test_children_may_be_spawned_at_any_moment_of_the_block"),
    "test_taskgroup_03": Kept("group_edges: test_killing_a_child_is_no_failure"),
    "test_taskgroup_04": Kept("groups: test_a_failure_cancels_the_other_children"),
    "test_cancel_children_on_child_error": Kept(
        "groups: test_a_failure_of_a_child_ends_a_wait_of_the_body,"
        " test_failures_come_in_the_order_in_which_they_happened"
    ),
    "test_cancellation": Kept("group_edges: test_killing_the_owner_while_the_exit_waits"),
    "test_taskgroup_07": Kept("group_edges: test_killing_the_owner_in_the_body"),
    "test_taskgroup_08": Kept("groups: test_clean_up_that_fails_in_every_child"),
    "test_taskgroup_09": Kept("groups: test_a_failure_of_the_body_cancels_the_children"),
    "test_taskgroup_10": Changed(
        "the children begin, and end at their first wait",
        "groups: test_a_failure_of_the_body_before_the_children_have_begun",
    ),
    "test_taskgroup_11": Kept("groups: test_nested_groups_report_in_groups"),
    "test_taskgroup_12": Kept("groups: test_nested_groups_report_in_groups"),
    "test_taskgroup_13": Kept("groups: test_a_failure_in_one_of_two_nested_groups"),
    "test_taskgroup_14": Kept("groups: test_a_failure_in_one_of_two_nested_groups"),
    "test_taskgroup_15": Changed(
        "clean-up that waits needs a shield",
        "groups: test_clean_up_that_waits_after_a_cancel_and_then_a_failure",
    ),
    "test_taskgroup_16": Changed(
        "clean-up that waits needs a shield",
        "groups: test_clean_up_that_waits_after_a_cancel_and_then_a_failure",
    ),
    "test_taskgroup_17": Kept("group_edges: test_an_exception_for_the_owner_alone_goes_on_bare"),
    "test_taskgroup_18": Kept("groups: test_a_body_that_replaces_its_cancellation"),
    "test_taskgroup_19": Kept("groups: test_the_bodys_failure_has_its_place_in_the_order"),
    "test_taskgroup_20": Kept("groups: test_the_first_interrupt_comes_before_other_failures"),
    "test_taskgroup_20a": Kept("groups: test_exceptions_that_are_no_exception"),
    "_test_taskgroup_21": Kept("groups: test_an_interrupt_in_a_child_beside_a_failure_of_the_body"),
    "test_taskgroup_21a": Kept("groups: test_a_child_raises_what_is_no_exception"),
    "test_taskgroup_22": Kept("group_edges: test_killing_the_owner_while_the_exit_waits"),
    "test_taskgroup_23": Kept("groups: test_it_counts_and_lists_its_live_children"),
    "test_taskgroup_24": Kept("groups: test_it_goes_on_taking_children_while_it_waits"),
    "test_taskgroup_25": Kept("groups: test_children_that_never_stop_spawning"),
    "test_taskgroup_task_name": Left("greenlets are named by their functions"),
    "test_taskgroup_task_context": Changed(
        "each child has a copy of its spawner's context",
        "groups: test_children_have_a_copy_of_the_context",
    ),
    "test_taskgroup_no_create_task_after_failure": Changed(
        "a group that is being cancelled takes children: they are cancelled at their first wait",
        "groups: test_a_child_spawned_into_a_cancelled_group_begins",
    ),
    "test_taskgroup_context_manager_exit_raises": Kept(
        "groups: test_an_exit_of_the_body_that_fails_after_a_child_failed"
    ),
    "test_taskgroup_already_entered": Kept("groups: test_a_group_is_entered_once"),
    "test_taskgroup_double_enter": Kept("groups: test_a_group_is_entered_once"),
    "test_taskgroup_finished": Kept("groups: test_a_group_that_is_over_refuses"),
    "test_taskgroup_not_entered": Kept("groups: test_a_group_that_was_not_entered_refuses"),
    "test_taskgroup_without_parent_task": Left("every greenlet may have a group"),
    "test_coro_closed_when_tg_closed": COROUTINE,
    "test_cancelling_level_preserved": Changed(
        "no cancellations are counted: what is left of one is seen at the next wait",
        "memory: test_nothing_is_cancelled_later",
    ),
    "test_nested_groups_both_cancelled": Kept("groups: test_inner_and_outer_group_fail_at_once"),
    "test_error_and_cancel": Kept(
        "group_edges: test_a_killed_owner_that_handles_the_failures_does_not_go_on"
    ),
    "test_exception_refcycles_direct": Kept("memory: test_nobody_keeps_what_was_raised"),
    "test_exception_refcycles_errors": Kept("memory: test_nobody_keeps_what_was_raised"),
    "test_exception_refcycles_parent_task": Kept("memory: test_nobody_keeps_what_was_raised"),
    "test_exception_refcycles_parent_task_wr": Kept(
        "memory: test_nobody_keeps_what_was_raised, test_the_group_dies_with_its_last_reference"
    ),
    "test_exception_refcycles_propagate_cancellation_error": Kept(
        "memory: test_groups_make_no_cycles"
    ),
    "test_exception_refcycles_base_error": Kept("memory: test_nobody_keeps_what_was_raised"),
    "test_name": Left("greenlets are named by their functions"),
    "test_cancels_task_if_created_during_creation": Kept(
        "groups: test_a_child_spawned_by_one_that_is_cancelled_meanwhile"
    ),
    "test_cancellation_does_not_leak_out_of_tg": Kept("memory: test_nothing_is_cancelled_later"),
    "test_taskgroup_cancel_children": Kept(
        "groups: test_cancel_ends_the_group_without_an_exception"
    ),
    "test_taskgroup_cancel_body": Kept("groups: test_cancel_ends_the_body_too"),
    "test_taskgroup_cancel_idempotent": Kept("scopes: test_a_second_cancel_changes_nothing"),
    "test_taskgroup_cancel_after_exit": Kept("groups: test_cancelling_a_group_that_is_over"),
    "test_taskgroup_cancel_before_enter": Kept(
        "groups: test_cancelling_a_group_before_it_is_entered"
    ),
    "test_taskgroup_cancel_before_create_task": Changed(
        "a group that is being cancelled takes children: they are cancelled at their first wait",
        "groups: test_a_child_spawned_into_a_cancelled_group_begins",
    ),
    "test_taskgroup_cancel_from_child_before_first_suspension": Kept(
        "groups: test_a_child_that_cancels_before_its_first_wait"
    ),
    "test_taskgroup_cancel_keeps_outer_cancellation": Kept(
        "groups: test_a_cancel_from_outside_while_the_group_is_being_cancelled;"
        " group_edges: test_a_kill_while_the_group_is_being_cancelled"
    ),
    "test_taskgroup_cancel_before_exception": Kept(
        "groups: test_a_cancel_just_before_or_after_a_failure"
    ),
    "test_taskgroup_cancel_after_exception": Kept(
        "groups: test_a_cancel_just_before_or_after_a_failure"
    ),
    "test_taskgroup_body_cancel_before_exception": Kept(
        "groups: test_a_cancel_just_before_or_after_a_failure"
    ),
    "test_taskgroup_body_cancel_after_exception": Kept(
        "groups: test_a_cancel_just_before_or_after_a_failure"
    ),
    "test_taskgroup_cancel_one_winner": Kept("groups: test_the_first_of_several_to_win"),
    "test_taskgroup_generator_exit_01": Kept("groups: test_closing_a_generator_in_its_group"),
    "test_taskgroup_generator_exit_02": Kept("groups: test_a_child_that_raises_generatorexit"),
    "test_taskgroup_generator_exit_03": Kept("groups: test_a_child_that_raises_generatorexit"),
    "test_taskgroup_generator_exit_04": Kept("groups: test_closing_a_generator_whose_child_failed"),
}

SOURCES = {
    "trio test_run.py": TRIO_RUN,
    "trio test_cancelled.py": TRIO_CANCELLED,
    "trio test_timeouts.py": TRIO_TIMEOUTS,
    "asyncio test_taskgroups.py": ASYNCIO,
}
