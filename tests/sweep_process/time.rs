//! The night is over in time: a trial that would be late is ended, one that could not be over is not begun, and a continued sweep keeps
//! the hour that it began with.

use std::time::{Duration, Instant};

use super::common::Scene;
use super::{SUITE, configs};

/// A load of minutes.
const LONG: &str = "load: { concurrency: [1], requests_per_user: 2000, prompt_tokens: 64, output_tokens: 64 }";

fn attempts(scene: &Scene) -> i64 {
    scene.count("SELECT count(*) FROM attempt")
}

#[test]
fn a_trial_that_would_end_too_late_is_ended_and_what_it_finished_is_kept() {
    let scene = Scene::new();
    scene.grid(&["--sim-speed=1"], &format!("{}suite: [smoke, {LONG}]\nlimits: {{ startup: 2s }}\n", configs(2)));
    let began = Instant::now();
    // The grace of a stop is ten seconds, and three more are kept for what follows it.
    let done = scene.sweep(&["--for", "22s"]).code(3);
    assert!(began.elapsed() < Duration::from_secs(22), "it is late: {:?}", began.elapsed());
    done.says(&["everything is over", "--for 22.0 s", "c1 was ended to be over in time", "it ended early"]);
    scene.assert_no_sim_is_left();
    assert_eq!(scene.states(), ["c1: interrupted", "c2: pending"]);
    assert_eq!(scene.sql("SELECT scenario FROM scenario_result"), ["smoke"]);

    // Everybody tells the same.
    let status = scene.run(["status", "--json"]).ok().json();
    assert_eq!(status["sweep"]["state"], "stopped");
    assert!(status["sweep"]["why"].as_str().unwrap().contains("to be over in time"));
    scene.run(["status"]).ok().says(&["is stopped", "it ended early: c1 was ended", "2 left"]);
    assert_eq!(
        scene.count("SELECT count(*) FROM event WHERE json_extract(event_json, '$.why') LIKE 'c1 was ended%'"),
        1
    );

    // The hour stays the one that the sweep began with, and when it has passed nothing is started.
    let db = rusqlite::Connection::open(scene.db()).unwrap();
    db.execute("UPDATE sweep_run SET deadline_at = '2026-01-01T07:00:00Z'", []).unwrap();
    drop(db);
    for again in [vec!["run", "grid.yaml"], vec!["resume"]] {
        scene.run(again).code(3).says(&["time was over at", "nothing is started", "`--for 8h`"]);
    }
    scene.run(["resume", "--for", "14s"]).code(3).says(&["no further trial would be over by"]);
    assert_eq!(attempts(&scene), 1);
}

#[test]
fn a_budget_that_is_too_short_for_a_trial_begins_none() {
    let scene = Scene::new();
    scene.grid(&[], &format!("{}{SUITE}limits: {{ budget: 14s, startup: 2s }}\n", configs(2)));
    scene.sweep(&[]).code(3).says(&["limits.budget", "a trial takes about 2.0 s, and 13.0 s are kept"]);
    assert_eq!(attempts(&scene), 0);
    // Who has time goes on, and what trials took is known then.
    scene.sweep(&["--for", "10m"]).ok().says(&["2 measured"]);
}

#[test]
fn a_time_of_day_that_has_just_passed_is_refused_and_nothing_is_made() {
    let scene = Scene::new();
    scene.grid(&[], &format!("{}{SUITE}", configs(1)));
    let passed = jiff::ZonedDateTime::now().timestamp() - jiff::SignedDuration::from_mins(2);
    let passed = jiff::ZonedDateTime::new(passed, jiff::tz::TimeZone::system()).strftime("%H:%M").to_string();
    scene.sweep(&["--until", &passed]).code(1).says(&["--until", &passed, "has passed", "--for"]);
    assert!(!scene.db().exists());
}

#[test]
fn a_trial_whose_own_time_is_over_in_a_load_says_where_it_was_and_is_not_tried_again() {
    let scene = Scene::new();
    let limits = "limits: { trial: 4s, startup: 3s }\n";
    scene.grid(&["--sim-speed=1"], &format!("{}suite: [smoke, {LONG}]\n{limits}", configs(1)));
    scene.sweep(&[]).code(3).says(&[
        "failed (timeout)",
        "limits.trial (4.0 s) passed in load, after",
        "raise limits.trial",
    ]);
    assert_eq!(attempts(&scene), 1);
    assert_eq!(scene.sql("SELECT phase FROM failures"), ["serving"]);
    let evidence = scene.sql("SELECT text FROM attempt_evidence");
    assert!(evidence.len() == 1 && evidence[0].contains("requests"), "{evidence:?}");
}

#[test]
fn a_trial_that_is_tried_again_and_again_is_one_trial_to_the_breaker() {
    let scene = Scene::new();
    let slow = "configs: [{ name: slow, flags: { sim-fail: hang_start } }]\n";
    scene.grid(&[], &format!("{slow}limits: {{ stall: 1s, retries: 1, identical_failures: 2 }}\n{SUITE}"));
    let done = scene.sweep(&[]).code(3);
    assert!(!done.stderr.contains("failed alike"), "{}", done.stderr);
    assert_eq!(scene.states(), ["slow: failed (stalled)"]);
    assert_eq!(attempts(&scene), 2);
    assert_eq!(scene.run(["status", "--json"]).ok().json()["sweep"]["state"], "finished");
}

#[test]
fn after_a_kill_status_names_the_server_that_may_still_run() {
    let scene = Scene::new();
    scene.grid(&["--sim-speed=1"], &format!("{}suite: [smoke, {LONG}]\n", configs(1)));
    let sweep = scene.start(&["run", "grid.yaml"]);
    sweep.wait_for("c1: smoke done");
    sweep.kill();
    scene.run(["status"]).ok().says(&["vgrid died", "of c1 may still run", "vgrid clean"]);
    let status = scene.run(["status", "--json"]).ok().json();
    assert_eq!(status["left_running"][0]["config"], "c1");
    assert!(status["left_running"][0]["id"].as_str().unwrap().starts_with("pid:"));
}
