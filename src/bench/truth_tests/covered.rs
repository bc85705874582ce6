//! Every metric has a truth test, by name: a test that knows the figure's true value from somewhere else and compares.

use std::collections::BTreeSet;

use super::documented::{DOCUMENT, rows, sources};

/// A truth test and the figures that it holds against the truth: the scenario (or, for figures of the telemetry, the source) and names.
type Covered = (&'static str, &'static [&'static str], &'static str);

const COVERED: &[Covered] = &[
    ("smoke", &["passed"], "smoke_says_which_check_failed"),
    ("smoke", &["ttft_ms"], "the_first_token_of_the_smoke_test_is_the_engine_s"),
    (
        "smoke",
        &["fit_requests", "fit_prompt_tokens"],
        "the_fit_check_sends_as_many_requests_of_such_a_length_as_it_says",
    ),
    (
        "kv_cache",
        &["ttft_miss_ms", "ttft_hit_ms", "acceleration_ratio", "cached_tokens_ratio", "prefix_hit_ratio"],
        "misses_hits_and_their_acceleration_are_those_of_the_engine",
    ),
    (
        "load",
        &[
            "ttft_ms",
            "tpot_ms",
            "itl_ms",
            "e2e_ms",
            "output_tokens_per_s",
            "whole_run_output_tokens_per_s",
            "input_tokens_per_s",
            "requests_per_s",
            "goodput_requests_per_s",
            "achieved_concurrency",
        ],
        "a_load_of_256_users_is_reported_as_the_engine_saw_it",
    ),
    ("load", &["tokens_per_chunk"], "events_of_several_tokens_are_weighted_as_the_engine_counts_them"),
    (
        "load",
        &["queue_ms", "ttft_from_intended_ms", "e2e_from_intended_ms"],
        "waiting_for_a_place_at_the_client_is_told_from_waiting_in_the_engine",
    ),
    (
        "load",
        &["offered_requests_per_s", "backlog_growth"],
        "rates_latencies_and_backlog_of_an_open_loop_are_those_of_the_engine_below_and_above_its_capacity",
    ),
    (
        "load",
        &["sustained_requests_per_s", "latency_growth_ratio"],
        "rates_near_and_beyond_what_the_closed_loop_reached_are_sustained_or_not_as_the_engine_saw_it",
    ),
    (
        "load",
        &["ttft_first_turn_ms", "ttft_later_turns_ms"],
        "the_first_and_the_later_turns_of_a_conversation_are_told_apart_as_the_engine_saw_them",
    ),
    ("load", &["knee_concurrency"], "the_knee_is_at_as_many_users_as_the_engine_serves_at_once"),
    ("load", &["client_cpu_ratio"], "the_share_of_the_cores_is_what_was_used_of_them_and_a_short_watch_sees_it_too"),
    ("load", &["client_lag_ms"], "a_client_that_gets_no_time_says_so_in_a_closed_loop"),
    (
        "conversation",
        &[
            "ttft_ms",
            "decode_tokens_per_s",
            "e2e_ms",
            "aggregate_decode_tokens_per_s",
            "ttft_slope_ms_per_turn",
            "ttft_drift_ratio",
            "decode_drift_ratio",
            "e2e_drift_ratio",
            "ttft_change_ratio",
            "decode_change_ratio",
            "e2e_change_ratio",
        ],
        "turns_bands_and_drifts_of_a_conversation_are_those_of_the_engine",
    ),
    ("conversation", &["success_ratio"], "a_failed_turn_does_not_end_the_conversation_and_is_counted"),
    ("conversation", &["cached_tokens_ratio"], "the_cached_share_of_a_conversation_is_what_the_engine_found"),
    (
        "stability",
        &[
            "ttft_ms",
            "decode_tokens_per_s",
            "e2e_ms",
            "ttft_drift_ratio",
            "decode_drift_ratio",
            "e2e_drift_ratio",
            "ttft_change_ratio",
            "decode_change_ratio",
            "e2e_change_ratio",
        ],
        "cycles_and_their_drift_are_those_of_the_engine",
    ),
    (
        "stability",
        &["error_ratio"],
        "a_server_that_dies_in_a_cycle_leaves_the_figures_of_what_came_before_and_counts_the_death",
    ),
    ("stability", &["preemptions"], "what_a_server_threw_out_is_counted_and_what_it_keeps_is_no_slope_in_seconds"),
    (
        "stability",
        &["kv_usage_slope_ratio_per_h", "server_memory_slope_bytes_per_h"],
        "what_is_kept_after_each_cycle_is_a_slope_per_hour_from_five_minutes_on",
    ),
    (
        "long_context",
        &["ttft_ms", "prefill_tokens_per_s", "survival_ttft_ms", "longest_prompt_tokens"],
        "the_prefill_rate_is_the_prompt_over_the_true_time_to_the_first_token",
    ),
    ("long_context", &["survived_ratio"], "long_prompts_that_do_not_fit_are_left_out_and_a_death_is_no_survival"),
    ("profile", &["whole_run_output_tokens_per_s"], "the_throughput_of_a_busy_window_is_that_of_the_engine"),
    (
        "tool_calling",
        &[
            "success_rate",
            "call_rate",
            "no_call_rate",
            "right_tool_rate",
            "argument_match_rate",
            "json_valid_rate",
            "schema_valid_rate",
        ],
        "every_figure_of_tool_calling_is_what_the_engine_was_told_to_do",
    ),
    (
        "tool_calling",
        &["semantic_success_rate", "transport_success_rate"],
        "requests_that_fail_are_told_apart_from_wrong_answers",
    ),
    ("tool_calling", &["truncation_rate"], "truncation_is_told_apart_from_wrong_answers"),
    ("tool_calling", &["agreement_rate"], "a_call_that_differs_when_streamed_is_measured_and_its_cases_are_named"),
    ("tool_calling", &["markup_leak_rate"], "leaked_markup_is_counted_and_no_call"),
    ("reasoning", &["score"], "scores_are_the_share_that_the_engine_answered_rightly"),
    (
        "reasoning",
        &["answered_score", "transport_success_rate", "truncation_rate"],
        "answers_that_were_cut_or_never_came_are_the_share_that_the_engine_cut_or_broke",
    ),
    (
        "reasoning",
        &["ttft_ms", "ttfc_ms", "e2e_ms", "reasoning_tokens", "content_tokens"],
        "times_and_tokens_of_reasoning_are_those_of_the_server",
    ),
    ("canary", &["passed"], "scores_are_the_share_that_the_engine_answered_rightly"),
    (
        "canary",
        &["transport_success_rate", "truncation_rate"],
        "answers_that_were_cut_or_never_came_are_the_share_that_the_engine_cut_or_broke",
    ),
    ("canary", &["repetition_ratio"], "the_repetition_of_answers_is_that_of_what_the_server_wrote"),
    ("canary", &["same_answer_rate"], "a_canary_that_answers_differently_when_asked_again_is_not_the_same"),
    (
        "engine",
        &["requests_running", "requests_waiting", "kv_cache_usage_ratio"],
        "several_engines_are_summed_and_the_fullest_cache_counts",
    ),
    (
        "engine",
        &["prefix_hit_ratio", "draft_acceptance_ratio"],
        "ratios_of_counters_exist_where_their_denominator_moved",
    ),
    (
        "gpu0",
        &[
            "memory_used_bytes",
            "utilization_ratio",
            "memory_utilization_ratio",
            "power_w",
            "temperature_c",
            "sm_clock_mhz",
            "memory_clock_mhz",
        ],
        "every_figure_comes_through_in_its_unit_and_what_a_gpu_lacks_is_absent",
    ),
    ("container", &["cpu_cores"], "a_process_and_its_ended_children_are_counted"),
    (
        "container",
        &["memory_used_bytes"],
        "memory_is_without_inactive_files_in_both_cgroup_versions_and_zeros_are_no_figures",
    ),
    (
        "container",
        &["memory_slope_bytes_per_h"],
        "memory_that_grows_beside_a_scenario_is_a_slope_of_the_container_and_of_the_host",
    ),
    (
        "host",
        &["memory_slope_bytes_per_h"],
        "memory_that_grows_beside_a_scenario_is_a_slope_of_the_container_and_of_the_host",
    ),
    ("host", &["cpu_ratio"], "the_busy_share_is_what_was_not_idle_between_two_readings"),
    ("host", &["memory_used_bytes"], "used_memory_is_what_is_not_available"),
    ("host", &["load_1m"], "the_load_is_what_the_kernel_says_at_that_moment"),
];

/// Sources of the telemetry's figures, as the document writes them.
const SOURCES: [&str; 4] = ["engine", "gpu0", "container", "host"];

/// `(source, name)` of the telemetry's figures: the table that has a source in its first cell.
fn of_telemetry() -> BTreeSet<(String, String)> {
    let is_name = |word: &&str| {
        !word.is_empty() && word.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
    };
    let quoted =
        |cell: &str| -> Vec<String> { cell.split('`').skip(1).step_by(2).filter(is_name).map(str::to_owned).collect() };
    let row = |line: &str| -> Vec<(String, String)> {
        let cells: Vec<&str> = line.split('|').collect();
        let [_, source, names, ..] = cells[..] else { return Vec::new() };
        let source = quoted(source).into_iter().next().filter(|source| SOURCES.contains(&source.as_str()));
        source.map(|source| quoted(names).into_iter().map(|name| (source.clone(), name)).collect()).unwrap_or_default()
    };
    DOCUMENT.lines().flat_map(row).collect()
}

#[test]
fn every_metric_has_a_truth_test_and_every_truth_test_a_metric() {
    let mut documented: BTreeSet<(String, String)> =
        rows().into_iter().map(|(scenario, name, _)| (scenario, name)).collect();
    documented.extend(of_telemetry());
    let of = |(scenario, names, _): &Covered| {
        names.iter().map(|name| ((*scenario).to_owned(), (*name).to_owned())).collect::<Vec<_>>()
    };
    let covered: BTreeSet<(String, String)> = COVERED.iter().flat_map(of).collect();
    let lacking: Vec<_> = documented.difference(&covered).collect();
    assert!(lacking.is_empty(), "no truth test is named in COVERED for {lacking:?}");
    let orphans: Vec<_> = covered.difference(&documented).collect();
    assert!(orphans.is_empty(), "COVERED names figures that docs/metrics.md does not have: {orphans:?}");
}

#[test]
fn every_truth_test_that_is_named_exists() {
    let text = sources();
    let is_test = |name: &str| {
        ["#[test]\n", "#[tokio::test]\n"].iter().any(|mark| {
            let head = format!("fn {name}()");
            text.match_indices(&head).any(|(at, _)| {
                let before = text[..at].trim_end().trim_end_matches("async").trim_end();
                before.ends_with(mark.trim_end())
            })
        })
    };
    let missing: Vec<&str> = COVERED.iter().map(|(_, _, test)| *test).filter(|test| !is_test(test)).collect();
    assert!(missing.is_empty(), "no such tests: {missing:?}");
}
