//! Facts about whole loads that need no other Compose to judge them.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use super::*;
use crate::domain::Diagnostics;

/// Loads files of a small imaginary disk; the first is the compose file, and `a` is the service in question.
fn load_files(files: &[(&str, &str)], change: impl FnOnce(&mut LoadRequest)) -> Result<Project, Diagnostics> {
    let disk: BTreeMap<String, String> =
        files.iter().map(|(name, text)| (format!("/w/{name}"), (*text).to_owned())).collect();
    let mut request = LoadRequest {
        files: vec![files[0].0.into()],
        service: Some("a".into()),
        cwd: "/w".into(),
        home: Some("/home/u".into()),
        ..LoadRequest::default()
    };
    change(&mut request);
    load(&request, &|path: &Path| {
        disk.get(&path.display().to_string()).cloned().ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
    })
}

fn project(text: &str) -> Project {
    load_files(&[("c.yml", text)], |_| {}).unwrap_or_else(|e| panic!("{e}"))
}

fn error(text: &str) -> String {
    load_files(&[("c.yml", text)], |_| {}).unwrap_err().to_string()
}

#[test]
fn an_unknown_key_names_its_place_and_its_neighbour() {
    let text = error("services:\n  a:\n    image: x\n    comand: y\n");
    assert!(text.contains("c.yml:4:5") && text.contains("did you mean `command`?"), "{text}");
}

#[test]
fn all_errors_of_a_file_are_reported_at_once() {
    let text = error("services:\n  a: {image: x, user: 5, foo: 1}\n  b: {ports: 80}\ntop: 1\n");
    for part in ["services.a.user", "unknown key `foo`", "services.b.ports", "unknown key `top`"] {
        assert!(text.contains(part), "{part} missing in\n{text}");
    }
}

#[test]
fn an_unset_variable_in_a_flag_is_an_error_for_the_target_only() {
    let text = "services:\n  a: {image: x, command: 'serve m --api-key ${KEY} --port 1'}\n";
    let message = error(text);
    assert!(
        message.contains("empty-flag-value") && message.contains("c.yml:2:") && message.contains("KEY"),
        "{message}"
    );
    let shown = load_files(&[("c.yml", text)], |r| r.purpose = Purpose::Show).unwrap();
    assert_eq!(shown.services["a"].command.as_ref().unwrap(), &["serve", "m", "--api-key", "--port", "1"]);
    assert!(shown.warnings.iter().any(|w| w.code == "empty-flag-value"));
    let other = "services:\n  a: {image: x}\n  b: {image: x, command: '--api-key ${KEY}'}\n";
    assert!(project(other).warnings.iter().any(|w| w.code == "unset-variable"));
    let set = load_files(&[("c.yml", text)], |r| {
        r.environment.insert("KEY".into(), "s3cret".into());
    })
    .unwrap();
    assert_eq!(set.secrets, ["s3cret"]);
}

#[test]
fn every_way_to_leave_a_flag_without_its_value_is_found() {
    for command in [
        "'serve m --api-key=${KEY}'",
        "[serve, m, --api-key, '${KEY}']",
        "'serve m --api-key ${KEY:-}'",
        "'serve m --api-key ${KEY:-${OTHER}}'",
        "'serve ${MODEL} --port 1'",
        "'m --served-model-name a ${KEY}'",
        "[sh, -c, 'exec vllm serve m --api-key ${KEY} --port 1']",
        "'m --mystery x-${KEY}'",
    ] {
        let text = error(&format!("services:\n  a: {{image: x, command: {command}}}\n"));
        assert!(text.contains("empty-flag-value"), "{command}: {text}");
    }
    for command in
        ["'m --enforce-eager ${EXTRA}'", "'m --port 1 ${EXTRA}'", "'m --mystery ${EXTRA:-}'", "'m ${X:+--x 1}'"]
    {
        project(&format!("services:\n  a: {{image: x, command: {command}}}\n"));
    }
}

#[test]
fn keys_that_vgrid_does_not_carry_out_are_refused_for_a_launch_and_shown_otherwise() {
    let text = "services:\n  a:\n    image: x\n    secrets: [s]\nsecrets:\n  s: {file: ./s}\n";
    let message = error(text);
    assert!(
        message.contains("unsupported-key") && message.contains("c.yml:4:5") && message.contains("bind"),
        "{message}"
    );
    let shown = load_files(&[("c.yml", text)], |r| r.purpose = Purpose::Show).unwrap();
    assert!(shown.services["a"].rest.contains_key("secrets"));
    let message = error("services:\n  a: {build: .}\n");
    assert!(message.contains("no-image"), "{message}");
}

#[test]
fn a_cut_command_is_warned_of() {
    let project = project("services:\n  a: {image: x, command: 'serve m 2>&1 | tee log'}\n");
    let warning = project.warnings.iter().find(|w| w.code == "cut-command").unwrap();
    assert!(warning.message.contains(">&1 | tee log"), "{warning}");
    assert_eq!(project.services["a"].command.as_ref().unwrap(), &["serve", "m"]);
}

#[test]
fn the_target_is_enabled_with_its_profiles() {
    let text =
        "services:\n  a: {image: x, profiles: [p]}\n  b: {image: x, profiles: [p]}\n  c: {image: x, profiles: [q]}\n";
    let names: Vec<String> = project(text).services.keys().cloned().collect();
    assert_eq!(names, ["a", "b"]);
    let text = load_files(&[("c.yml", "services: {aa: {image: x}}\n")], |_| {}).unwrap_err().to_string();
    assert!(text.contains("they have: aa"), "{text}");
}

#[test]
fn env_files_come_after_the_process_and_replace_the_default_one() {
    let files = [
        ("c.yml", "services: {a: {image: '${I}', labels: {j: '${J}'}}}\n"),
        (".env", "I=default\nJ=default\n"),
        ("e.env", "I=file\n"),
    ];
    assert_eq!(load_files(&files, |_| {}).unwrap().services["a"].image.as_deref(), Some("default"));
    let loaded = load_files(&files, |r| r.env_files = vec!["e.env".into()]).unwrap();
    assert_eq!(loaded.services["a"].image.as_deref(), Some("file"));
    assert_eq!(loaded.services["a"].labels["j"], "");
    let loaded = load_files(&files, |r| {
        r.environment.insert("I".into(), "process".into());
    })
    .unwrap();
    assert_eq!(loaded.services["a"].image.as_deref(), Some("process"));
}

#[test]
fn a_wrong_env_file_names_its_line() {
    let files = [("c.yml", "services: {a: {image: x}}\n"), (".env", "A=1\nB C=2\n")];
    let text = load_files(&files, |_| {}).unwrap_err().to_string();
    assert!(text.contains("/w/.env:2:1"), "{text}");
}

#[test]
fn paths_start_at_the_first_file_and_at_home() {
    let files = [
        ("s/c.yml", "services: {a: {image: x, volumes: ['./d:/d', '~/h:/h']}}\n"),
        ("t/d.yml", "services: {a: {volumes: ['./e:/e']}}\n"),
    ];
    let loaded = load_files(&files, |r| r.files.push("t/d.yml".into())).unwrap();
    let sources: Vec<&str> = loaded.services["a"].volumes.iter().filter_map(|v| v.source.as_deref()).collect();
    assert_eq!(sources, ["/w/s/d", "/home/u/h", "/w/s/e"]);
    assert_eq!((loaded.name.as_str(), loaded.config_files.len()), ("s", 2));
}

#[test]
fn secrets_are_collected_from_variables_and_flags() {
    let text = "services:\n  a: {image: x, command: 'm --api-key k1', environment: {HF_TOKEN: t1, PLAIN: p}}\n";
    assert_eq!(project(text).secrets, ["k1", "t1"]);
}

#[test]
fn a_service_round_trips_through_its_json() {
    let text = "services:\n  a:\n    image: x\n    command: [a]\n    ulimits: {nofile: {soft: 1, hard: 2}, core: 0}\n    \
                cpu_shares: 5\n    networks: {default: {aliases: [q]}}\n    shm_size: 1g\n";
    let service = load_files(&[("c.yml", text)], |r| r.purpose = Purpose::Show).unwrap().services["a"].clone();
    let json = serde_json::to_string(&service).unwrap();
    assert_eq!(serde_json::from_str::<Service>(&json).unwrap(), service);
}

proptest::proptest! {
    #[test]
    fn merging_a_file_with_itself_changes_nothing(
        ports in proptest::collection::btree_set(1u16..9999, 0..4),
        env in proptest::collection::btree_map("[A-Z]{1,4}", "[a-z0-9 ]{0,6}", 0..4),
        words in proptest::collection::vec("[a-z]{1,5}", 0..4),
        targets in proptest::collection::btree_set("/[a-z]{2,5}", 0..3),
    ) {
        let ports: Vec<String> = ports.iter().map(|p| format!("'{p}:{p}'")).collect();
        let env: Vec<String> = env.iter().map(|(k, v)| format!("{k}: '{v}'")).collect();
        let mounts: Vec<String> = targets.iter().map(|t| format!("'.{t}:{t}'")).collect();
        let text = format!(
            "services:\n  a:\n    image: x\n    ports: [{}]\n    environment: {{{}}}\n    command: [{}]\n    volumes: [{}]\n    \
             labels: [l=1]\n    cap_add: [A]\n    healthcheck: {{test: t, interval: 1s}}\n",
            ports.join(", "), env.join(", "), words.join(", "), mounts.join(", ")
        );
        let files = [("c.yml", text.as_str())];
        let once = load_files(&files, |_| {}).unwrap();
        let twice = load_files(&files, |r| r.files.push("c.yml".into())).unwrap();
        proptest::prop_assert_eq!(&once.services, &twice.services);
    }

    #[test]
    fn any_text_loads_or_is_refused_with_a_reason(text in "(services|a|image|x|ports|command|\\$\\{A\\}|: |\n|  |- |\\[|\\]|\\{|\\}|'|\"|!reset |!override ){0,30}") {
        let result = load_files(&[("c.yml", text.as_str())], |_| {});
        proptest::prop_assert!(result.is_ok() || !result.unwrap_err().0.is_empty());
    }
}
