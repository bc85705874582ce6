//! `--json`: every key that a command prints is explained in `docs/json.md`.

use super::common::Scene;
use super::common::documented::{lacking, section_of};

#[test]
fn every_key_of_the_json_output_is_explained() {
    let scene = Scene::new();
    scene.grid(
        &["--sim-boot-seconds", "0.1"],
        "configs: [{ name: a }, { name: b, flags: { max-num-seqs: 3 } }, { name: oom, flags: { gpu-memory-utilization: 0.5 } }]\n\
         suite: [smoke, kv_cache: { prefix_tokens: [256], repeats: 5, output_tokens: 4 }]\n\
         objectives: { worth: maximize smoke.passed, hit: minimize kv_cache.ttft_hit_ms.p50 }\n\
         gates: [kv_cache.ttft_miss_ms.p50 <= 10000]\n",
    );
    scene.sweep(&[]);
    scene.write("t.json", r#"[{"name": "theirs", "ttft_ms": 1.0}]"#);
    scene.run(["import", "t.json"]).ok();
    scene.write("bench.yaml", "load: { concurrency: [2], prompt_tokens: 32, output_tokens: 8 }\n");
    let port = scene.port.to_string();
    let sim = scene.start(&["sim", "m", "--port", &port, "--sim-speed=20", "--sim-boot-seconds=0"]);
    sim.wait_for("Application startup complete");
    let url = format!("http://127.0.0.1:{port}");
    let mut missing = Vec::new();
    let mut checked = 0;
    for command in [
        &["bench", &url, "--suite", "bench.yaml"] as &[&str],
        &["champions", "--include-foreign"],
        &["champions", "--criteria"],
        &["status"],
        &["show", "a"],
        &["show", "oom"],
        &["compare", "a", "b"],
        &["effects"],
        &["pareto", "smoke.passed", "kv_cache.ttft_hit_ms.p50"],
    ] {
        let section = section_of(command[0]);
        let json = scene.run(command.iter().copied().chain(["--json"])).json();
        let (found, not_there) = lacking(command[0], &json, &section);
        assert!(found > 10, "{command:?}: {json}");
        checked += found;
        missing.extend(not_there);
    }
    sim.kill();
    assert!(checked > 100, "{checked}");
    assert!(missing.is_empty(), "docs/json.md lacks {missing:?}");
}

#[test]
fn every_key_of_a_plan_a_starter_grid_a_check_and_a_report_is_explained() {
    let scene = Scene::new();
    let body = "axes: { max-num-seqs: [2, 3] }\nexclude: [{ when: 'flags[\"max-num-seqs\"] == 3', because: too many }]\n\
                configs: [{ name: a }, { name: oom, flags: { gpu-memory-utilization: 0.5 }, expected: { smoke.passed: 1 } }]\n\
                baseline: a\nsuite: [smoke]\nobjectives: { worth: maximize smoke.passed }\nrepeats: off\n";
    let grid = scene.grid(&["--sim-boot-seconds", "0.1"], body);
    let grid = grid.to_str().unwrap();
    scene.sweep(&[]);
    scene.run(["report", "--format", "json", "-o", "report.json"]).ok();
    let report = std::fs::read_to_string(scene.folder().join("report.json")).unwrap();
    scene.write(
        "compose.yml",
        "services: { vllm: { image: vllm/x, command: '--model m --api-key ${MY_UNSET_KEY}' } }\n",
    );
    let one_line_each = serde_json::Value::from(scene.run(["plan", grid, "--json"]).ok().json_lines());
    let mut missing = Vec::new();
    for (command, at_least, json) in [
        ("plan", 20, one_line_each),
        ("check", 3, scene.run(["check", grid, "--json"]).json()),
        ("init", 6, scene.run(["init", "-o", "starter.yaml", "--json"]).ok().json()),
        ("report", 80, serde_json::from_str(&report).unwrap()),
    ] {
        let (found, not_there) = lacking(command, &json, &section_of(command));
        assert!(found >= at_least, "{command}: {found} keys in {json}");
        missing.extend(not_there);
    }
    assert!(missing.is_empty(), "docs/json.md lacks {missing:?}");
}
