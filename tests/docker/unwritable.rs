//! A database that can no longer be written while production is aside.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::common_docker::{Scene, Service, await_that};
use super::{LONG_SUITE, numbered_configs};

/// A small file system of its own; it is taken away with the value.
struct Disk(PathBuf);

impl Disk {
    /// None where it cannot be mounted: not root, or a container.
    fn mount(at: PathBuf) -> Option<Self> {
        std::fs::create_dir_all(&at).unwrap();
        mount(&["-t", "tmpfs", "-o", "size=2g", "tmpfs"], &at).then_some(Self(at))
    }

    /// Makes it as small as what is in it.
    fn fill(&self) {
        let used = Command::new("du").arg("-sk").arg(&self.0).output().unwrap().stdout;
        let mut kib: u64 = String::from_utf8(used).unwrap().split_whitespace().next().unwrap().parse().unwrap();
        await_that("the disk is full", || {
            kib += 4;
            mount(&["-o", &format!("remount,size={kib}k")], &self.0).then_some(())
        });
    }
}

fn mount(options: &[&str], at: &Path) -> bool {
    Command::new("mount").args(options).arg(at).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

impl Drop for Disk {
    fn drop(&mut self) {
        Command::new("umount").arg("--lazy").arg(&self.0).status().ok();
    }
}

#[test]
fn a_disk_that_is_full_while_production_is_aside_ends_the_sweep_and_production_serves_again() {
    let Some(scene) = Scene::new("full") else { return };
    let Some(disk) = Disk::mount(scene.path("disk")) else {
        println!("skipped: a small file system cannot be mounted here");
        return;
    };
    scene.deploy(&Service::sim().with_flags("--sim-speed 4"));
    scene.grid(&format!("{}{}", numbered_configs(2), LONG_SUITE.replace("4000", "12")));
    let production = scene.production();
    let vgrid = scene.start(&["run", "grid.yaml", "--db", "disk/runs.db"]);
    vgrid.await_line(&["c0: load "]);
    disk.fill();
    let ended = vgrid.end().expect_code(70);
    assert!(ended.says(&["disk", "full"]), "{}", ended.stderr());
    assert!(ended.says(&["serves again, verified by a real completion"]), "{}", ended.stderr());
    scene.assert_restored(&production);
}

#[test]
fn a_database_that_stays_locked_while_production_is_aside_ends_the_sweep_and_production_serves_again() {
    let Some(scene) = Scene::new("locked") else { return };
    scene.deploy(&Service::sim().with_flags("--sim-speed 4"));
    scene.grid(&format!("{}{}", numbered_configs(2), LONG_SUITE.replace("4000", "12")));
    let production = scene.production();
    let vgrid = scene.run();
    vgrid.await_line(&["c0: load "]);
    let other = rusqlite::Connection::open(scene.db()).unwrap();
    await_that("another program has the database for itself", || other.execute_batch("BEGIN IMMEDIATE").ok());
    let ended = vgrid.end().expect_code(70);
    assert!(ended.says(&["locked"]), "{}", ended.stderr());
    assert!(ended.says(&["serves again, verified by a real completion"]), "{}", ended.stderr());
    scene.assert_restored(&production);
    drop(other);
    // What could not be written down is found to be done.
    let ended = scene.start(&["restore"]).end().expect_code(0);
    assert!(ended.says(&["serves again, verified by a real completion"]), "{}", ended.stderr());
    scene.assert_restored(&production);
    scene.run().end().expect_code(0);
    scene.assert_restored(&production);
}
