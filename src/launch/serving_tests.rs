//! Which containers count as serving, and what the journal keeps of them.

use super::*;
use serde_json::json;

fn query() -> ServingQuery {
    ServingQuery {
        project: "p".into(),
        service_name: "vllm".into(),
        container_name: Some("qwen".into()),
        host_ports: vec![5002],
        server_port: 8000,
        api_key: None,
        own_db: None,
    }
}

fn found(container: serde_json::Value) -> Option<FoundBy> {
    why_it_counts(&serde_json::from_value(container).unwrap(), &query())
}

#[test]
fn a_container_counts_by_labels_name_or_port_and_no_other_way() {
    let labels = json!({"com.docker.compose.project": "p", "com.docker.compose.service": "vllm", "com.docker.compose.oneoff": "False"});
    assert_eq!(found(json!({"Labels": labels, "State": "exited"})), Some(FoundBy::Labels));
    assert_eq!(found(json!({"Names": ["/qwen"], "State": "exited"})), Some(FoundBy::Name));
    assert_eq!(found(json!({"Names": ["/qwen-vgrid-displaced"], "State": "exited"})), Some(FoundBy::Name));
    let ports = json!([{"PrivatePort": 8000, "PublicPort": 5002, "Type": "tcp"}]);
    assert_eq!(found(json!({"Names": ["/x"], "State": "running", "Ports": ports})), Some(FoundBy::Port));
    assert_eq!(
        found(json!({"Names": ["/qwen2"], "State": "running", "Ports": [{"PrivatePort": 5002, "Type": "tcp"}]})),
        None
    );
    let other = json!({"com.docker.compose.project": "p", "com.docker.compose.service": "db"});
    assert_eq!(found(json!({"Labels": other, "State": "running"})), None);
}

#[test]
fn a_trial_in_the_way_is_an_error_and_never_displaced() {
    let container =
        json!({"Names": ["/qwen"], "State": "running", "Labels": {"io.vgrid.role": "trial", "io.vgrid.db": "abc"}});
    let container: ContainerSummary = serde_json::from_value(container).unwrap();
    let db = trial_of(&container).unwrap();
    assert_eq!(db, "abc");
    let error = another_trial(&container, db);
    assert!(error.message.contains("io.vgrid.db=abc") && error.help.is_some());
}

fn serving(change: impl FnOnce(&mut Serving)) -> Serving {
    let mut serving: Serving = serde_json::from_value(json!({
        "container_id": "c", "name": "qwen", "found_by": "labels", "image_id": "i", "image": "vllm", "running": true, "health": null,
        "started_at": "", "restart_policy": {"name": "always", "maximum_retry_count": null}, "auto_remove": false, "base_urls": [],
        "models": [], "recreate": {"body": {}, "networks": []}
    }))
    .unwrap();
    change(&mut serving);
    serving
}

#[test]
fn a_server_that_dies_again_and_again_is_told_apart_from_one_that_boots_and_one_that_answers_nothing() {
    let told = |change: fn(&mut Serving)| {
        let serving = serving(change);
        (serving.describe(), serving.crash_loops(), serving.boots())
    };
    let loops = told(|s| (s.restarting, s.restarts, s.exit_code, s.up_s) = (true, 7, Some(2), Some(1.0)));
    let sentence = "container qwen (vllm, restarting again and again: 7 restarts, last exit code 2)";
    assert_eq!(loops, (sentence.to_owned(), true, false));
    let between = told(|s| (s.restarts, s.up_s) = (4, Some(2.0)));
    assert!(between.1, "it runs for a moment between two deaths");
    let boots = told(|s| s.up_s = Some(90.0));
    let sentence = "container qwen (vllm, started 1 min 30 s ago, answers no model yet)";
    assert_eq!(boots, (sentence.to_owned(), false, true));
    let mute = told(|s| (s.restarts, s.up_s) = (4, Some(9_000.0)));
    assert_eq!(mute, ("container qwen (vllm, running, no model answers)".to_owned(), false, false));
    let stranger = told(|s| (s.found_by, s.up_s) = (FoundBy::Port, Some(90.0)));
    assert!(!stranger.2, "what only holds the port need not be an engine");
    let serves = told(|s| (s.models, s.restarts, s.up_s) = (vec!["m".into()], 9, Some(90.0)));
    assert_eq!(serves, ("container qwen (vllm, serving m)".to_owned(), false, false));
}

#[test]
fn published_ranges_are_single_ports() {
    assert_eq!(ports_of("5002"), [5002]);
    assert_eq!(ports_of("5002-5004"), [5002, 5003, 5004]);
    assert!(ports_of("x").is_empty());
}

#[test]
fn only_policies_that_ignore_a_stop_come_back_by_themselves() {
    let comes = |name: &str| SavedRestartPolicy { name: name.into(), maximum_retry_count: None }.comes_back_by_itself();
    assert_eq!(["no", "", "unless-stopped", "always", "on-failure"].map(comes), [false, false, false, true, true]);
}
