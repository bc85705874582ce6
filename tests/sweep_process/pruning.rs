//! What a failure implies is skipped with its reason; on request it is measured all the same.

use super::common::Scene;

/// The virtual GPU has 24 GiB, 0.35 of them in use; utilisation 0.8 leaves a KV cache of 22,608 tokens.
const CONFIGS: &str = "\
configs:
  - { name: fits }
  - { name: long, flags: { gpu-memory-utilization: 0.8, max-model-len: 32768 } }
  - { name: longer, flags: { gpu-memory-utilization: 0.8, max-model-len: 40960 } }
  - { name: less-memory, flags: { gpu-memory-utilization: 0.7, max-model-len: 32768 } }
  - { name: half-the-bytes, flags: { gpu-memory-utilization: 0.8, max-model-len: 32768, kv-cache-dtype: fp8 } }
  - { name: too-much, flags: { gpu-memory-utilization: 0.99 } }
  - { name: far-too-much, flags: { gpu-memory-utilization: 0.995 } }
limits: { retries: 0 }
suite: [smoke]
";

#[test]
fn what_a_failure_implies_is_skipped_and_names_the_trial_that_failed() {
    let scene = Scene::new();
    scene.grid(&[], CONFIGS);
    let done = scene.sweep(&[]).code(2);
    done.says(&["longer: skipped: implied by trial 2 (long): the KV cache was too small"]);
    assert_eq!(
        scene.states(),
        [
            "fits: measured",
            "long: failed (kv_cache_too_small)",
            "longer: skipped (implied)",
            "less-memory: skipped (implied)",
            "half-the-bytes: measured",
            "too-much: failed (gpu_memory_busy)",
            "far-too-much: skipped (implied)",
        ]
    );
    scene.sweep(&[]).code(2).says(&["nothing is left to measure"]);
    scene.run(["show", "longer"]).ok().says(&["implied by trial 2 (long)"]);

    // A sample of them, then all of them: the implications were right.
    scene.sweep(&["--verify-pruned", "2"]).code(2).says(&["fails as was implied"]);
    assert_eq!(scene.states().iter().filter(|state| state.contains("(implied)")).count(), 1);
    scene.sweep(&["--no-prune"]).code(2);
    assert_eq!(scene.states().iter().filter(|state| state.contains("failed")).count(), 5);
    assert_eq!(scene.count("SELECT count(*) FROM attempt"), 7);
}

#[test]
fn nothing_is_pruned_where_pruning_is_switched_off() {
    let scene = Scene::new();
    scene.grid(&[], CONFIGS);
    scene.sweep(&["--no-prune", "--only", "long", "--only", "longer"]).code(3);
    assert_eq!(scene.count("SELECT count(*) FROM attempt WHERE cause = 'kv_cache_too_small'"), 2);
}

#[test]
fn a_failure_of_an_earlier_run_prunes_too() {
    let scene = Scene::new();
    scene.grid(&[], CONFIGS);
    scene.sweep(&["--only", "long"]).code(3);
    scene.sweep(&["--only", "longer", "--only", "less-memory"]).code(3);
    assert_eq!(scene.count("SELECT count(*) FROM trial_skip WHERE reason = 'implied'"), 2);
    assert_eq!(scene.count("SELECT count(*) FROM attempt"), 1);
}

#[test]
fn a_pruned_config_that_serves_is_told_loudly() {
    let scene = Scene::new();
    scene.grid(&[], CONFIGS);
    scene.sweep(&["--only", "half-the-bytes"]).ok();
    // A skip that no rule would make.
    let db = rusqlite::Connection::open(scene.db()).unwrap();
    db.execute(
        "INSERT INTO trial_skip (trial_id, after_attempt, reason, explanation, skipped_at)
         SELECT id, 0, 'implied', 'written by hand', '2026-01-01T00:00:00Z' FROM trial WHERE name = 'fits'",
        [],
    )
    .unwrap();
    drop(db);
    scene.sweep(&["--only", "half-the-bytes", "--verify-pruned", "5"]).ok().says(&["PRUNING WAS WRONG: fits"]);
    assert_eq!(scene.count("SELECT count(*) FROM trials WHERE config = 'fits' AND state = 'measured'"), 1);
}

#[test]
fn with_several_starts_a_pruned_config_has_none_and_a_failed_one_no_second() {
    let scene = Scene::new();
    scene.grid(&[], &format!("{CONFIGS}repeats: {{ starts: 2, finalists: off, controls_every: off }}\n"));
    scene.sweep(&[]).code(2);
    let starts = |config: &str| {
        scene.count(&format!(
            "SELECT count(*) FROM attempt a JOIN trial t ON t.id = a.trial_id WHERE t.name = '{config}'"
        ))
    };
    for (config, expected) in [
        ("fits", 2),
        ("half-the-bytes", 2),
        ("long", 1),
        ("too-much", 1),
        ("longer", 0),
        ("less-memory", 0),
        ("far-too-much", 0),
    ] {
        assert_eq!(starts(config), expected, "{config}");
    }
}
