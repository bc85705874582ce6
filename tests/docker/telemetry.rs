//! What a sweep samples of a real container.

use super::common_docker::{Scene, Service};

#[test]
fn a_sweep_samples_container_host_and_engine_in_every_phase_and_show_prints_them() {
    let Some(scene) = Scene::new("telemetry") else { return };
    // At the speed of these tests, 50 times the real one, that is 8 s.
    scene.deploy(&Service::sim().with_flags("--sim-boot-seconds 400"));
    scene.grid(
        "telemetry: { interval: 100ms }\nsuite:\n  smoke: { long_prompt_tokens: 64, output_tokens: 4 }\n  \
         profile: { idle_s: 6, busy_s: 8, concurrency: 2, prompt_tokens: 64, output_tokens: 64 }\n\
         limits: { startup: 90s, trial: 3m }\n",
    );
    scene.production();
    scene.run().end().expect_code(0);
    let rows = scene.rows(
        "SELECT tag || ' ' || series, samples, minimum, maximum FROM telemetry WHERE series IN \
         ('container_cpu_cores', 'container_memory_bytes', 'host_cpu_ratio', 'vllm:num_requests_running')",
    );
    let found = |name: &str| rows.iter().find(|r| r[0] == name).unwrap_or_else(|| panic!("{name} is not in {rows:?}"));
    for name in [
        "boot container_memory_bytes",
        "boot host_cpu_ratio",
        "idle container_memory_bytes",
        "idle vllm:num_requests_running",
        "profile container_cpu_cores",
        "profile host_cpu_ratio",
        "profile vllm:num_requests_running",
    ] {
        found(name);
    }
    let number = |cell: &str| cell.parse::<f64>().unwrap();
    assert!(number(&found("boot container_memory_bytes")[2]) > 0.0, "{rows:?}");
    assert_eq!(number(&found("idle vllm:num_requests_running")[3]), 0.0, "{rows:?}");
    assert!(number(&found("profile vllm:num_requests_running")[3]) >= 1.0, "{rows:?}");
    assert!(!rows.iter().any(|r| r[0].starts_with("boot vllm:")), "the engine answered before it was ready: {rows:?}");
    let gpus = scene.rows("SELECT count(*) FROM telemetry_sample WHERE source LIKE 'gpu%'");
    assert_eq!(gpus, [["0"]], "nothing measured, nothing stored");
    let shown = scene.start(&["show", "base", "--all"]).end().expect_code(0);
    for text in ["telemetry (min / median / max)", "    boot", "container container_memory_bytes", "no_gpu_figure"] {
        assert!(shown.stdout.contains(text), "{text} is not in\n{}", shown.stdout);
    }
    let json = scene.start(&["show", "base", "--json"]).end().expect_code(0).stdout;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert!(json["attempt_reports"][0]["telemetry"].as_array().is_some_and(|rows| rows.len() > 10));
}
