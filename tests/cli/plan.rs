//! `plan`, `check` and `import`: what they print, also of a plan with 100,000 points.

use std::time::Duration;

use serde_json::Value;

use super::common::{Live, Scene, root, wait_until};
use super::{SERVICE, grid_over_compose};

const CONFIGS: &str = "\
axes: { max-num-seqs: [8, 16, 32], enable-prefix-caching: [on, off] }
exclude:
  - when: flags[\"max-num-seqs\"] == 32 && flags[\"enable-prefix-caching\"] == \"off\"
    because: not of interest
suite: [smoke]
objectives: { worth: maximize smoke.passed }
";

#[test]
fn plan_json_is_one_value_a_line_a_head_and_then_every_config() {
    let scene = Scene::new();
    scene.grid(&[], CONFIGS);
    let lines = scene.run(["plan", "grid.yaml", "--json"]).ok().json_lines();
    let (head, configs) = lines.split_first().unwrap();
    assert_eq!((&head["grid"], &head["configs"]), (&"scene".into(), &6.into()));
    let name = |c: &Value| c["name"].as_str().unwrap().to_owned();
    let names: Vec<String> = configs.iter().map(name).collect();
    assert_eq!(
        names,
        [
            "seqs8_prefix-on",
            "seqs8_prefix-off",
            "seqs16_prefix-on",
            "seqs16_prefix-off",
            "seqs32_prefix-on",
            "seqs32_prefix-off"
        ]
    );
    assert_eq!(head["baseline"], "seqs8_prefix-on");
    let argv = configs[1]["argv"].as_array().unwrap();
    assert!(argv.contains(&"--no-enable-prefix-caching".into()), "{argv:?}");
    assert_eq!(configs[1]["argv_diff"], "enable-prefix-caching on→off");
    assert_eq!(configs[5]["skip"]["reason"], "excluded");
    assert!(configs[5]["skip"]["why"].as_str().unwrap().contains("not of interest"));
    assert!(configs[..5].iter().all(|c| c["skip"].is_null()));
    let mut keys: Vec<&str> = configs.iter().map(|c| c["key"].as_str().unwrap()).collect();
    keys.sort_unstable();
    keys.dedup();
    assert_eq!(keys.len(), 6, "every config has a key of its own");
}

#[test]
fn a_plan_touches_nothing_and_the_same_grid_gives_the_same_keys() {
    let scene = Scene::new();
    scene.grid(&[], CONFIGS);
    let first = scene.run(["plan", "grid.yaml", "--json"]).ok();
    let second = scene.run(["plan", "grid.yaml", "--json"]).ok();
    assert_eq!(first.stdout, second.stdout);
    assert!(!scene.db().exists());
    scene.run(["plan", "grid.yaml"]).ok().says(&["6 configs, 5 to run, 1 skipped by rules", "not of interest"]);
}

#[test]
fn check_json_says_what_is_right_and_what_is_wrong() {
    let scene = Scene::new();
    scene.grid(&[], "suite: [smoke]\n");
    let right = scene.run(["check", "grid.yaml", "--json"]).ok().json();
    assert_eq!(right["ok"], true);
    assert_eq!(right["diagnostics"][0]["code"], "no-objective");
    let findings = right["findings"].as_array().unwrap();
    assert!(findings.iter().all(|f| f["kind"] == "ok" && f["message"].is_string()), "{findings:?}");
    assert!(findings.iter().any(|f| f["check"] == "port"));

    scene.grid(&[], "suit: [smoke]\n");
    let wrong = scene.run(["check", "grid.yaml", "--json"]).code(1).json();
    assert_eq!(wrong["ok"], false);
    let finding = &wrong["diagnostics"][0];
    assert_eq!((&finding["code"], &finding["place"]["line"]), (&"unknown-key".into(), &6.into()));
    assert_eq!(finding["help"], "did you mean `suite`?");
}

#[test]
fn check_says_that_the_port_is_taken_and_by_whom() {
    let scene = Scene::new();
    scene.grid(&[], "suite: [smoke]\n");
    let listener = std::net::TcpListener::bind(("127.0.0.1", scene.port)).unwrap();
    let done = scene.run(["check", "grid.yaml"]).code(4);
    done.says(&[&scene.port.to_string(), "in use"]);
    drop(listener);
    scene.run(["check", "grid.yaml"]).ok();
}

#[test]
fn an_imported_grid_is_accepted_and_its_two_identical_configs_are_named() {
    let scene = Scene::new();
    let json = root().join("tests/fixtures/grid_search_configs.json");
    let json = json.to_str().unwrap();
    let identical = ["identical-points", "`chunked_only_high_tokens`", "`chunked_only_default`"];
    scene.run(["import", json, "-o", "grid.yaml"]).ok().says(&identical).says(&["placeholder-deployment"]);
    // The placeholder names compose.yml and the service vllm.
    scene.write("compose.yml", SERVICE);
    scene.run(["check", "grid.yaml", "--files-only"]).ok().says(&identical).says(&["12 configs"]);
    let plan = scene.run(["plan", "grid.yaml", "--json"]).ok().json_lines();
    assert_eq!(plan.len(), 13, "the head and twelve configs");
    assert_eq!(plan[1]["expected"]["kv_cache.ttft_miss_ms.p50"], 1828.0);
    let twice: Vec<&Value> = plan.iter().filter(|c| c["skip"]["reason"] == "duplicate").collect();
    assert_eq!(twice.len(), 1);
    assert_eq!(twice[0]["name"], "chunked_only_high_tokens");
    let off = plan[1]["argv"].as_array().unwrap();
    assert!(off.contains(&"--no-enable-prefix-caching".into()), "false in the JSON is off, never absent: {off:?}");
}

#[test]
fn import_prints_the_grid_or_json() {
    let scene = Scene::new();
    let json = root().join("tests/fixtures/grid_search_configs.json");
    let json = json.to_str().unwrap();
    let text = scene.run(["import", json]).ok().stdout;
    let value = scene.run(["import", json, "--json"]).ok().json();
    assert_eq!(value["grid"].as_str().unwrap().trim(), text.trim());
    assert_eq!(value["findings"].as_array().unwrap().len(), 2);
    scene.run(["import", "absent.json"]).code(1).says(&["absent.json"]);
    scene.write("broken.json", "{\"configs\": [");
    scene.run(["import", "broken.json"]).code(1);
}

/// What a process has held in memory at most, in KiB; None when it is gone.
fn peak_kib(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find(|l| l.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

#[test]
fn a_plan_of_100_000_points_is_counted_without_being_held_in_memory() {
    let scene = Scene::new();
    let ten = |from: u32| (from..from + 10).map(|n| n.to_string()).collect::<Vec<_>>().join(", ");
    let mut axes: Vec<String> =
        [("max-num-seqs", 1), ("max-num-batched-tokens", 2048), ("max-model-len", 4096), ("seed", 0)]
            .iter()
            .map(|(flag, from)| format!("  {flag}: [{}]\n", ten(*from)))
            .collect();
    axes.push("  gpu-memory-utilization: [0.8, 0.81, 0.82, 0.83, 0.84, 0.85, 0.86, 0.87, 0.88, 0.89]\n".to_owned());
    let tail = format!("axes:\n{}suite: [smoke]\n", axes.concat());
    grid_over_compose(&scene, SERVICE, &tail);

    let plan = Live::start(scene.vgrid(["plan", "grid.yaml", "--limit", "3"]));
    let mut peak = 0;
    wait_until("the plan is made", || match peak_kib(plan.pid()) {
        Some(now) => {
            peak = peak.max(now);
            false
        }
        None => true,
    });
    let done = plan.finish().ok().says(&["and 99997 more", "100000 configs, 100000 to run"]);
    assert!(done.stdout.lines().count() < 10, "only what --limit allows is shown");
    // A hundred thousand services of some KiB each would be hundreds of MiB.
    assert!(peak > 0 && peak < 150 * 1024, "the plan took {peak} KiB at most");
}

#[test]
fn the_head_of_a_large_plan_comes_at_once_as_json() {
    let scene = Scene::new();
    let seeds: Vec<String> = (0..1000).map(|n| n.to_string()).collect();
    let seeds = seeds.join(", ");
    let tail = format!("axes: {{ max-num-seqs: [{seeds}], seed: [{seeds}] }}\nsuite: [smoke]\n");
    grid_over_compose(&scene, SERVICE, &tail.replace("[0, ", "[1001, "));
    let began = std::time::Instant::now();
    let lines = scene.run(["plan", "grid.yaml", "--json", "--limit", "2"]).ok().json_lines();
    assert_eq!(lines.len(), 3);
    assert_eq!(lines[0]["configs"], 1_000_000);
    // Making them all would take minutes.
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
}
