//! `kill -9` at any moment: nothing that was finished is lost or repeated, and nothing is left running.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::common::Scene;
use super::{SUITE, configs};

/// A kill comes after at most so many lines on standard error: the first config of the rest, and a part of the second.
const LINES: usize = 16;

/// Kills the same sweep again and again at moments of its course, then lets it end. How often it was killed in the middle.
fn killed_again_and_again(seed: u64, kills: usize, repeats: &str, results_of_all: usize) -> usize {
    let mut random = StdRng::seed_from_u64(seed);
    let scene = Scene::new();
    // A kill is no fault of the config, however often it hits the same one.
    scene.grid(&[], &format!("{}{SUITE}limits: {{ deaths: 1000 }}\n{repeats}", configs(4)));
    let mut known: Vec<String> = Vec::new();
    let mut hit = 0;
    for _ in 0..kills {
        let sweep = scene.start(&["run", "grid.yaml"]);
        let line = random.random_range(1..LINES);
        if !sweep.wait_for_lines(line) {
            // It came to its end before that many lines.
            sweep.finish().ok();
            known = scene.results();
            break;
        } else {
            // This is the point of the test: no condition, but any moment after the line.
            std::thread::sleep(Duration::from_millis(random.random_range(0..60)));
            sweep.kill();
            hit += 1;
        }
        let now = scene.results();
        assert_eq!(now.get(..known.len()), Some(&known[..]), "seed {seed}: a finished scenario was lost or changed");
        known = now;
    }
    let settled = known.len();
    scene.sweep(&[]).ok();
    assert_eq!(scene.states(), ["c1: measured", "c2: measured", "c3: measured", "c4: measured"], "seed {seed}");
    let results = scene.results();
    assert_eq!(results[..settled], known, "seed {seed}");
    assert_eq!(results.len(), results_of_all, "seed {seed}: each scenario of each start is there once");
    let distinct = scene.count("SELECT count(DISTINCT trial_id || result_key) FROM scenario_result");
    assert_eq!(distinct as usize, results_of_all);
    assert_eq!(scene.count("SELECT count(*) FROM attempt WHERE outcome IS NULL"), 0, "no attempt stays open");
    assert_eq!(scene.count("SELECT count(*) FROM attempt WHERE outcome = 'failed'"), 0, "a kill is no failure");
    assert_eq!(scene.count("SELECT count(*) FROM sweep"), 1, "it is one sweep");
    assert_eq!(scene.sql("PRAGMA integrity_check"), ["ok"]);
    assert_eq!(scene.run(["status", "--json"]).ok().json()["sweep"]["state"], "finished");
    scene.assert_no_sim_is_left();
    let folder = scene.folder().join("runs.db.d");
    let pid_files = std::fs::read_dir(folder)
        .unwrap()
        .filter(|e| e.as_ref().unwrap().file_name().to_string_lossy().starts_with("process-"));
    assert_eq!(pid_files.count(), 0, "no pid file is left");
    hit
}

#[test]
fn a_sweep_killed_at_random_moments_loses_and_repeats_nothing() {
    let (mut hits, mut seed) = (0, 0);
    while hits < 15 {
        seed += 1;
        assert!(seed <= 15, "only {hits} kills came in the middle of a sweep");
        hits += killed_again_and_again(seed, 5, "repeats: off\n", 8);
    }
}

#[test]
fn a_sweep_of_several_starts_killed_at_random_moments_loses_and_repeats_none_of_them() {
    // Two passes over four configs and three controls, two results each.
    let repeats = "repeats: { starts: 2, controls_every: 2, finalists: off }\n";
    let (mut hits, mut seed) = (0, 100);
    while hits < 6 {
        seed += 1;
        assert!(seed <= 106, "only {hits} kills came in the middle of a sweep");
        hits += killed_again_and_again(seed, 6, repeats, 22);
    }
}

#[test]
fn after_a_kill_status_does_not_say_that_the_sweep_runs() {
    let scene = Scene::new();
    scene.grid(&[], &format!("{}{SUITE}", configs(2)));
    let sweep = scene.start(&["run", "grid.yaml"]);
    sweep.wait_for("c1: smoke done");
    sweep.kill();
    let status = scene.run(["status"]).ok();
    status.says(&["sweep 1 of scene is interrupted"]);
    let json = scene.run(["status", "--json"]).ok().json();
    assert_eq!((&json["sweep"]["state"], &json["process"]), (&"interrupted".into(), &serde_json::Value::Null));
}

#[test]
fn a_trial_in_which_vgrid_dies_again_and_again_fails_and_the_sweep_goes_on_without_it() {
    let scene = Scene::new();
    let body =
        format!("configs:\n  - {{ name: deadly, flags: {{ sim-fail: hang_start }} }}\n  - {{ name: good }}\n{SUITE}");
    scene.grid(&[], &body);
    for _ in 0..3 {
        let sweep = scene.start(&["run", "grid.yaml"]);
        sweep.wait_for("deadly: loading weights");
        sweep.kill();
    }
    scene.sweep(&[]).code(2).says(&["vgrid died 3 times in a row during the startup of deadly"]);
    assert_eq!(scene.states(), ["deadly: failed (engine_dead)", "good: measured"]);
    assert_eq!(scene.count("SELECT count(*) FROM attempt"), 4);
    scene.run(["show", "deadly"]).ok().says(&["vgrid itself died 3 times", "dmesg"]);
    scene.sweep(&[]).code(2).says(&["nothing is left to measure"]);
    scene.assert_no_sim_is_left();
}
