//! Ctrl-C, `kill` and a closed terminal in the middle of a sweep.

use std::time::{Duration, Instant};

use super::common::{Scene, exe, wait_until};
use super::{SUITE, configs};

/// Load that takes seconds on an engine of ordinary speed: the signal comes in the middle of it.
const SLOW: &str = "\
suite:
  - smoke
  - load: { concurrency: [1], requests_per_user: 8, prompt_tokens: 64, output_tokens: 32 }
objectives: { speed: maximize load.output_tokens_per_s }
repeats: off
";

/// One signal ends the trial, not the results; the same command goes on.
fn one_signal_ends_the_trial_and_keeps_the_results(signal: &str, name: &str) {
    let scene = Scene::new();
    scene.grid(&["--sim-speed=3"], &format!("{}{SLOW}", configs(3)));
    let sweep = scene.start(&["run", "grid.yaml"]);
    sweep.wait_for("c2: smoke done");
    sweep.signal(signal);
    sweep.finish().code(130).says(&[name, "once more stops at once", "interrupted"]);

    scene.assert_no_sim_is_left();
    assert_eq!(scene.states(), ["c1: measured", "c2: interrupted", "c3: pending"]);
    assert_eq!(scene.count("SELECT count(*) FROM attempt WHERE outcome IS NULL"), 0);
    let before = scene.results();
    assert_eq!(before.len(), 3, "both scenarios of c1, and what c2 had finished");
    let status = scene.run(["status", "--json"]).ok().json();
    assert_eq!((&status["sweep"]["state"], &status["process"]), (&"interrupted".into(), &serde_json::Value::Null));

    let done = scene.sweep(&[]).ok();
    assert!(!done.stderr.contains("c2: smoke done"), "a finished scenario is not repeated:\n{}", done.stderr);
    assert_eq!(scene.states(), ["c1: measured", "c2: measured", "c3: measured"]);
    let after = scene.results();
    assert_eq!((after.len(), &after[..3]), (6, &before[..]));
    let attempts = "SELECT config || ' ' || attempts FROM trials ORDER BY position";
    assert_eq!(scene.sql(attempts), ["c1 1", "c2 2", "c3 1"]);
    assert_eq!(scene.run(["status", "--json"]).ok().json()["sweep"]["state"], "finished");
    scene.assert_no_sim_is_left();
}

#[test]
fn ctrl_c_ends_the_trial_and_the_same_command_goes_on_without_repeating_a_scenario() {
    one_signal_ends_the_trial_and_keeps_the_results("INT", "Ctrl-C");
}

#[test]
fn sigterm_is_as_ctrl_c() {
    one_signal_ends_the_trial_and_keeps_the_results("TERM", "SIGTERM");
}

#[test]
fn a_closed_terminal_is_as_ctrl_c() {
    one_signal_ends_the_trial_and_keeps_the_results("HUP", "SIGHUP");
}

#[test]
fn ctrl_c_while_an_engine_boots_ends_it_too() {
    let scene = Scene::new();
    let body = "configs:\n  - { name: boots, flags: { sim-fail: hang_start } }\nsuite: [smoke]\n";
    scene.grid(&[], body);
    let sweep = scene.start(&["run", "grid.yaml"]);
    sweep.wait_for("loading weights");
    sweep.signal("INT");
    sweep.finish().code(130);
    assert_eq!(scene.states(), ["boots: interrupted"]);
    scene.assert_no_sim_is_left();
}

#[test]
fn a_second_ctrl_c_ends_at_once_and_restore_puts_it_right() {
    let scene = Scene::new();
    // An engine that does not end on SIGTERM: a shell around it that ignores the signal until it is released.
    scene.write("stubborn.sh", "trap '' TERM\n\"$@\"\nwhile [ ! -e released ]; do sleep 0.1; done\n");
    let head = scene
        .head(&["--served-model-name=m"])
        .replace(&format!("[\"{}\"", exe()), &format!("[\"/bin/sh\",\"stubborn.sh\",\"{}\"", exe()));
    scene.write("grid.yaml", &format!("{head}{}{SUITE}", configs(2)));
    let sweep = scene.start(&["run", "grid.yaml"]);
    sweep.wait_for("c1: smoke done");
    sweep.signal("INT");
    sweep.wait_for("once more stops at once");
    let asked = Instant::now();
    sweep.signal("INT");
    sweep.finish().code(130).says(&["stopped at once", "vgrid restore"]);
    // A stop waits ten seconds for an engine that ignores SIGTERM.
    assert!(asked.elapsed() < Duration::from_secs(8), "it waited {:?}", asked.elapsed());

    let shells = || super::common::processes_with(&["stubborn.sh", "--port", &scene.port.to_string()]);
    assert_eq!(shells().len(), 1, "the shell is left over");
    scene.write("released", "");
    scene.run(["restore"]).ok();
    wait_until("the leftover has ended", || shells().is_empty());
    scene.assert_no_sim_is_left();
    scene.sweep(&[]).ok();
    assert_eq!(scene.states(), ["c1: measured", "c2: measured"]);
}
