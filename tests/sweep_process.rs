//! Whole sweeps of the binary over the simulated engine as a local process: what is measured, kept, continued and told.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "helpers of tests: a failure is what they are for"
)]

mod common;

#[path = "sweep_process/answers.rs"]
mod answers;
#[path = "sweep_process/campaign.rs"]
mod campaign;
#[path = "sweep_process/clock.rs"]
mod clock;
#[path = "sweep_process/database.rs"]
mod database;
#[path = "sweep_process/disk.rs"]
mod disk;
#[path = "sweep_process/events.rs"]
mod events;
#[path = "sweep_process/fit.rs"]
mod fit;
#[path = "sweep_process/hangs.rs"]
mod hangs;
#[path = "sweep_process/kills.rs"]
mod kills;
#[path = "sweep_process/memory.rs"]
mod memory;
#[path = "sweep_process/neighbours.rs"]
mod neighbours;
#[path = "sweep_process/notify.rs"]
mod notify;
#[path = "sweep_process/pruning.rs"]
mod pruning;
#[path = "sweep_process/signals.rs"]
mod signals;
#[path = "sweep_process/telemetry.rs"]
mod telemetry;
#[path = "sweep_process/time.rs"]
mod time;

use std::path::Path;

use common::{Scene, run};

/// A suite of under a second.
const SUITE: &str = "\
suite:
  - smoke
  - load: { concurrency: [2], requests_per_user: 3, prompt_tokens: 64, output_tokens: 8 }
objectives: { speed: maximize load.output_tokens_per_s }
repeats: off
";

/// The same suite with other `repeats`.
fn repeated(repeats: &str) -> String {
    SUITE.replace("repeats: off", &format!("repeats: {repeats}"))
}

/// Configs that differ in one flag.
fn configs(count: usize) -> String {
    let configs = (1..=count).map(|n| format!("  - {{ name: c{n}, flags: {{ max-num-seqs: {} }} }}\n", 8 * n));
    format!("configs:\n{}", configs.collect::<String>())
}

#[test]
fn a_sweep_gives_every_failure_its_cause_and_goes_on_to_the_last_config() {
    let scene = Scene::new();
    let body = format!(
        "configs:
  - name: plain
  - name: wrong-parser
    flags: {{ enable-auto-tool-choice: on, tool-call-parser: hermess }}
  - name: too-long
    flags: {{ max-model-len: 40960, gpu-memory-utilization: 0.7 }}
  - name: too-large
    flags: {{ sim-fail: oom_load }}
  - name: stands-still
    flags: {{ sim-fail: hang_start }}
  - name: dies
    flags: {{ sim-fail: \"engine_death:2\" }}
  - name: few-seqs
    flags: {{ max-num-seqs: 8 }}
limits: {{ stall: 2s, retries: 0 }}
{SUITE}"
    );
    scene.grid(&[], &body);
    let done = scene.sweep(&[]).code(2);
    done.says(&["2 measured, 5 failed", "[7/7] few-seqs: measured", "lower max-model-len"]);
    assert_eq!(
        scene.states(),
        [
            "plain: measured",
            "wrong-parser: failed (bad_argument)",
            "too-long: failed (kv_cache_too_small)",
            "too-large: failed (gpu_oom)",
            "stands-still: failed (stalled)",
            "dies: failed (engine_dead)",
            "few-seqs: measured",
        ]
    );
    scene.assert_no_sim_is_left();

    // A failure is a row that says where, why and what to do.
    assert_eq!(
        scene.sql("SELECT phase FROM failures ORDER BY position"),
        ["startup", "startup", "startup", "startup", "serving"]
    );
    assert_eq!(scene.count("SELECT count(*) FROM failures WHERE evidence IS NULL OR length(remedy) < 10"), 0);
    let evidence =
        |config: &str| scene.sql(&format!("SELECT evidence FROM failures WHERE config = '{config}'")).remove(0);
    assert!(evidence("wrong-parser").contains("hermess"));
    assert!(evidence("too-large").contains("CUDA out of memory"));
    let stood_at = evidence("stands-still");
    assert!(stood_at.contains("Loading safetensors"), "where it stood before it was stopped: {stood_at}");

    // The readers.
    let status = scene.run(["status", "--json"]).ok().json();
    let sweep = &status["sweep"];
    assert_eq!((&sweep["state"], &sweep["remaining"]), (&"finished".into(), &0.into()));
    assert!(status["process"].is_null() && status["time_left_s"].is_null());
    let champions = scene.run(["champions", "--json"]).ok().json();
    let rows = champions["rankings"][0]["rows"].as_array().unwrap();
    let mut names: Vec<&str> = rows.iter().map(|r| r["name"].as_str().unwrap()).collect();
    names.sort_unstable();
    assert_eq!(names, ["few-seqs", "plain"], "what failed does not rank");
    assert!(rows.iter().all(|r| r["value"].as_f64().unwrap() > 0.0 && r["unit"] == "tokens_per_s"));
    let show = scene.run(["show", "too-long", "--json"]).ok().json();
    let outcome = &show["attempt_reports"][0]["outcome"];
    assert_eq!((&outcome["outcome"], &outcome["exit"]["exit_code"]), (&"failed".into(), &1.into()));
    assert_eq!(outcome["numbers"]["max_model_len"], 40960.0);
    scene.run(["show", "too-long"]).ok().says(&["failed:", "kv_cache_too_small", "->", "exit code 1"]);
    scene.run(["show", "plain"]).ok().says(&["the baseline", "output_tokens_per_s", "tokens/s"]);
    let tail = scene.run(["logs", "too-long", "--tail", "3"]).ok();
    assert_eq!(tail.stdout.lines().count(), 3);
    let whole = scene.run(["logs", "too-long", "--json"]).ok().json();
    assert!(Path::new(whole["path"].as_str().unwrap()).starts_with(scene.folder().canonicalize().unwrap()));
    assert!(whole["lines"].as_array().unwrap().len() > 10);
    scene.run(["show", "nobody"]).code(1).says(&["nobody"]);
}

#[test]
fn an_exported_sweep_has_every_row_of_the_database_in_both_formats() {
    let scene = Scene::new();
    scene.grid(&[], &format!("{}{SUITE}", configs(2)));
    scene.sweep(&[]).ok();
    let done = scene.run(["export", "--json", "--to", "csv"]).ok().json();
    assert!(done["files"].as_array().unwrap().len() > 15);
    scene.run(["export", "--format", "jsonl", "--to", "jsonl"]).ok().says(&["requests.jsonl", "docs/schema.md"]);
    for table in ["trials", "metrics", "requests", "ranking", "engine_counter", "event"] {
        let expected = scene.count(&format!("SELECT count(*) FROM {table}"));
        assert!(expected > 0, "{table}");
        let mut csv = csv::Reader::from_path(scene.folder().join(format!("csv/{table}.csv"))).unwrap();
        let width = csv.headers().unwrap().len();
        let rows: Vec<csv::StringRecord> = csv.records().collect::<Result<_, _>>().unwrap();
        assert_eq!(rows.len() as i64, expected, "{table}");
        assert!(rows.iter().all(|r| r.len() == width));
        let lines = std::fs::read_to_string(scene.folder().join(format!("jsonl/{table}.jsonl"))).unwrap();
        let objects: Vec<serde_json::Value> = lines.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
        assert_eq!(objects.len() as i64, expected, "{table}");
        assert!(objects.iter().all(|o| o.as_object().unwrap().len() == width));
    }
    let one = scene.run(["export", "--table", "trials", "--to", "-"]).ok();
    assert_eq!(one.stdout.lines().count(), 3, "a header and two trials");
    scene.run(["export", "--to", "-"]).code(1).says(&["--table"]);
    scene.run(["export", "--table", "metrcs"]).code(1).says(&["did you mean `metrics`?"]);
}

#[test]
fn the_same_command_again_measures_nothing_anew_and_new_starts_afresh() {
    let scene = Scene::new();
    scene.grid(&[], &format!("{}{SUITE}", configs(2)));
    scene.sweep(&[]).ok();
    let before = scene.results();
    assert_eq!(before.len(), 4, "two configs with two scenarios each");
    scene.sweep(&[]).ok().says(&["continues", "nothing is left to measure", "--new"]);
    assert_eq!(scene.results(), before);
    assert_eq!(scene.count("SELECT count(*) FROM attempt"), 2);

    scene.sweep(&["--new", "--only", "c2"]).ok();
    assert_eq!(scene.count("SELECT count(*) FROM sweep"), 2);
    assert_eq!(scene.states(), ["c1: pending", "c2: measured"]);
    assert_eq!(scene.results()[..4], before, "the first sweep stays as it was");
    let first = scene.run(["status", "1", "--json"]).ok().json();
    assert_eq!((&first["sweep"]["id"], &first["sweep"]["measured"]), (&1.into(), &2.into()));
}

#[test]
fn the_baseline_is_measured_again_and_finalists_are_confirmed_on_a_fresh_start() {
    let scene = Scene::new();
    scene.grid(&[], &format!("{}{}", configs(4), repeated("{ controls_every: 2, finalists: 1, finalist_starts: 1 }")));
    scene.run(["plan", "grid.yaml"]).ok().says(&["4 configs, 4 to run", "about 3 starts more"]);
    scene.sweep(&["--limit", "2"]).ok().says(&["4 trials, 3 further starts"]);
    scene.sweep(&[]).ok().says(&["measuring again on a fresh start", "c1, control 2: measured"]);
    let starts =
        "SELECT t.name || ' ' || a.purpose || ' ' || a.start_number FROM attempt a JOIN trial t ON t.id = a.trial_id
                  WHERE a.purpose <> 'finalist' ORDER BY a.id";
    assert_eq!(
        scene.sql(starts),
        ["c1 trial 1", "c2 trial 1", "c3 trial 1", "c1 control 1", "c4 trial 1", "c1 control 2"]
    );
    assert_eq!(scene.count("SELECT count(*) FROM attempt WHERE purpose = 'finalist' AND outcome = 'measured'"), 1);
    assert_eq!(scene.results().len(), 14);
    let status = scene.run(["status", "--json"]).ok().json();
    assert_eq!((&status["sweep"]["remaining"], &status["starts"][1]["purpose"]), (&0.into(), &"control".into()));
    scene.run(["status"]).ok().says(&["measured beside the first start of each config: 2 controls, 1 finalist"]);
    scene.run(["show", "c1"]).ok().says(&["attempt 2 (control 1): measured"]);
    let before = scene.results();
    scene.sweep(&[]).ok().says(&["nothing is left to measure"]);
    assert_eq!(scene.results(), before);
}

#[test]
fn a_grid_that_has_changed_is_another_sweep() {
    let scene = Scene::new();
    scene.grid(&[], &format!("{}suite: [smoke]\n", configs(1)));
    scene.sweep(&[]).ok();
    scene.grid(&[], &format!("{}suite: [smoke]\nseed: 7\n", configs(1)));
    scene.sweep(&[]).ok().says(&["sweep 2 of scene begins"]);
    assert_eq!(scene.results().len(), 2);
}

#[test]
fn only_and_limit_leave_the_rest_for_later_and_resume_measures_it() {
    let scene = Scene::new();
    scene.grid(&[], &format!("{}{SUITE}", configs(4)));
    scene.sweep(&["--only", "c9"]).code(1).says(&["--only", "c9", "vgrid plan"]);
    scene.sweep(&["--dry-run"]).ok().says(&["4 configs, 4 to run"]);
    assert!(!scene.db().exists(), "a dry run writes nothing");
    scene.sweep(&["--only", "c3"]).ok();
    assert_eq!(scene.states(), ["c1: pending", "c2: pending", "c3: measured", "c4: pending"]);
    scene.sweep(&["--limit", "1"]).ok();
    assert_eq!(scene.states(), ["c1: measured", "c2: pending", "c3: measured", "c4: pending"]);
    let before = scene.results();
    // The grid's file is gone; the database knows it.
    std::fs::remove_file(scene.folder().join("grid.yaml")).unwrap();
    scene.run(["resume"]).ok().says(&["4 trials, 2 of them settled before"]);
    assert_eq!(scene.states(), ["c1: measured", "c2: measured", "c3: measured", "c4: measured"]);
    let after = scene.results();
    assert_eq!(after[..before.len()], before[..], "what was measured stays, and is not measured again");
    assert_eq!(after.len(), 8);
    assert_eq!(scene.count("SELECT count(*) FROM attempt"), 4);
    let status = scene.run(["status", "--json"]).ok().json();
    assert_eq!((&status["sweep"]["state"], &status["sweep"]["runs"]), (&"finished".into(), &3.into()));
}

#[test]
fn a_failure_that_may_pass_is_tried_again_and_one_that_will_not_is_not() {
    let scene = Scene::new();
    let body = "configs:
  - { name: dies, flags: { sim-fail: \"engine_death:2\" } }
  - { name: wrong, flags: { enable-auto-tool-choice: on, tool-call-parser: hermess } }
limits: { retries: 1 }
suite: [smoke]
";
    scene.grid(&[], body);
    scene.sweep(&[]).code(3).says(&["nothing was measured"]);
    assert_eq!(scene.sql("SELECT config || ' ' || attempts FROM trials ORDER BY position"), ["dies 2", "wrong 1"]);
}

#[test]
fn a_flag_left_out_and_its_default_switched_on_are_measured_once() {
    let scene = Scene::new();
    let body = "configs:
  - { name: silent }
  - { name: explicit, flags: { enable-prefix-caching: on } }
  - { name: without, flags: { enable-prefix-caching: off } }
suite: [smoke]
";
    scene.grid(&[], body);
    scene.run(["plan", "grid.yaml"]).ok().says(&["twin-points", "`explicit`", "`silent`"]);
    scene.sweep(&[]).ok().says(&["explicit: skipped: resolves to the same engine as silent"]);
    assert_eq!(scene.states(), ["silent: measured", "explicit: skipped (twin)", "without: measured"]);
    assert_eq!(scene.results().len(), 2);
    scene.sweep(&[]).ok().says(&["nothing is left to measure"]);
    scene.sweep(&["--new", "--measure-twins"]).ok();
    assert_eq!(scene.states(), ["silent: measured", "explicit: measured", "without: measured"]);
}

#[test]
fn configs_that_all_fail_alike_stop_the_sweep_until_it_is_started_again() {
    let scene = Scene::new();
    let configs: String = (1..=5)
        .map(|n| format!("  - {{ name: c{n}, flags: {{ max-num-seqs: {n}, tool-call-parser: hermess }} }}\n"))
        .collect();
    let base = "base: { flags: { enable-auto-tool-choice: on } }\n";
    scene.grid(&[], &format!("{base}configs:\n{configs}limits: {{ identical_failures: 2 }}\nsuite: [smoke]\n"));
    let done = scene.sweep(&[]).code(3);
    done.says(&["2 trials in a row failed alike", "bad_argument"]);
    let failed = "failed (bad_argument)";
    let states = |failures: usize| -> Vec<String> {
        (1..=5).map(|n| format!("c{n}: {}", if n <= failures { failed } else { "pending" })).collect()
    };
    assert_eq!(scene.states(), states(2));
    scene.sweep(&[]).code(3);
    assert_eq!(scene.states(), states(4));
}

#[test]
fn a_config_that_fails_between_good_ones_does_not_stop_the_sweep() {
    let scene = Scene::new();
    let wrong = |n: u32| format!("  - {{ name: w{n}, flags: {{ max-num-seqs: {n}, sim-fail: oom_load }} }}\n");
    let good = |n: u32| format!("  - {{ name: g{n}, flags: {{ max-num-seqs: {n} }} }}\n");
    let configs = [wrong(1), good(2), wrong(3), good(4)].concat();
    scene.grid(&[], &format!("configs:\n{configs}limits: {{ identical_failures: 2, retries: 0 }}\nsuite: [smoke]\n"));
    scene.sweep(&["--no-prune"]).code(2);
    assert_eq!(scene.states(), ["w1: failed (gpu_oom)", "g2: measured", "w3: failed (gpu_oom)", "g4: measured"]);
}

#[test]
fn gates_take_a_config_out_of_the_ranking_and_say_so() {
    let scene = Scene::new();
    let body = format!("{}gates: [load.output_tokens_per_s >= 1000000000]\n{SUITE}", configs(2));
    scene.grid(&[], &body);
    scene.sweep(&[]).ok();
    let champions = scene.run(["champions", "--json"]).ok().json();
    let rows = champions["rankings"][0]["rows"].as_array().unwrap();
    assert!(rows.iter().all(|r| r["place"].is_null() && r["standing"] == "gate_failed"), "{rows:?}");
    assert_eq!(scene.count("SELECT count(*) FROM champions"), 0, "nobody is named");
}

#[test]
fn the_objective_can_be_chosen_after_the_night() {
    let scene = Scene::new();
    scene.grid(&[], &format!("{}{SUITE}", configs(2)));
    scene.sweep(&[]).ok();
    let by = scene.run(["champions", "--by", "minimize load.tpot_ms.p50", "--json"]).ok().json();
    assert_eq!(by["rankings"][0]["objective"]["metric"], "load.tpot_ms.p50");
    assert!(by["rankings"][0]["rows"].as_array().unwrap().iter().all(|r| r["value"].as_f64().unwrap() > 0.0));
    scene.run(["champions", "--by", "loud.ttft"]).code(1);
}

#[test]
fn a_machine_without_ca_certificates_measures_all_the_same() {
    let scene = Scene::new();
    scene.grid(&[], &format!("{}{SUITE}", configs(1)));
    let none = scene.write("none.pem", "");
    let mut command = scene.vgrid(["run", "grid.yaml"]);
    command.env("SSL_CERT_FILE", none).env("SSL_CERT_DIR", scene.folder().join("no-such-folder"));
    run(command).ok();
    assert_eq!(scene.states(), ["c1: measured"]);
}

#[test]
fn a_trial_cannot_start_on_a_port_that_somebody_else_serves() {
    let scene = Scene::new();
    scene.grid(&[], "suite: [smoke]\n");
    let listener = std::net::TcpListener::bind(("127.0.0.1", scene.port)).unwrap();
    scene.sweep(&[]).code(4).says(&[&scene.port.to_string(), "nothing was touched"]);
    assert!(!scene.db().exists());
    drop(listener);
    run(scene.vgrid(["run", "grid.yaml"])).ok();
}
