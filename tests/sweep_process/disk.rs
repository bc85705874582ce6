//! A disk that is full in the middle of a sweep.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::common::{Live, Scene, wait_until};
use super::configs;

/// A small file system of its own; it is taken away with the value.
struct Disk<'p>(&'p Path);

impl<'p> Disk<'p> {
    /// None where it cannot be mounted: not root, or a container.
    fn mount(at: &'p Path) -> Option<Self> {
        std::fs::create_dir_all(at).unwrap();
        let mount = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=2g", "tmpfs"])
            .arg(at)
            .stderr(Stdio::null())
            .status();
        mount.is_ok_and(|status| status.success()).then_some(Self(at))
    }

    fn resize(&self, size: &str) -> bool {
        let option = format!("remount,size={size}");
        Command::new("mount").args(["-o", &option]).arg(self.0).stderr(Stdio::null()).status().unwrap().success()
    }

    /// Makes it as small as what is in it.
    fn fill(&self) {
        let used = Command::new("du").arg("-sk").arg(self.0).output().unwrap().stdout;
        let used = String::from_utf8(used).unwrap();
        let mut kib: u64 = used.split_whitespace().next().unwrap().parse().unwrap();
        wait_until("the disk can be made full", || {
            let full = self.resize(&format!("{kib}k"));
            kib += 4;
            full
        });
    }
}

impl Drop for Disk<'_> {
    fn drop(&mut self) {
        Command::new("umount").arg("-l").arg(self.0).status().ok();
    }
}

#[test]
fn a_full_disk_stops_the_sweep_with_a_sentence_and_with_room_it_goes_on() {
    let scene = Scene::new();
    let folder = scene.folder().join("disk");
    let Some(disk) = Disk::mount(&folder) else {
        println!("skipped: a small file system cannot be mounted here");
        return;
    };
    let db = folder.join("runs.db");
    let load = "load: { concurrency: [4], requests_per_user: 40, prompt_tokens: 64, output_tokens: 16 }";
    scene.grid(&["--sim-speed=10"], &format!("{}suite: [smoke, {load}]\n", configs(3)));
    let run = || {
        let mut command = scene.vgrid(["run", "grid.yaml"]);
        command.env("VGRID_DB", &db);
        command
    };
    let sweep = super::common::Live::start(run());
    sweep.wait_for("c1: measured");
    disk.fill();
    sweep.finish().code(70).says(&["disk", "full", "free"]);
    scene.assert_no_sim_is_left();

    assert!(disk.resize("2g"));
    let results = || {
        let db = rusqlite::Connection::open(&db).unwrap();
        let mut rows = db.prepare("SELECT id || result_key || saved_at FROM scenario_result ORDER BY id").unwrap();
        rows.query_map([], |row| row.get::<_, String>(0)).unwrap().map(Result::unwrap).collect::<Vec<_>>()
    };
    let before = results();
    assert!(before.len() >= 2, "what was told as measured is there");
    super::run(run()).ok().says(&["3 measured"]);
    assert_eq!(results()[..before.len()], before[..]);
    assert_eq!(results().len(), 6);
    drop(disk);
}

#[test]
fn what_a_trial_took_and_gave_back_must_fit_again_before_the_next_one() {
    let scene = Scene::new();
    let folder = scene.folder().join("disk");
    let Some(_disk) = Disk::mount(&folder) else {
        println!("skipped: a small file system cannot be mounted here");
        return;
    };
    let load = "load: { concurrency: [1], requests_per_user: 40, prompt_tokens: 64, output_tokens: 64 }";
    scene.grid(&["--sim-speed=4"], &format!("{}suite: [smoke, {load}]\nrepeats: off\n", configs(2)));
    let mut command = scene.vgrid(["run", "grid.yaml"]);
    command.env("VGRID_DB", folder.join("runs.db"));
    let sweep = Live::start(command);
    sweep.wait_for("c1: load ");
    // As a container that downloads a model: it is gone with the container. Nothing shows that vgrid looked, which it does each second.
    let cache = folder.join("cache");
    let made = Command::new("fallocate").args(["--length", "1200M"]).arg(&cache).status().unwrap();
    assert!(made.success());
    std::thread::sleep(Duration::from_millis(2500));
    std::fs::remove_file(&cache).unwrap();
    let done =
        sweep.finish().code(0).says(&["c1: measured", "a trial took up to 1.17 GiB so far: free at least 2.17 GiB"]);
    assert!(!done.stderr.contains("c2: starting"), "{}", done.stderr);
}
