//! `--json`: every key that a command prints is explained in `docs/json.md`.

use std::collections::BTreeSet;

use serde_json::Value;

use super::common::Scene;

/// Keys whose own keys are names of settings, facts or figures rather than words of the format.
const BY_NAME: &[&str] = &["flags", "env", "facts", "figures", "numbers", "requests_by_end", "simplest", "spec"];

/// All keys of the format, with the places where they were found.
fn keys(value: &Value, path: &str, by_name: bool, found: &mut BTreeSet<(String, String)>) {
    match value {
        Value::Object(object) => {
            for (key, inner) in object {
                if !by_name {
                    found.insert((key.clone(), path.to_owned()));
                }
                let parameters = key == "scenarios" && path.ends_with(".suite");
                let names = !by_name && (parameters || BY_NAME.contains(&key.as_str()) && inner.is_object());
                keys(inner, &format!("{path}.{key}"), names, found);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| keys(item, path, by_name, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// What the document says of one command, and of the commands that this section refers to.
fn section_of(command: &str, document: &str) -> String {
    let alone = |command: &str| {
        let found = document.split("\n## ").find(|section| section.starts_with(&format!("`vgrid {command}")));
        found.unwrap_or_else(|| panic!("no section on {command}")).to_owned()
    };
    let own = alone(command);
    let others: BTreeSet<&str> =
        own.split("`vgrid ").skip(1).filter_map(|rest| rest.split([' ', '`']).next()).collect();
    others.into_iter().filter(|other| *other != command).map(alone).chain([own.clone()]).collect()
}

#[test]
fn every_key_of_the_json_output_is_explained() {
    let document = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/json.md")).unwrap();
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
    let mut lacking = Vec::new();
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
        let section = section_of(command[0], &document);
        let json = scene.run(command.iter().copied().chain(["--json"])).json();
        let mut found = BTreeSet::new();
        keys(&json, command[0], false, &mut found);
        assert!(found.len() > 10, "{command:?}: {json}");
        checked += found.len();
        lacking.extend(found.into_iter().filter(|(key, _)| !section.contains(&format!("`{key}`"))));
    }
    sim.kill();
    assert!(checked > 100, "{checked}");
    assert!(lacking.is_empty(), "docs/json.md lacks {lacking:?}");
}
