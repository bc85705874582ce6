//! `kill -9` at any moment: nothing that was finished is lost or repeated, and nothing is left running.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

use super::common::Scene;
use super::{SUITE, configs, repeated};

/// A kill comes after at most so many lines on standard error: the first config of the rest, and a part of the second.
const LINES: usize = 16;

/// A sweep that is killed again and again.
struct Ordeal {
    /// Of the moments of the kills.
    seed: u64,
    /// Kills at most; fewer when the sweep is over before.
    kills: usize,
    /// Configs that are measured.
    good: usize,
    /// Configs that fail, once each, after them.
    bad: usize,
    /// How often the configs are started.
    repeats: &'static str,
    /// Results of a night that nothing disturbs.
    results_of_all: usize,
    /// Now and then: a signal before the kill, so that it comes while vgrid ends; and `vgrid restore` after it, killed too.
    every_way: bool,
}

impl Ordeal {
    /// Kills the sweep at moments of its course, then lets it end. How often it was killed in the middle, by the phase of the attempt.
    fn go_through(&self) -> BTreeMap<String, usize> {
        let Self { seed, .. } = *self;
        let mut random = StdRng::seed_from_u64(seed);
        let scene = Scene::new();
        let bad = |n| {
            format!(
                "  - {{ name: b{n}, flags: {{ max-num-seqs: {n}, enable-auto-tool-choice: on, tool-call-parser: none }} }}\n"
            )
        };
        let bad: String = (1..=self.bad).map(bad).collect();
        // A kill is no fault of the config, however often it hits the same one.
        let limits = "limits: { deaths: 1000, identical_failures: 1000, retries: 0 }\n";
        scene.grid(&[], &format!("{}{bad}{}{limits}", configs(self.good), repeated(self.repeats)));
        let mut known: Vec<String> = Vec::new();
        let mut hits = BTreeMap::new();
        for _ in 0..self.kills {
            // A config that has several starts is measured again rightly.
            let measured = if self.every_way { measured(&scene) } else { Vec::new() };
            let sweep = scene.start(&["run", "grid.yaml"]);
            let line = random.random_range(1..LINES);
            if !sweep.wait_for_lines(line) {
                // It came to its end before that many lines.
                sweep.finish().code(if self.bad > 0 { 2 } else { 0 });
                known = scene.results();
                break;
            }
            // This is the point of the test: no condition, but any moment after the line.
            let most = if self.every_way { 500 } else { 60 };
            std::thread::sleep(Duration::from_millis(random.random_range(0..most)));
            let signalled = self.every_way && random.random_ratio(1, 4);
            if signalled {
                sweep.signal(["INT", "TERM", "HUP"].choose(&mut random).unwrap());
                std::thread::sleep(Duration::from_millis(random.random_range(0..100)));
            }
            let said = sweep.kill();
            for (name, scenario) in &measured {
                let again = format!("] {name}: {scenario} ");
                assert!(!said.contains(&again), "seed {seed}: measured again although it was stored: {again}\n{said}");
            }
            let ending = if signalled { ", after a signal" } else { "" };
            *hits.entry(format!("{}{ending}", phase_of_the_last_attempt(&scene))).or_default() += 1;
            if self.every_way && random.random_ratio(1, 8) {
                let restore = scene.start(&["restore"]);
                std::thread::sleep(Duration::from_millis(random.random_range(0..150)));
                restore.kill();
                *hits.entry("vgrid restore".to_owned()).or_default() += 1;
                if scene.db_has_tables() {
                    scene.run(["restore"]).ok();
                    scene.assert_no_sim_is_left();
                }
            }
            let now = scene.results();
            assert_eq!(
                now.get(..known.len()),
                Some(&known[..]),
                "seed {seed}: a finished scenario was lost or changed"
            );
            known = now;
        }
        self.end(&scene, &known);
        hits
    }

    /// The last run: it ends by itself, and then everything is there once and nothing is left.
    fn end(&self, scene: &Scene, known: &[String]) {
        let Self { seed, .. } = *self;
        scene.sweep(&[]).code(if self.bad > 0 { 2 } else { 0 });
        let good = (1..=self.good).map(|n| format!("c{n}: measured"));
        let bad = (1..=self.bad).map(|n| format!("b{n}: failed (bad_argument)"));
        assert_eq!(scene.states(), good.chain(bad).collect::<Vec<_>>(), "seed {seed}");
        let results = scene.results();
        assert_eq!(results[..known.len()], *known, "seed {seed}");
        assert_eq!(results.len(), self.results_of_all, "seed {seed}: each scenario of each start is there once");
        let distinct = scene.count("SELECT count(DISTINCT trial_id || result_key) FROM scenario_result");
        assert_eq!(distinct as usize, self.results_of_all);
        assert_eq!(scene.count("SELECT count(*) FROM attempt WHERE outcome IS NULL"), 0, "no attempt stays open");
        let failed = scene.count("SELECT count(*) FROM attempt WHERE outcome = 'failed'");
        assert_eq!(failed as usize, self.bad, "a kill is no failure, and a failure is not repeated");
        assert_eq!(scene.count("SELECT count(*) FROM sweep"), 1, "it is one sweep");
        assert_eq!(scene.count("SELECT count(*) FROM restoration WHERE state <> 'restored'"), 0);
        assert_eq!(scene.sql("PRAGMA integrity_check"), ["ok"]);
        assert_eq!(scene.run(["status", "--json"]).ok().json()["sweep"]["state"], "finished");
        scene.assert_no_sim_is_left();
        let folder = scene.folder().join("runs.db.d");
        let pid_files = std::fs::read_dir(folder)
            .unwrap()
            .filter(|e| e.as_ref().unwrap().file_name().to_string_lossy().starts_with("process-"));
        assert_eq!(pid_files.count(), 0, "no pid file is left");
    }
}

/// Config and scenario of every stored result.
fn measured(scene: &Scene) -> Vec<(String, String)> {
    if !scene.db_has_tables() {
        return Vec::new();
    }
    let rows = scene.sql(
        "SELECT t.name || ' ' || r.scenario FROM scenario_result r JOIN trial t ON t.id = r.trial_id ORDER BY r.id",
    );
    rows.iter().filter_map(|row| row.split_once(' ')).map(|(n, s)| (n.to_owned(), s.to_owned())).collect()
}

/// Where the last attempt was; `none` when no attempt is open.
fn phase_of_the_last_attempt(scene: &Scene) -> String {
    if !scene.db_has_tables() {
        return "no database yet".to_owned();
    }
    let rows = scene.sql("SELECT phase FROM attempt WHERE outcome IS NULL ORDER BY id DESC LIMIT 1");
    rows.first().cloned().unwrap_or_else(|| "between trials".to_owned())
}

fn hits(of: &BTreeMap<String, usize>) -> usize {
    of.values().sum()
}

#[test]
fn a_sweep_killed_at_random_moments_loses_and_repeats_nothing() {
    let (mut hit, mut seed) = (0, 0);
    while hit < 15 {
        seed += 1;
        assert!(seed <= 15, "only {hit} kills came in the middle of a sweep");
        let ordeal = Ordeal { seed, kills: 5, good: 4, bad: 0, repeats: "off", results_of_all: 8, every_way: false };
        hit += hits(&ordeal.go_through());
    }
}

#[test]
fn a_sweep_of_several_starts_killed_at_random_moments_loses_and_repeats_none_of_them() {
    // Two passes over four configs and three controls, two results each.
    let repeats = "{ starts: 2, controls_every: 2, finalists: off }";
    let (mut hit, mut seed) = (0, 100);
    while hit < 6 {
        seed += 1;
        assert!(seed <= 106, "only {hit} kills came in the middle of a sweep");
        let ordeal = Ordeal { seed, kills: 6, good: 4, bad: 0, repeats, results_of_all: 22, every_way: false };
        hit += hits(&ordeal.go_through());
    }
}

/// The soak. `VGRID_SOAK_KILLS` kills, 1,000 when it is not set; `VGRID_TEST_SEED` is the first seed.
///
/// `cargo test --locked --test sweep_process -- --ignored --nocapture soak`
#[test]
#[ignore = "takes minutes; benches/soak.sh runs it"]
fn soak_of_random_kill_points() {
    let number = |name: &str, otherwise: u64| {
        std::env::var(name)
            .map_or(otherwise, |text| text.parse().unwrap_or_else(|_| panic!("{name} is no number: {text}")))
    };
    let (wanted, first) = (number("VGRID_SOAK_KILLS", 1_000) as usize, number("VGRID_TEST_SEED", 20_261_124));
    let began = Instant::now();
    let mut by_phase: BTreeMap<String, usize> = BTreeMap::new();
    let mut sweeps = 0;
    while hits(&by_phase) < wanted {
        let ordeal = Ordeal {
            seed: first + sweeps,
            kills: 60,
            good: 20,
            bad: 4,
            repeats: "off",
            results_of_all: 40,
            every_way: true,
        };
        for (phase, count) in ordeal.go_through() {
            *by_phase.entry(phase).or_default() += count;
        }
        sweeps += 1;
        println!("{sweeps} sweeps, {} kills in {:.0} s: {by_phase:?}", hits(&by_phase), began.elapsed().as_secs_f64());
    }
    println!(
        "SOAK: {} kills in {sweeps} sweeps (seeds {first} to {}), {:.0} s: no finished scenario lost, none repeated, no process left",
        hits(&by_phase),
        first + sweeps - 1,
        began.elapsed().as_secs_f64()
    );
    for (phase, count) in by_phase {
        println!("SOAK: {count:5} {phase}");
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

#[test]
fn the_ranking_that_the_views_read_is_kept_after_each_trial_and_not_only_at_the_end() {
    let scene = Scene::new();
    let body =
        format!("configs:\n  - {{ name: good }}\n  - {{ name: hangs, flags: {{ sim-fail: hang_start }} }}\n{SUITE}");
    scene.grid(&[], &body);
    let sweep = scene.start(&["run", "grid.yaml"]);
    sweep.wait_for("hangs: loading weights");
    assert_eq!(scene.count("SELECT count(*) FROM ranked_sweep"), 1);
    sweep.kill();
    scene.run(["clean"]).ok();
    scene.assert_no_sim_is_left();
}
