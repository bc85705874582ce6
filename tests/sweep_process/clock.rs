//! The clock of the machine jumps in the middle of a sweep, as it does when the network tells it the time.

use std::path::PathBuf;

use super::common::{Live, Scene, present};
use super::{SUITE, configs};

/// Debian's libfaketime. It shifts the wall clock of whoever is started with it, and here leaves the monotonic one alone, as the kernel
/// does.
fn library() -> PathBuf {
    let folders = std::fs::read_dir("/usr/lib").into_iter().flatten().flatten();
    let found = folders.map(|folder| folder.path().join("faketime/libfaketime.so.1")).find(|library| library.exists());
    found.unwrap_or_else(|| PathBuf::from("/usr/lib/faketime/libfaketime.so.1"))
}

#[test]
fn a_clock_that_jumps_back_and_far_ahead_changes_no_duration_and_no_order_and_loses_nothing() {
    let library = library();
    if !present(&library, "VGRID_REQUIRE_FAKETIME") {
        return;
    }
    let scene = Scene::new();
    scene.grid(&["--sim-speed=5"], &format!("{}{SUITE}", configs(4)));
    let offset = |text: &str| {
        // Whole or not at all: it is read all the time.
        std::fs::rename(scene.write("offset.new", text), scene.folder().join("offset")).unwrap();
    };
    let start = || {
        let mut command = scene.vgrid(["run", "grid.yaml"]);
        command
            .env("LD_PRELOAD", &library)
            .env("FAKETIME_TIMESTAMP_FILE", scene.folder().join("offset"))
            .env("FAKETIME_NO_CACHE", "1")
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
        Live::start(command)
    };
    offset("+0");
    let sweep = start();
    sweep.wait_for("c1: smoke done");
    offset("-30d");
    sweep.wait_for("c2: smoke done");
    sweep.kill();
    let before = scene.results();
    // What comes after it in the order of the sweep comes before it by the clock.
    offset("-60d");
    let sweep = start();
    sweep.wait_for("c3: smoke done");
    offset("+400d");
    sweep.finish().ok();

    assert_eq!(scene.states(), ["c1: measured", "c2: measured", "c3: measured", "c4: measured"]);
    let after = scene.results();
    assert_eq!((after.len(), &after[..before.len()]), (8, &before[..]), "nothing is lost, nothing measured twice");
    let months = "SELECT count(DISTINCT substr(started_at, 1, 7)) FROM attempt";
    assert!(scene.count(months) >= 3, "the clock did not jump");
    let wrong = "SELECT count(*) FROM attempt WHERE elapsed_s < 0 OR elapsed_s > 300";
    assert_eq!(scene.count(wrong), 0, "a duration has the jump in it");
    assert_eq!(scene.count("SELECT count(*) FROM scenario_result WHERE elapsed_s < 0 OR elapsed_s > 300"), 0);
    assert_eq!(scene.count("SELECT count(*) FROM request WHERE ttft_ms < 0 OR ttft_ms > 60000"), 0);
    assert_eq!(scene.count("SELECT count(*) FROM telemetry_sample WHERE offset_ms < 0 OR offset_ms > 300000"), 0);
    assert_eq!(scene.run(["status", "--json"]).ok().json()["sweep"]["state"], "finished");
    scene.run(["champions"]).ok();
    scene.assert_no_sim_is_left();
}
