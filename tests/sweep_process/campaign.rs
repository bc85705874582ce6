//! The campaign of 2025 replayed: its four configs as its scripts wrote them, and as they were meant. docs/campaign.md tells the story.

use serde_json::Value;

use super::common::{Scene, root};

/// The flags of `compose/campaign-2025.yml` that a process can have, faster. The first request of a start takes 1.2 s more than any other.
const ENGINE: &[&str] = &[
    "--tensor-parallel-size=2",
    "--max-model-len=8192",
    "--gpu-memory-utilization=0.95",
    "--enable-prompt-tokens-details",
    "--sim-model-weights-gib=19",
    "--sim-kv-kib-per-token=256",
    "--sim-first-request-ms=4800",
    "--sim-speed=4",
];

/// A shipped grid, over the simulated engine as a process, one start of each config.
fn replayed(grid: &str) -> Scene {
    let scene = Scene::new();
    let text = std::fs::read_to_string(root().join("grids").join(grid)).unwrap();
    let body = &text[text.find("\nconfigs:").unwrap()..];
    scene.grid(ENGINE, &format!("{body}repeats: off\n"));
    scene
}

fn rankings(scene: &Scene, by: &[&str]) -> Vec<Value> {
    let champions = scene.run(["champions", "--json"].iter().chain(by)).ok().json();
    champions["rankings"].as_array().unwrap().clone()
}

/// The slow first request is the completion that shows that the engine serves: no figure has it.
fn assert_no_figure_has_the_first_request(scene: &Scene) {
    let slow = "SELECT count(*) FROM attempt WHERE ready_s < 1.2";
    assert_eq!(scene.count(slow), 0, "the first request of a start takes so long");
    let longest = scene.sql("SELECT max(ttft_ms) FROM request");
    assert!(longest[0].parse::<f64>().unwrap() < 1_000.0, "the longest time to a first token: {longest:?} ms");
}

#[test]
fn flags_left_out_make_twins_and_no_winner() {
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
    assert_no_figure_has_the_first_request(&scene);
    let cached = "SELECT count(*) FROM metrics WHERE path = 'kv_cache.cached_tokens_ratio' AND value > 0.9";
    assert_eq!(scene.count(cached), 3, "every engine caches, asked for or not");
    // One verdict in twenty may be wrong, not two of three.
    let tied = rankings(&scene, &[]).iter().filter(|r| r["answer"] == "tied").count();
    assert!(tied >= 2, "{tied} of three objectives are tied");
}

#[test]
fn with_three_state_flags_a_warm_engine_is_told_from_a_cache() {
    let scene = replayed("campaign-2025.yaml");
    scene.sweep(&[]).ok();
    assert!(scene.states().iter().all(|state| state.ends_with(": measured")), "{:?}", scene.states());
    assert_no_figure_has_the_first_request(&scene);
    let hit = &rankings(&scene, &[])[0];
    let last = hit["rows"].as_array().unwrap().last().unwrap();
    assert_eq!(last["name"], "chunked_only_safe", "without a cache the second time is as slow as the first: {hit}");
    assert!(last["gain_percent"].as_f64().unwrap() < -50.0, "{last}");
    let by = &rankings(&scene, &["--by", "maximize kv_cache.acceleration_ratio"])[0];
    let ratio = |name: &str| {
        let rows = by["rows"].as_array().unwrap();
        rows.iter().find(|r| r["name"] == name).unwrap()["value"].as_f64().unwrap()
    };
    let warm = ratio("chunked_only_safe");
    assert!((warm - 1.0).abs() < 0.35, "a warm engine is no cache: {warm}");
    assert!(ratio("prefix_only_safe") > 1.4, "{}", ratio("prefix_only_safe"));
    let cached = "SELECT config || ' ' || (value > 0.9) FROM metrics WHERE path = 'kv_cache.cached_tokens_ratio' ORDER BY trial_id";
    let cached = scene.sql(cached);
    assert_eq!(
        cached,
        ["baseline_reference 1", "prefix_only_safe 1", "chunked_only_safe 0", "combined_conservative 1"]
    );
}
