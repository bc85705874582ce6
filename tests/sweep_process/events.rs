//! The event log: the night as JSON lines, and the same in the database.

use serde_json::Value;

use super::common::Scene;
use super::{SUITE, configs};

fn log(scene: &Scene) -> Vec<Value> {
    let text = std::fs::read_to_string(scene.folder().join("runs.db.d/sweep-1/events.jsonl")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The table `event` in the form of the log's lines.
fn kept(scene: &Scene) -> Vec<Value> {
    let lines = scene.sql(
        "SELECT json_patch(json_object('id', id, 'time', told_at), event_json) FROM event WHERE sweep_id = 1 ORDER BY id",
    );
    lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// As JSON objects without their nulls, which a patch in SQL takes away.
fn without_nulls(mut lines: Vec<Value>) -> Vec<Value> {
    lines.iter_mut().for_each(|line| line.as_object_mut().unwrap().retain(|_, value| !value.is_null()));
    lines
}

#[test]
fn the_event_log_tells_the_night_of_every_run_of_the_sweep_and_the_database_tells_the_same() {
    let scene = Scene::new();
    let body = format!(
        "{}  - {{ name: wrong, flags: {{ sim-fail: oom_load }} }}\nlimits: {{ retries: 0 }}\n{SUITE}",
        configs(2)
    );
    scene.grid(&[], &body);
    scene.sweep(&["--limit", "1"]).ok();
    let first = log(&scene);
    // A line that a crash cut.
    let path = scene.folder().join("runs.db.d/sweep-1/events.jsonl");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, &text[..text.len() - 20]).unwrap();
    scene.sweep(&[]).code(2);

    let lines = log(&scene);
    assert_eq!(lines[..first.len()], first[..], "a run that goes on goes on in the same file, and mends it");
    assert_eq!(without_nulls(lines.clone()), without_nulls(kept(&scene)));
    let of = |kind: &str| -> Vec<Value> { lines.iter().filter(|line| line["event"] == kind).cloned().collect() };
    assert_eq!(of("sweep_started").len(), 2);
    let ended: Vec<Value> = of("sweep_finished").iter().map(|line| line["ended"].clone()).collect();
    assert_eq!(ended, ["incomplete", "complete"]);
    let told =
        |kind: &str| of(kind).iter().map(|l| l["trial"]["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>();
    assert_eq!(told("trial_ready"), ["c1", "c2"]);
    assert_eq!(told("trial_finished"), ["c1", "c2", "wrong"]);
    let failed = &of("trial_finished")[2];
    assert_eq!((&failed["cause"], &failed["outcome"]), (&"gpu_oom".into(), &"failed".into()));
    assert!(failed["remedy"].as_str().unwrap().len() > 10 && failed["detail"].as_str().unwrap().contains("memory"));
    assert_eq!((&failed["phase"], &failed["exit_code"]), (&"startup".into(), &1.into()));
    assert!(failed["log"].as_str().unwrap().ends_with(".log") && failed["numbers"].is_object(), "{failed}");
    let times: Vec<&str> = lines.iter().map(|line| line["time"].as_str().unwrap()).collect();
    assert!(times.is_sorted(), "{times:?}");
}
