//! `diagnose` over labelled logs: the project's own, and the shared corpus where it is at hand.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::common::{Scene, root};

/// The labelled logs of a folder: the log and its label.
fn samples(folder: &Path) -> Vec<(PathBuf, Value)> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut labels: Vec<PathBuf> =
        entries.flatten().map(|e| e.path()).filter(|p| p.extension().is_some_and(|e| e == "json")).collect();
    labels.sort();
    let label = |path: &PathBuf| serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    labels.iter().map(|path| (path.with_extension("log"), label(path))).filter(|(log, _)| log.exists()).collect()
}

/// What `docker inspect` would have said, as far as the label knows it.
fn state(label: &Value) -> Option<Value> {
    let known = ["state", "docker_state"].iter().find_map(|k| label.get(k).filter(|s| s.is_object()));
    let mut state = known.cloned().unwrap_or_else(|| serde_json::json!({}));
    for (from, to) in [("exit_code", "ExitCode"), ("oom_killed", "OOMKilled")] {
        if !label[from].is_null() && state.get(to).is_none() {
            state[to] = label[from].clone();
        }
    }
    state.as_object().is_some_and(|s| !s.is_empty()).then_some(state)
}

/// Complaints about one sample.
fn complaint(scene: &Scene, log: &Path, label: &Value) -> Option<String> {
    let mut args = vec!["diagnose".to_owned(), log.to_str().unwrap().to_owned(), "--json".to_owned()];
    if let Some(state) = state(label) {
        scene.write("state.json", &state.to_string());
        args.extend(["--state".to_owned(), "state.json".to_owned()]);
    }
    if let Some(phase) = label["phase"].as_str() {
        args.extend(["--phase".to_owned(), phase.to_owned()]);
    }
    let said = scene.run(&args).ok().json();
    let mut keys: Vec<&str> = said.as_object().unwrap().keys().map(String::as_str).collect();
    keys.sort_unstable();
    assert_eq!(keys, ["cause", "evidence", "numbers", "remedy", "stage", "transient"]);
    let cause = said["cause"].as_str().unwrap();
    let acceptable = label["acceptable"].as_array().is_some_and(|list| list.iter().any(|a| a == cause));
    if label["cause"] != cause && !acceptable {
        return Some(format!("{}: {cause} instead of {}", log.display(), label["cause"]));
    }
    let silent = cause != "healthy" && (said["remedy"].as_str().unwrap().is_empty());
    silent.then(|| format!("{}: no remedy for {cause}", log.display()))
}

/// Checks every `step`th sample of a folder; how many.
fn check(folder: &Path, step: usize) -> usize {
    let scene = Scene::new();
    let samples: Vec<_> = samples(folder).into_iter().step_by(step).collect();
    let complaints: Vec<String> = samples.iter().filter_map(|(log, label)| complaint(&scene, log, label)).collect();
    assert!(complaints.is_empty(), "{} of {}:\n{}", complaints.len(), samples.len(), complaints.join("\n"));
    samples.len()
}

#[test]
fn every_log_of_the_project_is_diagnosed_as_it_is_labelled() {
    assert!(check(&root().join("tests/fixtures/logs"), 1) > 20, "the fixtures were found");
}

#[test]
fn the_shared_corpus_is_diagnosed_as_it_is_labelled() {
    // A checkout stands beside the shared folder, a work tree one level deeper. Every sample is classified in the library's
    // tests; here every third goes through the command line.
    let checked: usize = ["../shared/corpus", "../../shared/corpus"].map(|up| check(&root().join(up), 3)).iter().sum();
    if checked == 0 {
        println!("skipped: there is no shared corpus beside this checkout");
    }
}

#[test]
fn a_log_comes_from_a_pipe_too_and_the_answer_names_cause_evidence_and_remedy() {
    let scene = Scene::new();
    let log = root().join("tests/fixtures/logs/bad_mount__01.log");
    let mut command = scene.vgrid(["diagnose", "-"]);
    command.stdin(std::fs::File::open(log).unwrap());
    super::run(command).ok().says(&["docker in phase", "bind source path does not exist: /nope", "-> "]);
}

#[test]
fn a_log_that_is_neither_a_file_nor_a_container_is_wrong_usage() {
    let scene = Scene::new();
    scene.run(["diagnose", "vgrid-test-there-is-no-such-container"]).code(1).says(&["there-is-no-such-container"]);
    scene.write("a.log", "INFO hello\n");
    scene.run(["diagnose", "a.log", "--phase", "lunch"]).code(1).says(&["--phase", "startup"]);
    scene.write("state.json", "not json");
    scene.run(["diagnose", "a.log", "--state", "state.json"]).code(1).says(&["state.json", "docker inspect"]);
}

#[test]
fn a_key_that_stands_in_a_foreign_log_is_not_shown() {
    let scene = Scene::new();
    let line = "vllm: error: unrecognized arguments: --api-key key-that-nobody-may-see --enable-chunky";
    scene.write("a.log", &format!("INFO 01-01 00:00:00 [a.py:1] vLLM API server version 0.9.1\n{line}\n"));
    for args in [&["diagnose", "a.log"][..], &["diagnose", "a.log", "--json"]] {
        let done = scene.run(args).ok().says(&["--api-key ***", "--enable-chunky"]);
        assert!(!done.stdout.contains("key-that-nobody"), "{}", done.stdout);
    }
}
