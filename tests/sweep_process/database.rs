//! A database that somebody locks, damages or shares while a sweep needs it.

use super::common::{Scene, run};
use super::{SUITE, configs};

#[test]
fn a_database_that_another_program_keeps_locked_ends_the_sweep_with_a_sentence_and_later_it_goes_on() {
    let scene = Scene::new();
    scene.grid(&[], &format!("{}{SUITE}", configs(3)));
    let sweep = scene.start(&["run", "grid.yaml"]);
    sweep.wait_for("c1: measured");
    let before = scene.results();
    let db = rusqlite::Connection::open(scene.db()).unwrap();
    db.busy_timeout(super::common::PATIENCE).unwrap();
    db.execute_batch("BEGIN IMMEDIATE").unwrap();
    sweep.finish().code(70).says(&["locked by another program", "close what writes to it"]);
    scene.assert_no_sim_is_left();
    scene.run(["status"]).ok();
    db.execute_batch("ROLLBACK").unwrap();
    drop(db);
    scene.sweep(&[]).ok();
    assert_eq!(scene.states(), ["c1: measured", "c2: measured", "c3: measured"]);
    assert_eq!(scene.results()[..before.len()], before[..]);
}

#[test]
fn a_damaged_database_is_told_with_the_way_out_and_nothing_is_started() {
    let scene = Scene::new();
    scene.grid(&[], &format!("{}{SUITE}", configs(1)));
    scene.sweep(&[]).ok();
    let mut bytes = std::fs::read(scene.db()).unwrap();
    // The header stays: it is a database, and its first pages are not what they were.
    let end = bytes.len().min(40_000);
    bytes[200..end].fill(0xA5);
    std::fs::write(scene.db(), bytes).unwrap();
    for args in [&["status"][..], &["run", "grid.yaml"], &["champions"], &["restore"]] {
        let done = scene.run(args);
        assert_eq!(done.code, Some(70), "{args:?}: {}", done.stderr);
        done.says(&["is damaged", "keep a copy", ".recover"]);
    }
    scene.assert_no_sim_is_left();
    std::fs::write(scene.db(), "not a database at all, but a text of some length").unwrap();
    scene.sweep(&[]).code(70).says(&["is not a SQLite database", "--db"]);
}

#[test]
fn two_databases_on_one_deployment_are_never_at_work_at_once() {
    let scene = Scene::new();
    // While it waits for its next try the port is free, and nothing but the lock shows that the deployment is taken.
    let fails = "configs:\n  - { name: dies, flags: { sim-fail: \"engine_death:2\" } }\nlimits: { retries: 1 }\nsuite: [smoke]\n";
    scene.grid(&[], fails);
    let first = scene.start(&["run", "grid.yaml"]);
    first.wait_for("is tried again");
    let mut second = scene.vgrid(["run", "grid.yaml"]);
    second.env("VGRID_DB", scene.folder().join("second.db"));
    let process = format!("process {}", first.pid());
    run(second).code(4).says(&["another vgrid", &process, "runs.db"]);
    first.signal("INT");
    first.finish().code(130);
    let mut second = scene.vgrid(["run", "grid.yaml", "--dry-run"]);
    second.env("VGRID_DB", scene.folder().join("second.db"));
    run(second).ok();
}
