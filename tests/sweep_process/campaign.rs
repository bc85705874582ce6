//! The campaign of 2025 replayed: its four configs as its scripts wrote them, and as they were meant.

use serde_json::Value;

use super::common::{Scene, root};

/// The flags of `compose/campaign-2025.yml` that a process can have, faster.
const ENGINE: &[&str] = &[
    "--tensor-parallel-size=2",
    "--max-model-len=8192",
    "--gpu-memory-utilization=0.95",
    "--enable-prompt-tokens-details",
    "--sim-model-weights-gib=19",
    "--sim-kv-kib-per-token=256",
    "--sim-first-request-ms=12000",
    "--sim-speed=10",
];

/// A shipped grid, over the simulated engine as a process.
fn replayed(grid: &str) -> Scene {
    let scene = Scene::new();
    let text = std::fs::read_to_string(root().join("grids").join(grid)).unwrap();
    let body = &text[text.find("\nconfigs:").unwrap()..];
    scene.grid(ENGINE, body);
    scene
}

fn ranking<'v>(champions: &'v Value, objective: &str) -> &'v Value {
    let rankings = champions["rankings"].as_array().unwrap();
    rankings.iter().find(|r| r["objective"]["name"] == objective).unwrap()
}

#[test]
fn flags_left_out_make_twins_no_winner_and_a_hit_that_is_a_cache_in_every_config() {
    let scene = replayed("campaign-2025-flags-left-out.yaml");
    scene.run(["plan", "grid.yaml"]).ok().says(&["twin-points", "`chunked_only_safe`", "`prefix_only_safe`"]);
    scene.sweep(&[]).ok().says(&["chunked_only_safe: skipped: resolves to the same engine as prefix_only_safe"]);
    assert_eq!(
        scene.states(),
        [
            "baseline_reference: measured",
            "prefix_only_safe: measured",
            "chunked_only_safe: skipped (twin)",
            "combined_conservative: measured",
        ]
    );
    let champions = scene.run(["champions", "--json"]).ok().json();
    for objective in ["hit", "miss"] {
        let ranking = ranking(&champions, objective);
        assert_eq!(ranking["answer"], "tied", "{objective}: {ranking}");
    }
    // What the scripts called a miss was the first request after the start.
    let first = scene.sql(
        "SELECT max(q.ttft_ms) > 5 * (SELECT m.value FROM metrics m WHERE m.config = t.name AND m.path = 'kv_cache.ttft_miss_ms.p50')
         FROM request q JOIN scenario_result r ON r.id = q.scenario_result_id JOIN trial t ON t.id = r.trial_id
         WHERE NOT q.measured OR r.scenario = 'smoke' GROUP BY t.id",
    );
    assert_eq!(first, ["1", "1", "1"], "the first request of each start is much slower than a fresh prefix on a warm engine");
}

#[test]
fn with_three_state_flags_the_config_without_a_cache_is_found_out() {
    let scene = replayed("campaign-2025.yaml");
    scene.sweep(&[]).ok();
    assert!(scene.states().iter().all(|state| state.ends_with(": measured")), "{:?}", scene.states());
    let champions = scene.run(["champions", "--json"]).ok().json();
    let hit = ranking(&champions, "hit");
    let rows = hit["rows"].as_array().unwrap();
    assert_eq!(rows[3]["name"], "chunked_only_safe", "without a cache the second time is as slow as the first: {hit}");
    let gain = rows[3]["gain_percent"].as_f64().unwrap();
    assert!(gain < -50.0, "{gain}");
    let by = scene.run(["champions", "--by", "maximize kv_cache.acceleration_ratio", "--json"]).ok().json();
    let ratio = |name: &str| {
        let rows = by["rankings"][0]["rows"].as_array().unwrap();
        rows.iter().find(|r| r["name"] == name).unwrap()["value"].as_f64().unwrap()
    };
    assert!((ratio("chunked_only_safe") - 1.0).abs() < 0.3, "a warm engine is no cache: {}", ratio("chunked_only_safe"));
    assert!(ratio("prefix_only_safe") > 2.0, "{}", ratio("prefix_only_safe"));
}
