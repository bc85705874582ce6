//! `compose --json` against the real Docker Compose.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::common::{Scene, present, root};

/// Compose doubles dollars in what it prints, so that its output can be read again.
fn undouble(value: &Value) -> Value {
    match value {
        Value::String(text) => text.replace("$$", "$").into(),
        Value::Array(items) => items.iter().map(undouble).collect(),
        Value::Object(map) => map.iter().map(|(k, v)| (k.replace("$$", "$"), undouble(v))).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
    }
}

/// Asserts that both say the same of every service of the files.
fn same(oracle: &Path, folder: &Path, files: &[&str], env_file: Option<&str>) {
    let mut asked = Command::new(oracle);
    asked.env_clear().env("HOME", "/home/tester").env("PATH", "/usr/bin:/bin").current_dir(folder);
    let mut args: Vec<&str> = files.iter().flat_map(|f| ["-f", f]).collect();
    if let Some(file) = env_file {
        args.extend(["--env-file", file]);
    }
    let output = asked.args(&args).args(["config", "--format", "json"]).output().unwrap();
    assert!(output.status.success(), "{files:?}: {}", String::from_utf8_lossy(&output.stderr));
    let theirs: Value = serde_json::from_slice(&output.stdout).unwrap();
    let services = theirs["services"].as_object().unwrap();
    assert!(!services.is_empty());
    for (name, service) in services {
        let mut command = Command::new(super::common::exe());
        command.env_clear().env("HOME", "/home/tester").env("PATH", "/usr/bin:/bin").current_dir(folder);
        command.arg("compose").args(&args).args(["--service", name, "--json"]);
        let ours = super::run(command).ok().json();
        assert_eq!(ours, undouble(service), "{files:?}, service {name}");
    }
}

#[test]
fn compose_json_is_what_docker_compose_says() {
    let oracle = std::env::var_os("VGRID_COMPOSE_ORACLE")
        .map_or_else(|| root().join("target/oracle/docker-compose"), Into::into);
    if !present(&oracle, "VGRID_REQUIRE_ORACLE") {
        return;
    }
    let fixtures = root().join("tests/fixtures/compose");
    for file in ["anchors.yml", "commands.yml", "environment.yml", "gpus.yml", "health.yml"] {
        same(&oracle, &fixtures, &[file], None);
    }
    let own = root().join("compose");
    same(&oracle, &own, &["quickstart.yml"], None);
    same(&oracle, &own, &["vllm.yml", "qwen3-32b-awq.yml"], Some("qwen3-32b-awq.env"));
}

#[test]
fn compose_prints_project_image_and_command_and_names_the_services_there_are() {
    let scene = Scene::new();
    scene.write("compose.yml", "name: p\nservices:\n  vllm:\n    image: x:1\n    command: [--model, \"a b\"]\n");
    let vllm = ["compose", "-f", "compose.yml", "--service", "vllm"];
    scene.run(vllm).ok().says(&["project p", "image   x:1", "command --model 'a b'"]);
    scene.run(["compose", "-f", "compose.yml", "--service", "vlm"]).code(1).says(&["`vlm`", "`vllm`"]);
    scene.run(["compose", "-f", "absent.yml", "--service", "vllm"]).code(1).says(&["absent.yml"]);
}
